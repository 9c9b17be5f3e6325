"""What a model of the second generation is made of, and how its latents are ordered."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.config import BLOCK, STAGE_ORDER, TrainedLevels

PASSES = (4, 2, 1)
"""In how many passes each layer is coded."""

LIMITS = (4, 8, 16)
"""Layer i has the frequencies u, v below LIMITS[i] that no layer before it has: images at 1/4, 1/2 and 1/1."""

HYPER_WIDTH = 128
"""Channels of the hyper-analysis, which only encoders run."""

MEANS = 1
"""Layers from this one on have no means: those would explain a hundredth of the energy at most."""


@dataclass(frozen=True, slots=True)
class LayeredConfig(TrainedLevels):
    """Architecture of one codec of the second generation.

    `bands` input bands; `hyper_latents` channels at 1/64; `context_width` features at 1/16; `widths` of the networks of
    each layer; `levels` trained quality levels. The refinement has `refinement_blocks` blocks of `refinement_width`
    channels at 1/4, `refinement_inner` inside of them, is conditioned by a network of `condition_width` at 1/16, and
    has `adaptations` to single images.
    """

    bands: int = 3
    levels: int = 9
    lambda_min: float = 0.0004
    lambda_max: float = 0.6271211382783799
    hyper_latents: int = 64
    context_width: int = 96
    widths: tuple[int, int, int] = (128, 96, 96)
    refinement_width: int = 64
    refinement_blocks: int = 8
    refinement_inner: int = 64
    condition_width: int = 48
    adaptations: int = 0

    @property
    def latents(self) -> int:
        """All components of the block transform."""
        return self.bands * BLOCK**2

    @property
    def layers(self) -> tuple[slice, ...]:
        """The channels of each layer, in the order of the bitstream."""
        ends = [0, *(self.bands * limit**2 for limit in LIMITS)]
        return tuple(slice(start, stop) for start, stop in itertools.pairwise(ends))

    def passes(self) -> list[tuple[int, int, str]]:
        """Each pass in the order of coding: its layer, its number in the layer, and the name of its networks."""
        return [(layer, number, f"layers.{layer}.{number}") for layer, n in enumerate(PASSES) for number in range(n)]

    def known(self, layer: int, number: int) -> int:
        """How many values of decoded latents enter a pass: in layer 0 with signs and as magnitudes, then as these."""
        before, here = (self.bands * limit**2 for limit in (0, *LIMITS)[layer : layer + 2])
        if layer == 0:
            return 2 * here if number else 0
        return here if number else before

    def exact_layers(self) -> dict[str, tuple[int, ...]]:
        """The exact layers by name, and the shapes of their weights."""
        hyper, features = self.hyper_latents, self.context_width
        shapes: dict[str, tuple[int, ...]] = {f"hyper_synthesis.{up}": (4 * hyper, hyper) for up in ("up1", "up2")}
        shapes |= _block("hyper_synthesis.block", hyper) | {"hyper_synthesis.leave": (features, hyper)}
        for layer, number, name in self.passes():
            width, part = self.widths[layer], self.layers[layer]
            outputs = (part.stop - part.start) * (2 if layer < MEANS else 1)
            shapes |= {
                f"{name}.enter": (width, features + self.known(layer, number)),
                f"{name}.leave": (outputs, width),
            }
            shapes |= _block(f"{name}.block", width)
        return shapes


def _block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.depthwise": (width, 1, 3, 3),
        f"{name}.expand": (2 * width, width),
        f"{name}.project": (width, 2 * width),
    }


def order_of_components(bands: int, variance: NDArray[np.floating]) -> NDArray[np.intp]:
    """(bands * 256,) components of the block transform layer by layer, dealt out by variance to the groups of a layer.

    A component is counted as in `block_transform`: 256 * band + 16 * v + u.
    """
    v, u = np.divmod(np.arange(BLOCK**2), BLOCK)
    layer = np.tile(np.searchsorted(LIMITS, np.maximum(u, v), "right"), bands)
    parts = []
    for number, groups in enumerate(PASSES):
        (mine,) = np.nonzero(layer == number)
        by_variance = mine[np.argsort(-variance[mine], kind="stable")]
        parts.append(by_variance.reshape(-1, groups).T.reshape(-1))
    return np.concatenate(parts)


def groups_of(layer: int, number: int, channels: int) -> tuple[slice, ...]:
    """For each position in a 2 x 2 neighbourhood, the channels of the layer that a pass codes there.

    Of two passes, the first codes one half of the channels at the even positions of a checkerboard and the other half
    at the odd ones.
    """
    passes = PASSES[layer]
    size = channels // passes
    places = [STAGE_ORDER.index(p) for p in range(4)] if passes == 4 else [0, 1, 1, 0]
    found = ((place - number) % passes for place in places)
    return tuple(slice(group * size, (group + 1) * size) for group in found)
