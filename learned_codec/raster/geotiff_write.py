"""GeoTIFFs out, through rasterio."""

from __future__ import annotations

import os
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

from learned_codec.errors import CorruptDataError, FileError, InvalidInputError
from learned_codec.values.mask import holds
from learned_codec.values.sources import PlaneKind

from . import geotags
from .gdal import quiet, small_cache
from .geotiff import READABLE

_TILE = 256  # pixels a side
# Beyond so many bands, a tile with all of them is no longer a handy unit of reading.
_INTERLEAVED = 4


class GeoTiffSink:
    """A `PixelSink` into an open rasterio dataset. See `open_sink`."""

    def __init__(self, raster: Any, given: geotags.Georeference, plane: PlaneKind | None) -> None:
        self._raster = raster
        self._alpha = given.alpha
        self._plane = plane
        self._indexes = [i for i in raster.indexes if i != given.alpha]
        self._dtype = np.dtype(raster.dtypes[0])

    def write(self, rows: slice, columns: slice, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> None:
        """Take (bands, h, w) values, and (h, w) of the plane if there is one.

        Raises:
            InvalidInputError: they are of another shape or dtype than was announced.
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
        window = Window(columns.start, rows.start, size[1], size[0])
        try:
            self._raster.write(values, self._indexes, window=window)
            if plane is not None and self._alpha is not None:
                opaque = np.iinfo(self._dtype).max // 255
                self._raster.write(plane.astype(self._dtype) * self._dtype.type(opaque), self._alpha, window=window)
            elif plane is not None:
                self._raster.write_mask(plane != 0, window=window)
        except RasterioError as error:
            raise FileError(f"{self._raster.name}: {error.__cause__ or error}") from error


@contextmanager
def open_sink(
    path: Path,
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
) -> Iterator[GeoTiffSink]:
    """Write a tiled GeoTIFF (BigTIFF where 4 GiB may not do), compressed losslessly, and no other file beside it.

    Args:
        path: replaced if it exists. After an exception it is incomplete, and the caller's to delete.
        height: pixels.
        width: pixels.
        bands: without an alpha band, which is the plane.
        dtype: uint8, uint16, int16, float32 or float64.
        nodata: the value of pixels that don't exist.
        plane: "alpha" becomes an alpha band (of uint16, 0 and 65535 for 0 and 255), "mask" an internal mask.
        metadata: as `learned_codec.raster.metadata` has it; not trusted.
        overviews: rebuild those that `metadata` records.
        name: of the file in warnings, if not its own.

    Raises:
        CorruptDataError: metadata or nodata make no sense.
        InvalidInputError: a GeoTIFF can't hold this dtype, or not with an alpha band.
        FileError: the file can't be written.
    """
    kind = np.dtype(dtype)
    if kind.name not in READABLE:
        raise InvalidInputError(f"a GeoTIFF of {kind} samples; {', '.join(READABLE)} are accepted")
    if plane == "alpha" and kind.name not in ("uint8", "uint16"):
        raise InvalidInputError(f"{kind} samples with an alpha band; uint8 and uint16 can have one")
    if nodata is not None and not holds(kind, nodata):
        raise CorruptDataError(f"nodata value {nodata:g}: not a value that {kind} samples can have")
    with ExitStack() as stack:
        # Masks and everything else go inside the file: GDAL would leave .msk and .aux.xml files beside it.
        stack.enter_context(rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"))
        stack.enter_context(small_cache())
        given = geotags.parse({} if metadata is None else metadata, bands, plane)
        if given.colormap is not None and (bands > 1 or kind.name not in ("uint8", "uint16") or plane == "alpha"):
            raise CorruptDataError(f"metadata.colormap: {bands} bands of {kind} with a colour table")
        raster = _create(path, height, width, kind, nodata, given)
        try:
            with quiet():
                geotags.apply(given, raster, name or str(path))
            yield GeoTiffSink(raster, given, plane)
        except BaseException:
            with suppress(FileError):
                _close(raster, path)
            raise
        _close(raster, path)
        factors = [f for f in given.overviews if f < max(height, width)]
        if overviews and factors:
            _build_overviews(path, factors, averaged=nodata is None and plane is None and given.colormap is None)


def _create(
    path: Path, height: int, width: int, dtype: np.dtype[Any], nodata: float | None, given: geotags.Georeference
) -> Any:
    options: dict[str, Any] = {}
    colours = [band.color for band in given.bands]
    if given.colormap is not None:
        options["photometric"] = "PALETTE"
    elif colours[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]:
        options["photometric"] = "RGB"
    else:
        options["photometric"] = "MINISBLACK"  # GDAL then calls a first band of undefined colour grey
    if given.icc:
        options["SOURCE_ICC_PROFILE"] = given.icc
    if given.transform is not None:
        options["transform"] = given.transform
    try:
        with quiet():
            return rasterio.open(
                os.path.abspath(path),  # noqa: PTH100
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=len(given.bands),
                dtype=dtype.name,
                crs=given.crs,
                nodata=nodata,
                tiled=True,
                blockxsize=_TILE,
                blockysize=_TILE,
                interleave="pixel" if len(given.bands) <= _INTERLEAVED else "band",
                compress="deflate",
                predictor=3 if dtype.kind == "f" else 2,
                bigtiff="IF_SAFER",
                **options,
            )
    except RasterioError as error:
        raise FileError(f"{path}: {error.__cause__ or error}") from error


def _close(raster: Any, path: Path) -> None:
    try:
        with quiet():
            raster.close()
    except RasterioError as error:
        raise FileError(f"{path}: {error.__cause__ or error}") from error


def _build_overviews(path: Path, factors: list[int], *, averaged: bool) -> None:
    """Overviews inside the file. A mean over a hole's edge needs care that nearest neighbours don't."""
    try:
        with (
            quiet(),
            rasterio.Env(COMPRESS_OVERVIEW="DEFLATE", GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"),
            rasterio.open(os.path.abspath(path), "r+") as raster,  # noqa: PTH100
        ):
            raster.build_overviews(factors, Resampling.average if averaged else Resampling.nearest)
    except RasterioError as error:
        raise FileError(f"{path}: {error.__cause__ or error}") from error
