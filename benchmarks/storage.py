"""Files that must never be half written: results, and the cache of measured cells."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from learned_codec.atomic import atomic_write


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes `data` to `path`, whole or not at all, and makes the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def finite(value: Any) -> Any:
    """The value with None for infinity and nan, which JSON doesn't have."""
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
    """Measured cells on disk, a small file each. Its name is a hash of all that the cell depends on.

    `fresh`: cells that were measured before now don't count.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.folder = folder
        self.oldest = time.time() if fresh else 0.0

    def path(self, *parts: object) -> Path:
        name = hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:34]}.json"

    def get(self, path: Path) -> dict[str, Any] | None:
        try:
            cell: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None  # absent or damaged: measured again
        return cell if cell.get("measured", 0.0) >= self.oldest else None

    @staticmethod
    def put(path: Path, cell: dict[str, Any]) -> None:
        write_json(path, {**cell, "measured": time.time()})
