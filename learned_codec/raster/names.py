"""Names of images: paths, and names that only GDAL understands."""

import errno
import os
import re
from pathlib import Path

_ARCHIVE = re.compile(r"(zip|tar|gzip)(?:\+file)?://", re.IGNORECASE)
_GDAL_NAME = re.compile(r"/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:")  # a single letter is a drive


def is_gdal_name(source: object) -> bool:
    """Whether only GDAL understands a name: "/vsizip/a.zip/b.tif", "https://…", "NETCDF:a.nc:var"."""
    name = os.fspath(source) if isinstance(source, os.PathLike) else source
    return isinstance(name, str) and _GDAL_NAME.match(name) is not None and not exists(Path(name))


def of_gdal(name: str) -> str:
    """GDAL's own name of a file in a local archive, "zip://a.zip!b.tif"; any other name as it is.

    Rasterio's way to it loses "#" and "!" in the names, and takes the folder of an archive for the name of a server.
    """
    if (scheme := _ARCHIVE.match(name)) is None:
        return name
    rest = name[scheme.end() :]
    for mark in [found.start() for found in re.finditer("!", rest)] + [len(rest)]:
        archive = os.path.abspath(rest[:mark])  # noqa: PTH100
        if os.path.isfile(archive):  # noqa: PTH113
            if scheme[1].lower() == "gzip":
                return f"/vsigzip/{archive}"
            # GDAL finds where the archive's name ends by its ending, or by braces.
            braced = archive if "{" in archive or "}" in archive else f"{{{archive}}}"
            return f"/vsi{scheme[1].lower()}/{braced}/{rest[mark + 1 :].lstrip('/')}".rstrip("/")
    return name


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
