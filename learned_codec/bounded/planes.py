"""Planes of integers into residuals and back, within a bound, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fit import fit
from .lattice import Level, Pass, Plane, coarse_to_fine, size_at
from .predictor import Known, PassWeights, dtype_for, predict
from .residuals import Histograms, ResidualDecoder, ResidualEncoder, Tables, runs_of

Levels = dict[int, Known]
"""A plane that is known, by level."""


@dataclass(frozen=True)
class PlaneModel:
    """What a decoder needs of a plane beside its residuals.

    Attributes:
        error: the most by which a decoded value may differ.
        first: the value of the first pixel.
        weights: of each set, those of its three passes. Level l has set l, and the last set all above.
        tables: of each set, those of its three passes.
    """

    error: int
    first: int
    weights: list[list[PassWeights]]
    tables: list[list[Tables]]


class _Plane:
    """A plane while it is coded, one level at a time."""

    def __init__(self, height: int, width: int, first: int, dtype: np.dtype[np.floating]) -> None:
        self.height, self.width, self.dtype = height, width, dtype
        self._values = np.full((1, 1), first, dtype)
        self._errors = np.zeros((1, 1), dtype)
        self.levels: Levels = {}

    def descend(self, level: int) -> Known:
        """The next level, of which the pixels of the level above are known."""
        shape = size_at(self.height, level), size_at(self.width, level)
        known = Known(Level(*shape, self.dtype), Level(*shape, self.dtype))
        known.values.put((0, 0), self._values)
        known.errors.put((0, 0), self._errors)
        self.levels[level] = known
        return known

    def note(self, known: Known, step: Pass, values: Plane, predicted: Plane) -> None:
        """What became of a pass."""
        known.values.put(step.phase, values)
        known.errors.put(step.phase, np.abs(values - predicted))

    def finish(self, known: Known) -> None:
        """All passes of a level are done."""
        self._values, self._errors = known.values.whole(), known.errors.whole()

    @property
    def values(self) -> Plane:
        """Of the last level that was finished."""
        return self._values


def encode_plane(
    plane: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
    error: int,
    top: int,
    references: Sequence[Levels],
    ranges: Sequence[int],
    coder: ResidualEncoder,
) -> tuple[PlaneModel, Levels, Plane]:
    """Code a plane of values from 0 to `top`; returns its model, and the decoded plane by level and whole.

    Only `valid` values count. `ranges` are the largest differences of values, here and in each reference.
    """
    weights = fit(plane, valid, error, top, references, ranges)
    dtype = dtype_for([w for passes in weights for w in passes], ranges)
    found = _Plane(plane.shape[0], plane.shape[1], int(plane[0, 0]), dtype)
    histograms = [[Histograms() for _ in passes] for passes in weights]
    groups = []
    for level, passes in coarse_to_fine(*plane.shape):
        known, place = found.descend(level), min(level, len(weights) - 1)
        for step in passes:
            number = _number(step)
            predicted, contexts = predict(
                step, known, [r[level] for r in references], weights[place][number], top, dtype
            )
            at = _place(level, step)
            wanted = plane[at].astype(dtype)
            residuals = np.floor((wanted - predicted + error) / (2 * error + 1))
            if valid is not None:
                residuals[~valid[at]] = 0
            values = (predicted + residuals * (2 * error + 1)).clip(0, top)
            found.note(known, step, values, predicted)
            coded, told = residuals, contexts
            if valid is not None:
                coded, told = residuals[valid[at]], contexts[valid[at]]
            order, runs = runs_of(told.reshape(-1))
            ordered = coded.reshape(-1)[order].astype(np.int64)
            histograms[place][number].add(ordered, runs)
            groups.append((ordered, runs, place, number))
        found.finish(known)
    tables = [[one.tables() for one in passes] for passes in histograms]
    for ordered, runs, place, number in groups:
        coder.push(ordered, runs, tables[place][number])
    return PlaneModel(error, int(plane[0, 0]), weights, tables), found.levels, found.values


def decode_plane(
    model: PlaneModel,
    shape: tuple[int, int],
    valid: NDArray[np.bool_] | None,
    top: int,
    references: Sequence[Levels],
    ranges: Sequence[int],
    coder: ResidualDecoder,
) -> tuple[Levels, Plane]:
    """Decode a plane of `encode_plane`. Raises `CorruptDataError`."""
    dtype = dtype_for([w for passes in model.weights for w in passes], ranges)
    found = _Plane(*shape, model.first, dtype)
    for level, passes in coarse_to_fine(*shape):
        known, place = found.descend(level), min(level, len(model.weights) - 1)
        for step in passes:
            number = _number(step)
            predicted, contexts = predict(
                step, known, [r[level] for r in references], model.weights[place][number], top, dtype
            )
            if valid is None:
                read = coder.pop(contexts.reshape(-1), model.tables[place][number]).reshape(contexts.shape)
            else:
                real = valid[_place(level, step)]
                read = np.zeros(contexts.shape)
                read[real] = coder.pop(contexts[real], model.tables[place][number])
            values = (predicted + read * (2 * model.error + 1)).clip(0, top).astype(dtype, copy=False)
            found.note(known, step, values, predicted)
        found.finish(known)
    return found.levels, found.values


def _number(step: Pass) -> int:
    """Which of the three passes it is."""
    return {(1, 1): 0, (0, 1): 1, (1, 0): 2}[step.phase]


def _place(level: int, step: Pass) -> tuple[slice, slice]:
    """Where the pixels of a pass are in their plane."""
    distance = 1 << level
    return slice(step.phase[0] * distance, None, 2 * distance), slice(step.phase[1] * distance, None, 2 * distance)
