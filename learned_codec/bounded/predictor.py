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
from learned_codec.forks import without_forks

from .lattice import EIGHT, NEAREST, Floats, Level, Pass

FRACTION_BITS = 8
"""Fractional bits of weights."""

STRIP = 2**14
"""How many pixels are predicted at once: their features fit into a processor's cache."""

LINEAR = 1 + len(EIGHT)
"""How many features of a reference are differences of its values; one more, a quotient, follows them."""

TELLING = 1 + NEAREST
"""How many of these count in the context, by their magnitudes: the first ones."""

FINENESS = 4
"""Features that are quotients count in parts of a value: quarters."""

BUSY = 8
"""How many of the plane's own features count in the context, by their magnitudes: the first ones."""

SMALL, LARGEST = 2**10 - 1, 2**16 - 1
"""Products of differences up to the first are exact in float32. In quotients, differences count up to the second."""

SHADES = 8
"""Parts of a plane's range, as noise is often larger where values are."""


@dataclass(frozen=True)
class PassWeights:
    """The weights of one pass.

    Attributes:
        values: int16 (features,), in 256ths.
        magnitudes: uint8 (activities,).
        shifts: int8 (SHADES,): by how many eighths of an octave errors are larger for predictions of each shade.
    """

    values: NDArray[np.int16]
    magnitudes: NDArray[np.uint8]
    shifts: NDArray[np.int8]


@dataclass(frozen=True)
class Known:
    """One level of a plane: its values minus the lowest one, and the residuals of the known ones."""

    values: Level
    errors: Level


def features_of(step: Pass, references: int) -> int:
    """How many features predict a pixel of a pass."""
    return len(step.own) + 1 + references * (LINEAR + 1)


def activities_of(references: int) -> int:
    """How many activities tell its context."""
    return BUSY + NEAREST + 1 + references * (TELLING + 1)


def dtype_for(weights: PassWeights, ranges: Sequence[int]) -> np.dtype[np.floating]:
    """The smallest floats that hold all sums of a pass exactly.

    `ranges` are what values can differ by, in the plane itself and then in each reference. Raises `CorruptDataError`
    where no floats do.
    """
    references = len(ranges) - 1
    own = len(weights.values) - 1 - references * (LINEAR + 1)
    spread = [ranges[0]] * own + [FINENESS * ranges[0]]
    for other in ranges[1:]:
        spread += [other] * LINEAR + [FINENESS * ranges[0]]
    most = sum(abs(int(w)) * r for w, r in zip(weights.values, spread, strict=True))
    largest = 2 * max(ranges)
    most = max(most, 2 * largest, int(weights.magnitudes.sum(dtype=np.int64)) * largest)
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


@dataclass(frozen=True)
class Surroundings:
    """What predicts some pixels.

    `base` (n,) is the mean of the nearest; there are `features` (features, n) and `activities` (activities, n).
    """

    base: Floats
    features: Floats
    activities: Floats


def surroundings(
    at: Pass,
    own: Known,
    references: Sequence[Known],
    step: int,
    ranges: Sequence[int],
    rows: slice,
    dtype: np.dtype[np.floating],
) -> Surroundings:
    """The surroundings of some rows of a pass. Residuals are in steps of `step`; `ranges` are those of `dtype_for`."""
    near = [own.values.neighbours(at.phase, offset, rows) for offset in at.own]
    shape = near[0].shape
    base = np.floor((near[0] + near[1] + near[2] + near[3]) * 0.25)
    features = np.empty((features_of(at, len(references)), *shape), dtype)
    activities = np.empty((activities_of(len(references)), *shape), dtype)
    for i, values in enumerate(near):
        np.subtract(values, base, out=features[i])
    np.abs(features[:BUSY], out=activities[:BUSY])
    for i, offset in enumerate(at.own[:NEAREST], BUSY):
        activities[i] = own.errors.neighbours(at.phase, offset, rows)
    activities[BUSY + NEAREST] = 2 * step
    place, to = len(near), BUSY + NEAREST + 1
    here = _for_products(features[:NEAREST], ranges)
    features[place] = _along(here)
    place += 1
    for reference in references:
        around = [reference.values.neighbours(at.phase, offset, rows) for offset in at.around]
        middle = np.floor((around[1] + around[2] + around[3] + around[4]) * 0.25)
        for i, values in enumerate(around):
            np.subtract(values, middle, out=features[place + i])
        told = features[place : place + TELLING]
        most = FINENESS * ranges[0]
        features[place + LINEAR] = _alike(here, _for_products(told, ranges), step).clip(-most, most)
        np.abs(told, out=activities[to : to + TELLING])
        activities[to + TELLING] = reference.errors.neighbours(at.phase, (0, 0), rows)
        place, to = place + LINEAR + 1, to + TELLING + 1
    return Surroundings(base.reshape(-1), features.reshape(len(features), -1), activities.reshape(len(activities), -1))


