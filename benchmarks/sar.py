"""Sentinel-1 mode: backscatter in dB, clipped to the 1st–99th percentile and scaled to [0, 1], at fixed rates.

Every codec gets the same 16-bit array of the first band. JPEG 2000 is given the rate, every other codec the bytes that
JPEG 2000 then took, found by bisection over its setting. PSNR and SSIM have the clipped range as peak (1.0); ENL ratio
and edge preservation are of the dB values. The published rows of the project's auto-encoders (2 bit/pixel, latents not
entropy-coded, on patches of other scenes) stand beside as reference lines.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import codecs, environment, metrics
from .codecs import Array
from .datasets import DatasetError
from .jpeg2000 import Jpeg2000

RATES = (0.25, 0.5, 1.0, 2.0)
CLIP = (1.0, 99.0)
PATCH = 256
MEASURED = ("psnr", "ssim", "enl-ratio", "epi")

#: Published figures of this project's earlier auto-encoders: 256×256 patches, 4,096 float32 latents per patch.
PUBLISHED = (
    {"name": "auto-encoder, baseline (2.3 M)", "bpp": 2.0, "psnr": 20.47, "ssim": 0.646},
    {"name": "auto-encoder, ResNet-Lite v1 (5.6 M)", "bpp": 2.0, "psnr": 21.24, "ssim": 0.725},
    {"name": "auto-encoder, ResNet-Lite v2 (5.6 M)", "bpp": 2.0, "psnr": 21.20, "ssim": 0.726},
    {"name": "auto-encoder, ResNet base 64 (22.4 M)", "bpp": 2.0, "psnr": 21.13, "ssim": 0.739},
    {"name": "target of that project", "bpp": 2.0, "psnr": 25.0, "ssim": 0.85},
)


@dataclass(frozen=True)
class Scene:
    """The first band of a SAR image: 16-bit codes of [0, 1], which of them hold data, and the dB range they span."""

    name: str
    codes: Array
    valid: Array
    low: float
    high: float

    def to_unit(self, codes: Array) -> Array:
        return codes.astype(np.float64) / 65535

    def to_db(self, codes: Array) -> Array:
        return self.low + (self.high - self.low) * self.to_unit(codes)


def to_db(values: Array, unit: str) -> tuple[Array, Array]:
    """Backscatter as dB, with the mask of pixels that have one. `unit` names dB or amplitude; else it is power."""
    values = values.astype(np.float64)
    valid = np.isfinite(values)
    if "db" in unit.lower():
        return values, valid
    valid &= values > 0
    factor = 20 if "amp" in unit.lower() else 10
    return factor * np.log10(np.where(valid, values, 1.0)), valid


def scene(name: str, values: Array, valid: Array) -> Scene:
    """Clips dB values at the percentiles of the valid ones and codes them; invalid pixels get the low end."""
    if not valid.any():
        raise DatasetError(f"{name}: no valid pixel")
    low, high = (float(v) for v in np.percentile(values[valid], CLIP))
    unit = np.clip((np.where(valid, values, low) - low) / max(high - low, 1e-9), 0, 1)
    return Scene(name, np.rint(unit * 65535).astype(np.uint16), valid, low, high)


def read(path: Path) -> tuple[Array, Array]:
    """The first band of a GeoTIFF in dB and its mask; the unit comes from the `UNIT` tag, else from the file's name."""
    rasterio = importlib.import_module("rasterio")
    unplaced = importlib.import_module("rasterio.errors").NotGeoreferencedWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unplaced)
        with rasterio.open(path) as source:
            band: Array = source.read(1)
            mask: Array = source.read_masks(1) != 0
            unit = str(source.tags().get("UNIT", path.stem))
    values, valid = to_db(band, unit)
    return values, valid & mask


def patches(name: str, values: Array, valid: Array, size: int) -> list[Scene]:
    """Non-overlapping size×size patches, each clipped by itself; an image smaller than that is one patch."""
    height, width = values.shape
    if min(height, width) < size:
        return [scene(name, values, valid)]
    found = []
    for row in range(0, height - size + 1, size):
        for column in range(0, width - size + 1, size):
            window = np.s_[row : row + size, column : column + size]
            if valid[window].mean() > 0.5:
                found.append(scene(f"{name}[{row},{column}]", values[window], valid[window]))
    return found


