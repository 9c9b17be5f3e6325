"""Time and memory of whole calls: encoding an array to bytes, and decoding it.

Each measurement is a process of its own, so its peak memory is its own. The codecs take turns within each repeat, so a
machine that slows down slows all of them. All get the same image, nearly the same rate (by bisection on a crop), and
the same number of threads; a codec without that option runs on one, which the table shows. Medians of the repeats
count. Imports and weights are loaded before, with a small crop. With one thread, processor time is measured, which
other programs hardly disturb; with more, elapsed time. `latency` measures a first image and a window.
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from learned_codec.models.device import cores

from . import codecs, datasets, environment
from .codec import AnyArray, Codec, bands_of, setting_for_bytes

ANCHOR = "jpeg2000"
DEFAULT_PEERS = ("ours", "ours-unrefined", "jpeg2000", "webp", "jpeg", "avif", "jpegxl", "heic")
#: Codecs that a large image is measured with.
LARGE = ("ours", "ours-unrefined", "jpeg2000")
_WARM_UP = 256
_CALIBRATION = 512

#: Variables that limit the vector instructions of oneDNN (in OpenVINO and torch) and of torch's own kernels.
FEATURES: Mapping[str, dict[str, str]] = {
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
    "AVX-512, bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "ATEN_CPU_CAPABILITY": "avx512"},
}
WITHOUT_BF16 = ("AVX2", "AVX512_CORE")
_FLAGS = {"AVX2": "avx2", "AVX-512": "avx512bw", "AVX-512, bf16": "avx512_bf16"}


@dataclass(frozen=True)
class SpeedTask:
    """What one measuring process has to do."""

    mode: str
    codec: str
    image: str
    threads: int
    setting: float = 0.0
    bpp: float = 0.0
    environ: dict[str, str] = field(default_factory=dict)


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


def centre(image: AnyArray, size: int) -> AnyArray:
    row, column = (max((n - size) // 2, 0) for n in image.shape[:2])
    return np.ascontiguousarray(image[row : row + size, column : column + size])


def _limit_openvino() -> None:
    """Turns off what oneDNN's switch doesn't reach in OpenVINO: bf16, which would be emulated, and slow."""
    from learned_codec.models.engine.openvino import OpenVino

    begin = OpenVino.__init__

    def limited(self: OpenVino, threads: int) -> None:
        begin(self, threads)
        self._short = "f32"

    OpenVino.__init__ = limited  # type: ignore[method-assign]


def perform(task: SpeedTask) -> dict[str, float]:
    """Runs in the measuring process."""
    if task.environ.get("ONEDNN_MAX_CPU_ISA") in WITHOUT_BF16:
        _limit_openvino()
    codec = codecs.get(task.codec)
    image = np.load(task.image)
    if task.mode == "calibrate":
        ladder = codec.ladder(image.dtype, bands_of(image))
        if len(ladder) == 1:  # random weights have one rate
            return {"setting": ladder[0]}
        crop = centre(image, _CALIBRATION)
        target = task.bpp * crop.shape[0] * crop.shape[1] / 8
        try:
            return {"setting": setting_for_bytes(codec, crop, target, tolerance=0.03, threads=task.threads)[0]}
        except ValueError:  # its smallest file is larger; the table shows its rate
            return {"setting": ladder[0]}
    codec.decode(codec.encode(centre(image, _WARM_UP), task.setting, task.threads), task.threads)
    clock = time.process_time if task.threads == 1 else time.perf_counter
    before = peak_memory()
    start = clock()
    data = codec.encode(image, task.setting, task.threads)
    encoded = clock()
    peak_encode = peak_memory()
    decoding = clock()
    decoded = codec.decode(data, task.threads)
    end = clock()
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


def child_environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a measuring process: the number of threads everywhere, and this package on its path."""
    environ = {**os.environ, **(more or {})}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environ[name] = str(threads)
    root = str(Path(__file__).resolve().parent.parent)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environ.get("PYTHONPATH", ""))))
    return environ


