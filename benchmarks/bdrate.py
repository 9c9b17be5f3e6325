"""Bjøntegaard deltas: the average difference of two rate-distortion curves, over the qualities that both reach.

Computed by the `bjontegaard` package over log(rate), with PCHIP and Akima interpolation. BD-rate is in percent of rate
at equal quality (negative: fewer bits), BD-PSNR in dB at equal rate. A pair whose curves share too little is refused:
nothing is extrapolated. G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001;
C. Herglotz et al., "The Bjøntegaard Bible: Why Your Way of Comparing Video Codecs May Be Wrong", IEEE TIP, 2024.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

METHODS = ("pchip", "akima")
MIN_OVERLAP = 0.6
_MIN_POINTS = {"pchip": 3, "akima": 4}

Quantity = Literal["rate", "quality"]


class NotComparable(ValueError):
    """Two curves that share too little, or have too few points, to be compared."""


@dataclass(frozen=True)
class Curve:
    """Rates and qualities of one codec, from low to high rate, cleaned by `curve`."""

    rate: tuple[float, ...]
    quality: tuple[float, ...]


@dataclass(frozen=True)
class Delta:
    """A BD value with what it rests on: the shared range, and its share of the shorter curve's range."""

    value: float
    low: float
    high: float
    overlap: float


@dataclass(frozen=True)
class Comparison:
    """Both BD-rates of a codec against an anchor: of the mean curve, and the mean over images."""

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
    """Sorts by rate and leaves out points that cost more without being better, and lossless ones (infinite, or null).

    What remains rises in both, as the interpolation over quality needs.
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
    """BD-rate (%) or, `of="quality"`, BD-PSNR (dB) of `test` against `anchor`; raises `NotComparable`."""
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
    # the package would warn about overlap by another rule than the one applied above
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


def _summary(delta: Delta) -> dict[str, float]:
    return {"value": delta.value, "low": delta.low, "high": delta.high, "overlap": delta.overlap}


Points = Mapping[str, Sequence[float]]


def compare(
    anchor: Mapping[str, Any],
    test: Mapping[str, Any],
    *,
    metric: str = "psnr",
    method: str = "pchip",
    min_overlap: float = MIN_OVERLAP,
    no_mean_curve: str = "",
) -> Comparison:
    """Compares two codecs' entries of a results file (`name`, `results`, `images`), on the images that both have.

    `no_mean_curve` is the reason, if there is one, why an average of their rates means nothing.
    """
    refused: dict[str, str] = {"mean curve": no_mean_curve} if no_mean_curve else {}

    def delta(a: Points, b: Points, of: Quantity, label: str) -> Delta | None:
        try:
            return bd(
                curve(a["bpp"], a[metric]), curve(b["bpp"], b[metric]), of=of, method=method, min_overlap=min_overlap
            )
        except NotComparable as reason:
            refused[label] = str(reason)
            return None

    whole = quality = None
    if not no_mean_curve:
        whole = delta(anchor["results"], test["results"], "rate", "mean curve")
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
