"""Boundary blocks: a shape-adaptive DCT of their visible pixels.

A plain DCT would need values in place of the hidden pixels, and these would cost coefficients. Here n visible pixels
become n coefficients. The visible pixels of each column are moved to its top and go through a DCT of their number.
Then the coefficients of each row are moved to its left and go through a DCT in the same way (T. Sikora and B. Makai,
"Shape-adaptive DCT for generic coding of video", IEEE Trans. CSVT 5(1), 1995). The mean is subtracted first and becomes
coefficient zero; without that, a block of one value would need several coefficients (P. Kauff and K. Schuur,
"Shape-adaptive DCT with block-based DC separation and Delta-DC correction", IEEE Trans. CSVT 8(3), 1998).

The block transform needs to know nothing of shapes: the coefficients are taken as those of a whole block, and the
inverse DCT of these replaces the boundary block's pixels before the block transform. Decoding reverses this. Positions
in a block that have no coefficient are not coded.

Shapes are numpy arrays. Values may also be torch tensors, which can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.dct import dct

from .config import BLOCK

Values = Any
"""A numpy array or a torch tensor."""

EDGES_PER_PIXEL = 2
"""When scattered pixels are hidden, filling them is cheaper: moving up the pixels below them would tear rows apart. So
a block with hidden pixels is a boundary block only if it has fewer than this many edges for each hidden pixel. An edge
is a pair of neighbouring pixels of which one is visible and one is hidden.
"""

_FIRST = np.zeros((BLOCK, BLOCK))
_FIRST[0, 0] = 1


def _like(array: NDArray[Any], x: Values) -> Values:
    """An array as numpy or torch has `x`, in the precision of `x`."""
    return array.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(array)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of (K, 16, 16) blocks.

    `order` has each line's used positions first, then the others. `count` (K, 16) is how many are used.
    """

    order: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, present: NDArray[np.bool_]) -> _Lines:
        return cls(np.argsort(~present, axis=2, kind="stable"), present.sum(2))

    def __getitem__(self, blocks: slice) -> _Lines:
        return _Lines(self.order[blocks], self.count[blocks])

    def transform(self, x: Values) -> Values:
        """(K, planes, 16, 16) values -> each line's DCT of its used values, then zeros."""
        return self._by_length(self._ordered(x, self.order), lambda n: dct(n).T)

    def inverse(self, x: Values) -> Values:
        """The inverse of `transform`, with zeros at the unused positions."""
        return self._ordered(self._by_length(x, dct), np.argsort(self.order, axis=2))

    def _ordered(self, x: Values, order: NDArray[np.intp]) -> Values:
        block, plane, line = (np.arange(n).reshape(-1, *[1] * (3 - axis)) for axis, n in enumerate(x.shape[:3]))
        return x[block, plane, line, order[:, None]]

    def _by_length(self, x: Values, matrix: Callable[[int], NDArray[np.float64]]) -> Values:
        """Multiply the first n values of each line by the matrix for n, its count; zeros follow."""
        result = x * 0
        for n in range(1, BLOCK + 1):
            block, line = np.nonzero(self.count == n)
            if len(block):
                result[block, :, line, :n] = x[block, :, line, :n] @ _like(matrix(n), x)
        return result


