"""A test whether an engine's sums are exact. Global settings, instructions or algorithms may round its products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np

from learned_codec.forks import gate

from .interface import Array, Input, NetworkFunction, Operations, Program, Tensor

SIZE, CHANNELS = 12, 192
"""Sizes as in real use, so that the engine chooses the same algorithms."""

MOST = 255
"""The largest magnitude of what networks of integers multiply: it has 8 significant bits."""

SHIFT = 14
"""Binary places by which sums inside of the network are scaled, so that few of them are clipped."""


def sums_are_exact(build: Callable[[NetworkFunction, Sequence[Input]], Program]) -> bool:
    """Whether networks of integers are exact if `build` builds them. That is an engine's `build_integers`.

    The network is like a residual block: what an engine fuses there, it fuses here. Its last sums have up to 24 bits;
    those inside of it are rounded and clipped.
    """
    network, arrays, expected = _case()
    found = build(network, [Input(CHANNELS), Input(CHANNELS)])(*arrays)
    return all(np.array_equal(a.transpose(2, 0, 1), b) for a, b in zip(found, expected, strict=True))


@cache
def _case() -> tuple[NetworkFunction, list[Array], list[Any]]:
    """The network, what it is given, and what it must give. It is kept, as each engine is tested."""
    numbers = _numbers()
    scale, matrix = np.float32(2.0**-SHIFT), (CHANNELS, CHANNELS)
    expand, project, last = numbers(*matrix) * scale, numbers(*matrix) * scale, numbers(*matrix)
    kernel = numbers(CHANNELS, 3, 3) * np.float32(2.0**-9)
    bias = numbers(CHANNELS)
    large = np.full((CHANNELS, CHANNELS), 254, np.float32)  # with the largest inputs, sums have 24 bits

    def network(ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        def layer(x: Tensor, weight: Array, least: int = -MOST) -> Tensor:
            return ops.clip(ops.round(ops.pointwise(x, weight, bias)), least, MOST)

        x, few = inputs
        inner = ops.clip(ops.round(ops.depthwise(x, kernel, bias)), -MOST, MOST)
        inner = layer(layer(inner, expand, 0), project)
        hidden = ops.clip(ops.add(inner, x), 0, MOST)
        return [ops.round(ops.pointwise(hidden, last, bias)), ops.round(ops.pointwise(few, large, bias))]

    x = numbers(CHANNELS, SIZE, SIZE)
    few = np.where(numbers(CHANNELS, SIZE, SIZE) < 0.96 * MOST, MOST, MOST - 1).astype(np.float32)
    with gate().working():
        in_float64: Any = _Float64()
        expected = network(in_float64, [x.astype(np.float64), few.astype(np.float64)])
    return network, [x, few], list(expected)


def _numbers() -> Callable[..., Array]:
    """A function that gives arrays of random integers from -MOST to MOST. `numpy.random` would take long to import."""
    rng = Random(0)  # noqa: S311 - nothing is secret

    def numbers(*shape: int) -> Array:
        found = np.frombuffer(rng.randbytes(2 * math.prod(shape)), "<u2") % (2 * MOST + 1)
        return (found.astype(np.float32) - MOST).reshape(shape)

    return numbers


class _Float64:
    """What the network needs of `Operations`, in float64 on arrays."""

    def pointwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        return np.tensordot(weight.astype(np.float64), x, 1) + bias[:, None, None]

    def depthwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        return (windows * weight.astype(np.float64)[:, None, None]).sum((3, 4)) + bias[:, None, None]

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def round(self, x: Tensor) -> Tensor:
        return np.rint(x)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clip(low, high)
