"""Figures, as PNG and SVG: measured curves in front, published ones thin and grey behind them."""

from __future__ import annotations

import importlib
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import bdrate, rivals
from .storage import write_atomically

#: One colour per codec in all figures (Okabe and Ito's palette, which colour-blind people can tell apart).
_COLOURS = {
    "ours": "#D55E00",
    "ours-unrefined": "#B5651D",
    "ours-effort1": "#E08A4F",
    "ours-effort2": "#A84A00",
    "ours-effort3": "#702F00",
    "jpeg2000": "#000000",
    "jpeg2000-psnr": "#7F7F7F",
    "jpeg2000-gdal": "#A58B6F",
    "jpeg2000-klt": "#0072B2",
    "jpeg2000-klt-bands": "#6A3D9A",
    "jpeg": "#CC79A7",
    "jpeg-444": "#CC79A7",
    "webp": "#009E73",
    "avif": "#56B4E9",
    "avif-slow": "#2B7BB0",
    "avif-iq": "#56B4E9",
    "jpegxl": "#E69F00",
    "heic": "#8C6BB1",
    "heic-ssim": "#8C6BB1",
}
_LABELS = {
    "ours": "learned_codec", "ours-unrefined": "learned_codec, refine=False",
    "ours-effort1": "learned_codec, effort 1", "ours-effort2": "learned_codec, effort 2",
    "ours-effort3": "learned_codec, effort 3", "jpeg2000": "JPEG 2000", "jpeg2000-psnr": "JPEG 2000 (PSNR target)",
    "jpeg2000-gdal": "JPEG 2000 (GDAL)", "jpeg2000-klt": "JPEG 2000 + KLT",
    "jpeg2000-klt-bands": "JPEG 2000 + KLT of equal ranges",
    "jpeg2000-gdal-klt": "JPEG 2000 + KLT (GDAL)", "jpeg": "JPEG 4:2:0", "jpeg-444": "JPEG 4:4:4", "webp": "WebP",
    "avif": "AVIF, tune=psnr", "avif-slow": "AVIF, tune=psnr, slowest", "avif-iq": "AVIF, tune=iq",
    "jpegxl": "JPEG XL", "jpegxl-slow": "JPEG XL, effort 9",
    "heic": "HEIC, tune=psnr", "heic-ssim": "HEIC, tune=ssim", "lerc": "LERC", "zstd": "ZSTD",
    "deflate": "DEFLATE",
}  # fmt: skip
_PUBLISHED = "#9A9A9A"


def label(codec: str) -> str:
    return _LABELS.get(codec, codec)