@dataclass(frozen=True, slots=True)
class Shape:
    """Which pixels of a region are coded.

    Attributes:
        support: (16h, 16w) the coded pixels.
        boundary: (h, w) the boundary blocks: some or all of their pixels are not coded.
        partial: (h, w) the boundary blocks with some coded pixels; there are K of them.
        present: (K, 16, 16) the coded pixels of the partial blocks.
        columns: the lines along columns, of pixels.
        rows: the lines along rows, of coefficients.
    """

    support: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    partial: NDArray[np.bool_]
    present: NDArray[np.bool_]
    columns: _Lines
    rows: _Lines

    @classmethod
    def of(cls, visible: NDArray[np.bool_] | None) -> Shape | None:
        """The shape of (h, w, 16, 16) visible pixels, block by block (None: all visible).

        None if there is no boundary block.
        """
        if visible is None:
            return None
        boundary: NDArray[np.bool_] = np.logical_not(visible.reshape(*visible.shape[:2], -1).all(2))
        some = visible[boundary]  # in most images, few blocks have hidden pixels
        hidden = (~some).sum((1, 2))
        edges = (some[:, 1:] != some[:, :-1]).sum((1, 2))
        edges = edges + (some[..., 1:] != some[..., :-1]).sum((1, 2))
        boundary[boundary] = EDGES_PER_PIXEL * hidden > edges
        if not boundary.any():
            return None
        support = visible | ~boundary[..., None, None]
        partial = boundary.copy()
        partial[boundary] = support[boundary].any((1, 2))
        present = support[partial]
        columns = _Lines.of(present.swapaxes(1, 2))
        rows = _Lines.of(np.arange(BLOCK)[:, None] < columns.count[:, None])
        height, width = (BLOCK * n for n in boundary.shape)
        support = support.transpose(0, 2, 1, 3).reshape(height, width)
        return cls(support, boundary, partial, present, columns, rows)

    def strip(self, start: int, stop: int) -> Shape | None:
        """The shape of the rows of blocks from `start` to `stop`; None if there is no boundary block."""
        boundary, partial = self.boundary[start:stop], self.partial[start:stop]
        if not boundary.any():
            return None
        first = int(self.partial[:start].sum())
        blocks = slice(first, first + int(partial.sum()))
        support = self.support[BLOCK * start : BLOCK * stop]
        return Shape(support, boundary, partial, self.present[blocks], self.columns[blocks], self.rows[blocks])

    def coded(self, positions: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(h, w, latents): which latents are coded. `positions` (latents,) are theirs in a block, 16 * row + column."""
        coefficients = (np.arange(BLOCK) < self.rows.count[..., None]).reshape(-1, BLOCK**2)
        result = np.repeat(~self.boundary[..., None], len(positions), 2)
        result[self.partial] = coefficients[:, positions]
        return result

    def to_whole(self, x: Values) -> Values:
        """(…, 16h, 16w) pixels -> the same with boundary blocks replaced, empty ones by zeros (see the module)."""
        return self._replaced(x, self._transform)

    def from_whole(self, x: Values) -> Values:
        """The inverse of `to_whole`.

        Pixels that aren't coded get the mean of the coded ones in their block, or zero without any.
        """
        return self._replaced(x, self._inverse)

    def _transform(self, x: Values) -> Values:
        present, count = self._present(x)
        mean = _sum(x * present) / count
        z = self.rows.transform(self.columns.transform(((x - mean) * present).swapaxes(2, 3)).swapaxes(2, 3))
        basis = _like(dct(BLOCK), x)
        return basis.T @ _with_first(z, mean * count**0.5) @ basis

    def _inverse(self, x: Values) -> Values:
        _, count = self._present(x)
        basis = _like(dct(BLOCK), x)
        z = basis @ x @ basis.T
        rest = self._pixels(_with_first(z, 0.0))
        # The pixels' mean is zero, and that determines coefficient zero.
        first = self._pixels(_with_first(z[:, :1] * 0, 1.0))
        rest = rest - first * (_sum(rest) / _sum(first))
        return rest + z[..., :1, :1] / count**0.5

    def _present(self, x: Values) -> tuple[Values, Values]:
        """Which pixels are coded, and how many in each block."""
        present = self.present[:, None]
        return _like(present, x), _like(present.sum((2, 3), keepdims=True), x)

    def _pixels(self, z: Values) -> Values:
        return self.columns.inverse(self.rows.inverse(z).swapaxes(2, 3)).swapaxes(2, 3)

    def _replaced(self, x: Values, function: Callable[[Values], Values]) -> Values:
        """Partial blocks replaced by a function of them, (K, planes, 16, 16), and empty blocks by zeros."""
        height, width = self.boundary.shape
        result = x + 0
        blocks = result.reshape(-1, height, BLOCK, width, BLOCK)
        row, column = np.nonzero(self.partial)
        blocks[:, row, :, column, :] = function(x.reshape(blocks.shape)[:, row, :, column, :])
        row, column = np.nonzero(self.boundary & ~self.partial)
        blocks[:, row, :, column, :] = 0
        return blocks.reshape(x.shape)


def _with_first(z: Values, first: Values) -> Values:
    """(K, planes, 16, 16) coefficients with coefficient zero replaced by `first` (K, planes, 1, 1)."""
    corner = _like(_FIRST, z)
    return z * (1 - corner) + first * corner


def _sum(x: Values) -> Values:
    """(K, planes, 1, 1) sums over (K, planes, 16, 16)."""
    return x.sum((2, 3))[:, :, None, None]
