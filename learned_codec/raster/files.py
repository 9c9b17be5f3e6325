"""Opens image files as a `PixelSource` or a `PixelSink`, and chooses Pillow or rasterio for them.

Ordinary pictures go through Pillow, which handles EXIF orientation and colour profiles. Files that Pillow would convert
or doesn't know go through rasterio: TIFF, JPEG 2000, 16 bits, many bands, and any file with a georeference in it or
beside it. Importing rasterio takes 0.1 s and memory, so it is imported only when it is needed. What rasterio doesn't
read, EXIF above all, is read here.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from learned_codec.bitstream import MAGIC
from learned_codec.errors import InvalidInputError, LearnedCodecError, MissingDependencyError
from learned_codec.streams import local_path, our_errors
from learned_codec.values.sources import PixelSink, PixelSource

from . import directories, left_out, pictures, png, webp
from . import metadata as meta
from .convert import convert
from .exif import TAG_ORIENTATION, exif_of_tiff
from .names import is_gdal_name, of_gdal
from .neighbours import may_place
from .pillow import identify
from .sink_spec import SinkSpec

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TAG_KIND, TAG_PHOTOMETRIC, TAG_SUB_IMAGES, TAG_IMAGE_DEPTH = 254, 262, 330, 32997
REDUCED = 1
"""The bit of an image's kind in a TIFF that tells that it is a smaller size of another."""
_JPEG2000_STARTS = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")


@contextmanager
def open_source(
    source: str | Path | BinaryIO, *, force: bool = False, dtype: str | None = None, bounded: bool = False
) -> Iterator[PixelSource]:
    """Open an image file for reading.

    Rasters are read window by window if the source is a path, or a file object that can seek and is at its start. They
    are TIFF, JPEG 2000, 16-bit PNG, files with a world file or similar beside them, and formats that Pillow doesn't
    know. Pictures are decoded as a whole, and the EXIF orientation is applied. A TIFF counts as a picture only if it
    has an orientation to apply, 8 bits, and no georeference.

    Args:
        source: a path, a name that GDAL knows (see `is_gdal_name`), or a binary file object, which isn't closed.
        force: also read rasters of classes, and pictures with a palette or of 1 bit. Lossy coding changes the class of
            some pixels.
        dtype: read the samples as this dtype of the codec, see `convert`.
        bounded: they will be coded with a bounded error, as more dtypes can be.

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't an image, is damaged, or is of a kind that would have to be converted first.
    """
    source = local_path(source)
    named = isinstance(source, (str, os.PathLike))
    name = str(source) if named else str(getattr(source, "name", "") or "input")
    with _opened(source, name, force=force) as opened:
        yield convert(opened, dtype, name, bounded=bounded)


def _opened(source: Any, name: str, *, force: bool) -> AbstractContextManager[PixelSource]:
    if is_gdal_name(source):
        raster, beside, data = _look_into_archive(os.fspath(source), name)
        if raster:
            from . import geotiff

            return geotiff.open_source(source, force=force, name=name, beside=beside)
        return pictures.open_source(BytesIO(data), name=name, indexed=force)
    if isinstance(source, (str, os.PathLike)):
        with our_errors(name):
            kind = Path(source).stat().st_mode
            if stat.S_ISREG(kind):
                with Path(source).open("rb") as stream:
                    raster, beside = _look(stream, name, partial(_placed, Path(source)))
            elif stat.S_ISDIR(kind):  # some rasters are folders
                raster, beside = True, {}
            else:  # a pipe or a device can be read only once
                source = BytesIO(Path(source).read_bytes())
                raster, beside = _look(source, name)
    else:
        if not (hasattr(source, "seekable") and source.seekable() and source.tell() == 0):
            source = BytesIO(source.read())
        if Path(name).is_file() and may_place(Path(name)):
            meta.lose(
                f"{name}: given as a file object, so the files beside it (a world file, .aux.xml, .msk) don't count; "
                "give its path"
            )
        raster, beside = _look(source, name)
    if raster:
        from . import geotiff

        return geotiff.open_source(source, force=force, name=name, beside=beside)
    return pictures.open_source(source, name=name, indexed=force)


def open_sink(path: Path, format: str, spec: SinkSpec) -> AbstractContextManager[PixelSink]:
    """Open an image file for writing, losslessly unless `format` is jpg.

    GeoTIFFs are written window by window; pictures are kept in memory until the end.

    Args:
        path: replaced if it exists, and the only file that is written. After an exception, the caller must delete it.
        format: a key of `pictures.output_format`.
        spec: the image. uint8 goes into every format, one band of uint16 into png, everything else into tif. Metadata
            that the format can't hold is lost, with a `MetadataLostWarning`.

    Returns:
        A context manager that gives the sink. Errors are raised by this call, on entering, or on leaving.

    Raises:
        CorruptDataError: metadata or nodata are invalid.
        InvalidInputError: the format can't hold such an image.
        FileError: the file can't be written.
    """
    key = pictures.output_format("", format)
    found = meta.checked(spec.metadata)
    spec = replace(spec, metadata=found, name=spec.name or path.name)
    if key not in ("tif", "tiff"):
        return pictures.open_sink(path, key, spec)
    from . import geotiff_write

    if not png.is_plain(png.colour(found)):
        meta.lose(f"{spec.name}: a GeoTIFF doesn't hold the meaning of a PNG's colours")
    if others := [kind for kind, _ in png.others(found)]:
        meta.lose(f"{spec.name}: a GeoTIFF doesn't hold a PNG's {', '.join(others)}")
    keys = [key for key, _ in png.texts(found)]
    if lost := sorted({key for key in keys if "=" in key or keys.count(key) > 1}):
        meta.lose(
            f"{spec.name}: a GeoTIFF holds one text for each keyword, without '=': not all kept: {', '.join(lost)}"
        )
    return geotiff_write.open_sink(path, spec)


