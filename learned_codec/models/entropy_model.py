"""The entropy model in floating point: what training learns. `exact.py` is its integer twin, used to code.

All inputs and outputs of the networks are normalised, so that they learn shapes and not magnitudes. With the gain G of
a level and the base sigma of a channel, a latent's mean is G*sigma*mu and its scale G*sigma*2^s; mu and s come from the
networks. Gains, sigmas and scales are kept as base-2 logarithms, because their integer twins add them.

The latents are coded layer by layer, by frequency, and in a layer in passes. Each pass codes one position of every 2x2
neighbourhood per channel group, and its networks take latents decoded before as input (with four passes, in the
quadtree order of Lu et al., "High-efficiency lossy image coding through adaptive neighborhood information aggregation",
2022, and Li et al., "Neural video compression with diverse contexts", 2023). Magnitudes are inputs, too: the scale of a
latent depends on how large its neighbours are, whatever their signs, and a sum of signed values can't express that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_codec.entropy import BINS_PER_OCTAVE, SCALE_BINS, SCALE_LOG2_MIN, SKIPPED_BINS, gaussian_tables

from . import rdoq
from .config import CONTEXT_CLAMP, HYPER_WIDTH, LOG2_SCALES, MEANS, PASSES, SLOPE, ModelConfig, groups_of
from .layers import Down, PlainUp, ResidualBlock, interpolate


class _LowerBound(torch.autograd.Function):
    """max(x, bound). Below the bound, a gradient still passes if it would raise x (Balle et al. 2018)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * ((x >= ctx.bound) | (gradient < 0)).to(gradient.dtype), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), with the gradient of `_LowerBound`."""
    result: Tensor = _LowerBound.apply(x, bound)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return result


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


def gaussian_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Bits of `residual` (in quantisation steps, mean subtracted) under a zero-mean Gaussian integrated over a step."""
    scale = torch.exp2(lower_bound(log2_scale.float(), SCALE_LOG2_MIN))
    magnitude = residual.float().abs()
    mass = torch.special.ndtr((0.5 - magnitude) / scale) - torch.special.ndtr((-0.5 - magnitude) / scale)
    return -torch.log2(lower_bound(mass, 1e-9))


def scale_bins(log2_scale: Tensor) -> Tensor:
    """Log2 of scales -> the nearest scale bins, int64."""
    return torch.round((log2_scale - SCALE_LOG2_MIN) * BINS_PER_OCTAVE).clamp(0, SCALE_BINS - 1).long()


def optimised(residual: Tensor, scale_bin: Tensor, cost: Tensor, bits: Tensor) -> Tensor:
    """`rdoq.rounded` on tensors: symbols for residuals (in quantisation steps).

    `scale_bin` (int64) and `cost` (of errors) broadcast against `residual`; `bits` is
    `ScaleTables.cost_matrix(rdoq.REACH)`, flattened. Symbols of skipped bins are zero.
    """
    symbols = torch.round(residual)
    smaller = symbols - torch.sign(symbols)
    more_error = cost * ((residual - smaller).square() - (residual - symbols).square())
    magnitude = symbols.abs().clamp(max=rdoq.REACH).long()
    row = scale_bin * (rdoq.REACH + 1)
    saved = bits[row + magnitude] - bits[row + (magnitude - 1).clamp(min=0)]
    symbols = torch.where((more_error < saved) & (symbols.abs() <= rdoq.REACH), smaller, symbols)
    return symbols * (scale_bin >= SKIPPED_BINS)


def first_gains(config: ModelConfig) -> Tensor:
    """(levels,) a first guess of the log2 of gains.

    The gain is 1 / step size. At high rates, dD/dR makes step size^2 proportional to 1 / lambda.
    """
    low, high = (math.log2(config.lagrangian(level) / 4e-4) for level in (0, config.levels - 1))
    return torch.linspace(low, high, config.levels) / 2


