"""The layered entropy model and its refinement in floating point, as trained.

`exact.py` is the integer twin of the one, `inference.RefinementProgram` and `condition.py` run the other on engines.

The trainer's own loss isn't here yet; what is, says which symbols and scales a trained model has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_codec.models.config import BLOCK, CONTEXT_CLAMP, INPUT_FACTOR, LOG2_SCALES, PATCH, SLOPE
from learned_codec.models.entropy_model import interpolate
from learned_codec.models.layers import Down, PlainUp, ResidualBlock

from .condition import SLOPES
from .config import HYPER_WIDTH, MEANS, PASSES, LayeredConfig, groups_of


class Pass(nn.Module):
    """The features and what is decoded, to what a pass says of its layer."""

    def __init__(self, config: LayeredConfig, layer: int, number: int) -> None:
        super().__init__()
        width, seen = config.widths[layer], config.seen(layer, number)
        part = config.layers[layer]
        self.from_features = nn.Conv2d(config.context_width, width, 1)
        self.from_latents = nn.Conv2d(seen, width, 1, bias=False) if seen else None
        self.enter = nn.Identity()  # the sum of the two, for the hooks that calibrate its range
        self.block = ResidualBlock(width, slope=0.0)
        self.leave = nn.Conv2d(width, (part.stop - part.start) * (2 if layer < MEANS else 1), 1)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        x = self.from_features(features)
        if self.from_latents is not None:
            x = x + self.from_latents(seen)
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


@dataclass(frozen=True, slots=True)
class Said:
    """Symbols of plainly rounded latents and hyper-latents, and the log2 of their scales."""

    symbols: Tensor
    log2_scale: Tensor
    hyper: Tensor
    hyper_log2_scale: Tensor


class LayeredEntropy(nn.Module):
    """A hyper-prior and the passes of three layers."""

    log2_gain: Tensor
    log2_sigma: Tensor

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        levels, latents, hyper = config.levels, config.latents, config.hyper_latents
        self.register_buffer("log2_gain", torch.zeros(levels, latents))
        self.register_buffer("log2_sigma", torch.zeros(latents))
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
            nn.ModuleList(Pass(config, layer, number) for number in range(PASSES[layer]))
            for layer in range(len(config.layers))
        )

    def hyper_latents(self, scaled: Tensor, level: Tensor) -> Tensor:
        """(B, latents, h, w) latents in quantisation steps, h and w multiples of 4 -> hyper-latents, not rounded."""
        x = torch.asinh(scaled * 0.5)
        found: Tensor = self.hyper_analysis(torch.cat([x, x.abs()], 1))
        return found * torch.exp2(interpolate(self.hyper_gain, level)) + interpolate(self.hyper_bias, level)

    def forward(self, y: Tensor, level: Tensor) -> Said:
        """(B, latents, h, w) analysed latents, h and w multiples of 4, at (B,) levels; plainly rounded."""
        gain = interpolate(self.log2_gain, level)
        unit = gain + self.log2_sigma[None, :, None, None]
        scaled = y * torch.exp2(gain)
        z = torch.round(self.hyper_latents(scaled, level))
        x = z * interpolate(self.hyper_input_scale, level) + interpolate(self.hyper_input_bias, level)
        features = self.hyper_synthesis(x) + interpolate(self.feature_bias, level)
        decoded, symbols, log2_scale = torch.zeros_like(scaled), torch.zeros_like(scaled), torch.zeros_like(scaled)
        for layer, number, name in self.config.passes():
            part = self.config.layers[layer]
            normal = (decoded * torch.exp2(-unit)).clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP)
            first = normal[:, self.config.layers[0]]
            seen = torch.cat([first, first.abs()], 1) if layer == 0 else normal.abs()
            said: Tensor = self.get_submodule(name)(features, seen[:, : self.config.seen(layer, number)])
            mu, s = said.chunk(2, 1) if layer < MEANS else (torch.zeros_like(said), said)
            here = self._mask(layer, number, scaled)
            mean = mu * torch.exp2(unit[:, part])
            rounded = torch.round(scaled[:, part] - mean)
            symbols[:, part] += rounded * here
            decoded[:, part] += (rounded + mean) * here
            log2_scale[:, part] += (unit[:, part] + s.clamp(*LOG2_SCALES)) * here
        return Said(symbols, log2_scale, z, interpolate(self.hyper_log2_scale, level).expand_as(z))

    def _mask(self, layer: int, number: int, x: Tensor) -> Tensor:
        """(1, channels of the layer, h, w): 1 where a latent is coded in a pass."""
        part = self.config.layers[layer]
        mask = torch.zeros(1, part.stop - part.start, *x.shape[2:])
        for position, group in enumerate(groups_of(layer, number, part.stop - part.start)):
            mask[:, group, position // 2 :: 2, position % 2 :: 2] = 1
        return mask


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
    """The residual network on decoded pixels; at 1/16, the latents say how its blocks are scaled and shifted."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        outputs, width, blocks = config.bands * PATCH**2, config.refinement_width, config.refinement_blocks
        first, second, _ = config.layers
        condition, phases = config.condition_width, BLOCK // PATCH
        self.enter, self.leave = nn.Conv2d(outputs, width, 1), nn.Conv2d(width, outputs, 1)
        self.level_bias = nn.Parameter(torch.zeros(config.levels, width))
        self.level_scale = nn.Parameter(torch.zeros(config.levels, 1))
        self.position_bias = nn.Parameter(torch.zeros(1, width, phases, phases))
        self.blocks = nn.ModuleList(ConditionedBlock(width, config.refinement_inner) for _ in range(blocks))
        self.cond_enter = nn.Conv2d(first.stop + second.stop, condition, 1)
        self.cond_level = nn.Parameter(torch.zeros(config.levels, condition))
        self.cond_block = ResidualBlock(condition)
        self.cond_leave = nn.Conv2d(condition, 2 * width * blocks, 1)

    def forward(self, x: Tensor, normalised: Tensor, level: Tensor) -> Tensor:
        """(B, bands, H, W) pixels around zero and (B, latents, H/16, W/16) normalised latents -> the correction."""
        first, second, _ = self.config.layers
        magnitudes = normalised[:, : second.stop].abs()
        parts = [(magnitudes * slope).clamp(max=1) for slope in SLOPES]
        shown = torch.cat([normalised[:, first].clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP), torch.stack(parts).sum(0)], 1)
        k = self.cond_enter(shown) + interpolate(self.cond_level, level)
        k = F.interpolate(self.cond_leave(F.leaky_relu(self.cond_block(k), SLOPE)), scale_factor=BLOCK // PATCH)
        modulation = k.chunk(2 * len(self.blocks), 1)
        height, width = normalised.shape[2:]
        bias = interpolate(self.level_bias, level) + self.position_bias
        y = self.enter(F.pixel_unshuffle(x * INPUT_FACTOR, PATCH)) + bias.repeat(1, 1, height, width)
        for block, factor, shift in zip(self.blocks, modulation[::2], modulation[1::2], strict=True):
            y = block(y, 1 + factor, shift)
        return F.pixel_shuffle(self.leave(y) * torch.exp2(interpolate(self.level_scale, level)), PATCH)