def _in_process(task: SpeedTask, timeout: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", json.dumps(asdict(task))],
        env=child_environment(task.threads, task.environ), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{task.codec}: {last}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summary(codec: Codec, runs: list[dict[str, float]], pixels: int, setting: float, threads: int) -> dict[str, Any]:
    encode, decode = (statistics.median(run[key] for run in runs) for key in ("encode", "decode"))
    return {
        "codec": codec.name,
        "version": codec.version(),
        "random_weights": codec.random_weights,
        "megapixels": pixels / 1e6,
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
    image: AnyArray,
    chosen: Sequence[Codec],
    settings: dict[str, float],
    *,
    threads: int,
    repeats: int,
    timeout: float,
    environ: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Measures the codecs on one image, in turns. Returns rows, and the codecs that failed with the reason."""
    runs: dict[str, list[dict[str, float]]] = {codec.name: [] for codec in chosen}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        for _ in range(repeats):
            for codec in chosen:
                if codec.name in failed:
                    continue
                more = dict(environ or {})
                task = SpeedTask("measure", codec.name, str(path), threads, settings[codec.name], environ=more)
                try:
                    runs[codec.name].append(_in_process(task, timeout))
                except subprocess.TimeoutExpired:
                    failed[codec.name] = f"took more than {timeout:.0f} s"
                except RuntimeError as error:
                    failed[codec.name] = str(error)
    pixels = int(image.shape[0] * image.shape[1])
    rows = [_summary(c, runs[c.name], pixels, settings[c.name], threads) for c in chosen if c.name not in failed]
    return rows, [{"codec": name, "reason": reason} for name, reason in failed.items()]


def calibrate(image: AnyArray, chosen: Sequence[Codec], bpp: float, threads: int, timeout: float) -> dict[str, float]:
    """Each codec's setting for about `bpp`, found on the central crop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, centre(image, _CALIBRATION))
        tasks = {c.name: SpeedTask("calibrate", c.name, str(path), threads, bpp=bpp) for c in chosen}
        return {name: _in_process(task, timeout)["setting"] for name, task in tasks.items()}


def shape_of(megapixels: float) -> tuple[int, int]:
    """A 3:4 image of a number of megapixels."""
    height = round((megapixels * 1e6 * 0.75) ** 0.5)
    return height, round(megapixels * 1e6 / height)


def _choose(names: Iterable[str]) -> tuple[list[Codec], list[dict[str, str]]]:
    chosen, skipped = [], []
    for name in names:
        codec = codecs.get(name)
        reason = codec.unavailable()
        if reason is None and not codec.accepts(np.uint8, 3):
            reason = "does not code 8-bit RGB"
        if reason is None:
            chosen.append(codec)
        else:
            skipped.append({"codec": name, "reason": reason})
    return chosen, skipped


def features(setting: float, megapixels: float, timeout: float) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Ours on one thread, limited to each set of instructions that the processor has; and what failed."""
    has = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    image, rows, failed = datasets.mosaic(*shape_of(megapixels)), [], []
    for name, environ in FEATURES.items():
        if _FLAGS[name] in has.split():
            found, lost = time_image(
                image, [codecs.get("ours")], {"ours": setting}, threads=1, repeats=2, timeout=timeout, environ=environ
            )
            rows += [{"feature": name, **row} for row in found]
            failed += [{"codec": f"ours with {name}", "reason": row["reason"]} for row in lost]
    return rows, failed


def run(
    names: Iterable[str] | None = None,
    *,
    bpp: float = 0.75,
    megapixels: float = 12.0,
    slow_megapixels: float = 3.0,
    large_megapixels: float | None = 100.0,
    threads: Sequence[int] | None = None,
    repeats: int = 3,
    timeout: float = 600.0,
    command: str = "",
) -> dict[str, Any]:
    """Measures the codecs on one synthesised image with each number of threads, and a few on a large one.

    Codecs that encode slowly (`Codec.slow`) are timed on fewer megapixels, once for each number of threads.
    """
    threads = threads or sorted({1, cores()})
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    chosen, skipped = _choose(names or DEFAULT_PEERS)
    image = datasets.mosaic(*shape_of(megapixels))
    settings = calibrate(image, chosen, bpp, 1, timeout)
    small = datasets.mosaic(*shape_of(min(slow_megapixels, megapixels)))
    fast, slow = ([c for c in chosen if c.slow is kind] for kind in (False, True))
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for count in threads:
        for picture, group, turns in ((image, fast, repeats), (small, slow, 1)):
            some, lost = time_image(picture, group, settings, threads=count, repeats=turns, timeout=timeout)
            rows += [{"given": count, **row} for row in some]
            failed += lost
    if large_megapixels is not None:
        large = [codec for codec in chosen if codec.name in LARGE]
        picture = datasets.mosaic(*shape_of(large_megapixels))
        some, lost = time_image(picture, large, settings, threads=max(threads), repeats=1, timeout=timeout)
        rows += [{"given": max(threads), **row} for row in some]
        failed += lost
    limited, lost = features(settings["ours"], slow_megapixels, timeout) if "ours" in settings else ([], [])
    failed += lost
    return {
        "load": load,
        "image": "mosaic of scikit-image's photographs, 8-bit RGB",
        "anchor": ANCHOR,
        "threads": list(threads),
        "target_bpp": bpp,
        "command": command,
        "environment": environment.describe(),
        "rows": rows,
        "features": limited,
        "skipped": skipped + failed,
    }


def digits(value: float) -> str:
    """MP/s with one decimal, or with two digits below 1."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


if __name__ == "__main__":
    print(json.dumps(perform(SpeedTask(**json.loads(sys.argv[1])))))
