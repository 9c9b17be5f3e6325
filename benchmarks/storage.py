"""Small files that must never be half written: results, and the cache of measured cells."""

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
    """Writes `data` to `path`, with the folders above it: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


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
    """Measured cells on disk, one small file each, named by the hash of everything that they depend on.

    `fresh`: cells measured before now count as absent.
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
