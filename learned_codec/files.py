"""Files in, files out: what joins image files, the codec and the file system.

    learned_codec.encode_file("photo.png", "photo.lci", quality=60)
    learned_codec.decode_file("photo.lci", "photo.png")
    learned_codec.encode_file("scene.tif", "scene.lci", kind="sar")
    learned_codec.decode_file("scene.lci", "chip.tif", window=(0, 0, 512, 512))

A destination appears whole or not at all. An existing one is only replaced with `overwrite=True`. Sources and
destinations may be binary file objects, such as `sys.stdin.buffer`. Such a destination gets nothing until everything is
ready. File objects aren't closed.

Threads may call these functions at the same time, with different destinations.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from learned_codec.atomic import atomic_path, atomic_write
from learned_codec.errors import InputWarning, InvalidInputError, shown
from learned_codec.limits import Limits
from learned_codec.options import Errors, check_switches, factor_of_scale, is_exact
from learned_codec.profiles import options_of
from learned_codec.raster.metadata import lose
from learned_codec.raster.names import exists, fits
from learned_codec.raster.neighbours import SIDECAR, strangers
from learned_codec.streams import PathOrFile, again_from, check_other, is_path, local_path, name_of, reading, unchanged

if TYPE_CHECKING:
    import numpy as np

    from learned_codec.codec import Info
    from learned_codec.models.registry import ModelName
    from learned_codec.raster.sink_spec import SinkSpec
    from learned_codec.reader import Reader
    from learned_codec.values.sources import PixelSource, Unit
    from learned_codec.windows import WindowLike

    Progress = Callable[[int, int], None]

MOST_NAMED = 10
"""So many damaged tiles are named in a warning."""

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "img", "j2k", "jp2", "jpeg", "jpg", "jxl"),
        *("pgm", "png", "pnm", "ppm", "tif", "tiff", "vrt", "webp"),
    )
)
"""Suffixes of files in other image formats."""


class EncodeFileOptions(TypedDict, total=False):
    """The options of `encode_file`, for functions that pass them on: `**options: Unpack[EncodeFileOptions]`."""

    quality: float | None
    bpp: float | None
    psnr: float | None
    max_error: float | Sequence[float] | None
    model: "ModelName | None"
    profile: str | None
    nodata: float | None
    kind: Literal["sar"] | None
    unit: "Unit | None"
    tile_size: int | None
    effort: int
    device: str
    threads: int | None
    progress: "Progress | None"
    dtype: str | None
    overwrite: bool
    force: bool
    executor: Executor | None


def encode_file(
    src: "PathOrFile | PixelSource",
    dst: PathOrFile,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    max_error: float | Sequence[float] | None = None,
    model: "ModelName | None" = None,
    profile: str | None = None,
    nodata: float | None = None,
    kind: Literal["sar"] | None = None,
    unit: "Unit | None" = None,
    tile_size: int | None = None,
    effort: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    progress: "Progress | None" = None,
    dtype: str | None = None,
    overwrite: bool = False,
    force: bool = False,
    executor: Executor | None = None,
) -> "Info":
    """Encode an image file: a picture (PNG, JPEG, WebP, AVIF …) or a raster (GeoTIFF and all that rasterio opens).

    What belongs to the image beside its pixels is kept (see `learned_codec.raster.metadata`); nodata, masks and alpha
    are kept exactly. Rasters are read window by window, so memory is bounded by tiles, not by the image. The coded
    bytes are in memory until all of them are written. Threads may encode files at the same time.

    Args:
        src: the image: a path, a binary file object, or a `PixelSource`, which is read rectangle by rectangle.
        dst: where the LCI file goes: a path or a binary file object. A path can't have the suffix of another image
            format, such as `x.jp2`.
        quality: 1 to 100, as for `encode`.
        bpp: bits per pixel, as for `encode`.
        psnr: dB, as for `encode`.
        max_error: the most by which a value may differ, as for `encode`; 0 is lossless, also for classes.
        model: a model's name or the path of its weights, as for `encode`.
        profile: settings for a product, see `learned_codec.profiles`. Other arguments, and declarations of the file,
            override the profile.
        nodata: the value of pixels that don't exist, if the file doesn't declare it. If the file declares another
            value, this one is used, with a `MetadataLostWarning`.
        kind: "sar" for radar backscatter, if the file doesn't declare it.
        unit: "power", "amplitude" or "db", if the file doesn't declare it.
        tile_size: pixels a side of a tile, as for `encode`.
        effort: 0 to 3, as for `encode`.
        device: "cpu", "cuda" …, as for `encode`.
        threads: how many threads the call may use, as for `encode`.
        progress: called with (done, all), in tiles, as for `encode`.
        dtype: store the samples of a file as this type ("int16", "float32" …), which must hold all of their values;
            only float32 rounds them, large integers with a warning. By default it is the file's own type. But with a
            warning, float64 becomes float32, and int8 and integers of 32 and 64 bits become a type of 16 bits if they
            fit.
        overwrite: replace an existing destination.
        force: encode rasters of classes and colour tables too. Lossy coding changes the class of some pixels. With a
            `max_error` of 0, which doesn't, they are accepted anyway.
        executor: rows of tiles are encoded by its processes, each with one thread: a `ProcessPoolExecutor`, or the
            `get_executor()` of a dask `Client`. The file is the same, byte for byte. They open the source themselves,
            so it must be a path that they know, or a `PixelSource` that can be sent to them. It goes with a `quality`
            or a `max_error`, and without effort: other rates need all tiles at once.

    Returns:
        What `inspect` returns for the file.

    Raises:
        FileError: something can't be read or written, the destination exists or is the source, or the source was
            changed while it was read.
        InvalidInputError: the source isn't an image that can be coded without converting it, or an argument is not one
            of the above.
        RateError, UnknownModelError, WeightsError, LimitError: as for `encode`.
        ProcessLostError: a process of the executor was killed.

    Warns:
        MetadataLostWarning: something beside the pixels isn't kept.
        RateWarning, DistortionWarning, InputWarning: as for `encode`.
    """
    from learned_codec import codec

    check_switches(overwrite=overwrite, force=force)
    usual = {} if profile is None else options_of(profile)
    usual_nodata = usual.pop("nodata", None)
    rates = {"quality": quality, "bpp": bpp, "psnr": psnr, "max_error": max_error}
    if any(rate is not None for rate in rates.values()):
        usual = {name: value for name, value in usual.items() if name not in rates}
    given: dict[str, Any] = {**rates, "model": model, "kind": kind, "unit": unit}
    given |= {"tile_size": tile_size, "effort": effort, "device": device, "threads": threads, "progress": progress}
    options = usual | {name: value for name, value in given.items() if value is not None}
    bounded = "max_error" in options
    exact = is_exact(options.get("max_error"))
    _check_name(dst)
    src = local_path(src)
    check_other(src, dst)
    _check_executor(src, executor)
    with atomic_write(dst, overwrite=overwrite) as stream:  # before the work, so that a refusal comes first
        with (
            unchanged(src, reopened=executor is not None),
            _opened(src, force=force or exact, dtype=dtype, bounded=bounded) as source,
            ExitStack() as stack,
        ):
            by_profile = _declare(source, nodata, usual_nodata)
            # Inside a radar image, zeros are dark ground.
            border = by_profile and options.get("kind") == "sar"
            if executor is not None:
                from learned_codec.tiling.rows import Rows

                again = partial(_opened_again, again_from(src), source.nodata, source.dtype.name, bounded=bounded)
                options["rows"] = stack.enter_context(Rows(executor, again))
            data = codec.encode_source(source, nodata_is_border=border, **options)
        stream.write(data)
    return codec.inspect(data)


@contextmanager
def _opened(
    src: "PathOrFile | PixelSource", *, force: bool, dtype: str | None, bounded: bool
) -> "Iterator[PixelSource]":
    from learned_codec.raster.convert import convert
    from learned_codec.raster.files import open_source
    from learned_codec.values.sources import PixelSource

    if isinstance(src, PixelSource):
        if min(src.height, src.width, src.bands) < 1:
            raise InvalidInputError(
                f"the source: {src.width} × {src.height} pixels of {src.bands} bands: at least one of each is needed"
            )
        yield convert(src, dtype, "the source", bounded=bounded)
        return
    with reading(src) as readable, open_source(readable, force=force, dtype=dtype, bounded=bounded) as source:
        yield source


@contextmanager
def _opened_again(
    src: "PathOrFile | PixelSource", nodata: float | None, dtype: str, *, bounded: bool
) -> "Iterator[PixelSource]":
    """A source that was accepted before, in another process."""
    with _opened(src, force=True, dtype=dtype, bounded=bounded) as source:
        source.nodata = nodata
        yield source


def decode_file(
    src: PathOrFile,
    dst: PathOrFile,
    *,
    format: str | None = None,
    window: "WindowLike | None" = None,
    bands: int | str | Sequence[int | str] | None = None,
    scale: float = 1,
    overviews: bool = False,
    errors: Errors = "raise",
    refine: bool = True,
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: "Progress | None" = None,
    overwrite: bool = False,
) -> None:
    """Decode an LCI file into an image file.

    A GeoTIFF gets all metadata of the original; a picture gets what its format can hold. Booleans become 0 and 1 of
    uint8. GeoTIFFs are written window by window, so memory is bounded by tiles, not by the image. Threads may decode
    files at the same time.

    Args:
        src: the LCI file: a path or a binary file object.
        dst: where the image goes: a path, whose extension chooses the format, or a binary file object.
        format: the format ("png", "tif", …) where the extension shouldn't choose; "png" if `dst` is a file object.
        window: (row, column, height, width) in pixels, to decode only that, or another form that `Reader.read` accepts.
            The georeference moves with the window.
        bands: the bands to write, counted from 1 or by name; by default all.
        scale: 1, or 1/2, 1/4, 1/8 or 1/16 for the reduced image, as for `decode`. The georeference is scaled with it.
        overviews: rebuild the overviews that the original had: means; or the nearest pixels if some are missing, or a
            band may be one of classes, as it has at most 64 values.
        errors: "raise" or "fill", as for `decode`.
        refine: whether to refine decoded pixels, as for `decode`.
        limits: the largest image to accept (`Limits()` by default).
        device: "cpu", "cuda" …, as for `decode`.
        threads: how many threads the call may use, as for `decode`.
        progress: called with (done, all), in tiles that the window needs.
        overwrite: replace an existing destination.

    Raises:
        FileError: something can't be read or written, or the destination exists or is the source.
        BitstreamError: the source isn't an LCI file, or is damaged.
        InvalidInputError: no file of that format can hold the image, or an argument is not one of the above.
        LimitError: the image is larger than `limits`.
        UnknownModelError: the file was made with a model that isn't installed here.

    Warns:
        InputWarning: with `errors="fill"`, the pixels of damaged tiles became 0, and neither nodata nor a mask tells.
        MetadataLostWarning: the format can't hold something that is beside the pixels.
    """
    from learned_codec.raster.files import open_sink
    from learned_codec.raster.pictures import output_format
    from learned_codec.raster.placement import of_scale, of_window, only_bands
    from learned_codec.raster.sink_spec import SinkSpec
    from learned_codec.reader import open as open_lci
    from learned_codec.tiling.progress import Telling
    from learned_codec.windows import reduced

    check_switches(overviews=overviews, overwrite=overwrite)
    src = local_path(src)
    check_other(src, dst)
    named = Path(dst) if is_path(dst) else None
    chosen = output_format(named or "", format if named else format or "png")
    options = {"errors": errors, "refine": refine, "limits": limits, "device": device, "threads": threads}
    with Telling(progress) as tell, ExitStack() as stack:
        reader = stack.enter_context(open_lci(src, **options))  # type: ignore[arg-type]
        factor = factor_of_scale(scale)
        if reader.dtype.kind == "b" and chosen in ("jpg", "jpeg"):
            raise InvalidInputError(f"{chosen} doesn't keep booleans, which are levels 0 and 1; png and tif do")
        # A reduced image has all pixels that the window touches, so its corner may lie a little above and to the left.
        row, column, height, width = reduced(reader.checked_window(window), factor)
        touched = row * factor, column * factor, height * factor, width * factor
        indices = reader.checked_bands(bands)
        metadata = of_scale(of_window(reader.metadata, touched, (reader.height, reader.width)), factor)
        if bands is not None:
            metadata = only_bands(metadata, indices)
        spec = SinkSpec(
            height=height,
            width=width,
            bands=len(indices),
            dtype="uint8" if reader.dtype.kind == "b" else reader.dtype,
            nodata=reader.nodata,
            plane=reader.plane,
            metadata=metadata,
            overviews=overviews,
            name=named.name if named else "output",
        )
        # The sidecar appears after the image: a crash may leave an image without its sidecar, but never a sidecar
        # alone.
        sidecar = stack.enter_context(_beside(named, chosen, spec, overwrite=overwrite))
        path = stack.enter_context(atomic_path(dst, overwrite=overwrite))
        with open_sink(path, chosen, replace(spec, sidecar=sidecar)) as sink:
            for part in reader.parts(window, tell, scale=scale):
                rows = slice(part.rows.start - row, part.rows.stop - row)
                columns = slice(part.columns.start - column, part.columns.stop - column)
                values = part.values[indices]
                sink.write(rows, columns, values.view("uint8") if values.dtype.kind == "b" else values, part.plane)
        _tell_of_damage(reader, named.name if named else "output")


def _tell_of_damage(reader: "Reader", name: str) -> None:
    """Warn of damaged tiles that look like any others in the image, as neither nodata nor a mask marks them."""
    if not reader.damaged or reader.nodata is not None or reader.plane is not None or reader.dtype.kind == "f":
        return
    numbers = ", ".join(map(str, reader.damaged[:MOST_NAMED])) + (" …" if len(reader.damaged) > MOST_NAMED else "")
    warnings.warn(
        f"{name}: damaged tiles ({numbers}) became 0, and neither nodata nor a mask marks them",
        InputWarning,
        stacklevel=3,
    )


@contextmanager
def _beside(image: Path | None, format: str, spec: "SinkSpec", *, overwrite: bool) -> Iterator[bool]:
    """Write the sidecar of an image, if it needs one, for what the image itself can't hold. Yields whether it does."""
    if image is None or (exists(image) and not image.is_file()):  # a file object, a device
        yield False
        return
    content, tiff = None, format in ("tif", "tiff")
    if tiff:
        from learned_codec.raster.sidecar import sidecar

        content = sidecar(spec)
    path = image.with_name(image.name + SIDECAR)
    needed = content is not None and fits(path)
    for other in strangers(image, tiff=tiff, placed=tiff and "transform" in spec.metadata, sidecar=needed):
        lose(
            f"{other} is there already: GIS software takes it for what belongs to {image.name}; delete it if that "
            "isn't right"
        )
    if content is None or not needed:
        yield False
        return
    with atomic_write(path, overwrite=overwrite) as stream:
        stream.write(content)
        yield True


