"""Finds the value in a chunk that most likely means "no value", which array libraries don't tell their codecs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

APART = 0.1
"""A lowest or highest value this far from all others, in widths of their range, counts as missing and is kept exactly.
If it was measured after all, that costs next to nothing."""


def missing(values: NDArray[Any]) -> float | None:
    """The lowest or highest finite value, if it lies apart from all others; else None."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not known.size or known.min() == known.max():
        return None
    # As Python's floats, which hold what the differences of a type can't.
    low, high = float(known.min()), float(known.max())
    above, below = float(known[known > low].min()), float(known[known < high].max())
    gap, width, found = max((above - low, high - above, low), (high - below, below - low, high))
    return found if gap > APART * width and (gap > 1 or values.dtype.kind == "f") else None
