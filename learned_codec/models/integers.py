"""Exact arithmetic: layers of integers that give the same bits on every machine, whatever runs them.

All values here are integers in float32 (times a power of two inside a layer). Every output channel of every layer
satisfies

    sum |w| * max |input| + |bias| < 2^24,

so every partial sum is exact in float32, whatever the order of summation, the engine or the number of threads. Weights,
biases and activations have 8 significant bits, so they are exact in bf16, too: processors that multiply bf16 and add in
float32 give the same bits. Between layers, sums are scaled by powers of two, rounded and clipped, which is exact as
well. Means, gains and scales are fixed-point numbers and base-2 logarithms. Powers of two are looked up in
`mantissas()`, never computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SCALE_BINS, SCALE_LOG2_MIN
from learned_codec.errors import WeightsError

from .config import LOG2_SCALES
from .engine import Array, Operations, Tensor

SIGNIFICANT_BITS = 8
"""What enters a product has this many bits, those of bf16."""

ACTIVATION_MAX = (1 << SIGNIFICANT_BITS) - 1
"""Activations between layers are clipped to this magnitude."""

EXACT_BITS = 24
"""Integers of up to this many bits are exact in float32."""

LOG2_BITS = 8
"""Fractional bits of a base-2 logarithm: 256ths of an octave."""

MEAN_BITS = 8
"""Fractional bits of means and decoded latents, in quantisation steps."""

MU_BITS = 11
"""Fractional bits of the networks' normalised means."""

LATENT_BITS = 6
"""Fractional bits of normalised latents as inputs of the networks: +-4 becomes +-255."""

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


@cache
def mantissas() -> NDArray[np.int64]:
    """(256,) round(2^(15 + i/256)), in integer arithmetic: a 256th root is eight square roots.

    C libraries may differ in the last bit of `pow`.
    """
    bits = 64  # fractional bits: the powers are wrong by less than 2^-50, and none is so near to a half
    root = 2 << bits
    for _ in range(8):
        root = math.isqrt(root << bits)
    values, power = [], 1 << bits
    for _ in range(256):
        values.append((power + (1 << (bits - 16))) >> (bits - 15))
        power = (power * root) >> bits
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

    Output = round((W * input + bias) * 2^-shift), ties to even; shift >= 0. `weight` and `bias` are already multiplied
    by `scale` (out,) = 2^-shift, which is exact: it changes only the exponents.
    """

    weight: Array
    bias: Array
    scale: Array

    @classmethod
    def load(cls, weight: NDArray[Any], bias: NDArray[Any], shift: NDArray[Any], name: str) -> Layer:
        """From stored integers (weight int16, bias int32, shift int8).

        Raises `WeightsError` if sums may exceed the bound, or if a number has too many significant bits.
        """
        if shift.size and int(shift.min()) < 0:
            raise WeightsError(f"exact layer {name}: shifts must be at least 0, got {int(shift.min())}")
        for what, values in (("weight", weight), ("bias", bias)):
            long = values != significant(values)
            if long.any():
                raise WeightsError(
                    f"exact layer {name}: a {what} has more than {SIGNIFICANT_BITS} significant bits: {values[long][0]}"
                )
        reach = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1) * ACTIVATION_MAX + np.abs(bias)
        if not (reach < 2**EXACT_BITS).all():
            raise WeightsError(
                f"exact layer {name}: sums may reach {reach.max():.0f}, beyond 2^{EXACT_BITS} = {2**EXACT_BITS}"
            )
        scale = np.ldexp(1.0, -shift.astype(np.int64))
        scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        if weight.ndim == 4:
            scaled = scaled[:, 0]
        return cls(scaled.astype(np.float32), (bias * scale).astype(np.float32), scale.astype(np.float32))


class Layers:
    """The layers by name, applied with an engine's operations."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def pointwise(self, ops: Operations, name: str, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
        """A 1x1 layer, clipped to `least` … ACTIVATION_MAX."""
        layer = self._layers[name]
        return clip(ops, ops.round(ops.pointwise(x, layer.weight, layer.bias)), least)

    def block(self, ops: Operations, name: str, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
        """`layers.ResidualBlock`, clipped to `least` … ACTIVATION_MAX."""
        layer = self._layers[f"{name}.depthwise"]
        inner = clip(ops, ops.round(ops.depthwise(x, layer.weight, layer.bias)))
        inner = self.pointwise(ops, f"{name}.expand", inner, 0)
        return clip(ops, ops.add(self.pointwise(ops, f"{name}.project", inner), x), least)

    def up(self, ops: Operations, name: str, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
        """`layers.PlainUp`, clipped to `least` … ACTIVATION_MAX: twice the height and width."""
        return clip(ops, ops.add(ops.depth_to_space(self.pointwise(ops, name, x), 2), ops.enlarge(x, 2)), least)


def clip(ops: Operations, x: Tensor, least: int = -ACTIVATION_MAX) -> Tensor:
    """Clip activations to `least` … ACTIVATION_MAX."""
    return ops.clip(x, least, ACTIVATION_MAX)


def significant(values: NDArray[Any]) -> NDArray[np.float64]:
    """The nearest numbers of 8 significant bits, ties to even."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    rounded: NDArray[np.float64] = np.ldexp(np.rint(np.ldexp(fraction, SIGNIFICANT_BITS)), exponent - SIGNIFICANT_BITS)
    return rounded


def bins_of(ops: Operations, log2_scale: Tensor) -> Tensor:
    """`to_bins`, in a network."""
    nearest = ops.add(log2_scale, ops.constant(scalar(BIN_OFFSET)))
    return ops.clip(ops.floor(ops.multiply(nearest, ops.constant(scalar(2.0**-BIN_SHIFT)))), 0, SCALE_BINS - 1)


def to_bins(log2_scale: NDArray[Any]) -> NDArray[np.uint8]:
    """Log2 of a scale in 256ths of an octave, integers of any dtype -> the nearest scale bin."""
    nearest = (log2_scale.astype(np.int64) + BIN_OFFSET) >> BIN_SHIFT
    result: NDArray[np.uint8] = np.clip(nearest, 0, SCALE_BINS - 1).astype(np.uint8)
    return result


def scalar(value: float) -> Array:
    """A vector of one channel, (1, 1, 1) float32."""
    return np.full((1, 1, 1), value, np.float32)


def vector(values: NDArray[Any]) -> Array:
    """(C,) values as (C, 1, 1) float32: one for each channel."""
    return values.astype(np.float32)[:, None, None]
