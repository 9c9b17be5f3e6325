"""Bands of few values: numbers that may stand for classes, of which the mean of two would be some other class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 64
"""A band of more values isn't taken for one of classes."""

_FIRST = 2**12
"""So many samples show at once that most bands have too many values."""


def with_others(known: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The different values of both arrays, rising; if they are more than `MOST_VALUES`, perhaps only some of them."""
    for part in (values.reshape(-1)[:: 1 + values.size // _FIRST], values):
        if known.size <= MOST_VALUES:
            known = np.union1d(known, part)
    return known


def are_few(known: NDArray[Any]) -> bool:
    """Whether a band of these different values may be one of classes. A single value needs no care."""
    return 1 < known.size <= MOST_VALUES