def _look_into_archive(source: str, name: str) -> tuple[bool, dict[str, Any], bytes]:
    """What `_look` tells of a file in a local archive, and if it is a picture, its bytes.

    What only GDAL can find, such as a URL, is for rasterio.
    """
    from . import archives
    from .neighbours import is_placed

    with archives.member(source) as found:
        if found is None:
            return True, {}, b""
        member = found

        def placed() -> bool:
            there = member.names.__contains__
            return may_place(Path(member.name), lambda path: there(path.as_posix())) and bool(
                is_placed(of_gdal(source))
            )

        try:
            raster, beside = _look(member.stream, name, placed)
            return raster, beside, b"" if raster else member.stream.read()
        except LearnedCodecError:
            raise
        except archives.UNREADABLE:
            return True, {}, b""


def _look(stream: BinaryIO, name: str, placed: Callable[[], bool] = lambda: False) -> tuple[bool, dict[str, Any]]:
    """Whether a file is for rasterio, and if so, the metadata that rasterio doesn't read.

    `placed` tells whether files beside it hold its georeference. Leaves the stream at its start.
    """
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(MAGIC):
        raise InvalidInputError(
            f"{name}: an LCI file already, and not an image to encode: `decode` makes one of it, `info` describes it"
        )
    try:
        if head.startswith(_TIFF_STARTS):
            return _look_at_tiff(stream, name, placed)
        if not head or head.startswith(_JPEG2000_STARTS):
            return True, {}
        return _look_at_picture(stream, head, name, placed)
    finally:
        stream.seek(0)


def _look_at_picture(
    stream: BinaryIO, head: bytes, name: str, placed: Callable[[], bool]
) -> tuple[bool, dict[str, Any]]:
    """`_look` at a picture. It is for rasterio if it has more than 8 bits, GDAL's mask, or a georeference."""
    try:
        with pictures.quiet():
            opened = identify(stream)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{name}: {error}") from error
    except (UnidentifiedImageError, Image.DecompressionBombError):  # a limit of some plug-ins of Pillow's, as of WebP's
        return True, webp.beside(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow raises many kinds on damaged files; reading it will name the damage
        return False, {}
    with opened as picture:
        deep = picture.mode.startswith(("I", "F")) or (
            picture.format in ("PNG", "PPM") and pictures.bits(picture, head) > 8
        )
        masked = picture.format == "JPEG" and _has_mask(stream)
        if not (deep or masked or placed()):
            return False, {}
        if picture.format == "PNG":  # GDAL reads the first frame alone
            pictures.check_pages(picture, name)
        left_out.tell(left_out.of_picture(picture), name)
        return True, pictures.beside(picture)


def _look_at_tiff(stream: BinaryIO, name: str, placed: Callable[[], bool]) -> tuple[bool, dict[str, Any]]:
    """`_look` at a TIFF.

    It is for Pillow only if its pixels are to be turned, which GDAL doesn't do, without a georeference.
    """
    try:
        form, at = directories.start(stream)
        fields, _ = directories.read(stream, form, at)
        unread = [tag for tag in directories.listed(stream, form, at) if tag not in fields]
    except ValueError:
        return True, {}

    def numbers(tag: int) -> tuple[int, ...]:
        return fields[tag].numbers() if tag in fields else ()

    if (depth := max(numbers(TAG_IMAGE_DEPTH), default=1)) > 1:
        raise InvalidInputError(
            f"{name}: a volume of {depth} slices, of which GDAL reads the first; save each as a file"
        )
    if TAG_SUB_IMAGES in fields and any(kind & REDUCED for kind in numbers(TAG_KIND)):
        raise InvalidInputError(
            f"{name}: its first image is a small one of another inside, as in a camera's raw file (DNG); save the "
            "large one as a file"
        )
    colours = left_out.colours_of_tiff(numbers(TAG_PHOTOMETRIC))
    left_out.tell([*left_out.of_tiff(fields), *colours, *left_out.unread(unread)], name)
    turned = numbers(TAG_ORIENTATION)[:1] not in ((), (1,))
    shallow = max(numbers(directories.TAG_BITS_PER_SAMPLE), default=1) <= 8
    if turned and shallow and not left_out.GDAL_TAGS & fields.keys() and not placed():
        return False, {}
    exif = exif_of_tiff(stream)
    return True, {"exif": meta.binary(exif)} if exif else {}


def _has_mask(stream: BinaryIO) -> bool:
    """Whether a JPEG has GDAL's mask.

    It follows the picture; the last 4 bytes are the position where the picture ends.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 4))
    end = int.from_bytes(stream.read(4), "little")
    if not size // 2 <= end <= size - 4:
        return False
    stream.seek(end - 2)
    return stream.read(2) == b"\xff\xd9"


def _placed(path: Path) -> bool:
    """Whether files beside a picture hold its georeference."""
    if not may_place(path):
        return False
    from .neighbours import place

    return place(path)
