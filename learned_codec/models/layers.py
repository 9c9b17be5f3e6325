"""The layers that the networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BLOCK, SLOPE
from .lapping import HALF


def interpolate(table: Tensor, level: Tensor) -> Tensor:
    """(levels, C) table, (B,) real-valued levels -> (B, C, 1, 1) by linear interpolation."""
    lower = level.floor().clamp(0, len(table) - 2).long()
    fraction = (level - lower)[:, None].to(table.dtype)
    return (table[lower] * (1 - fraction) + table[lower + 1] * fraction)[:, :, None, None]


class ResidualBlock(nn.Module):
    """Depthwise 3x3, 1x1 to twice the width, leaky ReLU, 1x1 back, added to the input.

    With a `slope` of 0 the activation is a plain ReLU, which the integer entropy model (`exact.py`) can compute.
    """

    def __init__(self, channels: int, slope: float = SLOPE) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        # torch differentiates a leaky ReLU in place only where its slope is positive.
        self.activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
        with torch.no_grad():
            # A small residual branch: a deep stack starts close to the identity.
            self.project.weight.mul_(0.3)
            self.project.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.activation(self.expand(self.depthwise(x))))
        return y.add_(x)


class Down(nn.Module):
    """Space-to-depth 2 and a 1x1 conv, plus a shortcut without parameters: the means of channel groups."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, 2)
        y: Tensor = self.conv(x)
        batch, _, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        shortcut = F.adaptive_avg_pool1d(tokens, y.shape[1])
        return y + shortcut.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


class PlainUp(nn.Module):
    """A 1x1 conv to four times the width, added to the repeated input, and depth-to-space 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x) + x.repeat_interleave(4, 1), 2)


class Lapping(nn.Module):
    """The lapped filter: a (BLOCK, BLOCK) matrix across every block boundary. The image's borders are left alone."""

    matrix: Tensor

    def __init__(self, *, columns_first: bool = False) -> None:
        """The analysis filters rows first, the synthesis columns first.

        Where boundaries are left out, only the opposite order undoes a filter.
        """
        super().__init__()
        # Not learned by gradients: learning rates that suit a network are far too large for a filter that every pixel
        # passes.
        self.register_buffer("matrix", torch.eye(BLOCK))
        self.columns_first = columns_first

    def forward(self, x: Tensor, support: Tensor | None = None) -> Tensor:
        """(B, bands, H, W), H and W multiples of BLOCK -> the same shape, contiguous, in the precision of `matrix`.

        With `support` (H, W) bool, a boundary is filtered only where all 16 pixels across it are in the support. May
        overwrite `x`.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.matrix.dtype).contiguous()
            filters = [self._over_rows, self._over_columns]
            for apply in reversed(filters) if self.columns_first else filters:
                apply(x, support)
            return x

    def _over_rows(self, x: Tensor, support: Tensor | None) -> None:
        height, width = x.shape[2:]
        if height > BLOCK:
            rows = x[:, :, HALF:-HALF].view(-1, height // BLOCK - 1, BLOCK, width)
            found = torch.matmul(self.matrix, rows)
            if support is not None:
                found = torch.where(support[HALF:-HALF].view(-1, BLOCK, width).all(1, keepdim=True), found, rows)
            rows.copy_(found)

    def _over_columns(self, x: Tensor, support: Tensor | None) -> None:
        height, width = x.shape[2:]
        if width > BLOCK:
            columns = x[..., HALF:-HALF]
            found = torch.matmul(columns.reshape(-1, BLOCK), self.matrix.T).view(columns.shape)
            if support is not None:
                every = support[:, HALF:-HALF].reshape(height, -1, BLOCK).all(2)
                found = torch.where(every.repeat_interleave(BLOCK, 1), found, columns)
            columns.copy_(found)
