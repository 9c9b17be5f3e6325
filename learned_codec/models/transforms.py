"""ResNet-Lite: the transforms between pixels and latents, to differentiate.

They are a block transform and a lapped filter, before the analysis and after the synthesis. The synthesis ends in the
refinement, a residual network on the decoded pixels, whose last layer starts at zero. So training starts from a lapped
DCT codec and improves on it. Nothing passes from analysis to synthesis except the latents.

`block_transform.py` computes the linear part in numpy, `inference.py` and `condition.py` the refinement on engines.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_codec.dct import dct

from .block_transform import BlockTransform, colour_axes
from .condition import SLOPES
from .config import BLOCK, CONTEXT_CLAMP, INPUT_FACTOR, PATCH, SLOPE, ModelConfig
from .layers import Lapping, ResidualBlock, interpolate
from .shape_adaptive import Shape


class LappedTransform(nn.Module):
    """`BlockTransform` with all components, to differentiate. Nothing in it is learned by gradients."""

    components: Tensor
    forward_factors: Tensor
    inverse_factors: Tensor
    basis: Tensor
    axes: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        count = bands * BLOCK**2
        self.register_buffer("components", torch.arange(count))
        self.register_buffer("forward_factors", torch.ones(count))
        self.register_buffer("inverse_factors", torch.ones(count))
        self.pre_filter, self.post_filter = Lapping(), Lapping(columns_first=True)
        for name, array in (("basis", dct(BLOCK)), ("axes", colour_axes(bands))):
            self.register_buffer(name, torch.from_numpy(np.asarray(array, np.float32)), persistent=False)

    def take(self, transform: BlockTransform) -> None:
        """Become this transform."""
        arrays = (
            (self.components, transform.components),
            (self.forward_factors, transform.forward),
            (self.inverse_factors, transform.inverse),
            (self.pre_filter.matrix, transform.pre_filter),
            (self.post_filter.matrix, transform.post_filter),
        )
        for tensor, array in arrays:
            tensor.copy_(torch.from_numpy(np.asarray(array)))

    def given(self) -> BlockTransform:
        """The transform that this is."""
        factors = (self.forward_factors, self.inverse_factors, self.pre_filter.matrix, self.post_filter.matrix)
        found = (tensor.detach().cpu().numpy().astype(np.float32) for tensor in factors)
        return BlockTransform(self.bands, self.components.cpu().numpy(), *found)

    def analyse(self, x: Tensor) -> Tensor:
        """(B, bands, 16h, 16w) pixels in [0, 1] -> (B, latents, h, w) float32."""
        with torch.autocast(x.device.type, enabled=False):
            planes = self.pre_filter(x.float() - 0.5)
            height, width = (side // BLOCK for side in planes.shape[2:])
            blocks = planes.reshape(len(x), self.bands, height, BLOCK, width, BLOCK)
            found = torch.einsum("nbhiwj,cb,vi,uj->ncvuhw", blocks, self.axes, self.basis, self.basis)
            return found.flatten(1, 3)[:, self.components] * self.forward_factors[:, None, None]

    def synthesise(self, latents: Tensor, shape: Shape | None = None) -> Tensor:
        """(B, latents, h, w) -> (B, bands, 16h, 16w) pixels around zero."""
        with torch.autocast(latents.device.type, enabled=False):
            height, width = latents.shape[2:]
            factors = self.inverse_factors[:, None, None].expand(-1, height, width)
            if shape is not None:  # in boundary blocks, the basis has norm 1
                factors = torch.where(torch.from_numpy(shape.boundary).to(latents.device), 1.0, factors)
            blocks = (latents.float() * factors)[:, torch.argsort(self.components)]
            blocks = blocks.reshape(len(latents), self.bands, BLOCK, BLOCK, height, width)
            planes = torch.einsum("ncvuhw,cb,vi,uj->nbhiwj", blocks, self.axes, self.basis, self.basis)
            planes = planes.reshape(len(latents), self.bands, BLOCK * height, BLOCK * width)
            support = None
            if shape is not None:
                planes, support = shape.from_whole(planes), torch.from_numpy(shape.support).to(planes.device)
            found: Tensor = self.post_filter(planes, support)
            return found


def first_scales(levels: int) -> Tensor:
    """(levels, 1) a first guess of the log2 of a refinement's output.

    Errors are about a 20th of the range at level 0 and fall as the quantisation gets finer.
    """
    return math.log2(0.05) - 0.6 * torch.arange(levels)[:, None]


class ConditionedBlock(nn.Module):
    """A residual block whose depthwise output is scaled and shifted."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.expand, self.project = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        inner = F.leaky_relu(self.expand(torch.addcmul(shift, self.depthwise(x), factor)), SLOPE)
        result: Tensor = self.project(inner) + x
        return result


