"""ResNet-Lite: the analysis and synthesis transforms between pixels and latents.

Each is a linear block transform (the skeleton, a DCT at first) beside a residual network whose last layer starts at
zero; the two outputs are added. Filters over the block boundaries, before the analysis and after the
synthesis, make a lapped transform of both. At step 0 the codec is therefore a lapped DCT codec, and training
can only improve on it. Nothing passes from analysis to synthesis except the latents.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BLOCK, ModelConfig
from .lapping import Lapping, dct

PATCH = 8
"""Space-to-depth factor in front of the analysis network, and of the depth-to-space that ends the synthesis."""

ANALYSIS_FACTOR, SYNTHESIS_FACTOR = 0.2, 0.3
"""What the networks' outputs are multiplied by: an optimiser's step moves every weight of a last layer at once, and
must move latents and pixels by less than the errors that are left to correct."""


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


def separable_basis(bands: int) -> Tensor:
    """(bands * 256, bands, 16, 16): the DCT of a block along rows and columns, times axes of colour. Orthonormal.

    The axes of three bands are grey, red against blue, and green against both. On photographs this beats the KLT of
    blocks of all bands by far: the KLT mixes components of like variance, horizontal with vertical ones and colours
    with greys, and what is sparse in each of them is so no longer in their mixtures.
    """
    axes = torch.eye(bands, dtype=torch.float64)
    if bands == 3:
        axes = torch.tensor([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]], dtype=torch.float64)
        axes = axes / axes.norm(dim=1, keepdim=True)
    rows = dct()
    return torch.einsum("cb,ui,vj->cuvbij", axes, rows, rows).reshape(-1, bands, BLOCK, BLOCK).float()


@torch.no_grad()
def frequencies(skeleton: Tensor) -> Tensor:
    """(latents, bands, 16, 16) skeleton -> (latents,) frequencies: of the DCT components that they are most like.

    That is the distance from zero in half waves in a block, along rows and columns together.
    """
    basis = separable_basis(skeleton.shape[1]).flatten(1).to(skeleton.device)
    component = (skeleton.float().flatten(1) @ basis.T).abs().argmax(1) % BLOCK**2
    return torch.hypot((component // BLOCK).float(), (component % BLOCK).float())


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


class Analysis(nn.Module):
    """Pixels to latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, narrow = config.widths
        self.pre_filter = Lapping()
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
        x = self.pre_filter(x - 0.5).contiguous(memory_format=torch.channels_last)
        skeleton: Tensor = self.skeleton(x)
        first = cast("nn.Conv2d", self.network[1])
        refined: Tensor = self.network(x.to(first.weight.dtype))
        return skeleton.float().add_(refined, alpha=ANALYSIS_FACTOR)


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
        self.post_filter = Lapping()
        _zero(self.network[-2])

    def forward(self, latents: Tensor, normalised: Tensor, bias: Tensor) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w) around [0, 1], not clipped.

        `normalised` are the same latents divided by each channel's base sigma, `bias` (B, width, 1, 1) is the
        interpolated `level_bias`.
        """
        refined = self.network(self.enter(normalised) + bias)
        planes: Tensor = self.post_filter(self._blocks(latents).float().add_(refined, alpha=SYNTHESIS_FACTOR))
        return planes.add_(0.5)

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
