"""The README's tables, made from results files. A test compares the README with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import eo, peers, plots, speed_page
from .markdown import head, percent, row

GROUPS = {"rgb8": "8-bit RGB", "mono16": "16-bit, one band", "multi": "multi-band, 8 and 16-bit"}
ANCHORS = {
    "jpeg2000": "JPEG 2000",
    "jpeg2000-klt": "JPEG 2000 with a KLT",
    "jpeg2000-klt-bands": "JPEG 2000 with a KLT of bands of equal range",
}


def rate_table(result: Mapping[str, Any]) -> str:
    """BD-rates of all codecs by PSNR (PCHIP), over all qualities and by band, the best codec first, as Markdown."""
    rows = [bd for bd in result["bd"] if bd["method"] == "pchip" and bd["mean_of_images"] is not None]
    bands = {name.removeprefix("psnr "): found for name, found in result["bd-parts"].items() if name != "ms-ssim"}
    lines = head(f"{_title(result)}, by PSNR", "mean of images", "mean curve", *bands)
    for bd in sorted(rows, key=lambda bd: bd["mean_of_images"]):
        cells = [percent(bd["mean_of_images"]), percent(bd["mean_curve"] and bd["mean_curve"]["value"])]
        cells += [percent(_of(found, bd["codec"])) for found in bands.values()]
        lines.append(row(_name(bd["codec"]), *cells))
    return "\n".join(lines)


def peers_table() -> str:
    """The settings of the peers and why they are their best, as Markdown, for `docs/benchmarks.md`."""
    rows = [row(f"`{codec.name}`", codec.description, codec.note) for codec in peers.codecs()]
    return "\n".join([*head("peer", "settings", "why"), *rows])


def structure_table(result: Mapping[str, Any]) -> str:
    """BD-rates by MS-SSIM, the best codec first, as Markdown."""
    rows = [bd for bd in result["bd-parts"]["ms-ssim"] if bd["mean_of_images"] is not None]
    lines = head(f"{_title(result)}, by MS-SSIM", "mean of images")
    rows.sort(key=lambda bd: float(bd["mean_of_images"]))
    return "\n".join([*lines, *(row(_name(bd["codec"]), percent(bd["mean_of_images"])) for bd in rows)])


def _title(result: Mapping[str, Any]) -> str:
    return f"{result['dataset']}, {len(result['images'])} images"


def _of(rows: Iterable[Mapping[str, Any]], codec: str) -> float | None:
    return next((bd["mean_of_images"] for bd in rows if bd["codec"] == codec), None)


def _name(codec: str) -> str:
    return f"**{plots.label(codec)}**" if codec == "ours" else plots.label(codec)


def quality_table(result: Mapping[str, Any]) -> str:
    """Bits per pixel and PSNR by quality, as Markdown, for `docs/guide/photographs.md`."""
    ours = next(entry for entry in result["codecs"] if entry["name"] == "ours")
    lines = head(f"quality ({_title(result)})", "bits per pixel, mean", "least … most", "PSNR, mean")
    for number, quality in enumerate(ours["settings"]):
        rates = [values["bpp"][number] for values in ours["images"].values()]
        cells = [f"{ours['results']['bpp'][number]:.2f}", f"{min(rates):.2f} … {max(rates):.2f}"]
        cells.append(f"{ours['results']['psnr'][number]:.1f} dB")
        lines.append(row(f"{quality:g}", *(cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in cells)))
    return "\n".join(lines)


def effort_table(result: Mapping[str, Any]) -> str:
    """BD-rates of the efforts, as Markdown."""
    efforts = [entry["name"] for entry in result["codecs"] if entry["name"].startswith("ours")]
    found = [bd for bd in result["bd"] if bd["method"] == "pchip" and bd["codec"] in efforts]
    lines = head(f"`effort` ({_title(result)})", "mean of images", "mean curve")
    for bd in found:
        effort = bd["codec"].removeprefix("ours").removeprefix("-effort") or "0"
        name = "0, decoded with `refine=False`" if effort == "-unrefined" else effort
        lines.append(row(name, percent(bd["mean_of_images"]), percent(bd["mean_curve"]["value"])))
    return "\n".join(lines)


def speed_table(result: Mapping[str, Any]) -> str:
    """The rows of a speed.json with the fewest threads and at most 12 megapixels, as Markdown."""
    rows = [row for row in result["rows"] if row["megapixels"] < 50 and row["given"] == min(result["threads"])]
    return speed_page.calls({**result, "rows": rows}, plots.label)


def checks_table(result: Mapping[str, Any]) -> str:
    return eo.checks_table(dict(result), plots.label)


def raster_table(sar: Mapping[str, Any], optical: Iterable[Mapping[str, Any]]) -> str:
    """Mean BD-rates on earth observation: `sar` is a `*-whole.json`, `optical` the groups of a data set."""
    mean = next(bd for bd in sar["bd"] if bd["codec"] == "ours" and bd["scene"].startswith("mean of "))
    scenes = [bd["bd_rate"] for bd in sar["bd"] if bd["codec"] == "ours" and bd is not mean]
    rows = [("SAR, one band in dB", "JPEG 2000", mean["bd_rate"], [value for value in scenes if value is not None])]
    for result in optical:
        measures = {"": [bd for bd in result["bd"] if bd["method"] == "pchip"]}
        if "psnr-bands" in result["bd-parts"]:
            measures[", errors relative to each band's range"] = result["bd-parts"]["psnr-bands"]
        for measure, found in measures.items():
            (bd,) = [b for b in found if b["codec"] == "ours"]
            title = GROUPS.get(result["group"], result["group"]) + measure
            rows.append((title, ANCHORS[bd["anchor"]], bd["mean_of_images"], list(bd["per_image"].values())))
    lines = head("earth observation, bytes on disk", "images", "against", "mean of images", "best … worst")
    for title, anchor, value, each in rows:
        spread = f"{min(each):+.0f} … {max(each):+.0f} %".replace("-", "−") if len(each) > 1 else ""
        lines.append(row(title, str(len(each)), anchor, f"**{percent(value)}**", spread))
    return "\n".join(lines)
