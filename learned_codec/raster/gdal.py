"""How GDAL is told to behave while a raster is open."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning

CACHE = 2**27
"""Bytes of decoded blocks: a row of tiles of 1024 pixels across a satellite scene, 4 bands of 16 bits, is 90 MB."""


@contextmanager
def small_cache() -> Iterator[None]:
    """Inside the block, and inside an `Env`, let GDAL keep no more decoded blocks than a row of tiles needs.

    By default it takes a twentieth of the machine's memory, whatever we do to be modest. The setting is the process's.
    """
    before = get_gdal_config("GDAL_CACHEMAX")
    set_gdal_config("GDAL_CACHEMAX", min(before, CACHE))
    try:
        yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


@contextmanager
def quiet() -> Iterator[None]:
    """Without rasterio's warning that a picture has no georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
