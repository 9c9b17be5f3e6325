"""The whole codec as one trainable module: analysis, entropy model, synthesis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from learned_codec.errors import WeightsError

from . import rdoq
from .config import ModelConfig
from .entropy_model import ContextModel, EntropyModel, interpolate
from .layered.config import LayeredConfig
from .shape_adaptive import Shape
from .transforms import Analysis, Refinement, Synthesis, frequencies, positions
from .weights import LEVEL_TABLES, Weights

if TYPE_CHECKING:
    from .layered.network import ConditionedRefinement


@dataclass(frozen=True, slots=True)
class Output:
    """The decoded image (B, bands, H, W), about in [0, 1] but not clipped, and the bits of each image, (B,) each."""

    image: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class BaseNetwork(nn.Module, ABC):
    """A codec of any generation in floating point. Levels are real numbers in [0, levels - 1]."""

    config: ModelConfig | LayeredConfig
    entropy: ContextModel
    log2_inverse: Tensor

    @property
    @abstractmethod
    def refining(self) -> Refinement | ConditionedRefinement:
        """The refinement."""

    @abstractmethod
    def analyse(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 16 -> (B, latents, H/16, W/16)."""

    @abstractmethod
    def pixels(
        self, latents: Tensor, normalised: Tensor, tables: Mapping[str, Tensor], shape: Shape | None = None
    ) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w).

        `normalised` are the decoded latents over their base scale. `tables` are those of the level by name, (B,
        channels, 1, 1): `refinement_bias` and the like.
        """

    @abstractmethod
    def tables(self) -> dict[str, Tensor]:
        """The tables by level that `pixels` takes, (levels, channels)."""

    @abstractmethod
    def positions(self) -> Tensor:
        """(latents,) int64 positions in a block: `transforms.positions`."""

    def frequencies(self) -> Tensor:
        """(latents, 1, 1) the frequency of each latent's component, in half waves in a block."""
        return frequencies(self.positions())[:, None, None]

    def synthesise(self, decoded: Tensor, level: Tensor) -> Tensor:
        """(B, latents, h, w) decoded latents in quantisation steps and (B,) levels -> (B, bands, 16h, 16w)."""
        gain = interpolate(self.entropy.log2_gain, level)
        latents = decoded * torch.exp2(interpolate(self.log2_inverse, level) - gain)
        normalised = decoded * torch.exp2(-gain - self.entropy.log2_sigma[None, :, None, None])
        tables = {name: interpolate(table, level) for name, table in self.tables().items()}
        return self.pixels(latents, normalised, tables)

    def forward(self, x: Tensor, level: Tensor, frequency: Tensor | None = None) -> Output:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 64, and (B,) levels.

        With `frequency`, the result of `frequencies`, latents are rounded by RDOQ as encoders do it, else to the
        nearest integer.
        """
        y = self.analyse(x)
        cost = None
        if frequency is not None:
            log2_size = interpolate(self.log2_inverse - self.entropy.log2_gain, level).detach()
            worth = self.config.bits_per_error(level)[:, None, None, None]
            cost = rdoq.error_cost(worth, log2_size, frequency)
        coded = self.entropy(y, level, cost)
        image = self.synthesise(coded.latents, level)
        return Output(image, coded.latent_bits.sum((1, 2, 3)), coded.hyper_bits.sum((1, 2, 3)))


class Network(BaseNetwork):
    """The first generation."""

    config: ModelConfig
    entropy: EntropyModel

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.entropy = EntropyModel(config)
        self.synthesis = Synthesis(config)
        self.log2_inverse = nn.Parameter(torch.zeros(config.levels, config.latents))

    @property
    def refining(self) -> Refinement:
        """As `BaseNetwork.refining`."""
        return self.synthesis.refinement

    def analyse(self, x: Tensor) -> Tensor:
        """As `BaseNetwork.analyse`."""
        found: Tensor = self.analysis(x)
        return found

    def pixels(
        self,
        latents: Tensor,
        normalised: Tensor,  # noqa: ARG002 - the refinement is not conditioned
        tables: Mapping[str, Tensor],
        shape: Shape | None = None,
    ) -> Tensor:
        """As `BaseNetwork.pixels`."""
        found: Tensor = self.synthesis(latents, tables["refinement_bias"], tables["refinement_scale"], None, shape)
        return found

    def tables(self) -> dict[str, Tensor]:
        """As `BaseNetwork.tables`."""
        refinement = self.synthesis.refinement
        return {"refinement_bias": refinement.level_bias, "refinement_scale": refinement.level_scale}

    def positions(self) -> Tensor:
        """As `BaseNetwork.positions`."""
        return positions(self.analysis.skeleton.weight)


PARAMETER_TABLES = {parameter: table for table, parameter in LEVEL_TABLES.items()}


def transform_name(key: str) -> str | None:
    """The name of a network parameter in the `transforms` part of a weights file, or None if it is not in that part."""
    name = key.removeprefix("entropy.")
    kept = name.startswith(("analysis.", "synthesis.", "hyper_analysis.")) and key not in PARAMETER_TABLES
    return name if kept else None


def first_of_weights(source: Weights) -> Network:
    """As `networks.network_of_weights`, for the first generation."""
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
