"""Blocks at the edge of what is visible: a shape-adaptive DCT, of their visible pixels alone.

Whatever stood in place of the others would cost coefficients. Here as many pixels as are visible become as many
coefficients: those of each column are moved up and go through a DCT of their number, then the coefficients of each row
are moved to the left and do likewise (T. Sikora and B. Makai, "Shape-adaptive DCT for generic coding of video", IEEE
Trans. CSVT 5(1), 1995). The mean is taken out before and stands as coefficient zero, or an even block would have others
(P. Kauff and K. Schuur, "Shape-adaptive DCT with block-based DC separation and Delta-DC correction", IEEE Trans. CSVT
8(3), 1998).

A block's coefficients are laid out as those of a whole block. The pixels that a whole block with these would have stand
in for it, in front of the skeleton and behind it, which so needs to know nothing of shapes. What is not coded is known:
the latents of components where there is no coefficient.

Shapes are numpy's arrays. Values may be torch's tensors, too, which encoder effort differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import BLOCK
from .lapping import dct

Values = Any
"""Numpy's array or torch's tensor."""

EDGES_PER_PIXEL = 2
"""A block is cut unless it has so many pairs of neighbouring pixels, one visible and one not, for each pixel that isn't
visible. Single missing pixels are better filled: to move up what is below them would tear rows apart.
"""

_FIRST = np.zeros((BLOCK, BLOCK))
_FIRST[0, 0] = 1


def _like(array: NDArray[Any], x: Values) -> Values:
    """An array in the kind and the precision of values."""
    return array.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(array)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of 16 in (K, 16, 16): `order` of those positions that take part, then of the others; `count` (K, 16)."""

    order: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, present: NDArray[np.bool_]) -> _Lines:
        return cls(np.argsort(~present, axis=2, kind="stable"), present.sum(2))

    def transform(self, x: Values) -> Values:
        """(K, planes, 16, 16) values -> each line's DCT of those that take part, then zeros."""
        return self._by_length(self._ordered(x, self.order), lambda n: dct(n).T)

    def inverse(self, x: Values) -> Values:
        """The inverse of `transform`: zeros where nothing takes part."""
        return self._ordered(self._by_length(x, dct), np.argsort(self.order, axis=2))

    def _ordered(self, x: Values, order: NDArray[np.intp]) -> Values:
        block, plane, line = (np.arange(n).reshape(-1, *[1] * (3 - axis)) for axis, n in enumerate(x.shape[:3]))
        return x[block, plane, line, order[:, None]]

    def _by_length(self, x: Values, matrix: Callable[[int], NDArray[np.float64]]) -> Values:
        """The first n values of each line times the matrix for n, where n of them take part; then zeros."""
        result = x * 0
        for n in range(1, BLOCK + 1):
            block, line = np.nonzero(self.count == n)
            if len(block):
                result[block, :, line, :n] = x[block, :, line, :n] @ _like(matrix(n), x)
        return result


@dataclass(frozen=True, slots=True)
class Shape:
    """Which pixels of an area are coded.

    `support` (16h, 16w): those that are; `cut` (h, w): the blocks of which some aren't; `partial` (h, w): the blocks
    among these of which some are; `present` (K, 16, 16): which of these K blocks' pixels are; `columns` and `rows`: the
    lines of these pixels and of their coefficients.
    """

    support: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    partial: NDArray[np.bool_]
    present: NDArray[np.bool_]
    columns: _Lines
    rows: _Lines

    @classmethod
    def of(cls, visible: NDArray[np.bool_] | None) -> Shape | None:
        """The shape of (h, w, 16, 16) visible pixels, in blocks, None: all; None if no block is cut."""
        if visible is None:
            return None
        hidden = (~visible).sum((2, 3))
        edges = (visible[..., 1:, :] != visible[..., :-1, :]).sum((2, 3))
        edges = edges + (visible[..., 1:] != visible[..., :-1]).sum((2, 3))
        cut = EDGES_PER_PIXEL * hidden > edges
        if not cut.any():
            return None
        support = visible | ~cut[..., None, None]
        partial = cut & support.any((2, 3))
        present = support[partial]
        columns = _Lines.of(present.swapaxes(1, 2))
        rows = _Lines.of(np.arange(BLOCK)[:, None] < columns.count[:, None])
        height, width = (BLOCK * n for n in cut.shape)
        support = support.transpose(0, 2, 1, 3).reshape(height, width)
        return cls(support, cut, partial, present, columns, rows)

    def coded(self, positions: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(h, w, latents): which latents are coded, of components at `positions` in a block (16 * row + column)."""
        coefficients = (np.arange(BLOCK) < self.rows.count[..., None]).reshape(-1, BLOCK**2)
        result = np.repeat(~self.cut[..., None], len(positions), 2)
        result[self.partial] = coefficients[:, positions]
        return result

    def to_whole(self, x: Values) -> Values:
        """(…, 16h, 16w) pixels -> the same with stand-ins for the blocks that are cut, zeros for empty ones."""
        return self._replaced(x, self._transform)

    def from_whole(self, x: Values) -> Values:
        """The inverse of `to_whole`; what isn't coded gets the mean of what is in its block, or zero if nothing is."""
        return self._replaced(x, self._inverse)

    def _transform(self, x: Values) -> Values:
        present, count = self._present(x)
        mean = _sum(x * present) / count
        z = self.rows.transform(self.columns.transform(((x - mean) * present).swapaxes(2, 3)).swapaxes(2, 3))
        basis = _like(dct(), x)
        return basis.T @ _with_first(z, mean * count**0.5) @ basis

    def _inverse(self, x: Values) -> Values:
        _, count = self._present(x)
        basis = _like(dct(), x)
        z = basis @ x @ basis.T
        rest = self._pixels(_with_first(z, 0.0))
        # Its mean is zero, which tells its coefficient zero.
        first = self._pixels(_with_first(z[:, :1] * 0, 1.0))
        rest = rest - first * (_sum(rest) / _sum(first))
        return rest + z[..., :1, :1] / count**0.5

    def _present(self, x: Values) -> tuple[Values, Values]:
        """Which pixels are, and how many of each block."""
        present = self.present[:, None]
        return _like(present, x), _like(present.sum((2, 3), keepdims=True), x)

    def _pixels(self, z: Values) -> Values:
        return self.columns.inverse(self.rows.inverse(z).swapaxes(2, 3)).swapaxes(2, 3)

    def _replaced(self, x: Values, function: Callable[[Values], Values]) -> Values:
        """What a function makes of partial blocks, (K, planes, 16, 16), in their place, and zeros in empty ones."""
        height, width = self.cut.shape
        result = x + 0
        blocks = result.reshape(-1, height, BLOCK, width, BLOCK)
        row, column = np.nonzero(self.partial)
        blocks[:, row, :, column, :] = function(x.reshape(blocks.shape)[:, row, :, column, :])
        row, column = np.nonzero(self.cut & ~self.partial)
        blocks[:, row, :, column, :] = 0
        return blocks.reshape(x.shape)


def _with_first(z: Values, first: Values) -> Values:
    """(K, planes, 16, 16) coefficients with another coefficient zero, (K, planes, 1, 1)."""
    corner = _like(_FIRST, z)
    return z * (1 - corner) + first * corner


def _sum(x: Values) -> Values:
    """(K, planes, 1, 1) sums over (K, planes, 16, 16)."""
    return x.sum((2, 3))[:, :, None, None]
