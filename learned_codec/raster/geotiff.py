"""Reads rasters, through rasterio."""

from __future__ import annotations

import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from learned_codec.bitstream.metadata import of_classes
from learned_codec.errors import FileError, InvalidInputError, LearnedCodecError, LearnedCodecWarning
from learned_codec.values.arrays import DTYPES
from learned_codec.values.mask import holds
from learned_codec.values.sources import OPACITY, Plane, PlaneKind, Unit

from . import geotags
from . import metadata as meta
from .convert import WIDER
from .description import describe
from .exif import orientation, upright_xmp
from .gdal import TELL_TRUNCATED, quiet, small_cache
from .gdal_file import open_bytes
from .names import exists, is_gdal_name, of_gdal
from .radar import radar_unit
from .truncated import check_whole

READABLE = (*DTYPES, *WIDER)
ACCEPTED = f"bands of the same one of {', '.join(DTYPES)}, and of {', '.join(WIDER)} whose values fit, are accepted"

_SOMETHING = b"folder"  # in place of the first bytes, for sources that aren't files
_ARCGIS_TABLE = ".vat.dbf"  # which GDAL reads from version 3.11 on
# netCDF is read at once: GDAL has a thread for it, which would wait for Python, which waits for GDAL.
_NETCDF, _HDF, _NETCDF_IN_HDF = b"CDF", b"\x89HDF", b"_NCProperties"
_DESCRIBED = (".xml", ".mrf", ".dim", ".safe", ".til")
_PRODUCTS = ("PDS4", "MRF", "DIMAP", "SAFE", "SENTINEL2", "RS2", "TSX", "TIL")
"""Endings of XML that describes a raster, and GDAL's drivers for it. VRTs and addresses of services aren't among them:
they may name any file, so they are only read from where a user expects them."""
_WITH_SPECIAL = {"ISIS3"}
"""Drivers that make a mask for each band of several values, which say why there is none (too bright, too dark). With
several bands, all become nodata."""
_START = 2**16  # bytes
_PREMULTIPLIED = "1"  # in a TIFF's ExtraSamples

_INKS = {ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black}


