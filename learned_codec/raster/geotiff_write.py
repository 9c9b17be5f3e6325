"""Writes GeoTIFFs, through rasterio."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from learned_codec.bitstream.metadata import of_classes
from learned_codec.errors import CorruptDataError, FileError, InvalidInputError
from learned_codec.values.arrays import BOUNDED_DTYPES
from learned_codec.values.few import are_few, with_others
from learned_codec.values.mask import holds
from learned_codec.values.sources import OPACITY, Plane, PlaneKind

from . import geotags, interpretation
from . import metadata as meta
from .crs import flavour
from .exif import add_to_tiff
from .gdal import quiet, small_cache
from .neighbours import SIDECAR
from .sink_spec import SinkSpec

WRITABLE = tuple(name for name in BOUNDED_DTYPES if name != "bool")

_TILE = 256  # pixels per side
# With more bands than this, each band has tiles of its own: tiles with all bands would be too large a unit to read.
_INTERLEAVED = 4
_BLACK_WHITE = [[0, 0, 0, 255], [255, 255, 255, 255]]
"""The colour table that GDAL gives to a band of 1 bit that has none."""
_PREDICTABLE = (8, 16)
"""The fewer bits of a sample than its dtype has that TIFF can predict."""


class GeoTiffSink:
    """A `PixelSink` into an open rasterio dataset. See `open_sink`."""

    def __init__(
        self, raster: Any, given: geotags.Georeference, plane: PlaneKind | None, name: str, *, counting: bool = False
    ) -> None:
        self._raster = raster
        self._name = name
        self._written: list[tuple[Window, int]] = []  # with the checksum of the values written there
        self._alpha = given.alpha
        self._plane = plane
        self._indexes = [i for i in raster.indexes if i != given.alpha]
        self._dtype = np.dtype(raster.dtypes[0])
        self._most = None if given.bits is None else self._dtype.type(2**given.bits - 1)
        self._known = [np.empty(0, self._dtype) for _ in self._indexes] if counting else []

    @property
    def has_band_of_few_values(self) -> bool:
        """Whether any band may be one of classes, by what was written; only if the sink is `counting`."""
        return any(map(are_few, self._known))

    def begin(self) -> None:
        """Make room for the mask, while the file is small: on a full disk, GDAL 3.12 crashes if it does so later.

        Raises `FileError`.
        """
        if self._plane == "mask":
            with self._file_errors():
                self._raster.write_mask(np.zeros((1, 1), bool), window=Window(0, 0, 1, 1))

    def write(self, rows: slice, columns: slice, values: NDArray[Any], plane: Plane | None) -> None:
        """Write (bands, h, w) values, and (h, w) values of the plane if there is one.

        Raises:
            InvalidInputError: they don't have the shape or dtype that `open_sink` was given.
            FileError: they can't be written.
        """
        size = (rows.stop - rows.start, columns.stop - columns.start)
        if values.shape != (len(self._indexes), *size) or values.dtype != self._dtype:
            raise InvalidInputError(
                f"{values.dtype} of shape {values.shape} for {self._dtype} of shape {(len(self._indexes), *size)}"
            )
        if (plane is None) != (self._plane is None) or (plane is not None and plane.shape != size):
            raise InvalidInputError(
                f"a plane of shape {getattr(plane, 'shape', None)} for {self._plane} of shape {size}"
            )
        if self._most is not None:  # within a bound, a value may exceed the largest one of the original
            values = np.minimum(values, self._most)
        window = Window(columns.start, rows.start, size[1], size[0])
        with self._file_errors():
            self._raster.write(values, self._indexes, window=window)
            if plane is not None and self._alpha is not None:
                plane = self._opacity(plane)
                self._raster.write(plane, self._alpha, window=window)
            elif plane is not None:
                self._raster.write_mask(plane != 0, window=window)
        if plane is not None and self._plane == "mask":
            plane = np.where(plane, np.uint8(255), np.uint8(0))
        self._written.append((window, _checksum(values, plane)))
        self._known = [with_others(known, band) for known, band in zip(self._known, values, strict=False)]

    def _opacity(self, plane: Plane) -> Plane:
        """Opacity in the dtype of the bands: where it has as many bits, as it is."""
        if plane.dtype == self._dtype:
            return plane
        found: Plane = plane.astype(self._dtype) * self._dtype.type(np.iinfo(self._dtype).max // 255)
        return found

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except RasterioError as error:
            raise FileError(f"{self._name}: can't be written; is the disk full? {error.__cause__ or error}") from error

    def check(self, path: Path) -> None:
        """Read the file back and compare checksums. Raises `FileError` if a value differs."""
        with _reopened(path, self._name) as raster:
            for window, written in self._written:
                values, plane = raster.read(self._indexes, window=window), None
                if self._alpha is not None:
                    plane = raster.read(self._alpha, window=window)
                elif self._plane is not None:
                    plane = raster.read_masks(1, window=window)
                if _checksum(values, plane) != written:
                    raise FileError(f"{self._name}: not written whole; is the disk full?")


@contextmanager
def open_sink(path: Path, spec: SinkSpec) -> Iterator[GeoTiffSink]:
    """Write a tiled GeoTIFF with lossless compression, a BigTIFF if 4 GiB may not be enough, and no other file.

    Args:
        path: replaced if it exists. After an exception it is incomplete, and the caller must delete it.
        spec: the image, of any dtype that can be coded, but bool. Alpha becomes an alpha band (in uint16, 255 becomes
            65535), and a mask becomes an internal mask.

    Raises:
        CorruptDataError: metadata or nodata are invalid.
        InvalidInputError: a GeoTIFF can't hold this dtype, or not with an alpha band.
        FileError: the file can't be written.
    """
    kind, bands, nodata, plane = np.dtype(spec.dtype), spec.bands, spec.nodata, spec.plane
    if kind.name not in WRITABLE:
        raise InvalidInputError(f"a GeoTIFF of {kind} samples; {', '.join(WRITABLE)} are accepted")
    if plane == "alpha" and kind.name not in OPACITY:
        raise InvalidInputError(f"{kind} samples with an alpha band; uint8 and uint16 can have one")
    if nodata is not None and not holds(kind, nodata):
        raise CorruptDataError(f"nodata value {nodata:g}: {kind} samples can't have it")
    with ExitStack() as stack:
        # Everything goes inside the file, masks too: GDAL would otherwise write .msk and .aux.xml files beside it.
        stack.enter_context(rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"))
        stack.enter_context(small_cache())
        given = geotags.parse(spec.metadata, bands, plane, opacity=kind.name not in OPACITY)
        if given.colormap is not None and (bands > 1 or kind.name not in geotags.COLOUR_TABLES or plane == "alpha"):
            raise CorruptDataError(f"metadata.colormap: {bands} bands of {kind} with a colour table")
        name = spec.name or str(path)
        _leave_out_what_it_cannot_hold(given, nodata, name, sidecar=spec.sidecar)
        given.bits = _bits(given.bits, kind, nodata, name)
        if given.bits == 1 and given.colormap is not None and np.array_equal(given.colormap, _BLACK_WHITE):
            given.colormap = None
        raster = _create(path, spec, given, name)
        factors = [f for f in given.overviews if spec.overviews and f < max(spec.height, spec.width)]
        averaged = nodata is None and plane is None and not of_classes(spec.metadata)
        sink = GeoTiffSink(raster, given, plane, name, counting=bool(factors) and averaged)
        try:
            with quiet():
                geotags.apply(given, raster, name)
            sink.begin()
            yield sink
        except BaseException:
            with suppress(FileError):
                _close(raster, name)
            raise
        _close(raster, name)
        if factors:
            _build_overviews(path, factors, name, averaged=averaged and not sink.has_band_of_few_values)
            _check_overviews(path, len(factors), name)
        _say_colours(path, given, name)
        if given.exif:
            _add_exif(path, given.exif, name)
        sink.check(path)  # GDAL doesn't always report a full disk


def _leave_out_what_it_cannot_hold(
    given: geotags.Georeference, nodata: float | None, name: str, *, sidecar: bool
) -> None:
    if given.colormap is not None:
        clear = set(np.flatnonzero(given.colormap[:, 3] < 255).tolist()) - {nodata}  # GDAL shows nodata as clear
        if clear:
            meta.lose(
                f"{name}: a TIFF's colour table has no opacity, so {len(clear)} colour(s) become opaque; png keeps it"
            )
    if given.crs is not None and flavour(given.crs) is None:
        where = f"it is in {name}{SIDECAR}, where GDAL looks for it" if sidecar else "it isn't kept"
        meta.lose(f"{name}: a GeoTIFF can't hold the coordinate reference system {_crs_name(given.crs)!r}: {where}")
        given.crs = None
    if not sidecar and any(band.categories or band.table is not None for band in given.bands):
        meta.lose(f"{name}: a GeoTIFF can't hold category names and attribute tables: they aren't kept")
    if given.transform is not None and not any(given.transform[:6]):
        meta.lose(f"{name}: a GeoTIFF can't hold a transform of zeros: it isn't kept")
        given.transform = None
    if given.points and given.points_crs and flavour(given.points_crs) is None:
        meta.lose(f"{name}: a GeoTIFF can't hold the coordinate reference system of the ground control points")
        given.points_crs = None


def _bits(bits: int | None, dtype: np.dtype[Any], nodata: float | None, name: str) -> int | None:
    """The bits of a sample, if they are still fewer than those of the dtype, and enough for nodata."""
    if bits is None or dtype.kind != "u" or bits >= 8 * dtype.itemsize:
        return None
    if nodata is not None and nodata >= 2**bits:
        meta.lose(f"{name}: samples of {bits} bits can't have the nodata value {nodata:g}: they have all of {dtype}")
        return None
    return bits


def _crs_name(crs: Any) -> str:
    found = re.search('"([^"]*)"', crs.to_wkt(version="WKT2_2019"))
    return found[1] if found else ""


def _create(path: Path, spec: SinkSpec, given: geotags.Georeference, name: str) -> Any:
    dtype = np.dtype(spec.dtype)
    options: dict[str, Any] = {"predictor": 3 if dtype.kind == "f" else 2}
    if given.bits is not None:
        options["nbits"] = given.bits
        options |= {} if given.bits in _PREDICTABLE else {"predictor": 1}
    colours = [band.color for band in given.bands]
    if given.colormap is not None:
        options["photometric"] = "PALETTE"
    elif colours[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]:
        options["photometric"] = "RGB"
    else:
        options["photometric"] = "MINISBLACK"
    if given.icc:
        options["SOURCE_ICC_PROFILE"] = given.icc
    if given.transform is not None:
        options["transform"] = given.transform
    if any(band.color == ColorInterp.alpha and band.premultiplied for band in given.bands):
        options["ALPHA"] = "PREMULTIPLIED"
    if crs := given.points_crs if given.crs is None else given.crs:
        options["GEOTIFF_KEYS_FLAVOR"] = flavour(crs)
    try:
        with quiet():
            return rasterio.open(
                os.path.abspath(path),  # noqa: PTH100
                "w",
                driver="GTiff",
                height=spec.height,
                width=spec.width,
                count=len(given.bands),
                dtype=dtype.name,
                crs=given.crs,
                nodata=spec.nodata,
                tiled=True,
                blockxsize=_TILE,
                blockysize=_TILE,
                interleave="pixel" if len(given.bands) <= _INTERLEAVED else "band",
                compress="deflate",
                bigtiff="IF_SAFER",
                **options,
            )
    except RasterioError as error:
        raise FileError(f"{name}: {error.__cause__ or error}") from error


def _close(raster: Any, name: str) -> None:
    try:
        with quiet():
            raster.close()
    except RasterioError as error:
        raise FileError(f"{name}: {error.__cause__ or error}") from error


def _build_overviews(path: Path, factors: list[int], name: str, *, averaged: bool) -> None:
    """Build overviews inside the file.

    They are nearest neighbours if there are holes, whose edges means would blur, or bands of classes: GDAL reduces all
    bands alike.
    """
    with (
        rasterio.Env(COMPRESS_OVERVIEW="DEFLATE", GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"),
        _reopened(path, name, "r+") as raster,
    ):
        raster.build_overviews(factors, Resampling.average if averaged else Resampling.nearest)


def _check_overviews(path: Path, count: int, name: str) -> None:
    """Read every block of the overviews. Raises `FileError`."""
    for level in range(count):
        with _reopened(path, name, overview_level=level) as raster:
            for (row, column), window in raster.block_windows(1):
                raster.read(window=window)
                raster.read_masks(1, window=window)
                block = f"BLOCK_OFFSET_{column}_{row}"
                if any(raster.get_tag_item(block, "TIFF", bidx=band) is None for band in raster.indexes):
                    raise FileError(f"{name}: overviews not written whole; is the disk full?")


@contextmanager
def _reopened(path: Path, name: str, mode: str = "r", **options: Any) -> Iterator[Any]:
    """Open the written file. Raises `FileError` for anything that is wrong with it."""
    try:
        with quiet(), rasterio.open(os.path.abspath(path), mode, driver="GTiff", **options) as raster:  # noqa: PTH100
            yield raster
    except FileError:
        raise
    except Exception as error:  # rasterio and GDAL raise a dozen unrelated kinds
        raise FileError(f"{name}: not written whole; is the disk full?") from error


def _say_colours(path: Path, given: geotags.Georeference, name: str) -> None:
    """Tell what the bands' colours mean where GDAL didn't."""
    wanted = [band.color for band in given.bands]
    with _reopened(path, name) as raster:
        same = list(raster.colorinterp) == wanted
    if not same:
        try:
            interpretation.say(path, wanted)
        except (OSError, ValueError) as error:
            raise FileError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _add_exif(path: Path, exif: bytes, name: str) -> None:
    try:
        add_to_tiff(path, exif)
    except ValueError as error:
        meta.lose(f"{name}: its EXIF is invalid and isn't kept: {error}")
    except OSError as error:
        raise FileError(f"{name}: {error.strerror or error}") from error


def _checksum(values: NDArray[Any], plane: Plane | None) -> int:
    found = 0
    for part in (values, plane):
        if part is not None:
            found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found
