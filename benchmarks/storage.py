"""Small files that must never be half written: results, and the cache of measured cells."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes beside `path`, then renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def finite(value: Any) -> Any:
    """JSON has no infinity and no nan: both become null (a lossless PSNR, a metric that does not apply)."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(finite(value), indent=1) + "\n")


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "learned-codec-benchmarks"


class CellCache:
    """Measured cells on disk, one small file each, named by the hash of everything that they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, *parts: object) -> Path:
        name = hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:34]}.json"

    def get(self, path: Path) -> dict[str, Any] | None:
        try:
            cell: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None  # absent or damaged: measured again
        return cell
