"""GDAL's settings while a raster is open."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rasterio import Affine
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning

CACHE = 2**27
"""Bytes of GDAL's cache of decoded blocks. A row of tiles of a satellite scene (1024 lines, 4 bands of 16 bits) is 90
MB."""

TELL_TRUNCATED = {"GDAL_ONE_BIG_READ": "NO", "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
"""Options for reading. Without them, GDAL 3.10 reads zeros from raw files that end too early, if their lines are short,
and any bytes from such PNGs, without an error."""


@contextmanager
def small_cache() -> Iterator[None]:
    """Inside this block and an `Env`, GDAL keeps no more decoded blocks than a row of tiles needs.

    By default, GDAL takes a twentieth of the machine's memory. The setting is that of the whole process.
    """
    before = get_gdal_config("GDAL_CACHEMAX")
    set_gdal_config("GDAL_CACHEMAX", min(before, CACHE))
    try:
        yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence rasterio's warning that a picture has no georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def transform_of(raster: Any) -> Affine | None:
    """The transform of a rasterio dataset; None if it has none.

    For some formats, as PNM, rasterio says that there is none, and gives numbers from memory that nobody has set.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", NotGeoreferencedWarning)
        raster.read_transform()
    missing = any(issubclass(warning.category, NotGeoreferencedWarning) for warning in told)
    return None if missing or raster.transform.is_identity else raster.transform
