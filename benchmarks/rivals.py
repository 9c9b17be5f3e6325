"""Codecs that others measured on the same images: published points with their sources, in tables of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import bdrate, markdown

#: How many images a data set has. Published means are over all of them, so only whole runs can be compared with them.
_WHOLE = {"kodak": 24}
_BANDS = [within for metric, within in bdrate.PARTS if metric == "psnr" and within is not None]


def load(dataset: str, images: int) -> list[dict[str, Any]]:
    """The published codecs on this data set, by name. None if only a part of it was run."""
    if images != _WHOLE.get(dataset):
        return []
    found = [json.loads(path.read_text("utf-8")) for path in sorted(Path(__file__).parent.glob("published/*.json"))]
    return sorted((e for e in found if e["dataset"] == dataset), key=lambda entry: str(entry["name"]).lower())


def bd(base: Mapping[str, Any], entry: Mapping[str, Any], within: tuple[float, float] | None = None) -> float | None:
    """BD-rate (mean curve, PCHIP) of a published codec against a measured one. None if they can't be compared."""
    points = entry["results"]
    if not points:
        return None
    try:
        mine = bdrate.curve(base["results"]["bpp"], base["results"]["psnr"])
        theirs = bdrate.curve(points["bpp"], points["psnr-rgb"])
        return (bdrate.bd(mine, theirs) if within is None else bdrate.bd_within(mine, theirs, *within)).value
    except bdrate.NotComparable:
        return None


def distance(ours: Mapping[str, Any], entry: Mapping[str, Any]) -> float | None:
    """How much more we take than a published codec at equal PSNR (BD-rate of the mean curves, %)."""
    value = bd(ours, entry)
    return None if value is None else 100 * (100 / (100 + value) - 1)


def table(result: Mapping[str, Any], *, short: bool = False) -> str:
    """Markdown: BD-rates against this run's anchor, how much more we take, the decoder's MACs, and who measured.

    `short`: only those with a `label`.
    """
    entries = {entry["name"]: entry for entry in result["codecs"]}
    anchor, ours = entries.get(result["anchor"]), entries.get("ours")
    published = load(result["dataset"], len(result["images"]))
    if anchor is None or not published:
        return ""
    bands = [f"{low:g}–{high:g} dB" for low, high in _BANDS]
    head = ["published codec", "BD-rate", *bands, "we take more", "decoder kMAC/px", "measured by"]
    lines = markdown.head(*head)
    for entry in (e for e in published if "label" in e or not short):
        whole = entry.get("stated") or markdown.percent(bd(anchor, entry))
        parts = [markdown.percent(bd(anchor, entry, within)) for within in _BANDS]
        more = "–" if ours is None else markdown.percent(distance(ours, entry))
        macs = entry["decoder_kmac_per_pixel"]
        cells = [entry["name"], whole, *parts, more, "–" if macs is None else f"{macs:g}", entry["measured_by"]]
        lines.append(markdown.row(*cells))
    return "\n".join(lines)
