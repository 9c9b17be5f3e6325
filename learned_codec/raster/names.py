"""Names of images: paths, and what only GDAL understands."""

import os
import re
from pathlib import Path

_GDAL_NAME = re.compile(r"/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:")  # a letter alone is a drive


def is_gdal_name(source: object) -> bool:
    """Is this a name that means something to GDAL alone: "/vsizip/a.zip/b.tif", "https://…", "NETCDF:a.nc:var"?"""
    name = os.fspath(source) if isinstance(source, os.PathLike) else source
    return isinstance(name, str) and _GDAL_NAME.match(name) is not None and not Path(name).exists()
