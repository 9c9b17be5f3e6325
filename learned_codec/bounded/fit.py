"""The encoder's part of prediction: which planes predict each other, and the weights for a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError
from learned_codec.forks import without_forks

from .lattice import Floats, Pass, levels_of
from .predictor import (
    FRACTION_BITS,
    SHADES,
    Known,
    PassWeights,
    activities_of,
    dtype_for,
    features_of,
    shade_of,
    surroundings,
)

SAMPLES = 2**13
"""Weights are fitted to about this many pixels of a pass, in rows that are spread over it."""

ENOUGH = 2**13
"""A level has weights of its own if it has at least this many pixels."""

FITTED_SETS = 4
"""The most sets of weights that are fitted; the format allows twice as many."""

FEW = 2**11
"""In planes of fewer pixels, fitted weights aren't worth their bytes."""

RIDGE = 1e-4
"""What is added to the least squares so that they have one solution, as a share of the features' mean square."""

TURNS, ROUNDS = 4, 4
"""The number of turns in which weights are fitted, and of rounds in each for the scales of errors."""

SEEN, MOST_SHIFT = 20, 32
"""The fewest pixels from which the shift of a shade is taken, and the largest shift, in eighths of an octave."""

HELPFUL = 0.3
"""The least correlation of a plane that is used as a reference."""

Chosen = list[tuple[int, tuple[int, ...]]]
"""Planes in the order of coding: the index of each, and its references' places in that order."""


@without_forks
def order_of(planes: Sequence[NDArray[np.int64]]) -> Chosen:
    """The order in which planes are coded, and for each the references among those before it."""
    if len(planes) == 1:
        return [(0, ())]
    rows = max(1, planes[0].shape[0] * planes[0].shape[1] // 2**15)
    slopes = np.array([np.diff(plane[::rows].astype(np.float64), axis=1).reshape(-1) for plane in planes])
    if not slopes.size:
        return [(number, ()) for number in range(len(planes))]
    # Outliers would dominate the fit.
    size = np.abs(slopes).mean(1, keepdims=True) + 1e-9
    slopes = np.tanh(slopes / (4 * size))
    norms = np.sqrt((slopes**2).sum(1)) + 1e-9
    alike = np.abs(slopes @ slopes.T) / np.outer(norms, norms)
    chosen: Chosen = [(int(np.argmax(alike.sum(1))), ())]
    while len(chosen) < len(planes):
        there = [number for number, _ in chosen]
        nearest = alike[:, there].max(1)
        nearest[there] = -1
        number = int(np.argmax(nearest))
        ranked = sorted(range(len(there)), key=lambda place: (-alike[number, there[place]], place))
        chosen.append((number, tuple(place for place in ranked[:2] if alike[number, there[place]] > HELPFUL)))
    return chosen


def pays(height: int, width: int) -> bool:
    """Whether a plane is large enough for fitted weights."""
    return height * width >= FEW and min(height, width) >= 8


def sets_for(height: int, width: int) -> int:
    """How many levels have weights of their own, the last of them for all above it, too."""
    count = 1
    while count < min(FITTED_SETS, levels_of(height, width)) and height * width >= ENOUGH << 2 * count:
        count += 1
    return count


def plain(at: Pass, references: int) -> PassWeights:
    """Weights for the mean of the nearest, plus the difference of the first reference from its own mean."""
    values = np.zeros(features_of(at, references), np.int16)
    if references:
        values[len(at.own) + 1] = 1 << FRACTION_BITS
    return PassWeights(values, np.full(activities_of(references), 16, np.uint8), np.zeros(SHADES, np.int8))


def fit(
    at: Pass,
    own: Known,
    references: Sequence[Known],
    targets: Floats,
    valid: NDArray[np.bool_] | None,
    step: int,
    ranges: Sequence[int],
) -> PassWeights:
    """Weights that predict the `targets` (h, w) of a pass. Only `valid` ones count.

    Residuals are in steps of `step`, and `ranges` are what `dtype_for` takes.
    """
    every = -(-targets.size // SAMPLES)
    rows = slice(min(every, len(targets)) // 2, None, every)
    there = surroundings(at, own, references, step, ranges, rows, own.values.dtype)
    features, activities, wanted = there.features, there.activities, targets[rows].reshape(-1) - there.base
    shades = shade_of(there.base, ranges[0])
    if valid is not None:
        real = valid[rows].reshape(-1)
        features, activities, wanted, shades = features[:, real], activities[:, real], wanted[real], shades[real]
    if wanted.size < 2 * len(features):
        return plain(at, len(references))
    weights = _fitted(features, activities, wanted, step, shades)
    try:
        dtype_for(weights, ranges)
    except CorruptDataError:
        return plain(at, len(references))
    return weights


@without_forks
def _fitted(features: Floats, activities: Floats, wanted: Floats, step: int, shades: NDArray[np.uint8]) -> PassWeights:
    """Weights for the least sum of |error| / scale, whose logarithm is about the number of bits.

    Found by least squares, weighted anew in each turn.
    """
    magnitudes, scale = np.full(len(activities), 1 / len(activities), wanted.dtype), activities.mean(0)
    off = np.zeros_like(wanted)
    for turn in range(TURNS):
        share = 1 / (scale + 0.1 * scale.mean() + step - 0.5)
        if turn:
            share /= np.sqrt(off * share + 0.3)
        values = _least_squares(features * share, wanted * share)
        off = np.abs(wanted - values.astype(wanted.dtype) @ features * wanted.dtype.type(2.0**-FRACTION_BITS))
        magnitudes = _scales(activities, off, magnitudes, ROUNDS)
        scale = magnitudes @ activities
    return PassWeights(values, _rounded(magnitudes), _shifts((off + 0.05) / scale, shades))


def _least_squares(features: Floats, wanted: Floats) -> NDArray[np.int16]:
    """int16 (features,), in 256ths."""
    products = (features @ features.T).astype(np.float64)
    size = np.trace(products) / len(products)
    products[np.diag_indices_from(products)] += RIDGE * size + 1e-9
    found = np.linalg.solve(products, features @ wanted)
    limits = np.iinfo(np.int16)
    rounded: NDArray[np.int16] = np.rint(found * (1 << FRACTION_BITS)).clip(limits.min, limits.max).astype(np.int16)
    return rounded


def _scales(activities: Floats, off: Floats, weights: Floats, rounds: int) -> Floats:
    """(activities,) weights of activities: their weighted sum is the scale of the Laplace distribution of errors `off`.

    They are found by maximum likelihood, in `rounds` steps that begin at `weights`.
    """
    target = off + 0.05
    for _ in range(rounds):
        scale = weights @ activities
        weights = weights * (activities @ (target / scale**2)) / (activities @ (1 / scale) + 1e-9)
    return weights


def _shifts(off: Floats, shades: NDArray[np.uint8]) -> NDArray[np.int8]:
    """int8 (SHADES,): the log2, in eighths, of errors over expected ones for each shade; 0 for shades of few pixels."""
    counts = np.bincount(shades, minlength=SHADES)
    sums = np.bincount(shades, off, SHADES)
    usual = counts >= SEEN
    found = np.zeros(SHADES, np.int8)
    found[usual] = np.rint(8 * np.log2(sums[usual] / counts[usual])).clip(-MOST_SHIFT, MOST_SHIFT)
    return found


def _rounded(weights: Floats) -> NDArray[np.uint8]:
    """uint8, the largest of them 255."""
    rounded: NDArray[np.uint8] = np.rint(weights * (255 / weights.max())).astype(np.uint8)
    return rounded


__all__ = ["Chosen", "fit", "order_of", "pays", "plain", "sets_for"]