def colour(codec: str) -> str:
    return _COLOURS.get(codec, "#4D4D4D")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")  # needs no display
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _finish(figure: Any, out: Path) -> list[Path]:
    """Writes both formats. The SVG has no date, so equal data gives an equal file."""
    matplotlib = importlib.import_module("matplotlib")
    written = []
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks"}):
        for suffix, metadata in ((".png", None), (".svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], dpi=160, metadata=metadata)
            path = out.with_suffix(suffix)
            write_atomically(path, buffer.getvalue())
            written.append(path)
    importlib.import_module("matplotlib.pyplot").close(figure)
    return written


def _points(entry: Mapping[str, Any], metric: str) -> list[tuple[float, float]]:
    results = entry["results"]
    if metric not in results:
        return []
    pairs = zip(results["bpp"], results[metric], strict=True)
    points = [(r, q) for r, q in pairs if r is not None and q is not None]
    if metric.startswith("ms-ssim"):  # in dB: else all values above 0.98 would be one line
        points = [(r, -10 * math.log10(1 - q)) for r, q in points if q < 1]
    return points


def rate_distortion(result: Mapping[str, Any], out: Path, metric: str = "psnr") -> list[Path]:
    """Quality over rate, mean of the images."""
    figure, axes = _figure(7.4, 5.2)
    highest = 0.0
    curves = {entry["name"]: _points(entry, metric) for entry in result["codecs"] if metric in entry["metrics"]}
    anchor = curves.get(result["anchor"], [])
    right = max((r for r, _ in anchor), default=math.inf) * 1.02
    behind = rivals.load(result["dataset"], len(result["images"])) if metric in ("psnr", "ms-ssim") else []
    ends: list[tuple[float, float, str]] = []
    for entry in behind:
        points = [p for p in _points(entry, f"{metric}-rgb") if p[0] <= right]
        if len(points) >= 2:
            named = bool(entry.get("label"))
            axes.plot(*zip(*points, strict=True), color=_PUBLISHED, linewidth=0.9 if named else 0.5, zorder=1)
            ends.append((*points[-1], entry["name"] if named else ""))
    for name, points in curves.items():
        points = [p for p in points if p[0] <= right]
        if not points:
            continue
        mine = name == "ours"
        style = {"linewidth": 2.6 if mine else 1.6, "markersize": 5 if mine else 3.5, "zorder": 4 if mine else 3}
        axes.plot(*zip(*points, strict=True), marker="o", color=colour(name), label=label(name), **style)
        highest = max(highest, points[-1][0])
    above: list[tuple[float, float]] = []
    for rate, quality, name in sorted(end for end in ends if end[2]):
        # left of the curve's end and above it, and above the name of a curve that ends nearby
        near = sum(abs(math.log10(rate / r)) < 0.2 and abs(quality - q) < 1 for r, q in above)
        place = {"xytext": (-4, 2 + 9 * near), "textcoords": "offset points", "ha": "right"}
        axes.annotate(name, (rate, quality), fontsize=7, color="#6E6E6E", **place)
        above.append((rate, quality))
    if ends:
        axes.plot([], [], color=_PUBLISHED, linewidth=0.9, label=f"published ({len(ends)} curves)")
    axes.set_xscale("log")
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20) if t <= highest * 1.1]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("bits per pixel (real files, log scale)")
    names = {"psnr": f"PSNR, dB (peak: {result['peak']})", "ms-ssim": "MS-SSIM, dB: −10 log₁₀(1 − MS-SSIM)"}
    axes.set_ylabel(names.get(metric, metric))
    axes.set_title(f"{result['dataset']}: {len(result['images'])} images, {result['kind']}", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return _finish(figure, out)


#: Short names for the README's figure, where each curve has its name beside it.
_SHORT = {
    "ours": "learned_codec", "ours-effort3": "learned_codec, effort 3", "avif": "AVIF", "avif-slow": "AVIF, slowest",
    "heic": "HEIC", "jpeg": "JPEG",
}  # fmt: skip


def saving(result: Mapping[str, Any], out: Path) -> list[Path]:
    """How many bytes more or less than the anchor a codec takes at equal PSNR, over PSNR.

    Curves are means over the images. Published ones are thin and grey, and drawn if they have a `label`.
    """
    anchor = next(entry for entry in result["codecs"] if entry["name"] == result["anchor"])
    base = bdrate.curve(anchor["results"]["bpp"], anchor["results"]["psnr"])
    figure, axes = _figure(8.2, 5.6)
    low, high, top = 25.5, 42.0, 32.0
    axes.plot([low, high], [0, 0], color="black", linewidth=1.6, zorder=2)
    ends: list[tuple[float, float, str, str, float]] = [(high, 0.0, "JPEG 2000", "black", 11)]

    def draw(points: bdrate.Curve, name: str, shade: str, **style: Any) -> None:
        x = np.linspace(
            max(low, points.quality[0], base.quality[0]), min(high, points.quality[-1], base.quality[-1]), 200
        )
        y = 100 * (bdrate.rate_at(points, x) / bdrate.rate_at(base, x) - 1)
        kept = y <= top
        if kept.any():
            axes.plot(x[kept], y[kept], color=shade, **style)
            ends.append((float(x[kept][-1]), float(y[kept][-1]), name, shade, 9.5 if style["linewidth"] < 1.2 else 11))

    for entry in rivals.load(result["dataset"], len(result["images"])):
        if entry["results"] and entry.get("label"):
            points = bdrate.curve(entry["results"]["bpp"], entry["results"]["psnr-rgb"])
            draw(points, entry["label"], "#8A8A8A", linewidth=1.0, zorder=1)
    for entry in result["codecs"]:
        if entry is anchor or "psnr" not in entry["metrics"] or entry["name"] in ("ours-effort1", "ours-effort2"):
            continue
        points = bdrate.curve(entry["results"]["bpp"], entry["results"]["psnr"])
        mine = entry["name"].startswith("ours")
        name = _SHORT.get(entry["name"], label(entry["name"]))
        draw(points, name, colour(entry["name"]), linewidth=3.0 if mine else 1.8, zorder=4 if mine else 3)
    _name_ends(axes, ends, high)
    axes.set_xlim(low, high + 5.8)
    axes.set_xticks(range(26, 43, 2))
    axes.set_xlabel("PSNR, dB (thin and grey: published by others)", loc="left", fontsize=11)
    axes.set_ylabel("bytes against JPEG 2000 at equal PSNR, %", fontsize=11)
    axes.tick_params(labelsize=11)
    return _finish(figure, out)


def _name_ends(axes: Any, ends: Sequence[tuple[float, float, str, str, float]], right: float) -> None:
    """Writes each curve's name beside its end, in its colour. Names at the right edge are moved apart."""
    for x, y, text, shade, size in ends:
        if x < right - 0.6:
            axes.annotate(text, (x, y), (4, 0), textcoords="offset points", fontsize=size, color=shade, va="center")
    edge = sorted((end for end in ends if end[0] >= right - 0.6), key=lambda end: end[1])
    places, gap = [end[1] for end in edge], 4.2
    for _ in range(100):  # neighbours push each other apart
        for i in range(len(places) - 1):
            push = (gap - (places[i + 1] - places[i])) / 2
            if push > 0:
                places[i] -= push
                places[i + 1] += push
    for (x, y, text, shade, size), place in zip(edge, places, strict=True):
        line = {"arrowstyle": "-", "color": shade, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 1}
        axes.annotate(text, (x, y), (right + 0.5, place), fontsize=size, color=shade, va="center", arrowprops=line)


def _grid(panels: int, columns: int = 3) -> tuple[Any, list[Any]]:
    """A figure of small panels."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.5 * columns + 0.4, 2.7 * rows + 0.6), layout="constrained", squeeze=False
    )
    for ax in axes.flat[panels:]:
        ax.set_visible(False)
    for ax in axes.flat[:panels]:
        ax.grid(visible=True, color="#E6E6E6", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=8)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure, list(axes.flat[:panels])


def _curve(axes: Any, points: Sequence[tuple[float, float]], codec: str) -> None:
    mine = codec == "ours"
    style = {"linewidth": 2.0 if mine else 1.2, "markersize": 3.5 if mine else 2.5, "zorder": 4 if mine else 3}
    axes.plot(*zip(*points, strict=True), marker="o", color=colour(codec), label=label(codec), **style)


def _log_rate(axes: Any) -> None:
    """A log axis of rates with few, plain ticks."""
    axes.set_xscale("log")  # first, because the limits of a linear axis may be below 0
    low, high = axes.get_xlim()
    ticks = [t for t in (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)


def _one_legend(figure: Any, axes: Sequence[Any]) -> None:
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=5, frameon=False, fontsize=9)


def each_image(result: Mapping[str, Any], out: Path) -> list[Path]:
    """PSNR over rate, a panel for each image. For images whose rates and peaks can't be averaged."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in result["images"]}
    for entry in result["codecs"]:
        for name, values in entry["images"].items():
            pairs = zip(values["bpp"], values["psnr"], strict=True)
            curves[name][entry["name"]] = [(r, q) for r, q in pairs if q is not None]
    return _panels(curves, "bits per pixel, all bands together (real files, log scale)", "PSNR, dB", out)


def sar(result: Mapping[str, Any], out: Path) -> list[Path]:
    """PSNR over rate of a SAR result, a panel for each scene."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in result["rows"]:
        points = curves.setdefault(row["scene"], {}).setdefault(row["codec"], [])
        if math.isfinite(row["psnr"]):
            points.append((row["bpp"], row["psnr"]))
    return _panels(curves, "bits per pixel (real files, log scale)", "PSNR of the clipped dB values, dB", out)


def _panels(
    curves: Mapping[str, Mapping[str, list[tuple[float, float]]]], rate: str, quality: str, out: Path
) -> list[Path]:
    """A panel for each title, with the points of each codec."""
    figure, panels = _grid(len(curves))
    for axes, (title, codecs) in zip(panels, curves.items(), strict=True):
        for name, points in codecs.items():
            if points:
                _curve(axes, points, name)
        _log_rate(axes)
        axes.set_title(title, loc="left", fontsize=8)
    figure.supxlabel(rate, fontsize=10)
    figure.supylabel(quality, fontsize=10)
    _one_legend(figure, panels)
    return _finish(figure, out)


def bd_bars(result: Mapping[str, Any], out: Path) -> list[Path]:
    """BD-rates of the measured codecs against the anchor: of the mean curve, and as the mean of images."""
    rows = [
        bd for bd in result["bd"] if bd["method"] == "pchip" and (bd["mean_curve"] or bd["mean_of_images"] is not None)
    ]
    rows.sort(key=lambda bd: bd["mean_curve"]["value"] if bd["mean_curve"] else bd["mean_of_images"], reverse=True)
    figure, axes = _figure(7.4, 1.4 + 0.55 * max(len(rows), 1))
    for i, bd in enumerate(rows):
        whole = bd["mean_curve"]["value"] if bd["mean_curve"] else None
        pair = [(whole, 0.19, 1.0), (bd["mean_of_images"], -0.19, 0.5)]
        for value, offset, alpha in [(bd["mean_of_images"], 0.0, 0.5)] if whole is None else pair:
            if value is None:
                continue
            axes.barh(i + offset, value, 0.36, color=colour(bd["codec"]), alpha=alpha)
            side = "left" if value >= 0 else "right"
            axes.annotate(f"{value:+.1f} %", (value, i + offset), (3 if value >= 0 else -3, 0), ha=side, va="center",
                          textcoords="offset points", fontsize=8)  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(rows)), [label(bd["codec"]) for bd in rows])
    axes.margins(x=0.16)
    axes.set_xlabel(f"BD-rate against {label(result['anchor'])}, % (negative: smaller files at equal PSNR)")
    axes.set_title(
        f"{result['dataset']}, {result['kind']}: "
        + ("mean of images" if result.get("mixed") else "full colour, mean curve; pale, mean of images"),
        loc="left",
        fontsize=10,
    )
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    return _finish(figure, out)


def _scatter(points: Sequence[tuple[float, float, str, str, bool]], axes: Any) -> None:
    """Draws points (x, y, label, colour, published) on a log axis, each with its label beside it.

    A label goes where it covers neither a point nor another label, if there is such a place.
    """
    for x, y, _, shade, published in points:
        axes.scatter([x], [y], s=40, facecolors="none" if published else shade, edgecolors=shade, zorder=3)
    _plain_log(axes)
    axes.figure.canvas.draw()  # so that places on the canvas are known
    points = sorted(points)
    dots = [axes.transData.transform((x, y)) for x, y, *_ in points]
    taken: list[Any] = []
    for number, (x, y, text, shade, _) in enumerate(points):
        others = dots[:number] + dots[number + 1 :]
        for side, height in itertools.product(("left", "right"), (3, -9, 9, -15, 16, -22)):
            style = {"ha": side, "xytext": (6 if side == "left" else -6, height)}
            note = axes.annotate(text, (x, y), textcoords="offset points", fontsize=8, color=shade, **style)
            box = note.get_window_extent()
            if not (box.padded(5).count_contains(others) or box.count_overlaps(taken)):
                break
            note.remove()
        else:
            note = axes.annotate(text, (x, y), (6, 3), textcoords="offset points", fontsize=8, color=shade)
        taken.append(note.get_window_extent())


def _plain_log(axes: Any) -> None:
    """A log axis with the ticks 1, 10, 100 …, and room for labels on the right."""
    ticker = importlib.import_module("matplotlib.ticker")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(0.15)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 2.5)


def _bd_of(result: Mapping[str, Any]) -> dict[str, float]:
    values = {
        bd["codec"]: bd["mean_curve"]["value"] for bd in result["bd"] if bd["method"] == "pchip" and bd["mean_curve"]
    }
    return {result["anchor"]: 0.0, **values}


def rate_against_speed(result: Mapping[str, Any], speed: Mapping[str, Any], out: Path) -> list[Path]:
    """BD-rate over decoding speed. Better is lower and further right."""
    figure, axes = _figure(6.6, 4.6)
    values = _bd_of(result)
    most = max(row["given"] for row in speed["rows"])
    rows = [row for row in speed["rows"] if row["codec"] in values and row["given"] == most and row["megapixels"] < 50]
    points = [(r["decode_mp_s"], values[r["codec"]], label(r["codec"]), colour(r["codec"]), False) for r in rows]
    _scatter(points, axes)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"decoding, megapixels per second ({most} thread(s) where the codec can)")
    axes.set_ylabel(f"BD-rate against {label(result['anchor'])}, %")
    axes.set_title(f"Rate against speed ({result['dataset']})", loc="left", fontsize=11)
    return _finish(figure, out)


def rate_against_complexity(result: Mapping[str, Any], complexity: Mapping[str, Any], out: Path) -> list[Path]:
    """BD-rate over the decoder's MACs per pixel. Published codecs are hollow."""
    figure, axes = _figure(6.6, 4.6)
    anchor = next(entry for entry in result["codecs"] if entry["name"] == result["anchor"])
    points = []
    for entry in rivals.load(result["dataset"], len(result["images"])):
        value = rivals.bd(anchor, entry)
        if value is not None and entry["decoder_kmac_per_pixel"]:
            points.append((entry["decoder_kmac_per_pixel"], value, entry["name"], "#6E6E6E", True))
    # published points are of RGB images, so the RGB model stands for ours
    mine = [r for r in complexity["rows"] if r["source"].startswith("learned_codec") and r["name"].startswith("rgb")]
    if mine and "ours" in _bd_of(result):
        points.append((mine[0]["decoder_kmac_per_pixel"], _bd_of(result)["ours"], label("ours"), colour("ours"), False))
    _scatter(points, axes)
    axes.set_xlabel("decoder, thousand multiply-accumulates per pixel")
    axes.set_ylabel(f"BD-rate against {label(result['anchor'])}, %")
    axes.set_title("Rate against complexity (hollow: published)", loc="left", fontsize=11)
    return _finish(figure, out)


def training(log: Path, out: Path) -> list[Path]:
    """A training run over steps and hours: loss, bits, PSNR, and the BD-rate of each validation against the last one.

    Thin curves are means of 100 steps, thick ones of 1,000.
    """
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    # A run that was stopped goes on from its last checkpoint, so steps after that are in the log twice.
    measured: dict[int, dict[str, float]] = {r["step"]: r for r in rows if "loss" in r}
    steps = sorted(measured)
    hours = [measured[s]["seconds"] / 3600 for s in steps]
    validations = {r["step"]: r for r in rows if r.get("validation_bpp")}
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, grid = pyplot.subplots(2, 2, figsize=(11, 6.4), layout="constrained", sharex=True)
    for axes, (key, title) in zip(
        grid.flat, (("loss", "training loss"), ("bpp", "bits per pixel"), ("psnr", "PSNR, dB")), strict=False
    ):
        values = [measured[s][key] for s in steps]
        smooth = [sum(values[max(0, i - 9) : i + 1]) / len(values[max(0, i - 9) : i + 1]) for i in range(len(values))]
        axes.plot(steps, values, color="#D9D9D9", linewidth=0.7)
        axes.plot(steps, smooth, color=colour("ours"), linewidth=1.8)
        axes.set_ylabel(title)
    curves = {
        step: bdrate.curve(row["validation_bpp"], row["validation_psnr"]) for step, row in sorted(validations.items())
    }
    rates = {step: bdrate.bd(curves[max(curves)], curve).value for step, curve in curves.items()}
    axes = grid[1, 1]
    axes.plot(list(rates), list(rates.values()), marker="o", color=colour("ours"))
    axes.set_ylabel("validation BD-rate against the end, %")
    for axes in grid[1]:
        axes.set_xlabel("steps (above: hours)")
    for axes in grid[0]:
        beside = axes.secondary_xaxis(
            "top",
            functions=(
                lambda x: np.interp(x, [0, *steps], [0, *hours]),
                lambda x: np.interp(x, [0, *hours], [0, *steps]),
            ),
        )
        beside.tick_params(labelsize=8)
    return _finish(figure, out)
