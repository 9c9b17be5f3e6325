"""The encoder's part of prediction: which planes predict each other, and the weights for a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

from .lattice import PASSES, Level, Pass, Plane, levels_of
from .predictor import (
    FRACTION_BITS,
    Known,
    PassWeights,
    activities_of,
    dtype_for,
    features_of,
    surroundings,
)

SAMPLES = 2**13
"""Weights are fitted to at most this many pixels of a pass."""

ENOUGH = 2**13
"""Pixels of a plane for each pixel of the coarsest level that has weights of its own."""

MOST_SETS = 4

FEW = 2**11
"""In planes of fewer pixels, fitted weights aren't worth their bytes."""

STRETCHES = 4
"""Parts of a plane that these are in."""

RIDGE = 1e-4
ROUNDS = 12

HELPFUL = 0.3
"""The least correlation of a plane that is used as a reference."""

Chosen = list[tuple[int, tuple[int, ...]]]
"""Planes in the order of coding: the index of each, and its references' places in that order."""


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


def fit(
    plane: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
    error: int,
    top: int,
    references: Sequence[dict[int, Known]],
    ranges: Sequence[int],
) -> list[list[PassWeights]]:
    """The weights of a plane: of each set, those of its passes.

    The last set serves all levels from its own on. What is known at a level is taken to be the plane itself, as coarse
    as the bound makes it.
    """
    height, width = plane.shape
    if height * width < FEW or min(height, width) < 8:
        return [[plain(step, len(references)) for step in PASSES]]
    count = 1
    while count < min(MOST_SETS, levels_of(height, width)) and height * width >= ENOUGH << 2 * count:
        count += 1
    coarse = plane if error == 0 else (plane + error) // (2 * error + 1) * (2 * error + 1)
    known = coarse.clip(0, top).astype(np.float64)
    found = []
    for level in range(count):
        place = slice(None, None, 1 << level), slice(None, None, 1 << level)
        real = None if valid is None else valid[place]
        found.append(_fit_level(known[place], plane[place], real, [r[level] for r in references], error))
    weights = [weights for passes in found for weights in passes]
    try:
        dtype_for(weights, ranges)
    except CorruptDataError:
        return [[plain(step, len(references)) for step in PASSES]]
    return found


def plain(step: Pass, references: int) -> PassWeights:
    """The mean of the nearest, and as much above it as the first reference is."""
    values = np.zeros(features_of(step, references), np.int16)
    if references:
        values[len(step.own)] = 1 << FRACTION_BITS
    return PassWeights(values, np.full(activities_of(references), 16, np.uint8))


def _fit_level(
    known: Plane,
    targets: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
    references: Sequence[Known],
    error: int,
) -> list[PassWeights]:
    """The weights of a level's passes, by a few stretches of rows."""
    whole, width = Level.of(known), known.shape[1]
    stretches = []
    for top, height in _stretches(*known.shape):
        own = Known(whole.crop(top, height), Level(height, width, known.dtype))
        own.errors.put((0, 0), np.zeros(own.errors.size((0, 0))))
        others = [Known(r.values.crop(top, height), r.errors.crop(top, height)) for r in references]
        rows = slice(top, top + height)
        stretches.append((own, others, targets[rows], None if valid is None else valid[rows]))
    return [_fit(step, stretches, error) for step in PASSES]


def _stretches(height: int, width: int) -> list[tuple[int, int]]:
    """First rows, even, and heights."""
    rows = max(2, 4 * SAMPLES // STRETCHES // width // 2 * 2)
    if rows * STRETCHES >= height:
        return [(0, height)]
    return [(int(top) // 2 * 2, rows) for top in np.linspace(0, height - rows, STRETCHES)]


Stretch = tuple[Known, list[Known], NDArray[np.int64], NDArray[np.bool_] | None]


def _fit(step: Pass, stretches: Sequence[Stretch], error: int) -> PassWeights:
    """The weights of one pass at one level; notes in the stretches how far off they are there."""
    references = len(stretches[0][1])
    found, place = [], (slice(step.phase[0], None, 2), slice(step.phase[1], None, 2))
    for own, others, targets, valid in stretches:
        if 0 in own.values.size(step.phase):
            return plain(step, references)
        base, features, activities = surroundings(step, own, others, slice(None), np.dtype(np.float64))
        wanted = targets[place].reshape(-1) - base
        real = slice(None) if valid is None else valid[place].reshape(-1)
        found.append((features, activities, wanted, real))
    features = np.concatenate([one[:, real] for one, _, _, real in found], 1)
    activities = np.concatenate([one[:, real] for _, one, _, real in found], 1)
    wanted = np.concatenate([one[real] for _, _, one, real in found])
    if wanted.size < 2 * len(features):
        return plain(step, references)
    values = _least_squares(features, wanted)
    # What is coded is the logarithm of errors, so they count in proportion to how large they are around there.
    scale = _scales(activities, np.abs(wanted - values @ features / (1 << FRACTION_BITS))) @ activities
    share = 1 / (scale + 0.3 * scale.mean() + 0.5 + 2 * error)
    values = _least_squares(features * share, wanted * share)
    weights = PassWeights(
        values, _rounded(_scales(activities, np.abs(wanted - values @ features / (1 << FRACTION_BITS))))
    )
    for (own, *_), (told, _, target, _) in zip(stretches, found, strict=True):
        off = np.abs(target - values @ told / (1 << FRACTION_BITS))
        own.errors.put(step.phase, off.reshape(own.errors.size(step.phase)))
    return weights


def _least_squares(features: Plane, wanted: Plane) -> NDArray[np.int16]:
    """int16 (features,), in 256ths."""
    products = features @ features.T
    size = np.trace(products) / len(products)
    products[np.diag_indices_from(products)] += RIDGE * size + 1e-9
    found = np.linalg.solve(products, features @ wanted)
    limits = np.iinfo(np.int16)
    rounded: NDArray[np.int16] = np.rint(found * (1 << FRACTION_BITS)).clip(limits.min, limits.max).astype(np.int16)
    return rounded


def _scales(activities: Plane, off: Plane) -> NDArray[np.float64]:
    """(activities,): weights by which activities tell a Laplace's scale, as likely as can be."""
    known, target = activities + 1e-3, off + 0.05
    weights: NDArray[np.float64] = np.full(len(known), target.mean() / known.mean() / len(known))
    for _ in range(ROUNDS):
        scale = weights @ known
        weights *= (known @ (target / scale**2)) / (known @ (1 / scale))
    return weights


def _rounded(weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8, the largest of them 255."""
    rounded: NDArray[np.uint8] = np.rint(weights * (255 / weights.max())).astype(np.uint8)
    return rounded


__all__ = ["Chosen", "fit", "order_of", "plain"]
