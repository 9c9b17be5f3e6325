"""The layers that the networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Depthwise 3x3, 1x1 to twice the width, leaky ReLU, 1x1 back, added to the input.

    With a `slope` of 0 it is a ReLU, which integers can follow exactly.
    """

    def __init__(self, channels: int, slope: float = 0.1) -> None:
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
    """Space-to-depth 2 and a 1x1 conv, beside a parameter-free shortcut: channel groups averaged."""

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
