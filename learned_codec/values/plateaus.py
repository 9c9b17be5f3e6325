"""Plateaus: neighbouring pixels of one value, because a band's own grid is coarser than the image's.

A stack of Sentinel-2 bands has each pixel of 20 m four times, and each of 60 m 36 times. Copied to another reference
system, pixels are repeated two or three times, as it happens. A plateau has one value, so a decoder takes the mean of
its decoded pixels, which has a smaller error. And an encoder may code any other values of the same means: smooth ones,
which take far fewer bits.

Which pixels are joined is kept exactly, as the bits `LEFT` and `ABOVE`, once for all bands of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEFT, ABOVE = 1, 2
"""Bits of a join: the pixel belongs to the plateau of the one on its left, or above."""

SQUARE = 64
"""Plateaus end at multiples of this, counted from the image's corner. So windows need no pixels far away. Tiles begin
there, too."""

REACHES, DIFFERENT = (4, 8, 32), 2
"""Beside holes, neighbours up to so many pixels away tell where plateaus end. Those that differ count so many times."""

ROUNDS = 4
"""How often values are smoothed, and their means restored."""

Joins = NDArray[np.uint8]
"""(h, w): the bits of each pixel."""


@dataclass(frozen=True)
class Grid:
    """The grid of some bands.

    Attributes:
        bands: which have it.
        period: pixels per side of a plateau, if all are squares of this size; else 0.
        phases: at which row and column the first plateau begins, modulo the period.
    """

    bands: tuple[int, ...]
    period: int = 0
    phases: tuple[int, int] = (0, 0)

    def joins(self, values: NDArray[Any], corner: tuple[int, int], valid: NDArray[np.bool_] | None = None) -> Joins:
        """The joins of (bands, h, w) values whose first pixel lies at `corner` of the image.

        They also join pixels that aren't `valid`, so holes don't cut plateaus. None: all are valid.
        """
        own = values[list(self.bands)]
        there = None if valid is None else valid[list(self.bands)]
        if there is None or there.all():
            return self._ended(pairs(own)[0], corner)
        if self.period:
            return self._ended(pairs(self._filled(own, there, corner))[0], corner)
        return self._around_holes(own, there, corner)

    def _around_holes(self, own: NDArray[Any], valid: NDArray[np.bool_], corner: tuple[int, int]) -> Joins:
        """The joins of bands of which different pixels may be valid.

        Where no band tells whether neighbours are equal, most of those beside them along the edge do. All valid pixels
        of a plateau have one value all the same: if not, what was guessed in it doesn't count, and if need be, only
        what all bands tell.
        """
        equal, known = pairs(own, valid)
        choices = [self._ended(found, corner) for found in (_guessed(equal, known), equal, pairs(own)[0])]
        chosen = np.zeros(equal.shape, np.uint8)
        while True:
            found: Joins = np.choose(chosen, choices)
            mixed = Plateaus(found).mixed(own, valid) & (chosen < len(choices) - 1)
            if not mixed.any():
                return found
            chosen[mixed] += 1

    def _ended(self, found: Joins, corner: tuple[int, int]) -> Joins:
        """Joins without those across the ends of all plateaus, in place."""
        for axis, bit in ((0, ABOVE), (1, LEFT)):
            cut = self._cut(axis, found.shape[axis], corner)
            rest = np.where(cut, np.uint8(LEFT + ABOVE - bit), np.uint8(LEFT + ABOVE))
            found &= rest[:, None] if axis == 0 else rest
        return found

    def _cut(self, axis: int, length: int, corner: tuple[int, int]) -> NDArray[np.bool_]:
        """Along an axis, before which pixels all plateaus end."""
        at = np.arange(length) + corner[axis]
        cut: NDArray[np.bool_] = at % SQUARE == 0
        if self.period:
            cut |= at % self.period == self.phases[axis]
        return cut

    def _filled(self, own: NDArray[Any], valid: NDArray[np.bool_], corner: tuple[int, int]) -> NDArray[Any]:
        """(bands, h, w) values, with those that aren't valid as the others in their square, if these are all equal."""
        if valid.all():
            return own
        ends = (-np.inf, np.inf) if own.dtype.kind == "f" else (np.iinfo(own.dtype).min, np.iinfo(own.dtype).max)
        low, high = np.where(valid, own, own.dtype.type(ends[1])), np.where(valid, own, own.dtype.type(ends[0]))
        lengths = []
        for axis in (0, 1):
            cut = self._cut(axis, own.shape[1 + axis], corner)
            starts = np.union1d(0, np.flatnonzero(cut))
            lengths.append(np.diff(starts, append=len(cut)))
            low, high = np.minimum.reduceat(low, starts, 1 + axis), np.maximum.reduceat(high, starts, 1 + axis)
        low[low > high] = high[low > high] = 0  # no pixel there is valid
        equal, value = low == high, high
        for axis in (0, 1):
            equal, value = (np.repeat(part, lengths[axis], 1 + axis) for part in (equal, value))
        return np.where(~valid & equal, value, own)