class HyperSynthesis(nn.Module):
    """Decoded hyper-latents to the features that are an input of every pass."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up1, self.up2 = PlainUp(config.hyper_latents), PlainUp(config.hyper_latents)
        self.block = ResidualBlock(config.hyper_latents, slope=0.0)
        self.leave = nn.Conv2d(config.hyper_latents, config.context_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.leave(F.relu(self.up2(self.block(self.up1(x)))))
        return result


class PassNetwork(nn.Module):
    """From the features and the decoded latents of a layer to the scales, and in layer 0 the means, of a pass."""

    def __init__(self, config: ModelConfig, layer: int, number: int) -> None:
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


@dataclass(frozen=True, slots=True)
class ContextPass:
    """One pass of coding.

    Attributes:
        part: the channels that it is about.
        groups: at each position of a 2 x 2 neighbourhood, which of these channels it codes.
        predict: features and the normalised latents that are decoded, (B, latents, h, w) -> mu and s of the part.
    """

    part: slice
    groups: tuple[slice, ...]
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

    def mask(self, like: Tensor) -> Tensor:
        """(1, channels of the part, h, w) float: 1 where a latent is coded. `like` is (B, latents, h, w)."""
        mask = torch.zeros(1, self.part.stop - self.part.start, *like.shape[2:], device=like.device)
        for position, group in enumerate(self.groups):
            mask[:, group, position // 2 :: 2, position % 2 :: 2] = 1
        return mask

    def placed(self, values: Tensor, like: Tensor) -> Tensor:
        """The values of the part among all channels, zeros in the others."""
        return F.pad(values, (0, 0, 0, 0, self.part.start, like.shape[1] - self.part.stop))


@dataclass(frozen=True, slots=True)
class Estimated:
    """The entropy model's output for a batch. Latents are in quantisation steps.

    Attributes:
        latents: as decoded, (B, latents, h, w).
        latent_bits: of each latent.
        hyper_bits: of each hyper-latent.
        residual: rounded latents minus their means.
        log2_scale: the scales of `residual`.
        hyper: hyper-latents, with noise while training, else rounded.
        hyper_log2_scale: the scales of `hyper`.
    """

    latents: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor
    residual: Tensor
    log2_scale: Tensor
    hyper: Tensor
    hyper_log2_scale: Tensor


class EntropyModel(nn.Module):
    """A hyper-prior and the passes of three layers: hyper-latents first, then one pass after another."""

    symbol_bits: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        costs = torch.from_numpy(gaussian_tables().cost_matrix(rdoq.REACH)).reshape(-1)
        self.register_buffer("symbol_bits", costs, persistent=False)
        self.config = config
        levels, latents, hyper = config.levels, config.latents, config.hyper_latents
        self.log2_gain = nn.Parameter(first_gains(config)[:, None].repeat(1, latents))
        self.log2_sigma = nn.Parameter(torch.zeros(latents))
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(config.hyper_inputs, HYPER_WIDTH, 1),
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
        self.hyper_synthesis = HyperSynthesis(config)
        self.layers = nn.ModuleList(
            nn.ModuleList(PassNetwork(config, layer, number) for number in range(PASSES[layer]))
            for layer in range(len(config.layers))
        )

    def hyper_latents(self, scaled: Tensor, level: Tensor) -> Tensor:
        """Latents in quantisation steps -> hyper-latents before rounding, centred on zero."""
        x = torch.asinh(scaled * 0.5)
        found: Tensor = self.hyper_analysis(torch.cat([x[:, self.config.layers[0]], x.abs()], 1)).float()
        return found * torch.exp2(interpolate(self.hyper_gain, level)) + interpolate(self.hyper_bias, level)

    def features(self, z: Tensor, level: Tensor) -> Tensor:
        """Rounded hyper-latents (B, hyper_latents, hz, wz) -> (B, context_width, 4hz, 4wz).

        All passes have them as input.
        """
        x = z * interpolate(self.hyper_input_scale, level) + interpolate(self.hyper_input_bias, level)
        found: Tensor = self.hyper_synthesis(x) + interpolate(self.feature_bias, level)
        return found

    def passes(self) -> list[ContextPass]:
        """The passes in the order of coding."""
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

    def _round(self, residual: Tensor, log2_scale: Tensor, cost: Tensor) -> Tensor:
        """`rdoq.rounded` with a straight-through gradient."""
        with torch.no_grad():
            symbols = optimised(residual, scale_bins(log2_scale), cost, self.symbol_bits)
        return residual + (symbols - residual).detach()

    def forward(self, y: Tensor, level: Tensor, cost: Tensor | None = None) -> Estimated:
        """Code (B, latents, h, w) latents, h and w multiples of 4, at (B,) real-valued levels.

        While training, bits are those of values with uniform noise added in place of rounding; the values passed on are
        rounded, with a straight-through gradient ("mixed" quantisation, Minnen and Singh 2020).

        With `cost` (B, latents, 1, 1), the bits that errors are worth, latents are rounded by `optimised`. Then the
        scales learn from the symbols themselves; means and latents still learn through the noise.
        """
        noise = torch.rand_like if self.training else None
        unit = interpolate(self.log2_gain, level) + self.log2_sigma[None, :, None, None]
        inverse_unit, unit_scale = torch.exp2(-unit), torch.exp2(unit)
        scaled = y.float() * torch.exp2(interpolate(self.log2_gain, level))

        z = self.hyper_latents(scaled, level)
        z_rounded = round_through(z)
        z_rate = z + noise(z) - 0.5 if noise else z_rounded
        z_log2_scale = interpolate(self.hyper_log2_scale, level)

        features = self.features(z_rounded, level)
        decoded = torch.zeros_like(scaled)
        mean, log2_scale = torch.zeros_like(scaled), torch.zeros_like(scaled)
        for turn in self.passes():
            part, mask = turn.part, turn.mask(scaled)
            mu, s = turn.predict(features, (decoded * inverse_unit).clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP))
            mu = mu * unit_scale[:, part]
            s = unit[:, part] + s.clamp(*LOG2_SCALES)
            residual = scaled[:, part] - mu
            symbols = round_through(residual) if cost is None else self._round(residual, s, cost[:, part])
            mean = mean + turn.placed(mu * mask, scaled)
            log2_scale = log2_scale + turn.placed(s * mask, scaled)
            decoded = decoded + turn.placed((symbols + mu) * mask, scaled)
        residual = (decoded - mean).detach().round()
        if noise is None:
            latent_bits = gaussian_bits(residual, log2_scale)
        else:
            noisy = scaled - mean + noise(mean) - 0.5
            if cost is None:
                latent_bits = gaussian_bits(noisy, log2_scale)
            else:
                proxy = gaussian_bits(noisy, log2_scale.detach())
                latent_bits = gaussian_bits(residual, log2_scale) + proxy - proxy.detach()
        return Estimated(
            latents=decoded,
            latent_bits=latent_bits,
            hyper_bits=gaussian_bits(z_rate, z_log2_scale),
            residual=residual,
            log2_scale=log2_scale,
            hyper=z_rate,
            hyper_log2_scale=z_log2_scale.expand_as(z),
        )
