"""Bjøntegaard deltas: the average difference of two rate-distortion curves, over the qualities that both reach.

They are computed over log(rate) by the `bjontegaard` package, with PCHIP and Akima interpolation. BD-rate is in percent
of rate at equal quality (negative: fewer bits), BD-PSNR in dB at equal rate. Curves that share too little are refused;
nothing is extrapolated. G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001;
C. Herglotz et al., "The Bjøntegaard Bible: Why Your Way of Comparing Video Codecs May Be Wrong", IEEE TIP, 2024.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

METHODS = ("pchip", "akima")
MIN_OVERLAP = 0.6
#: Other comparisons than by PSNR over the whole range: by another metric, and by bands of PSNR, because a mean over
#: all hides where a codec wins.
PARTS: tuple[tuple[str, tuple[float, float] | None], ...] = (
    ("ms-ssim", None),
    ("psnr-bands", None),
    ("psnr", (25, 30)),
    ("psnr", (30, 35)),
    ("psnr", (35, 41)),
)
_MIN_POINTS = {"pchip": 3, "akima": 4}

Quantity = Literal["rate", "quality"]


def part_name(metric: str, within: tuple[float, float] | None) -> str:
    return metric if within is None else f"{metric} {within[0]:g}–{within[1]:g} dB"


class NotComparable(ValueError):
    """Two curves that share too little, or have too few points, to be compared."""


@dataclass(frozen=True)
class Curve:
    """Rates and qualities of one codec, from low to high rate, cleaned by `curve`."""

    rate: tuple[float, ...]
    quality: tuple[float, ...]


@dataclass(frozen=True)
class Delta:
    """A BD value, the range that it is computed over, and that range's share of the shorter curve's."""

    value: float
    low: float
    high: float
    overlap: float


@dataclass(frozen=True)
class Comparison:
    """The BD-rates of a codec against an anchor: of the mean curve, and the mean of images."""

    codec: str
    anchor: str
    metric: str
    method: str
    mean_curve: dict[str, float] | None
    mean_curve_bd_psnr: dict[str, float] | None
    mean_of_images: float | None
    images: int
    per_image: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def curve(rate: Sequence[float], quality: Sequence[float | None]) -> Curve:
    """Points sorted by rate, so that both rise, as interpolation needs.

    Points that cost more without being better are left out, and lossless ones (infinite, or None).
    """
    kept: list[tuple[float, float]] = []
    known = [(r, q) for r, q in zip(rate, quality, strict=True) if q is not None and math.isfinite(q)]
    for r, q in sorted(known):
        if r > 0 and (not kept or (q > kept[-1][1] and r > kept[-1][0])):
            kept.append((r, q))
    return Curve(tuple(r for r, _ in kept), tuple(q for _, q in kept))


def _shared(a: Sequence[float], b: Sequence[float], min_overlap: float) -> tuple[float, float, float]:
    low, high = max(min(a), min(b)), min(max(a), max(b))
    shorter = min(max(a) - min(a), max(b) - min(b))
    overlap = (high - low) / shorter if shorter > 0 else 0.0
    if overlap < min_overlap:
        raise NotComparable(
            f"the curves share {max(high - low, 0):.3g} of the shorter one's range of {shorter:.3g} "
            f"({max(overlap, 0):.0%}, at least {min_overlap:.0%} is asked for)"
        )
    return low, high, overlap


def bd(
    anchor: Curve, test: Curve, *, of: Quantity = "rate", method: str = "pchip", min_overlap: float = MIN_OVERLAP
) -> Delta:
    """BD-rate (%), or with `of="quality"` BD-PSNR (dB), of `test` against `anchor`. Raises `NotComparable`."""
    package = importlib.import_module("bjontegaard")
    for c in (anchor, test):
        if len(c.rate) < _MIN_POINTS[method]:
            raise NotComparable(f"{len(c.rate)} usable points, {method} needs {_MIN_POINTS[method]}")
    if of == "rate":
        low, high, overlap = _shared(anchor.quality, test.quality, min_overlap)
        function = package.bd_rate
    else:
        logs = [[math.log10(r) for r in c.rate] for c in (anchor, test)]
        low, high, overlap = _shared(logs[0], logs[1], min_overlap)
        low, high = 10**low, 10**high
        function = package.bd_psnr
    # min_overlap=0: the overlap was checked above, and the package would warn by another rule
    value = function(
        anchor.rate,
        anchor.quality,
        test.rate,
        test.quality,
        method=method,
        require_matching_points=False,
        min_overlap=0,
    )
    return Delta(float(value), low, high, overlap)


def bd_within(anchor: Curve, test: Curve, low: float, high: float, min_overlap: float = MIN_OVERLAP) -> Delta:
    """BD-rate (%) by PCHIP over those qualities from `low` to `high` that both curves reach.

    Raises `NotComparable` if these are less than `min_overlap` of the band.
    """
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]  # scipy ships no annotations

    if min(len(anchor.rate), len(test.rate)) < _MIN_POINTS["pchip"]:
        raise NotComparable(f"pchip needs {_MIN_POINTS['pchip']} usable points")
    bottom = max(low, anchor.quality[0], test.quality[0])
    top = min(high, anchor.quality[-1], test.quality[-1])
    overlap = (top - bottom) / (high - low)
    if overlap < min_overlap:
        raise NotComparable(f"the curves share {max(overlap, 0):.0%} of {low:g} to {high:g}")
    logs = [PchipInterpolator(c.quality, np.log10(c.rate)).integrate(bottom, top) for c in (anchor, test)]
    value = 100 * (10 ** ((logs[1] - logs[0]) / (top - bottom)) - 1)
    return Delta(float(value), bottom, top, overlap)


def rate_at(points: Curve, quality: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rates at which a curve reaches these qualities, by PCHIP over log(rate)."""
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]  # scipy ships no annotations

    return np.asarray(10 ** PchipInterpolator(points.quality, np.log10(points.rate))(quality))


