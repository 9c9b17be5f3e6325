"""What an engine must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

Tensor = Any
"""An engine's own, float32 of (channels, height, width). A vector has a height and a width of 1."""


class Operations(Protocol):
    """What networks are made of. Two tensors are added or multiplied as numpy's arrays are."""

    def pointwise(self, x: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
        """A matrix product at every place: `weight` (out, in), or (groups, out, in) for so many parts of channels."""

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        """`pointwise` by a weight that is an input of the network, (1, out, in)."""

    def depthwise(self, x: Tensor, weight: Array, bias: Array) -> Tensor:
        """Each channel's sums over 3 x 3 places by `weight` (channels, 3, 3), with zeros around the border."""

    def constant(self, values: Array) -> Tensor:
        """Values as a tensor."""

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """X + y."""

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """X * y."""

    def floor(self, x: Tensor) -> Tensor:
        """Rounded down."""

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """From `low` to `high`."""

    def leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        """What is negative, times `slope`."""

    def space_to_depth(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        """Squares of size x size places into channels: each channel's places, or else each place's channels."""

    def depth_to_space(self, x: Tensor, size: int, *, places_first: bool = False) -> Tensor:
        """The inverse of `space_to_depth`."""

    def enlarge(self, x: Tensor) -> Tensor:
        """Every place as 2 x 2."""


Network = Callable[[Operations, Sequence[Tensor]], Sequence[Tensor]]
"""A function of its inputs by operations alone."""

VECTOR = (1, 1)


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a network: its channels, and its height and width where these are always the same.

    With `channels_last` it is given as (height, width, channels).
    """

    channels: int
    size: tuple[int, int] | None = None
    channels_last: bool = False


Program = Callable[..., list[Array]]
"""A network as an engine built it: arrays in, and arrays out, which are the caller's."""


class Engine(Protocol):
    """Builds networks for a device."""

    @property
    def device(self) -> str:
        """Its name."""

    def build(self, network: Network, inputs: Sequence[Input], *, exact: bool, channels_last: bool = False) -> Program:
        """Make a network ready. `exact`: in float32, so that sums of integers below 2^24 are; else in what is fast.

        Its results are (channels, height, width), or with `channels_last` (height, width, channels).
        """
