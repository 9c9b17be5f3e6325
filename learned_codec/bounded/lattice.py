"""The order in which a plane is coded: from one pixel down to all, each level halving the distance in three passes.

Level l has every 2^l-th row and column. The pixels of even row and column are the level above. The passes add those of
odd row and column, then of even row and odd column, then of odd row and even column; each pixel is predicted from its
neighbours on all sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property

Floats = NDArray[np.floating]
"""Integers in float32 or float64: the numbers of a plane, and what is computed from them."""

Phase = tuple[int, int]
"""The parity of row and column."""

Offset = tuple[int, int]

MARGIN = 2
"""Pixels of the own phase that the neighbours of a pixel reach beyond it."""


@dataclass(frozen=True)
class Pass:
    """The pixels of one phase, and where their neighbours lie in their own plane.

    The four nearest come first: one, the one opposite to it, and the same across.
    """

    phase: Phase
    known: tuple[Phase, ...]
    own: tuple[Offset, ...]

    @cached_property
    def around(self) -> tuple[Offset, ...]:
        """Where neighbours lie in another plane, of which everything is known: the pixel, the four nearest, others."""
        return ((0, 0), *self.own[:NEAREST], *(offset for offset in EIGHT if offset not in self.own[:NEAREST]))


PASSES = (
    Pass(
        (1, 1),
        ((0, 0),),
        ((-1, -1), (1, 1), (-1, 1), (1, -1), (-1, -3), (-1, 3), (1, -3), (1, 3), (-3, -1), (-3, 1), (3, -1), (3, 1)),
    ),
    Pass(
        (0, 1),
        ((0, 0), (1, 1)),
        ((0, -1), (0, 1), (-1, 0), (1, 0), (0, -3), (0, 3), (-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2),
         (1, -2), (1, 2)),
    ),
    Pass(
        (1, 0),
        ((0, 0), (1, 1), (0, 1)),
        ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1), (-2, -1), (-2, 1), (2, -1), (2, 1),
         (-1, -2), (-1, 2), (1, -2), (1, 2)),
    ),
)  # fmt: skip

NEAREST = 4
"""How many of the neighbours count as the nearest: the first ones."""

EIGHT = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Where the pixels around one lie."""


def levels_of(height: int, width: int) -> int:
    """How many levels there are above the one with all pixels, up to the one with a single pixel."""
    return (max(height, width) - 1).bit_length()


def size_at(length: int, level: int) -> int:
    """How many of a number of rows or columns are in a level."""
    return -(-length >> level)


class Level:
    """One level of a plane while it is coded, by phases. Each phase has its edges repeated all around.

    A phase without pixels, at the edge of the smallest planes, stands for the phase (0, 0).
    """

    def __init__(self, height: int, width: int, dtype: np.dtype[np.floating]) -> None:
        self.shape = height, width
        self.dtype = dtype
        self._phases: dict[Phase, Floats] = {}

    def size(self, phase: Phase) -> tuple[int, int]:
        """Rows and columns of a phase."""
        return (self.shape[0] + 1 - phase[0]) // 2, (self.shape[1] + 1 - phase[1]) // 2

    def put(self, phase: Phase, values: Floats) -> None:
        """The values of a phase, without the repeated edges."""
        self._phases[phase] = _framed(values, self.size((0, 0)))

    def neighbours(self, phase: Phase, offset: Offset, rows: slice) -> Floats:
        """The values so far from the pixels of some rows of a phase; a view."""
        y, x = phase[0] + offset[0], phase[1] + offset[1]
        found = self._phases.get((y & 1, x & 1))
        if found is None:
            found = self._phases[0, 0]
        top, left = MARGIN + (y >> 1), MARGIN + (x >> 1)
        height, width = self.size(phase)
        return found[top : top + height, left : left + width][rows]

    def whole(self) -> Floats:
        """The whole level, from its phases."""
        result = np.empty(self.shape, self.dtype)
        for (y, x), framed in self._phases.items():
            height, width = self.size((y, x))
            result[y::2, x::2] = framed[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
        return result


def _framed(values: Floats, size: tuple[int, int]) -> Floats:
    """The values with their outermost rows and columns repeated, up to a margin around (h, w)."""
    height, width = values.shape
    result = np.empty((size[0] + 2 * MARGIN, size[1] + 2 * MARGIN), values.dtype)
    inside = result[MARGIN : MARGIN + height]
    inside[:, MARGIN : MARGIN + width] = values
    inside[:, :MARGIN] = values[:, :1]
    inside[:, MARGIN + width :] = values[:, -1:]
    result[:MARGIN] = inside[:1]
    result[MARGIN + height :] = inside[-1:]
    return result


def coarse_to_fine(height: int, width: int) -> Iterator[tuple[int, Sequence[Pass]]]:
    """The levels below the highest one, with the passes that have pixels there."""
    for level in reversed(range(levels_of(height, width))):
        h, w = size_at(height, level), size_at(width, level)
        yield level, [p for p in PASSES if h > p.phase[0] and w > p.phase[1]]
