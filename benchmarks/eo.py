"""Earth observation as its users measure it: bytes of a scene, PSNR at fixed rates, and what analysts check.

JPEG 2000 is written as GDAL does (1024 tiles), plain and after a spectral KLT. Both get the rate; all other lossy
codecs get at most the bytes of plain JPEG 2000. They are compared with lossless GeoTIFF, which is used today, and with
LERC at our largest error. No quality counts pixels without data. Ours stores their mask, which counts in its bytes; the
others get the mean of each band there.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from . import codecs, datasets, environment, markdown, metrics
from .codec import AnyArray, Codec, bands_of, fill_with_mean

#: Bits per pixel and band, as in published tables.
RATES = (0.1, 1.0)
ANCHOR = "jpeg2000-gdal"
LOSSY = (ANCHOR, "jpeg2000-gdal-klt", "jpegxl", "ours")
LOSSLESS = ("zstd", "deflate")
#: The checks: key, heading, digits, and whether more is better.
CHECKS = (
    ("psnr", "PSNR, dB", 2),
    ("spectral-angle", "spectral angle, °", 3),
    ("ndvi-error", "NDVI error", 4),
    ("edges", "edges", 3),
    ("tails", "tails, %", 2),
)
_RED, _INFRARED = ("red", "b4", "b04"), ("nir", "b8", "b08")


def red_and_infrared(item: datasets.Item) -> tuple[int, int] | None:
    """The indices of the bands that a GeoTIFF describes as red and near infrared, or None."""
    if not item.path.lower().endswith((".tif", ".tiff")):
        return None
    unplaced = importlib.import_module("rasterio.errors").NotGeoreferencedWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", unplaced)
        with importlib.import_module("rasterio").open(item.path) as source:
            names = [str(name or "").lower() for name in source.descriptions]
    found = [[i for i, name in enumerate(names) if name in wanted] for wanted in (_RED, _INFRARED)]
    return (found[0][0], found[1][0]) if all(found) else None


def check(loaded: datasets.Loaded, decoded: AnyArray, peak: float, bands: tuple[int, int] | None) -> dict[str, float]:
    """What an analyst checks in a decoded scene, over its valid pixels."""
    image, valid = loaded.image, loaded.valid
    values = {
        "psnr": metrics.psnr(image, decoded, peak, valid),
        "max-error": metrics.max_error(image, decoded, valid),
        "tails": metrics.tails(image, decoded, peak, valid),
    }
    grey = [plane if plane.ndim == 2 else plane.mean(axis=2) for plane in (image, decoded)]
    values["edges"] = metrics.edge_preservation(grey[0], grey[1], valid)
    if bands_of(image) > 1:
        values["spectral-angle"] = metrics.spectral_angle(image, decoded, valid)
    if bands is not None:
        values["ndvi-error"] = metrics.ndvi_error(image, decoded, *bands, valid)
    return values


def _coded(codec: Codec, loaded: datasets.Loaded, rate: float, nbytes: int | None) -> bytes | None:
    """The scene in at most `nbytes`, or at `rate` if that is None. None if the codec can't make it so small."""
    try:
        if nbytes is None or codec.by_rate:
            return codec.encode(fill_with_mean(loaded.image, loaded.valid), rate)
        return codec.within(loaded.image, nbytes, loaded.valid)
    except ValueError:
        return None


def _scene(item: datasets.Item, loaded: datasets.Loaded, chosen: Sequence[Codec]) -> dict[str, Any]:
    """All measurements of one scene."""
    image = loaded.image
    bands, dtype = bands_of(image), image.dtype
    named = red_and_infrared(item)
    peak, _ = metrics.peak_of(image, loaded.valid)
    filled = fill_with_mean(image, loaded.valid)
    rows, largest = [], math.nan
    for per_band in RATES:
        rate, limit = per_band * bands, None
        for codec in chosen:
            data = _coded(codec, loaded, rate, limit) if codec.accepts(dtype, bands) else None
            if data is None:
                continue
            limit = len(data) if codec.name == ANCHOR else limit
            found = check(loaded, codec.decode(data), peak, named)
            rows.append({"codec": codec.name, "rate": per_band, "bytes": len(data), **found})
            if codec.name == "ours" and per_band == RATES[-1]:
                largest = found["max-error"]
    sizes = {name: len(codecs.get(name).encode(image, 0.0)) for name in LOSSLESS}
    lerc = None if math.isnan(largest) else len(codecs.get("lerc").encode(filled, -largest))
    return {
        "scene": loaded.name, "kind": f"{dtype}×{bands}", "pixels": loaded.pixels, "raw": image.nbytes, **sizes,
        "largest": largest, "lerc": lerc, "rows": rows,
    }  # fmt: skip