def _for_products(differences: Floats, ranges: Sequence[int]) -> Floats:
    """The values in floats that hold sums of their products exactly."""
    if max(ranges) <= SMALL:
        return differences
    found = differences.astype(np.float64)
    return found if max(ranges) <= LARGEST else found.clip(-LARGEST, LARGEST)


def _along(near: Floats) -> Floats:
    """By how much the mean of the nearest along the smoother direction is above the mean across it.

    It is 0 where both are equally smooth, and nearly the whole difference where one is much smoother.
    """
    first, second, third, fourth = near
    one, other = np.abs(first - second), np.abs(third - fourth)
    above = (first + second - third - fourth) * (other - one)
    found: Floats = np.floor(above * (FINENESS / 2) / (one + other + 2).astype(np.float64))
    return found


def _alike(near: Floats, told: Floats, step: int) -> Floats:
    """By how much the pixel would be above its nearest if values were in proportion to those of a reference."""
    both = np.einsum("iyx,iyx->yx", near, told[1:])
    power = np.einsum("iyx,iyx->yx", told[1:], told[1:]) + 2 * min(step, LARGEST) ** 2
    found: Floats = np.floor(both.astype(np.float64) * (FINENESS * told[0]) / power)
    return found


@without_forks
def predict(
    at: Pass, own: Known, references: Sequence[Known], weights: PassWeights, step: int, ranges: Sequence[int]
) -> tuple[Floats, NDArray[np.uint8]]:
    """The predictions of all pixels of a pass, (h, w), from 0 to the plane's range, and their contexts."""
    height, width = own.values.size(at.phase)
    found, contexts = np.empty((height, width), own.values.dtype), np.empty((height, width), np.uint8)
    dtype = dtype_for(weights, ranges)
    values, magnitudes = weights.values.astype(dtype), weights.magnitudes.astype(dtype)
    for rows in strips(height, width):
        there = surroundings(at, own, references, step, ranges, rows, dtype)
        change = np.floor((values @ there.features + (1 << FRACTION_BITS - 1)) * 2.0**-FRACTION_BITS)
        predicted = (there.base + change).clip(0, ranges[0])
        shades = weights.shifts[shade_of(predicted, ranges[0])]
        found[rows] = predicted.reshape(-1, width)
        contexts[rows] = context_of(magnitudes @ there.activities, shades).reshape(-1, width)
    return found, contexts


def shade_of(values: Floats, top: int) -> NDArray[np.uint8]:
    """Which of the equal parts of a range values are in."""
    found: NDArray[np.uint8] = np.floor(values * SHADES / (top + 1)).astype(np.uint8)
    return found


def context_of(activity: Floats, shifts: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The context: 2 log2(activity) + 2, rounded down, at least 0. `shifts`, in eighths of an octave, are added before.

    Between whole octaves, the logarithm is linear: it is read off the exponent and the highest bits of the mantissa.
    """
    if activity.dtype == np.float32:
        eighths = (activity.view(np.int32) >> 20) - 8 * 127
    else:
        eighths = ((activity.view(np.int64) >> 49) - 8 * 1023).astype(np.int32)
    found: NDArray[np.uint8] = ((eighths + (shifts + np.int32(8))).clip(0, None) >> 2).astype(np.uint8)
    return found
