"""Reads and writes 8-bit pictures through Pillow: PNG, JPEG, WebP, AVIF, BMP and others.

Nothing is converted silently. CMYK, more than 8 bits, or more than one page raise an `InvalidInputError` that names
what the picture is and what would be accepted: for each there are several sensible conversions, and the choice is the
user's. So does a palette, unless its indices are asked for. The EXIF orientation is applied, so the array is the
picture as viewers show it. From a camera's multi-picture JPEG (MPO), the primary picture is taken; a warning tells
of the others, which are previews, depth maps or gain maps.

The ICC profile, EXIF (with its orientation set to 1, upright), XMP and the resolution are kept, if the format to be
written can hold them. `read_image` and `write_image` are for arrays alone, without metadata.

Other dtypes, other numbers of bands, nodata and georeferences are for `geotiff.py`; `files.py` chooses.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from learned_codec.atomic import write_whole
from learned_codec.errors import (
    FileError,
    InvalidInputError,
    LearnedCodecError,
    MissingDependencyError,
    shown,
)
from learned_codec.limits import Limits
from learned_codec.values.sources import PlaneKind, Unit

from . import left_out, png
from . import metadata as meta
from .directories import TAG_BITS_PER_SAMPLE
from .exif import (
    EXIF_START,
    MAX_SEGMENT,
    TAG_ORIENTATION,
    XMP_START,
    exif_and_xmp,
    exif_of_tiff,
    upright_exif,
    upright_xmp,
)
from .pillow import identify
from .sink_spec import SinkSpec

ACCEPTED = "8-bit grey or RGB pictures with one page are accepted"
ACCEPTED_EXACTLY = f"{ACCEPTED}, with max_error=0 (--lossless) also palettes and 1 bit"

# Pillow's modes in words. Those that are read are "L", "RGB", "LA" and "RGBA".
_REFUSED_MODES = {
    "1": "a bilevel (1-bit) picture",
    "P": "a palette picture",
    "PA": "a palette picture with an alpha channel",
    "La": "a grey picture multiplied by its alpha channel",
    "RGBa": "an RGB picture multiplied by its alpha channel",
    "RGBX": "an RGB picture with a fourth channel",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "LAB": "a CIELAB picture",
    "HSV": "an HSV picture",
    "F": "a floating-point picture",
}

# Extension -> Pillow's format and the options that make it lossless, or for JPEG, of high quality. "exact" keeps the
# colours of transparent pixels.
_WRITERS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
    "bmp": ("BMP", {}),
    "pgm": ("PPM", {}),
    "ppm": ("PPM", {}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}

# The metadata that the formats can hold.
_HOLDS = {
    "PNG": {"icc", "exif", "xmp", "dpi"},
    "TIFF": {"icc", "exif", "xmp", "dpi"},
    "JPEG": {"icc", "exif", "xmp", "dpi"},
    "WEBP": {"icc", "exif", "xmp"},
    "BMP": {"dpi"},
    "PPM": set[str](),
}
_WITH_ALPHA = {"PNG", "TIFF", "WEBP"}
_NAMES = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution"}

_STRIP = 2**20  # pixels
_TAG_RESOLUTION = 282  # along rows
_IMAGE = "the Pillow image"


class PictureSource:
    """A `PixelSource` over a decoded picture. See `open_source`.

    Args:
        pixels: (H, W, channels), uint8, with 1 or 3 bands and perhaps alpha. With a palette, its indices.
        metadata: see `learned_codec.raster.metadata`.
        nodata: the value of transparent pixels.
    """

    def __init__(self, pixels: NDArray[np.uint8], metadata: dict[str, Any], nodata: float | None = None) -> None:
        self._pixels = pixels
        self.height, self.width, channels = pixels.shape
        self.plane: PlaneKind | None = "alpha" if channels in (2, 4) else None
        self.bands = channels - (self.plane is not None)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.nodata = nodata
        self.unit: Unit | None = None
        self.metadata = metadata

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values."""
        return np.ascontiguousarray(np.moveaxis(self._pixels[rows, columns, : self.bands], 2, 0))

    def read_plane(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """(h, w) values of the opacity."""
        return np.ascontiguousarray(self._pixels[rows, columns, self.bands])


@contextmanager
def open_source(
    source: str | Path | BinaryIO, *, name: str | None = None, indexed: bool = False
) -> Iterator[PictureSource]:
    """Read a picture.

    Args:
        source: a path, or a binary file object (read to its end).
        name: the source's name in messages, if not its own.
        indexed: also read pictures with a palette, as their indices with a colour table in the metadata. Those of 1 bit
            are of the palette black and white.

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't a picture, is damaged, or is of a kind that would have to be converted first.
    """
    if isinstance(source, (str, Path)):
        name = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from error
    else:
        name = name or str(getattr(source, "name", "") or "input")
        data = source.read()
    yield _read_pillow(data, name, indexed=indexed)


def source_of(picture: Image.Image, *, indexed: bool = False) -> PictureSource:
    """A Pillow image as a `PixelSource`, with its orientation applied. `indexed` as for `open_source`.

    A `MetadataLostWarning` names what its file has that isn't kept, such as further frames.

    Raises:
        InvalidInputError: it would have to be converted first, is damaged, or has no pixels.
    """
    palette = indexed and picture.mode in ("1", "P")
    if not palette:
        _check_mode(picture, _IMAGE)
    pixels, found, head = _of_image(picture)
    nodata = None
    if palette:
        found["colormap"] = meta.binary(_colours(picture))
    else:
        pixels, nodata = _transparent(picture, pixels, head, _IMAGE)
    return PictureSource(pixels, found, nodata)


def numbers_of(picture: Image.Image) -> tuple[NDArray[Any], dict[str, Any], float | None]:
    """The (H, W) values of a Pillow image of 16 bits or more, its metadata, and the value that means "transparent".

    The orientation is applied. Warns and raises as `source_of` does.
    """
    pixels, found, _ = _of_image(picture)
    transparent = picture.info.get("transparency")
    return pixels[:, :, 0], found, float(transparent) if isinstance(transparent, int) else None


def _of_image(picture: Image.Image) -> tuple[NDArray[Any], dict[str, Any], bytes]:
    """The (H, W, channels) pixels of a Pillow image and its metadata, which are upright; and the start of its file."""
    if not picture.width * picture.height:
        raise InvalidInputError(f"{_IMAGE}: no pixels: {picture.width} × {picture.height}")
    try:
        head = _head(picture)  # before its pixels, after which it may be closed
        found, lost = beside(picture), left_out.of_image(picture, bits(picture, head))
        pixels = _turned(_pixels(picture), _orientation(picture))
    except (LearnedCodecError, MemoryError):
        raise
    except Exception as error:  # Pillow reads the pixels only now, and raises a dozen kinds for damaged ones
        raise InvalidInputError(f"{_IMAGE}: damaged or truncated: {error}") from error
    left_out.tell(lost, _IMAGE)
    return pixels, meta.bounded(upright(found), _IMAGE), head


def _head(picture: Any) -> bytes:
    """The first bytes of the file that an image was opened from; none if it is closed."""
    if not left_out.is_open(picture):
        return b""
    before = picture.fp.tell()
    picture.fp.seek(0)
    head: bytes = picture.fp.read(4096)
    picture.fp.seek(before)
    return head


def read_image(source: str | Path | BinaryIO) -> NDArray[np.uint8]:
    """Read a picture, or a raster of 8 bits with 1 or 3 bands, into an array (H, W) or (H, W, 3).

    The EXIF orientation is applied: the array is the picture as viewers show it. An array can't hold opacity, masks and
    nodata values, so these are refused. A `MetadataLostWarning` names a georeference, or a colour profile other than
    sRGB.

    Args:
        source: a path, or a binary file object (read to its end).

    Raises:
        FileError: the file can't be opened or read.
        InvalidInputError: it isn't a picture, is damaged, or is of a kind that would have to be converted first.
    """
    from . import files

    name = str(source if isinstance(source, (str, Path)) else getattr(source, "name", "") or "input")
    with files.open_source(source) as opened:
        refused = None
        if opened.dtype != np.uint8:
            refused = f"a picture of {8 * opened.dtype.itemsize} bits a sample ({opened.dtype})"
        elif opened.plane == "alpha":
            refused = "a picture with an alpha channel"
        elif opened.bands not in (1, 3):
            refused = f"a raster of {opened.bands} bands"
        elif opened.nodata is not None:
            # A nodata value or a mask declares pixels that don't exist. An array has no room for that.
            refused = f"a raster with a nodata value ({opened.nodata:g})"
        elif opened.plane is not None:
            refused = "a raster with a mask"
        if refused:
            raise InvalidInputError(f"{name}: {refused}; {ACCEPTED} as an array, with no alpha channel")
        pixels: NDArray[np.uint8] = opened.read(slice(0, opened.height), slice(0, opened.width))
        found = opened.metadata
    if found.keys() & {"crs", "transform", "gcps", "rpcs"}:
        meta.lose(f"{name}: its georeference isn't kept")
    profile = meta.raw(found.get("icc", ""), "icc")
    # Profiles name themselves in ASCII (version 2) or UTF-16 (version 4).
    if profile and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile:
        meta.lose(f"{name}: its colour profile isn't sRGB and isn't kept; viewers will show other colours")
    return pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2))