def pairs(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> tuple[Joins, Joins]:
    """Of (bands, h, w) values as joins: which neighbours are equal in all bands that tell, and where any band tells.

    A band tells where both are `valid`. None: all are.
    """
    equal, known = np.zeros((2, *values.shape[1:]), np.uint8)
    for axis, bit in ((2, LEFT), (1, ABOVE)):
        ones, others = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(None, -1),)
        same = values[ones] == values[others]
        if valid is None:
            known[ones[1:]] |= np.uint8(bit)
            equal[ones[1:]] |= np.where(same.all(0), np.uint8(bit), np.uint8(0))
        else:
            told = valid[ones] & valid[others]
            known[ones[1:]] |= np.where(told.any(0), np.uint8(bit), np.uint8(0))
            equal[ones[1:]] |= np.where(told.any(0) & (same | ~told).all(0), np.uint8(bit), np.uint8(0))
    return equal, known


def _guessed(equal: Joins, known: Joins) -> Joins:
    """Joins of `pairs`, completed by what is known of neighbours near them along the edge.

    So are those that are known to be equal: few bands may tell of them, and they may be equal by chance.
    """
    found = np.zeros_like(equal)
    for axis, bit in ((0, LEFT), (1, ABOVE)):
        told, same = known & bit > 0, equal & bit > 0
        votes = np.where(told, np.where(same, 1, -DIFFERENT), 0).astype(np.int32)
        sums = np.cumsum(np.concatenate([np.zeros_like(np.take(votes, [0], axis)), votes], axis), axis)
        at, rest = np.arange(votes.shape[axis]), ~told | same
        for reach in REACHES:
            first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(at))
            near = np.take(sums, last, axis) - np.take(sums, first, axis)
            found[rest & (near > 0)] |= np.uint8(bit)
            rest &= near == 0
        found[rest] |= np.uint8(bit)
    return found


def differences(joins: Joins) -> Joins:
    """Joins as a plane that takes few bytes: each bit XOR that of the neighbour along the edge that it tells of."""
    found = joins.copy()
    found[1:] ^= joins[:-1] & LEFT
    found[:, 1:] ^= joins[:, :-1] & ABOVE
    return found


def of_differences(plane: NDArray[np.uint8]) -> Joins:
    """The inverse of `differences`, for the joins of a tile."""
    left, above = np.bitwise_xor.accumulate(plane & LEFT, 0), np.bitwise_xor.accumulate(plane & ABOVE, 1)
    found: Joins = (left | above).astype(np.uint8)
    found[:, ::SQUARE] &= np.uint8(ABOVE)
    found[::SQUARE] &= np.uint8(LEFT)
    return found


