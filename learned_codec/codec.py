"""The one path an image takes: source -> values -> analysis -> latents -> payloads -> container, and back.

`tiling.encoder` and `tiling.decoder` are its two halves. Only functions that need the networks import an engine, when
they are called, so a header can be read without one.

The functions keep no state between calls but loaded models, which don't change: threads may call them at the same time.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream, options
from learned_codec.bitstream import TILE_UNIT, Header
from learned_codec.bitstream.metadata import decode as json_of
from learned_codec.bitstream.metadata import encode as payload_of
from learned_codec.bitstream.metadata import number_to_json
from learned_codec.bounded.header import NO_MODEL, bounds_of, in_words, is_bounded
from learned_codec.errors import (
    BitstreamError,
    CorruptDataError,
    InputWarning,
    InvalidInputError,
    MetadataLostWarning,
    RateError,
    UnknownModelError,
    shown,
)
from learned_codec.limits import Limits
from learned_codec.models import registry
from learned_codec.models.config import (
    quality_of_one_band,
    quality_of_step,
    quality_of_three_bands,
    step_of_quality,
    top_step,
)
from learned_codec.models.device import checked_device, checked_threads
from learned_codec.models.registry import ModelCard, ModelName, list_models, register_model
from learned_codec.reader import Reader, nodata_of
from learned_codec.streams import Openable, readable
from learned_codec.tiling.borders import border_of
from learned_codec.tiling.masking import MaskedSource
from learned_codec.tiling.plan import plan, without_voids
from learned_codec.tiling.progress import Counter, Progress, Telling
from learned_codec.tiling.sampling import samples as take_samples
from learned_codec.values import hidden
from learned_codec.values.arrays import BOUNDED_DTYPES, ArraySource, is_number
from learned_codec.values.mask import MaskSpec, holds
from learned_codec.values.sources import PixelSource, Unit
from learned_codec.values.transform import UNITS, unit_in

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from learned_codec.models.model import Model
    from learned_codec.tiling.colours import Colours
    from learned_codec.tiling.rows import Rows


__all__ = [
    "Info",
    "ModelCard",
    "Report",
    "check",
    "decode",
    "encode",
    "encode_source",
    "inspect",
    "list_models",
    "register_model",
]

DEFAULT_TILE = 1024
"""Pixels per side of a tile of up to 8 bands, unless the caller chooses."""

MAX_TILE = 4096
"""Decoding takes memory in proportion to the tile; `Limits.max_tile_pixels` allows this much by default."""


@dataclass(frozen=True, slots=True)
class Info:
    """The facts in the head of an LCI file; immutable.

    Attributes:
        width: in pixels.
        height: in pixels.
        bands: how many the image has; a mask or an alpha channel isn't counted.
        dtype: of the samples: "uint8", "uint16", "int16" or "float32"; with a `max_error` also "int8", "bool",
            "uint32" or "int32".
        layout: of the array that `decode` returns: "HW", "HWC" or "CHW".
        unit: "power", "amplitude" or "db" for radar backscatter, else None.
        model: the model's name; None if it isn't installed here, and where there is none.
        weights_id: identifies the model's weights, in hexadecimal digits; zeros where there is no model.
        quality: 1 to 100; above 100 if a bpp or psnr asked for more; None if the model isn't installed here. For three
            bands of uint8, it is on the RGB model's scale, and higher than was asked for if that model fell short.
        max_error: the most by which a valid value of each band differs from the original, in the image's own units; 0
            is lossless. None where a model coded the image, whose error has no bound.
        tile_size: pixels a side of a tile; None if one tile holds the image.
        tiles: how many there are.
        bytes: the size of the file.
        bpp: bits of the whole file per pixel (height x width), over all bands.
        nodata: the value of pixels that have none; None if no value stands for that.
        mask: the kind of plane beside the bands, "mask" or "alpha"; None without one.
        metadata: what was kept beside the pixels.
    """

    width: int
    height: int
    bands: int
    dtype: str
    layout: str
    unit: str | None
    model: str | None
    weights_id: str
    quality: float | None
    max_error: tuple[float, ...] | None
    tile_size: int | None
    tiles: int
    bytes: int
    bpp: float
    nodata: float | None
    mask: str | None
    metadata: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        bounds = None if self.max_error is None else list(self.max_error)
        nodata = None if self.nodata is None else number_to_json(self.nodata)
        return asdict(self) | {"max_error": bounds, "nodata": nodata}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `check`; immutable.

    Attributes:
        ok: whether the file is whole.
        damaged_tiles: indices of the tiles that are damaged or missing, along rows from 0.
        tiles: how many tiles the file has; 0 if its head can't be read.
        message: the result in one sentence, or what is wrong.
    """

    ok: bool
    damaged_tiles: tuple[int, ...]
    tiles: int
    message: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"damaged_tiles": list(self.damaged_tiles)}


