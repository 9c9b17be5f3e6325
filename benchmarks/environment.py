"""The environment of a measurement: versions, processor, date. No names of hosts or paths."""

from __future__ import annotations

import datetime as dt
import platform
from importlib import metadata
from pathlib import Path

from learned_codec.models.device import cores

_PACKAGES = (
    "learned-codec", "numpy", "torch", "pillow", "glymur", "rasterio", "imagecodecs", "compressai", "bjontegaard",
    "scikit-image", "pillow-heif",
)  # fmt: skip


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> dict[str, object]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "packages": versions,
    }
