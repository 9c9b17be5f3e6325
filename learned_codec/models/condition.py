"""The network that conditions the refinement: from decoded latents, it computes scales and shifts of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .config import BLOCK, CONTEXT_CLAMP, SLOPE, ModelConfig
from .engine import VECTOR, Array, Input, Operations, Tensor
from .weights import Parameters

SLOPES = (0.25, 2.0, 16.0)
"""The input has for each magnitude the sum of these multiples of it, each up to 1: nearly a logarithm."""


class Condition:
    """`transforms.Refinement`'s part at 1/16, as engines run it.

    Attributes:
        inputs: what `network` takes: an array at 1/16, and a vector.
        width: the channels of its result.
    """

    def __init__(self, config: ModelConfig, parameters: Parameters) -> None:
        first, second, _ = config.layers
        self._signed, self._magnitudes = first.stop, second.stop
        width = self.width = config.condition_width
        self._enter = parameters.pointwise("cond_enter", width, self._signed + self._magnitudes)
        self._block = (
            parameters.depthwise("cond_block.depthwise", width),
            parameters.pointwise("cond_block.expand", 2 * width, width),
            parameters.pointwise("cond_block.project", width, 2 * width),
        )
        modulated, blocks = config.refinement_width, config.refinement_blocks
        weight, bias = parameters.pointwise("cond_leave", 2 * modulated * blocks, width)
        parts = [slice(at, at + modulated) for at in range(0, len(bias), modulated)]
        self._factors = [(weight[part], bias[part] + 1) for part in parts[::2]]
        self._shifts = [(weight[part], bias[part]) for part in parts[1::2]]
        self.inputs = [
            Input(self._signed + self._magnitudes, channels_last=True, stride=BLOCK),
            Input(width, VECTOR),
        ]

    def values(self, normalised: Array, level: Array) -> list[Array]:
        """The inputs: from (h, w, latents) decoded latents over their base scales, and the level's (width,) vector."""
        magnitudes = np.abs(normalised[..., : self._magnitudes])
        total = sum(np.minimum(magnitudes * np.float32(slope), 1) for slope in SLOPES)
        signed = normalised[..., : self._signed].clip(-CONTEXT_CLAMP, CONTEXT_CLAMP)
        return [np.concatenate([signed, total], 2, dtype=np.float32), level[:, None, None]]

    def network(self, ops: Operations, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The network. Its one result is at 1/16 and depends on neighbours, too."""
        shown, level = inputs
        k = ops.add(ops.pointwise(shown, *self._enter), level)
        depthwise, expand, project = self._block
        hidden = ops.leaky_relu(ops.pointwise(ops.depthwise(k, *depthwise), *expand), SLOPE)
        return [ops.leaky_relu(ops.add(ops.pointwise(hidden, *project), k), SLOPE)]

    def modulations(self, ops: Operations, result: Tensor) -> list[tuple[Tensor, Tensor]]:
        """From that result a factor and a shift for each residual block, at 1/16."""
        pairs = zip(self._factors, self._shifts, strict=True)
        return [(ops.pointwise(result, *factor), ops.pointwise(result, *shift)) for factor, shift in pairs]
