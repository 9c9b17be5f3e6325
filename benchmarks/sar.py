"""SAR: backscatter in dB, clipped to the 1st–99th percentile and scaled to [0, 1], at fixed rates.

All codecs get the same uint16 array of the first band, in which 0 and 65535 are the ends of the clip. JPEG 2000 gets
the rate, and the others get the bytes that JPEG 2000 took: ours by its own rate control, which stays below, the others
by bisection over their setting. At pixels without data, codecs without masks get the mean of the other pixels; ours
stores the mask, which counts in its bytes. No quality counts these pixels; rates are over all pixels.

The peak of PSNR and SSIM is the clipped range (1.0). ENL ratio and edge preservation are those of the dB values. For
reference, the table also has figures of this project's earlier auto-encoders, on patches of other scenes (2 bit/pixel;
their latents weren't entropy-coded).
"""

from __future__ import annotations

import csv
import importlib
import io
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from learned_codec.values.decibels import to_decibels

from . import bdrate, codecs, environment, markdown, metrics
from .codec import AnyArray, Codec, fill_with_mean
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
    {"name": "target of that project: more than", "bpp": 2.0, "psnr": 25.0, "ssim": 0.85, "epi": 0.85},
)


@dataclass(frozen=True)
class Scene:
    """The first band of a SAR image: [0, 1] in 16 bits, which pixels have data, and the range in dB."""

    name: str
    codes: AnyArray
    valid: AnyArray
    low: float
    high: float

    def to_unit(self, codes: AnyArray) -> AnyArray:
        return codes.astype(np.float64) / 65535

    def to_db(self, codes: AnyArray) -> AnyArray:
        return self.low + (self.high - self.low) * self.to_unit(codes)


def to_db(values: AnyArray, unit: str) -> tuple[AnyArray, AnyArray]:
    """Backscatter in dB, and which pixels have a value. `unit` contains "dB" or "amp"; otherwise it is power."""
    values = values.astype(np.float64)
    valid = np.isfinite(values)
    if "db" in unit.lower():
        return values, valid
    valid &= values > 0
    return to_decibels(np.where(valid, values, 1.0), "amplitude" if "amp" in unit.lower() else "power"), valid


def scene(name: str, values: AnyArray, valid: AnyArray) -> Scene:
    """A scene of dB values, clipped at percentiles of the valid ones. The others get the mean of the valid ones."""
    if not valid.any():
        raise DatasetError(f"{name}: no valid pixel")
    low, high = (float(v) for v in np.percentile(values[valid], CLIP))
    unit = np.clip((np.where(valid, values, low) - low) / max(high - low, 1e-9), 0, 1)
    return Scene(name, fill_with_mean(np.rint(unit * 65535).astype(np.uint16), valid), valid, low, high)


def read(path: Path) -> tuple[AnyArray, AnyArray]:
    """The first band of a GeoTIFF in dB, and its mask. The unit is in the tag `UNIT` or in the file's name."""
    rasterio = importlib.import_module("rasterio")
    unplaced = importlib.import_module("rasterio.errors").NotGeoreferencedWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unplaced)
        with rasterio.open(path) as source:
            band: AnyArray = source.read(1)
            mask: AnyArray = source.read_masks(1) != 0
            unit = str(source.tags().get("UNIT", path.stem))
    values, valid = to_db(band, unit)
    return values, valid & mask


def patches(name: str, values: AnyArray, valid: AnyArray, size: int) -> list[Scene]:
    """Patches of size × size that don't overlap, each clipped by itself. A smaller image is one patch."""
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


def measure(codec: Codec, part: Scene, rate: float, nbytes: int | None) -> dict[str, float]:
    """One cell: at `rate`, or with at most `nbytes` if that isn't None. Raises ValueError if it can't be so small."""
    codes = part.codes
    data = codec.encode(codes, rate) if nbytes is None else codec.within(codes, nbytes, part.valid, sar=True)
    decoded = codec.decode(data)
    before, after = part.to_unit(part.codes), part.to_unit(decoded)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / part.codes.size,
        "psnr": metrics.psnr(before, after, 1.0, part.valid),
        "ssim": metrics.ssim(before, after, 1.0, part.valid),
        "enl-ratio": metrics.enl_ratio(part.to_db(part.codes), part.to_db(decoded), valid=part.valid),
        "epi": metrics.edge_preservation(before, after, part.valid),
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
    """Measures all GeoTIFFs of a folder, whole if `patch` is None, else in patches of that size."""
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
        "input": "uint16, one band, the same array for every codec",
        "command": command,
        "environment": environment.describe(),
        "versions": versions,
        "rows": rows,
        "bd": bd_rates(rows, anchor.name),
        "skipped": skipped,
        "published": list(PUBLISHED),
    }


