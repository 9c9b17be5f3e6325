"""Files beside a picture with its georeference: world files, and GDAL's own for formats that can't hold one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import metadata as meta
from .names import exists

SIDECAR = ".aux.xml"
"""The suffix of GDAL's file for metadata that the format can't hold."""

OVERLAYS = (".msk", ".ovr")
"""The suffixes of files that GDAL takes for the mask and the overviews of the image of the same name."""


SENSORS = ("_RPC.TXT", "_rpc.txt", ".RPB", ".rpb")
"""How the names of files end that GDAL takes for the sensor model (RPCs) of the TIFF with the same stem."""


def worlds(path: Path, there: Callable[[Path], bool] = exists) -> list[Path]:
    """The files beside an image that may hold its georeference, by their names. `there` tells which files there are."""
    extension = path.suffix.lower().lstrip(".")
    endings = sorted({extension + "w", extension[:1] + extension[-1:] + "w", "wld", "tab", "aux"})
    found = (path.with_suffix(f".{world}") for name in endings for world in (name, name.upper()))
    return [world for world in found if there(world)] if path.stem else []


def may_place(path: Path, there: Callable[[Path], bool] = exists) -> bool:
    """Whether a file beside this one may hold a georeference, a nodata value or a mask, by its name. As `worlds`."""
    return bool(worlds(path, there)) or any(there(path.with_name(path.name + end)) for end in (SIDECAR, ".msk"))


def strangers(path: Path, *, tiff: bool, placed: bool, sidecar: bool) -> list[Path]:
    """The files beside an image that is to be written which GDAL will read together with it.

    Args:
        path: of the image.
        tiff: whether it will be a TIFF.
        placed: whether it will have a transform of its own.
        sidecar: whether GDAL's file beside it will be written, too.
    """
    names = [path.name + end for end in (*(() if sidecar else (SIDECAR,)), *OVERLAYS)]
    names += [path.stem + end for end in SENSORS] if tiff else []
    found = [path.with_name(name) for name in names]
    return [*(other for other in found if exists(other)), *(() if placed else worlds(path))]


def place(path: Path) -> bool:
    """Whether GDAL finds one of these. There is a warning if GDAL doesn't know the picture's format."""
    if (found := is_placed(path)) is None:
        meta.lose(f"{path}: files beside it may hold a georeference, but GDAL can't read pictures of this format")
    return bool(found)


def is_placed(name: str | Path) -> bool | None:
    """Whether GDAL finds a place, a nodata value or a mask for a picture; None if it doesn't know its format."""
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import RasterioError

    from .gdal import quiet, transform_of

    try:
        with rasterio.Env(), quiet(), rasterio.open(name) as raster:
            placed = raster.crs or transform_of(raster) or raster.gcps[0] or raster.rpcs
            masked = any(MaskFlags.nodata in f or f == [MaskFlags.per_dataset] for f in raster.mask_flag_enums)
            return bool(placed) or masked
    except RasterioError:
        return None
