"""The README's tables, from results files. A test compares the README with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import plots


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
