"""ResNet-Lite: the analysis and synthesis transforms between pixels and latents.

Each is a learned linear block transform (the skeleton, initialised with a KLT) beside a residual network whose last
layer starts at zero; the two outputs are added. At step 0 the codec is therefore a KLT transform codec, and training
can only improve on it. Nothing passes from analysis to synthesis except the latents.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BLOCK, ModelConfig

PATCH = 8
"""Space-to-depth factor in front of the analysis network, and of the depth-to-space that ends the synthesis."""


class ResidualBlock(nn.Module):
    """Depthwise 3x3, 1x1 to twice the width, leaky ReLU, 1x1 back, added to the input."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Conv2d(channels, channels * expansion, 1)
        self.project = nn.Conv2d(channels * expansion, channels, 1)
        with torch.no_grad():
            # A small residual branch: a deep stack starts close to the identity.
            self.project.weight.mul_(0.3)
            self.project.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(F.leaky_relu(self.expand(self.depthwise(x)), 0.1, inplace=True))
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


class Up(nn.Module):
    """A 1x1 conv and depth-to-space 2, beside a parameter-free shortcut: channels repeated."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 1)
        index = torch.arange(4 * outputs) * inputs // (4 * outputs)
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x) + x[:, self.index], 2)  # type: ignore[index]


def lapped_matrix(size: int = PATCH) -> Tensor:
    """The orthonormal post-filter of the time-domain lapped transform, (size, size).

    T. D. Tran, J. Liang and C. Tu, "Lapped transform via time-domain pre- and post-filtering", IEEE Trans. Signal
    Processing 51(6), 2003: butterflies around V = J C2^T C4 J, with C2 and C4 the half-size DCT-II and DCT-IV.
    """
    half = size // 2
    n = torch.arange(half, dtype=torch.float64)
    dct2 = torch.cos(torch.pi / half * (n[None] + 0.5) * n[:, None]) * (2 / half) ** 0.5
    dct2[0] /= 2**0.5
    dct4 = torch.cos(torch.pi / half * (n[None] + 0.5) * (n[:, None] + 0.5)) * (2 / half) ** 0.5
    eye, flip = torch.eye(half, dtype=torch.float64), torch.eye(half, dtype=torch.float64).flip(0)
    rotation = flip @ dct2.T @ dct4 @ flip
    butterfly = torch.cat([torch.cat([eye, flip], 1), torch.cat([flip, -eye], 1)]) / 2**0.5
    zero = torch.zeros_like(eye)
    diagonal = torch.cat([torch.cat([eye, zero], 1), torch.cat([zero, rotation], 1)])
    pre = butterfly @ diagonal @ butterfly
    return pre.T.float()


class LappedPostFilter(nn.Module):
    """The lapped transform's 8x8 matrix over every block boundary, along rows and along columns."""

    def __init__(self) -> None:
        super().__init__()
        # Fixed: when it learned with the rest, it shrank to zero within a few thousand steps and cut the network off.
        self.matrix = nn.Parameter(lapped_matrix(), requires_grad=False)

    def _rows(self, x: Tensor) -> Tensor:
        half = PATCH // 2
        batch, bands, height, width = x.shape
        if height <= PATCH:
            return x
        middle = x[:, :, half : height - half].reshape(batch, bands, -1, PATCH, width)
        middle = torch.matmul(self.matrix.to(x.dtype), middle).reshape(batch, bands, height - PATCH, width)
        return torch.cat([x[:, :, :half], middle, x[:, :, height - half :]], 2)

    def forward(self, x: Tensor) -> Tensor:
        return self._rows(self._rows(x.contiguous()).transpose(2, 3).contiguous()).transpose(2, 3)


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


class Analysis(nn.Module):
    """Pixels to latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, narrow = config.widths
        self.skeleton = nn.Conv2d(config.bands, config.latents, BLOCK, BLOCK, bias=False)
        self.network = nn.Sequential(
            nn.PixelUnshuffle(PATCH),
            nn.Conv2d(config.bands * PATCH**2, wide, 1),
            *_blocks(wide, config.analysis_blocks[0]),
            Down(wide, narrow),
            *_blocks(narrow, config.analysis_blocks[1]),
            nn.Conv2d(narrow, config.latents, 1),
        )
        _zero(self.network[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) in [0, 1], H and W multiples of 16 -> (B, latents, H/16, W/16) float32."""
        x = x - 0.5
        skeleton: Tensor = self.skeleton(x)
        # The factor keeps the network's step size in proportion to the skeleton's (latents are small numbers).
        first = cast("nn.Conv2d", self.network[1])
        refined: Tensor = self.network(x.to(first.weight.dtype))
        return skeleton.float().add_(refined, alpha=0.2)


class Synthesis(nn.Module):
    """Latents to pixels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, narrow = config.widths
        self.skeleton = nn.ConvTranspose2d(config.latents, config.bands, BLOCK, BLOCK, bias=False)
        self.enter = nn.Conv2d(config.latents, narrow, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, narrow))
        self.network = nn.Sequential(
            *_blocks(narrow, config.synthesis_blocks[1]),
            Up(narrow, wide),
            *_blocks(wide, config.synthesis_blocks[0]),
            nn.Conv2d(wide, config.bands * PATCH**2, 1),
            nn.PixelShuffle(PATCH),
        )
        self.post_filter = LappedPostFilter()
        _zero(self.network[-2])

    def forward(self, latents: Tensor, normalised: Tensor, bias: Tensor) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w) around [0, 1], not clipped.

        `normalised` are the same latents divided by each channel's base sigma, `bias` (B, width, 1, 1) is the
        interpolated `level_bias`.
        """
        refined = self.post_filter(self.network(self.enter(normalised) + bias))
        return self._blocks(latents).float().add_(refined).add_(0.5)

    def _blocks(self, latents: Tensor) -> Tensor:
        """The skeleton: a product per block, as a matrix product, twice as fast as a transposed convolution."""
        batch, _, height, width = latents.shape
        blocks = latents.permute(0, 2, 3, 1) @ self.skeleton.weight.flatten(1)
        blocks = blocks.reshape(batch, height, width, -1, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5)
        return blocks.reshape(batch, -1, height * BLOCK, width * BLOCK)


def _zero(layer: nn.Module) -> None:
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        raise TypeError("only a convolution with a bias can start at zero")
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
