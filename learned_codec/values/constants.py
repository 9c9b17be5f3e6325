"""Areas of one exact value: the black frame of a photograph, the collar of a scene, voids that nobody declared."""

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

Ends = tuple[bool, bool, bool, bool]
"""Whether a rectangle ends at the image's edge: above, below, on the left, on the right."""


@dataclass(frozen=True)
class Constant:
    """A value of each band that is kept exactly.

    Attributes:
        values: (bands,) the value of each band, in the image's dtype.
        bands: (bands,) the bands that it concerns.
        together: whether a pixel counts only if all these bands have their value.
        areas: whether only areas count, not single pixels.
        inside: the rows and columns inside a frame, where nothing counts; None: everything counts.
    """

    values: NDArray[Any]
    bands: NDArray[np.bool_]
    together: bool = True
    areas: bool = True
    inside: tuple[slice, slice] | None = None

    def places(self, values: NDArray[Any], corner: tuple[int, int], ends: Ends) -> NDArray[np.bool_]:
        """(bands, h, w): where (bands, h, w) values of a rectangle have the constant.

        `corner` is its first row and column.

        Near the sides of the rectangle the result isn't reliable, see `areas_of`.
        """
        found = np.zeros(values.shape, bool)
        equal = values[self.bands] == self.values[self.bands, None, None]
        if self.together:
            equal = equal.all(0, keepdims=True)
        if self.inside is not None:
            rows, columns = (
                slice(max(0, part.start - start), max(0, part.stop - start))
                for part, start in zip(self.inside, corner, strict=True)
            )
            equal[:, rows, columns] = False
        if equal.any():
            found[self.bands] = areas_of(equal, ends) if self.areas else equal
        return found


def areas_of(equal: NDArray[np.bool_], ends: Ends) -> NDArray[np.bool_]:
    """The pixels of (…, h, w) that belong to areas of True.

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