def measure(codec: codecs.Codec, part: Scene, rate: float, nbytes: int | None) -> dict[str, float]:
    """One cell: at `rate` for JPEG 2000, within `nbytes` for the others. Raises ValueError if it cannot go so low."""
    if nbytes is None:
        data = codec.encode(part.codes, rate)
    else:
        _, data = codecs.setting_for_bytes(codec, part.codes, nbytes, tolerance=0.005, max_trials=16)
    decoded = codec.decode(data)
    before, after = part.to_unit(part.codes), part.to_unit(decoded)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / part.codes.size,
        "psnr": metrics.psnr(before, after, 1.0, part.valid),
        "ssim": metrics.ssim(before, after, 1.0),
        "enl-ratio": metrics.enl_ratio(part.to_db(part.codes), part.to_db(decoded), valid=part.valid),
        "epi": metrics.edge_preservation(before, after),
    }


def _mean(cells: Sequence[dict[str, float]]) -> dict[str, float]:
    out = {}
    for key in ("bytes", "bpp", *MEASURED):
        known = [cell[key] for cell in cells if math.isfinite(cell[key])]
        out[key] = sum(known) / len(known) if known else math.nan
    return out


def run(
    dataset: Path, names: Iterable[str], *, patch: int | None, rates: Sequence[float] = RATES, command: str = ""
) -> dict[str, Any]:
    """Measures every GeoTIFF of a directory, whole (`patch` None, as in the project's anchor table) or in patches."""
    files = sorted(p for p in dataset.iterdir() if p.suffix.lower() in (".tif", ".tiff"))
    if not files:
        raise DatasetError(f"no GeoTIFF in {dataset}")
    anchor = Jpeg2000()
    others, skipped = [], []
    for name in names:
        codec = codecs.get(name)
        reason = codec.unavailable()
        if codec.random_weights:
            raise ValueError(f"{name} has random weights")
        if reason is None and not codec.accepts(np.uint16, 1):
            reason = "does not code one band of uint16"
        if reason is not None:
            skipped.append({"codec": name, "reason": reason})
        elif name != anchor.name:
            others.append(codec)
    versions = {codec.name: codec.version() for codec in (anchor, *others)}
    rows: list[dict[str, Any]] = []
    for file in tqdm(files, unit="scene"):
        values, valid = read(file)
        parts = [scene(file.stem, values, valid)] if patch is None else patches(file.stem, values, valid, patch)
        for rate in rates:
            reference = [measure(anchor, part, rate, None) for part in parts]
            rows.append(
                {"scene": file.stem, "rate": rate, "codec": anchor.name, "patches": len(parts), **_mean(reference)}
            )
            for codec in others:
                try:
                    cells = [measure(codec, p, rate, int(r["bytes"])) for p, r in zip(parts, reference, strict=True)]
                except ValueError as error:
                    skipped.append({"codec": codec.name, "reason": f"{file.stem} at {rate} bit/pixel: {error}"})
                    continue
                rows.append(
                    {"scene": file.stem, "rate": rate, "codec": codec.name, "patches": len(parts), **_mean(cells)}
                )
    return {
        "dataset": dataset.resolve().name,
        "patch": patch,
        "clip": "first band, dB, 1st to 99th percentile of each " + ("patch" if patch else "image"),
        "peak": "1.0 (the clipped range)",
        "command": command,
        "environment": environment.describe(),
        "versions": versions,
        "rows": rows,
        "skipped": skipped,
        "published": list(PUBLISHED),
    }


def table(result: dict[str, Any]) -> str:
    """Markdown: a row per scene and codec, PSNR / SSIM at each rate, ENL ratio and EPI at each too."""
    rates = sorted({row["rate"] for row in result["rows"]})
    head = ["scene", "codec"] + [f"{rate:g} bpp: PSNR / SSIM / ENL / EPI" for rate in rates]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    cells = {(row["scene"], row["codec"], row["rate"]): row for row in result["rows"]}
    for name in dict.fromkeys(row["scene"] for row in result["rows"]):
        for codec in dict.fromkeys(row["codec"] for row in result["rows"]):
            found = [cells.get((name, codec, rate)) for rate in rates]
            if any(found):
                lines.append("| " + " | ".join([name, codec, *(_cell(c) for c in found)]) + " |")
    for row in result["published"]:
        text = f"{row['psnr']:.2f} / {row['ssim']:.3f} / – / –"
        lines.append(
            "| " + " | ".join(["published", row["name"], *(text if r == row["bpp"] else "" for r in rates)]) + " |"
        )
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"

    def show(value: float | None, digits: int) -> str:
        return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"

    return f"{show(row['psnr'], 2)} / {show(row['ssim'], 3)} / {show(row['enl-ratio'], 2)} / {show(row['epi'], 3)}"