def encode(
    image: NDArray[Any] | Tensor | Image,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    max_error: float | Sequence[float] | None = None,
    model: ModelName | None = None,
    planar: bool = False,
    nodata: float | None = None,
    mask: NDArray[Any] | None = None,
    kind: Literal["sar"] | None = None,
    unit: Unit | None = None,
    tile_size: int | None = None,
    effort: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Encode an image. Threads may encode at the same time.

    Args:
        image: uint8, uint16, int16 or float32 (float64 becomes float32, with a warning), (H, W), (H, W, C), or with
            `planar` (C, H, W); every H, W >= 1, up to 256 bands. The mask of a masked array comes back exactly with
            `decode(masked=True)`. If its bands mask different pixels, masked values become `nodata`; without one, the
            array's own fill value if no other value equals it, else NaN, or for integers a value that no other has.
            Of an xarray, zarr or HDF5 array, `_FillValue` or `missing_value` is the nodata, and `scale_factor` and
            `add_offset` are kept; `integrations.xarray.to_lci` keeps coordinates too.
            A Pillow image is treated as `encode_file` treats a picture: it must be grey or RGB, or have one band of
            more bits; its opacity is kept exactly beside the bands (`open(data).read_plane()`), and its colour profile
            and EXIF are kept too. CMYK and other modes are refused; palettes and 1 bit need `max_error=0`, which keeps
            their indices. Of several frames, the current one is coded. Pixels of opacity 0 come back as 0.
        quality: 1 (smallest) to 100 (best), continuous; 60 if no rate is given. Each model has its own scale, but
            three bands of uint8 have the RGB model's; the one for one band goes further up. For still less error, ask
            for a `bpp` or `psnr`. Of several bands of floats or 16 bits, all are quantised so finely that none is much
            worse than alone at this quality.
        bpp: the most bits of the whole file per pixel (height x width), over all bands. The file has at most 3 % less,
            except for tiny images, and where even the best file is smaller. As a rule this takes two codings. An image
            with nothing to code, because no pixel is valid or all have one value, is written at any bpp.
        psnr: the least PSNR in dB, over all valid values of all bands. The file has at most 0.1 dB more, unless the
            smallest file already has more. The peak is 255 for uint8 and 65535 for 16 bits. For float32 and radar it
            is the robust range of the values; radar counts in dB, and bands of unlike ranges count by their own. As a
            rule this takes two codings and decodings.
        max_error: the most by which any valid value of a band may differ from the original, in the array's own units:
            one number, or one for each band; 0 is lossless. No model takes part, so every machine decodes the same
            values, and more dtypes can be coded: int8, bool, uint32 and int32 too, but not float64. With a `bpp`, a
            file that would be larger is an error. It can't go with quality, psnr or model; `kind`, `unit`, `effort` and
            `device` make no difference.
        model: a model's name (see `list_models`), or the path of weights of your own, which decoders then need too
            (`register_model`). By default three bands of uint8 use the RGB model if their colours are like those of
            photographs; other images use the one-band model, once for each spectral component: so do false colours,
            and coloured details that the RGB model can't reproduce.
        planar: the array is (C, H, W).
        nodata: the value of pixels that have none, in any band. Such pixels come back exactly and cost almost nothing;
            so do NaN and infinity. A valid pixel never comes back as nodata.
        mask: (H, W), bool or uint8; 0 means that the pixel doesn't exist. Such pixels come back as 0, or as nodata if
            they were that, and the mask comes back exactly.
        kind: "sar" for radar backscatter, which is coded in dB. Zero and negative power become a small positive one.
        unit: the unit of radar values: "power" (linear), "amplitude" (the square root of power, as in DN) or "db". By
            default "db" if a third of the values is negative, else "amplitude" for integers and "power" for floats.
        tile_size: pixels a side of the independently coded tiles, a multiple of 64; by default 1024, and less for
            more than 8 bands.
        effort: 0 to 3, how long to look for a smaller file of the same quality. 0 codes in one pass. 1, 2 and 3 first
            optimise the latents by gradients, in 2, 8 and 24 passes, and adapt the decoder's last layer to the image
            by a few bytes. Decoding takes no longer.
        device: where the networks run: "cpu", or what torch calls another one, such as "cuda" (which needs
            `learned-codec[torch]`). The entropy coder's symbols are the same everywhere.
        threads: how many threads the call may use; by default one for each core.
        progress: called with (done, all), in tiles. A bpp, a psnr or effort takes several passes, which all count.
        metadata: JSON values to keep beside the pixels. `docs/format.md` lists the names that decoders know, such as
            `crs`, `transform` and `bands`; other names come back as they are. Not `nodata`, which is an argument.

    Returns:
        The bytes of an LCI file.

    Raises:
        InvalidInputError: the array, or an argument, is not one of the above.
        RateError: the bpp is below that of the smallest file of this image, or of the one within `max_error`.
        UnknownModelError: there is no such model.
        WeightsError: the model's weights can't be read.
        LimitError: the image is larger than a decoder accepts by default (see `Limits`).

    Warns:
        RateWarning: the psnr is above the best that the model reaches on this image; the file has that best.
        DistortionWarning: a band's error is much larger than usual at the quality.
        InputWarning: the input may mean something else than it was taken for.
        MetadataLostWarning: the file of a Pillow image has something that isn't kept, such as further frames, or an
            xarray array has coordinates.
    """
    source: PixelSource
    layout = None
    options.check_switches(planar=planar)
    if _is_pillow(image) and not image.mode.startswith(("I", "F")):
        from learned_codec.raster.pictures import source_of

        if planar or mask is not None or nodata is not None:
            raise InvalidInputError(
                "planar, mask and nodata can't be given with a Pillow image, which has its own bands and opacity"
            )
        source = source_of(image, indexed=options.is_exact(max_error))
    else:
        values: Any = image
        beside: dict[str, Any] = {}
        if _is_pillow(image):
            from learned_codec.raster.pictures import numbers_of

            values, beside, transparent = numbers_of(image)
            nodata = transparent if nodata is None else nodata
        elif isinstance(values, Reader):
            _check_array_of(values)
            nodata = values.nodata if nodata is None else nodata
        bounded = max_error is not None
        source = ArraySource(values, planar=planar, mask=mask, nodata=nodata, bounded=bounded)
        layout = source.layout
        source.metadata.update(beside)
    if metadata is not None:
        source.metadata.update(_checked_metadata(metadata, source))
    return encode_source(
        source,
        layout=layout,
        quality=quality,
        bpp=bpp,
        psnr=psnr,
        max_error=max_error,
        model=model,
        kind=kind,
        unit=unit,
        tile_size=tile_size,
        effort=effort,
        device=device,
        threads=threads,
        progress=progress,
    )


def encode_source(
    source: PixelSource,
    *,
    layout: str | None = None,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    max_error: float | Sequence[float] | None = None,
    model: ModelName | None = None,
    kind: str | None = None,
    unit: str | None = None,
    tile_size: int | None = None,
    effort: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    nodata_is_border: bool = False,
    rows: Rows | None = None,
) -> bytes:
    """Encode an image that is read rectangle by rectangle.

    `layout` is the layout of the array that the file decodes to: by default "HW" for one band, else "HWC". With
    `nodata_is_border`, the source's nodata counts only in areas that reach the image's edge. `rows` encodes the rows of
    tiles in other processes. All other arguments, and the errors, are those of `encode`.
    """
    rates = {"quality": quality, "bpp": bpp, "psnr": psnr}
    effort = options.checked_effort(effort)
    used, telling, device = checked_threads(threads), Telling(progress), checked_device(device)
    if max_error is not None:
        bounds = options.checked_bounds(max_error, source.bands, {"quality": quality, "psnr": psnr, "model": model})
        most = None if bpp is None else options.one_rate({"bpp": bpp})[1]
        with telling as tell:
            return _encode_bounded(source, layout, bounds, most, tile_size, used, tell, rows)
    rate = options.one_rate(rates)
    if rows is not None and (rate[0] != "quality" or effort):
        raise InvalidInputError(
            f"with an executor, a quality or a max_error can be asked for, not {'an effort' if effort else rate[0]}: "
            "that needs all tiles at once"
        )
    dtype = source.dtype
    if dtype == np.float64:
        dtype = np.dtype(np.float32)
        warnings.warn("float64 is stored as float32", InputWarning, stacklevel=3)
    radar = _radar(kind, unit, source.unit)
    plain = dtype == np.uint8 and not radar
    if model is not None:
        first, last = None, registry.by_name(model)
    else:  # what the RGB model can't do, the one-band model can
        first, last = registry.default(3) if plain and source.bands == 3 else None, registry.default(1)
    header = _header(source, layout, dtype, bytes.fromhex(last.weights_id), tile_size)
    from learned_codec.models.effort import PASSES, Optimiser
    from learned_codec.tiling.colours import Colours
    from learned_codec.tiling.encoder import FallsShortError, ImageEncoder
    from learned_codec.tiling.parallel import shared

    whole = MaskedSource(source, _mask_spec(source, dtype))
    if nodata_is_border:
        whole = MaskedSource(
            source, whole.mask_spec, border=border_of(whole, lambda values, _: values == source.nodata)
        )
    workers, each = shared(used, header.tile_count)
    metadata = _metadata(source)

    def run(card: ModelCard, rate: tuple[str, float], *, strict: bool) -> bytes:
        loaded = registry.load(card, device, each)
        chosen = plan(whole, dtype, radar, loaded, rate, rotation, expected)
        lapped = loaded.lapped(chosen.lapping)
        own = replace(header, weights_id=bytes.fromhex(card.weights_id), lapping=chosen.lapping)
        optimiser = Optimiser(lapped, PASSES[effort]) if effort else None
        others = None if rows is None else rows.of_model(chosen.source.over(), own, chosen.transform, card, device)
        job = ImageEncoder(
            chosen.source, own, chosen.transform, lapped, optimiser, counter, workers, strict=strict, elsewhere=others
        )
        data = job.run(chosen.goal, metadata)
        if job.hidden.show_something and layout is None:  # who gives an array and a mask knows
            warnings.warn(hidden.lost(source.plane), InputWarning, stacklevel=4)
        return data

    with telling as tell:
        counter = Counter(tell)
        rotation: tuple[int, ...] = ()
        expected: float | None = None  # the error, if the rate doesn't tell it
        if plain and source.bands == 3 == (first or last).bands:
            colours = Colours(whole)
            error = _error(colours, registry.load(first or last, device, each), rate)
            rotation = colours.rotation(error)
            expected = None if rate[0] == "quality" else error
        finer = False  # whether the one-band model's own scale counts: at an equal quality, its errors are smaller
        if first is not None:
            unlike, detailed = colours.are_unlike(error, rotation), colours.have_much_detail(error)
            finer = detailed or not unlike
            if rate[0] == "bpp" and unlike:  # the smallest files are those of the RGB model
                with suppress(RateError):
                    return run(last, rate, strict=False)
                return run(first, rate, strict=False)
            if not unlike and (rate[0] == "bpp" or not detailed):
                with suppress(FallsShortError):
                    return run(first, rate, strict=True)
        if rate[0] == "quality" and last.bands == 1 and not finer and _is_picture(header, radar is not None):
            rate = "quality", quality_of_one_band(rate[1])
        return run(last, rate, strict=False)


def _is_picture(header: Header, radar: bool) -> bool:
    """Whether an image has the RGB model's scale of quality, whichever model codes it."""
    return header.bands == 3 and header.dtype == "uint8" and not radar


def _quality(header: Header, card: ModelCard) -> float | None:
    """The quality of a file that `card` codes; None if it has none."""
    if header.quality_step > top_step(card.max_step):
        return None
    found = quality_of_step(header.quality_step, card.max_step)
    picture = _is_picture(header, unit_in(header) is not None)
    return quality_of_three_bands(found) if picture and card.bands == 1 else found


def _error(colours: Colours, model: Model, rate: tuple[str, float]) -> float:
    """The RMSE that a picture will have, as a share of the range, if the RGB `model` codes it."""
    from learned_codec.tiling.colours import ERROR
    from learned_codec.tiling.proof import usual_error

    control, value = rate
    if control == "quality":
        return ERROR * usual_error(model, step_of_quality(value, model.max_step))
    return 10 ** (-value / 20) if control == "psnr" else colours.error_of(value)


def _encode_bounded(
    source: PixelSource,
    layout: str | None,
    bounds: tuple[float, ...],
    bpp: float | None,
    tile_size: int | None,
    threads: int,
    progress: Progress | None,
    rows: Rows | None,
) -> bytes:
    """The file of an image with a bound for each band; the other arguments as `encode_source` has checked them."""
    from learned_codec.tiling.bounded import BoundedEncoder
    from learned_codec.tiling.parallel import shared

    if source.dtype.name not in BOUNDED_DTYPES:
        raise InvalidInputError(
            f"{', '.join(BOUNDED_DTYPES)} can be encoded with max_error, not {source.dtype}; a file can be read as "
            "another with dtype="
        )
    if source.dtype.kind == "b" and source.nodata is not None:
        raise InvalidInputError(
            f"booleans can't have a nodata value, as both values are data; nodata is {source.nodata!r}"
        )
    if source.dtype.kind == "b" and max(bounds) >= 1:
        raise InvalidInputError(
            f"booleans need a max_error below 1, not {max(bounds):g}, with which True could become False"
        )
    header = _header(source, layout, source.dtype, NO_MODEL, tile_size)
    workers, _ = shared(threads, header.tile_count)
    masked = MaskedSource(source, _mask_spec(source, source.dtype))
    inexact = [band for band, bound in enumerate(bounds) if bound >= 1 or (bound and source.dtype.kind == "f")]
    if inexact and source.dtype.itemsize > 1:
        masked = without_voids(masked, take_samples(masked), inexact, stacklevel=5)
    elsewhere = None if rows is None else rows.within_bounds(masked.over(), header, bounds)
    job = BoundedEncoder(masked, header, bounds, progress, workers, elsewhere=elsewhere)
    data = job.run(_metadata(source))
    if job.hides and layout is None:  # who gives an array and a mask knows
        warnings.warn(hidden.lost(source.plane), InputWarning, stacklevel=4)
    found = 8 * len(data) / header.pixels
    if bpp is not None and found > bpp:
        raise RateError(
            f"with max_error {' '.join(f'{bound:g}' for bound in dict.fromkeys(bounds))}, this image takes {found:.4g} "
            f"bpp, above the {bpp:g} asked for; a larger max_error takes less"
        )
    return data


def _header(
    source: PixelSource, layout: str | None, dtype: np.dtype[Any], weights_id: bytes, tile_size: int | None
) -> Header:
    """All of a header that doesn't depend on the pixels. Raises `LimitError`."""
    header = Header(
        width=source.width,
        height=source.height,
        bands=source.bands,
        dtype=dtype.name,  # type: ignore[arg-type]  # the source has checked it
        layout=layout or ("HW" if source.bands == 1 else "HWC"),  # type: ignore[arg-type]  # one of three
        weights_id=weights_id,
        quality_step=0,
        tile_code=_tile_code(tile_size, source.height, source.width, source.bands),
    )
    header.validate(Limits())  # don't write a file that decoders refuse by default
    return header


def _metadata(source: PixelSource) -> dict[str, Any]:
    metadata = dict(source.metadata)
    if source.nodata is not None:  # kept even if no pixel of this image has it
        metadata["nodata"] = number_to_json(source.nodata)
    return metadata


def decode(
    data: Openable,
    *,
    scale: float = 1,
    errors: options.Errors = "raise",
    masked: bool = False,
    refine: bool = True,
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Decode an LCI file to an array. Threads may decode at the same time.

    Args:
        data: the whole file: bytes, a path, or a binary file object.
        scale: 1, or 1/2, 1/4, 1/8 or 1/16 for the image reduced to that, in about two thirds of the time. Each of its
            pixels is the mean of a square of 2, 4, 8 or 16 pixels a side, of the valid ones alone; where there is none,
            it has no value itself. Of bands that may be classes, it is one of these pixels: those with a colour table
            or names of categories, and lossless ones of few values. Height and width are rounded up. To save time, the
            last step of decoding is left out: means of the whole image have 0.5 to 1 dB less error.
        errors: "raise" raises an error for a damaged tile. "fill" fills its rectangle: with nodata if the image has
            it, else with NaN for floats, else with 0. `check` lists such tiles. Pixels up to 48 pixels away from one
            may change a little, because its latents helped to decode them.
        masked: return a masked array, in which these are masked: nodata, NaN, infinity, the pixels that a mask or an
            alpha channel hides, and with `errors="fill"` those of damaged tiles.
        refine: let a network refine the decoded pixels. Without it, decoding takes half the time, or two fifths of it
            for more than 8 bits, and the error is 0.2 to 0.8 dB larger. This makes no difference to files with a
            bounded error, which have no network, and to reduced images, which are never refined.
        limits: the largest image to accept (`Limits()` by default).
        device: where the networks run, as for `encode`.
        threads: how many threads the call may use, as for `encode`.
        progress: called with (done, all), in tiles.

    Returns:
        An array of the dtype and, at scale 1, the shape that was encoded: (H, W), (H, W, C) or (C, H, W). A plane
            beside the bands isn't in it: see `Reader.read_plane`.

    Raises:
        InvalidInputError: an argument is not one of the above.
        FileError: there is no such file, or it can't be read.
        NotLCIError, TruncatedError, CorruptDataError, UnsupportedVersionError: the bytes are at fault (all are
            `BitstreamError`s).
        LimitError: the image is larger than `limits`; nothing of its size was allocated.
        UnknownModelError: the file was made with a model that is not here; the message names its weights.
    """
    lenient = options.lenient(errors)
    options.check_switches(masked=masked)
    with readable(data) as found:
        container = (bitstream.read_head if lenient else bitstream.read)(found, limits=options.checked_limits(limits))
        reader = Reader(container, device=device, threads=threads, lenient=lenient, refine=refine)
        return reader.read(scale=scale, masked=masked, progress=progress)


def inspect(data: Openable, *, limits: Limits | None = None) -> Info:
    """The facts in the head of an LCI file. Takes microseconds and loads no engine.

    Threads may call it at the same time.

    Args:
        data: bytes, a path or a binary file object. No more than the head of a file is read. The head alone is enough
            if the file has several tiles. A file of one tile must be complete, because its head doesn't give its size.
        limits: the largest image to accept (`Limits()` by default).

    Returns:
        An `Info`.

    Raises:
        FileError: there is no such file, or it can't be read.
        BitstreamError: the bytes are at fault.
        LimitError: the image is larger than `limits`.
    """
    with readable(data) as found:
        container = bitstream.read_head(found, limits=options.checked_limits(limits))
        if container.header.tile_count == 1:  # only the tile's own checksum covers its length
            container.check_end()
    header, size = container.header, container.size
    bounds = bounds_of(header) if is_bounded(header) else None
    try:
        card = registry.by_id(header.weights_id)
    except UnknownModelError:
        card = None
    mask_spec = None if container.mask is None else MaskSpec.from_bytes(container.mask)
    return Info(
        width=header.width,
        height=header.height,
        bands=header.bands,
        dtype=header.dtype,
        layout=header.layout,
        unit=unit_in(header),
        model=card.name if card else None,
        weights_id=header.weights_id.hex(),
        quality=None if card is None else _quality(header, card),
        max_error=bounds,
        tile_size=header.tile_code * TILE_UNIT or None,
        tiles=header.tile_count,
        bytes=size,
        bpp=8 * size / header.pixels,
        nodata=nodata_of(mask_spec.fills if mask_spec else (), container.metadata, np.dtype(header.dtype)),
        mask=mask_spec.plane if mask_spec else None,
        metadata=container.metadata,
    )


def check(data: Openable, *, limits: Limits | None = None) -> Report:
    """Whether a file is whole, by its checksums, without decoding it. Damage is reported, not raised.

    Threads may call it at the same time.

    Args:
        data: bytes, a path or a binary file object.
        limits: the largest image to accept (`Limits()` by default).

    Returns:
        A `Report`. Bytes that aren't an LCI file are reported, too.

    Raises:
        FileError: there is no such file, or it can't be read.
        LimitError: the image is larger than `limits`.
    """
    with readable(data) as found:
        try:
            container = bitstream.read_head(found, limits=options.checked_limits(limits))
        except BitstreamError as error:
            return Report(False, (), 0, str(error))
        return _report(container)


def _report(container: bitstream.Container) -> Report:
    count = container.header.tile_count
    damaged = container.damaged_tiles()
    if damaged:
        tiles = "tile is damaged or missing" if count == 1 else "tiles are damaged or missing"
        return Report(False, damaged, count, f"{len(damaged)} of {count} {tiles}")
    try:
        container.check_end()
    except BitstreamError as error:
        return Report(False, (), count, str(error))
    bound = f", {in_words(bounds_of(container.header))}" if is_bounded(container.header) else ""
    return Report(True, (), count, f"{'1 tile, whole' if count == 1 else f'{count} tiles, all whole'}{bound}")


def _is_pillow(image: object) -> TypeGuard[Image]:
    """Whether it is a Pillow image. Pillow isn't imported for this: if nobody has imported it, there is none."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


# -- arguments, which come from the user and may be anything -----------------------------------------------------------


def _tile_code(tile_size: object, height: int, width: int, bands: int) -> int:
    """The header's tile code; 0 where one tile holds the image."""
    # A tile is decoded as a whole, with all bands, so many bands need smaller tiles.
    usual = DEFAULT_TILE if bands <= 8 else DEFAULT_TILE // 2 if bands <= 32 else DEFAULT_TILE // 4
    side = usual if tile_size is None else tile_size
    if not isinstance(side, int) or side % TILE_UNIT or not TILE_UNIT <= side <= MAX_TILE:
        raise InvalidInputError(f"tile_size must be a multiple of {TILE_UNIT} up to {MAX_TILE}, not {shown(side)}")
    return 0 if max(height, width) <= side else side // TILE_UNIT


def _radar(kind: Any, unit: Any, said: Unit | None) -> Unit | Literal["guess"] | None:
    """The unit of radar values, "guess" if it is radar without one, None if it isn't radar."""
    if kind is not None and not options.is_one_of(kind, ["sar"]):
        raise InvalidInputError(f"kind must be 'sar' or None, not {shown(kind)}")
    if unit is not None:
        if not options.is_one_of(unit, UNITS):
            raise InvalidInputError(f"unit must be 'power', 'amplitude' or 'db', not {shown(unit)}")
        if kind is None:
            raise InvalidInputError("a unit is for radar: say kind='sar'")
        known: Unit = unit
        return known
    return said or ("guess" if kind == "sar" else None)


def _check_array_of(reader: Reader) -> None:
    """Refuse an open file that an array alone doesn't have the whole of, or warn of what is lost."""
    if reader.plane == "alpha":
        raise InvalidInputError("the open file has an alpha channel beside its bands, which decode_file writes")
    if reader.plane is not None:
        raise InvalidInputError("the open file has a mask beside its bands: encode read(), with mask=read_plane() > 0")
    if lost := sorted(reader.metadata.keys() - {"nodata"}):
        text = f"not kept of the file: {', '.join(lost)}; metadata= keeps what it is given"
        warnings.warn(text, MetadataLostWarning, stacklevel=3)


def _checked_metadata(metadata: Any, source: PixelSource) -> dict[str, Any]:
    """Metadata from a user that decoders will accept."""
    from learned_codec.raster import geotags

    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InvalidInputError(f"metadata must be a mapping of names to JSON values, not {shown(metadata)}")
    if "nodata" in metadata:
        raise InvalidInputError("nodata is an argument, and can't be given by metadata")
    try:
        found = json_of(payload_of(metadata))
        geotags.parse(found, source.bands, source.plane)
    except CorruptDataError as error:
        raise InvalidInputError(str(error)) from error
    return found


def _mask_spec(source: PixelSource, dtype: np.dtype[Any]) -> MaskSpec | None:
    """The ways in which a pixel of the source may have no value; None if all have one."""
    fills: list[float] = []
    if source.nodata is not None:
        _check_nodata(dtype, source.nodata)
        if not np.isnan(float(source.nodata)):
            fills.append(float(source.nodata))
    if dtype.kind == "f":
        # If NaN is nodata it comes first: damage is filled with the first of them.
        fills += [value for value in (np.nan, np.inf, -np.inf) if value not in fills]
    bits = 8
    if source.plane == "alpha" and source.read_plane(slice(0, 1), slice(0, 1)).dtype == np.uint16:
        if dtype != np.uint16:
            raise InvalidInputError(f"opacity of 16 bits beside {dtype}; uint16 can have it")
        bits = 16
    return MaskSpec(tuple(fills), source.plane, bits=bits) if fills or source.plane else None


def _check_nodata(dtype: np.dtype[Any], value: Any) -> None:
    if not is_number(value):
        raise InvalidInputError(f"nodata must be a number, not {shown(value)}")
    if (isinstance(value, int) and abs(value) >= 2**128) or not holds(dtype, float(value)):
        raise InvalidInputError(f"nodata must be a value that {dtype} can have, not {shown(value)}")
