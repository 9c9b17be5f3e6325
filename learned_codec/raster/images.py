"""8-bit pictures in and out: PNG, JPEG, WebP, AVIF, TIFF … <-> uint8 arrays (H, W) or (H, W, 3).

Nothing is converted behind the caller's back. A palette, an alpha channel, CMYK, more than 8 bits or more than one
page is an `InvalidInputError` that says what the picture is and what would be accepted, because each has several
reasonable conversions and none is ours to choose. Two things that aren't conversions are done: the EXIF orientation is
applied, so that the array is the picture as viewers show it, and of a camera's multi-picture JPEG (MPO: the rest are
previews and depth maps) the primary picture is taken, as everywhere.

What lies beside the pixels (a georeference, a colour profile) isn't kept; where that changes what the picture means, a
`MetadataLostWarning` says so. Other sample types, any number of bands, nodata and georeferences are for rasters:
they belong into `geotiff.py` beside this module, and META chunks.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from learned_codec.errors import FileError, InvalidInputError

ACCEPTED = "8-bit grey or RGB pictures with one page and no alpha channel are accepted"

# What Pillow calls a mode, in words. "L" and "RGB" are the two that are read.
_REFUSED_MODES = {
    "1": "a bilevel (1-bit) picture",
    "P": "a palette picture",
    "PA": "a palette picture with an alpha channel",
    "LA": "a grey picture with an alpha channel",
    "La": "a grey picture with an alpha channel",
    "RGBA": "an RGB picture with an alpha channel",
    "RGBa": "an RGB picture with an alpha channel",
    "RGBX": "an RGB picture with a fourth channel",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "LAB": "a CIELAB picture",
    "HSV": "an HSV picture",
    "F": "a floating-point picture",
}

# Extension -> Pillow's format and the options that make it lossless. JPEG can't be; its best is what it gets.
_WRITERS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "pgm": ("PPM", {}),
    "ppm": ("PPM", {}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TAG_BITS_PER_SAMPLE = 258
# A georeference (pixel scale, tie points, matrix, geo keys), GDAL's metadata and nodata: rasterio's to read.
_GEO_TAGS = {33550, 33922, 34264, 34735, 42112, 42113}


class MetadataLostWarning(UserWarning):
    """The pixels are read as they are, but something beside them that gives them meaning isn't kept."""


def read_image(source: str | Path | BinaryIO) -> NDArray[np.uint8]:
    """Read a picture into an array (H, W) or (H, W, 3).

    The EXIF orientation is applied: the array is the picture as viewers show it.

    Args:
        source: a path, or a binary file object (read to its end).

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't a picture, is damaged, or is of a kind that would have to be converted first.
    """
    if isinstance(source, (str, Path)):
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from error
    else:
        name = str(getattr(source, "name", "") or "input")
        data = source.read()
    if data.startswith(_TIFF_STARTS) and _is_raster(data):
        return _read_tiff(data, name)
    return _read_pillow(data, name)


def output_format(name: str | Path, format: str | None = None) -> str:
    """The key under which `write_image` knows a picture format: `format` if given, else the extension of `name`.

    Raises:
        InvalidInputError: no such format can be written.
    """
    key = (format or Path(name).suffix).lower().lstrip(".")
    if key not in _WRITERS:
        said = (
            f"{key!r} isn't a picture format that can be written"
            if key
            else f"{name}: no extension to tell a format by"
        )
        raise InvalidInputError(f"{said}; known: {', '.join(sorted(_WRITERS))}")
    return key


