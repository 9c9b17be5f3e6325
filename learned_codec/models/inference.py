"""The floating-point networks as engines run them, from the `transforms` of a weights file.

Their twins for training are `transforms.Refinement` and the hyper-analysis of `entropy_model.EntropyModel`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .condition import Condition
from .config import BLOCK, HYPER_WIDTH, INPUT_FACTOR, PATCH, SLOPE, ModelConfig
from .engine import VECTOR, Array, Engine, Input, NetworkFunction, Operations, Program, Tensor
from .exact import inside, usual_size
from .integers import scalar
from .patches import PATCHES, from_patches, patch_numbers, to_patches
from .weights import Parameters

MOST_BLOCKS = 36
"""The most blocks along a side that the refinement takes at once. They fit a processor's cache and take 30 MB. With
fewer, more of the work is done twice, where parts overlap."""

MOST_SLOPE_BLOCKS = 72
"""The same for `RefinementProgram.slope`. A tile of 1024 pixels is one part."""

COARSE = 4
"""If an axis is taken in parts, their sizes are multiples of this many blocks: each new size must be compiled."""


_STEEP = 1e30
"""Times this, any number but the least ones is beyond 1."""


class _ResidualLayers:
    """The layers of a residual block, `inner` channels wide inside."""

    def __init__(self, parameters: Parameters, name: str, width: int, inner: int) -> None:
        self._depthwise = parameters.depthwise(f"{name}.depthwise", width)
        self._expand = parameters.pointwise(f"{name}.expand", inner, width)
        self._project = parameters.pointwise(f"{name}.project", width, inner)

    def __call__(self, ops: Operations, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """With a `modulation`, a factor and a shift of the depthwise layer's output, at 1/4 of its resolution."""
        return self.closed(ops, x, self.opened(ops, x, modulation))

    def opened(self, ops: Operations, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The first half of the block: what its activation takes."""
        y = ops.depthwise(x, *self._depthwise)
        if modulation is not None:
            y = ops.modulated(y, *modulation, BLOCK // PATCH)
        return ops.pointwise(y, *self._expand)

    def closed(self, ops: Operations, x: Tensor, opened: Tensor) -> Tensor:
        """The second half."""
        return ops.add(ops.pointwise(ops.leaky_relu(opened, SLOPE), *self._project), x)

    def slope(self, ops: Operations, slope: Tensor, opened: Tensor, modulation: tuple[Tensor, Tensor]) -> Tensor:
        """The slope of something by the block's input, from that by its output."""
        factor, shift = modulation
        weight, _ = self._depthwise
        turned = np.ascontiguousarray(weight[:, ::-1, ::-1]), np.zeros(len(weight), np.float32)
        # 1 above zero, SLOPE below.
        steepness = ops.clip(ops.multiply(opened, ops.constant(scalar(_STEEP))), SLOPE, 1)
        y = ops.multiply(ops.pointwise(slope, _transposed(self._project[0])), steepness)
        y = ops.pointwise(y, _transposed(self._expand[0]))
        y = ops.modulated(y, factor, ops.multiply(shift, ops.constant(scalar(0))), BLOCK // PATCH)
        return ops.add(ops.depthwise(y, *turned), slope)


class RefinementProgram:
    """The residual network on decoded pixels."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """`tensors`: the `transforms.*` tensors of a weights file, without that prefix. Raises `WeightsError`."""
        parameters = Parameters(tensors, "refinement")
        self.condition = condition = Condition(config, parameters)
        outputs, width, inner = config.bands * PATCH**2, config.refinement_width, config.refinement_inner
        self._halo = -(-config.refinement_blocks * PATCH // BLOCK)
        weight, bias = parameters.pointwise("enter", width, outputs)
        self._enter = weight * np.float32(INPUT_FACTOR), bias
        self._position_bias = parameters.get("position_bias", width, PATCHES)
        self._blocks = [
            _ResidualLayers(parameters, f"blocks.{i}", width, inner) for i in range(config.refinement_blocks)
        ]
        self.leave = parameters.pointwise("leave", outputs, width)
        self.adaptations = parameters.get("adaptations", config.adaptations, outputs, width)
        inputs = [
            Input(outputs, channels_last=True, stride=PATCH),
            Input(PATCHES, channels_last=True, stride=PATCH),
            Input(width, VECTOR),
            Input(condition.width, channels_last=True, stride=BLOCK),
        ]
        weight_input, scale_input = Input(1, (outputs, width)), Input(1, VECTOR)

        def built(network: NetworkFunction, *given: Input, any_size: bool = False) -> list[Program]:
            return [
                engine.build(network, given, exact=fine, channels_last=True, any_size=any_size)
                for fine in (False, True)
            ]

        self._plain = built(self._network, *inputs)
        self._adapted = built(self._adapted_network, *inputs, weight_input)
        self._bytes = built(partial(self._bytes_network, self._network), *inputs, scale_input)
        self._adapted_bytes = built(
            partial(self._bytes_network, self._adapted_network), *inputs, weight_input, scale_input
        )
        self._conditions = built(condition.network, *condition.inputs, any_size=True)
        self._before_last = engine.build(lambda ops, x: [self._features(ops, x)], inputs, exact=False)
        errors = Input(outputs, channels_last=True, stride=PATCH)
        given = [*inputs, errors, scale_input]
        self._slopes = [
            engine.build(self._slope_network, [*given, *visible], exact=False, channels_last=True)
            for visible in ([], [errors])
        ]

    def correction(
        self,
        planes: Array,
        bias: Array,
        log2_scale: float,
        condition: Sequence[Array],
        adaptation: Sequence[int] = (),
        inner: tuple[slice, slice] | None = None,
        *,
        fine: bool = False,
    ) -> Array:
        """What to add to (bands, H, W) decoded pixels around zero, H and W multiples of 16.

        `bias` (width,) and `log2_scale` are those of the level; `condition` is what `Condition.values` gives
        for the decoded latents. `adaptation` says how much of each of the first `adaptations` is
        added to the last layer's weights. With `inner`, only these rows and columns come back. `fine` asks for float32,
        whose differences between machines 16 bits hardly show.
        """
        weights = self._adapted_weights(adaptation)
        program = (self._adapted if weights else self._plain)[fine]

        def run(given: list[Array]) -> Array:
            (found,) = program(*given, *weights)
            found *= np.float32(2.0**log2_scale)
            return found

        (conditioned,) = self._conditions[fine](*condition)
        return self._in_parts(run, np.float32, planes, bias, conditioned, inner)

    def refined_bytes(
        self,
        planes: Array,
        bias: Array,
        log2_scale: float,
        condition: Sequence[Array],
        adaptation: Sequence[int] = (),
        inner: tuple[slice, slice] | None = None,
    ) -> NDArray[np.uint8]:
        """`planes` with their `correction`, from -0.5 … 0.5 to bytes."""
        weights = self._adapted_weights(adaptation)
        program = (self._adapted_bytes if weights else self._bytes)[False]
        scale = scalar(2.0**log2_scale)

        def run(given: list[Array]) -> NDArray[np.uint8]:
            (found,) = program(*given, *weights, scale)
            return found.astype(np.uint8)

        (conditioned,) = self._conditions[False](*condition)
        return self._in_parts(run, np.uint8, planes, bias, conditioned, inner)

    def slope(
        self,
        planes: Array,
        wanted: Array,
        visible: Array | None,
        bias: Array,
        log2_scale: float,
        condition: Sequence[Array],
    ) -> Array:
        """Half the slope of the squared error by `planes`. The condition is taken as it is.

        The error is that of `planes` with their `correction`, against (bands, H, W) `wanted` pixels around zero. With
        `visible`, of the same shape, errors are multiplied by it.
        """
        # In float32: the networks would round both to 8 bits.
        missing, scale = planes - wanted, scalar(2.0**log2_scale)
        program, slope = self._slopes[visible is not None], np.empty_like(planes)
        (conditioned,) = self._conditions[False](*condition)
        # A slope depends on errors as far away as the halo, and these on pixels as far away again. That is left out:
        # where parts meet, the furthest errors are a little wrong, and hardly count.
        down, across = (
            parts_of(n // BLOCK, blocks_of(slice(0, n)), self._halo, MOST_SLOPE_BLOCKS) for n in planes.shape[1:]
        )
        for vertical, horizontal in itertools.product(down, across):
            blocks = vertical.outer, horizontal.outer
            rows, columns = (_scaled(part, BLOCK) for part in blocks)
            given = [*self._inputs(planes, bias, conditioned, blocks), to_patches(missing[:, rows, columns]), scale]
            if visible is not None:
                given.append(to_patches(visible[:, rows, columns]))
            inner = _scaled(vertical.inner, BLOCK // PATCH), _scaled(horizontal.inner, BLOCK // PATCH)
            (found,) = program(*given)
            from_patches(found[inner], slope[:, _scaled(vertical.place, BLOCK), _scaled(horizontal.place, BLOCK)])
        return slope

    def _in_parts(
        self,
        run: Callable[[list[Array]], NDArray[Any]],
        dtype: type,
        planes: Array,
        bias: Array,
        conditioned: Array,
        inner: tuple[slice, slice] | None,
    ) -> NDArray[Any]:
        """What `run` makes of the inputs of each part, patches of `dtype`, put together."""
        rows, columns = inner or (slice(0, planes.shape[1]), slice(0, planes.shape[2]))
        down, across = (
            parts_of(length // BLOCK, blocks_of(part), self._halo)
            for length, part in zip(planes.shape[1:], (rows, columns), strict=True)
        )
        result = np.empty((len(planes), down[-1].place.stop * BLOCK, across[-1].place.stop * BLOCK), dtype)
        for vertical, horizontal in itertools.product(down, across):
            found = run(self._inputs(planes, bias, conditioned, (vertical.outer, horizontal.outer)))
            found = found[_scaled(vertical.inner, BLOCK // PATCH), _scaled(horizontal.inner, BLOCK // PATCH)]
            from_patches(found, result[:, _scaled(vertical.place, BLOCK), _scaled(horizontal.place, BLOCK)])
        top, left = rows.start % BLOCK, columns.start % BLOCK
        return result[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]

    def features(self, planes: Array, bias: Array, condition: Sequence[Array]) -> Array:
        """(bands, H, W) decoded pixels -> the input of the last layer, (width, H/4, W/4)."""
        (conditioned,) = self._conditions[False](*condition)
        whole = slice(0, planes.shape[1] // BLOCK), slice(0, planes.shape[2] // BLOCK)
        (found,) = self._before_last(*self._inputs(planes, bias, conditioned, whole))
        return found

    @staticmethod
    def _inputs(planes: Array, bias: Array, conditioned: Array, blocks: tuple[slice, slice]) -> list[Array]:
        """The inputs of `_features` for a part of the pixels, given in blocks."""
        rows, columns = (_scaled(part, BLOCK) for part in blocks)
        part = conditioned[blocks]
        return [to_patches(planes[:, rows, columns]), patch_numbers(*part.shape[:2]), bias[:, None, None], part]

    def _adapted_weights(self, adaptation: Sequence[int]) -> list[Array]:
        """With an adaptation, the last layer's weights, (1, outputs, width). Empty without one."""
        if not any(adaptation):
            return []
        amounts = np.array(adaptation, np.float32)
        weight = self.leave[0] + np.tensordot(amounts, self.adaptations[: len(amounts)], 1)
        return [weight[None]]

    def _entered(self, ops: Operations, patches: Tensor, numbers: Tensor, bias: Tensor) -> Tensor:
        x = ops.add(ops.pointwise(patches, *self._enter), ops.pointwise(numbers, self._position_bias))
        return ops.add(x, bias)

    def _features(self, ops: Operations, inputs: Sequence[Tensor]) -> Tensor:
        *given, conditioned = inputs
        modulations, x = self.condition.modulations(ops, conditioned), self._entered(ops, *given)
        for block, modulation in zip(self._blocks, modulations, strict=True):
            x = block(ops, x, modulation)
        return x

    def _slope_network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The network of `slope`."""
        *given, conditioned, missing, scale = inputs[:6]
        modulations, x, opened = self.condition.modulations(ops, conditioned), self._entered(ops, *given), []
        for block, modulation in zip(self._blocks, modulations, strict=True):
            opened.append(block.opened(ops, x, modulation))
            x = block.closed(ops, x, opened[-1])
        left = ops.add(ops.multiply(ops.pointwise(x, *self.leave), scale), missing)
        for visible in inputs[6:]:
            left = ops.multiply(left, visible)
        slope = ops.pointwise(ops.multiply(left, scale), _transposed(self.leave[0]))
        for block, own, modulation in reversed(list(zip(self._blocks, opened, modulations, strict=True))):
            slope = block.slope(ops, slope, own, modulation)
        return [ops.add(ops.pointwise(slope, _transposed(self._enter[0])), left)]

    def _network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return [ops.pointwise(self._features(ops, inputs), *self.leave)]

    def _adapted_network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        *plain, weight = inputs
        last_bias = ops.constant(self.leave[1][:, None, None])
        return [ops.add(ops.weighted(self._features(ops, plain), weight), last_bias)]

    @staticmethod
    def _bytes_network(network: NetworkFunction, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """What `network` makes of all inputs but the last, times that, added to the patches."""
        *given, scale = inputs
        (correction,) = network(ops, given)
        return [ops.bytes_of(correction, scale, given[0])]


class HyperAnalysisProgram:
    """Latents to hyper-latents, before these are rounded."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """As `RefinementProgram`."""
        width, outputs = HYPER_WIDTH, config.hyper_latents
        parameters = Parameters(tensors, "hyper_analysis.network")
        self._enter = parameters.pointwise("0", width, config.hyper_inputs)
        sizes = zip((2, 4), (width, outputs), strict=True)
        self._down = [_with_shortcut(parameters.pointwise(f"{n}.conv", size, 4 * width)) for n, size in sizes]
        self._block = _ResidualLayers(parameters, "3", width, 2 * width)
        vectors = [Input(outputs, VECTOR)] * 2
        self._signed = config.layers[0].stop
        inputs = [Input(config.hyper_inputs, channels_last=True), Input(1, stride=2), *vectors]
        # Only encoders use it, and in bf16 files are as small as in float32.
        self.program = engine.build(self._network, inputs, exact=False, channels_last=True)

    def __call__(self, latents: Array, gain: Array, hyper_gain: Array, hyper_bias: Array) -> Array:
        """(h, w, latents), h and w multiples of 4 -> (h/4, w/4, hyper_latents).

        Gains and bias are those of the level.
        """
        height, width, _ = latents.shape
        size = usual_size(height, width)
        vectors = hyper_gain[:, None, None], hyper_bias[:, None, None]
        (found,) = self.program(
            _compressed(latents, gain, size, self._signed), inside(size, height, width, 2), *vectors
        )
        return found[: height // 4, : width // 4]

    def _network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        latents, within, hyper_gain, hyper_bias = inputs
        x = ops.leaky_relu(ops.pointwise(latents, *self._enter), SLOPE)
        x = ops.pointwise(ops.space_to_depth(x, 2), *self._down[0])
        x = self._block(ops, ops.multiply(x, within))
        x = ops.pointwise(ops.space_to_depth(x, 2), *self._down[1])
        return [ops.add(ops.multiply(x, hyper_gain), hyper_bias)]


class AxisPart(NamedTuple):
    """A part of an axis, in blocks: its `place` in the result, its `outer` blocks, and its `inner` ones in these.

    A network takes the outer blocks. What it makes of the inner ones depends on these alone.
    """

    place: slice
    outer: slice
    inner: slice


def parts_of(length: int, wanted: slice, halo: int, most: int | None = None) -> list[AxisPart]:
    """The `wanted` blocks of an axis of `length` blocks in parts, each with a `halo` as far as the axis goes.

    All parts have the same number of outer blocks, at most `most` (None: MOST_BLOCKS).
    """
    total, most = wanted.stop - wanted.start, MOST_BLOCKS if most is None else most
    count = -(-total // max(1, most - 2 * halo))
    size = -(-total // count) + 2 * halo
    size = min(-(-size // COARSE) * COARSE if count > 1 else size, length)
    parts, done = [], wanted.start
    while done < wanted.stop:
        start = max(0, min(done - halo, length - size))
        stop = start + size
        end = wanted.stop if stop == length else min(wanted.stop, stop - halo)
        place = slice(done - wanted.start, end - wanted.start)
        parts.append(AxisPart(place, slice(start, stop), slice(done - start, end - start)))
        done = end
    return parts


def blocks_of(pixels: slice) -> slice:
    """The blocks that hold these pixels of an axis."""
    return slice(pixels.start // BLOCK, -(-pixels.stop // BLOCK))


def _transposed(weight: Array) -> Array:
    return np.ascontiguousarray(weight.T)


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)


def _compressed(latents: Array, gain: Array, size: tuple[int, int], signed: int) -> Array:
    """asinh(latents * gain / 2) of (h, w, latents): the first `signed` ones, then the magnitudes of all.

    The result is (*size, signed + latents), with zeros beyond h and w.
    """
    height, width, channels = latents.shape
    result = np.empty((*size, signed + channels), np.float32)
    result[height:] = result[:, width:] = 0
    half, x, sums = gain / 2, *np.empty((2, width, channels), np.float32)
    for row, found in zip(latents, result[:height, :width], strict=True):  # row by row fits a processor's cache
        np.multiply(row, half, out=x)
        np.multiply(x, x, out=sums)
        sums += 1
        np.sqrt(sums, out=sums)
        sums += np.abs(x)
        np.log(sums, out=found[:, signed:])
        np.copysign(found[:, signed : 2 * signed], x[:, :signed], out=found[:, :signed])
    return result


def _with_shortcut(layer: tuple[Array, Array]) -> tuple[Array, Array]:
    """`layers.Down` as one layer: its shortcut, the means of channel groups, is a matrix product as well."""
    weight, bias = layer
    outputs, inputs = weight.shape
    means = np.kron(np.eye(outputs, dtype=np.float32), np.full((1, inputs // outputs), outputs / inputs, np.float32))
    return weight + means, bias
