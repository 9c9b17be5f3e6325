"""The README's tables, from results files. A test compares the README with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import plots

GROUPS = {"rgb8": "8-bit RGB", "mono16": "16-bit, one band", "multi": "multi-band, 8 and 16-bit"}


def rate_table(result: Mapping[str, Any]) -> str:
    """BD-rates of all codecs (PCHIP), best first, as Markdown."""
    rows = [bd for bd in result["bd"] if bd["method"] == "pchip" and bd["mean_of_images"] is not None]
    lines = [
        f"| {result['dataset']}, {len(result['images'])} images, bytes on disk | mean of images | mean curve |",
        "|---|---|---|",
    ]
    for bd in sorted(rows, key=lambda bd: bd["mean_of_images"]):
        name = plots.label(bd["codec"])
        name = f"**{name}**" if bd["codec"] == "ours" else name
        whole = "–" if bd["mean_curve"] is None else f"{bd['mean_curve']['value']:+.1f} %"
        lines.append(f"| {name} | {bd['mean_of_images']:+.1f} % | {whole} |".replace("-", "−").replace("|−−−", "|---"))
    return "\n".join(lines)


def effort_table(result: Mapping[str, Any]) -> str:
    """BD-rates of the efforts and the time that they take on one core, as Markdown."""
    entries = {entry["name"]: entry for entry in result["codecs"] if entry["name"].startswith("ours")}
    found = {bd["codec"]: bd for bd in result["bd"] if bd["method"] == "pchip" and bd["codec"] in entries}
    lines = [
        f"| `effort` ({result['dataset']}, {len(result['images'])} images) | mean of images | mean curve | seconds |",
        "|---|---|---|---|",
    ]
    for number, (name, bd) in enumerate(found.items()):
        values = f"{bd['mean_of_images']:+.1f} % | {bd['mean_curve']['value']:+.1f} %".replace("-", "−")
        times = [time for image in entries[name]["images"].values() for time in image["encoding_time"]]
        lines.append(f"| {number} | {values} | {sum(times) / len(times):.1f} |")
    return "\n".join(lines)


def speed_table(result: Mapping[str, Any]) -> str:
    """MP/s, as ratios to the anchor too, and memory above the start of each process, from a speed.json, as Markdown."""
    height, width = result["image"]["shape"][:2]
    rows = {row["codec"]: row for row in result["rows"]}
    anchor = rows[result["anchor"]]
    lines = [
        f"| {height * width / 1e6:.0f} megapixels at {result['target_bpp']:g} bpp | encode | decode | memory |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [f"{row[key]:.1f} MP/s ({row[key] / anchor[key]:.2f} ×)" for key in ("encode_mp_s", "decode_mp_s")]
        threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
        lines.append(
            f"| {plots.label(name)}, {threads} | {' | '.join(cells)} | {row['peak_above_start_mib']:.0f} MiB |"
        )
    return "\n".join(lines)


def raster_table(sar: Mapping[str, Any], optical: Iterable[Mapping[str, Any]]) -> str:
    """Mean BD-rates on earth observation, from a `*-whole.json` and the groups of an optical data set, as Markdown."""
    mean = next(bd for bd in sar["bd"] if bd["codec"] == "ours" and bd["scene"].startswith("mean of "))
    scenes = [bd["bd_rate"] for bd in sar["bd"] if bd["codec"] == "ours" and bd is not mean]
    rows = [("SAR, one band in dB", "JPEG 2000", mean["bd_rate"], [value for value in scenes if value is not None])]
    for result in optical:
        (bd,) = [b for b in result["bd"] if b["codec"] == "ours" and b["method"] == "pchip"]
        anchor = "JPEG 2000 with a KLT" if bd["anchor"].endswith("-klt") else "JPEG 2000"
        rows.append((result["group"], anchor, bd["mean_of_images"], list(bd["per_image"].values())))
    lines = [
        "| earth observation, bytes on disk | images | against | mean of images | best … worst |",
        "|---|---|---|---|---|",
    ]
    for group, anchor, value, each in rows:
        kind = GROUPS.get(group, group)
        spread = f"{min(each):+.0f} … {max(each):+.0f} %" if len(each) > 1 else ""
        figures = f"**{value:+.1f} %** | {spread}".replace("-", "−")
        lines.append(f"| {kind} | {len(each)} | {anchor} | {figures} |")
    return "\n".join(lines)
