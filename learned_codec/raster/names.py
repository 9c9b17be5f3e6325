"""Names of images: paths, and names that only GDAL understands."""

import errno
import os
import re
from pathlib import Path

_GDAL_NAME = re.compile(r"/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:")  # a single letter is a drive


def is_gdal_name(source: object) -> bool:
    """Whether only GDAL understands a name: "/vsizip/a.zip/b.tif", "https://…", "NETCDF:a.nc:var"."""
    name = os.fspath(source) if isinstance(source, os.PathLike) else source
    return isinstance(name, str) and _GDAL_NAME.match(name) is not None and not exists(Path(name))


def fits(path: Path) -> bool:
    """Whether a file may have this name. URLs may be too long for it, and names to which an ending was added."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    except ValueError:  # a zero byte
        return False
    return True


def exists(path: Path) -> bool:
    """Whether there is such a file, also for names that no file can have."""
    return fits(path) and path.exists()
