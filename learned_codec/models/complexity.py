"""Counts a model's parameters and its multiply-accumulate operations (MAC) per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .config import BLOCK, HYPER_STRIDE, HYPER_WIDTH, PASSES, PATCH, ModelConfig


@dataclass(frozen=True, slots=True)
class Complexity:
    """The kMAC per pixel of each part, and the number of parameters of the whole model.

    Decoding is `entropy_parameters` and `synthesis`. Encoding is `analysis`, `hyper_analysis` and `entropy_parameters`.
    """

    analysis: float
    hyper_analysis: float
    entropy_parameters: float
    synthesis: float
    parameters: int

    @property
    def decoder(self) -> float:
        """What decoding takes."""
        return self.entropy_parameters + self.synthesis

    @property
    def encoder(self) -> float:
        """What encoding takes."""
        return self.analysis + self.hyper_analysis + self.entropy_parameters


def count(config: ModelConfig) -> Complexity:
    """Count the multiplications of a model's layers."""
    bands, width = config.bands, config.refinement_width
    block, hyper = BLOCK**2, BLOCK**2 * HYPER_STRIDE**2  # pixels behind a position of latents, and of hyper-latents
    sizes = {name: math.prod(shape) for name, shape in config.exact_layers().items()}
    pixels = dict.fromkeys(sizes, block)
    pixels |= {"hyper_synthesis.up1": hyper, "hyper_synthesis.up2": hyper // 4}
    pixels |= {name: hyper // 4 for name in sizes if name.startswith("hyper_synthesis.block.")}
    # Each pass codes one group of a layer's channels at each position.
    pixels |= {f"{name}.leave": block * PASSES[layer] for layer, _, name in config.passes()}
    analysis = [(config.hyper_inputs * HYPER_WIDTH, block), (4 * HYPER_WIDTH**2, hyper // 4)]
    analysis += [(_residual_block(HYPER_WIDTH, 2 * HYPER_WIDTH), hyper // 4)]
    analysis += [(4 * HYPER_WIDTH * config.hyper_latents, hyper)]
    refinement = 2 * bands * PATCH**2 * width
    refinement += config.refinement_blocks * (_residual_block(width, config.refinement_inner) + width)
    first, second, _ = config.layers
    condition = (first.stop + second.stop) * config.condition_width
    condition += _residual_block(config.condition_width, 2 * config.condition_width)
    condition += config.condition_width * 2 * width * config.refinement_blocks
    transform = (4 * BLOCK + (bands if bands > 1 else 0)) * bands / 1000  # DCT, lapped filter and axes of colour
    return Complexity(
        analysis=transform,
        hyper_analysis=sum(size / per for size, per in analysis) / 1000,
        entropy_parameters=sum(sizes[name] / pixels[name] for name in sizes) / 1000,
        synthesis=transform + (refinement / PATCH**2 + condition / block) / 1000,
        parameters=sum(sizes.values()) + sum(size for size, _ in analysis) + refinement + condition,
    )


def _residual_block(width: int, inner: int) -> int:
    return 2 * width * inner + 9 * width


def _of(model: str) -> Complexity:
    from . import registry

    return count(registry.weights_of(model).config)


def decoder_kmac_per_pixel(model: str) -> float:
    """The kMAC per pixel to decode with a model (its name), all networks and transforms counted."""
    return _of(model).decoder


def encoder_kmac_per_pixel(model: str) -> float:
    """The kMAC per pixel to encode with a model (its name), all networks and transforms counted."""
    return _of(model).encoder
