"""What an engine must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

Tensor = Any
"""An engine's own kind of tensor: float32, (channels, height, width). A vector has height and width 1."""


class Operations(Protocol):
    """The operations that networks are made of. `add` and `multiply` broadcast as numpy does."""

    def pointwise(self, x: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
        """A 1x1 convolution by `weight`, (out, in), or (groups, out, in) for a grouped one."""

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        """A 1x1 convolution by a weight (1, out, in) that is an input of the network."""

    def depthwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        """A depthwise 3x3 convolution by `weight` (channels, 3, 3), with zeros around the border."""

    def constant(self, values: Array) -> Tensor:
        """Values as a tensor."""

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum, x + y."""

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """The product, x * y."""

    def floor(self, x: Tensor) -> Tensor:
        """Rounded down."""

    def round(self, x: Tensor) -> Tensor:
        """Rounded to the nearest integer, ties to even."""

    def bytes(self, x: Tensor) -> Tensor:
        """Integers of 0 … 255 as bytes. This is only for results: the arrays of a program then are uint8."""

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """Clip to `low` … `high`."""

    def leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        """Multiply negative values by `slope`."""

    def space_to_depth(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        """Move squares of size x size positions into channels.

        A channel's positions stay together, unless `places_first`.
        """

    def depth_to_space(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        """The inverse of `space_to_depth`."""

    def enlarge(self, x: Tensor, times: int) -> Tensor:
        """Repeat every value `times` x `times`."""

    def modulated(self, x: Tensor, factor: Tensor, shift: Tensor, times: int) -> Tensor:
        """Multiply by a factor and add a shift, which are both first repeated by `enlarge`."""

    def bytes_of(self, x: Tensor, scale: Tensor, planes: Tensor) -> Tensor:
        """What rounds to the bytes of x * scale + planes, pixels around zero, when it is cut off: 0 … 255.5.

        `scale` is a vector with one channel. Sums are float32 even where the network is bf16.
        """


NetworkFunction = Callable[[Operations, Sequence[Tensor]], Sequence[Tensor]]
"""A function of input tensors that uses only the given operations."""

BYTE, BYTE_ZERO = 255.0, 128.0
"""`Operations.bytes_of` makes a byte of a pixel by this factor and this shift, with a half that rounds."""

BYTES = (0.0, 255.5)
"""The range of what is cut off to bytes."""

VECTOR = (1, 1)
"""The height and width of a vector."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a network: its channels, and its `size` (height, width) if that never changes.

    With `channels_last`, programs take it as (height, width, channels). Where `size` isn't fixed, it is the network's
    divided by `stride`.
    """

    channels: int
    size: tuple[int, int] | None = None
    channels_last: bool = False
    stride: int = 1

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """The size of the array in a network of this size."""
        size = self.size or (height // self.stride, width // self.stride)
        return (*size, self.channels) if self.channels_last else (self.channels, *size)


Program = Callable[..., list[NDArray[Any]]]
"""A network built by an engine. It takes arrays and returns new ones, float32 or uint8. Threads may share it."""


class Engine(Protocol):
    """Builds networks for a device."""

    @property
    def device(self) -> str:
        """The name of the device."""

    def build(
        self,
        network: NetworkFunction,
        inputs: Sequence[Input],
        *,
        exact: bool,
        channels_last: bool = False,
        any_size: bool = False,
    ) -> Program:
        """Build a network. With `exact`, the engine computes in float32, else it may in bf16.

        The program's results are (channels, height, width), or (height, width, channels) with `channels_last`. A small
        network with inputs of many sizes is best built once for `any_size`.
        """

    def build_integers(self, network: NetworkFunction, inputs: Sequence[Input]) -> Program:
        """Build a network of integers: sums below 2^24 are exact.

        The program's results are (height, width, channels). Whatever arithmetic runs it, they are the same.
        """

    def expect(self, programs: Sequence[Program], positions: int) -> None:
        """Programs of networks of integers are soon to compute results at this number of positions.

        What takes time at first and is faster then pays only if they are many.
        """

    def prepare(self, programs: Sequence[Program], height: int, width: int) -> None:
        """Make programs of this engine ready for networks of this size, several at once.

        What another thread is at already is left to it. Programs that aren't ready when they are called make themselves
        so.
        """
