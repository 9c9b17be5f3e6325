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
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import BLOCK
from .lapping import dct

EDGES_PER_PIXEL = 2
"""A block is cut unless it has so many pairs of neighbouring pixels, one visible and one not, for each pixel that isn't
visible. Single missing pixels are better filled: to move up what is below them would tear rows apart.
"""


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of 16 in (K, 16, 16): `order` of those positions that take part, then of the others; `count` (K, 16)."""

    order: Tensor
    count: Tensor

    @classmethod
    def of(cls, present: Tensor) -> _Lines:
        return cls(torch.argsort((~present).to(torch.uint8), dim=2, stable=True), present.sum(2))

    def transform(self, x: Tensor) -> Tensor:
        """(K, planes, 16, 16) values -> each line's DCT of those that take part, then zeros."""
        return self._by_length(torch.gather(x, 3, self.order[:, None].expand_as(x)), lambda n: dct(n).T)

    def inverse(self, x: Tensor) -> Tensor:
        """The inverse of `transform`: zeros where nothing takes part."""
        moved = self._by_length(x, dct)
        return torch.zeros_like(moved).scatter(3, self.order[:, None].expand_as(moved), moved)

    def _by_length(self, x: Tensor, matrix: Callable[[int], Tensor]) -> Tensor:
        """The first n values of each line times the matrix for n, where n of them take part; then zeros."""
        lines = x.transpose(1, 2)
        result = torch.zeros_like(lines)
        for n in range(1, BLOCK + 1):
            these = self.count == n
            if these.any():
                result[these] = F.pad(lines[these][..., :n] @ matrix(n).to(x), (0, BLOCK - n))
        return result.transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Shape:
    """Which pixels of an area are coded.

    `support` (16h, 16w): those that are; `cut` (h, w): the blocks of which some aren't; `partial` (h, w): the blocks
    among these of which some are; `present` (K, 16, 16): which of these K blocks' pixels are; `columns` and `rows`: the
    lines of these pixels and of their coefficients.
    """

    support: Tensor
    cut: Tensor
    partial: Tensor
    present: Tensor
    columns: _Lines
    rows: _Lines

    @classmethod
    def of(cls, visible: Tensor | None) -> Shape | None:
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
        partial = cut & support.any(3).any(2)
        present = support[partial]
        columns = _Lines.of(present.mT)
        index = torch.arange(BLOCK, device=visible.device)
        rows = _Lines.of(index[:, None] < columns.count[:, None])
        height, width = (BLOCK * n for n in cut.shape)
        support = support.permute(0, 2, 1, 3).reshape(height, width)
        return cls(support, cut, partial, present, columns, rows)

    def coded(self, positions: Tensor) -> Tensor:
        """(h, w, latents): which latents are coded, of components at `positions` in a block (16 * row + column)."""
        index = torch.arange(BLOCK, device=self.cut.device)
        coefficients = (index < self.rows.count[..., None]).flatten(1)
        result = ~self.cut[..., None].expand(-1, -1, len(positions))
        return result.index_put((self.partial,), coefficients[:, positions])

    def to_whole(self, x: Tensor) -> Tensor:
        """(B, bands, 16h, 16w) pixels -> the same with stand-ins for the blocks that are cut, zeros for empty ones."""
        return self._replaced(x, self._transform)

    def from_whole(self, x: Tensor) -> Tensor:
        """The inverse of `to_whole`; what isn't coded gets the mean of what is in its block, or zero if nothing is."""
        return self._replaced(x, self._inverse)

    def _transform(self, x: Tensor) -> Tensor:
        present = self.present[:, None]
        count = present.sum((2, 3), keepdim=True)
        mean = (x * present).sum((2, 3), keepdim=True) / count
        z = self.rows.transform(self.columns.transform(((x - mean) * present).mT).mT)
        basis = dct().to(x)
        return basis.T @ _with_first(z, mean * count.sqrt()) @ basis

    def _inverse(self, x: Tensor) -> Tensor:
        present = self.present[:, None]
        count = present.sum((2, 3), keepdim=True)
        basis = dct().to(x)
        z = basis @ x @ basis.T
        mean = z[..., :1, :1] / count.sqrt()
        rest = self._pixels(_with_first(z, torch.zeros_like(mean)))
        # Its mean is zero, which tells its coefficient zero.
        first = self._pixels(_with_first(torch.zeros_like(z[:, :1]), torch.ones_like(mean[:, :1])))
        rest = rest - first * (rest.sum((2, 3), keepdim=True) / first.sum((2, 3), keepdim=True))
        return rest + mean

    def _pixels(self, z: Tensor) -> Tensor:
        return self.columns.inverse(self.rows.inverse(z).mT).mT

    def _replaced(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function makes of partial blocks, (K, planes, 16, 16), in their place, and zeros in empty ones."""
        height, width = (n // BLOCK for n in x.shape[2:])
        blocks = x.reshape(-1, height, BLOCK, width, BLOCK).permute(1, 3, 0, 2, 4)
        found = blocks.masked_fill(self.cut[..., None, None, None], 0.0)
        found = found.index_put((self.partial,), function(blocks[self.partial]))
        return found.permute(2, 0, 3, 1, 4).reshape(x.shape)


def _with_first(z: Tensor, first: Tensor) -> Tensor:
    """(K, planes, 16, 16) coefficients with another coefficient zero, (K, planes, 1, 1)."""
    return torch.cat([torch.cat([first, z[..., :1, 1:]], 3), z[..., 1:, :]], 2)
