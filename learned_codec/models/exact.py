"""The entropy model in integers: encoder and decoder both run it, and it gives the same bits on every machine.

All values here are integers in float32 (times a power of two inside a layer). Every output channel of every layer
satisfies

    sum |w| * max |input| + |bias| < 2^24,

so every partial sum is exact in float32, whatever the order of summation, the engine or the number of threads. Between
layers, sums are scaled by powers of two, rounded down and clipped, which is exact as well. Means, gains and scales are
fixed-point numbers and base-2 logarithms. Powers of two are looked up in `mantissas()`, never computed.

The floating-point twin that is trained is `entropy_model.py`; `learned_codec.training.export` turns one into the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SCALE_BINS, SCALE_LOG2_MIN
from learned_codec.errors import WeightsError

from .config import CONTEXT_STAGES, EXTRA_GAIN, HYPER_STRIDE, LOG2_SCALES, QUALITY_STEPS, STAGE_ORDER, ModelConfig
from .engine import VECTOR, Array, Engine, Input, Operations, Program, Tensor

ACTIVATION_MAX = 1023
"""Activations between layers are clipped to this magnitude."""

EXACT_BITS = 24
"""Integers of up to this many bits are exact in float32."""

LOG2_BITS = 8
"""Fractional bits of a base-2 logarithm: 256ths of an octave."""

MEAN_BITS = 8
"""Fractional bits of means and decoded latents, in quantisation steps."""

MU_BITS = 11
"""Fractional bits of the networks' normalised means."""

LATENT_BITS = 8
"""Fractional bits of normalised latents as inputs of the networks: +-4 becomes +-1023."""

HYPER_INPUT_BITS = 12
"""Fractional bits of the factors and offsets that make the network's input of hyper-latents."""

MU_MAX = 1 << 16
"""Normalised means are clipped to this magnitude: `rounded_product` takes no more."""

MEAN_MAX = 1 << 22
"""Means are clipped to this magnitude, so that sums with symbols stay below 2^24."""

S_MIN, S_MAX = (bound << LOG2_BITS for bound in LOG2_SCALES)
"""The range of the normalised scales' logarithms."""

BIN_SHIFT = 5  # 256ths of an octave to 8ths
BIN_OFFSET = (1 << (BIN_SHIFT - 1)) - round(SCALE_LOG2_MIN * (1 << LOG2_BITS))  # a rounding half; bin 0's scale

SMALL = 16
"""Sides of up to this many latents are not rounded up when the networks run."""

PHASES = 4
"""Positions in a 2 x 2 neighbourhood, row by row. In one stage, each position has another group of channels."""


@cache
def mantissas() -> NDArray[np.int64]:
    """(256,) round(2^(15 + i/256)), in integer arithmetic: a 256th root is eight square roots.

    C libraries may differ in the last bit of `pow`.
    """
    values = []
    for i in range(256):
        root = 1 << (i + 256 * (15 + 16))
        for _ in range(8):
            root = math.isqrt(root)
        values.append((root + (1 << 15)) >> 16)
    return np.array(values, np.int64)