class Refinement(nn.Module):
    """A residual network on decoded pixels: its output is added to them. Before training, it is zero.

    The errors depend on how coarsely the latents are quantised, so each level has a bias and a factor. They depend on
    where in its block a pixel lies, so each position has a bias. A network on the latents, at 1/16, scales and shifts
    the blocks. And errors depend on the image: how sharp it is, whether it was compressed before. So an encoder may add
    some of the `adaptations` to the last layer's weights.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        outputs, width, blocks = config.bands * PATCH**2, config.refinement_width, config.refinement_blocks
        first, second, _ = config.layers
        condition, phases = config.condition_width, BLOCK // PATCH
        self.enter, self.leave = nn.Conv2d(outputs, width, 1), nn.Conv2d(width, outputs, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, width))
        self.level_scale = nn.Parameter(first_scales(config.levels))
        self.position_bias = nn.Parameter(torch.zeros(1, width, phases, phases))
        self.blocks = nn.ModuleList(ConditionedBlock(width, config.refinement_inner) for _ in range(blocks))
        self.cond_enter = nn.Conv2d(first.stop + second.stop, condition, 1)
        self.cond_level = nn.Parameter(torch.zeros(config.levels, condition))
        self.cond_block = ResidualBlock(condition)
        self.cond_leave = nn.Conv2d(condition, 2 * width * blocks, 1)
        for layer in (self.leave, self.cond_leave):  # before training there is no correction, and no condition
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # Fitted at export (`training/adaptations.py`), not learned by gradients.
        self.register_buffer("adaptations", torch.zeros(config.adaptations, *self.leave.weight.shape[:2]))

    def forward(self, x: Tensor, normalised: Tensor, level: Tensor) -> Tensor:
        """As `correction`, at (B,) levels."""
        tables = self.level_bias, self.level_scale, self.cond_level
        return self.correction(x, normalised, *(interpolate(table, level) for table in tables))

    def correction(self, x: Tensor, normalised: Tensor, bias: Tensor, scale: Tensor, condition: Tensor) -> Tensor:
        """(B, bands, H, W) pixels around zero and (B, latents, H/16, W/16) normalised latents -> the correction.

        `bias`, `scale` and `condition` (B, channels, 1, 1) are the tables of the level.
        """
        first, second, _ = self.config.layers
        magnitudes = normalised[:, : second.stop].abs()
        parts = [(magnitudes * slope).clamp(max=1) for slope in SLOPES]
        shown = torch.cat([normalised[:, first].clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP), torch.stack(parts).sum(0)], 1)
        dtype = self.enter.weight.dtype
        k = self.cond_enter(shown.to(dtype)) + condition.to(dtype)
        k = F.interpolate(self.cond_leave(F.leaky_relu(self.cond_block(k), SLOPE)), scale_factor=BLOCK // PATCH)
        modulation = k.chunk(2 * len(self.blocks), 1)
        height, width = normalised.shape[2:]
        position = (bias + self.position_bias).to(dtype)
        y = self.enter(F.pixel_unshuffle(x * INPUT_FACTOR, PATCH).to(dtype)) + position.repeat(1, 1, height, width)
        for block, factor, shift in zip(self.blocks, modulation[::2], modulation[1::2], strict=True):
            y = block(y, 1 + factor, shift)
        return F.pixel_shuffle(self.leave(y).float() * torch.exp2(scale), PATCH)