class RasterSource:
    """A `PixelSource` over an open rasterio dataset. Pixels are read when they are needed. See `open_source`."""

    def __init__(
        self, raster: Any, name: str, *, force: bool, beside: dict[str, Any], stream: BinaryIO | None = None
    ) -> None:
        _check_kind(raster, name, force=force)
        check_whole(raster, name, stream)
        self._raster = raster
        self._name = name
        alpha = _alpha(raster, name, force=force)
        self._alpha = alpha
        self._indexes = [i for i in raster.indexes if i != alpha]
        self.height: int = raster.height
        self.width: int = raster.width
        self.bands = len(self._indexes)
        self.dtype: np.dtype[Any] = np.dtype(raster.dtypes[0])
        self.nodata: float | None = self._nodata()
        self._special = raster.driver in _WITH_SPECIAL and len(self._indexes) > 1 and self.nodata is not None
        self.plane: PlaneKind | None = None if self._special else _plane(raster, self._indexes, alpha, name)
        description = describe(raster)
        found = geotags.collect(raster, alpha, name, description)
        self.metadata: dict[str, Any] = meta.bounded(
            _with(found, beside, name, premultiplied=_premultiplied(raster)), name
        )
        if not any("table" in b for b in self.metadata.get("bands", ())) and exists(
            Path(f"{raster.name}{_ARCGIS_TABLE}")
        ):
            meta.lose(f"{name}: the attribute table beside it, {Path(raster.name).name}{_ARCGIS_TABLE}, isn't kept")
        self.unit: Unit | None = radar_unit(self.metadata, self.dtype)
        if self.dtype.kind in "iu" and not force:
            _check_continuous(self.metadata, name)

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values as stored, without scale and offset.

        Raises:
            InvalidInputError: the file is damaged there.
        """
        values = self._checked_read(self._raster.read, self._indexes, rows, columns)
        if self._special:
            values[self._checked_read(self._raster.read_masks, self._indexes, rows, columns) == 0] = self.nodata
        return values

    def read_plane(self, rows: slice, columns: slice) -> Plane:
        """(h, w) of the mask, 0 or 255, or of the opacity, in the dtype of the bands.

        Raises:
            InvalidInputError: the file is damaged there.
        """
        if self.plane == "mask":
            mask = self._checked_read(self._raster.read_masks, self._indexes[0], rows, columns)
            return np.where(mask != 0, np.uint8(255), np.uint8(0))  # a .msk file may hold other values
        alpha: Plane = self._checked_read(self._raster.read, self._alpha, rows, columns)
        return alpha

    def _checked_read(self, read: Any, indexes: Any, rows: slice, columns: slice) -> NDArray[Any]:
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        try:
            values: NDArray[Any] = read(indexes, window=window)
        except RasterioError as error:
            raise InvalidInputError(f"{self._name}: damaged or truncated: {error.__cause__ or error}") from error
        return values

    def _nodata(self) -> float | None:
        if self._raster.driver == "PNG" and geotags.TRANSPARENT_COLOUR in self._raster.tags():  # then the mask tells
            return None
        values = {repr(self._raster.nodatavals[i - 1]): self._raster.nodatavals[i - 1] for i in self._indexes}
        if len(values) > 1:
            raise InvalidInputError(
                f"{self._name}: bands with different nodata values ({', '.join(values)}); one for all bands is accepted"
            )
        (value,) = values.values()
        if value is None:
            return None
        if self.dtype.kind != "f" and np.isfinite(value) and value != int(value):
            meta.lose(f"{self._name}: the nodata value {value:g}, which no sample of {self.dtype} has, isn't kept")
        # No pixel has a value that doesn't fit the dtype (-9999 in uint8), and rasterio can't write it into a TIFF.
        return float(value) if holds(self.dtype, value) else None


@contextmanager
def open_source(
    source: str | Path | BinaryIO,
    *,
    force: bool = False,
    name: str | None = None,
    beside: dict[str, Any] | None = None,
) -> Iterator[RasterSource]:
    """Open a raster for reading.

    Args:
        source: a path or a name that GDAL knows, or a binary file object; one that can seek and stands at its start is
            read lazily, any other to its end. An XML description of a raster, which can name other files, is only
            read from a path that ends in ".vrt" or one of `_DESCRIBED`.
        force: also read rasters of classes (a colour table, category names, LAYER_TYPE=thematic). Lossy coding changes
            the class of some pixels.
        name: the source's name in messages, if not its own.
        beside: what rasterio doesn't give: metadata (`exif`, `xmp` …) as stored.

    Raises:
        FileError: the path can't be read.
        InvalidInputError: it isn't a raster, is damaged, or is of a kind that would have to be converted first.
    """
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**TELL_TRUNCATED))  # without an Env, GDAL prints its errors
        stack.enter_context(small_cache())
        opener, own_name, head, stream = _opener(source, stack)
        name = name or own_name
        if not head:
            raise InvalidInputError(f"{name}: empty, not an image")
        described = False
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
            ending = Path(name).suffix.lower()
            described = ending in _DESCRIBED
            if stream is not None or not (described or ending == ".vrt"):
                raise InvalidInputError(
                    f"{name}: not an image but XML; descriptions of rasters are only read from paths that end in "
                    f".vrt, {', '.join(_DESCRIBED)}"
                )
        try:
            with quiet():
                raster = stack.enter_context(_open_product(opener) if described else opener())
                opened = RasterSource(raster, name, force=force, beside=beside or {}, stream=stream)
        except (LearnedCodecError, LearnedCodecWarning, MemoryError):
            raise
        except Exception as error:  # rasterio, GDAL and file objects raise a dozen unrelated kinds
            said = str(error.__cause__ or error) or repr(error)
            if "not recognized as" in said:  # GDAL gives an internal name, which doesn't help
                said = "not found, or in an unknown format" if is_gdal_name(source) else "unknown format"
            raise InvalidInputError(f"{name}: not an image that can be read: {said}") from error
        yield opened


def _opener(source: str | Path | BinaryIO, stack: ExitStack) -> tuple[Any, str, bytes, BinaryIO | None]:
    """A function that opens the dataset, its name in messages, its first bytes, and all bytes of what has no path."""
    if is_gdal_name(source):
        return lambda: _open_named(of_gdal(str(source))), str(source), _SOMETHING, None
    if isinstance(source, (str, os.PathLike)):
        name = str(source)
        path = os.path.abspath(source)  # noqa: PTH100  # absolute, so no part of a name is read as a URL scheme
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116  # some formats are folders
                return lambda: rasterio.open(path), name, _SOMETHING, None
            with open(path, "rb") as stream:  # noqa: PTH123
                if stream.seekable():
                    start = stream.read(_START)
                    netcdf = "netCDF" if _is_netcdf_in_hdf(start, name) else None
                    return lambda driver=netcdf: rasterio.open(path, driver=driver), name, start[:64], None
                data = stream.read()
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from error
    else:
        name = str(getattr(source, "name", "") or "input")
        if hasattr(source, "seekable") and source.seekable() and source.tell() == 0:
            head = source.read(64)
            if head.startswith((_NETCDF, _HDF)):
                return _in_memory(head + source.read(), name, stack)
            # A unique name: rasterio keeps openers by name.
            alias = f"{secrets.token_hex(16)}/image"

            def reopen(path: str, mode: str = "rb") -> _StreamView:
                if not path.endswith(alias) or "w" in mode:  # GDAL also looks for files beside it
                    raise FileNotFoundError(path)
                return _StreamView(source)

            return lambda: rasterio.open(alias, opener=reopen), name, head, cast("BinaryIO", _StreamView(source))
        data = source.read()
    return _in_memory(data, name, stack) if data else (None, name, data, None)


def _open_named(name: str) -> Any:
    """Open what only GDAL can find. It goes by the name's ending, so the bytes are looked at where they count."""
    raster = rasterio.open(name)
    files = [file for file in raster.files[:1] if raster.driver.startswith("HDF5") and file.startswith("/vsi")]
    if not any(_is_netcdf_in_hdf(open_bytes(file).read(_START), file) for file in files):
        return raster
    raster.close()
    return rasterio.open(name, driver="netCDF")