def output_format(name: str | Path, format: str | None = None) -> str:
    """The key of a picture format for `write_image`: `format` if given, else the extension of `name`.

    Raises:
        InvalidInputError: no such format can be written.
    """
    if not isinstance(format, str | None):
        raise InvalidInputError(f"format must be a name such as 'png', not {shown(format)}")
    key = (format or Path(name).suffix).lower().lstrip(".")
    if key not in _WRITERS:
        said = f"{key!r} isn't a picture format that can be written" if key else f"{name}: no extension, so no format"
        raise InvalidInputError(f"{said}; known: {', '.join(sorted(_WRITERS))}")
    return key


def write_image(image: NDArray[np.uint8], stream: BinaryIO, format: str) -> None:
    """Write an array (H, W) or (H, W, 3) to a binary file object, losslessly unless `format` is jpg.

    Args:
        image: the pixels, uint8.
        stream: where the file goes; it need not be seekable.
        format: a key of `output_format`.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise InvalidInputError(
            f"a picture file holds uint8 of shape (H, W) or (H, W, 3); this is {image.dtype} of shape {image.shape}"
        )
    stream.write(_encode(image, output_format("", format), {}))


class PictureSink:
    """A `PixelSink` that collects a picture in memory. See `open_sink`."""

    def __init__(self, pixels: NDArray[Any], bands: int, *, premultiplied: bool = False) -> None:
        self._pixels = pixels
        self._bands = bands
        self._premultiplied = premultiplied

    def write(self, rows: slice, columns: slice, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> None:
        """Take (bands, h, w) values, and (h, w) values of the plane if there is one.

        Raises:
            InvalidInputError: they don't have the shape or dtype that `open_sink` was given.
        """
        target = self._pixels[rows, columns]
        wanted = (self._bands, *target.shape[:2])
        if values.shape != wanted or values.dtype != self._pixels.dtype:
            raise InvalidInputError(
                f"{values.dtype} of shape {values.shape} for {self._pixels.dtype} of shape {wanted}"
            )
        if (plane is None) != (self._bands == target.shape[2]) or (plane is not None and plane.shape != wanted[1:]):
            raise InvalidInputError(
                f"a plane of shape {getattr(plane, 'shape', None)} for a picture of {target.shape[2]} channels"
            )
        if plane is not None and self._premultiplied:
            straight = np.rint(values * (255 / np.maximum(plane, 1)))
            values = np.minimum(straight, 255).astype(values.dtype)
        target[:, :, : self._bands] = np.moveaxis(values, 0, 2)
        if plane is not None:
            target[:, :, self._bands] = plane


@contextmanager
def open_sink(path: Path, format: str, spec: SinkSpec) -> Iterator[PictureSink]:
    """Write a picture, losslessly unless `format` is jpg. It is in memory until the end.

    Args:
        path: replaced if it exists.
        format: a key of `output_format`.
        spec: the image, 1 or 3 bands of uint8, or for a png 1 of uint16. The plane becomes an alpha channel. The nodata
            value of a png of one band becomes its transparent level; others are lost, with a warning.

    Raises:
        CorruptDataError: metadata is invalid.
        InvalidInputError: the format can't hold such a picture.
        FileError: the file can't be written.
    """
    kind, bands, plane, name = np.dtype(spec.dtype), spec.bands, spec.plane, spec.name or path.name
    key = output_format("", format)
    pillow_format, _ = _WRITERS[key]
    grey16 = kind == np.uint16 and bands == 1 and plane is None and pillow_format == "PNG"
    if not grey16 and (kind != np.uint8 or bands not in (1, 3)):
        raise InvalidInputError(
            f"{key} can't hold {bands} bands of {kind}{' and a plane' if plane else ''}: it holds 1 or 3 of uint8"
            f"{', or 1 of uint16 alone' if pillow_format == 'PNG' else ''}; tif holds everything"
        )
    if plane is not None and pillow_format not in _WITH_ALPHA:
        raise InvalidInputError(
            f"{key} can't hold {'an alpha channel' if plane == 'alpha' else 'a mask'}; png and tif can"
        )
    _check_bands(pillow_format, bands)
    found = meta.checked(spec.metadata)
    coloured = pillow_format == "PNG" and kind == np.uint8 and bands == 1 and plane is None
    palette = meta.colormap(found["colormap"], "metadata.colormap") if coloured and "colormap" in found else None
    if palette is not None:
        found = {key: value for key, value in found.items() if key not in ("colormap", "bits")}
    alone = pillow_format == "PNG" and bands == 1 and plane is None and palette is None
    levels = range(np.iinfo(kind).max + 1 if alone else 0)
    clear = int(spec.nodata) if spec.nodata is not None and spec.nodata in levels else None
    extras = _extras(found, spec.nodata if clear is None else None, pillow_format, name)
    if clear is not None:
        extras["transparency"] = clear
    premultiplied = plane == "alpha" and _is_premultiplied(found)
    if premultiplied:
        meta.lose(f"{name}: {pillow_format} has no premultiplied alpha: the colours are divided by it")
    pixels = np.zeros((spec.height, spec.width, bands + (plane is not None)), kind)
    yield PictureSink(pixels, bands, premultiplied=premultiplied)
    data = _encode(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, key, extras, palette)
    write_whole(path, [data], name)


def _check_bands(pillow_format: str, bands: int) -> None:
    if pillow_format == "WEBP" and bands == 1:
        raise InvalidInputError("WebP has no single-band pictures; png and tif have")


def _is_premultiplied(metadata: dict[str, Any]) -> bool:
    bands = metadata.get("bands")
    return isinstance(bands, list) and any(isinstance(b, dict) and b.get("premultiplied") is True for b in bands)


def _extras(metadata: dict[str, Any], nodata: float | None, pillow_format: str, name: str) -> dict[str, Any]:
    """The metadata that is written with the pixels. A warning names the rest."""
    found: dict[str, Any] = {k: meta.raw(metadata[k], f"metadata.{k}") for k in ("icc", "exif", "xmp") if k in metadata}
    lost = []
    if "dpi" in metadata:
        found["dpi"] = tuple(meta.real(x, "metadata.dpi") for x in meta.sequence(metadata["dpi"], "metadata.dpi", 2))
        if not all(1 <= x <= 65535 for x in found["dpi"]):
            del found["dpi"]
            lost.append(_NAMES["dpi"])
    lost += [_NAMES[k] for k in found if k not in _HOLDS[pillow_format]]
    extras = {k: v for k, v in found.items() if k in _HOLDS[pillow_format] and v}
    for key, start in (("exif", EXIF_START), ("xmp", XMP_START)):
        if pillow_format == "JPEG" and len(extras.get(key, b"")) + len(start) > MAX_SEGMENT:
            del extras[key]
            lost.append(_NAMES[key])
    extras |= _texts_and_colour(metadata, pillow_format, lost)
    lost += _lost_of_a_raster(metadata, nodata)
    if lost:
        meta.lose(f"{name}: {pillow_format} can't hold, so the file loses: {', '.join(lost)}")
    return extras


def _texts_and_colour(metadata: dict[str, Any], pillow_format: str, lost: list[str]) -> dict[str, Any]:
    texts, colour, others = png.texts(metadata), png.colour(metadata), png.others(metadata)
    if pillow_format == "PNG":
        return {"png": metadata} if texts or colour or others else {}
    comments = [text for key, text in texts if key == "Comment"] if pillow_format == "JPEG" else []
    if len(texts) > len(comments[:1]):
        lost.append("texts")
    if not png.is_plain(colour):
        lost.append("what its colours mean")
    lost += [kind for kind, _ in others]
    return {"comment": comments[0].encode()} if comments else {}


def _lost_of_a_raster(metadata: dict[str, Any], nodata: float | None) -> list[str]:
    """Names of metadata that no picture format can hold.

    Metadata without information, such as a default, isn't named.
    """
    lost = []
    if metadata.keys() & {"crs", "transform", "gcps", "rpcs"}:
        lost.append("georeference")
    if nodata is not None:
        lost.append(f"nodata value ({nodata:g})")
    bands = metadata.get("bands")
    described = [b for b in bands if isinstance(b, dict)] if isinstance(bands, list) else []
    if any(b.keys() & {"description", "unit", "scale", "offset"} for b in described):
        lost.append("descriptions, units and scales of bands")
    tags = metadata.get("tags")
    namespaces = tags if isinstance(tags, dict) else {}
    plain = namespaces.get("")
    own = {k for k in plain if k not in ("AREA_OR_POINT", "INTERLEAVE")} if isinstance(plain, dict) else set()
    if own or namespaces.keys() - {""} or any("tags" in b for b in described):
        lost.append("tags")
    if any(b.keys() & {"categories", "table"} for b in described):
        lost.append("category names, attribute tables")
    if "bits" in metadata:
        lost.append("depth of fewer bits")
    if "colormap" in metadata:
        lost.append("colour table")
    return lost


def _encode(image: NDArray[Any], key: str, extras: dict[str, Any], palette: NDArray[np.uint8] | None = None) -> bytes:
    """The bytes of a picture file, with the result of `_extras`, and a palette (colours, 4) if it has one."""
    pillow_format, fixed = _WRITERS[key]
    _check_bands(pillow_format, 1 if image.ndim == 2 or image.shape[2] == 2 else 3)
    options = dict(fixed)
    if "icc" in extras:
        options["icc_profile"] = extras["icc"]
    for extra in ("dpi", "comment", "transparency"):
        if extra in extras:
            options[extra] = extras[extra]
    buffer = io.BytesIO()  # Pillow's writers need to seek
    try:
        options.update(exif_and_xmp(extras, pillow_format))
        picture = Image.fromarray(np.ascontiguousarray(image))
        if palette is not None:
            colours = np.zeros((max(len(palette[:256]), int(image.max()) + 1), 4), np.uint8)
            colours[:, 3] = 255
            colours[: len(palette[:256])] = palette[:256]
            picture.putpalette(colours[:, :3].tobytes(), "RGB")
            if (colours[:, 3] < 255).any():
                options["transparency"] = colours[:, 3].tobytes()
        picture.save(buffer, format=pillow_format, **options)
    except (OSError, ValueError) as error:  # beyond the format's own limits, such as 16383 pixels per side in WebP
        raise InvalidInputError(f"{image.shape[1]} × {image.shape[0]} pixels don't fit into {key}: {error}") from error
    data = buffer.getvalue()  # no copy; and early versions of Python 3.12 crash when they collect a view of it
    return png.with_chunks(data, extras["png"]) if "png" in extras else data


def _refuse(name: str, what: str, accepted: str = ACCEPTED) -> InvalidInputError:
    return InvalidInputError(f"{name}: {what}; {accepted}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of Pillow about files that are fine here: large ones, odd EXIF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read_pillow(data: bytes, name: str, *, indexed: bool) -> PictureSource:
    try:
        with quiet(), identify(io.BytesIO(data)) as picture:
            palette = indexed and picture.mode in ("1", "P")
            _check_kind(picture, data, name, indexed=palette)
            Limits().check("max_pixels", picture.width * picture.height, f"{name}: pixels")
            found = beside(picture)
            lost = [] if picture.format == "TIFF" else left_out.of_picture(picture)
            pixels, nodata = _pixels(picture), None
            if pixels.dtype != np.uint8:  # some formats know it only now, as a picture is inside another
                raise _refuse(name, f"a picture of {8 * pixels.itemsize} bits a sample")
            if palette:
                found["colormap"] = meta.binary(_colours(picture))
            else:
                pixels, nodata = _transparent(picture, pixels, data, name)
            pixels = _turned(pixels, _orientation(picture))  # TIFFs are turned by loading: their orientation is now 1
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{name}: {error}") from error
    except (LearnedCodecError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InvalidInputError(f"{name}: not a picture in a format that can be read") from None
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise InvalidInputError(f"{name}: damaged or truncated: {error}") from error
    left_out.tell(lost, name)
    return PictureSource(pixels, meta.bounded(upright(found), name), nodata)


def _pixels(picture: Any) -> NDArray[Any]:
    """The (H, W, channels) pixels of a picture. They are copied in strips, as Pillow copies what it returns."""
    picture.load()
    kind = np.asarray(picture.crop((0, 0, 1, 1))).dtype if picture.mode.startswith(("I", "F")) else np.dtype(np.uint8)
    pixels = np.empty((picture.height, picture.width, len(picture.getbands())), kind)
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        strip = np.asarray(picture.crop((0, top, picture.width, bottom)))
        pixels[top:bottom] = strip.reshape(bottom - top, picture.width, -1)
    return pixels


def _transparent(
    picture: Image.Image, pixels: NDArray[Any], data: bytes, name: str
) -> tuple[NDArray[Any], float | None]:
    """The pixels and their nodata value, if one colour means "transparent": that of RGB becomes an opacity of 0 or 255.

    Args:
        picture: of one of the modes that are read.
        pixels: (H, W, channels).
        data: the first bytes of its file; none if it is closed.
        name: the source's name in messages.
    """
    colour, depth = picture.info.get("transparency"), bits(picture, data)
    if colour is None:
        return pixels, None
    if picture.mode == "L" and isinstance(colour, int):
        if picture.format == "PNG" and not data and 0 < colour < 16 and not (pixels % 17).any():
            raise _refuse(name, "a picture of 2, 4 or 8 bits with a transparent level, whose file is closed")
        # Pillow makes 8 bits of fewer, but leaves this number as it is.
        return pixels, float(colour * 255 // (2**depth - 1) if depth < 8 else colour)
    parts = np.asarray(colour) if isinstance(colour, tuple | list) else np.empty(0)
    if picture.mode == "RGB" and parts.shape == (3,) and parts.dtype.kind == "i" and depth <= 8 and (parts < 256).all():
        opacity = np.where((pixels == parts).all(2), np.uint8(0), np.uint8(255))
        return np.dstack([pixels, opacity]), None
    raise _refuse(name, f"a picture of mode {picture.mode} with the transparent colour {colour!r:.40}")


def _orientation(picture: Any) -> int:
    """The orientation by EXIF, or else by XMP. 1 (upright) if neither can be read, as in viewers."""
    if picture.format == "JXL" and not getattr(picture, "jpeg", None):
        return 1  # JPEG XL has an orientation of its own, applied by now; that of EXIF must be ignored
    try:
        turn = picture.getexif().get(TAG_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # odd EXIF raises a dozen kinds
        return 1
    return turn if turn in range(1, 9) else 1


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An upright view. Orientations from 5 on exchange rows and columns."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def beside(picture: Any) -> dict[str, Any]:
    """The metadata of a picture opened by Pillow, as stored. Pixels aren't read."""
    found: dict[str, Any] = {}
    info = picture.info
    exif = info.get("exif")
    if picture.format == "TIFF":
        exif = exif_of_tiff(picture.fp, copied=False) if left_out.is_open(picture) and not picture.tell() else None
    elif exif is None and "Raw profile type exif" in info:  # older versions of ImageMagick wrote it so into PNGs
        with suppress(ValueError):
            exif = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    for key, value in (("icc", info.get("icc_profile")), ("exif", exif), ("xmp", xmp)):
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, bytes) and data:
            found[key] = meta.binary(data.removeprefix(EXIF_START) if key == "exif" else data)
    if picture.format == "PNG":
        found |= png.beside(picture.fp) if left_out.is_open(picture) else png.remembered(picture)
    elif comment := info.get("comment"):  # of a JPEG
        text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
        found["text"] = [["Comment", text.replace("\0", "")]]
    said = picture.format != "TIFF" or _TAG_RESOLUTION in picture.tag_v2  # else Pillow makes it up
    dpi = info.get("dpi") if said else None
    if isinstance(dpi, tuple) and len(dpi) == 2:
        values = [float(x) for x in dpi]
        if all(0 < x < 1e6 for x in values):
            found["dpi"] = values
    return found


