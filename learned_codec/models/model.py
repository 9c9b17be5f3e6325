"""A model ready for use: pixels to latents, latents to a payload, and back. Built once per weights file and device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from learned_codec.entropy import (
    SKIPPED_BINS,
    CoderModels,
    Decoder,
    Encoder,
)
from learned_codec.entropy.tables import MAX_SYMBOL
from learned_codec.errors import ModelError, WeightsError

from . import rdoq
from .config import EXTRA_GAIN, EXTRA_STEPS, HYPER_STRIDE, QUALITY_STEPS, ModelConfig
from .device import has_bf16
from .entropy_model import HyperAnalysis, interpolate
from .exact import MEAN_BITS, ExactEntropyModel, LevelTables, arithmetic_is_exact, hyper_size
from .rdoq import OPTIMISED, SINGLE_PASS, Strength
from .shape_adaptive import Shape
from .transforms import Analysis, Synthesis, frequencies, positions
from .weights import LEVEL_TABLES, Weights

T = TypeVar("T", bound=torch.nn.Module)

REFINEMENT_FADES = 3.0
"""Octaves a level, beyond the last trained one."""


@dataclass(frozen=True, slots=True)
class Coded:
    """An area of latents as coded.

    `encoder` holds the symbols and writes the payload, `decoded` (h, w, latents) are the latents that a decoder will
    see, in quantisation steps.
    """

    encoder: Encoder
    decoded: NDArray[np.float32]


class Model:
    """Analysis, exact entropy model and synthesis on one device. Stateless after construction."""

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.config: ModelConfig = weights.config
        self.id, self.device = weights.id, device
        self.dtype = torch.bfloat16 if has_bf16(device) else torch.float32
        self.levels = {key: value.to(device) for key, value in weights.part("levels").items()}
        if missing := LEVEL_TABLES.keys() - self.levels.keys():
            raise WeightsError(f"the weights lack levels.{', levels.'.join(sorted(missing))}")
        transforms = weights.part("transforms") | {
            f"synthesis.refinement.level_{name}": self.levels[f"refinement_{name}"] for name in ("bias", "scale")
        }
        self.analysis = self._load(Analysis(self.config), transforms, "analysis")
        self.synthesis = self._load(Synthesis(self.config), transforms, "synthesis")
        self.hyper_analysis = self._load(HyperAnalysis(self.config), transforms, "hyper_analysis")
        # Not the linear path: it carries the large coefficients, for which bf16's 8 bits are too few at high rates.
        self.synthesis.refinement.to(self.dtype)
        self.positions = positions(self.synthesis.skeleton.weight).cpu()
        self.frequencies = frequencies(self.positions).to(device)
        self.exact = ExactEntropyModel(self.config, weights.part("exact"), device)
        self.coder_models = CoderModels(weights.scale_tables())
        self.costs = torch.from_numpy(self.coder_models.tables.cost_matrix(rdoq.REACH)).reshape(-1).to(device)

    def _load(self, module: T, transforms: dict[str, Tensor], name: str) -> T:
        state = {k.removeprefix(name + "."): v for k, v in transforms.items() if k.startswith(name + ".")}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"the weights do not fit their configuration: {error}") from error
        module = module.float().eval().requires_grad_(False).to(self.device)
        return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    @property
    def max_step(self) -> int:
        """The quality step of quality 100, the last trained one; the lowest is 0."""
        return self.config.max_step

    @property
    def top_step(self) -> int:
        """The highest quality step there is."""
        return self.max_step + EXTRA_STEPS

    def at(self, name: str, step: int) -> Tensor:
        """A per-level table at a quality step, (C,) float32."""
        extra = max(0, step - self.max_step) / QUALITY_STEPS
        level = torch.tensor([step / QUALITY_STEPS - extra], device=self.device)
        values = interpolate(self.levels[name], level)[0, :, 0, 0]
        if name == "log2_gain":
            return values + extra * EXTRA_GAIN / 256
        if name == "log2_inverse":  # learned for coarse quantisation: what it does to large latents is all error here
            return values * max(0.0, 1 - extra)
        return values - REFINEMENT_FADES * extra if name == "refinement_scale" else values

    # -- transforms ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def analyse(self, pixels: NDArray[np.float32], shape: Shape | None = None) -> NDArray[np.float32]:
        """(bands, H, W) float32 in [0, 1], H and W multiples of 16 -> (H/16, W/16, latents) float32.

        `shape` says which pixels are coded, if not all; `code`, `decode` and `synthesise` must be given the same.
        """
        x = self._tensor(pixels)[None].contiguous(memory_format=torch.channels_last)
        return _array(self.analysis(x, shape)[0].permute(1, 2, 0))

    @torch.inference_mode()
    def synthesise(
        self, decoded: NDArray[np.float32], step: int, adaptation: Sequence[int] = (), shape: Shape | None = None
    ) -> NDArray[np.float32]:
        """(h, w, latents) decoded latents in quantisation steps -> (bands, 16h, 16w) float32, not clipped.

        `adaptation` is the refinement's to this image, as its file has it.
        """
        return _array(self.pixels(self._tensor(decoded).permute(2, 0, 1)[None], step, adaptation, shape)[0])

    def pixels(self, decoded: Tensor, step: int, adaptation: Sequence[int] = (), shape: Shape | None = None) -> Tensor:
        """`synthesise` in torch's order of dimensions, (1, latents, h, w) -> (1, bands, 16h, 16w), differentiable."""
        added = torch.tensor(adaptation, dtype=torch.float32, device=self.device) if any(adaptation) else None
        planes: Tensor = self.synthesis(decoded * self.step_size(step), *self.refinement_at(step), added, shape)
        return planes

    @torch.inference_mode()
    def linear(self, latents: NDArray[np.float32], shape: Shape | None = None) -> NDArray[np.float32]:
        """(h, w, latents) latents as analysed -> (bands, 16h, 16w) pixels before the refinement, around zero."""
        return _array(self.synthesis.linear(self._tensor(latents).permute(2, 0, 1)[None], shape)[0])

    def scales(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(latents,) each: a latent's quantisation steps at a quality step, and what one is to the synthesis."""
        return _array(torch.exp2(self.at("log2_gain", step))), _array(self.step_size(step)[:, 0, 0])

    def step_size(self, step: int) -> Tensor:
        """(latents, 1, 1) what a quantisation step is to the synthesis."""
        return torch.exp2(self.at("log2_inverse", step) - self.at("log2_gain", step))[:, None, None]

    def refinement_at(self, step: int) -> tuple[Tensor, Tensor]:
        """The bias and the scale of the refinement at a quality step."""
        bias, scale = (self.at(f"refinement_{name}", step)[None, :, None, None] for name in ("bias", "scale"))
        return bias, scale

    # -- entropy coding -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def code(
        self,
        latents: NDArray[np.float32],
        step: int,
        *,
        encoder: Encoder | None = None,
        distortion_weight: float = 1.0,
        optimised: NDArray[np.float32] | None = None,
        shape: Shape | None = None,
        plain: bool = False,
    ) -> Coded:
        """Quantise and code (h, w, latents) analysed latents at a quality step; with `plain`, plainly rounded.

        With `encoder`, that of another component of the same tile, the symbols follow those that it has.
        `distortion_weight` is how much errors count. `optimised` latents are rounded in place of these, from which the
        hyper-latents are made in any case.
        """
        self.require_exact()
        height, width, _ = latents.shape
        y = self._tensor(latents)
        level = self.exact.level(step)
        gain = torch.exp2(self.at("log2_gain", step))
        target = (y if optimised is None else self._tensor(optimised)) * gain
        cost = distortion_weight * self.error_cost(step, SINGLE_PASS if optimised is None else OPTIMISED)
        if plain:
            cost = torch.full_like(cost, torch.inf)
        encoder = encoder or Encoder(self.coder_models)

        def push(symbols: Tensor, bins: NDArray[np.uint8]) -> None:
            encoder.push(symbols.reshape(-1).to("cpu", torch.int32).numpy(), bins)

        def quantise(means: list[Tensor], bins: list[Tensor], places: list[tuple[slice, slice, slice]]) -> list[Tensor]:
            blocks = []
            for mean, scale_bin, place in zip(means, bins, places, strict=True):
                residual = target[place] - mean * 2.0**-MEAN_BITS
                symbols = rdoq.rounded(residual, scale_bin.long(), cost[place[2]], self.costs)
                blocks.append(symbols.clamp(-MAX_SYMBOL, MAX_SYMBOL))
            push(torch.cat([b.reshape(-1) for b in blocks]), _bins(bins))
            return blocks

        hyper_bins = np.broadcast_to(level.hyper_bins, (*hyper_size(height, width), len(level.hyper_bins)))
        hyper = self._hyper_latents(y * torch.exp2(self.at("log2_gain", min(step, self.max_step))), step, level)
        push(hyper, hyper_bins.reshape(-1))
        decoded = self.exact.latents(hyper, level, height, width, quantise, self.coded(shape))
        return Coded(encoder, _array(decoded * 2.0**-MEAN_BITS))

    def coded(self, shape: Shape | None) -> Tensor | None:
        """(h, w, latents): which latents of an area of this shape are coded; None: all."""
        return None if shape is None else torch.from_numpy(shape.coded(self.positions.numpy())).to(self.device)

    @torch.inference_mode()
    def saved(self, latents: NDArray[np.float32], decoded: NDArray[np.float32], step: int) -> float:
        """How much less error (h, w, latents) `decoded` latents leave than zeros would, in the bits it is worth."""
        scaled, left = self._tensor(latents) * torch.exp2(self.at("log2_gain", step)), self._tensor(decoded)
        return (self.error_cost(step, SINGLE_PASS) * left * (2 * scaled - left)).sum().item()

    def error_cost(self, step: int, strength: Strength) -> Tensor:
        """(latents,) `rdoq.error_cost` at a quality step."""
        log2_size = self.at("log2_inverse", step) - self.at("log2_gain", step)
        multiplier = self.config.lagrangian(step / QUALITY_STEPS)
        return rdoq.error_cost(multiplier, self.config.bands, log2_size, self.frequencies, strength)

    def _hyper_latents(self, scaled: Tensor, step: int, level: LevelTables) -> Tensor:
        """Quantised hyper-latents (hz, wz, hyper_latents) of (h, w, latents) in trained quantisation steps."""
        height, width, _ = scaled.shape
        padding = (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE)
        planes = F.pad(scaled.permute(2, 0, 1)[None], padding, mode="replicate")
        z = self.hyper_analysis(planes)[0].permute(1, 2, 0)
        z = torch.round(z * torch.exp2(self.at("hyper_gain", step)) + self.at("hyper_bias", step))
        coded = torch.from_numpy(level.hyper_bins >= SKIPPED_BINS).to(z.device)
        return z.clamp(-MAX_SYMBOL, MAX_SYMBOL) * coded

    @torch.inference_mode()
    def decode(
        self,
        payload: bytes | memoryview,
        step: int,
        height: int,
        width: int,
        components: int = 1,
        shape: Shape | None = None,
    ) -> list[NDArray[np.float32]]:
        """A payload of `code` -> each component's (height, width, latents) decoded latents in quantisation steps.

        Raises `CorruptDataError` where the payload does not end with its last symbol.
        """
        self.require_exact()
        level = self.exact.level(step)
        decoder = Decoder(self.coder_models, payload)
        hz, wz = hyper_size(height, width)
        hyper_bins = np.broadcast_to(level.hyper_bins, (hz, wz, len(level.hyper_bins)))

        def read(_means: list[Tensor], bins: list[Tensor], _places: list[tuple[slice, slice, slice]]) -> list[Tensor]:
            symbols = torch.from_numpy(decoder.pop(_bins(bins))).to(self.device, torch.float32)
            parts = torch.split(symbols, [b.numel() for b in bins])
            return [part.reshape(b.shape) for part, b in zip(parts, bins, strict=True)]

        found, coded = [], self.coded(shape)
        for _ in range(components):
            hyper = torch.from_numpy(decoder.pop(hyper_bins.reshape(-1))).reshape(hyper_bins.shape)
            decoded = self.exact.latents(hyper.to(self.device, torch.float32), level, height, width, read, coded)
            found.append(_array(decoded * 2.0**-MEAN_BITS))
        decoder.finish()
        return found

    def require_exact(self) -> None:
        """Raise `ModelError` where global switches make matrix products inexact: files would not decode elsewhere."""
        if not arithmetic_is_exact(self.device):
            raise ModelError(
                f"float32 matrix products on {self.device} are shortened at the moment (TF32 or bf16): the entropy "
                "model needs them whole; set torch.set_float32_matmul_precision('highest')"
            )


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.contiguous().cpu().numpy()
    return array


def _bins(bins: list[Tensor]) -> NDArray[np.uint8]:
    return torch.cat([b.reshape(-1) for b in bins]).to("cpu", torch.uint8).numpy()
