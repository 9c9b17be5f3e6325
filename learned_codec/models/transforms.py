"""ResNet-Lite: the analysis and synthesis transforms between pixels and latents.

Both are a linear block transform (the skeleton, a DCT at first) with filters over the block boundaries, before the
analysis and after the synthesis, which make a lapped transform of it. The synthesis ends in a residual network on the
decoded pixels, whose last layer starts at zero. At step 0 the codec is therefore a lapped DCT codec, and training can
only improve on it. Nothing passes from analysis to synthesis except the latents.
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
def positions(skeleton: Tensor) -> Tensor:
    """(latents, bands, 16, 16) skeleton -> (latents,) int64 positions of the DCT components that they are most like.

    That is 16 * v + u for v and u half waves in a block along rows and columns.
    """
    basis = separable_basis(skeleton.shape[1]).flatten(1).to(skeleton.device)
    return (skeleton.float().flatten(1) @ basis.T).abs().argmax(1) % BLOCK**2


def frequencies(positions: Tensor) -> Tensor:
    """Their distance from zero, in half waves in a block, along rows and columns together."""
    return torch.hypot((positions // BLOCK).float(), (positions % BLOCK).float())


class Refinement(nn.Module):
    """A residual network on decoded pixels: what it says is added to them. It starts as nothing.

    What it corrects depends on how coarsely the latents are quantised (a bias and a factor by quality level) and on
    where in its block a pixel lies (a bias by position). What it should correct depends on the image, too: on how
    sharp it is, what compressed it before, and so on. So an encoder may add `adaptations` to the last layer's weights.
    """

    adaptations: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, phases = config.refinement_width, BLOCK // PATCH
        self.enter = nn.Conv2d(config.bands * PATCH**2, width, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, width))
        # Errors fall with the quantisation steps, from about a 20th of the range on.
        self.level_scale = nn.Parameter(math.log2(0.05) - 0.6 * torch.arange(config.levels)[:, None])
        self.position_bias = nn.Parameter(torch.zeros(1, width, phases, phases))
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(config.refinement_blocks)))
        self.leave = nn.Conv2d(width, config.bands * PATCH**2, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        # Fitted at export (`training/adaptations.py`), not learned by gradients.
        self.register_buffer("adaptations", torch.zeros(config.adaptations, *self.leave.weight.shape[:2]))

    def forward(self, x: Tensor, bias: Tensor, scale: Tensor, adaptation: Tensor | None = None) -> Tensor:
        """(B, bands, H, W) decoded pixels around zero, H and W multiples of 16 -> the correction, of the same shape.

        `bias` (B, width, 1, 1) and `scale` (B, 1, 1, 1) are the interpolated `level_bias` and `level_scale`;
        `adaptation`, of up to as many numbers as there are `adaptations`, is how much of each is added.
        """
        return self.correction(self.features(x, bias), scale, adaptation)

    def features(self, x: Tensor, bias: Tensor) -> Tensor:
        """What the last layer sees: (B, width, H/4, W/4)."""
        height, width = (side // BLOCK for side in x.shape[2:])
        y = self.enter(F.pixel_unshuffle(x * INPUT_FACTOR, PATCH).to(self.enter.weight.dtype))
        y = y + (bias + self.position_bias).to(y.dtype).repeat(1, 1, height, width)
        result: Tensor = self.blocks(y)
        return result

    def correction(self, features: Tensor, scale: Tensor, adaptation: Tensor | None = None) -> Tensor:
        """What the last layer says, as pixels."""
        if adaptation is None:
            y = self.leave(features)
        else:
            added = torch.tensordot(adaptation, self.adaptations[: len(adaptation)].float(), 1)
            weight = self.leave.weight.float() + added[..., None, None]
            y = F.conv2d(features, weight.to(features.dtype), self.leave.bias)
        return F.pixel_shuffle(y.float() * torch.exp2(scale), PATCH)


def _with_unit_norm(latents: Tensor, weight: Tensor, shape: Shape | None) -> Tensor:
    """The latents of blocks that are cut as if the functions that have this weight had unit norm.

    They have other norms to make up for those of the filters, which are not applied there: the same error in a latent
    would be a larger one in the pixels.
    """
    if shape is None:
        return latents
    cut = torch.from_numpy(shape.cut).to(latents.device)
    return torch.where(cut, latents / weight.flatten(1).norm(dim=1)[:, None, None], latents)


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

        With `shape`, of the pixels in its support alone.
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

        `bias` and `scale` are those of `Refinement` at the quality level, `adaptation` what it adds for this image;
        `shape` is that of the analysis.
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
        """The skeleton: a product per block, as a matrix product, twice as fast as a transposed convolution."""
        batch, _, height, width = latents.shape
        blocks = latents.permute(0, 2, 3, 1) @ self.skeleton.weight.flatten(1)
        blocks = blocks.reshape(batch, height, width, -1, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5)
        return blocks.reshape(batch, -1, height * BLOCK, width * BLOCK)
