"""Ranges of values: robust ranges, bounds, and which bands have similar ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

APART = 3.0
"""Two neighbouring ranges (by width) are not similar if one is wider by more than this factor. Among the bands of one
optical sensor, it is at most 2.8."""

SPREAD = 20.0
"""No two ranges of a group may differ in width by more than this factor. Among the bands of one optical sensor, it
reaches 14."""


def robust_range(values: NDArray[Any]) -> tuple[float, float]:
    """The low and high end that become 0 and 1: the 0.1 and 99.9 percentiles, with the effect of outliers limited.

    Neither end is further from the range of the 1st to 99th percentile than that range is wide. So hot pixels can't
    make the quantisation step large. If nearly all pixels have one value, the range is that of the others, unless there
    are so few that they are outliers, too.
    """
    # "nearest", because interpolation takes differences, which their type may not hold.
    lowest, low, high, highest = np.percentile(values, [0.1, 1, 99, 99.9], method="nearest").astype(float)
    width = high - low
    if width > 0:
        return max(lowest, low - width), min(highest, high + width)
    others = values[values != low]
    if others.size > values.size / 1000:
        least, most = robust_range(others)
        return min(low, least), max(low, most)
    nearest = np.abs(others.astype(np.float64) - low).min(initial=0)
    return low, low + 1e-6 * nearest


def alike(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.intp]:
    """Group bands by their ranges, (N,) `low` to `high`. Ranges of a group overlap and have similar widths.

    Returns:
        (N,) numbers of groups from 0, beginning with the group of the widest range.
    """
    widths = high - low
    groups: list[list[int]] = []
    for band in np.argsort(-widths, kind="stable").tolist():
        for members in groups:
            widest, narrowest = (widths[members[end]] for end in (0, -1))
            overlap = (low[members] <= high[band]) & (low[band] <= high[members])
            if narrowest <= APART * widths[band] and widest <= SPREAD * widths[band] and overlap.any():
                members.append(band)
                break
        else:
            groups.append([band])
    found = np.zeros(len(widths), np.intp)
    for number, members in enumerate(groups):
        found[members] = number
    return found


class Extremes:
    """The lowest and highest value of each band, collected rectangle by rectangle."""

    def __init__(self, bands: int, dtype: np.dtype[Any]) -> None:
        limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        self._none = limits.max, limits.min
        self._low, self._high = (np.full(bands, value, dtype) for value in self._none)

    def add(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
        """Take (bands, h, w) values. Only `valid` ones count; None: all."""
        where: Any = True if valid is None else valid
        # Along one axis at a time: along both at once, numpy takes a hundred times as long where bands lie together.
        low = values.min(1, initial=self._none[0], where=where).min(1)
        high = values.max(1, initial=self._none[1], where=where).max(1)
        np.minimum(self._low, low, out=self._low)
        np.maximum(self._high, high, out=self._high)

    def join(self, other: Extremes) -> None:
        """Take the values that another collection has taken."""
        np.minimum(self._low, other._low, out=self._low)
        np.maximum(self._high, other._high, out=self._high)

    def bounds(self) -> NDArray[Any]:
        """(2, bands): the lowest and the highest values; 0 for bands without any value."""
        return np.where(self._low <= self._high, [self._low, self._high], 0).astype(self._low.dtype)
