"""Radar backscatter as dB, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sources import Unit

PER_DECADE: dict[Unit | None, int] = {"power": 10, "amplitude": 20}
"""The dB of a factor of ten, by unit. Other units are dB already, or are not of radar."""


def to_decibels(values: NDArray[Any], unit: Unit | None) -> NDArray[Any]:
    """Floating-point values as dB. Zero becomes -inf, negative values NaN."""
    if unit not in PER_DECADE:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[Any] = PER_DECADE[unit] * np.log10(values)
    return found


def of_decibels(decibels: NDArray[Any], unit: Unit | None) -> NDArray[Any]:
    """The inverse of `to_decibels`, clipped to the largest power of ten in float32."""
    if unit not in PER_DECADE:
        return decibels
    found: NDArray[Any] = 10 ** np.minimum(decibels / PER_DECADE[unit], np.float32(38.5))
    return found
