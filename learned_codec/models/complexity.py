"""Counts a model's parameters and its multiply-accumulate operations (MAC) per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import BLOCK, CONTEXT_STAGES, ModelConfig
from .layers import Lapping
from .network import Network
from .transforms import Synthesis


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
        return self.entropy_parameters + self.synthesis

    @property
    def encoder(self) -> float:
        return self.analysis + self.hyper_analysis + self.entropy_parameters


def count(config: ModelConfig) -> Complexity:
    """Run an untrained network of this configuration once and count the multiplications of its layers."""
    network = Network(config).eval()
    size = 4 * 4 * BLOCK  # a multiple of the hyper-latents' 64 pixels
    found: dict[str, float] = {}

    def add(name: str, multiplications: float) -> None:
        found[name] = found.get(name, 0.0) + multiplications / size**2 / 1000

    def hook(name: str, layer: nn.Conv2d) -> None:
        def record(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            per_output = layer.weight[0].numel()
            # In a stage's last layer, coding computes only the channel group of each position: a quarter.
            share = 1 / CONTEXT_STAGES if ".steps." in name and name.endswith(".leave") else 1
            add(name, output.numel() * per_output * share)

        layer.register_forward_hook(record)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hook(name, module)
        elif isinstance(module, Synthesis):  # its block transform is a matrix product, not a layer
            add(f"{name}.skeleton", module.skeleton.weight.numel() * (size // BLOCK) ** 2)
        elif isinstance(module, Lapping):
            add(name, 2 * BLOCK * config.bands * size**2)
    with torch.inference_mode():
        network(torch.zeros(1, config.bands, size, size), torch.zeros(1))

    def total(*prefixes: str) -> float:
        return sum(value for name, value in found.items() if name.startswith(prefixes))

    return Complexity(
        analysis=total("analysis."),
        hyper_analysis=total("entropy.hyper_analysis."),
        entropy_parameters=total("entropy.hyper_synthesis.", "entropy.steps."),
        synthesis=total("synthesis."),
        parameters=sum(p.numel() for p in network.parameters()),
    )


def _of(model: str) -> Complexity:
    from . import registry

    return count(registry.weights_of(model).config_as(ModelConfig))


def decoder_kmac_per_pixel(model: str) -> float:
    """The kMAC per pixel to decode with a model (its name), all networks and transforms counted."""
    return _of(model).decoder


def encoder_kmac_per_pixel(model: str) -> float:
    """The kMAC per pixel to encode with a model (its name), all networks and transforms counted."""
    return _of(model).encoder
