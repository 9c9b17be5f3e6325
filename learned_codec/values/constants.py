"""Values that are kept exactly: areas of one value, such as a photograph's black frame, and bands of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8
"""An area contains at least one square of this many pixels a side. A part of the square may lie beyond the image's
edge."""

FRINGE = 8
"""Pixels of the same value that are connected to such a square, up to this many steps away, belong to its area."""

MARGIN = SIDE - 1 + FRINGE
"""Whether a pixel belongs to an area depends on the pixels up to this far away."""

Corner = tuple[int, int]
"""The row and the column in the image at which a rectangle begins."""

Ends = tuple[bool, bool, bool, bool]
"""Whether a rectangle ends at the image's edge: above, below, on the left, on the right."""


@dataclass(frozen=True)
class Border:
    """The areas of one value that reach an image's edge.

    Attributes:
        cells: (1 or bands, h, w), for each square of `SIDE` pixels a side whether such an area lies in it or beside it.
    """

    cells: NDArray[np.bool_]

    @classmethod
    def of(cls, filled: NDArray[np.bool_]) -> Border:
        """The border by `filled` (1 or bands, h, w): for each square, whether all its pixels have the value."""
        reached = np.zeros_like(filled)
        reached[:, [0, -1]] = reached[:, :, [0, -1]] = True
        reached &= filled
        count = -1
        while count != (count := int(reached.sum())):
            for axes in ((0, 1, 2), (0, 2, 1)):  # a stretch of filled squares is reached as a whole
                free, there = filled.transpose(axes), reached.transpose(axes)
                stretch = np.cumsum(np.pad(~free, ((0, 0), (0, 0), (1, 0)), constant_values=True)).reshape(
                    *free.shape[:2], -1
                )[..., 1:]
                hit = np.bincount(stretch[there], minlength=stretch.max(initial=0) + 1) > 0
                reached = (hit[stretch] & free).transpose(axes)
        # The border also includes thin lines along the edge, so the outermost squares are always included.
        ring = np.pad(reached, ((0, 0), (1, 1), (1, 1)), constant_values=True)
        tall = ring[:, :-2] | ring[:, 1:-1] | ring[:, 2:]
        near: NDArray[np.bool_] = tall[..., :-2] | tall[..., 1:-1] | tall[..., 2:]
        return cls(near)

    def places(self, equal: NDArray[np.bool_], corner: Corner, ends: Ends) -> NDArray[np.bool_]:
        """Which pixels of `equal` (1 or bands, h, w), where the value is, belong to the border; see `areas_of`."""
        rows, columns = (np.arange(start, start + n) // SIDE for start, n in zip(corner, equal.shape[1:], strict=True))
        return areas_of(equal, ends, self.cells[:, rows[:, None], columns])


@dataclass(frozen=True)
class Constant:
    """A value of each band that is kept exactly.

    Attributes:
        values: (bands,) the value of each band, in the image's dtype.
        bands: (bands,) the bands that it concerns. A pixel counts only if all these bands have their value.
        border: where the border is, if only that counts; None: every pixel counts.
        inside: the rows and columns inside a frame, where nothing counts; None: everything counts.
    """

    values: NDArray[Any]
    bands: NDArray[np.bool_]
    border: Border | None = None
    inside: tuple[slice, slice] | None = None

    def fits(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """(1, h, w): where no band of the constant has another value. What isn't `valid` has none; None: all is."""
        same = values[self.bands] == self.values[self.bands, None, None]
        if valid is not None:
            same |= ~valid[self.bands]
        found: NDArray[np.bool_] = same.all(0, keepdims=True)
        return found

    def equal(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """(1, h, w): where it `fits`, and at least one of its bands has a value."""
        found = self.fits(values, valid)
        return found if valid is None else found & valid[self.bands].any(0)

    def places(
        self, values: NDArray[Any], valid: NDArray[np.bool_] | None, corner: Corner, ends: Ends
    ) -> NDArray[np.bool_]:
        """(bands, h, w): where the constant counts in a rectangle of (bands, h, w) values.

        Near the sides of the rectangle the result isn't reliable, see `areas_of`.
        """
        found, equal = np.zeros(values.shape, bool), self.equal(values, valid)
        if self.inside is not None:
            rows, columns = (
                slice(max(0, part.start - start), max(0, part.stop - start))
                for part, start in zip(self.inside, corner, strict=True)
            )
            equal[:, rows, columns] = False
        if equal.any():
            if self.border is not None:
                equal &= self.border.places(self.fits(values, valid), corner, ends)
            found[self.bands] = equal
        return found


@dataclass(frozen=True)
class ExactBand:
    """A band of few values, such as classes, of which all are kept exactly.

    Attributes:
        band: its number, from 0.
        values: (n,) all its values, rising, in the image's dtype.
    """

    band: int
    values: NDArray[Any]


def areas_of(equal: NDArray[np.bool_], ends: Ends, near: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """The pixels of (…, h, w) that belong to areas of True; with `near`, only to areas that have pixels there.

    Pixels less than `MARGIN` from a side are not reliable, unless the image ends there.
    """
    height, width = equal.shape[-2:]
    padded = np.zeros((*equal.shape[:-2], height + 2 * SIDE, width + 2 * SIDE), bool)
    above, below, left, right = ends
    padded[..., :SIDE, :] |= above
    padded[..., SIDE + height :, :] |= below
    padded[..., :SIDE] |= left
    padded[..., SIDE + width :] |= right
    padded[..., SIDE : SIDE + height, SIDE : SIDE + width] = equal
    # First the corners at which a square fits, then all pixels that these squares cover.
    corners = _along(padded, np.logical_and)
    found: NDArray[np.bool_] = np.flip(_along(np.flip(corners, (-2, -1)), np.logical_or), (-2, -1))
    found = found[..., SIDE : SIDE + height, SIDE : SIDE + width] & equal
    if near is not None:
        found &= near
    for _ in range(FRINGE):
        grown = found.copy()
        grown[..., 1:, :] |= found[..., :-1, :]
        grown[..., :-1, :] |= found[..., 1:, :]
        grown[..., 1:] |= found[..., :-1]
        grown[..., :-1] |= found[..., 1:]
        grown &= equal
        if (grown == found).all():
            break
        found = grown
    return found


def _along(bits: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Combine each of (…, h, w) with those up to `SIDE` - 1 below it and on its right. Beyond the end is False."""
    for axis in (-2, -1):
        turned = bits.swapaxes(axis, -2)
        reach = 1
        while reach < SIDE:  # which is a power of two
            shifted = np.zeros_like(turned)
            shifted[..., :-reach, :] = turned[..., reach:, :]
            turned = combine(turned, shifted)
            reach *= 2
        bits = turned.swapaxes(axis, -2)
    return bits
