"""Files beside a picture with its georeference: world files, and GDAL's own for formats that can't hold one."""

from __future__ import annotations

from pathlib import Path

from . import metadata as meta
from .names import exists

SIDECAR = ".aux.xml"
"""The suffix of GDAL's file for metadata that the format can't hold."""

OVERLAYS = (".msk", ".ovr")
"""The suffixes of files that GDAL takes for the mask and the overviews of the image of the same name."""


def may_place(path: Path) -> bool:
    """Whether a file beside this one may hold a georeference, a nodata value or a mask, by its name."""
    extension = path.suffix.lower().lstrip(".")
    worlds = {extension + "w", extension[:1] + extension[-1:] + "w", "wld", "tab", "aux"}
    beside = {path.with_suffix(f".{world}") for name in worlds for world in (name, name.upper())}
    beside |= {path.with_name(path.name + end) for end in (SIDECAR, ".msk")}
    return any(map(exists, beside))


def place(path: Path) -> bool:
    """Whether GDAL finds one of these. There is a warning if GDAL doesn't know the picture's format."""
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import RasterioError

    from .gdal import quiet, transform_of

    try:
        with rasterio.Env(), quiet(), rasterio.open(path) as raster:
            placed = raster.crs or transform_of(raster) or raster.gcps[0] or raster.rpcs
            masked = any(MaskFlags.nodata in f or f == [MaskFlags.per_dataset] for f in raster.mask_flag_enums)
            return bool(placed) or masked
    except RasterioError:
        meta.lose(f"{path}: files beside it may hold a georeference, but GDAL can't read pictures of this format")
        return False
