"""Rate and distortion: each codec's ladder over each image, from real bytes and real decodes, in parallel processes.

A cell is one codec at one setting on one image. Its cache key is the codec's name, version and options, the setting,
the image's content and the version of the metrics, so a change of one of them measures only its own cells again.
"""

from __future__ import annotations

import csv
import io
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import bdrate, codecs, datasets, environment, metrics
from .storage import CellCache, write_atomically, write_json

ANCHOR = "jpeg2000"
#: With this many bands or more, plain JPEG 2000 would be a straw man.
KLT_FROM_BANDS = 4
#: The mean of these over images is reported per setting; `psnr-rgb` and `ms-ssim-rgb` are CompressAI's names.
MEASURED = ("bpp", "psnr", "ssim", "ms-ssim", "max-error", "spectral-angle", "encoding_time", "decoding_time")


@dataclass(frozen=True)
class Job:
    """One cell to measure."""

    codec: str
    setting: float
    item: datasets.Item
    path: str


@dataclass(frozen=True)
class Skip:
    """An image or a data set that a codec is left out of, and why."""

    codec: str
    kind: str
    reason: str


@lru_cache(maxsize=2)
def _load(item: datasets.Item) -> datasets.Loaded:
    return datasets.load(item)


def measure(codec: codecs.Codec, loaded: datasets.Loaded, setting: float) -> dict[str, Any]:
    """Encodes, decodes and measures one cell."""
    image = loaded.image
    start = time.perf_counter()
    data = codec.encode(image, setting)
    middle = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    if decoded.shape != image.shape or decoded.dtype != image.dtype:
        raise RuntimeError(
            f"{codec.name} returned {decoded.dtype}{decoded.shape} for {image.dtype}{image.shape} ({loaded.name})"
        )
    peak, stated = metrics.peak_of(image, loaded.valid)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / loaded.pixels,
        "peak": stated,
        "encoding_time": middle - start,
        "decoding_time": end - middle,
        **metrics.all_metrics(image, decoded, peak, loaded.valid),
    }


def _one_thread() -> None:
    """Worker start: one thread each, set before torch is imported, so that processes do not fight for cores."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def _run(job: Job) -> dict[str, Any]:
    cell = measure(codecs.get(job.codec), _load(job.item), job.setting)
    write_json(Path(job.path), cell)
    return cell


def _thin(ladder: Sequence[float], points: int | None) -> tuple[float, ...]:
    """Every n-th setting, ends kept, for a quick look."""
    if points is None or points >= len(ladder):
        return tuple(ladder)
    return tuple(ladder[i] for i in sorted({round(i) for i in np.linspace(0, len(ladder) - 1, points)}))


def choose(names: Iterable[str] | None) -> tuple[list[codecs.Codec], list[Skip]]:
    """The codecs that can run here; asked for or not, none with random weights."""
    chosen, skipped = [], []
    for name in names or codecs.names(trained_only=True):
        codec = codecs.get(name)
        if codec.random_weights:
            raise ValueError(f"{name} has random weights: it has no place in a rate-distortion run")
        reason = codec.unavailable()
        if reason is None:
            chosen.append(codec)
        else:
            skipped.append(Skip(name, "any", f"not available: {reason}"))
    return chosen, skipped


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _entry(codec: codecs.Codec, settings: Sequence[float], cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One codec's part of the results: mean curve and per-image values, in the keys that CompressAI's plots read."""
    first = next(iter(cells.values()))[0]
    keys = [key for key in MEASURED if key in first]
    images = {name: {key: [cell[key] for cell in row] for key in keys} for name, row in cells.items()}
    results: dict[str, list[float | None]] = {}
    for key in keys:
        columns = list(zip(*(image[key] for image in images.values()), strict=True))
        # null in any image (lossless, or too small for the metric) leaves no honest mean
        results[key] = [None if any(v is None for v in column) else _mean(column) for column in columns]
    results["psnr-rgb"], results["ms-ssim-rgb"] = results["psnr"], results["ms-ssim"]
    return {
        "name": codec.name,
        "description": codec.description,
        "version": codec.version(),
        "options": codec.options,
        "settings": list(settings),
        "results": results,
        "images": images,
    }


def anchor_of(bands: int, entries: Iterable[dict[str, Any]]) -> str:
    """JPEG 2000, behind a spectral KLT if there are many bands and it was measured."""
    klt = f"{ANCHOR}-klt"
    return klt if bands >= KLT_FROM_BANDS and any(entry["name"] == klt for entry in entries) else ANCHOR


def _compare(entries: list[dict[str, Any]], anchor: str) -> list[dict[str, Any]]:
    base = next((entry for entry in entries if entry["name"] == anchor), None)
    if base is None:
        return []
    rows = []
    for entry in entries:
        if entry is not base:
            rows += [bdrate.compare(base, entry, method=method).to_json() for method in bdrate.METHODS]
    return rows