def upright(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of pixels that have been turned upright, so that viewers don't turn them again."""
    turned = {"exif": upright_exif, "xmp": upright_xmp}
    changed = {k: meta.binary(turn(meta.raw(metadata[k], k))) for k, turn in turned.items() if k in metadata}
    return metadata | changed


def _colours(picture: Image.Image) -> bytes:
    """Red, green, blue and opacity of each index of a palette, or of 0 and 1 in a picture of 1 bit."""
    said = [0, 0, 0, 255, 255, 255, 255, 255] if picture.mode == "1" else picture.getpalette("RGBA") or [0, 0, 0, 255]
    colours = np.array(said, np.uint8).reshape(-1, 4)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, bytes):
        colours[: len(transparent), 3] = np.frombuffer(transparent, np.uint8)[: len(colours)]
    elif isinstance(transparent, int):
        index = min(transparent, 1) if picture.mode == "1" else transparent  # Pillow says 255 for 1
        colours[index : index + 1, 3] = 0
    return colours.tobytes()


def _check_kind(picture: Image.Image, data: bytes, name: str, *, indexed: bool) -> None:
    """Refuse anything but one grey or RGB picture of 8 bits, with or without alpha, or one that is `indexed`."""
    check_pages(picture, name)
    depth = bits(picture, data)
    if depth > 8 or picture.mode.startswith("I"):
        raise _refuse(name, f"a picture of {max(depth, 16)} bits a sample")
    if not indexed:
        _check_mode(picture, name)


