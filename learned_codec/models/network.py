"""The whole codec as one trainable module: analysis, entropy model, synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learned_codec.errors import WeightsError

from . import rdoq
from .block_transform import BlockTransform
from .config import BLOCK, ModelConfig
from .entropy_model import EntropyModel
from .layers import interpolate
from .shape_adaptive import Shape
from .transforms import LappedTransform, Refinement
from .weights import LEVEL_TABLES, Weights


@dataclass(frozen=True, slots=True)
class Output:
    """The decoded image (B, bands, H, W), about in [0, 1] but not clipped, and the bits of each image, (B,) each."""

    image: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class Network(nn.Module):
    """The codec in floating point. Levels are real numbers in [0, levels - 1]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.transform = LappedTransform(config.bands)
        self.entropy, self.refinement = EntropyModel(config), Refinement(config)
        self.log2_inverse = nn.Parameter(torch.zeros(config.levels, config.latents))

    def frequencies(self) -> Tensor:
        """(latents, 1, 1) the frequency of each latent's component: sqrt(u^2 + v^2) half waves in a block."""
        positions = self.transform.components % BLOCK**2
        return torch.hypot((positions // BLOCK).float(), (positions % BLOCK).float())[:, None, None]

    def analyse(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 16 -> (B, latents, H/16, W/16)."""
        return self.transform.analyse(x)

    def pixels(
        self, latents: Tensor, normalised: Tensor, tables: Mapping[str, Tensor], shape: Shape | None = None
    ) -> Tensor:
        """(B, latents, h, w) dequantised latents -> (B, bands, 16h, 16w).

        `normalised` are the decoded latents over their base scale. `tables` are those of the level by name, (B,
        channels, 1, 1): `refinement_bias` and the like. `shape` says which pixels are coded, if not all.
        """
        planes = self.transform.synthesise(latents, shape)
        bias, scale, condition = (tables[f"refinement_{name}"] for name in ("bias", "scale", "condition"))
        # Small latents change the condition by leaps: no slope at them holds for a whole quantisation step.
        correction = self.refinement.correction(planes, normalised.detach(), bias, scale, condition)
        found: Tensor = planes + correction + 0.5
        return found

    def tables(self) -> dict[str, Tensor]:
        """The tables by level that `pixels` takes, (levels, channels)."""
        own = self.refinement
        return {
            "refinement_bias": own.level_bias,
            "refinement_scale": own.level_scale,
            "refinement_condition": own.cond_level,
        }

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


def network_of_weights(source: Weights) -> Network:
    """The floating-point network of a weights file, to train it further.

    Weights were rounded to float16.

    Raises `WeightsError` if the file lacks the `training` part, which coding doesn't need.
    """
    transforms, levels, training = (source.part(part) for part in ("transforms", "levels", "training"))
    with torch.device("cpu"):  # not on the caller's default device
        network = Network(source.config).float()
    network.transform.take(BlockTransform.of(source))
    known = {f"entropy.{name}": value for name, value in training.items()}
    known |= {name.replace("hyper_analysis.network", "entropy.hyper_analysis"): x for name, x in transforms.items()}
    known |= {key: levels[table] for table, key in LEVEL_TABLES.items() if table in levels}
    state = network.state_dict()
    for key, value in state.items():
        if key.startswith("transform."):
            continue
        if key not in known:
            raise WeightsError(f"the weights lack {key}, which only training needs")
        state[key] = torch.from_numpy(known[key]).to(value.dtype)
    network.load_state_dict(state)
    return network.eval()
