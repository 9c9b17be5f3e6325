"""Files in, files out: what joins image files, the codec and the file system.

    learned_codec.encode_file("photo.png", "photo.lci", quality=60)
    learned_codec.decode_file("photo.lci", "photo.png")
    learned_codec.encode_file("scene.tif", "scene.lci", kind="sar")
    learned_codec.decode_file("scene.lci", "chip.tif", window=(0, 0, 512, 512))

A destination appears whole or not at all, and an existing one is only replaced where `overwrite=True` says so. Sources
and destinations may be binary file objects, such as `sys.stdin.buffer`; those get nothing before there is everything,
and aren't closed.
"""

import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from learned_codec.atomic import Destination, atomic_path, atomic_write
from learned_codec.errors import FileError
from learned_codec.profiles import options_of
from learned_codec.raster.metadata import lose

if TYPE_CHECKING:
    from learned_codec.codec import Info
    from learned_codec.values.sources import PixelSource


Source: TypeAlias = str | os.PathLike[str] | BinaryIO


def encode_file(
    src: Source,
    dst: Destination,
    *,
    overwrite: bool = False,
    force: bool = False,
    profile: str | None = None,
    nodata: float | None = None,
    **options: Any,
) -> "Info":
    """Encode an image file: a picture (PNG, JPEG, WebP, AVIF …) or a raster (GeoTIFF, whatever rasterio opens).

    What belongs to the image beside its pixels is kept (see `learned_codec.raster.metadata`), nodata, masks and alpha
    exactly. Rasters are read window by window, so memory is bounded by tiles, not by the image; of what is written,
    only the coded bytes are in memory.

    Args:
        src: the image.
        dst: where the LCI file goes.
        overwrite: replace an existing destination.
        force: encode rasters of classes and colour tables, too, in which lossy coding will invent some.
        profile: settings for a product, see `learned_codec.profiles`. What the other arguments and the file itself say
            counts more.
        nodata: the value of pixels that don't exist, where the file doesn't say it. If it says another, a
            `MetadataLostWarning` tells that this one is taken.
        options: as for `encode`: `quality`, `bpp`, `psnr`, `model`, `kind`, `unit`, `tile_size`, `effort`, `device`,
            `threads`, `progress`.

    Returns:
        What `inspect` says of the file.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        InvalidInputError: the source isn't an image that can be coded without converting it.
    """
    from learned_codec import codec
    from learned_codec.raster.files import open_source

    usual = {} if profile is None else options_of(profile)
    usual_nodata = usual.pop("nodata", None)
    if options.keys() & {"bpp", "psnr"}:
        usual.pop("quality", None)
    with atomic_write(dst, overwrite=overwrite) as stream:  # first: a refusal should come before the work
        with open_source(Path(src) if isinstance(src, os.PathLike) else src, force=force) as source:
            _declare(source, nodata, usual_nodata)
            data = codec.encode_source(source, **usual | options)
        stream.write(data)
    return codec.inspect(data)


def decode_file(
    src: Source,
    dst: Destination,
    *,
    overwrite: bool = False,
    format: str | None = None,
    window: tuple[int, int, int, int] | None = None,
    bands: Sequence[int] | None = None,
    overviews: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> None:
    """Decode an LCI file into an image file.

    A GeoTIFF gets everything that the original had beside its pixels, a picture what its format can hold. GeoTIFFs are
    written window by window, so memory is bounded by tiles, not by the image.

    Args:
        src: the LCI file.
        dst: where the image goes; its extension chooses the format.
        overwrite: replace an existing destination.
        format: the format ("png", "tif", …) where the extension shouldn't choose; "png" if `dst` is a file object.
        window: (row, column, height, width), to decode only that; the georeference moves with it.
        bands: counted from 1, to write only these.
        overviews: rebuild the overviews that the original had.
        progress: as for `decode`.
        options: as for `open`: `errors`, `limits`, `device`, `threads`.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        BitstreamError: the source isn't an LCI file, or is damaged.
        InvalidInputError: no file of that format can hold the image.
    """
    from learned_codec.raster.files import open_sink
    from learned_codec.raster.pictures import output_format
    from learned_codec.raster.placement import of_window, only_bands
    from learned_codec.reader import open as open_lci

    named = isinstance(dst, (str, os.PathLike))
    chosen = output_format(Path(dst) if named else "", format if named else format or "png")  # type: ignore[arg-type]
    if not isinstance(src, (str, os.PathLike)) and not (hasattr(src, "seekable") and src.seekable()):
        src = io.BytesIO(src.read())  # a pipe
    with atomic_path(dst, overwrite=overwrite) as path, open_lci(src, **options) as reader:
        row, column, height, width = chosen_window = reader.checked_window(window)
        indices = reader.checked_bands(bands)
        metadata = of_window(reader.metadata, chosen_window, (reader.height, reader.width))
        if bands is not None:
            metadata = only_bands(metadata, indices)
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
            name=Path(dst).name if isinstance(dst, (str, os.PathLike)) else "output",
        ) as sink:
            for part in reader.parts((row, column, height, width), progress):
                rows = slice(part.rows.start - row, part.rows.stop - row)
                columns = slice(part.columns.start - column, part.columns.stop - column)
                sink.write(rows, columns, part.values[indices], part.plane)


def _declare(source: "PixelSource", nodata: float | None, usual: float | None) -> None:
    """Settle which value means that a pixel doesn't exist: the caller's, else the file's, else the profile's."""
    own = source.nodata
    if nodata is not None:
        if own is not None and not (own == nodata or (math.isnan(own) and nodata != nodata)):
            lose(
                f"nodata is {nodata}, as asked for, and not {own:g}, as the file says: pixels of {own:g} are coded as "
                "if they were values"
            )
        source.nodata = nodata
    elif own is None and source.plane is None:
        source.nodata = usual


def read_bytes(src: Source) -> bytes:
    """All bytes of a path or a binary file object."""
    if not isinstance(src, (str, os.PathLike)):
        return src.read()
    try:
        return Path(src).read_bytes()
    except OSError as error:
        raise FileError(f"{os.fspath(src)}: {error.strerror or error}") from error
