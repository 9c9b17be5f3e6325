"""What float32, as which float64 is stored, loses of an image's detail."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COARSE = 0.1
"""Steps of float32 larger than this share of a band's deviation lose some of its detail."""

LARGEST, LEAST = 3e38, float(np.finfo(np.float32).tiny)
"""The largest magnitude that is stored, and the least that keeps its detail."""


def said_of(planes: NDArray[Any], valid: NDArray[np.bool_]) -> str:
    """What to say of the first band whose detail float32 would lose; empty without one. Both are (bands, h, w)."""
    for number, (plane, known) in enumerate(zip(planes, valid, strict=True), 1):
        values = plane[known & (np.abs(plane) <= LARGEST)]  # larger ones are refused
        most = float(np.abs(values).max(initial=0))
        if 0 < most < LEAST:
            return f", which begins at {LEAST:.2g}, but band {number} has only smaller values: multiply them first"
        deviation = float(values.std()) if most else 0.0
        if deviation > 0 and (step := float(np.spacing(np.float32(most)))) > COARSE * deviation:
            return (
                f", whose steps of {step:g} are large beside the deviation of band {number}, {deviation:.3g}: "
                "subtract an offset first"
            )
    return ""