def power_of_two(log2: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    """2^(log2 / 256 + bits) to 16 significant bits, the same on every machine."""
    powers: NDArray[np.float64] = np.ldexp(mantissas()[log2 & 255].astype(np.float64), (log2 >> LOG2_BITS) - 15 + bits)
    return powers


PRODUCT_ROWS = 5
"""Vectors that `rounded_product` needs."""


def product_rows(log2: NDArray[np.int64], bits: int) -> NDArray[np.float32]:
    """(PRODUCT_ROWS, C): the vectors by which `rounded_product` multiplies by `power_of_two(log2, bits)`.

    The 16 bits of a factor m * 2^-k are split into halves, m = 256 * high + low: each half times 16 bits is exact in
    float32. Then round(x * m * 2^-k) = floor((high * x + floor(low * x / 256)) * 2^(8-k) + 1/2) for k > 8. For smaller
    k only the low half has fractional bits, so it alone is rounded.
    """
    m, k = mantissas()[log2 & 255], 15 - bits - (log2 >> LOG2_BITS)
    high, low = (half.astype(np.float64) for half in (m >> 8, m & 255))
    carried = k > 8
    rest = np.where(carried, 8 - k, 0)
    rows = (
        np.ldexp(high, 8 - k),
        np.ldexp(low, np.where(carried, -8, -k)),
        np.where(carried, 0.0, 0.5),
        np.ldexp(1.0, rest),
        np.where(carried, 0.5, 0.0),
    )
    return np.stack(rows).astype(np.float32)


def rounded_product(ops: Operations, x: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """Multiply integers up to 2^16 in magnitude by the factors behind `product_rows`, and round to integers."""
    high, low, low_half, rest, half = rows
    lower = ops.floor(ops.add(ops.multiply(x, low), low_half))
    return ops.floor(ops.add(ops.add(ops.multiply(x, high), ops.multiply(lower, rest)), half))


@dataclass(frozen=True, slots=True)
class Layer:
    """A 1x1 (weight (out, in)) or depthwise 3x3 (weight (C, 3, 3)) layer of integers.

    Output = floor((W * input + bias) * 2^-shift). The half for rounding is already added to the bias; shift >= 1.
    `weight` and `bias` are already multiplied by `scale` (out,) = 2^-shift, which is exact: it changes only the
    exponents.
    """

    weight: Array
    bias: Array
    scale: Array

    @classmethod
    def load(cls, weight: NDArray[Any], bias: NDArray[Any], shift: NDArray[Any], name: str) -> Layer:
        """From stored integers (weight int16, bias int32, shift int8).

        Raises `WeightsError` if sums may exceed the bound.
        """
        if shift.size and int(shift.min()) < 1:
            raise WeightsError(f"exact layer {name}: shifts must be at least 1, got {int(shift.min())}")
        half = np.ldexp(0.5, shift.astype(np.int64))
        rounded = bias.astype(np.float64) + half
        reach = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1) * ACTIVATION_MAX + np.abs(rounded)
        if not (reach < 2**EXACT_BITS).all():
            raise WeightsError(
                f"exact layer {name}: sums may reach {reach.max():.0f}, beyond 2^{EXACT_BITS} = {2**EXACT_BITS}"
            )
        scale = 0.5 / half
        scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        if weight.ndim == 4:
            scaled = scaled[:, 0]
        return cls(scaled.astype(np.float32), (rounded * scale).astype(np.float32), scale.astype(np.float32))


class Layers:
    """The layers by name, applied with an engine's operations."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def pointwise(self, ops: Operations, name: str, x: Tensor) -> Tensor:
        """A 1x1 layer, not clipped."""
        layer = self._layers[name]
        return ops.floor(ops.pointwise(x, layer.weight, layer.bias))

    def block(self, ops: Operations, name: str, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
        """`layers.ResidualBlock`, clipped to `least` … ACTIVATION_MAX."""
        layer = self._layers[f"{name}.depthwise"]
        inner = clip(ops, ops.floor(ops.depthwise(x, layer.weight, layer.bias)))
        inner = clip(ops, self.pointwise(ops, f"{name}.expand", inner), 0)
        return clip(ops, ops.add(self.pointwise(ops, f"{name}.project", inner), x), least)

    def up(self, ops: Operations, name: str, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
        """`layers.PlainUp`, clipped to `least` … ACTIVATION_MAX: twice the height and width."""
        return clip(ops, ops.add(ops.depth_to_space(self.pointwise(ops, name, x), 2), ops.enlarge(x, 2)), least)


def clip(ops: Operations, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
    """Clip activations to `least` … ACTIVATION_MAX."""
    return ops.clip(x, least, ACTIVATION_MAX)


@dataclass(frozen=True, slots=True)
class LevelTables:
    """All integers that depend on the quality step.

    `unit` (latents,): the log2, in 256ths, of a normalised latent of 1 in quantisation steps. `hyper_bins`
    (hyper_latents,): the scale bins of hyper-latents. `input_scale` and `input_bias` (hyper_latents,): what makes the
    network's input of them. `feature_bias` (context_width,): added to the features.
    """

    unit: NDArray[np.int64]
    hyper_bins: NDArray[np.uint8]
    input_scale: NDArray[np.int64]
    input_bias: NDArray[np.int64]
    feature_bias: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stage:
    """The latents of one stage: at each of four positions in a 2 x 2 neighbourhood, a group of channels.

    `groups[p]`: the channels at position p. `means` (in 2^-MEAN_BITS steps) and `bins` (scale bins) are
    (h, w, 4, channels) of the neighbourhoods and the positions in them, float32 and uint8.
    """

    groups: tuple[slice, ...]
    means: Array
    bins: NDArray[np.uint8]


LatentSource = Callable[[Stage], None]
"""A function that adds to a stage's means, in place, the symbols times 2^MEAN_BITS. An encoder's quantises latents, a
decoder's reads a payload."""


def bins_of(ops: Operations, log2_scale: Tensor) -> Tensor:
    """`to_bins`, in a network."""
    nearest = ops.add(log2_scale, ops.constant(_scalar(BIN_OFFSET)))
    return ops.clip(ops.floor(ops.multiply(nearest, ops.constant(_scalar(2.0**-BIN_SHIFT)))), 0, SCALE_BINS - 1)


def groups_of(stage: int, latents: int) -> tuple[slice, ...]:
    """For each position in a 2 x 2 neighbourhood, the group of channels that a stage codes there."""
    size = latents // CONTEXT_STAGES
    found = ((STAGE_ORDER.index(position) - stage) % CONTEXT_STAGES for position in range(PHASES))
    return tuple(slice(group * size, (group + 1) * size) for group in found)


class ExactConfig(Protocol):
    """What is used of a configuration."""

    @property
    def levels(self) -> int: ...
    @property
    def hyper_latents(self) -> int: ...
    @property
    def context_width(self) -> int: ...
    def split(self, step: int) -> tuple[int, int]: ...


class ExactHyperPrior:
    """The part that both generations have alike: the tables of levels, and hyper-latents to features."""

    TABLES = ("unit", "hyper_log2_scale", "input_scale", "input_bias", "feature_bias")

    def __init__(self, config: ExactConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """`tensors`: the `exact.*` tensors of a weights file, without that prefix. Raises `WeightsError`."""
        self._levels = config
        try:
            self._tables = {name: tensors[f"tables.{name}"].astype(np.int64) for name in self.TABLES}
            names = [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]
            self.layers = {
                name: Layer.load(tensors[f"{name}.weight"], tensors[f"{name}.bias"], tensors[f"{name}.shift"], name)
                for name in names
            }
        except KeyError as error:
            raise WeightsError(f"the weights lack the exact tensor {error}") from error
        inputs = [
            Input(config.hyper_latents, channels_last=True, stride=HYPER_STRIDE),
            Input(1, stride=2),
            Input(config.context_width, VECTOR),
        ]
        self._features = engine.build(self._features_network, inputs, exact=True, channels_last=True)

    def level(self, step: int) -> LevelTables:
        """The tables at quality step 0 … (levels - 1) * QUALITY_STEPS + EXTRA_STEPS."""
        trained, beyond = self._levels.split(step)
        lower = min(trained // QUALITY_STEPS, self._levels.levels - 2)
        fraction = trained - lower * QUALITY_STEPS
        values = {
            name: (t[lower] * (QUALITY_STEPS - fraction) + t[lower + 1] * fraction + QUALITY_STEPS // 2)
            // QUALITY_STEPS
            for name, t in self._tables.items()
        }
        values["unit"] = values["unit"] + beyond * EXTRA_GAIN // QUALITY_STEPS
        bins = to_bins(values.pop("hyper_log2_scale"))
        return LevelTables(hyper_bins=bins, **values)

    def _features_network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The scaled hyper-latents and the bias -> features, of four times the height and width."""
        x, within, bias = inputs
        layers = Layers(self.layers)
        x = ops.multiply(layers.up(ops, "hyper_synthesis.up1", x), within)
        x = layers.block(ops, "hyper_synthesis.block", x)
        x = layers.up(ops, "hyper_synthesis.up2", x, 0)
        return [clip(ops, ops.add(layers.pointwise(ops, "hyper_synthesis.leave", x), bias))]

    def _features_of(self, hyper: NDArray[np.int32], level: LevelTables, size: tuple[int, int]) -> Array:
        """(hz, wz, hyper_latents) integer hyper-latents -> features (*size, context_width)."""
        height, width, channels = hyper.shape
        x = hyper * level.input_scale.astype(np.float64) + (level.input_bias + (1 << (HYPER_INPUT_BITS - 1)))
        given = np.zeros((size[0] // HYPER_STRIDE, size[1] // HYPER_STRIDE, channels), np.float32)
        given[:height, :width] = np.clip(np.floor(x * 2.0**-HYPER_INPUT_BITS), -ACTIVATION_MAX, ACTIVATION_MAX)
        within = inside(size, height * HYPER_STRIDE, width * HYPER_STRIDE, 2)
        (features,) = self._features(given, within, vector(level.feature_bias))
        return features


class ExactEntropyModel(ExactHyperPrior):
    """The integer entropy model on one engine. Stateless after construction; threads may share it."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """As `ExactHyperPrior`."""
        super().__init__(config, tensors, engine)
        self.config = config
        self._groups = [groups_of(stage, config.latents) for stage in range(CONTEXT_STAGES)]
        self._stages = [self._built_stage(engine, stage) for stage in range(CONTEXT_STAGES)]
        self.programs = [self._features, *self._stages]

    # -- the networks -------------------------------------------------------------------------------------------------

    def _built_stage(self, engine: Engine, stage: int) -> Program:
        c = self.config
        inputs = [
            Input(c.context_width, channels_last=True),
            Input(1),
            *[Input(c.latents, VECTOR)] * (1 + PRODUCT_ROWS),
        ]
        inputs += [Input(2 * c.latents, channels_last=True, stride=2)] * stage

        def network(ops: Operations, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            features, within, unit, *rest = tensors
            return self._stage_network(ops, stage, features, within, unit, rest[:PRODUCT_ROWS], rest[PRODUCT_ROWS:])

        return engine.build(network, inputs, exact=True, channels_last=True)

    def _stage_network(
        self,
        ops: Operations,
        stage: int,
        features: Tensor,
        within: Tensor,
        unit: Tensor,
        to_mean: Sequence[Tensor],
        known: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        """The means and bins of a stage, (positions * channels, h / 2, w / 2).

        `within` is 1 inside the region and 0 beyond it. `known` has an array for each stage before: at each position,
        normalised latents and then their magnitudes.
        """
        name, width = f"steps.{stage}", self.config.context_width
        layers = Layers(self.layers)
        enter = layers[f"{name}.enter"]
        x = ops.pointwise(features, enter.weight[:, :width], enter.bias)
        # Each position has other channels, so a matrix of its own. Sums are exact in any order.
        from_latents = enter.weight[:, width:].reshape(width, 2, -1) if known else enter.weight
        for groups, latents in zip(self._groups, known, strict=False):
            matrices = np.stack([from_latents[:, :, group].reshape(width, -1) for group in groups])
            x = ops.add(x, ops.depth_to_space(ops.pointwise(latents, matrices), 2, places_first=True))
        x = ops.multiply(clip(ops, ops.floor(x)), within)
        hidden = ops.space_to_depth(layers.block(ops, f"{name}.block", x, 0), 2, places_first=True)
        leave = layers[f"{name}.leave"]
        mu, s = (self._left(ops, hidden, leave, stage, start) for start in (0, self.config.latents))
        means = rounded_product(ops, ops.clip(mu, -MU_MAX, MU_MAX), to_mean)
        bins = bins_of(ops, ops.add(ops.clip(s, S_MIN, S_MAX), unit))
        return [ops.clip(means, -MEAN_MAX, MEAN_MAX), bins]

    def _left(self, ops: Operations, hidden: Tensor, layer: Layer, stage: int, start: int) -> Tensor:
        """The last layer's outputs from `start` on: at each position, those of its channels."""
        rows = [slice(start + group.start, start + group.stop) for group in self._groups[stage]]
        weight, bias = (np.stack([values[own] for own in rows]) for values in (layer.weight, layer.bias))
        return ops.floor(ops.pointwise(hidden, weight, bias.reshape(-1)))

    # -- coding -------------------------------------------------------------------------------------------------------

    def latents(
        self,
        hyper: NDArray[np.int32],
        level: LevelTables,
        height: int,
        width: int,
        source: LatentSource,
        coded: NDArray[np.bool_] | None = None,
    ) -> Array:
        """Run the four stages over height x width latents.

        `hyper` is (ceil(height/4), ceil(width/4), hyper_latents). The result (height, width, latents) holds the decoded
        latents in quantisation steps. Where `coded`, of the same shape, is false, latents are zero: so are their means,
        and scale bin 0 skips them.
        """
        size = usual_size(HYPER_STRIDE * hyper.shape[0], HYPER_STRIDE * hyper.shape[1])
        features, within = self._features_of(hyper, level, size), inside(size, height, width)
        rows, columns = size[0] // 2, size[1] // 2  # of neighbourhoods
        to_mean = product_rows(level.unit, MEAN_BITS - MU_BITS)
        to_normalised = power_of_two(-level.unit, LATENT_BITS - MEAN_BITS)
        decoded = np.empty((height, width, self.config.latents), np.float32)
        known: list[Array] = []
        for stage, groups in enumerate(self._groups):
            channels = np.concatenate([np.arange(group.start, group.stop) for group in groups])
            vectors = vector(level.unit[channels]), *map(vector, to_mean[:, channels])
            found = self._stages[stage](features, within, *vectors, *known)
            means, float_bins = (x.reshape(rows, columns, PHASES, -1) for x in found)
            bins = float_bins.astype(np.uint8)
            for position, group in enumerate(groups):
                row, column = divmod(position, 2)
                end = (height - row + 1) // 2, (width - column + 1) // 2
                bins[end[0] :, :, position] = 0  # beyond the region, nothing is coded
                bins[:, end[1] :, position] = 0
                if coded is not None:
                    here = coded[row::2, column::2, group]
                    means[: end[0], : end[1], position] *= here
                    bins[: end[0], : end[1], position] *= here
            source(Stage(groups, means, bins))
            if stage < CONTEXT_STAGES - 1:
                known.append(_as_input(means, to_normalised[channels]))
            for position, group in enumerate(groups):
                row, column = divmod(position, 2)
                place = decoded[row::2, column::2, group]
                own = means[: place.shape[0], : place.shape[1], position]
                np.multiply(own, np.float32(2.0**-MEAN_BITS), out=place)
        return decoded


def _scalar(value: float) -> Array:
    return np.full((1, 1, 1), value, np.float32)


def vector(values: NDArray[Any]) -> Array:
    """(C,) values as (C, 1, 1) float32: one for each channel."""
    return values.astype(np.float32)[:, None, None]


def _as_input(decoded: Array, factors: NDArray[np.float64]) -> Array:
    """(h, w, positions, channels) decoded latents -> later stages' input, (h, w, positions * 2 * channels).

    At each position: the latents normalised by (positions * channels,) factors, then their magnitudes.
    """
    height, width, positions, channels = decoded.shape
    factors = factors.reshape(positions, channels)
    result = np.empty((height, width, positions, 2, channels), np.float32)
    for decoded_row, result_row in zip(decoded, result, strict=True):  # row by row fits a processor's cache
        product = decoded_row * factors
        np.floor(product, out=product)
        np.clip(product, -ACTIVATION_MAX, ACTIVATION_MAX, out=product)
        result_row[:, :, 0] = product
        np.abs(product, out=product)
        result_row[:, :, 1] = product
    return result.reshape(height, width, -1)


def to_bins(log2_scale: NDArray[Any]) -> NDArray[np.uint8]:
    """Log2 of a scale in 256ths of an octave, integers of any dtype -> the nearest scale bin."""
    nearest = (log2_scale.astype(np.int64) + BIN_OFFSET) >> BIN_SHIFT
    result: NDArray[np.uint8] = np.clip(nearest, 0, SCALE_BINS - 1).astype(np.uint8)
    return result


def usual_size(height: int, width: int) -> tuple[int, int]:
    """The size at which networks run for height x width latents, multiples of 4. Fewer sizes take less compiling."""
    return -(-height // _usual(height)) * _usual(height), -(-width // _usual(width)) * _usual(width)


def _usual(length: int) -> int:
    return HYPER_STRIDE if length <= SMALL else 2 * HYPER_STRIDE


def inside(size: tuple[int, int], height: int, width: int, stride: int = 1) -> Array:
    """(1, …, …) 1 inside height x width latents and 0 beyond, at positions that are `stride` latents apart.

    Multiplied by this, activations beyond the region become zero, as beyond the border of a convolution.
    """
    result = np.zeros((1, size[0] // stride, size[1] // stride), np.float32)
    result[:, : height // stride, : width // stride] = 1
    return result


def hyper_size(height: int, width: int) -> tuple[int, int]:
    """The height and width of the hyper-latents of height x width latents."""
    return -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE)
