"""Networks of integers on NumPy: a third slower than OpenVINO, but nothing needs to be compiled.

Tensors are (height, width, channels) arrays here, so that the channels of a position are next to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .interface import BYTE, BYTE_ZERO, BYTES, Array, Input, NetworkFunction, Program, Tensor

MOST_PRODUCTS = 1 << 18
"""The multiplications of one matrix product. BLAS libraries split larger ones over threads of their own."""

UNIT = 8
"""Products are faster where the number of positions is a multiple of this."""

STRIP = 512
"""Positions that are worked on together where products are few: what they need fits a processor's cache."""


def build(network: NetworkFunction, inputs: Sequence[Input]) -> Program:
    """As `Engine.build_integers`."""
    operations = NumpyOperations()

    def run(*arrays: Array) -> list[NDArray[Any]]:
        pairs = zip(arrays, inputs, strict=True)
        tensors = [x if i.channels_last else np.ascontiguousarray(x.transpose(1, 2, 0)) for x, i in pairs]
        return [np.ascontiguousarray(x) for x in network(operations, tensors)]

    return run


class NumpyOperations:
    """`Operations` on (height, width, channels) arrays, executed at once."""

    def pointwise(self, x: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
        groups = weight if weight.ndim == 3 else weight[None]
        parts = zip(np.split(x, len(groups), 2), groups, strict=True)
        found = [_product(part, np.ascontiguousarray(own.T)) for part, own in parts]
        y = found[0] if len(found) == 1 else np.concatenate(found, 2)
        if bias is not None:
            y += bias
        return y

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        return _product(x, np.ascontiguousarray(weight[..., 0]))  # (1, out, in) has become (out, in, 1)

    def depthwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        height, width, channels = x.shape
        padded = np.zeros((height + 2, width + 2, channels), np.float32)
        padded[1:-1, 1:-1] = x
        kernel, result = np.ascontiguousarray(weight.transpose(1, 2, 0)), np.empty_like(x)
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):
            strip = result[top : top + rows]
            strip[...] = bias
            for i, j in np.ndindex(3, 3):
                strip += padded[top + i : top + i + len(strip), j : j + width] * kernel[i, j]
        return result

    def constant(self, values: Array) -> Tensor:
        return values.transpose(1, 2, 0)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def floor(self, x: Tensor) -> Tensor:
        return np.floor(x)

    def round(self, x: Tensor) -> Tensor:
        return np.rint(x)

    def bytes(self, x: Tensor) -> Tensor:
        return x.astype(np.uint8)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clip(np.float32(low), np.float32(high))

    def leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        return np.where(x < 0, x * np.float32(slope), x)

    def space_to_depth(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        height, width, channels = x.shape
        places = x.reshape(height // size, size, width // size, size, channels)
        turned = places.transpose(0, 2, 1, 3, 4) if places_first else places.transpose(0, 2, 4, 1, 3)
        return turned.reshape(height // size, width // size, -1)

    def depth_to_space(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        height, width, _ = x.shape
        if places_first:
            turned = x.reshape(height, width, size, size, -1).transpose(0, 2, 1, 3, 4)
        else:
            turned = x.reshape(height, width, -1, size, size).transpose(0, 3, 1, 4, 2)
        return turned.reshape(height * size, width * size, -1)

    def enlarge(self, x: Tensor, times: int) -> Tensor:
        return x.repeat(times, 0).repeat(times, 1)

    def modulated(self, x: Tensor, factor: Tensor, shift: Tensor, times: int) -> Tensor:
        return x * self.enlarge(factor, times) + self.enlarge(shift, times)

    def bytes_of(self, x: Tensor, scale: Tensor, planes: Tensor) -> Tensor:
        return self.clip((x * scale + planes) * np.float32(BYTE) + np.float32(BYTE_ZERO), *BYTES)


def _product(x: Array, matrix: Array) -> Array:
    """(height, width, in) times (in, out) -> (height, width, out), by products of at most `MOST_PRODUCTS`."""
    height, width, inputs = x.shape
    outputs = matrix.shape[1]
    flat, result = np.ascontiguousarray(x).reshape(-1, inputs), np.empty((height * width, outputs), np.float32)
    size = max(1, MOST_PRODUCTS // matrix.size)
    size -= size % UNIT if size > UNIT else 0
    whole = len(flat) - len(flat) % size
    np.matmul(flat[:whole].reshape(-1, size, inputs), matrix, out=result[:whole].reshape(-1, size, outputs))
    np.matmul(flat[whole:], matrix, out=result[whole:])
    return result.reshape(height, width, outputs)
