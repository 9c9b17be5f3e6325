"""Files in, files out: what joins image files, the codec and the file system.

    learned_codec.encode_file("photo.png", "photo.lci", quality=60)
    learned_codec.decode_file("photo.lci", "photo.png")
    learned_codec.encode_file("scene.tif", "scene.lci", kind="sar")
    learned_codec.decode_file("scene.lci", "chip.tif", window=(0, 0, 512, 512))

A destination appears whole or not at all, and an existing one is only replaced where `overwrite=True` says so. Sources
and destinations may be binary file objects, such as `sys.stdin.buffer`; those get nothing before there is everything,
and aren't closed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from learned_codec.atomic import atomic_path, atomic_write
from learned_codec.errors import InvalidInputError
from learned_codec.limits import Limits
from learned_codec.options import Errors
from learned_codec.profiles import options_of
from learned_codec.raster.metadata import lose
from learned_codec.raster.neighbours import SIDECAR
from learned_codec.streams import Destination, Source, is_path, name_of, reading

if TYPE_CHECKING:
    import numpy as np

    from learned_codec.codec import Info
    from learned_codec.models.registry import ModelName
    from learned_codec.values.sources import PixelSource, Unit
    from learned_codec.windows import WindowLike

    Progress = Callable[[int, int], None]

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "img", "j2k", "jp2", "jpeg", "jpg", "jxl"),
        *("pgm", "png", "pnm", "ppm", "tif", "tiff", "vrt", "webp"),
    )
)
"""Of names that belong to images in other formats."""


def encode_file(
    src: "Source | PixelSource",
    dst: Destination,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
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
) -> "Info":
    """Encode an image file: a picture (PNG, JPEG, WebP, AVIF …) or a raster (GeoTIFF, whatever rasterio opens).

    What belongs to the image beside its pixels is kept (see `learned_codec.raster.metadata`), nodata, masks and alpha
    exactly. Rasters are read window by window, so memory is bounded by tiles, not by the image; of what is written,
    only the coded bytes are in memory.

    Args:
        src: the image; also a `PixelSource`, of which one rectangle after another is read.
        dst: where the LCI file goes. Its name can't be that of another format, such as `x.jp2`.
        quality: as for `encode`, and so are all that follow but for the last three.
        bpp: instead of a quality.
        psnr: likewise.
        model: by default the one for such images.
        profile: settings for a product, see `learned_codec.profiles`. What the other arguments and the file itself say
            counts more.
        nodata: the value of pixels that don't exist, where the file doesn't say it. If it says another, a
            `MetadataLostWarning` tells that this one is taken.
        kind: where the file should say it and doesn't.
        unit: likewise.
        tile_size: pixels.
        effort: as for `encode`.
        device: "cpu", "cuda" …
        threads: for this call.
        progress: called with (tiles done, tiles).
        dtype: store the samples of a file as this type ("int16", "float32" …), which has to hold all of their values.
            By default the file's own; float64 becomes float32, and int8 and integers of 32 and 64 bits one of 16 bits
            if they fit, with a warning.
        overwrite: replace an existing destination.
        force: encode rasters of classes and colour tables, too, in which lossy coding will invent some.

    Returns:
        What `inspect` says of the file.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        InvalidInputError: the source isn't an image that can be coded without converting it.
        As `encode`: everything about the options.
    """
    from learned_codec import codec

    usual = {} if profile is None else options_of(profile)
    usual_nodata = usual.pop("nodata", None)
    if bpp is not None or psnr is not None:
        usual.pop("quality", None)
    given: dict[str, Any] = {"quality": quality, "bpp": bpp, "psnr": psnr, "model": model, "kind": kind, "unit": unit}
    given |= {"tile_size": tile_size, "effort": effort, "device": device, "threads": threads, "progress": progress}
    options = usual | {name: value for name, value in given.items() if value is not None}
    _check_name(dst)
    with atomic_write(dst, overwrite=overwrite) as stream:  # first: a refusal should come before the work
        with _opened(src, force=force, dtype=dtype) as source:
            _declare(source, nodata, usual_nodata)
            data = codec.encode_source(source, **options)
        stream.write(data)
    return codec.inspect(data)


@contextmanager
def _opened(src: "Source | PixelSource", *, force: bool, dtype: str | None) -> "Iterator[PixelSource]":
    from learned_codec.raster.convert import convert
    from learned_codec.raster.files import open_source
    from learned_codec.values.sources import PixelSource

    if isinstance(src, PixelSource):
        yield convert(src, dtype, "the source")
        return
    with reading(src) as readable, open_source(readable, force=force, dtype=dtype) as source:
        yield source


def decode_file(
    src: Source,
    dst: Destination,
    *,
    format: str | None = None,
    window: "WindowLike | None" = None,
    bands: int | str | Sequence[int | str] | None = None,
    overviews: bool = False,
    errors: Errors = "raise",
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: "Progress | None" = None,
    overwrite: bool = False,
) -> None:
    """Decode an LCI file into an image file.

    A GeoTIFF gets everything that the original had beside its pixels, a picture what its format can hold. GeoTIFFs are
    written window by window, so memory is bounded by tiles, not by the image.

    Args:
        src: the LCI file.
        dst: where the image goes; its extension chooses the format.
        format: the format ("png", "tif", …) where the extension shouldn't choose; "png" if `dst` is a file object.
        window: (row, column, height, width), to decode only that; the georeference moves with it. Or as for `read`.
        bands: counted from 1, or by name, to write only these.
        overviews: rebuild the overviews that the original had.
        errors: as for `decode`, and so are all that follow but for the last.
        limits: what is accepted.
        device: "cpu", "cuda" …
        threads: for this call.
        progress: called with (tiles done, tiles needed).
        overwrite: replace an existing destination.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        BitstreamError: the source isn't an LCI file, or is damaged.
        InvalidInputError: no file of that format can hold the image.
    """
    from learned_codec.raster.files import open_sink
    from learned_codec.raster.pictures import output_format
    from learned_codec.raster.placement import of_window, only_bands
    from learned_codec.reader import open as open_lci

    named = Path(dst) if is_path(dst) else None
    chosen = output_format(named or "", format if named else format or "png")
    options = {"errors": errors, "limits": limits, "device": device, "threads": threads}
    with ExitStack() as stack:
        reader = stack.enter_context(open_lci(src, **options))  # type: ignore[arg-type]
        row, column, height, width = chosen_window = reader.checked_window(window)
        indices = reader.checked_bands(bands)
        metadata = of_window(reader.metadata, chosen_window, (reader.height, reader.width))
        if bands is not None:
            metadata = only_bands(metadata, indices)
        # Entered first, it is published last: better an image without the file beside it than that without the image.
        sidecar = stack.enter_context(_beside(named, chosen, metadata, overwrite=overwrite))
        path = stack.enter_context(atomic_path(dst, overwrite=overwrite))
        with open_sink(
            path,
            chosen,
            height=height,
            width=width,
            bands=len(indices),
            dtype=reader.dtype,
            nodata=reader.nodata,
            plane=reader.plane,
            metadata=metadata,
            overviews=overviews,
            sidecar=sidecar,
            name=named.name if named else "output",
        ) as sink:
            for part in reader.parts((row, column, height, width), progress):
                rows = slice(part.rows.start - row, part.rows.stop - row)
                columns = slice(part.columns.start - column, part.columns.stop - column)
                sink.write(rows, columns, part.values[indices], part.plane)


@contextmanager
def _beside(image: Path | None, format: str, metadata: dict[str, Any], *, overwrite: bool) -> Iterator[bool]:
    """Write the file beside an image that holds what the image can't, if there has to be one; gives whether."""
    if image is None or (image.exists() and not image.is_file()):  # a file object, a device
        yield False
        return
    content = None
    if format in ("tif", "tiff"):
        from learned_codec.raster.crs import sidecar

        content = sidecar(metadata)
    path = image.with_name(image.name + SIDECAR)
    if content is None:
        if path.exists():
            lose(f"{path} is there already: GIS software takes it for what belongs to {image.name}; is it still right?")
        yield False
        return
    with atomic_write(path, overwrite=overwrite) as stream:
        stream.write(content)
        yield True


def _declare(source: "PixelSource", nodata: float | None, usual: float | None) -> None:
    """Settle which value means that a pixel doesn't exist: the caller's, else the file's, else the profile's."""
    own = source.nodata
    if nodata is not None:
        if own is not None and not _same(own, nodata, source.dtype):
            lose(
                f"nodata is {nodata}, as asked for, and not {own:g}, as the file says: pixels of {own:g} are coded as "
                "if they were values"
            )
        source.nodata = nodata
    elif own is None and source.plane is None:
        source.nodata = usual


def _same(one: float, other: float, dtype: "np.dtype[Any]") -> bool:
    """Are two nodata values the same to samples of a dtype, to which 0.1 is 0.1 rounded?"""
    if one != one or other != other:
        return one != one and other != other
    return bool(one == other or (dtype.kind == "f" and dtype.type(one) == dtype.type(other)))


def _check_name(dst: Destination) -> None:
    """Refuse a name by which everybody would take the file for something else."""
    if is_path(dst) and Path(dst).suffix.lower() in IMAGE_SUFFIXES:
        raise InvalidInputError(f"{name_of(dst, 'output')}: LCI files are written, not {Path(dst).suffix}; say .lci")
