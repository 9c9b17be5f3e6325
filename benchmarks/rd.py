"""Rate and distortion of each codec on each image at each of its settings, in parallel processes.

A cell is one codec at one setting on one image, really encoded and decoded. Its cache key is the codec's name, version
and options, the setting, the image's content and the version of the metrics. So a change of one of these measures only
its own cells again.
"""

from __future__ import annotations

import datetime as dt
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
from .codec import Codec, bands_of
from .storage import CellCache

ANCHOR = "jpeg2000"
#: Groups where plain JPEG 2000 would be too weak an anchor.
KLT_GROUPS = ("multi", "multifloat")
#: The anchor of those metrics that another tuning is better for.
TUNED_ANCHORS = {"psnr-bands": f"{ANCHOR}-klt-bands"}
#: What is measured in each cell; for each setting, the mean over images is reported.
MEASURED = (
    "bpp", "psnr", "psnr-bands", "ssim", "ms-ssim", "max-error", "mask-errors", "spectral-angle", "encoding_time",
    "decoding_time",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One cell to measure."""

    codec: str
    setting: float
    item: datasets.Item
    path: str


@dataclass(frozen=True)
class Skip:
    """A codec that is left out of some images of a group, or an image that is left out, and why."""

    codec: str
    group: str
    reason: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """An image of a group, without its pixels; the workers read those again."""

    item: datasets.Item
    digest: str
    dtype: str
    bands: int
    masked: bool


@dataclass
class Plan:
    """What a codec measures in a group: the settings of each image, and the paths of their cells."""

    settings: dict[str, tuple[float, ...]]
    paths: dict[str, list[Path]]


@lru_cache(maxsize=2)
def _load(item: datasets.Item) -> datasets.Loaded:
    return datasets.load(item)


def measure(codec: Codec, loaded: datasets.Loaded, setting: float) -> dict[str, Any]:
    """Encodes, decodes and measures one cell."""
    image = loaded.image
    start = time.perf_counter()
    data = codec.encode_valid(image, setting, loaded.valid)
    middle = time.perf_counter()
    decoded, shown = codec.decode_valid(data)
    end = time.perf_counter()
    if decoded.shape != image.shape or decoded.dtype != image.dtype:
        raise RuntimeError(
            f"{codec.name} returned {decoded.dtype}{decoded.shape} for {image.dtype}{image.shape} ({loaded.name})"
        )
    peak, stated = metrics.peak_of(image, loaded.valid)
    more: dict[str, float] = {}
    if loaded.valid is not None and shown is not None:
        more["mask-errors"] = int((shown != loaded.valid).sum())
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / loaded.pixels,
        "peak": stated,
        "encoding_time": middle - start,
        "decoding_time": end - middle,
        **metrics.all_metrics(image, decoded, peak, loaded.valid),
        **more,
    }


def _one_thread() -> None:
    """Gives a worker one thread, so that processes don't compete for cores. Called before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def _run(job: Job) -> dict[str, Any]:
    cell = measure(codecs.get(job.codec), _load(job.item), job.setting)
    CellCache.put(Path(job.path), cell)
    return cell


def _thin(ladder: Sequence[float], points: int | None) -> tuple[float, ...]:
    """About `points` of the settings, the first and the last among them; None: all."""
    if points is None or points >= len(ladder):
        return tuple(ladder)
    return tuple(ladder[i] for i in sorted({round(i) for i in np.linspace(0, len(ladder) - 1, points)}))


def choose(names: Iterable[str] | None) -> tuple[list[Codec], list[Skip]]:
    """The codecs that can run here, and those that can't. Raises ValueError for one with random weights."""
    chosen, skipped = [], []
    for name in names or codecs.names(by_default=True):
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


def _entry(
    codec: Codec, settings: dict[str, tuple[float, ...]], cells: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """One codec's part of the results: its mean curve and the values of each image.

    `psnr-rgb` and `ms-ssim-rgb` are the names that CompressAI's plots read. If a codec's ladder differs from image to
    image, its settings are numbered; if even the lengths of ladders differ, there are no means.
    """
    images = {
        name: {key: [cell[key] for cell in row] for key in MEASURED if all(key in cell for cell in row)}
        for name, row in cells.items()
    }
    keys = [key for key in MEASURED if all(key in values for values in images.values())]
    ladders = set(settings.values())
    if len(ladders) > 1:
        for name, row in settings.items():
            images[name]["setting"] = list(row)
    uneven = len({len(ladder) for ladder in ladders}) > 1
    results: dict[str, list[float | None]] = {}
    for key in keys:
        columns = list(zip(*(image[key] for image in images.values()), strict=False))
        # None in any image (lossless, or too small for the metric): no mean
        results[key] = [None if uneven or None in column else _mean(column) for column in columns]
    results["psnr-rgb"], results["ms-ssim-rgb"] = results["psnr"], results["ms-ssim"]
    return {
        "name": codec.name,
        "description": codec.description,
        "note": codec.note,
        "metrics": codec.metrics,
        "version": codec.version(),
        "options": codec.options,
        "settings": list(ladders.pop()) if len(ladders) == 1 else list(range(1, min(map(len, ladders)) + 1)),
        "results": results,
        "images": images,
    }


def anchor_of(group: datasets.Group, entries: Iterable[dict[str, Any]]) -> str:
    """JPEG 2000, behind a spectral KLT if there are several bands and it was measured."""
    klt = f"{ANCHOR}-klt"
    return klt if group.slug in KLT_GROUPS and any(entry["name"] == klt for entry in entries) else ANCHOR


def _compare(
    entries: list[dict[str, Any]], anchor: str, no_mean_curve: str
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """BD-rates by PSNR, with both interpolations; and by other metrics and by bands of PSNR, with PCHIP."""
    base = next((entry for entry in entries if entry["name"] == anchor), None)
    if base is None:
        return [], {}
    others = [entry for entry in entries if entry is not base]
    by_psnr = [entry for entry in others if "psnr" in entry["metrics"]]
    whole = [
        bdrate.compare(base, entry, method=method, no_mean_curve=no_mean_curve).to_json()
        for entry in by_psnr
        for method in bdrate.METHODS
    ]
    parts: dict[str, list[dict[str, Any]]] = {}
    for metric, within in bdrate.PARTS:
        own = next((entry for entry in others if entry["name"] == TUNED_ANCHORS.get(metric)), base)
        rows = [
            bdrate.compare(own, entry, metric=metric, within=within, no_mean_curve=no_mean_curve).to_json()
            for entry in entries
            if entry is not own and metric in entry["metrics"]
            if all(metric in each["results"] for each in (own, entry))
        ]
        if rows:
            parts[bdrate.part_name(metric, within)] = rows
    return whole, parts


def _sort(items: Iterable[datasets.Item]) -> tuple[dict[datasets.Group, list[Member]], list[Skip]]:
    """The images by group, and those that no codec should be judged by."""
    groups: dict[datasets.Group, list[Member]] = {}
    unfit = []
    for item in items:
        try:
            loaded = datasets.load(item)
        except datasets.UnfitError as reason:
            unfit.append(Skip("every codec", "any", str(reason), (item.name,)))
            continue
        member = Member(item, loaded.digest, loaded.image.dtype.str, bands_of(loaded.image), loaded.valid is not None)
        groups.setdefault(loaded.group, []).append(member)
    return groups, unfit


def _plan(
    codec: Codec, group: datasets.Group, members: list[Member], cache: CellCache, points: int | None
) -> tuple[Plan | None, list[Job], list[Skip]]:
    """A codec's cells in one group, and the images it cannot code."""
    plan, jobs, misfits = Plan({}, {}), [], dict[str, list[str]]()
    for member in members:
        name = member.item.name
        if not codec.accepts(member.dtype, member.bands):
            reason = f"does not code {member.bands} band(s) of {np.dtype(member.dtype)}"
            misfits.setdefault(reason, []).append(name)
            continue
        plan.settings[name] = _thin(codec.ladder(member.dtype, member.bands), points)
        plan.paths[name] = [
            cache.path(codec.key(), setting, member.digest, metrics.VERSION) for setting in plan.settings[name]
        ]
        pairs = zip(plan.settings[name], plan.paths[name], strict=True)
        jobs += [Job(codec.name, setting, member.item, str(path)) for setting, path in pairs]
    skipped = [Skip(codec.name, group.slug, reason, tuple(names)) for reason, names in misfits.items()]
    return plan if plan.paths else None, jobs, skipped


def _nodata(members: list[Member], entries: list[dict[str, Any]]) -> str:
    """How images with pixels without data were coded and measured."""
    masked = sum(member.masked for member in members)
    if not masked:
        return "none"
    text = (
        f"{masked} of {len(members)} images have pixels without data. No quality counts them; rates are over all "
        "pixels. Codecs without masks get the mean of each band there, and no mask counts in their bytes"
    )
    ours = any(entry["name"] == "ours" for entry in entries)
    return text + ("; ours stores the mask, which counts in its bytes." if ours else ".")


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
    items: Sequence[datasets.Item] | None = None,
) -> list[dict[str, Any]]:
    """Measures the codecs and returns one result for each group of images (see `datasets.group_of`)."""
    chosen, unavailable = choose(names)
    groups, unfit = _sort((datasets.find(dataset) if items is None else items)[:limit])
    if not groups:
        raise datasets.DatasetError(f"no image of {dataset} can be used: {unfit[0].reason if unfit else 'it is empty'}")
    plans: dict[str, dict[str, Plan]] = {}
    todo: list[Job] = []
    skipped = [*unavailable, *unfit]
    for group, members in groups.items():
        plans[group.slug] = {}
        for codec in chosen:
            plan, wanted, misfits = _plan(codec, group, members, cache, points)
            skipped += misfits
            todo += wanted
            if plan is not None:
                plans[group.slug][codec.name] = plan
    cells = _fill(todo, cache, jobs, progress)
    results = []
    for group, members in groups.items():
        entries = [
            _entry(codec, plan.settings, {name: [_cell(cache, p) for p in row] for name, row in plan.paths.items()})
            for codec in chosen
            if codec.name in plans[group.slug]
            for plan in [plans[group.slug][codec.name]]
        ]
        anchor = anchor_of(group, entries)
        kinds = sorted({f"{np.dtype(member.dtype)}×{member.bands}" for member in members})
        mixed = "images of different types or numbers of bands have no common rate" if len(kinds) > 1 else ""
        whole, parts = _compare(entries, anchor, mixed)
        # uint8 means 255, everything else the data's range
        peaks = {metrics.peak_of(np.zeros(2, np.dtype(member.dtype)))[1] for member in members}
        results.append(
            {
                "dataset": datasets.dataset_name(dataset),
                "group": group.slug,
                "kind": group.title,
                "kinds": kinds,
                "mixed": bool(mixed),
                "images": [member.item.name for member in members],
                "peak": " (8-bit images), ".join(sorted(peaks, reverse=True)),
                "rate": "bits per pixel over all bands, whole files",
                "nodata": _nodata(members, entries),
                "anchor": anchor,
                "command": command,
                "environment": environment.describe(),
                "cells": cells,
                "codecs": entries,
                "skipped": [vars(s) for s in skipped if s.group in (group.slug, "any")],
                "bd": whole,
                "bd-parts": parts,
            }
        )
    return results


def _cell(cache: CellCache, path: Path) -> dict[str, Any]:
    cell = cache.get(path)
    if cell is None:
        raise RuntimeError(f"the cell {path} disappeared while the run was on")
    return cell


def _fill(todo: list[Job], cache: CellCache, jobs: int, progress: bool) -> dict[str, Any]:
    """Measures the cells that the cache lacks. Each is written at once, so a run can be interrupted.

    Returns how many were measured, how many came from the cache, and when the oldest of those was measured.
    """
    found = [(job, cache.get(Path(job.path))) for job in todo]
    missing = [job for job, cell in found if cell is None]
    times = [float(cell["measured"]) for _, cell in found if cell is not None]
    oldest = dt.datetime.fromtimestamp(min(times), dt.UTC).strftime("%Y-%m-%d %H:%M UTC") if times else None
    report = {"measured": len(missing), "cached": len(times), "oldest": oldest}
    bar = tqdm(total=len(todo), initial=len(todo) - len(missing), unit="cell", disable=not progress)
    with bar:
        if jobs <= 1:
            for job in missing:
                _run(job)
                bar.update()
            return report
        # spawn: in a forked process, torch and GDAL inherit locks and thread pools that no longer work
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, max(len(missing), 1)), context, _one_thread) as pool:
            for future in as_completed([pool.submit(_run, job) for job in missing]):
                future.result()
                bar.update()
    return report
