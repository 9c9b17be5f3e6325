"""The whole codec as one trainable module: analysis, entropy model, synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learned_codec.errors import WeightsError

from . import rdoq
from .config import ModelConfig
from .entropy_model import EntropyModel, interpolate
from .shape_adaptive import Shape
from .transforms import Analysis, Refinement, Synthesis, frequencies, positions
from .weights import LEVEL_TABLES, Weights


@dataclass(frozen=True, slots=True)
class Output:
    """The decoded image (B, bands, H, W), about in [0, 1] but not clipped, and the bits of each image, (B,) each."""

    image: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class Network(nn.Module):
    """The ResNet-Lite codec in floating point. Levels are real numbers in [0, levels - 1]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.entropy = EntropyModel(config)
        self.synthesis = Synthesis(config)
        self.log2_inverse = nn.Parameter(torch.zeros(config.levels, config.latents))

    def synthesise(self, decoded: Tensor, level: Tensor) -> Tensor:
        """(B, latents, h, w) decoded latents in quantisation steps and (B,) levels -> (B, bands, 16h, 16w)."""
        correction = interpolate(self.log2_inverse, level) - interpolate(self.entropy.log2_gain, level)
        latents = decoded * torch.exp2(correction)
        refinement = self.synthesis.refinement
        bias, scale = interpolate(refinement.level_bias, level), interpolate(refinement.level_scale, level)
        image: Tensor = self.synthesis(latents, bias, scale)
        return image

    @property
    def refinement(self) -> Refinement:
        return self.synthesis.refinement

    def pixels(
        self, latents: Tensor, _normalised: Tensor, tables: Mapping[str, Tensor], shape: Shape | None = None
    ) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w).

        `tables` are those of the level by name, (B, channels, 1, 1). What is normalised, only networks of the second
        generation take.
        """
        found: Tensor = self.synthesis(latents, tables["refinement_bias"], tables["refinement_scale"], None, shape)
        return found

    def frequencies(self) -> Tensor:
        """(latents, 1, 1) the frequency of each latent's component, in half waves in a block."""
        return frequencies(positions(self.analysis.skeleton.weight))[:, None, None]

    def forward(self, x: Tensor, level: Tensor, frequency: Tensor | None = None) -> Output:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 64, and (B,) levels.

        With `frequency`, the result of `frequencies`, latents are rounded by RDOQ as encoders do it, else to the
        nearest integer.
        """
        y = self.analysis(x)
        cost = None
        if frequency is not None:
            log2_size = interpolate(self.log2_inverse - self.entropy.log2_gain, level).detach()
            worth = self.config.bits_per_error(level)[:, None, None, None]
            cost = rdoq.error_cost(worth, log2_size, frequency)
        coded = self.entropy(y, level, cost)
        image = self.synthesise(coded.latents, level)
        return Output(image, coded.latent_bits.sum((1, 2, 3)), coded.hyper_bits.sum((1, 2, 3)))


PARAMETER_TABLES = {parameter: table for table, parameter in LEVEL_TABLES.items()}


def transform_name(key: str) -> str | None:
    """The name of a network parameter in the `transforms` part of a weights file, or None if it is not in that part."""
    name = key.removeprefix("entropy.")
    kept = name.startswith(("analysis.", "synthesis.", "hyper_analysis.")) and key not in PARAMETER_TABLES
    return name if kept else None


def network_of_weights(source: Weights) -> Network:
    """The floating-point network of a weights file, to train it further or to optimise latents.

    Weights were rounded to float16.

    Raises `WeightsError` if the file lacks the `training` part, which coding doesn't need.
    """
    with torch.device("cpu"):  # not on the caller's default device
        network = Network(source.config_as(ModelConfig)).float()
    parts = {part: source.part(part) for part in ("transforms", "levels", "training")}
    state = {}
    for key, value in network.state_dict().items():
        name = transform_name(key)
        part, name = (
            ("transforms", name)
            if name
            else ("levels", PARAMETER_TABLES[key])
            if key in PARAMETER_TABLES
            else ("training", key)
        )
        if name not in parts[part]:
            raise WeightsError(f"the weights lack {part}.{name}, which only training and encoder effort need")
        state[key] = torch.from_numpy(parts[part][name]).to(value.dtype)
    network.load_state_dict(state)
    return network.eval()
