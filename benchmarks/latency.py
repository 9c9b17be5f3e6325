"""How long users wait: for the first image of a new process, and for a window of a large scene."""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import codecs, datasets
from .codec import Codec
from .jpeg2000 import gdal
from .speed import child_environment

#: A tile of Sentinel-2 at 10 m.
SCENE = 10_980
WINDOW = 512

_DECODE = {
    "ours": "import learned_codec; learned_codec.decode(open({path!r}, 'rb').read())",
    "jpeg2000": "import numpy, PIL.Image; numpy.asarray(PIL.Image.open({path!r}))",
    "webp": "import numpy, PIL.Image; numpy.asarray(PIL.Image.open({path!r}))",
    "avif": "import numpy, PIL.Image; numpy.asarray(PIL.Image.open({path!r}))",
    "jpegxl": "import imagecodecs; imagecodecs.jpegxl_decode(open({path!r}, 'rb').read())",
    "heic": "import numpy, pillow_heif; numpy.asarray(pillow_heif.open_heif({path!r}))",
}


def start(settings: dict[str, float], *, repeats: int = 5, timeout: float = 120.0) -> list[dict[str, Any]]:
    """Processor seconds from the start of Python to a decoded image of 768 × 512, on one thread.

    The codecs take turns, and medians count. The first row is Python alone.
    """
    image = datasets.mosaic(512, 768)
    with tempfile.TemporaryDirectory() as folder:
        programs = {"python": "pass"}
        for name, program in _DECODE.items():
            if name in settings and codecs.get(name).unavailable() is None:
                path = Path(folder) / f"image.{name}"
                path.write_bytes(codecs.get(name).encode(image, settings[name]))
                programs[name] = program.format(path=str(path))
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(repeats):
            for name, program in programs.items():
                begin = _children()
                subprocess.run(
                    [sys.executable, "-c", program], env=child_environment(1), check=True, timeout=timeout,
                    capture_output=True,
                )  # fmt: skip
                times[name].append(_children() - begin)
    return [{"codec": name, "seconds": statistics.median(found)} for name, found in times.items()]


def _children() -> float:
    """Processor seconds that finished child processes took."""
    used = os.times()
    return used.children_user + used.children_system


def windows(quality: float = 60.0, *, size: int = SCENE, count: int = 20) -> list[dict[str, Any]]:
    """Processor seconds to open a 16-bit scene of one band, and for windows of 512² at random places, on one thread.

    JPEG 2000 is a file as GDAL writes it, with 1024 tiles and as many bytes as ours. Both are read from disk.
    """
    colour = datasets.mosaic(size, size)
    scene = colour[..., 1].astype(np.uint16) * 16 + colour[..., 0] // 16  # 12 bits, as a sensor's
    del colour
    places = np.random.default_rng(1).integers(0, size - WINDOW, (count, 2)).tolist()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, read in (("ours", _read_ours), ("jpeg2000-gdal", _read_gdal)):
            codec: Codec = codecs.get(name)
            if codec.unavailable() is not None:
                continue
            path = Path(folder) / f"scene.{'jp2' if 'gdal' in name else 'lci'}"
            begin = time.process_time()
            rate = float(rows[0]["bpp"]) if rows else 1.0
            data = codec.encode(scene, quality if name == "ours" else rate)
            path.write_bytes(data)
            encoded = time.process_time() - begin
            first, others = read(path, places)
            row = {"codec": name, "bpp": 8 * len(data) / size**2, "encode_s": encoded, "first_s": first}
            rows.append({**row, "median_s": statistics.median(others), "largest_s": max(others)})
    return rows


def _read_ours(path: Path, places: list[list[int]]) -> tuple[float, list[float]]:
    module = importlib.import_module("learned_codec")
    begin = time.process_time()
    with module.open(path, threads=1) as scene:
        times = [begin]
        for row, column in places:
            scene.read(window=(row, column, WINDOW, WINDOW))
            times.append(time.process_time())
    return times[1] - times[0], list(np.diff(times[1:]))


def _read_gdal(path: Path, places: list[list[int]]) -> tuple[float, list[float]]:
    rasterio = importlib.import_module("rasterio")
    begin = time.process_time()
    with gdal(1), rasterio.open(path) as scene:
        times = [begin]
        for row, column in places:
            scene.read(1, window=((row, row + WINDOW), (column, column + WINDOW)))
            times.append(time.process_time())
    return times[1] - times[0], list(np.diff(times[1:]))
