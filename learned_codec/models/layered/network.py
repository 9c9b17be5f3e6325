"""The layered entropy model and its refinement in floating point, as trained.

`exact.py` is the integer twin of the one, `inference.RefinementProgram` and `condition.py` run the other on engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_codec.errors import WeightsError
from learned_codec.models.block_transform import BlockTransform, colour_axes
from learned_codec.models.config import BLOCK, CONTEXT_CLAMP, INPUT_FACTOR, PATCH, SLOPE
from learned_codec.models.entropy_model import ContextModel, ContextPass, first_gains, interpolate
from learned_codec.models.lapping import dct
from learned_codec.models.layers import Down, Lapping, PlainUp, ResidualBlock
from learned_codec.models.network import BaseNetwork
from learned_codec.models.shape_adaptive import Shape
from learned_codec.models.transforms import first_scales
from learned_codec.models.weights import LAYERED_LEVEL_TABLES, Weights

from .condition import SLOPES
from .config import HYPER_WIDTH, MEANS, PASSES, LayeredConfig, groups_of
from .transform import block_transform_of


class PassNetwork(nn.Module):
    """From the features and the decoded latents of a layer to the scales, and in layer 0 the means, of a pass."""

    def __init__(self, config: LayeredConfig, layer: int, number: int) -> None:
        super().__init__()
        width, known = config.widths[layer], config.known(layer, number)
        part = config.layers[layer]
        self.from_features = nn.Conv2d(config.context_width, width, 1)
        self.from_latents = nn.Conv2d(known, width, 1, bias=False) if known else None
        self.enter = nn.Identity()  # the sum of the two, for the hooks that calibrate its range
        self.block = ResidualBlock(width, slope=0.0)
        self.leave = nn.Conv2d(width, (part.stop - part.start) * (2 if layer < MEANS else 1), 1)

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        x = self.from_features(features)
        if self.from_latents is not None:
            x = x + self.from_latents(known)
        result: Tensor = self.leave(F.relu(self.block(self.enter(x))))
        return result


class LayeredHyperSynthesis(nn.Module):
    """As `entropy_model.HyperSynthesis`, with this generation's widths."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.up1, self.up2 = PlainUp(config.hyper_latents), PlainUp(config.hyper_latents)
        self.block = ResidualBlock(config.hyper_latents, slope=0.0)
        self.leave = nn.Conv2d(config.hyper_latents, config.context_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.leave(F.relu(self.up2(self.block(self.up1(x)))))
        return result


class LayeredEntropy(ContextModel):
    """A hyper-prior and the passes of three layers."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        levels, latents, hyper = config.levels, config.latents, config.hyper_latents
        self.log2_gain = nn.Parameter(first_gains(config)[:, None].repeat(1, latents))
        self.log2_sigma = nn.Parameter(torch.zeros(latents))
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(2 * latents, HYPER_WIDTH, 1),
            nn.LeakyReLU(SLOPE),
            Down(HYPER_WIDTH, HYPER_WIDTH),
            ResidualBlock(HYPER_WIDTH),
            Down(HYPER_WIDTH, hyper),
        )
        self.hyper_gain = nn.Parameter(torch.ones(levels, hyper))
        self.hyper_bias = nn.Parameter(torch.zeros(levels, hyper))
        self.hyper_log2_scale = nn.Parameter(torch.zeros(levels, hyper))
        self.hyper_input_scale = nn.Parameter(torch.full((levels, hyper), 0.5))
        self.hyper_input_bias = nn.Parameter(torch.zeros(levels, hyper))
        self.feature_bias = nn.Parameter(torch.zeros(levels, config.context_width))
        self.hyper_synthesis = LayeredHyperSynthesis(config)
        self.layers = nn.ModuleList(
            nn.ModuleList(PassNetwork(config, layer, number) for number in range(PASSES[layer]))
            for layer in range(len(config.layers))
        )

    def hyper_latents(self, scaled: Tensor, level: Tensor) -> Tensor:
        """As `ContextModel.hyper_latents`."""
        x = torch.asinh(scaled * 0.5)
        found: Tensor = self.hyper_analysis(torch.cat([x, x.abs()], 1)).float()
        return found * torch.exp2(interpolate(self.hyper_gain, level)) + interpolate(self.hyper_bias, level)

    def features(self, z: Tensor, level: Tensor) -> Tensor:
        """As `ContextModel.features`."""
        x = z * interpolate(self.hyper_input_scale, level) + interpolate(self.hyper_input_bias, level)
        found: Tensor = self.hyper_synthesis(x) + interpolate(self.feature_bias, level)
        return found

    def passes(self) -> list[ContextPass]:
        """As `ContextModel.passes`."""
        found = []
        for layer, number, name in self.config.passes():
            part = self.config.layers[layer]
            predict = partial(self._predict, self.get_submodule(name), layer, number)
            found.append(ContextPass(part, groups_of(layer, number, part.stop - part.start), predict))
        return found

    def _predict(
        self, turn: nn.Module, layer: int, number: int, features: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        first = known[:, self.config.layers[0]]
        values = torch.cat([first, first.abs()], 1) if layer == 0 else known[:, : self.config.layers[1].stop].abs()
        found: Tensor = turn(features, values[:, : self.config.known(layer, number)]).float()
        if layer >= MEANS:
            return torch.zeros_like(found), found
        mu, s = found.chunk(2, 1)
        return mu, s


class ConditionedBlock(nn.Module):
    """A residual block whose depthwise output is scaled and shifted."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.expand, self.project = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        inner = F.leaky_relu(self.expand(torch.addcmul(shift, self.depthwise(x), factor)), SLOPE)
        result: Tensor = self.project(inner) + x
        return result


class ConditionedRefinement(nn.Module):
    """The residual network on decoded pixels. A network on the latents, at 1/16, scales and shifts its blocks."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        outputs, width, blocks = config.bands * PATCH**2, config.refinement_width, config.refinement_blocks
        first, second, _ = config.layers
        condition, phases = config.condition_width, BLOCK // PATCH
        self.enter, self.leave = nn.Conv2d(outputs, width, 1), nn.Conv2d(width, outputs, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, width))
        self.level_scale = nn.Parameter(first_scales(config.levels))
        self.position_bias = nn.Parameter(torch.zeros(1, width, phases, phases))
        self.blocks = nn.ModuleList(ConditionedBlock(width, config.refinement_inner) for _ in range(blocks))
        self.cond_enter = nn.Conv2d(first.stop + second.stop, condition, 1)
        self.cond_level = nn.Parameter(torch.zeros(config.levels, condition))
        self.cond_block = ResidualBlock(condition)
        self.cond_leave = nn.Conv2d(condition, 2 * width * blocks, 1)
        for layer in (self.leave, self.cond_leave):  # before training there is no correction, and no condition
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # Fitted at export, as those of `transforms.Refinement`.
        self.register_buffer("adaptations", torch.zeros(config.adaptations, *self.leave.weight.shape[:2]))

    def forward(self, x: Tensor, normalised: Tensor, level: Tensor) -> Tensor:
        """As `correction`, at (B,) levels."""
        tables = self.level_bias, self.level_scale, self.cond_level
        return self.correction(x, normalised, *(interpolate(table, level) for table in tables))

    def correction(self, x: Tensor, normalised: Tensor, bias: Tensor, scale: Tensor, condition: Tensor) -> Tensor:
        """(B, bands, H, W) pixels around zero and (B, latents, H/16, W/16) normalised latents -> the correction.

        `bias`, `scale` and `condition` (B, channels, 1, 1) are the tables of the level.
        """
        first, second, _ = self.config.layers
        magnitudes = normalised[:, : second.stop].abs()
        parts = [(magnitudes * slope).clamp(max=1) for slope in SLOPES]
        shown = torch.cat([normalised[:, first].clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP), torch.stack(parts).sum(0)], 1)
        dtype = self.enter.weight.dtype
        k = self.cond_enter(shown.to(dtype)) + condition.to(dtype)
        k = F.interpolate(self.cond_leave(F.leaky_relu(self.cond_block(k), SLOPE)), scale_factor=BLOCK // PATCH)
        modulation = k.chunk(2 * len(self.blocks), 1)
        height, width = normalised.shape[2:]
        position = (bias + self.position_bias).to(dtype)
        y = self.enter(F.pixel_unshuffle(x * INPUT_FACTOR, PATCH).to(dtype)) + position.repeat(1, 1, height, width)
        for block, factor, shift in zip(self.blocks, modulation[::2], modulation[1::2], strict=True):
            y = block(y, 1 + factor, shift)
        return F.pixel_shuffle(self.leave(y).float() * torch.exp2(scale), PATCH)


class SeparableTransform(nn.Module):
    """`BlockTransform` with all components, to differentiate. Nothing in it is learned by gradients."""

    components: Tensor
    forward_factors: Tensor
    inverse_factors: Tensor
    basis: Tensor
    axes: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        count = bands * BLOCK**2
        self.register_buffer("components", torch.arange(count))
        self.register_buffer("forward_factors", torch.ones(count))
        self.register_buffer("inverse_factors", torch.ones(count))
        self.pre_filter, self.post_filter = Lapping(), Lapping(columns_first=True)
        for name, array in (("basis", dct()), ("axes", colour_axes(bands))):
            self.register_buffer(name, torch.from_numpy(np.asarray(array, np.float32)), persistent=False)

    def take(self, transform: BlockTransform) -> None:
        """Become this transform."""
        arrays = (
            (self.components, transform.components),
            (self.forward_factors, transform.forward),
            (self.inverse_factors, transform.inverse),
            (self.pre_filter.matrix, transform.pre_filter),
            (self.post_filter.matrix, transform.post_filter),
        )
        for tensor, array in arrays:
            tensor.copy_(torch.from_numpy(np.asarray(array)))

    def given(self) -> BlockTransform:
        """The transform that this is."""
        factors = (self.forward_factors, self.inverse_factors, self.pre_filter.matrix, self.post_filter.matrix)
        found = (tensor.detach().cpu().numpy().astype(np.float32) for tensor in factors)
        return BlockTransform(self.bands, self.components.cpu().numpy(), *found)

    def analyse(self, x: Tensor) -> Tensor:
        """(B, bands, 16h, 16w) pixels in [0, 1] -> (B, latents, h, w) float32."""
        with torch.autocast(x.device.type, enabled=False):
            planes = self.pre_filter(x.float() - 0.5)
            height, width = (side // BLOCK for side in planes.shape[2:])
            blocks = planes.reshape(len(x), self.bands, height, BLOCK, width, BLOCK)
            found = torch.einsum("nbhiwj,cb,vi,uj->ncvuhw", blocks, self.axes, self.basis, self.basis)
            return found.flatten(1, 3)[:, self.components] * self.forward_factors[:, None, None]

    def synthesise(self, latents: Tensor, shape: Shape | None = None) -> Tensor:
        """(B, latents, h, w) -> (B, bands, 16h, 16w) pixels around zero."""
        with torch.autocast(latents.device.type, enabled=False):
            height, width = latents.shape[2:]
            factors = self.inverse_factors[:, None, None].expand(-1, height, width)
            if shape is not None:  # in boundary blocks, the basis has norm 1
                factors = torch.where(torch.from_numpy(shape.boundary).to(latents.device), 1.0, factors)
            blocks = (latents.float() * factors)[:, torch.argsort(self.components)]
            blocks = blocks.reshape(len(latents), self.bands, BLOCK, BLOCK, height, width)
            planes = torch.einsum("ncvuhw,cb,vi,uj->nbhiwj", blocks, self.axes, self.basis, self.basis)
            planes = planes.reshape(len(latents), self.bands, BLOCK * height, BLOCK * width)
            support = None
            if shape is not None:
                planes, support = shape.from_whole(planes), torch.from_numpy(shape.support).to(planes.device)
            found: Tensor = self.post_filter(planes, support)
            return found


class LayeredNetwork(BaseNetwork):
    """The second generation."""

    config: LayeredConfig
    entropy: LayeredEntropy

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        self.transform = SeparableTransform(config.bands)
        self.entropy, self.refinement = LayeredEntropy(config), ConditionedRefinement(config)
        self.log2_inverse = nn.Parameter(torch.zeros(config.levels, config.latents))

    @property
    def refining(self) -> ConditionedRefinement:
        """As `BaseNetwork.refining`."""
        return self.refinement

    def analyse(self, x: Tensor) -> Tensor:
        """As `BaseNetwork.analyse`."""
        return self.transform.analyse(x)

    def pixels(
        self, latents: Tensor, normalised: Tensor, tables: Mapping[str, Tensor], shape: Shape | None = None
    ) -> Tensor:
        """As `BaseNetwork.pixels`."""
        planes = self.transform.synthesise(latents, shape)
        bias, scale, condition = (tables[f"refinement_{name}"] for name in ("bias", "scale", "condition"))
        # Small latents change the condition by leaps: no slope at them holds for a whole quantisation step.
        correction = self.refinement.correction(planes, normalised.detach(), bias, scale, condition)
        found: Tensor = planes + correction + 0.5
        return found

    def tables(self) -> dict[str, Tensor]:
        """As `BaseNetwork.tables`."""
        own = self.refinement
        return {
            "refinement_bias": own.level_bias,
            "refinement_scale": own.level_scale,
            "refinement_condition": own.cond_level,
        }

    def positions(self) -> Tensor:
        """As `BaseNetwork.positions`."""
        return self.transform.components % BLOCK**2


def layered_of_weights(source: Weights) -> LayeredNetwork:
    """As `networks.network_of_weights`, for the second generation."""
    transforms, levels, training = (source.part(part) for part in ("transforms", "levels", "training"))
    with torch.device("cpu"):  # not on the caller's default device
        network = LayeredNetwork(source.config_as(LayeredConfig)).float()
    network.transform.take(block_transform_of(source))
    known = {f"entropy.{name}": value for name, value in training.items()}
    known |= {name.replace("hyper_analysis.network", "entropy.hyper_analysis"): x for name, x in transforms.items()}
    known |= {key: levels[table] for table, key in LAYERED_LEVEL_TABLES.items() if table in levels}
    state = network.state_dict()
    for key, value in state.items():
        if key.startswith("transform."):
            continue
        if key not in known:
            raise WeightsError(f"the weights lack {key}, which only training and encoder effort need")
        state[key] = torch.from_numpy(known[key]).to(value.dtype)
    network.load_state_dict(state)
    return network.eval()
