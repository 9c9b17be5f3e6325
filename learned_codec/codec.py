"""The one path an image takes: source -> values -> analysis -> latents -> payloads -> container, and back.

`encoding` and `decoding` are its two halves. Only what needs the networks imports an engine, inside the functions: a
header can be read without it.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream, options
from learned_codec.bitstream import TILE_UNIT, Header
from learned_codec.bitstream.metadata import number_to_json
from learned_codec.errors import BitstreamError, InputWarning, InvalidInputError, UnknownModelError
from learned_codec.limits import Limits
from learned_codec.models import registry
from learned_codec.models.config import quality_of_step
from learned_codec.models.device import checked_threads
from learned_codec.models.registry import ModelCard, ModelName, list_models, register_model
from learned_codec.reader import Reader, nodata_of
from learned_codec.streams import Openable, readable
from learned_codec.tiling.progress import Progress
from learned_codec.values.arrays import ArraySource
from learned_codec.values.choose import Samples, choose, guess_unit
from learned_codec.values.mask import MaskSpec, holds
from learned_codec.values.sources import PixelSource, Unit
from learned_codec.values.transform import UNITS, unit_in
from learned_codec.values.voids import voids

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


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
MAX_TILE = 4096
"""Decoding takes memory in proportion to the tile; `Limits.max_tile_pixels` allows this much by default."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a header says.

    `model` and `quality` are None where this installation does not have the model, and `quality` is above 100 where a
    bpp or psnr asked for more; `unit` is that of radar backscatter,
    None for everything else; `bpp` counts bits of the whole file per pixel (height x width), over all bands.
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
    tile_size: int | None
    tiles: int
    bytes: int
    bpp: float
    nodata: float | None
    mask: str | None
    metadata: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"nodata": None if self.nodata is None else number_to_json(self.nodata)}


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found."""

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
) -> bytes:
    """Encode an image.

    Args:
        image: uint8, uint16, int16 or float32 (float64 becomes float32, with a warning), (H, W), (H, W, C), or with
            `planar` (C, H, W); every H, W >= 1, up to 256 bands. Of a masked array, pixels masked in any band are.
            A Pillow image is taken as `encode_file` takes it: grey or RGB, its opacity kept exactly beside the bands
            (`open(data).read_plane()`), its colour profile and EXIF too; palettes, CMYK and the like are refused.
        quality: 1 (smallest) to 100 (best), continuous; 60 if no rate is given. Each model has its own scale: that for
            one band goes further up. For still less error, ask for a `bpp` or `psnr`.
        bpp: at most so many bits of the whole file per pixel (height x width) over all bands; no more than 3 % less,
            but for tiny images and where the best file there is has less. Takes two codings, as a rule.
        psnr: at least so many dB over all valid values of all bands; no more than 0.1 dB more, unless the smallest file
            has more. The peak is 255 for uint8, 65535 for 16 bits, and for float32 and radar the robust range of the
            values (of radar in dB; bands of unlike ranges count by their own). Takes two codings and decodings, as a
            rule.
        model: a model's name (see `list_models`), or the path of the weights of one of your own, which decoders then
            need, too (`register_model`). By default that for RGB of three bands of uint8, else that for one band, of
            which each spectral component goes through it.
        planar: the array is (C, H, W).
        nodata: the value of pixels that have none, in any band. They come back exactly, and cost almost nothing; so do
            NaN and infinity. A valid pixel never comes back as nodata.
        mask: (H, W), bool or uint8: where it is 0, no pixel is. They come back as 0, and the mask exactly.
        kind: "sar" for radar backscatter, which is coded in dB.
        unit: of radar: "power" (linear), "amplitude" (its square root, as in DN) or "db". By default "db" if a third
            of the values is negative, else "amplitude" for integers and "power" for floats.
        tile_size: pixels a side of the independently coded tiles, a multiple of 64; by default 1024, and less for
            more than 8 bands.
        effort: 0 to 3, how long to look for a smaller file of the same quality: 0 codes in one pass, 1 to 3 optimise
            the latents by gradients first, in 2, 8 and 24 passes, and adapt the decoder's last layer to the image by a
            few bytes. Decoding takes no longer.
        device: where the networks run: "cpu", or what torch calls another one, such as "cuda" (which needs
            `learned-codec[torch]`). The entropy coder's symbols are the same everywhere.
        threads: how many the call may use; by default as many as there are cores.
        progress: called with (done, all), in tiles; for a bpp, a psnr or effort, all passes over the tiles count.

    Returns:
        The bytes of an LCI file.

    Raises:
        InvalidInputError: the array, or an argument, is not one of the above.
        RateError: the bpp is below that of the smallest file of this image.
        UnknownModelError: there is no such model.
        WeightsError: the model's weights can't be read.
        LimitError: the image is larger than a decoder accepts by default (see `Limits`).

    Warns:
        RateWarning: the psnr is above the best that the model reaches on this image, which is what comes out.
    """
    source: PixelSource
    layout = None
    if _is_picture(image):
        from learned_codec.raster.pictures import source_of

        if planar or mask is not None or nodata is not None:
            raise InvalidInputError("a Pillow image says itself what its bands are: no planar, mask or nodata")
        source = source_of(image)
    else:
        source = ArraySource(image, planar=planar, mask=mask, nodata=nodata)  # type: ignore[arg-type]  # or a number
        layout = source.layout
    return encode_source(
        source,
        layout=layout,
        quality=quality,
        bpp=bpp,
        psnr=psnr,
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
    model: ModelName | None = None,
    kind: str | None = None,
    unit: str | None = None,
    tile_size: int | None = None,
    effort: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Encode an image that is read rectangle by rectangle; all else as for `encode`.

    `layout` is that of the array that it decodes to: by default "HW" of one band, else "HWC".
    """
    rate = options.one_rate({"quality": quality, "bpp": bpp, "psnr": psnr})
    effort = options.checked_effort(effort)
    used = checked_threads(threads)
    dtype = source.dtype
    if dtype == np.float64:
        dtype = np.dtype(np.float32)
        warnings.warn("float64 is stored as float32", InputWarning, stacklevel=3)
    radar = _radar(kind, unit, source.unit)
    plain = dtype == np.uint8 and not radar
    card = registry.by_name(model) if model is not None else registry.default(3 if plain and source.bands == 3 else 1)
    header = Header(
        width=source.width,
        height=source.height,
        bands=source.bands,
        dtype=dtype.name,  # type: ignore[arg-type]  # the source has checked it
        layout=layout or ("HW" if source.bands == 1 else "HWC"),  # type: ignore[arg-type]  # one of three
        weights_id=bytes.fromhex(card.weights_id),
        quality_step=0,
        tile_code=_tile_code(tile_size, source.height, source.width, source.bands),
    )
    header.validate(Limits())  # what no decoder would accept by default is better not written
    from learned_codec.tiling.encoder import ImageEncoder
    from learned_codec.tiling.parallel import shared
    from learned_codec.tiling.sampling import samples as take_samples

    layout_of_masks = _mask_layout(source, dtype)
    samples = Samples(np.empty((source.bands, 0), dtype))
    if not plain or source.bands not in (1, card.bands):  # else there is nothing to choose
        samples = take_samples(source, layout_of_masks or MaskSpec(()))
    _warn_of_voids(samples, declared=source.nodata is not None or source.plane is not None)
    known: Unit | None = (radar if radar != "guess" else guess_unit(dtype, samples)) if radar else None
    transform = choose(dtype, source.bands, card.bands, known, samples, header.pixels)
    metadata = dict(source.metadata)
    if source.nodata is not None:  # kept in any case: that no pixel has it now means nothing
        metadata["nodata"] = number_to_json(source.nodata)
    workers, each = shared(used, header.tile_count)
    loaded = registry.load(card, device, each)
    optimiser = registry.optimiser(loaded, card, effort) if effort else None
    job = ImageEncoder(source, header, transform, layout_of_masks, loaded, optimiser, progress, workers)
    return job.run(*rate, metadata)


