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


def may_be_classes(known: NDArray[Any]) -> bool:
    """Whether the means of a band of these different values might be others, of other classes.

    Of two neighbouring integers, such as those of a mask, the rounded mean is the one that occurs more often.
    """
    if known.dtype.kind != "f" and known.size == 2:
        return int(known[1]) - int(known[0]) > 1
    return are_few(known)


def different_values(values: NDArray[Any], valid: NDArray[np.bool_] | None) -> list[NDArray[Any]]:
    """The different values of each band, those that are `valid`; only some if there are more than `MOST_VALUES`.

    Both are (bands, h, w).
    """
    there = [...] * len(values) if valid is None else valid
    return [with_others(band.ravel()[:0], band[which]) for band, which in zip(values, there, strict=True)]
