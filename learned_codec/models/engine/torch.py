"""The engine for other devices, GPUs above all, by torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .interface import BYTE, BYTE_ZERO, BYTES, Array, Input, NetworkFunction, Program


def names() -> list[str]:
    """The devices of this machine that torch can use beside the CPU, by its names."""
    found = []
    for kind in ("cuda", "xpu", "mps"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            found += [f"{kind}:{at}" for at in range(module.device_count())]
    return found


class Torch:
    """An engine for a device of torch. Raises torch's own errors if it can't be used."""

    def __init__(self, device: str) -> None:
        (torch.zeros(1, device=device, dtype=torch.float64) + 1).item()
        self.device = device
        self._short = torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32

    def build(
        self,
        network: NetworkFunction,
        inputs: Sequence[Input],
        *,
        exact: bool,
        channels_last: bool = False,
        any_size: bool = False,  # noqa: ARG002 - every network takes any size
    ) -> Program:
        """As `Engine.build`."""
        operations = TorchOperations(self.device, torch.float32 if exact else self._short)

        def run(*arrays: Array) -> list[NDArray[Any]]:
            # The result must not depend on the modes that the caller is in.
            with torch.inference_mode(), torch.autocast(self.device.split(":")[0], enabled=False):
                given = zip(map(operations.constant, arrays), inputs, strict=True)
                tensors = [x.permute(2, 0, 1).contiguous() if i.channels_last else x for x, i in given]
                found = [x if x.dtype == torch.uint8 else x.float() for x in network(operations, tensors)]
                return [(x.permute(1, 2, 0).contiguous() if channels_last else x).cpu().numpy() for x in found]

        return run

    def build_integers(self, network: NetworkFunction, inputs: Sequence[Input]) -> Program:
        """As `Engine.build_integers`."""
        return self.build(network, inputs, exact=True, channels_last=True)

    def expect(self, programs: Sequence[Program], positions: int) -> None:
        """As `Engine.expect`: nothing changes."""

    def prepare(self, programs: Sequence[Program], height: int, width: int) -> None:
        """As `Engine.prepare`: there is nothing to do."""


class TorchOperations:
    """`Operations` on torch's tensors, executed at once.

    Convolutions are written as matrix products and shifted sums. For real convolutions, GPU libraries have many
    algorithms, and some of them are not exact.
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._kept: dict[int, tuple[Any, Tensor]] = {}

    def constant(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device, self._dtype)

    def _weight(self, values: Array) -> Tensor:
        """A network's weights on the device, moved there once."""
        if id(values) not in self._kept:
            self._kept[id(values)] = values, self.constant(values)
        return self._kept[id(values)][1]

    def pointwise(self, x: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
        matrix = self._weight(weight)
        groups = matrix if matrix.ndim == 3 else matrix[None]
        y = torch.matmul(groups, x.reshape(len(groups), -1, x.shape[1] * x.shape[2])).reshape(-1, *x.shape[1:])
        return y if bias is None else y + self._weight(bias)[:, None, None]

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.matmul(weight[0], x.flatten(1)).reshape(-1, *x.shape[1:])

    def depthwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        kernel, (_, height, width) = self._weight(weight), x.shape
        padded = F.pad(x, (1, 1, 1, 1))
        sums = self._weight(bias)[:, None, None].expand_as(x)
        for i in range(3):
            for j in range(3):
                sums = sums + padded[:, i : i + height, j : j + width] * kernel[:, i, j, None, None]
        return sums

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def floor(self, x: Tensor) -> Tensor:
        return torch.floor(x)

    def round(self, x: Tensor) -> Tensor:
        return torch.round(x)

    def bytes(self, x: Tensor) -> Tensor:
        return x.to(torch.uint8)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        return F.leaky_relu(x, slope)

    def space_to_depth(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        y = F.pixel_unshuffle(x, size)
        return _turned(y, len(x), size**2) if places_first else y

    def depth_to_space(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        return F.pixel_shuffle(_turned(x, size**2, len(x) // size**2) if places_first else x, size)

    def enlarge(self, x: Tensor, times: int) -> Tensor:
        return x.repeat_interleave(times, 1).repeat_interleave(times, 2)

    def modulated(self, x: Tensor, factor: Tensor, shift: Tensor, times: int) -> Tensor:
        return x * self.enlarge(factor, times) + self.enlarge(shift, times)

    def bytes_of(self, x: Tensor, scale: Tensor, planes: Tensor) -> Tensor:
        return ((x.float() * scale.float() + planes.float()) * BYTE + BYTE_ZERO).clamp(*BYTES)


def _turned(x: Tensor, outer: int, inner: int) -> Tensor:
    """Reorder channels from (outer, inner) to (inner, outer)."""
    return x.reshape(outer, inner, *x.shape[1:]).transpose(0, 1).flatten(0, 1)
