"""The floating-point networks as engines run them, from the `transforms` of a weights file.

Their twins for training are `transforms.Refinement` and `entropy_model.HyperAnalysis`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import WeightsError

from .config import BLOCK, INPUT_FACTOR, PATCH, SLOPE
from .engine import VECTOR, Array, Engine, Input, Operations, Program, Tensor
from .exact import inside, usual_size

MOST_BLOCKS = 48
"""Blocks along a side that the refinement takes at once. An engine keeps the outputs of several layers: 60 MB for so
many."""

COARSE = 4
"""If the refinement takes an image in parts, their sides are multiples of this many blocks: each new size must be
compiled."""


class RefinementConfig(Protocol):
    """What is used of a configuration."""

    @property
    def bands(self) -> int: ...
    @property
    def refinement_width(self) -> int: ...
    @property
    def refinement_blocks(self) -> int: ...
    @property
    def adaptations(self) -> int: ...


class Parameters:
    """A weights file's tensors in float32, by name. Raises `WeightsError` for missing ones and wrong shapes."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def get(self, name: str, *shape: int) -> Array:
        """A tensor in this shape; the stored one may have another with as many values."""
        key = f"{self._prefix}.{name}"
        found = self._tensors.get(key)
        if found is None or found.size != np.prod(shape):
            raise WeightsError(f"the weights do not fit their configuration: {key} should be {shape}")
        return found.astype(np.float32).reshape(shape)

    def pointwise(self, name: str, outputs: int, inputs: int) -> tuple[Array, Array]:
        """Weight and bias of a 1x1 layer."""
        return self.get(f"{name}.weight", outputs, inputs), self.get(f"{name}.bias", outputs)

    def depthwise(self, name: str, channels: int) -> tuple[Array, Array]:
        """Weight and bias of a depthwise 3x3 layer."""
        return self.get(f"{name}.weight", channels, 3, 3), self.get(f"{name}.bias", channels)