def run(
    dataset: str,
    names: Iterable[str] | None,
    *,
    cache: CellCache,
    jobs: int = 2,
    points: int | None = None,
    limit: int | None = None,
    command: str = "",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Runs the ladders and returns one result per kind of image (type × bands) in the data set."""
    chosen, skipped = choose(names)
    items = datasets.find(dataset)[:limit]
    kinds: dict[str, list[tuple[datasets.Item, str, Any]]] = {}
    for item in items:
        loaded = datasets.load(item)
        # pixels only: what the workers need again, they read again
        kinds.setdefault(loaded.kind, []).append(
            (item, loaded.digest, (loaded.image.dtype, codecs.bands_of(loaded.image)))
        )

    plan: dict[str, dict[str, tuple[tuple[float, ...], dict[str, list[Path]]]]] = {}
    todo: list[Job] = []
    for kind, members in kinds.items():
        plan[kind] = {}
        dtype, bands = members[0][2]
        for codec in chosen:
            if not codec.accepts(dtype, bands):
                skipped.append(Skip(codec.name, kind, f"does not code {bands} band(s) of {dtype}"))
                continue
            settings = _thin(codec.ladder(dtype, bands), points)
            paths = {
                item.name: [cache.path(codec.key(), s, digest, metrics.VERSION) for s in settings]
                for item, digest, _ in members
            }
            plan[kind][codec.name] = (settings, paths)
            for item, _, _ in members:
                todo += [Job(codec.name, s, item, str(p)) for s, p in zip(settings, paths[item.name], strict=True)]

    _fill(todo, cache, jobs, progress)
    results = []
    for kind, members in kinds.items():
        entries = [
            _entry(codec, settings, {name: [_cell(cache, p) for p in row] for name, row in paths.items()})
            for codec in chosen
            if codec.name in plan[kind]
            for settings, paths in [plan[kind][codec.name]]
        ]
        anchor = anchor_of(members[0][2][1], entries)
        results.append(
            {
                "dataset": datasets.dataset_name(dataset),
                "kind": kind,
                "images": [item.name for item, _, _ in members],
                "peak": "255" if kind.startswith("uint8") else "range of each image's valid data",
                "anchor": anchor,
                "command": command,
                "environment": environment.describe(),
                "codecs": entries,
                "skipped": [vars(s) for s in skipped if s.kind in (kind, "any")],
                "bd": _compare(entries, anchor),
            }
        )
    return results


def _cell(cache: CellCache, path: Path) -> dict[str, Any]:
    cell = cache.get(path)
    if cell is None:
        raise RuntimeError(f"the cell {path} disappeared while the run was on")
    return cell


def _fill(todo: list[Job], cache: CellCache, jobs: int, progress: bool) -> None:
    """Measures the cells that the cache lacks; each is on disk before the next counts, so a run can be cut off."""
    missing = [job for job in todo if cache.get(Path(job.path)) is None]
    bar = tqdm(total=len(todo), initial=len(todo) - len(missing), unit="cell", disable=not progress)
    with bar:
        if jobs <= 1:
            for job in missing:
                _run(job)
                bar.update()
            return
        # spawn: a forked torch or GDAL inherits locks and thread pools that no longer work
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, max(len(missing), 1)), context, _one_thread) as pool:
            for future in as_completed([pool.submit(_run, job) for job in missing]):
                future.result()
                bar.update()


def to_csv(result: dict[str, Any]) -> str:
    """One row per codec, image and setting."""
    out = io.StringIO()
    keys = [key for key in MEASURED if any(key in codec["results"] for codec in result["codecs"])]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["codec", "version", "image", "setting", *keys])
    for codec in result["codecs"]:
        for image, values in codec["images"].items():
            for i, setting in enumerate(codec["settings"]):
                row = [values[key][i] if key in values else None for key in keys]
                cells = ["" if v is None else f"{v:.6g}" for v in row]
                writer.writerow([codec["name"], codec["version"], image, f"{setting:g}", *cells])
    return out.getvalue()


def save(results: list[dict[str, Any]], out: Path) -> list[Path]:
    """Writes per kind: `<dataset>.json` with everything, `.csv` per image, and one CompressAI-shaped file per codec.

    The kind is part of the name when the data set has more than one.
    """
    written = []
    for result in results:
        stem = result["dataset"] if len(results) == 1 else f"{result['dataset']}-{result['kind']}"
        path = out / f"{stem}.json"
        write_json(path, result)
        write_atomically(path.with_suffix(".csv"), to_csv(result))
        for codec in result["codecs"]:
            shape = {key: codec[key] for key in ("name", "description", "results")}
            write_json(out / stem / f"{codec['name']}.json", shape)
        written.append(path)
    return written


def _cells(values: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)).rstrip()


def bd_table(result: dict[str, Any]) -> str:
    """The BD-rates of one result as text: codec, method, mean curve, mean of images, range and number of images."""
    rows = [("codec", "method", "mean curve", "mean of images", "images", "quality range", "overlap")]
    for bd in result["bd"]:
        whole = bd["mean_curve"]
        rows.append(
            (
                bd["codec"],
                bd["method"],
                f"{whole['value']:+.1f} %" if whole else "refused",
                "refused" if bd["mean_of_images"] is None else f"{bd['mean_of_images']:+.1f} %",
                f"{bd['images']} of {len(result['images'])}",
                f"{whole['low']:.2f} to {whole['high']:.2f} dB" if whole else bd["refused"].get("mean curve", ""),
                f"{whole['overlap']:.0%}" if whole else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_cells(row, widths) for row in rows]
    left_out = [f"left out: {s['codec']} ({s['reason']})" for s in result["skipped"]]
    title = (
        f"{result['dataset']}, {result['kind']}: BD-rate against {result['anchor']}, PSNR with peak {result['peak']}"
    )
    return "\n".join([title, *lines, *left_out])
