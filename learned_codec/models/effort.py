"""Latent optimisation, `effort` 1 to 3: latents are optimised for one image by gradients. Decoders stay the same.

RDOQ (`rdoq.py`) compares a symbol's own bits with its squared error in the linear part of the synthesis. It ignores two
effects of a decoded latent: on the refinement's output, and on the bits of the latents that have it in their context.
Here both are linearised. A pass codes the latents and differentiates the ignored part by each decoded latent. Then it
moves the latents to be rounded next, so that their squared error has this slope as well. (Campos et al., "Content
adaptive optimization for neural image compression", 2019, and Yang et al., "Improving inference for neural image
compression", 2020, do gradient descent on a relaxation of the rounding. Zeros, the most frequent symbols, have hardly
any gradient there.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from learned_codec.entropy import (
    BINS_PER_OCTAVE,
    DELTA,
    FIRST_BIN,
    SCALE_BINS,
    SCALE_LOG2_MIN,
    SKIPPED_BINS,
    Runs,
    dequantised,
    first_tables,
)
from learned_codec.forks import gate

from . import rdoq
from .config import CONTEXT_CLAMP, HYPER_STRIDE, LOG2_SCALES, QUALITY_STEPS
from .engine.openvino import has_bf16
from .entropy_model import ContextPass, gaussian_bits, scale_bins
from .layers import interpolate
from .model import Model
from .network import Network, network_of_weights
from .rdoq import OPTIMISED
from .shape_adaptive import Shape
from .weights import Weights

PASSES = (0, 2, 8, 24)
"""How many passes efforts 0, 1, 2 and 3 take."""

FIRST_MOVE, LEAST_MOVE = 0.5, 0.02
"""How far latents move in the first pass, and at least in any pass, relative to the linearisation's optimum. It is less
than 1 because all latents move at once and their effects add up."""

ONWARD, BACK = 1.2, 0.75
"""The factors by which a latent's rate changes from pass to pass: where its direction stays, and where it reverses (as
in Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", 1993)."""

LEAST_SHARE = 0.1
"""The least share of a pass in the mean of slopes, for dependent quantisers: there, a change of a symbol decides on all
that follow, so each pass has other errors of rounding."""

MAX_MOVE = 4.0
"""Quantisation steps that a latent may move: further away, the linearisation is no longer valid."""

CONTEXT_WEIGHT, ERROR_WEIGHT = 0.1, 1.0
"""How much the slopes of other latents' bits and of the error count, chosen on validation images. The weight of
contexts is small because all of them change at once: what one latent would gain, others have often gained already."""


def prepared(weights: Weights, device: str) -> Network:
    """The floating-point network of a weights file, ready for an `Optimiser`."""
    with torch.inference_mode(False):  # it will be differentiated, whatever mode the caller is in
        network = network_of_weights(weights).requires_grad_(False).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Only the refinement: the linear path has large coefficients, for which the 8 bits of bf16 are too few at high
        # rates.
        network.refinement.to(torch.bfloat16 if _has_bf16(device) else torch.float32)
    return network


class Optimiser:
    """Optimises latents for a model. It differentiates the floating-point network that the model was made from."""

    def __init__(self, model: Model, network: Network, passes: int) -> None:
        """`network` is that of `prepared` on the model's device; several optimisers may share it."""
        self.model, self.network, self.passes = model, network, passes
        self.dtype = network.refinement.leave.weight.dtype
        costs = model.coder_models.costs[:, : rdoq.REACH + 1]
        self.costs = torch.from_numpy(costs).reshape(-1).to(model.device)

    def optimise(
        self,
        pixels: NDArray[np.float32],
        latents: NDArray[np.float32],
        step: int,
        visible: NDArray[np.bool_] | None,
        distortion_weight: float,
        shape: Shape | None,
    ) -> NDArray[np.float32]:
        """The latents that `Model.code` is to round in place of `latents`, (h, w, latents).

        `pixels` (bands, 16h, 16w) are what `latents` (h, w, latents) were analysed from; `step` is the quality step.
        Only errors of `visible` pixels (h, w, 16, 16) count; None: all. `distortion_weight` and `shape` are those of
        `Model.code`. The result is that of the best pass by estimated bits and error; this may be the latents as they
        were.
        """
        device = self.model.device.split(":")[0]
        with (
            gate().optimising(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device, enabled=False),
        ):
            region = _Region(self, pixels, latents, step, visible, distortion_weight, shape)
            move = best = before = mean = torch.zeros_like(region.scaled)
            rate = torch.full_like(move, FIRST_MOVE)
            least = torch.inf
            for turn in range(self.passes + 1):
                last = turn == self.passes
                with torch.set_grad_enabled(not last):
                    decoded, bits, of_contexts = region.code(region.scaled + move)
                    error, of_error = region.error(decoded)
                if bits + error < least:
                    least, best = bits + error, move
                if not last:
                    slope = CONTEXT_WEIGHT * of_contexts + ERROR_WEIGHT * of_error
                    if region.dependent and turn:
                        slope = mean + max(LEAST_SHARE, 1 / turn) * (slope - mean)
                    mean = slope
                    ahead = (-slope / (2 * region.cost)).clamp(-MAX_MOVE, MAX_MOVE) - move
                    if turn:
                        rate = torch.where(ahead * before > 0, rate * ONWARD, rate * BACK)
                    rate, before = rate.clamp(LEAST_MOVE, 1), ahead
                    move = move + rate * ahead
            found: NDArray[np.float32] = ((region.scaled + best) / region.gain)[0].permute(1, 2, 0).cpu().numpy()
            return np.ascontiguousarray(found)


