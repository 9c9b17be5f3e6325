"""Predicts a pixel from its surroundings, with a context that estimates the error of the prediction.

Both are sums of integers times integer weights, in floating-point numbers that hold every partial sum exactly. So the
results are the same in any order, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

from .lattice import AROUND, NEAREST, Level, Pass, Plane

FRACTION_BITS = 8
"""Of weights."""

STRIP = 2**14
"""How many pixels are predicted at once: their features fit into a processor's cache."""

TELLING = 1 + 4
"""Features of a reference, its first ones, whose magnitudes count in the context."""


@dataclass(frozen=True)
class PassWeights:
    """Of one pass: `values` int16 (features,), in 256ths, and `magnitudes` uint8 (activities,)."""

    values: NDArray[np.int16]
    magnitudes: NDArray[np.uint8]


@dataclass(frozen=True)
class Known:
    """One level of a plane: its values minus the lowest one, and the residuals of the known ones."""

    values: Level
    errors: Level


def features_of(step: Pass, references: int) -> int:
    """How many features predict a pixel of a pass."""
    return len(step.own) + references * (1 + len(AROUND))


def activities_of(references: int) -> int:
    """How many activities tell its context."""
    return 2 * NEAREST + references * (TELLING + 1)


def dtype_for(weights: Sequence[PassWeights], ranges: Sequence[int]) -> np.dtype[np.floating]:
    """The smallest floats that hold all sums exactly.

    `ranges` are what values can differ by, in the plane itself and then in each reference. Raises `CorruptDataError`
    where no floats do.
    """
    most = 4 * max(ranges)
    for found in weights:
        own = len(found.values) - (len(ranges) - 1) * (1 + len(AROUND))
        spread = np.repeat(ranges, [own] + [1 + len(AROUND)] * (len(ranges) - 1))
        most = max(most, sum(abs(int(w)) * int(r) for w, r in zip(found.values, spread, strict=True)))
        most = max(most, int(found.magnitudes.sum(dtype=np.int64)) * max(ranges))
    if most < 2**23:
        return np.dtype(np.float32)
    if most < 2**52:
        return np.dtype(np.float64)
    raise CorruptDataError("a plane's weights are too large for its values")


def strips(height: int, width: int) -> Iterator[slice]:
    """All rows, in strips."""
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def surroundings(
    step: Pass, own: Known, references: Sequence[Known], rows: slice, dtype: np.dtype[np.floating]
) -> tuple[Plane, Plane, Plane]:
    """Of some rows of a pass: the mean of the nearest (n,), features (features, n) and activities (activities, n)."""
    near = [own.values.neighbours(step.phase, offset, rows) for offset in step.own]
    base = np.floor((near[0] + near[1] + near[2] + near[3]) * 0.25)
    shape = base.shape
    features = np.empty((features_of(step, len(references)), *shape), dtype)
    activities = np.empty((activities_of(len(references)), *shape), dtype)
    for i, values in enumerate(near):
        np.subtract(values, base, out=features[i])
    np.abs(features[:NEAREST], out=activities[:NEAREST])
    for i, offset in enumerate(step.own[:NEAREST]):
        activities[NEAREST + i] = own.errors.neighbours(step.phase, offset, rows)
    at, to = len(near), 2 * NEAREST
    for reference in references:
        around = [reference.values.neighbours(step.phase, offset, rows) for offset in ((0, 0), *AROUND)]
        middle = np.floor((around[1] + around[2] + around[3] + around[4]) * 0.25)
        for values in around:
            np.subtract(values, middle, out=features[at])
            at += 1
        np.abs(features[at - len(around) : at - len(around) + TELLING], out=activities[to : to + TELLING])
        to += TELLING
        activities[to] = reference.errors.neighbours(step.phase, (0, 0), rows)
        to += 1
    return base.reshape(-1), features.reshape(len(features), -1), activities.reshape(len(activities), -1)


def predict(
    step: Pass, own: Known, references: Sequence[Known], weights: PassWeights, top: int, dtype: np.dtype[np.floating]
) -> tuple[Plane, NDArray[np.uint8]]:
    """The predictions of all pixels of a pass, (h, w), from 0 to `top`, and their contexts."""
    height, width = own.values.size(step.phase)
    found, contexts = np.empty((height, width), dtype), np.empty((height, width), np.uint8)
    values, magnitudes = weights.values.astype(dtype), weights.magnitudes.astype(dtype)
    for rows in strips(height, width):
        base, features, activities = surroundings(step, own, references, rows, dtype)
        said = np.floor((values @ features + (1 << FRACTION_BITS - 1)) * 2.0**-FRACTION_BITS)
        found[rows] = (base + said).clip(0, top).reshape(-1, width)
        contexts[rows] = context_of(magnitudes @ activities).reshape(-1, width)
    return found, contexts


def context_of(activity: Plane) -> NDArray[np.uint8]:
    """0 for 0; else 1 + twice the logarithm, base 2, rounded down to halves as if it were linear in between."""
    if activity.dtype == np.float32:
        halves = (activity.view(np.int32) >> 22) - (2 * 127 - 1)
    else:
        halves = (activity.view(np.int64) >> 51) - (2 * 1023 - 1)
    found: NDArray[np.uint8] = np.maximum(halves, 0).astype(np.uint8)
    return found
