"""Time and memory: whole encode and decode calls, array to bytes and back, every codec in turn in one interleaved run.

Each measurement is a process of its own, so that its peak memory is its own; the codecs alternate within each repeat,
so that a machine that slows down slows all of them. All get the same number of threads (a codec without that option
runs on one, and the table says so), the same image and, by bisection on a crop, nearly the same rate. Medians of the
repeats count; the first calls (imports, weights) happen on a small crop before the clock starts.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import codecs, datasets, environment
from .codecs import Array

ANCHOR = "jpeg2000"
DEFAULT_PEERS = ("ours", "jpeg2000", "jpeg", "webp", "avif", "jpegxl")
TWELVE_MEGAPIXELS = (3000, 4000)
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_WARM_UP = 256
_CALIBRATION = 1024


@dataclass(frozen=True)
class Task:
    """What one measuring process is told."""

    mode: str
    codec: str
    image: str
    threads: int
    setting: float = 0.0
    bpp: float = 0.0


def peak_memory() -> int:
    """This process's largest resident size so far, bytes.

    Linux's ru_maxrss starts from the parent's size at the time of exec; VmHWM does not.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # not on Windows

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if platform.system() == "Darwin" else size * 1024


def centre(image: Array, size: int) -> Array:
    row, column = (max((n - size) // 2, 0) for n in image.shape[:2])
    return np.ascontiguousarray(image[row : row + size, column : column + size])


def perform(task: Task) -> dict[str, float]:
    """Runs in the measuring process."""
    codec = codecs.get(task.codec)
    image = np.load(task.image)
    if task.mode == "calibrate":
        ladder = codec.ladder(image.dtype, codecs.bands_of(image))
        if len(ladder) == 1:  # random weights have one rate, and can take minutes to say so
            return {"setting": ladder[0]}
        crop = centre(image, _CALIBRATION)
        target = task.bpp * crop.shape[0] * crop.shape[1] / 8
        try:
            return {"setting": codecs.setting_for_bytes(codec, crop, target, tolerance=0.03, threads=task.threads)[0]}
        except ValueError:  # its smallest file is larger than that: the table shows the rate it has
            return {"setting": ladder[0]}
    codec.decode(codec.encode(centre(image, _WARM_UP), task.setting, task.threads), task.threads)
    before = peak_memory()
    start = time.perf_counter()
    data = codec.encode(image, task.setting, task.threads)
    encoded = time.perf_counter()
    peak_encode = peak_memory()
    decoding = time.perf_counter()
    decoded = codec.decode(data, task.threads)
    end = time.perf_counter()
    if decoded.shape != image.shape:
        raise RuntimeError(f"{codec.name} returned {decoded.shape} for {image.shape}")
    return {
        "encode": encoded - start,
        "decode": end - decoding,
        "bytes": len(data),
        "peak_memory": peak_memory(),
        "peak_memory_encode": peak_encode,
        "before": before,
    }


def _in_process(task: Task, timeout: float) -> dict[str, float]:
    environ = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environ[name] = str(task.threads)
    root = str(Path(__file__).resolve().parent.parent)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", json.dumps(asdict(task))],
        env=environ, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{task.codec}: {last}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summary(
    codec: codecs.Codec, runs: list[dict[str, float]], pixels: int, setting: float, threads: int
) -> dict[str, Any]:
    encode, decode = (statistics.median(run[key] for run in runs) for key in ("encode", "decode"))
    return {
        "codec": codec.name,
        "version": codec.version(),
        "random_weights": codec.random_weights,
        "threads": threads if codec.threaded else 1,
        "setting": setting,
        "bpp": 8 * runs[0]["bytes"] / pixels,
        "encode_s": encode,
        "decode_s": decode,
        "encode_mp_s": pixels / 1e6 / encode,
        "decode_mp_s": pixels / 1e6 / decode,
        "peak_memory_mib": max(run["peak_memory"] for run in runs) / 2**20,
        "peak_above_start_mib": max(run["peak_memory"] - run["before"] for run in runs) / 2**20,
        "repeats": len(runs),
    }


def time_image(
    image: Array,
    chosen: Sequence[codecs.Codec],
    settings: dict[str, float],
    *,
    threads: int,
    repeats: int,
    timeout: float,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Measures the codecs on one image, interleaved. Returns rows and the codecs that failed, with the reason."""
    runs: dict[str, list[dict[str, float]]] = {codec.name: [] for codec in chosen}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        for _ in range(repeats):
            for codec in chosen:
                if codec.name in failed:
                    continue
                task = Task("measure", codec.name, str(path), threads, settings[codec.name])
                try:
                    runs[codec.name].append(_in_process(task, timeout))
                except subprocess.TimeoutExpired:
                    failed[codec.name] = f"took more than {timeout:.0f} s"
                except RuntimeError as error:
                    failed[codec.name] = str(error)
    pixels = int(image.shape[0] * image.shape[1])
    rows = [_summary(c, runs[c.name], pixels, settings[c.name], threads) for c in chosen if c.name not in failed]
    anchor = next((row for row in rows if row["codec"] == ANCHOR), None)
    for row in rows:
        for way in ("encode", "decode"):
            row[f"{way}_ratio"] = row[f"{way}_mp_s"] / anchor[f"{way}_mp_s"] if anchor else None
    return rows, [{"codec": name, "reason": reason} for name, reason in failed.items()]


def calibrate(
    image: Array, chosen: Sequence[codecs.Codec], bpp: float, threads: int, timeout: float
) -> dict[str, float]:
    """Each codec's setting for about `bpp`, found on the central crop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, centre(image, _CALIBRATION))
        tasks = {c.name: Task("calibrate", c.name, str(path), threads, bpp=bpp) for c in chosen}
        return {name: _in_process(task, timeout)["setting"] for name, task in tasks.items()}


def _shape(megapixels: float) -> tuple[int, int]:
    """A 3:4 image of so many megapixels."""
    height = round((megapixels * 1e6 * 0.75) ** 0.5)
    return height, round(megapixels * 1e6 / height)


def run(
    names: Iterable[str] | None,
    *,
    image: Array | None = None,
    bpp: float = 0.75,
    threads: int | None = None,
    repeats: int = 5,
    scales: Sequence[float] = (),
    timeout: float = 600.0,
    command: str = "",
) -> dict[str, Any]:
    """Measures the codecs on one image (12 synthesised megapixels by default) and, if asked, over a range of sizes."""
    threads = threads or environment.cores()
    source = "given file" if image is not None else "mosaic of scikit-image's photographs"
    image = datasets.mosaic(*TWELVE_MEGAPIXELS) if image is None else image
    chosen, skipped = [], []
    for name in names or DEFAULT_PEERS:
        codec = codecs.get(name)
        reason = codec.unavailable()
        if reason is None and not codec.accepts(image.dtype, codecs.bands_of(image)):
            reason = f"does not code {codecs.bands_of(image)} band(s) of {image.dtype}"
        if reason is None:
            chosen.append(codec)
        else:
            skipped.append({"codec": name, "reason": reason})
    settings = calibrate(image, chosen, bpp, threads, timeout)
    rows, failed = time_image(image, chosen, settings, threads=threads, repeats=repeats, timeout=timeout)
    scaling = []
    for scale in scales:
        part = datasets.mosaic(*_shape(scale))
        # large images take long and vary little
        turns = repeats if scale <= 12 else min(repeats, 2)
        some, lost = time_image(part, chosen, settings, threads=threads, repeats=turns, timeout=timeout)
        scaling += [{"megapixels": scale, **row} for row in some]
        failed += [{**row, "megapixels": str(scale)} for row in lost]
    return {
        "image": {"shape": list(image.shape), "dtype": str(image.dtype), "source": source},
        "anchor": ANCHOR,
        "threads": threads,
        "target_bpp": bpp,
        "command": command,
        "environment": environment.describe(),
        "rows": rows,
        "scaling": scaling,
        "skipped": skipped + failed,
    }


def _speed(value: float) -> str:
    """MP/s with two decimals, or two digits where that would be nothing."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _ratio(value: float | None) -> str:
    return "–" if not value else f"{value:.2f}×" if value >= 0.1 else f"{value:.2g}×"


def table(result: dict[str, Any]) -> str:
    """Markdown of one run and its scaling."""
    height, width = result["image"]["shape"][:2]
    lines = [
        f"{width}×{height} {result['image']['dtype']} ({result['image']['source']}), "
        f"about {result['target_bpp']} bit/pixel, "
        f"{result['threads']} thread(s), {result['environment']['processor']}",
        "",
        "| codec | threads | bpp | encode MP/s | decode MP/s | encode vs JPEG 2000 | decode vs JPEG 2000 | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        name = row["codec"] + (" (random weights)" if row["random_weights"] else "")
        ratios = [_ratio(row[k]) for k in ("encode_ratio", "decode_ratio")]
        lines.append(
            f"| {name} | {row['threads']} | {row['bpp']:.2f} | {_speed(row['encode_mp_s'])} | "
            f"{_speed(row['decode_mp_s'])} | {ratios[0]} | {ratios[1]} | {row['peak_memory_mib']:.0f} |"
        )
    if result["scaling"]:
        lines += [
            "",
            "| MP | codec | encode s | decode s | encode MP/s | decode MP/s | encode ratio | decode ratio | peak MiB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in result["scaling"]:
            lines.append(
                f"| {row['megapixels']:g} | {row['codec']} | {row['encode_s']:.3f} | {row['decode_s']:.3f} | "
                f"{_speed(row['encode_mp_s'])} | {_speed(row['decode_mp_s'])} | {_ratio(row['encode_ratio'])} | "
                f"{_ratio(row['decode_ratio'])} | {row['peak_memory_mib']:.0f} |"
            )
    lines += ["", *(f"left out: {s['codec']} ({s['reason']})" for s in result["skipped"])]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    print(json.dumps(perform(Task(**json.loads(sys.argv[1])))))