def bd_rates(rows: list[dict[str, Any]], anchor: str) -> list[dict[str, Any]]:
    """The BD-rate (%, PCHIP) of each codec on each scene, and their means. None where curves share too little."""
    names = [name for name in dict.fromkeys(row["codec"] for row in rows) if name != anchor]
    scenes = list(dict.fromkeys(row["scene"] for row in rows))
    found: list[dict[str, Any]] = []
    for name in names:
        values = []
        for scene_name in scenes:
            curves = [
                bdrate.curve(*zip(*((r["bpp"], r["psnr"]) for r in mine), strict=True))
                if mine
                else bdrate.curve([], [])
                for mine in ([r for r in rows if (r["scene"], r["codec"]) == (scene_name, c)] for c in (anchor, name))
            ]
            try:
                value = bdrate.bd(curves[0], curves[1]).value
                values.append(value)
            except bdrate.NotComparable:
                value = None
            found.append({"scene": scene_name, "codec": name, "bd_rate": value})
        if values:
            mean = math.fsum(values) / len(values)
            found.append({"scene": f"mean of {len(values)}", "codec": name, "bd_rate": mean})
    return found


def is_sar(folder: str | Path) -> bool:
    """Whether a data set's `SOURCES.csv` has a column `polarisation`; then its GeoTIFFs are backscatter."""
    sources = Path(folder) / "SOURCES.csv"
    return sources.is_file() and "polarisation" in sources.read_text("utf-8").partition("\n")[0].split(",")


def means(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each codec and rate: the means over the scenes that all codecs have at that rate."""
    rows = result["rows"]
    names = list(dict.fromkeys(row["codec"] for row in rows))
    out = []
    for rate in sorted({row["rate"] for row in rows}):
        scenes = [{row["scene"] for row in rows if row["rate"] == rate and row["codec"] == name} for name in names]
        shared = set.intersection(*scenes)
        for name in names if shared else []:
            cells = [r for r in rows if r["rate"] == rate and r["codec"] == name and r["scene"] in shared]
            out.append({"scene": f"mean of {len(shared)}", "rate": rate, "codec": name, **_mean(cells)})
    return out


def to_csv(result: dict[str, Any]) -> str:
    """A row for each scene, rate and codec."""
    out = io.StringIO()
    keys = ["scene", "codec", "rate", "patches", "bytes", "bpp", *MEASURED]
    writer = csv.DictWriter(out, keys, lineterminator="\n")
    writer.writeheader()
    for row in result["rows"]:
        writer.writerow({key: f"{v:.6g}" if isinstance(v := row[key], float) else v for key in keys})
    return out.getvalue()


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each scene and codec, PSNR and SSIM at each rate, ENL ratio and EPI at the highest."""
    rows = [*result["rows"], *means(result)]
    rates = sorted({row["rate"] for row in rows})
    top = f"at {rates[-1]:g} bpp"
    head = ["scene", "codec", *(f"{rate:g} bpp: PSNR / SSIM" for rate in rates), f"ENL ratio {top}", f"EPI {top}"]
    head.append("BD-rate")
    saved = {(_scene(row["scene"]), row["codec"]): row["bd_rate"] for row in result.get("bd", [])}
    parts = "non-overlapping patches of " + f"{result['patch']} pixels" if result["patch"] else "whole images"
    lines = [
        f"{result['dataset']}, {parts}: {result['clip']}; {result['input']}; PSNR in dB with peak {result['peak']}.",
        "",
        *markdown.head(*head),
    ]
    cells: dict[tuple[str, str], dict[float, dict[str, Any]]] = {}
    for row in rows:
        # at some rates, fewer scenes may have all codecs
        scene_name = _scene(row["scene"])
        cells.setdefault((scene_name, row["codec"]), {})[row["rate"]] = row
    for (scene_name, codec), found in cells.items():
        last = found.get(rates[-1], {})
        pairs = [_pair(found.get(rate)) for rate in rates]
        value = saved.get((scene_name, codec))
        bd = "" if value is None else markdown.percent(value)
        lines.append(
            markdown.row(
                scene_name,
                codec,
                *pairs,
                markdown.number(last.get("enl-ratio"), 2),
                markdown.number(last.get("epi"), 3),
                bd,
            )
        )
    for row in result["published"]:
        pairs = [_pair(row) if rate == row["bpp"] else "" for rate in rates]
        lines.append(
            markdown.row(
                "published", row["name"], *pairs, "", markdown.number(row.get("epi"), 3) if "epi" in row else "", ""
            )
        )
    return "\n".join(lines)


def _scene(name: str) -> str:
    return "mean" if name.startswith("mean of ") else name


def _pair(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    text = f"{markdown.number(row['psnr'], 2)} / {markdown.number(row['ssim'], 3)}"
    return text + (f" ({row['scene'][8:]})" if str(row.get("scene", "")).startswith("mean of ") else "")
