"""The files that a rate-distortion run writes, and its tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import rivals
from .markdown import head, percent, row
from .rd import MEASURED
from .storage import write_atomically, write_json

#: Largest errors are compared at this PSNR, dB.
_LEVEL = 40.0


def cells_line(cells: dict[str, Any]) -> str:
    """How many cells were measured in this run, and how old the others are."""
    if not cells["cached"]:
        return f"{cells['measured']} cells, all measured in this run"
    return (
        f"{cells['measured']} cells measured in this run, {cells['cached']} from the cache, the oldest from "
        f"{cells['oldest']} (--fresh measures them again)"
    )


def to_csv(result: dict[str, Any]) -> str:
    """A row for each codec, image and setting."""
    out = io.StringIO()
    found = {key for codec in result["codecs"] for values in codec["images"].values() for key in values}
    keys = [key for key in MEASURED if key in found]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["codec", "version", "image", "setting", *keys])
    for codec in result["codecs"]:
        for image, values in codec["images"].items():
            for i, setting in enumerate(codec["settings"]):
                measured = [values[key][i] if key in values else None for key in keys]
                cells = ["" if v is None else f"{v:.6g}" for v in measured]
                own = values["setting"][i] if "setting" in values else setting
                writer.writerow([codec["name"], codec["version"], image, f"{own:g}", *cells])
    return out.getvalue()


def save(results: list[dict[str, Any]], out: Path) -> list[Path]:
    """Writes the files of each group: `.json` with everything, `.csv` with all cells, `.md` with the tables.

    There is also a file for each codec in the form of CompressAI, unless the images have no common rate. If the data
    set has several groups, the names have the group.
    """
    written = []
    for result in results:
        stem = result["dataset"] if len(results) == 1 else f"{result['dataset']}-{result['group']}"
        path = out / f"{stem}.json"
        write_json(path, result)
        write_atomically(path.with_suffix(".csv"), to_csv(result))
        write_atomically(path.with_suffix(".md"), markdown(result) + "\n")
        for codec in [] if result["mixed"] else result["codecs"]:
            shape = {key: codec[key] for key in ("name", "description", "results")}
            write_json(out / stem / f"{codec['name']}.json", shape)
        written.append(path)
    return written


def _cells(values: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)).rstrip()


def bd_table(result: dict[str, Any]) -> str:
    """The BD-rates of one result, as text for a terminal."""
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
    left_out = left_out_lines(result)
    title = (
        f"{result['dataset']}, {result['kind']}: BD-rate against {result['anchor']}, PSNR with peak {result['peak']}"
    )
    return "\n".join([title, *lines, *left_out])


def left_out_lines(result: dict[str, Any]) -> list[str]:
    """Which codecs are left out of which images, and why. Images are named unless all are meant."""
    lines = []
    for s in result["skipped"]:
        some = s.get("images") or ()
        of = f" of {', '.join(some)}" if some and set(some) != set(result["images"]) else ""
        lines.append(f"left out: {s['codec']}{of} ({s['reason']})")
    return lines


def each_image(result: dict[str, Any]) -> list[str]:
    """BD-rates (PCHIP, PSNR) of all images and codecs, their means, and those of the mean curves."""
    rows = [bd for bd in result["bd"] if bd["method"] == "pchip"]
    lines = head("image", *(bd["codec"] for bd in rows))
    for name in result["images"]:
        lines.append(row(name, *(percent(bd["per_image"].get(name)) for bd in rows)))
    means = (f"{percent(bd['mean_of_images'])} ({bd['images']})" if bd["images"] else "–" for bd in rows)
    lines.append(row("**mean (number of images)**", *means))
    if not result["mixed"]:
        whole = (percent(bd["mean_curve"]["value"] if bd["mean_curve"] else None) for bd in rows)
        lines.append(row("**mean curve**", *whole))
    return lines


def parts(result: dict[str, Any]) -> list[str]:
    """BD-rates by other metrics and by band of PSNR: the mean of images, and of how many."""
    named = {bd["codec"] for rows in result["bd-parts"].values() for bd in rows}
    names = [entry["name"] for entry in result["codecs"] if entry["name"] in named]
    anchors = {name: rows[0]["anchor"] for name, rows in result["bd-parts"].items()}
    titles = [name if by == result["anchor"] else f"{name}, against {by}" for name, by in anchors.items()]
    lines = head("mean of images (number)", *titles)
    for name in names:
        found = [next((bd for bd in rows if bd["codec"] == name), None) for rows in result["bd-parts"].values()]
        cells = [f"{percent(bd['mean_of_images'])} ({bd['images']})" if bd and bd["images"] else "–" for bd in found]
        lines.append(row(name, *cells))
    return lines


def errors(result: dict[str, Any]) -> list[str]:
    """The largest error at `_LEVEL`, its mean and the worst of the images, and how many pixels of masks are wrong."""
    lines = head("codec", f"largest error at {_LEVEL:g} dB: mean", "worst", "images", "wrong pixels of masks")
    for entry in result["codecs"]:
        if "psnr" not in entry["metrics"]:
            continue
        found = [_largest(values) for values in entry["images"].values()]
        known = [value for value in found if value is not None]
        masks = [n for values in entry["images"].values() for n in values.get("mask-errors", [])]
        cells = [f"{sum(known) / len(known):.1f}", f"{max(known):.0f}"] if known else ["–", "–"]
        lines.append(row(entry["name"], *cells, str(len(known)), f"{sum(masks):g}" if masks else "–"))
    return lines


def _largest(values: dict[str, Any]) -> float | None:
    """The largest error of an image at `_LEVEL`, interpolated between two settings; None if it isn't reached."""
    points = sorted((q, e) for q, e in zip(values["psnr"], values["max-error"], strict=True) if q is not None)
    for (low, first), (high, second) in pairwise(points):
        if low <= _LEVEL < high:
            return float(first + (second - first) * (_LEVEL - low) / (high - low))
    return None


def settings(result: dict[str, Any]) -> list[str]:
    lines = head("codec", "settings", "why", "version")
    for entry in result["codecs"]:
        lines.append(row(entry["name"], entry["description"], entry["note"] or "–", entry["version"]))
    return lines


def markdown(result: dict[str, Any]) -> str:
    """All tables of one result, as Markdown."""
    blocks = [
        [
            f"{result['dataset']}, {result['kind']} ({', '.join(result['kinds'])}): BD-rate against "
            f"{result['anchor']}, PCHIP, {result['rate']}. PSNR with peak {result['peak']}. Pixels without data: "
            f"{result['nodata']}"
        ],
        [cells_line(result["cells"])],
        each_image(result),
        parts(result) if result["bd-parts"] else [],
        rivals.table(result).splitlines(),
        errors(result),
        settings(result),
        *([f"- {line}"] for line in left_out_lines(result)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)