def _summary(delta: Delta) -> dict[str, float]:
    return {"value": delta.value, "low": delta.low, "high": delta.high, "overlap": delta.overlap}


def _decibels(values: Sequence[float | None], metric: str) -> list[float | None]:
    if metric != "ms-ssim":
        return list(values)
    return [None if v is None else -10 * math.log10(1 - v) if v < 1 else math.inf for v in values]


Points = Mapping[str, Sequence[float]]


def compare(
    anchor: Mapping[str, Any],
    test: Mapping[str, Any],
    *,
    metric: str = "psnr",
    method: str = "pchip",
    min_overlap: float = MIN_OVERLAP,
    within: tuple[float, float] | None = None,
    no_mean_curve: str = "",
) -> Comparison:
    """Compares two codecs' entries of a results file (`name`, `results`, `images`), on the images that both have.

    MS-SSIM counts in dB, −10 log10(1 − x); else all values above 0.98 would be nearly one point. `within`: only this
    band of qualities, by PCHIP. `no_mean_curve`: the reason why there is no mean curve, or "".
    """
    refused: dict[str, str] = {"mean curve": no_mean_curve} if no_mean_curve else {}

    def delta(a: Points, b: Points, of: Quantity, label: str) -> Delta | None:
        mine, theirs = (curve(points["bpp"], _decibels(points[metric], metric)) for points in (a, b))
        try:
            if within is not None:
                return bd_within(mine, theirs, *within, min_overlap)
            return bd(mine, theirs, of=of, method=method, min_overlap=min_overlap)
        except NotComparable as reason:
            refused[label] = str(reason)
            return None

    whole = quality = None
    if not no_mean_curve:
        whole = delta(anchor["results"], test["results"], "rate", "mean curve")
        if within is None:
            quality = delta(anchor["results"], test["results"], "quality", "mean curve, BD-PSNR")
    shared = [name for name in anchor.get("images", {}) if name in test.get("images", {})]
    singles = {name: delta(anchor["images"][name], test["images"][name], "rate", name) for name in shared}
    values = {name: single.value for name, single in singles.items() if single is not None}
    return Comparison(
        codec=str(test["name"]),
        anchor=str(anchor["name"]),
        metric=metric,
        method=method,
        mean_curve=_summary(whole) if whole else None,
        mean_curve_bd_psnr=_summary(quality) if quality else None,
        mean_of_images=sum(values.values()) / len(values) if values else None,
        images=len(values),
        per_image=values,
        refused=refused,
    )