def run(
    dataset: str, *, limit: int | None = None, command: str = "", progress: bool = True, names: Iterable[str] = LOSSY
) -> dict[str, Any]:
    """Measures all images of a folder except 8-bit RGB and grey."""
    chosen = [codecs.get(name) for name in names]
    skipped = [{"codec": c.name, "reason": reason} for c in chosen if (reason := c.unavailable())]
    chosen = [c for c in chosen if c.unavailable() is None]
    scenes = []
    for item in tqdm(datasets.find(dataset), unit="scene", disable=not progress):
        try:
            loaded = datasets.load(item)
        except datasets.UnfitError as reason:
            skipped.append({"codec": f"every codec of {item.name}", "reason": str(reason)})
            continue
        if loaded.image.dtype.kind in "iu" and loaded.group.slug not in ("rgb8", "mono8"):
            scenes.append(_scene(item, loaded, chosen))
        if limit is not None and len(scenes) == limit:
            break
    if not scenes:
        raise datasets.DatasetError(f"no scene of {dataset} has several bands or 16 bits")
    return {
        "dataset": datasets.dataset_name(dataset),
        "command": command,
        "environment": environment.describe(),
        "versions": {codec.name: codec.version() for codec in chosen},
        "scenes": scenes,
        "skipped": skipped,
    }


def _row(scene: dict[str, Any], codec: str, rate: float) -> dict[str, Any] | None:
    return next((row for row in scene["rows"] if (row["codec"], row["rate"]) == (codec, rate)), None)


def sizes_table(result: dict[str, Any], label: Callable[[str], str]) -> str:
    """Markdown: the bytes of each scene today, with ours at the higher rate, and with LERC at our largest error."""
    rate = RATES[-1]
    head = [
        "scene",
        "kind",
        "raw",
        *(label(name) for name in LOSSLESS),
        f"ours, {rate:g} bit",
        "saves",
        "largest error",
    ]
    lines = markdown.head(*head, "LERC at that error")
    for scene in result["scenes"]:
        ours = _row(scene, "ours", rate)
        kilobytes = [f"{scene[key] / 1000:,.0f} kB" for key in ("raw", *LOSSLESS)]
        mine = ["–", "–", "–"]
        if ours is not None:
            saved = 1 - ours["bytes"] / scene[LOSSLESS[0]]
            mine = [f"{ours['bytes'] / 1000:,.0f} kB", f"{saved:.0%}", f"{scene['largest']:g}"]
        lerc = "–" if scene["lerc"] is None else f"{scene['lerc'] / 1000:,.0f} kB"
        lines.append(markdown.row(scene["scene"], scene["kind"], *kilobytes, *mine, lerc))
    return "\n".join(lines)


def checks_table(result: dict[str, Any], label: Callable[[str], str]) -> str:
    """Markdown: means of the checks over the scenes that every codec of the comparison could code, by rate."""
    names = [name for name in LOSSY if name != "jpegxl"]
    head = ["bits per pixel and band", "codec", *(title for _, title, _ in CHECKS)]
    lines = markdown.head(*head)
    for rate in RATES:
        shared = [s for s in result["scenes"] if all(_row(s, name, rate) for name in names)]
        for name in names if shared else []:
            cells = []
            for key, _, digits in CHECKS:
                rows = [_row(scene, name, rate) or {} for scene in shared]
                known = [row[key] for row in rows if row.get(key) is not None and math.isfinite(row[key])]
                cells.append(markdown.number(sum(known) / len(known) if known else None, digits))
            lines.append(markdown.row(f"{rate:g} ({len(shared)} scenes)", label(name), *cells))
    return "\n".join(lines)


def scenes_table(result: dict[str, Any], label: Callable[[str], str]) -> str:
    """Markdown: PSNR of every scene and codec at each rate."""
    head = ["scene", "kind", *(f"{label(name)}, {rate:g}" for rate in RATES for name in LOSSY)]
    lines = markdown.head(*head)
    for scene in result["scenes"]:
        rows = [_row(scene, name, rate) for rate in RATES for name in LOSSY]
        lines.append(
            markdown.row(
                scene["scene"], scene["kind"], *(markdown.number(row["psnr"] if row else None, 2) for row in rows)
            )
        )
    return "\n".join(lines)


def report(result: dict[str, Any], label: Callable[[str], str]) -> str:
    """The whole page as Markdown."""
    left_out = [f"left out: {row['codec']} ({row['reason']})" for row in result["skipped"]]
    parts = [
        f"# {result['dataset']}: earth observation",
        __doc__.split("\n\n", 1)[1].strip() if __doc__ else "",
        "## Bytes of a scene",
        sizes_table(result, label),
        "## What an analyst checks",
        "Means over the scenes. *Spectral angle*: between the spectra before and after. *NDVI error*: root mean "
        "square. *Edges*: correlation of the Laplacians (1 is perfect). *Tails*: how far the 1st and 99th percentile "
        "of a band move, in % of the range.",
        checks_table(result, label),
        "## PSNR of each scene, dB, at equal bits per pixel and band",
        scenes_table(result, label),
        *left_out,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