def decode(
    data: Openable,
    *,
    errors: options.Errors = "raise",
    masked: bool = False,
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Decode the bytes of an LCI file to an array of the shape and dtype that was encoded.

    Args:
        data: the whole file: bytes, a path, or a binary file object.
        errors: what a damaged tile is: an error, or (`"fill"`) a rectangle of nodata, else NaN, else 0. `check` lists
            the tiles. Pixels up to 48 away from such a tile may change a little, as its latents helped to decode them.
        masked: return a masked array, with what has no value masked: nodata, NaN and infinity, and what a mask or an
            alpha channel hides.
        limits: the largest image to accept (`Limits()` by default).
        device: as for `encode`.
        threads: likewise.
        progress: likewise.

    Raises:
        FileError: there is no such file, or it can't be read.
        NotLCIError, TruncatedError, CorruptDataError, UnsupportedVersionError: the bytes are at fault (all are
            `BitstreamError`s).
        LimitError: the image is larger than `limits`; nothing of its size was allocated.
        UnknownModelError: the file was made with a model that is not here; the message names its weights.
    """
    lenient = options.lenient(errors)
    with readable(data) as found:
        container = (bitstream.read_head if lenient else bitstream.read)(found, limits=limits or Limits())
        reader = Reader(container, device=device, threads=threads, lenient=lenient)
        return reader.read(masked=masked, progress=progress)


def inspect(data: Openable, *, limits: Limits | None = None) -> Info:
    """What the head of an LCI file says; takes microseconds and does not load torch. Raises as `decode`.

    `data` is bytes, a path or a binary file object; of a file no more than the head is read. Of a file of several
    tiles, the head alone is enough. A file of one tile must be there to its end: its head doesn't say its size.
    """
    with readable(data) as found:
        container = bitstream.read_head(found, limits=limits or Limits())
        if container.header.tile_count == 1:  # no checksum but the tile's own says that its length is right
            container.check_end()
    header, size = container.header, container.size
    try:
        card = registry.by_id(header.weights_id)
    except UnknownModelError:
        card = None
    layout = None if container.mask is None else MaskSpec.from_bytes(container.mask)
    return Info(
        width=header.width,
        height=header.height,
        bands=header.bands,
        dtype=header.dtype,
        layout=header.layout,
        unit=unit_in(header),
        model=card.name if card else None,
        weights_id=header.weights_id.hex(),
        quality=quality_of_step(header.quality_step, card.max_step)
        if card and header.quality_step <= card.top_step
        else None,
        tile_size=header.tile_code * TILE_UNIT or None,
        tiles=header.tile_count,
        bytes=size,
        bpp=8 * size / header.pixels,
        nodata=nodata_of(layout.fills if layout else (), container.metadata, np.dtype(header.dtype)),
        mask=layout.plane if layout else None,
        metadata=container.metadata,
    )


def check(data: Openable, *, limits: Limits | None = None) -> Report:
    """Whether a file is whole, by its checksums, without decoding it; damage is reported, not raised.

    `data` is bytes, a path or a binary file object. Raises `FileError` if it can't be read, and `LimitError`.
    """
    with readable(data) as found:
        try:
            container = bitstream.read_head(found, limits=limits or Limits())
        except BitstreamError as error:
            return Report(False, (), 0, str(error))
        return _report(container)


def _report(container: bitstream.Container) -> Report:
    count = container.header.tile_count
    damaged = container.damaged_tiles()
    if damaged:
        return Report(False, damaged, count, f"{len(damaged)} of {count} tiles are damaged or missing")
    try:
        container.check_end()
    except BitstreamError as error:
        return Report(False, (), count, str(error))
    return Report(True, (), count, f"{count} tiles, all whole")


def _warn_of_voids(samples: Samples, *, declared: bool) -> None:
    """Warn of values that seem to stand for none, and would be coded as if they were measured."""
    for number, band in enumerate(samples.bands(), 1):
        for value, share in voids(band, near=not declared):
            warnings.warn(
                f"{share:.1%} of band {number} are {value:g}, apart from all others: if that stands for pixels without "
                f"a value, say nodata={value:g}, or they harm those beside them",
                InputWarning,
                stacklevel=4,
            )
            return


def _is_picture(image: object) -> TypeGuard[Image]:
    """Whether it is a Pillow image whose numbers aren't all there is to it: not one of 16 bits or floats.

    Without importing Pillow: where nobody has, there is none.
    """
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image) and not image.mode.startswith(("I", "F"))


# -- arguments, which come from the user and may be anything -----------------------------------------------------------


def _tile_code(tile_size: object, height: int, width: int, bands: int) -> int:
    """The header's tile code; 0 where one tile holds the image."""
    # A tile is decoded as a whole, all bands of it.
    usual = DEFAULT_TILE if bands <= 8 else DEFAULT_TILE // 2 if bands <= 32 else DEFAULT_TILE // 4
    side = usual if tile_size is None else tile_size
    if not isinstance(side, int) or side % TILE_UNIT or not TILE_UNIT <= side <= MAX_TILE:
        raise InvalidInputError(f"tile_size must be a multiple of {TILE_UNIT} up to {MAX_TILE}, not {side!r}")
    return 0 if max(height, width) <= side else side // TILE_UNIT


def _radar(kind: Any, unit: Any, said: Unit | None) -> Unit | Literal["guess"] | None:
    """The unit of radar values, "guess" if it is radar without one, None if it isn't radar."""
    if kind not in (None, "sar"):
        raise InvalidInputError(f"kind must be 'sar' or None, not {kind!r}")
    if unit is not None:
        if unit not in UNITS:
            raise InvalidInputError(f"unit must be 'power', 'amplitude' or 'db', not {unit!r}")
        if kind is None:
            raise InvalidInputError("a unit is for radar: say kind='sar'")
        known: Unit = unit
        return known
    return said or ("guess" if kind == "sar" else None)


def _mask_layout(source: PixelSource, dtype: np.dtype[Any]) -> MaskSpec | None:
    """What there may be in the source that has no value."""
    fills: list[float] = []
    if source.nodata is not None:
        _check_nodata(dtype, source.nodata)
        if not np.isnan(source.nodata):
            fills.append(float(source.nodata))
    if dtype.kind == "f":
        # Where NaN is nodata it comes first: the first is what damage is filled with.
        fills += [value for value in (np.nan, np.inf, -np.inf) if value not in fills]
    return MaskSpec(tuple(fills), source.plane) if fills or source.plane else None


def _check_nodata(dtype: np.dtype[Any], value: object) -> None:
    if not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidInputError(f"nodata must be a number, not {value!r}")
    if (isinstance(value, int) and abs(value) > 2**64) or not holds(dtype, float(value)):
        raise InvalidInputError(f"nodata must be a value that {dtype} can have, not {value!r}")