def check_pages(picture: Image.Image, name: str) -> None:
    """Refuse a picture of several pages or frames."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format != "MPO":
        raise _refuse(name, f"{pages} pages or frames")


def _check_mode(picture: Image.Image, name: str) -> None:
    if picture.mode not in ("L", "RGB", "LA", "RGBA"):
        what = _REFUSED_MODES.get(picture.mode, f"a picture of Pillow's mode {picture.mode!r}")
        raise _refuse(name, what, ACCEPTED_EXACTLY if picture.mode in ("1", "P") else ACCEPTED)


def bits(picture: Image.Image, data: bytes) -> int:
    """The bits per sample in the file. Pillow's mode doesn't tell: it silently reads 16-bit RGB as 8 bits."""
    match picture.format:
        case "PNG" if len(data) > 24:
            return data[24]  # IHDR comes first: signature 8, length 4, type 4, width 4, height 4, depth
        case "TIFF":
            stored = getattr(picture, "tag_v2", {}).get(TAG_BITS_PER_SAMPLE, (1,))
            return max(stored) if isinstance(stored, tuple) else int(stored)
        case "HEIF":
            return int(picture.info.get("bit_depth", 8))
        case "AVIF":
            av1c = data.find(b"av1C")
            return 10 if 0 <= av1c < len(data) - 6 and data[av1c + 6] & 0x40 else 8
        case "PPM":
            tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
            arguments = tiles[0].args if tiles else ()
            peak = arguments[-1] if isinstance(arguments, tuple) and arguments else 255
            return 16 if isinstance(peak, int) and peak > 255 else 8
    return 8
