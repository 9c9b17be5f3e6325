"""Planes of integers into residuals and back, within a bound, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fit import fit, pays, plain, sets_for
from .lattice import PASSES, Floats, Level, Pass, coarse_to_fine, size_at
from .predictor import Known, PassWeights, predict
from .residuals import Histograms, ResidualDecoder, ResidualEncoder, Tables, runs_of

Levels = dict[int, Known]
"""A plane that is known, by level."""


@dataclass(frozen=True)
class PlaneModel:
    """What a decoder needs of a plane beside its residuals.

    Attributes:
        first: the value of the first pixel.
        weights: of each set, those of its three passes. Level l has set l, and the last set all above.
        tables: of each set, those of its three passes.
    """

    first: int
    weights: list[list[PassWeights]]
    tables: list[list[Tables]]


class _PlaneState:
    """A plane while it is coded, one level at a time."""

    def __init__(self, height: int, width: int, first: int, top: int) -> None:
        self.height, self.width = height, width
        dtype = storage(top)
        self._values = np.full((1, 1), first, dtype)
        self._errors = np.zeros((1, 1), dtype)
        self.levels: Levels = {}

    def descend(self, level: int) -> Known:
        """The next level, of which the pixels of the level above are known."""
        shape = size_at(self.height, level), size_at(self.width, level)
        known = Known(Level(*shape, self._values.dtype), Level(*shape, self._values.dtype))
        known.values.put((0, 0), self._values)
        known.errors.put((0, 0), self._errors)
        self.levels[level] = known
        return known

    def note(self, known: Known, step: Pass, values: Floats, predicted: Floats) -> None:
        """Note the decoded values of a pass."""
        known.values.put(step.phase, values)
        known.errors.put(step.phase, np.abs(values - predicted))

    def finish(self, known: Known) -> None:
        """Finish a level, after all of its passes."""
        self._values, self._errors = known.values.whole(), known.errors.whole()

    @property
    def values(self) -> Floats:
        """The values of the last level that was finished."""
        return self._values


@dataclass(frozen=True)
class PlaneSource:
    """A plane to be coded.

    Attributes:
        numbers: (h, w), from 0 to `ranges[0]`.
        valid: (h, w), the pixels that count; None if all do.
        error: the most by which a decoded number may differ.
        references: planes that are known.
        ranges: the largest differences of numbers, here and in each reference.
    """

    numbers: Floats
    valid: NDArray[np.bool_] | None
    error: int
    references: Sequence[Levels]
    ranges: Sequence[int]

    @property
    def step(self) -> int:
        """Residuals are in such steps."""
        return 2 * self.error + 1

    @property
    def first(self) -> int:
        """The number of the first pixel."""
        return int(self.numbers[0, 0])

    def start(self) -> _PlaneState:
        """What is known before anything is coded."""
        height, width = self.numbers.shape
        return _PlaneState(height, width, self.first, self.ranges[0])


def storage(top: int) -> np.dtype[np.floating]:
    """The floats that hold sums of four numbers exactly."""
    return np.dtype(np.float32 if top < 2**21 else np.float64)


def encode_plane(source: PlaneSource, coder: ResidualEncoder) -> tuple[PlaneModel, Levels]:
    """Code a plane; returns its model, and the decoded plane by level."""
    count = sets_for(*source.numbers.shape)
    sets = [_plain(source) for _ in range(count)]
    if pays(*source.numbers.shape):
        sets[-1] = _fit_coarse(source, count - 1)
    found = source.start()
    histograms = [[Histograms() for _ in PASSES] for _ in sets]
    groups = []
    for level, passes in coarse_to_fine(*source.numbers.shape):
        known, place = found.descend(level), min(level, count - 1)
        for at in passes:
            number = _number(at)
            if level < count - 1:
                sets[level][number] = _fit(source, level, at, known)
            residuals, contexts = _code(source, found, level, at, known, sets[place][number])
            order, runs = runs_of(contexts)
            ordered = residuals[order].astype(np.int64)
            histograms[place][number].add(ordered, runs)
            groups.append((ordered, runs, place, number))
        found.finish(known)
    tables = [[one.tables() for one in passes] for passes in histograms]
    for ordered, runs, place, number in groups:
        coder.push(ordered, runs, tables[place][number])
    return PlaneModel(source.first, sets, tables), found.levels


def _plain(source: PlaneSource) -> list[PassWeights]:
    return [plain(at, len(source.references)) for at in PASSES]


def _fit_coarse(source: PlaneSource, level: int) -> list[PassWeights]:
    """The weights of the last set, fitted to `level`, the lowest level that uses it.

    For that, the levels above are coded with plain weights; in the file they use the fitted ones, too.
    """
    sets = _plain(source)
    found = source.start()
    for coarse, passes in coarse_to_fine(*source.numbers.shape):
        known = found.descend(coarse)
        for at in passes:
            weights = sets[_number(at)]
            if coarse == level:
                weights = sets[_number(at)] = _fit(source, level, at, known)
            _code(source, found, coarse, at, known, weights)
        if coarse == level:
            break
        found.finish(known)
    return sets


def _fit(source: PlaneSource, level: int, at: Pass, known: Known) -> PassWeights:
    """Weights for a pass whose surroundings are all known."""
    place = _place(level, at)
    valid = None if source.valid is None else source.valid[place]
    references = [reference[level] for reference in source.references]
    return fit(at, known, references, source.numbers[place], valid, source.step, source.ranges)


def _code(
    source: PlaneSource, found: _PlaneState, level: int, at: Pass, known: Known, weights: PassWeights
) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """The residuals of a pass and their contexts, (n,); notes what a decoder will know."""
    references = [reference[level] for reference in source.references]
    predicted, contexts = predict(at, known, references, weights, source.step, source.ranges)
    place = _place(level, at)
    residuals = np.floor((source.numbers[place] - predicted + source.error) / source.step)
    valid = None if source.valid is None else source.valid[place]
    if valid is not None:
        residuals[~valid] = 0
    found.note(known, at, _within(predicted, residuals, source.step, source.ranges[0]), predicted)
    if valid is not None:
        return residuals[valid], contexts[valid]
    return residuals.reshape(-1), contexts.reshape(-1)


def _within(predicted: Floats, residuals: NDArray[np.floating], step: int, top: int) -> Floats:
    """The numbers that residuals mean."""
    found: Floats = (predicted + residuals * step).clip(0, top).astype(predicted.dtype, copy=False)
    return found


def decode_plane(
    model: PlaneModel,
    shape: tuple[int, int],
    valid: NDArray[np.bool_] | None,
    error: int,
    references: Sequence[Levels],
    ranges: Sequence[int],
    coder: ResidualDecoder,
) -> tuple[Levels, Floats]:
    """Decode a plane of `encode_plane`, by level and whole. Raises `CorruptDataError`."""
    step, found = 2 * error + 1, _PlaneState(*shape, model.first, ranges[0])
    for level, passes in coarse_to_fine(*shape):
        known, place = found.descend(level), min(level, len(model.weights) - 1)
        for at in passes:
            number = _number(at)
            others = [reference[level] for reference in references]
            predicted, contexts = predict(at, known, others, model.weights[place][number], step, ranges)
            if valid is None:
                read = coder.pop(contexts.reshape(-1), model.tables[place][number]).reshape(contexts.shape)
            else:
                real = valid[_place(level, at)]
                read = np.zeros(contexts.shape)
                read[real] = coder.pop(contexts[real], model.tables[place][number])
            found.note(known, at, _within(predicted, read, step, ranges[0]), predicted)
        found.finish(known)
    return found.levels, found.values


def _number(step: Pass) -> int:
    """Which of the three passes it is."""
    return {(1, 1): 0, (0, 1): 1, (1, 0): 2}[step.phase]


def _place(level: int, step: Pass) -> tuple[slice, slice]:
    """Where the pixels of a pass are in their plane."""
    distance = 1 << level
    return slice(step.phase[0] * distance, None, 2 * distance), slice(step.phase[1] * distance, None, 2 * distance)
