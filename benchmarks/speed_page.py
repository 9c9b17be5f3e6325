"""The page of speeds, from a speed.json, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import markdown
from .speed import digits

Label = Callable[[str], str]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([*markdown.head(*head), *(markdown.row(*cells) for cells in rows)])


def calls(result: Mapping[str, Any], label: Label) -> str:
    """Times of whole images: a row for each size, number of threads and codec."""
    rows = []
    anchors = {
        (row["given"], row["megapixels"] > 50): row for row in result["rows"] if row["codec"] == result["anchor"]
    }
    for row in result["rows"]:
        anchor = anchors.get((row["given"], row["megapixels"] > 50))
        cells = []
        for way in ("encode_mp_s", "decode_mp_s"):
            ratio = "" if anchor is None else f" ({row[way] / anchor[way]:.2f} ×)"
            cells.append(f"{digits(row[way])} MP/s{ratio}")
        name = label(row["codec"]) + (" (random weights)" if row["random_weights"] else "")
        size = f"{row['megapixels']:.0f} MP"
        rows.append(
            [size, name, str(row["threads"]), f"{row['bpp']:.2f}", *cells, f"{row['peak_above_start_mib']:.0f} MiB"]
        )
    return _table(["size", "codec", "threads", "bpp", "encode", "decode", "memory"], rows)


def first_image(result: Mapping[str, Any], label: Label) -> str:
    names = {"python": "Python alone"}
    rows = [[names.get(r["codec"], label(r["codec"])), f"{r['seconds']:.2f} s"] for r in result["start"]]
    return _table(["from the start of Python to a decoded image of 768 × 512", "processor time"], rows)


def windows(result: Mapping[str, Any], label: Label) -> str:
    rows = [
        [label(r["codec"]), f"{r['bpp']:.2f}", f"{r['encode_s']:.0f} s", *(f"{1000 * r[key]:.0f} ms" for key in keys)]
        for keys in [("first_s", "median_s", "largest_s")]
        for r in result["windows"]
    ]
    return _table(["codec", "bpp", "encode the scene", "open and first window", "window, median", "slowest"], rows)


def by_feature(result: Mapping[str, Any]) -> str:
    rows = [
        [r["feature"], f"{digits(r['encode_mp_s'])} MP/s", f"{digits(r['decode_mp_s'])} MP/s"]
        for r in result["features"]
    ]
    return _table(["instructions", "encode", "decode"], rows)


def page(result: Mapping[str, Any], label: Label) -> str:
    """The whole page."""
    processor, cores = result["environment"]["processor"], result["environment"]["cores"]
    load = "" if result["load"] is None else f" (load at the start: {result['load']:.1f})"
    parts = [
        "# Speed",
        f"{result['image']}, about {result['target_bpp']:g} bits per pixel, on {cores} cores of {processor}{load}. "
        "Times are medians of whole calls, from array to bytes and back, each in a process of its own; the codecs take "
        "turns. With one thread, processor time counts; with more, elapsed time. In brackets: how many times as fast "
        "as JPEG 2000. Memory is the peak above what the process held before the call. Codecs that encode slowly are "
        "timed on fewer megapixels.",
        calls(result, label),
    ]
    if result.get("start"):
        parts += ["## The first image", first_image(result, label)]
    if result.get("windows"):
        side = result["scene"]
        parts += [
            f"## Windows of 512 × 512 out of a scene of {side:,} × {side:,}".replace(",", "\u202f"),
            "One band of 16 bits, one thread, the file on disk; processor time.",
            windows(result, label),
        ]
    if result["features"]:
        parts += [
            "## By processor feature",
            "learned_codec on one thread. oneDNN and torch are limited to these instructions by their own switches "
            "(`ONEDNN_MAX_CPU_ISA`, `ATEN_CPU_CAPABILITY`).",
            by_feature(result),
        ]
    parts += [f"left out: {s['codec']} ({s['reason']})" for s in result["skipped"]]
    return "\n\n".join(parts) + "\n"