def _open_product(opener: Any) -> Any:
    """Open what XML describes by the first driver that knows it. `opener` takes a `driver`."""
    first: RasterioError | None = None
    for driver in _PRODUCTS:
        try:
            return opener(driver=driver)
        except RasterioError as error:
            if first is None and "not recognized as" not in str(error):
                first = error
    raise first or RasterioError("not recognized as a raster")


def _in_memory(data: bytes, name: str, stack: ExitStack) -> tuple[Any, str, bytes, BinaryIO]:
    """What `_opener` returns for bytes."""
    memory = rasterio.MemoryFile(data, filename="image.nc" if _is_netcdf_in_hdf(data, name) else None)
    return stack.enter_context(memory).open, name, data[:64], io.BytesIO(data)


def _is_netcdf_in_hdf(start: bytes, name: str) -> bool:
    """Whether the beginning of a file is HDF with netCDF inside, which tells what is up and where the pixels lie.

    GDAL goes by the name.
    """
    named = Path(name).suffix.lower() in (".nc", ".nc4")
    return start.startswith(_HDF) and (named or _NETCDF_IN_HDF in start[:_START])


class _StreamView(io.RawIOBase):
    """A view of a file object with a position of its own: GDAL may open several. Closing one doesn't close the file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        self._position = offset if whence != os.SEEK_END else self._stream.seek(offset, os.SEEK_END)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        try:
            self._stream.seek(self._position)
            data = self._stream.read(len(buffer))
        except FileError:  # an error can't pass through GDAL: the file ends here, and the stream keeps the error
            return 0
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _premultiplied(raster: Any) -> list[bool]:
    """For each band, whether it is an alpha band of a TIFF by which the colours are multiplied."""
    said = raster.get_tag_item("TIFFTAG_EXTRASAMPLES", "_DEBUG_") if raster.driver == "GTiff" else None
    extra = said.split(",") if said else []
    return [False] * (raster.count - len(extra)) + [kind == _PREMULTIPLIED for kind in extra]


def _with(found: dict[str, Any], beside: dict[str, Any], name: str, *, premultiplied: list[bool]) -> dict[str, Any]:
    """Rasterio's metadata, completed by what it doesn't give: EXIF and texts as stored replace GDAL's versions."""
    kept = dict(beside)
    tags = found.pop("tags", {})
    plain = tags.pop("", {})
    if "exif" in kept:
        tags.pop("EXIF", None)
        plain = {key: value for key, value in plain.items() if not key.startswith("EXIF_")}
    elif plain.get("EXIF_Orientation", "1") != "1":
        meta.lose(f"{name}: the orientation in its EXIF isn't applied to the pixels")
    texts = {key for key, _ in kept.get("text", ())}
    if plain := {key: value for key, value in plain.items() if key not in texts}:
        tags = {"": plain, **tags}
    if tags:
        found["tags"] = tags
    found |= kept
    if "xmp" in found and ("exif" not in found or orientation(meta.raw(found["exif"], "exif")) == 1):
        found["xmp"] = meta.binary(upright_xmp(meta.raw(found["xmp"], "xmp")))
    for band, multiplied in zip(found["bands"], premultiplied, strict=False):
        if band["color"] == "alpha" and multiplied:
            band["premultiplied"] = True
    return found


