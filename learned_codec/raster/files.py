"""Which reader, which writer: image files as a `PixelSource` and a `PixelSink`.

Ordinary pictures go through Pillow, which knows about photographs: EXIF orientation, colour profiles. What it would
convert or doesn't know (TIFF, JPEG 2000, 16 bits, many bands, georeferences) goes through rasterio, whose import costs
0.1 s and GDAL's memory, and which therefore is only imported when it is needed.
"""

import os
import stat
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from learned_codec.errors import FileError
from learned_codec.values.sources import PixelSink, PixelSource, PlaneKind

from . import metadata as meta
from . import pictures

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000_STARTS = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TAG_ORIENTATION = 0x0112
_TAG_EXIF = 34665


def open_source(source: str | Path | BinaryIO, *, force: bool = False) -> AbstractContextManager[PixelSource]:
    """Open an image file for reading.

    Rasters (TIFF, JPEG 2000, 16-bit PNG, what Pillow doesn't know) are read window by window if the source is a path,
    or a file object that can seek and stands at its start; pictures are decoded as a whole, and turned as their EXIF
    orientation says.

    Args:
        source: a path, or a binary file object, which isn't closed.
        force: also read rasters of classes, in which lossy coding will invent some.

    Returns:
        A context manager that gives the source. Errors come on calling this or on entering it.

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't an image, is damaged, or is of a kind that would have to be converted first.
    """
    named = isinstance(source, (str, os.PathLike))
    name = str(source) if named else str(getattr(source, "name", "") or "input")
    stream: BinaryIO
    if isinstance(source, (str, os.PathLike)):
        try:
            kind = Path(source).stat().st_mode
            if stat.S_ISDIR(kind):
                raster = True
            elif stat.S_ISREG(kind):
                with Path(source).open("rb") as stream:
                    raster = _is_raster(stream)
            else:  # a pipe or a device gives its bytes once
                source = BytesIO(Path(source).read_bytes())
                raster = _is_raster(source)
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from error
    else:
        if not (hasattr(source, "seekable") and source.seekable() and source.tell() == 0):
            source = BytesIO(source.read())
        raster = _is_raster(source)
    if raster:
        from . import geotiff

        return geotiff.open_source(source, force=force, name=name)
    return pictures.open_source(source, name=name)


def open_sink(
    path: Path,
    format: str,
    *,
    height: int,
    width: int,
    bands: int,
    dtype: Any,
    nodata: float | None = None,
    plane: PlaneKind | None = None,
    metadata: dict[str, Any] | None = None,
    overviews: bool = False,
    name: str | None = None,
) -> AbstractContextManager[PixelSink]:
    """Open an image file for writing, losslessly unless `format` is jpg.

    GeoTIFFs are written window by window; pictures are kept in memory until the end.

    Args:
        path: replaced if it exists, and the only file that is written. After an exception it is the caller's to delete.
        format: a key that `pictures.output_format` knows.
        height: pixels.
        width: pixels.
        bands: without an alpha band, which is the plane.
        dtype: of the samples. uint8 goes into every format, one band of uint16 into png, everything else into tif.
        nodata: the value of pixels that don't exist.
        plane: what the plane beside the bands is. A format without masks that has alpha gets a mask as alpha.
        metadata: as `learned_codec.raster.metadata` has it; not trusted. What the format can't hold is lost with a
            `MetadataLostWarning`.
        overviews: rebuild those that `metadata` records, in a GeoTIFF.
        name: of the file in warnings, if not its own.

    Returns:
        A context manager that gives the sink. Errors come on calling this, on entering, and on leaving it.

    Raises:
        CorruptDataError: metadata or nodata make no sense.
        InvalidInputError: the format can't hold such an image.
        FileError: the file can't be written.
    """
    key = pictures.output_format("", format)
    name = name or path.name
    found = meta.checked({} if metadata is None else metadata)
    picture = np.dtype(dtype) == np.uint8 and bands in (1, 3) and nodata is None and plane != "mask"
    # Only Pillow writes EXIF into a TIFF, only rasterio everything else and in tiles.
    photograph = picture and "exif" in found and not pictures.RASTER_KEYS & found.keys()
    if key not in ("tif", "tiff") or photograph:
        return pictures.open_sink(
            path,
            key,
            height=height,
            width=width,
            bands=bands,
            dtype=dtype,
            nodata=nodata,
            plane=plane,
            metadata=found,
            name=name,
        )
    from . import geotiff_write

    if "exif" in found:
        meta.lose(f"{name}: EXIF isn't kept: a GeoTIFF doesn't have it")
    return geotiff_write.open_sink(
        path,
        height=height,
        width=width,
        bands=bands,
        dtype=dtype,
        nodata=nodata,
        plane=plane,
        metadata=found,
        overviews=overviews,
        name=name,
    )


def _is_raster(stream: BinaryIO) -> bool:
    """Is this for rasterio? Leaves the stream at its start."""
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(_PNG_START):
        return head[24:25] == b"\x10"  # IHDR comes first: signature 8, length 4, type 4, width 4, height 4, depth
    if not head or head.startswith(_JPEG2000_STARTS):
        return True
    try:
        with pictures.quiet(), Image.open(stream) as picture:
            if head.startswith(_TIFF_STARTS):  # but for photographs: GDAL doesn't turn pictures, nor read all EXIF
                tags = getattr(picture, "tag_v2", {})
                return _TAG_EXIF not in tags and tags.get(_TAG_ORIENTATION, 1) == 1
            return picture.mode.startswith(("I", "F")) or (picture.format == "PPM" and pictures.bits(picture, head) > 8)
    except UnidentifiedImageError:
        return True
    except Exception:  # noqa: BLE001  # Pillow raises many kinds on damaged files; whoever reads it says what is wrong
        return head.startswith(_TIFF_STARTS)
    finally:
        stream.seek(0)
