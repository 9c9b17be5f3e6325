"""Which reader, which writer: image files as a `PixelSource` and a `PixelSink`.

Ordinary pictures go through Pillow, which knows about photographs: EXIF orientation, colour profiles. What it would
convert or doesn't know (TIFF, JPEG 2000, 16 bits, many bands, whatever has a georeference in it or beside it) goes
through rasterio, whose import costs 0.1 s and GDAL's memory, and which therefore is only imported when it is needed.
What rasterio doesn't see, EXIF above all, is looked up here.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from learned_codec.errors import FileError, MissingDependencyError
from learned_codec.values.sources import PixelSink, PixelSource, PlaneKind

from . import directories, pictures, png
from . import metadata as meta
from .convert import convert
from .exif import TAG_ORIENTATION, exif_of_tiff
from .names import is_gdal_name
from .neighbours import may_place
from .pillow import identify

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000_STARTS = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_TAG_BITS, _TAG_EXTRA_SAMPLES = 258, 338
# Georeferences, GDAL's metadata and nodata value, polynomials.
_GDAL_TAGS = {33550, 33920, 33922, 34264, 34735, 42112, 42113, 50844}


@contextmanager
def open_source(
    source: str | Path | BinaryIO, *, force: bool = False, dtype: str | None = None
) -> Iterator[PixelSource]:
    """Open an image file for reading.

    Rasters (TIFF, JPEG 2000, 16-bit PNG, what has a world file or the like beside it, what Pillow doesn't know) are
    read window by window if the source is a path, or a file object that can seek and stands at its start. Pictures are
    decoded as a whole, and turned as their EXIF orientation says; of TIFFs, only those of 8 bits without a
    georeference that are to be turned.

    Args:
        source: a path, a name that GDAL knows (see `is_gdal_name`), or a binary file object, which isn't closed.
        force: also read rasters of classes, in which lossy coding will invent some.
        dtype: read the samples as this type, one of the codec's; see `convert`.

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't an image, is damaged, or is of a kind that would have to be converted first.
    """
    named = isinstance(source, (str, os.PathLike))
    name = str(source) if named else str(getattr(source, "name", "") or "input")
    with _opened(source, name, force=force) as opened:
        yield convert(opened, dtype, name)


def _opened(source: Any, name: str, *, force: bool) -> AbstractContextManager[PixelSource]:
    if is_gdal_name(source):
        from . import geotiff

        return geotiff.open_source(source, force=force, name=name)
    if isinstance(source, (str, os.PathLike)):
        try:
            kind = Path(source).stat().st_mode
            if stat.S_ISREG(kind):
                with Path(source).open("rb") as stream:
                    raster, beside = _look(stream, name, Path(source))
            elif stat.S_ISDIR(kind):  # some rasters are
                raster, beside = True, {}
            else:  # a pipe or a device gives its bytes once
                source = BytesIO(Path(source).read_bytes())
                raster, beside = _look(source, name)
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from error
        except ValueError as error:  # a zero byte in the name
            raise FileError(f"{name!r}: {error}") from error
    else:
        if not (hasattr(source, "seekable") and source.seekable() and source.tell() == 0):
            source = BytesIO(source.read())
        raster, beside = _look(source, name)
    if raster:
        from . import geotiff

        return geotiff.open_source(source, force=force, name=name, beside=beside)
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
    sidecar: bool = False,
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
        sidecar: the caller writes the file beside a GeoTIFF that it needs, see `crs.sidecar`.
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
    if key not in ("tif", "tiff"):
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

    if not png.is_plain(png.colour(found)):
        meta.lose(f"{name}: a GeoTIFF doesn't hold what the colours of a PNG mean")
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
        sidecar=sidecar,
        name=name,
    )


def _look(stream: BinaryIO, name: str, path: Path | None = None) -> tuple[bool, dict[str, Any]]:
    """Is this for rasterio, and if so, what does it not see beside the pixels? Leaves the stream at its start."""
    head = stream.read(32)
    stream.seek(0)
    try:
        if head.startswith(_TIFF_STARTS):
            return _look_at_tiff(stream, path)
        if not head or head.startswith(_JPEG2000_STARTS):
            return True, {}
        return _look_at_picture(stream, head, name, path)
    finally:
        stream.seek(0)


def _look_at_picture(stream: BinaryIO, head: bytes, name: str, path: Path | None) -> tuple[bool, dict[str, Any]]:
    """A picture is for rasterio where it has more than 8 bits, a mask of GDAL's, or a georeference."""
    try:
        with pictures.quiet():
            opened = identify(stream)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{name}: {error}") from error
    except (UnidentifiedImageError, Image.DecompressionBombError):  # a limit of some plug-ins of Pillow's, as of WebP's
        return True, {}
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow raises many kinds on damaged files; whoever reads it says what is wrong
        return False, {}
    with opened as picture:
        deep = picture.mode.startswith(("I", "F")) or (
            picture.format in ("PNG", "PPM") and pictures.bits(picture, head) > 8
        )
        beside = pictures.beside(picture)
        masked = picture.format == "JPEG" and _has_mask(stream)
    return (True, beside) if deep or masked or _placed(path) else (False, {})


def _look_at_tiff(stream: BinaryIO, path: Path | None) -> tuple[bool, dict[str, Any]]:
    """A TIFF is a picture only where its pixels are to be turned, which GDAL doesn't, and it has no georeference."""
    try:
        form, at = directories.start(stream)
        fields, _ = directories.read(stream, form, at)
    except ValueError:
        return True, {}

    def numbers(tag: int) -> tuple[int, ...]:
        return fields[tag].numbers() if tag in fields else ()

    turned = numbers(TAG_ORIENTATION)[:1] not in ((), (1,))
    shallow = max(numbers(_TAG_BITS), default=1) <= 8
    if turned and shallow and not _GDAL_TAGS & fields.keys() and not _placed(path):
        return False, {}
    beside: dict[str, Any] = {"extra_samples": numbers(_TAG_EXTRA_SAMPLES)}
    if exif := exif_of_tiff(stream):
        beside["exif"] = meta.binary(exif)
    return True, beside


def _has_mask(stream: BinaryIO) -> bool:
    """Has a JPEG a mask of GDAL's? It stands behind the picture, with the place where that ends as the last 4 bytes."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 4))
    end = int.from_bytes(stream.read(4), "little")
    if not size // 2 <= end <= size - 4:
        return False
    stream.seek(end - 2)
    return stream.read(2) == b"\xff\xd9"


def _placed(path: Path | None) -> bool:
    """Do files beside a picture say where it lies?"""
    if path is None or not may_place(path):
        return False
    from .neighbours import place

    return place(path)