def _refuse(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(f"{name}: {what}; {ACCEPTED}")


def _refuse_classes(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name}: {what}. Lossy coding would change classes, so only measured values are accepted; if these are "
        "measured values, use force=True (--force)"
    )


def _check_kind(raster: Any, name: str, *, force: bool) -> None:
    if raster.subdatasets:  # other pages are listed here, overviews and masks aren't
        raise _refuse(name, f"{len(raster.subdatasets)} pages or subdatasets; save the one to encode as a file")
    if not raster.count:
        raise _refuse(name, "a raster without bands")
    kinds = sorted(set(raster.dtypes))
    if len(kinds) > 1 or kinds[0] not in READABLE:
        raise _refuse(name, f"a raster of {' and '.join(kinds)} samples")
    structure = raster.tags(ns="IMAGE_STRUCTURE")
    if structure.get("MINISWHITE") == "YES":
        raise _refuse(name, "a raster in which 0 is white (MINISWHITE)")
    # GDAL turns the CMYK of a TIFF into RGBA silently.
    if _INKS & set(raster.colorinterp) or structure.get("SOURCE_COLOR_SPACE") == "CMYK":
        raise _refuse(name, "a CMYK raster")
    if str(raster.photometric or "").lower().endswith("lab"):
        raise _refuse(name, "a CIELAB raster")
    if raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1" and not force:
        raise _refuse_classes(name, "a bilevel (1-bit) raster")


def _alpha(raster: Any, name: str, *, force: bool) -> int | None:
    """The index of the alpha band that is kept beside the others, from 1.

    With `force`, an alpha band of other dtypes than `OPACITY` is a band like the others.
    """
    found = [i for i, kind in zip(raster.indexes, raster.colorinterp, strict=True) if kind == ColorInterp.alpha]
    if not found:
        return None
    if len(found) > 1 or raster.count == 1:
        raise _refuse(name, f"{len(found)} alpha bands among {raster.count} bands")
    if raster.dtypes[0] not in OPACITY:
        if force:
            return None
        raise InvalidInputError(
            f"{name}: an alpha band of {raster.dtypes[0]}, which can only be coded like the other bands: use "
            "max_error=0 (--lossless) to keep it exactly, or force=True (--force) to code it with an error like theirs"
        )
    index: int = found[0]
    return index


def _plane(raster: Any, indexes: list[int], alpha: int | None, name: str) -> PlaneKind | None:
    """The kind of the plane, from GDAL's flags for the mask of each band."""
    flags = [set(raster.mask_flag_enums[i - 1]) for i in indexes]
    own = any(not f for f in flags)
    if own and len(indexes) > 1:
        raise _refuse(name, "a raster with a mask for each band")
    masked = own or any(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in flags)
    if alpha is not None:
        if masked:
            raise _refuse(name, "a raster with both an alpha band and a mask")
        return "alpha"
    return "mask" if masked else None


def _check_continuous(metadata: dict[str, Any], name: str) -> None:
    """Refuse rasters of classes: the mean of two classes' numbers is the number of some other class."""
    bands = metadata["bands"]
    if "colormap" in metadata or any(b["color"] == "palette" for b in bands):
        what = "a palette (colour table)"
    elif any("categories" in b for b in bands):
        what = "category names"
    elif of_classes(metadata):
        what = "LAYER_TYPE=thematic"
    else:
        return
    raise _refuse_classes(name, f"a raster of classes: it has {what}")