def _declare(source: "PixelSource", nodata: float | None, usual: float | None) -> bool:
    """Settle which value means that a pixel doesn't exist: the caller's, else the file's, else the profile's.

    Returns whether it is the profile's.
    """
    own = source.nodata
    if nodata is not None:
        if own is not None and not _same(own, nodata, source.dtype):
            lose(
                f"nodata is {nodata}, as asked for, and not {own:g}, as the file says: pixels of {own:g} are coded as "
                "if they were values"
            )
        source.nodata = nodata
    elif own is None and source.plane is None and usual is not None:
        source.nodata = usual
        return True
    return False


def _same(one: float, other: float, dtype: "np.dtype[Any]") -> bool:
    """Whether two nodata values are the same after rounding to the dtype."""
    if one != one or other != other:
        return one != one and other != other
    return bool(one == other or (dtype.kind == "f" and dtype.type(one) == dtype.type(other)))


def _check_executor(src: "PathOrFile | PixelSource", executor: object) -> None:
    from learned_codec.values.sources import PixelSource

    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise InvalidInputError(
            f"executor must be a concurrent.futures.Executor, such as client.get_executor(), not {shown(executor)}"
        )
    if not isinstance(src, PixelSource) and not is_path(src):
        raise InvalidInputError("other processes can't read a file object: with an executor, give a path")


def _check_name(dst: PathOrFile) -> None:
    """Refuse a name with the suffix of another image format."""
    if is_path(dst) and Path(dst).suffix.lower() in IMAGE_SUFFIXES:
        raise InvalidInputError(f"{name_of(dst, 'output')}: LCI files are written, not {Path(dst).suffix}; say .lci")
