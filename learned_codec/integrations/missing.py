"""The value of a chunk that stands for "no value". Codecs of arrays aren't told it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

APART = 0.1
"""A lowest or highest value that is this far from all others, in widths of their range, is taken for missing. It comes
back exactly then, which costs next to nothing if it was measured after all."""


def missing(values: NDArray[Any]) -> float | None:
    """The lowest or highest value, if it lies apart from all others; None if neither does. Not NaN or infinity."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not known.size or known.min() == known.max():
        return None
    # As Python's floats, which hold what the differences of a type can't.
    low, high = float(known.min()), float(known.max())
    above, below = float(known[known > low].min()), float(known[known < high].max())
    gap, width, found = max((above - low, high - above, low), (high - below, below - low, high))
    return found if gap > APART * width and (gap > 1 or values.dtype.kind == "f") else None
