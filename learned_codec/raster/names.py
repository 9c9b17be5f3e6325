"""Names of images: paths, and names that only GDAL understands."""

import os
import re
from pathlib import Path

_GDAL_NAME = re.compile(r"/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:")  # a single letter is a drive


def is_gdal_name(source: object) -> bool:
    """Whether only GDAL understands a name: "/vsizip/a.zip/b.tif", "https://…", "NETCDF:a.nc:var"."""
    name = os.fspath(source) if isinstance(source, os.PathLike) else source
    return isinstance(name, str) and _GDAL_NAME.match(name) is not None and not Path(name).exists()