def write_image(image: NDArray[np.uint8], stream: BinaryIO, format: str) -> None:
    """Write an array (H, W) or (H, W, 3) to a binary file object, losslessly unless `format` is jpg.

    Args:
        image: the pixels, uint8.
        stream: where the file goes; it need not be seekable.
        format: one of the extensions that `output_format` knows.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise InvalidInputError(
            f"a picture file holds uint8 of shape (H, W) or (H, W, 3); this is {image.dtype} of shape {image.shape}"
        )
    pillow_format, options = _WRITERS[output_format("", format)]
    if pillow_format == "WEBP" and image.ndim == 2:
        raise InvalidInputError("WebP has no single-band pictures; png and tif have")
    buffer = io.BytesIO()  # the writers seek, which standard output can't
    try:
        Image.fromarray(np.ascontiguousarray(image)).save(buffer, format=pillow_format, **options)
    except (OSError, ValueError) as error:  # beyond the format's own limits, such as 16383 pixels a side in WebP
        raise InvalidInputError(
            f"{image.shape[1]} × {image.shape[0]} pixels don't fit into {format}: {error}"
        ) from error
    stream.write(buffer.getbuffer())


def _refuse(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(f"{name}: {what}; {ACCEPTED}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what readers say about files that are fine for us: large ones, odd EXIF, no georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read_pillow(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        with _quiet(), Image.open(io.BytesIO(data)) as picture:
            _check_kind(picture, data, name)
            profile = picture.info.get("icc_profile")
            pixels = np.array(ImageOps.exif_transpose(picture))
    except InvalidInputError:
        raise
    except UnidentifiedImageError:
        raise InvalidInputError(f"{name}: not a picture in a format that can be read") from None
    except Image.DecompressionBombError as error:
        raise InvalidInputError(f"{name}: {error}") from error
    # Pillow's readers report damage in all of these ways.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError) as error:
        raise InvalidInputError(f"{name}: damaged or truncated: {error}") from error
    # Profiles name themselves in ASCII (version 2) or UTF-16 (version 4).
    if profile and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile:
        warnings.warn(
            f"{name}: its colour profile isn't sRGB and isn't kept; viewers will show other colours",
            MetadataLostWarning,
            stacklevel=3,
        )
    return pixels


def _check_kind(picture: Image.Image, data: bytes, name: str) -> None:
    """Refuse what `np.array(picture)` would convert, or what isn't one grey or RGB picture."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format != "MPO":
        raise _refuse(name, f"{pages} pages or frames")
    bits = _bits(picture, data)
    if bits > 8 or picture.mode.startswith("I"):
        raise _refuse(name, f"a picture of {max(bits, 16)} bits a sample")
    if picture.mode not in ("L", "RGB"):
        raise _refuse(name, _REFUSED_MODES.get(picture.mode, f"a picture of Pillow's mode {picture.mode!r}"))
    if picture.has_transparency_data:  # a colour that stands for "transparent", in PNG and GIF
        raise _refuse(name, "a picture with a transparent colour")


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits a sample as stored. Pillow hands out 16-bit RGB as 8 bits without a word, so its mode can't be asked."""
    match picture.format:
        case "PNG":
            return data[24]  # IHDR comes first: signature 8, length 4, type 4, width 4, height 4, depth
        case "TIFF":
            stored = getattr(picture, "tag_v2", {}).get(_TAG_BITS_PER_SAMPLE, (1,))
            return max(stored) if isinstance(stored, tuple) else int(stored)
        case "JPEG2000":
            siz = data.find(b"\xff\x4f\xff\x51")  # the codestream's start and its size marker
            return (data[siz + 42] & 0x7F) + 1 if 0 <= siz < len(data) - 42 else 8
        case "AVIF":
            av1c = data.find(b"av1C")
            return 10 if 0 <= av1c < len(data) - 6 and data[av1c + 6] & 0x40 else 8
        case "PPM":
            tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
            arguments = tiles[0].args if tiles else ()
            peak = arguments[-1] if isinstance(arguments, tuple) and arguments else 255
            return 16 if isinstance(peak, int) and peak > 255 else 8
    return 8


def _is_raster(data: bytes) -> bool:
    """Is this TIFF better read by rasterio: georeferenced, of several pages (overviews?), or unknown to Pillow?"""
    try:
        with _quiet(), Image.open(io.BytesIO(data)) as picture:
            tags = set(getattr(picture, "tag_v2", ()))
            return bool(tags & _GEO_TAGS) or getattr(picture, "n_frames", 1) > 1
    except Exception:  # noqa: BLE001  # Pillow raises many kinds on TIFFs it can't read; rasterio then says what is wrong
        return True


def _read_tiff(data: bytes, name: str) -> NDArray[np.uint8]:
    import rasterio  # costs 0.1 s and GDAL's memory, which photographs need not pay
    from rasterio.enums import ColorInterp, MaskFlags
    from rasterio.errors import RasterioError

    try:
        with _quiet(), rasterio.MemoryFile(data) as memory, memory.open(driver="GTiff") as raster:
            if raster.subdatasets:  # overviews and masks aren't listed here, other pages are
                raise _refuse(name, f"{len(raster.subdatasets)} pages")
            if any(kind != "uint8" for kind in raster.dtypes):
                raise _refuse(name, f"a raster of {'/'.join(sorted(set(raster.dtypes)))} samples")
            if ColorInterp.palette in raster.colorinterp:
                raise _refuse(name, "a palette raster")
            if ColorInterp.alpha in raster.colorinterp:
                raise _refuse(name, "a raster with an alpha channel")
            if raster.count not in (1, 3):
                raise _refuse(name, f"a raster of {raster.count} bands")
            if raster.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
                raise _refuse(name, "a raster in which 0 is white")
            # A nodata value or a mask says which pixels don't exist; lossy coding would blur them into the others.
            if raster.nodata is not None:
                raise _refuse(name, f"a raster with a nodata value ({raster.nodata:g})")
            if any(MaskFlags.all_valid not in flags for flags in raster.mask_flag_enums):
                raise _refuse(name, "a raster with a mask")
            georeferenced = raster.crs is not None or not raster.transform.is_identity or bool(raster.gcps[0])
            pixels: NDArray[np.uint8] = raster.read()
    except RasterioError as error:
        raise InvalidInputError(f"{name}: not a TIFF that can be read: {error}") from error
    if georeferenced:
        warnings.warn(f"{name}: its georeference isn't kept", MetadataLostWarning, stacklevel=3)
    return pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