class _Block:
    """`layers.ResidualBlock`, `inner` channels wide inside."""

    def __init__(self, parameters: Parameters, name: str, width: int, inner: int) -> None:
        self._depthwise = parameters.depthwise(f"{name}.depthwise", width)
        self._expand = parameters.pointwise(f"{name}.expand", inner, width)
        self._project = parameters.pointwise(f"{name}.project", width, inner)

    def __call__(self, ops: Operations, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """With a `modulation`, a factor and a shift of the depthwise layer's output."""
        y = ops.depthwise(x, *self._depthwise)
        if modulation is not None:
            y = ops.add(ops.multiply(y, modulation[0]), modulation[1])
        return ops.add(ops.pointwise(ops.leaky_relu(ops.pointwise(y, *self._expand), SLOPE), *self._project), x)


class ConditionProgram(Protocol):
    """What conditions a refinement: a network at 1/16 on an image's decoded latents."""

    @property
    def inputs(self) -> Sequence[Input]:
        """What it takes: an array at 1/16, and vectors."""

    def modulations(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[tuple[Tensor, Tensor]]:
        """A factor and a shift for each residual block, at 1/4."""


class RefinementProgram:
    """The residual network on decoded pixels."""

    def __init__(
        self,
        config: RefinementConfig,
        parameters: Parameters,
        engine: Engine,
        inner: int,
        condition: ConditionProgram | None = None,
    ) -> None:
        """With blocks `inner` channels wide inside, which a network may `condition`."""
        self._config, self._condition = config, condition
        outputs, width = config.bands * PATCH**2, config.refinement_width
        weight, self._enter_bias = parameters.pointwise("enter", width, outputs)
        self._enter_weight = weight * np.float32(INPUT_FACTOR)
        phases = BLOCK // PATCH
        self._position_bias = parameters.get("position_bias", width, phases**2)
        self._blocks = [_Block(parameters, f"blocks.{i}", width, inner) for i in range(config.refinement_blocks)]
        self.leave = parameters.pointwise("leave", outputs, width)
        self.adaptations = parameters.get("adaptations", config.adaptations, outputs, width)
        inputs = [
            Input(config.bands),
            Input(phases**2, channels_last=True, stride=PATCH),
            Input(width, VECTOR),
            *(condition.inputs if condition else ()),
        ]
        plain = [*inputs, Input(1, VECTOR)]
        adapted = [*plain, Input(1, (outputs, width))]
        self._count = len(inputs)
        self._plain, self._adapted = (
            [engine.build(self._network, own, exact=fine) for fine in (False, True)] for own in (plain, adapted)
        )
        self._before_last = engine.build(lambda ops, x: [self._features(ops, x)], inputs, exact=False)

    def correction(
        self,
        planes: Array,
        bias: Array,
        log2_scale: float,
        condition: Sequence[Array] = (),
        adaptation: Sequence[int] = (),
        inner: tuple[slice, slice] | None = None,
        *,
        fine: bool = False,
    ) -> Array:
        """What to add to (bands, H, W) decoded pixels around zero, H and W multiples of 16.

        `bias` (width,) and `log2_scale` are those of the level; `condition` are the inputs of the network that
        conditions, the first (H/16, W/16, channels). `adaptation` says how much of each of the first `adaptations` is
        added to the last layer's weights. With `inner`, only these rows and columns come back. `fine` asks for float32,
        whose differences between machines 16 bits hardly show.
        """
        scale = np.full((1, 1, 1), 2.0**log2_scale, np.float32)
        program, weights = self._program(adaptation, fine)
        reach = self._config.refinement_blocks * PATCH + (BLOCK if condition else 0)  # conditions come from neighbours
        along = [
            list(parts_of(length, part or slice(0, length), reach))
            for length, part in zip(planes.shape[1:], inner or (None, None), strict=True)
        ]
        result = np.empty((len(planes), *(parts[-1][0].stop for parts in along)), np.float32)
        for rows, outer_rows, taken_rows in along[0]:
            for columns, outer_columns, taken_columns in along[1]:
                given = self._inputs(planes, bias, condition, (outer_rows, outer_columns))
                (found,) = program(*given, scale, *weights)
                result[:, rows, columns] = found[:, taken_rows, taken_columns]
        return result

    def features(self, planes: Array, bias: Array, condition: Sequence[Array] = ()) -> Array:
        """(bands, H, W) decoded pixels -> the input of the last layer, (width, H/4, W/4)."""
        whole = slice(0, planes.shape[1]), slice(0, planes.shape[2])
        (found,) = self._before_last(*self._inputs(planes, bias, condition, whole))
        return found

    @staticmethod
    def _inputs(planes: Array, bias: Array, condition: Sequence[Array], part: tuple[slice, slice]) -> list[Array]:
        """The inputs of `_features` for a part of the pixels, whole blocks."""
        here = planes[:, *part]
        blocks = tuple(slice(along.start // BLOCK, along.stop // BLOCK) for along in part)
        arrays = [np.ascontiguousarray(condition[0][blocks]), *condition[1:]] if condition else []
        return [here, phases_of(here), bias[:, None, None], *arrays]

    def _program(self, adaptation: Sequence[int], fine: bool) -> tuple[Program, list[Array]]:
        """The program that computes the correction with an adaptation, and its last inputs."""
        if not any(adaptation):
            return self._plain[fine], []
        amounts = np.array(adaptation, np.float32)
        weight = self.leave[0] + np.tensordot(amounts, self.adaptations[: len(amounts)], 1)
        return self._adapted[fine], [weight[None]]

    def _features(self, ops: Operations, inputs: Sequence[Tensor]) -> Tensor:
        planes, phases, bias, *given = inputs
        modulations: Sequence[tuple[Tensor, Tensor] | None] = [None] * len(self._blocks)
        if self._condition is not None:
            modulations = self._condition.modulations(ops, given)
        x = ops.pointwise(ops.space_to_depth(planes, PATCH), self._enter_weight, self._enter_bias)
        x = ops.add(ops.add(x, ops.pointwise(phases, self._position_bias)), bias)
        for block, modulation in zip(self._blocks, modulations, strict=True):
            x = block(ops, x, modulation)
        return x

    def _network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        x = self._features(ops, inputs[: self._count])
        scale, *adapted = inputs[self._count :]
        weight, last_bias = self.leave
        if adapted:
            x = ops.add(ops.weighted(x, adapted[0]), ops.constant(last_bias[:, None, None]))
        else:
            x = ops.pointwise(x, weight, last_bias)
        return [ops.depth_to_space(ops.multiply(x, scale), PATCH)]


class HyperAnalysisProgram:
    """Latents to hyper-latents, before these are rounded."""

    def __init__(
        self, latents: int, width: int, outputs: int, tensors: Mapping[str, NDArray[Any]], engine: Engine
    ) -> None:
        """From so many latents to so many outputs, `width` channels wide between them."""
        parameters = Parameters(tensors, "hyper_analysis.network")
        self._enter = parameters.pointwise("0", width, 2 * latents)
        sizes = zip((2, 4), (width, outputs), strict=True)
        self._down = [_with_shortcut(parameters.pointwise(f"{n}.conv", size, 4 * width)) for n, size in sizes]
        self._block = _Block(parameters, "3", width, 2 * width)
        vectors = [Input(outputs, VECTOR)] * 2
        inputs = [Input(2 * latents, channels_last=True), Input(1, stride=2), *vectors]
        self.program = engine.build(self._network, inputs, exact=True, channels_last=True)

    def __call__(self, latents: Array, gain: Array, hyper_gain: Array, hyper_bias: Array) -> Array:
        """(h, w, latents), h and w multiples of 4 -> (h/4, w/4, hyper_latents).

        Gains and bias are those of the level.
        """
        height, width, _ = latents.shape
        size = usual_size(height, width)
        vectors = hyper_gain[:, None, None], hyper_bias[:, None, None]
        (found,) = self.program(_compressed(latents, gain, size), inside(size, height, width, 2), *vectors)
        return found[: height // 4, : width // 4]

    def _network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        latents, within, hyper_gain, hyper_bias = inputs
        x = ops.leaky_relu(ops.pointwise(latents, *self._enter), SLOPE)
        x = ops.pointwise(ops.space_to_depth(x, 2), *self._down[0])
        x = self._block(ops, ops.multiply(x, within))
        x = ops.pointwise(ops.space_to_depth(x, 2), *self._down[1])
        return [ops.add(ops.multiply(x, hyper_gain), hyper_bias)]


def parts_of(length: int, inner: slice, reach: int) -> Iterator[tuple[slice, slice, slice]]:
    """The `inner` pixels of an axis in parts, all of the same size, each with the pixels that its output depends on.

    Those are `reach` more on both sides, as far as the axis goes. Yields three slices: the part, counted from the start
    of `inner`; the pixels that the network takes, whole blocks, on the axis; and the part in these.
    """
    halo = -(-reach // BLOCK)
    blocks, first, last = length // BLOCK, inner.start // BLOCK, -(-inner.stop // BLOCK)
    count = -(-(last - first) // MOST_BLOCKS)
    size = -(-(last - first) // count) + 2 * halo
    size = min(-(-size // COARSE) * COARSE if count > 1 else size, blocks)
    done = inner.start
    while done < inner.stop:
        start = max(0, min(done // BLOCK - halo, blocks - size))
        stop = start + size
        end = inner.stop if stop == blocks else min(inner.stop, (stop - halo) * BLOCK)
        part = slice(done - start * BLOCK, end - start * BLOCK)
        yield slice(done - inner.start, end - inner.start), slice(start * BLOCK, stop * BLOCK), part
        done = end


def phases_of(planes: Array) -> Array:
    """(H/4, W/4, 16): 1 at the number of each patch in its block of 16 x 16 pixels, else 0."""
    count = BLOCK // PATCH
    pattern = np.eye(count**2, dtype=np.float32).reshape(count, count, -1)
    return np.tile(pattern, (planes.shape[1] // BLOCK, planes.shape[2] // BLOCK, 1))


def _compressed(latents: Array, gain: Array, size: tuple[int, int]) -> Array:
    """asinh(latents * gain / 2) of (h, w, latents), then the magnitudes of these: (…, …, 2 * latents).

    The result has `size`, with zeros beyond h and w.
    """
    height, width, channels = latents.shape
    result = np.zeros((*size, 2, channels), np.float32)
    for row, found in zip(latents, result[:height, :width], strict=True):  # row by row fits a processor's cache
        x = row * (gain / 2)
        magnitude = np.sqrt(x * x + 1)
        magnitude += np.abs(x)
        np.log(magnitude, out=found[:, 1])
        np.copysign(found[:, 1], x, out=found[:, 0])
    return result.reshape(*size, -1)


def _with_shortcut(layer: tuple[Array, Array]) -> tuple[Array, Array]:
    """`layers.Down` as one layer: its shortcut, the means of channel groups, is a matrix product as well."""
    weight, bias = layer
    outputs, inputs = weight.shape
    means = np.kron(np.eye(outputs, dtype=np.float32), np.full((1, inputs // outputs), outputs / inputs, np.float32))
    return weight + means, bias
