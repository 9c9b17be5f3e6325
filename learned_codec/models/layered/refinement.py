"""The refinement of the second generation as engines run it: what the latents say scales and shifts its blocks.

Its blocks may be narrower inside than those of the first, which they are pruned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.config import BLOCK, INPUT_FACTOR, PATCH, SLOPE
from learned_codec.models.engine import VECTOR, Array, Engine, Input, Operations, Tensor
from learned_codec.models.inference import Parameters, parts_of, phases_of

from .config import LayeredConfig

SLOPES = (0.25, 2.0, 16.0)
"""A magnitude as the condition sees it: the sum of these multiples of it, each up to 1. That is nearly a logarithm."""


class LayeredRefinementProgram:
    """The residual network on decoded pixels, and the one that conditions it."""

    def __init__(self, config: LayeredConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """`tensors`: the `transforms.*` of a weights file, without that prefix. Raises `WeightsError`."""
        self._config = config
        outputs, width, inner = config.bands * PATCH**2, config.refinement_width, config.refinement_inner
        given = Parameters(tensors, "refinement")
        weight, bias = given.pointwise("enter", width, outputs)
        self._enter = weight * np.float32(INPUT_FACTOR), bias
        self._position_bias = given.get("position_bias", width, (BLOCK // PATCH) ** 2)
        self._blocks = [
            (
                given.depthwise(f"blocks.{i}.depthwise", width),
                given.pointwise(f"blocks.{i}.expand", inner, width),
                given.pointwise(f"blocks.{i}.project", width, inner),
            )
            for i in range(config.refinement_blocks)
        ]
        self._leave = given.pointwise("leave", outputs, width)
        first, second, _ = config.layers
        self._shown, self._sized = first.stop, second.stop
        condition = config.condition_width
        self._condition = given.pointwise("cond_enter", condition, self._shown + self._sized)
        self._condition_block = (
            given.depthwise("cond_block.depthwise", condition),
            given.pointwise("cond_block.expand", 2 * condition, condition),
            given.pointwise("cond_block.project", condition, 2 * condition),
        )
        weight, bias = given.pointwise("cond_leave", 2 * width * config.refinement_blocks, condition)
        self._modulation = [
            (weight[at : at + width], bias[at : at + width] + np.float32(at // width % 2 == 0))
            for at in range(0, len(bias), width)
        ]
        inputs = [
            Input(config.bands),
            Input((BLOCK // PATCH) ** 2, channels_last=True, stride=PATCH),
            Input(self._shown + self._sized, channels_last=True, stride=BLOCK),
            Input(width, VECTOR),
            Input(1, VECTOR),
            Input(condition, VECTOR),
        ]
        self._program = engine.build(self._network, inputs, exact=False)

    def correction(self, planes: Array, normalised: Array, bias: Array, log2_scale: float, condition: Array) -> Array:
        """What to add to (bands, H, W) decoded pixels around zero, H and W multiples of 16.

        `normalised` (H/16, W/16, latents): the decoded latents over their base scale, zeros in layers that are missing.
        `bias` (width,), `log2_scale` and `condition` (condition width,) are those of the level.
        """
        vectors = bias[:, None, None], np.full((1, 1, 1), 2.0**log2_scale, np.float32), condition[:, None, None]
        shown = self._as_shown(normalised)
        result = np.empty_like(planes)
        reach = self._config.refinement_blocks * PATCH
        columns = list(parts_of(planes.shape[2], slice(0, planes.shape[2]), reach))
        for rows, outer_rows, taken_rows in parts_of(planes.shape[1], slice(0, planes.shape[1]), reach):
            for mine, outer, taken in columns:
                part = planes[:, outer_rows, outer]
                blocks = shown[_in_blocks(outer_rows), _in_blocks(outer)]
                (found,) = self._program(part, phases_of(part), np.ascontiguousarray(blocks), *vectors)
                result[:, rows, mine] = found[:, taken_rows, taken]
        return result

    def _as_shown(self, normalised: Array) -> Array:
        magnitudes = np.abs(normalised[..., : self._sized])
        parts = [np.minimum(magnitudes * np.float32(slope), 1) for slope in SLOPES]
        return np.concatenate([normalised[..., : self._shown].clip(-4, 4), sum(parts[1:], parts[0])], 2)

    def _network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        planes, phases, shown, bias, scale, level = inputs
        k = ops.add(ops.pointwise(shown, *self._condition), level)
        depthwise, expand, project = self._condition_block
        hidden = ops.leaky_relu(ops.pointwise(ops.depthwise(k, *depthwise), *expand), SLOPE)
        k = ops.leaky_relu(ops.add(ops.pointwise(hidden, *project), k), SLOPE)
        x = ops.pointwise(ops.space_to_depth(planes, PATCH), *self._enter)
        x = ops.add(ops.add(x, ops.pointwise(phases, self._position_bias)), bias)
        for i, (depthwise, expand, project) in enumerate(self._blocks):
            factor, shift = (
                ops.enlarge(ops.enlarge(ops.pointwise(k, *self._modulation[at]))) for at in (2 * i, 2 * i + 1)
            )
            y = ops.add(ops.multiply(ops.depthwise(x, *depthwise), factor), shift)
            x = ops.add(ops.pointwise(ops.leaky_relu(ops.pointwise(y, *expand), SLOPE), *project), x)
        return [ops.depth_to_space(ops.multiply(ops.pointwise(x, *self._leave), scale), PATCH)]


def _in_blocks(pixels: slice) -> slice:
    return slice(pixels.start // BLOCK, pixels.stop // BLOCK)
