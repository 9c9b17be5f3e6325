"""GeoTIFFs for tests: the real ones, how one is written, and all that one says beside its pixels."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from learned_codec.raster.sink_spec import SinkSpec
from learned_codec.values.sources import PixelSource

DATA = Path(os.environ.get("LEARNED_CODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
FILES = sorted(
    path
    for folder in ("optical_test", "optical_test/special", "sar_test")
    for pattern in ("*.tif", "*.png")
    for path in (DATA / folder).glob(pattern)
)

UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 4e5, 0, -10, 5e6)}
"""A place: the profile of pixels of 10 m."""

STRUCTURAL = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"}


def colour_table(raster: Any) -> Any:
    """That of the first band; None if it has none."""
    try:
        return raster.colormap(1)
    except ValueError:
        return None


def describe(path: Path) -> dict[str, Any]:
    """All that a file says, by rasterio."""
    with rasterio.open(path) as raster:
        points, points_crs = raster.gcps
        found = {
            "size": (raster.height, raster.width, raster.count),
            "dtypes": raster.dtypes,
            "nodata": repr(raster.nodatavals),
            "crs": raster.crs,
            "epsg": raster.crs.to_epsg() if raster.crs else None,
            "transform": raster.transform,
            "points": [(p.row, p.col, p.x, p.y, p.z) for p in points],
            "points crs": points_crs,
            "rpcs": raster.rpcs.to_dict() if raster.rpcs else None,
            "descriptions": raster.descriptions,
            "units": raster.units,
            "scales": repr(raster.scales),
            "offsets": repr(raster.offsets),
            "colours": [c.name for c in raster.colorinterp],
            "bits": raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS"),
            "masks": raster.mask_flag_enums,
            "colormap": colour_table(raster),
        }
        for index in range(raster.count + 1):
            for namespace in {None, *raster.tag_namespaces(index)} - STRUCTURAL:
                if tags := raster.tags(index, ns=namespace):
                    found[f"tags {index} {namespace}"] = tags
        return found


def spec_of(source: PixelSource, **others: Any) -> SinkSpec:
    """What a file must hold that is to be as a source."""
    same = ("height", "width", "bands", "dtype", "nodata", "plane", "metadata")
    return SinkSpec(**{name: getattr(source, name) for name in same} | others)


def write(path: Path, bands: np.ndarray, **profile: Any) -> Any:
    """A new GeoTIFF of (bands, height, width), still open."""
    count, height, width = bands.shape
    raster = rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype.name, **profile
    )
    raster.write(bands)
    return raster
