"""ResNet-Lite: the analysis and synthesis transforms between pixels and latents.

Both are a block transform (a DCT; its weights are called `skeleton` in weights files) and a lapped filter, before the
analysis and after the synthesis. The synthesis ends in the refinement, a residual network on the decoded pixels, whose
last layer starts at zero. So training starts from a lapped DCT codec and improves on it. Nothing passes from analysis
to synthesis except the latents.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import block_transform
from .config import BLOCK, INPUT_FACTOR, PATCH, ModelConfig
from .layers import Lapping, ResidualBlock
from .shape_adaptive import Shape


def separable_basis(bands: int) -> Tensor:
    """(bands * 256, bands, 16, 16) float32: `block_transform.separable_basis`."""
    return torch.from_numpy(block_transform.separable_basis(bands)).float()


@torch.no_grad()
def positions(weight: Tensor) -> Tensor:
    """(latents, bands, 16, 16) weights of a block transform -> (latents,) int64 positions in a block.

    A latent's position is that of the DCT component most like its weights: 16 * v + u for v half waves down a column
    and u half waves along a row.
    """
    basis = separable_basis(weight.shape[1]).flatten(1).to(weight.device)
    return (weight.float().flatten(1) @ basis.T).abs().argmax(1) % BLOCK**2


def frequencies(positions: Tensor) -> Tensor:
    """The frequency at each position: sqrt(u^2 + v^2) half waves in a block."""
    return torch.hypot((positions // BLOCK).float(), (positions % BLOCK).float())


def first_scales(levels: int) -> Tensor:
    """(levels, 1) a first guess of the log2 of a refinement's output.

    Errors are about a 20th of the range at level 0 and fall as the quantisation gets finer.
    """
    return math.log2(0.05) - 0.6 * torch.arange(levels)[:, None]


class Refinement(nn.Module):
    """A residual network on decoded pixels: its output is added to them. Before training, it is zero.

    The errors depend on how coarsely the latents are quantised, so each level has a bias and a factor. They depend on
    where in its block a pixel lies, so each position has a bias. And they depend on the image: how sharp it is, whether
    it was compressed before. So an encoder may add some of the `adaptations` to the last layer's weights.
    """

    adaptations: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, phases = config.refinement_width, BLOCK // PATCH
        self.enter = nn.Conv2d(config.bands * PATCH**2, width, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, width))
        self.level_scale = nn.Parameter(first_scales(config.levels))
        self.position_bias = nn.Parameter(torch.zeros(1, width, phases, phases))
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(config.refinement_blocks)))
        self.leave = nn.Conv2d(width, config.bands * PATCH**2, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        # Fitted at export (`training/adaptations.py`), not learned by gradients.
        self.register_buffer("adaptations", torch.zeros(config.adaptations, *self.leave.weight.shape[:2]))

    def forward(self, x: Tensor, bias: Tensor, scale: Tensor, adaptation: Tensor | None = None) -> Tensor:
        """(B, bands, H, W) decoded pixels around zero, H and W multiples of 16 -> the correction, of the same shape.

        `bias` (B, width, 1, 1) and `scale` (B, 1, 1, 1) are the interpolated `level_bias` and `level_scale`.
        `adaptation` says how much of each of the first `adaptations` is added.
        """
        return self.correction(self.features(x, bias), scale, adaptation)

    def features(self, x: Tensor, bias: Tensor) -> Tensor:
        """The input of the last layer, (B, width, H/4, W/4)."""
        height, width = (side // BLOCK for side in x.shape[2:])
        y = self.enter(F.pixel_unshuffle(x * INPUT_FACTOR, PATCH).to(self.enter.weight.dtype))
        y = y + (bias + self.position_bias).to(y.dtype).repeat(1, 1, height, width)
        result: Tensor = self.blocks(y)
        return result

    def correction(self, features: Tensor, scale: Tensor, adaptation: Tensor | None = None) -> Tensor:
        """The output of the last layer, as pixels."""
        if adaptation is None:
            y = self.leave(features)
        else:
            added = torch.tensordot(adaptation, self.adaptations[: len(adaptation)].float(), 1)
            weight = self.leave.weight.float() + added[..., None, None]
            y = F.conv2d(features, weight.to(features.dtype), self.leave.bias)
        return F.pixel_shuffle(y.float() * torch.exp2(scale), PATCH)


def _with_unit_norm(latents: Tensor, weight: Tensor, shape: Shape | None) -> Tensor:
    """Latents, in boundary blocks divided by the norms of the basis functions with this weight.

    These norms make up for the lapped filter's gain. Boundary blocks are not filtered, so there the norms must be 1, or
    an error in a latent would become a larger error in the pixels.
    """
    if shape is None:
        return latents
    boundary = torch.from_numpy(shape.boundary).to(latents.device)
    return torch.where(boundary, latents / weight.flatten(1).norm(dim=1)[:, None, None], latents)


def _support(shape: Shape | None, like: Tensor) -> Tensor | None:
    return None if shape is None else torch.from_numpy(shape.support).to(like.device)


class Analysis(nn.Module):
    """Pixels to latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_filter = Lapping()
        self.skeleton = nn.Conv2d(config.bands, config.latents, BLOCK, BLOCK, bias=False)

    def forward(self, x: Tensor, shape: Shape | None = None) -> Tensor:
        """(B, bands, H, W) in [0, 1], H and W multiples of 16 -> (B, latents, H/16, W/16) float32.

        With `shape`, only the pixels in its support are transformed.
        """
        planes = self.pre_filter(x - 0.5, _support(shape, x))
        if shape is not None:
            planes = shape.to_whole(planes)
        latents: Tensor = self.skeleton(planes.contiguous(memory_format=torch.channels_last))
        return _with_unit_norm(latents.float(), self.skeleton.weight, shape)


class Synthesis(nn.Module):
    """Latents to pixels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.skeleton = nn.ConvTranspose2d(config.latents, config.bands, BLOCK, BLOCK, bias=False)
        self.post_filter = Lapping(columns_first=True)
        self.refinement = Refinement(config)

    def forward(
        self,
        latents: Tensor,
        bias: Tensor,
        scale: Tensor,
        adaptation: Tensor | None = None,
        shape: Shape | None = None,
    ) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w) around [0, 1], not clipped.

        `bias` and `scale` are those of `Refinement` at the level, `adaptation` is this image's, and `shape` is that of
        the analysis.
        """
        planes = self.linear(latents, shape)
        correction: Tensor = self.refinement(planes, bias, scale, adaptation)
        return planes.add_(correction).add_(0.5)

    def linear(self, latents: Tensor, shape: Shape | None = None) -> Tensor:
        """The pixels before the refinement, around zero."""
        planes = self._blocks(_with_unit_norm(latents, self.skeleton.weight, shape)).float()
        if shape is not None:
            planes = shape.from_whole(planes)
        result: Tensor = self.post_filter(planes, _support(shape, planes))
        return result

    def _blocks(self, latents: Tensor) -> Tensor:
        """The block transform as one matrix product: twice as fast as a transposed convolution."""
        batch, _, height, width = latents.shape
        blocks = latents.permute(0, 2, 3, 1) @ self.skeleton.weight.flatten(1)
        blocks = blocks.reshape(batch, height, width, -1, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5)
        return blocks.reshape(batch, -1, height * BLOCK, width * BLOCK)