class _Region:
    """What stays the same from pass to pass: (1, C, h, w) tensors, latents in quantisation steps."""

    def __init__(
        self,
        optimiser: Optimiser,
        pixels: NDArray[np.float32],
        latents: NDArray[np.float32],
        step: int,
        visible: NDArray[np.bool_] | None,
        distortion_weight: float,
        shape: Shape | None,
    ) -> None:
        model, network, self.step, self.shape = optimiser.model, optimiser.network, step, shape
        self.device, self.dtype = model.device, optimiser.dtype
        self.dependent = model.dependent(step, optimised=True)
        self.costs, self.symbol_costs = optimiser.costs, model.symbol_costs
        self.network, self.entropy = network, network.entropy
        trained, _ = model.config.split(step)
        self.level = torch.tensor([trained / QUALITY_STEPS], dtype=torch.float32, device=model.device)
        log2_gain, log2_inverse = (self._vector(model.at(name, step)) for name in ("log2_gain", "log2_inverse"))
        self.trained = torch.exp2(self._vector(model.at("log2_gain", trained)) - log2_gain)
        self.gain = torch.exp2(log2_gain)
        self.unit = log2_gain + self._vector(model.levels["log2_sigma"])
        self.step_size = torch.exp2(log2_inverse - log2_gain)
        names = [name for name in model.levels if name.startswith("refinement_")]
        self.refinement = {name: self._vector(model.at(name, step))[None] for name in names}
        self.pixels = self._tensor(pixels)[None]
        self.counting: Tensor | float = 1.0
        if visible is not None:
            self.counting = self._tensor(visible.swapaxes(1, 2).reshape(pixels.shape[1:]))
        self.scaled = self._tensor(latents).permute(2, 0, 1)[None] * self.gain
        self.multiplier = model.config.bits_per_error(step / QUALITY_STEPS)
        self.plain_cost = self.multiplier * self.step_size.square()
        self.cost = distortion_weight * self._vector(model.error_cost(step, OPTIMISED)).expand_as(self.scaled)
        coded = model.coded(shape)
        self.coded = None if coded is None else self._tensor(coded).permute(2, 0, 1)[None]
        with torch.no_grad(), self._short():
            self.features, self.hyper_bits = self._features()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _vector(self, array: NDArray[np.float32]) -> Tensor:
        return self._tensor(array)[:, None, None]

    def _short(self) -> torch.autocast:
        """A context in which the entropy networks run in bf16, where the processor has it."""
        return torch.autocast(self.device.split(":")[0], self.dtype, self.dtype != torch.float32)

    def _features(self) -> tuple[Tensor, Tensor]:
        entropy, (height, width) = self.entropy, self.scaled.shape[2:]
        padding = (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE)
        scaled = F.pad(self.scaled * self.trained, padding, mode="replicate")
        z = torch.round(entropy.hyper_latents(scaled, self.level))
        bits = gaussian_bits(z, interpolate(entropy.hyper_log2_scale, self.level)).sum()
        return entropy.features(z, self.level)[:, :, :height, :width], bits

    def code(self, target: Tensor) -> tuple[Tensor, float, Tensor]:
        """Round `target` pass by pass.

        Returns the decoded latents, the bits of everything, and the slope of the bits by the latents as context of
        others.
        """
        scale, inverse = torch.exp2(self.unit), torch.exp2(-self.unit)
        known, bits, leaves = torch.zeros_like(target), self.hyper_bits, []
        for turn in self.entropy.passes():
            with self._short():
                mu, s = turn.predict(self.features, (known * inverse).clamp(-CONTEXT_CLAMP, CONTEXT_CLAMP))
            means, scales, places = [], [], []
            for own, place in _places(turn):
                mean, log2_scale = mu[own] * scale[place[1]], self.unit[place[1]] + s[own].clamp(*LOG2_SCALES)
                if self.coded is not None:
                    mean = mean * self.coded[place]
                    log2_scale = log2_scale.masked_fill(~self.coded[place], SCALE_LOG2_MIN)
                places.append(place)
                means.append(mean)
                scales.append(log2_scale)
            found = torch.zeros_like(target)
            with torch.no_grad():
                residuals = [target[place] - mean for place, mean in zip(places, means, strict=True)]
                rounded = self._rounded(residuals, scales, [self.cost[place] for place in places])
            for place, mean, log2_scale, (value, symbol, table) in zip(places, means, scales, rounded, strict=True):
                with torch.no_grad():
                    found[place] = value + mean
                bits = bits + self._bits(symbol, table, mean, log2_scale).sum()
            leaves.append(found.requires_grad_(torch.is_grad_enabled()))
            known = known + found
        slope = torch.zeros_like(target)
        if bits.requires_grad:
            slope = sum(torch.autograd.grad(bits, leaves[:-1]), start=slope)  # the last latents are in no context
        return known.detach(), bits.item(), slope

    def _rounded(
        self, residuals: Sequence[Tensor], scales: Sequence[Tensor], costs: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What `Model.code` makes of the residuals of a pass, by position.

        Each with the log2 of its scale and its cost, (1, channels, h, w). For each position, it yields the decoded
        values, their symbols, and the bins' first table (0, or that of the quantiser).
        """
        flat = (torch.cat([x[0].permute(1, 2, 0).reshape(-1) for x in found]) for found in (residuals, scales, costs))
        residual, log2_scale, cost = flat
        runs = Runs.of(scale_bins(log2_scale).to(torch.uint8).cpu().numpy())
        order = torch.from_numpy(runs.order).to(self.device)
        own, worth = residual[order].cpu().numpy(), cost[order].cpu().numpy()
        arrays: tuple[NDArray[Any], ...]
        if self.dependent:
            symbols = rdoq.quantised(own, runs.counts, worth, self.symbol_costs)
            arrays = dequantised(symbols, runs.counts), symbols, first_tables(symbols, runs.counts)
        else:
            symbols = rdoq.rounded(own, runs.counts, worth, self.symbol_costs)
            arrays = symbols, symbols, np.zeros_like(symbols)
        tensors = []
        for array in arrays:
            tensors.append(torch.zeros_like(residual))
            tensors[-1][order] = self._tensor(array).to(residual.dtype)
        sizes = [x.numel() for x in residuals]
        for like, *parts in zip(residuals, *(torch.split(tensor, sizes) for tensor in tensors), strict=True):
            _, channels, height, width = like.shape
            value, symbol, table = (x.reshape(height, width, channels).permute(2, 0, 1)[None] for x in parts)
            yield value, symbol, table

    def _bits(self, symbols: Tensor, table: Tensor, mean: Tensor, log2_scale: Tensor) -> Tensor:
        """The bits of symbols, interpolated between scale tables, with slopes by mean and scale.

        `table` is the first table of a symbol's quantiser.
        """
        place = ((log2_scale - SCALE_LOG2_MIN) * BINS_PER_OCTAVE).clamp(0, SCALE_BINS - 1)
        least = torch.where(table == 0, SKIPPED_BINS, FIRST_BIN)
        lower = torch.maximum(place.detach().floor(), least).clamp(max=SCALE_BINS - 2)
        magnitude = symbols.abs().clamp(max=rdoq.REACH).long()
        first = (table + lower).long() * (rdoq.REACH + 1)

        def at(magnitude: Tensor) -> Tensor:
            row = first + magnitude
            below, above = self.costs[row], self.costs[row + rdoq.REACH + 1]
            return below + (place - lower) * (above - below)

        with torch.no_grad():
            nearer, further = at((magnitude - 1).clamp(min=0)), at((magnitude + 1).clamp(max=rdoq.REACH))
            step = torch.where(table == 0, 1.0, 2 * DELTA)
            slope = symbols.sign() * (further - nearer) / (2 * step)
        bits = at(magnitude) - slope * (mean - mean.detach())
        return torch.where(place.detach() < SKIPPED_BINS - 0.5, 0.0, bits)

    def error(self, decoded: Tensor) -> tuple[float, Tensor]:
        """What the error of the pixels is worth in bits, and its slope by the decoded latents.

        The slope of their own squared error is subtracted: RDOQ counts it.
        """
        decoded = decoded.requires_grad_(torch.is_grad_enabled())
        normalised = decoded * torch.exp2(-self.unit)
        found = self.network.pixels(decoded * self.step_size, normalised, self.refinement, self.shape)
        errors = (found - self.pixels) * self.counting
        error = self.multiplier * errors.square().sum()
        (slope,) = torch.autograd.grad(error, decoded) if error.requires_grad else (torch.zeros_like(decoded),)
        return error.item(), slope - 2 * self.plain_cost * (decoded.detach() - self.scaled)


Place = tuple[slice, slice, slice, slice]
"""An index into (1, channels, h, w)."""


def _places(turn: ContextPass) -> Iterator[tuple[Place, Place]]:
    """For each position, the latents that a pass codes: in its part, and in all."""
    for position, group in enumerate(turn.groups):
        rows, columns = slice(position // 2, None, 2), slice(position % 2, None, 2)
        channels = slice(turn.part.start + group.start, turn.part.start + group.stop)
        yield (slice(None), group, rows, columns), (slice(None), channels, rows, columns)


def _has_bf16(device: str) -> bool:
    """Whether `device` computes in bf16: emulated bf16 is slower than float32."""
    if device.startswith("cuda"):
        supported: bool = torch.cuda.is_bf16_supported()
        return supported
    return device == "cpu" and has_bf16()
