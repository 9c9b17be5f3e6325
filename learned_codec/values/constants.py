"""Areas of one exact value: the black frame of a photograph, the collar of a scene, voids that nobody declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8
"""An area holds a square of so many pixels a side, of which a part may lie beyond the image's edge."""

FRINGE = 8
"""Pixels of the value that are joined to such a square, up to so many steps away, belong to its area."""

MARGIN = SIDE - 1 + FRINGE
"""So far around a pixel lies what says whether it belongs to an area."""

Ends = tuple[bool, bool, bool, bool]
"""Whether a rectangle ends where the image does: above, below, on the left, on the right."""


@dataclass(frozen=True)
class Constant:
    """A value of each band that is kept exactly.

    Attributes:
        values: (bands,) of the image's dtype.
        bands: (bands,) which of them it concerns.
        together: whether it counts only where all of these have theirs.
        areas: whether it counts only in areas, not wherever it is found.
        inside: rows and columns in which it doesn't count, those that a frame leaves; None for none.
    """

    values: NDArray[Any]
    bands: NDArray[np.bool_]
    together: bool = True
    areas: bool = True
    inside: tuple[slice, slice] | None = None

    def places(self, values: NDArray[Any], corner: tuple[int, int], ends: Ends) -> NDArray[np.bool_]:
        """(bands, h, w): where (bands, h, w) values are it, in a rectangle with this upper left corner.

        See `areas_of` for what is near its sides.
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
    """The pixels of (…, h, w) that lie in areas of True.

    What is less than `MARGIN` pixels from a side behind which the image goes on isn't reliable.
    """
    height, width = equal.shape[-2:]
    padded = np.zeros((*equal.shape[:-2], height + 2 * SIDE, width + 2 * SIDE), bool)
    above, below, left, right = ends
    padded[..., :SIDE, :] |= above
    padded[..., SIDE + height :, :] |= below
    padded[..., :SIDE] |= left
    padded[..., SIDE + width :] |= right
    padded[..., SIDE : SIDE + height, SIDE : SIDE + width] = equal
    # A square that fits at its corner, then all that such squares cover.
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
    """Each of (…, h, w) combined with those up to `SIDE` - 1 below it and on its right; beyond the end it is False."""
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
