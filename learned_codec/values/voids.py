"""Finds undeclared nodata values: -9999, -32768, 3.4e38, a border of zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR = 3.0
"""A value is suspicious if it lies outside the range of the others by more than this many times the range's width."""

GREAT_SHARE = 0.01
"""A value that at least this share of the pixels has may lie nearer. With a smaller share, its pixels must be
connected."""

APART, NEAR, LEVELS = 0.5, 0.1, 32
"""With a great share, a value needs to lie outside by only 0.5 widths. Zero, or an end of the dtype, needs only 0.1
widths if at most half of the pixels have it. Both only if the others have at least 32 levels: they may be classes."""

FEW = 8
"""If fewer pixels than this have a value, they are taken for hot pixels."""

BETWEEN = 0.001
"""The most of the others, as a share, that may lie in the half of the gap next to the value. If there are more, values
go over into it smoothly."""


def voids(values: NDArray[Any]) -> list[tuple[float, float]]:
    """The values of a band that look like nodata, at most two, and the share of pixels of each.

    `values` has any shape, and no NaN.
    """
    found: list[tuple[float, float]] = []
    total, rest = values.size, values.reshape(-1)
    while len(found) < 2 and rest.size and rest.dtype != np.uint8:
        low, high = rest.min(), rest.max()
        for value in (low, high):
            there = rest == value
            if FEW <= there.sum() < rest.size and _is_outside(value, rest[~there], there.sum() / total):
                found.append((float(value), float(there.sum() / total)))
                rest = rest[~there]
                break
        else:
            break
    return found


def _is_outside(value: Any, others: NDArray[Any], share: float) -> bool:
    low, high = np.percentile(others, [1, 99], method="nearest").astype(float)
    width = high - low
    if width == 0:  # nearly all others have one value, such as the sea around islands
        return False
    below, gap = low - float(value), max(low - float(value), float(value) - high)
    between = others < low - below / 2 if below > 0 else others > high + gap / 2
    if gap <= 0 or between.sum() > BETWEEN * others.size:
        return False
    if gap > FAR * width:
        return True
    ends = (0, np.iinfo(others.dtype).min, np.iinfo(others.dtype).max) if others.dtype.kind != "f" else (0,)
    levels = width if others.dtype.kind != "f" else np.inf
    least = FAR if levels < LEVELS else NEAR if value in ends and share <= 0.5 else APART
    return share >= GREAT_SHARE and gap > least * width
