"""Coordinate reference systems (CRS): which of them a GeoTIFF can hold."""

from __future__ import annotations

import re
from typing import Any

import rasterio
from affine import Affine
from rasterio.errors import RasterioError

_FLAVOURS = ("STANDARD", "ESRI_PE")


def flavour(crs: Any) -> str | None:
    """The GEOTIFF_KEYS_FLAVOR of GDAL with which a GeoTIFF holds a CRS, found by trying; None if it can't."""
    with rasterio.Env(GDAL_PAM_ENABLED="NO"):
        return next((name for name in _FLAVOURS if _held(crs, name)), None)


def _held(crs: Any, name: str) -> bool:
    shape = {"height": 1, "width": 1, "count": 1, "dtype": "uint8", "transform": Affine(1, 0, 2, 0, -1, 3)}
    try:
        with rasterio.MemoryFile(ext=".tif") as memory:
            memory.open(driver="GTiff", crs=crs, GEOTIFF_KEYS_FLAVOR=name, **shape).close()
            with memory.open() as raster:
                return same(raster.crs, crs)
    except RasterioError:
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two CRSs mean the same.

    Those without an authority may name their axes differently: then PROJ's parameters count, and where the axes lead.
    """
    if not one or _grids(one) != _grids(other):
        return False
    if one == other:
        return True
    if other.to_authority() is not None or not _parameters(one) == _parameters(other) != {}:
        return False
    here, there = _directions(one), _directions(other)
    return here == there or not (here and there)


def _directions(crs: Any) -> set[str]:
    """Where its axes lead. PROJ's parameters don't always say that coordinates count to the west or the south.

    Empty at a pole, where all axes lead to the north or all to the south.
    """
    found = set(re.findall(r'AXIS\["[^"]*",(north|south|east|west)\b', crs.to_wkt(version="WKT2_2019")))
    return found if found & {"east", "west"} else set()


def _grids(crs: Any) -> list[str]:
    """The files that lead to another system, such as geoids. PROJ's parameters don't always have them."""
    return re.findall(r'PARAMETERFILE\["[^"]*","([^"]*)"', crs.to_wkt(version="WKT2_2019"))


def _parameters(crs: Any) -> dict[str, Any]:
    return {"units": "m", **crs.to_dict(), "wktext": True} if crs.to_dict() else {}