def labels(joins: Joins) -> NDArray[np.intp]:
    """(h, w) of each pixel the number of its plateau: the index of its first pixel."""
    height, width = joins.shape
    left, above = joins & LEFT > 0, joins & ABOVE > 0
    left[:, 0], above[0] = False, False
    found = np.empty((height, width), np.intp)
    columns = np.arange(width)
    for row in range(height):
        starts = np.flatnonzero(~left[row])
        numbers = row * width + starts
        if row and above[row].any():
            # A run belongs to the plateau above the first of its pixels that is joined with the one above.
            first = np.minimum.reduceat(np.where(above[row], columns, width), starts)
            joined = first < width
            numbers[joined] = found[row - 1][first[joined]]
        found[row] = np.repeat(numbers, np.diff(starts, append=width))
    return found


class Plateaus:
    """The plateaus of a rectangle, for its (h, w) joins and those of its pixels that are valid (None: all)."""

    def __init__(self, joins: Joins, valid: NDArray[np.bool_] | None = None) -> None:
        _, self._number = np.unique(labels(joins), return_inverse=True)
        self._number, self._valid = self._number.reshape(joins.shape), valid
        weights = None if valid is None else valid.reshape(-1).astype(np.float64)
        self._weights = weights
        self._counts = np.bincount(self._number.reshape(-1), weights).astype(np.float64)

    @property
    def size(self) -> float:
        """How many pixels a plateau has, on average."""
        there = self._counts > 0
        return float(self._counts[there].mean()) if there.any() else 1.0

    def mixed(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(h, w): which pixels lie in a plateau where any of some bands has several `valid` values."""
        found = np.zeros(len(self._counts), bool)
        for own, there in zip(values, valid, strict=True):
            numbers, seen = self._number[there], own[there]
            some = np.zeros(len(found), own.dtype)
            some[numbers] = seen  # any of them
            found[numbers[seen != some[numbers]]] = True
        result: NDArray[np.bool_] = found[self._number]
        return result

    def means(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(h, w) values -> of each pixel the mean of the valid ones in its plateau; 0 without any."""
        flat = values.reshape(-1).astype(np.float64)
        if self._valid is not None:
            flat[~self._valid.reshape(-1)] = 0
        sums = np.bincount(self._number.reshape(-1), flat, minlength=len(self._counts))
        found: NDArray[np.float64] = (sums / np.maximum(self._counts, 1))[self._number]
        return found

    def level(self, values: NDArray[Any]) -> None:
        """Replace (h, w) decoded values by their means, in place."""
        means = self.means(values)
        if values.dtype.kind != "f":
            np.rint(means, out=means)
        there = slice(None) if self._valid is None else self._valid
        values[there] = means[there].astype(values.dtype)

    def smoothed(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(h, w) values -> smooth ones with the same means, none of them lower or higher than all of these.

        A decoder limits each value to the range of the originals before it takes means.
        """
        weights = np.ones(values.shape, np.float32) if self._valid is None else self._valid.astype(np.float32)
        own: NDArray[np.float32] = np.where(weights > 0, values, 0).astype(np.float32)
        times = int(np.clip(round(self.size / 6), 1, 16))
        below = np.maximum(_blurred(weights, times), np.float32(1e-6))
        found: NDArray[Any] = own
        for _ in range(ROUNDS):
            smooth = _blurred(found * weights, times) / below
            found = smooth + (own - self.means(smooth)).astype(np.float32)
        there = own[weights > 0]
        if there.size:
            beyond = (weights > 0) & ((found < there.min()) | (found > there.max()))
            flat = np.bincount(self._number[beyond], minlength=len(self._counts))[self._number] > 0
            found = np.where(flat, own, found)
        return np.where(weights > 0, found, values).astype(np.float32)


def _blurred(values: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """(h, w) values, averaged with their neighbours in proportions of 1 : 2 : 1 along both axes, so many `times`."""
    for _ in range(times):
        for axis in (0, 1):
            ends = [(0, 0), (0, 0)]
            ends[axis] = (1, 1)
            wide = np.moveaxis(np.pad(values, ends, mode="edge"), axis, 0)
            values = np.moveaxis((wide[:-2] + wide[2:] + 2 * wide[1:-1]) * np.float32(0.25), 0, axis)
    return values
