"""The entropy model in integers: what encoder and decoder both run, bit for bit the same on every machine.

All tensors here are float32 that hold integers (a layer's up to a power of two). Every output channel of every layer
satisfies

    sum |w| * max |input| + |bias| < 2^24,

so that each partial sum is an exact float32 whatever the order, the device or the number of threads. Between layers,
sums are scaled by powers of two, rounded down and clipped: exact as well. Means, gains and scales are fixed-point
numbers and base-2 logarithms; no exponential is ever computed, only looked up in `mantissas()`.

The floating-point twin that is trained is `entropy_model.py`; `learned_codec.training.export` turns one into the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from learned_codec.entropy import SCALE_BINS, SCALE_LOG2_MIN
from learned_codec.errors import WeightsError

from .config import CONTEXT_STAGES, EXTRA_GAIN, HYPER_STRIDE, QUALITY_STEPS, ModelConfig
from .entropy_model import STAGE_ORDER

ACTIVATION_MAX = 1023
"""Activations between layers are clipped to this magnitude."""

EXACT_BITS = 24
LOG2_BITS = 8
"""Fractional bits of a base-2 logarithm: 256ths of an octave."""

MEAN_BITS = 8
"""Fractional bits of means and decoded latents, in quantisation steps."""

MU_BITS = 11
"""Fractional bits of the networks' normalised means."""

LATENT_BITS = 8
"""Fractional bits of normalised latents as the networks see them: +-4 becomes +-1023."""

HYPER_INPUT_BITS = 12
"""Extra fractional bits of the factors that scale hyper-latents into the network's input."""

MU_MAX = 1 << 16
MEAN_MAX = 1 << 22
S_MIN, S_MAX = -12 << LOG2_BITS, 6 << LOG2_BITS

_BIN_SHIFT = 5  # 256ths of an octave to 8ths
_SCALE_MIN = round(SCALE_LOG2_MIN * (1 << LOG2_BITS))


@cache
def mantissas() -> NDArray[np.int64]:
    """round(2^(15 + i/256)) for i = 0 … 255, in integer arithmetic (a 256th root is eight square roots).

    `pow` may differ in its last bit between C libraries.
    """
    values = []
    for i in range(256):
        root = 1 << (i + 256 * (15 + 16))
        for _ in range(8):
            root = math.isqrt(root)
        values.append((root + (1 << 15)) >> 16)
    return np.array(values, np.int64)


LatentSource = Callable[[list[Tensor], list[Tensor], list[tuple[slice, slice, slice]]], list[Tensor]]
"""Given the means (in 2^-MEAN_BITS steps) and scale bins of one step's four blocks of latents, and where in the
(h, w, latents) array each lies, the blocks' symbols: quantised by an encoder, read by a decoder."""


def power_of_two(log2: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    """2^(log2 / 256 + bits) to 16 significant bits, exactly the same everywhere."""
    powers: NDArray[np.float64] = np.ldexp(mantissas()[log2 & 255].astype(np.float64), (log2 >> LOG2_BITS) - 15 + bits)
    return powers


@dataclass(frozen=True, slots=True)
class Layer:
    """A 1x1 (weight (out, in)) or depthwise 3x3 (weight (C, 1, 3, 3)) layer of integers.

    Output = floor((W * input + bias) * 2^-shift), with the rounding half already in the bias and shift >= 1. The
    factor 2^-shift, `scale` (out,), is already in `weight` and `bias`: it moves the point of a float, nothing else.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor

    @classmethod
    def load(cls, weight: Tensor, bias: Tensor, shift: Tensor, name: str) -> Layer:
        """Take stored integers (int16, int32, int8), check the bound and add the rounding half."""
        if shift.numel() and int(shift.min()) < 1:
            raise WeightsError(f"exact layer {name}: shifts must be at least 1, got {int(shift.min())}")
        half = torch.from_numpy(np.ldexp(0.5, shift.numpy().astype(np.int64)))  # exact everywhere, unlike exp2
        rounded = bias.double() + half
        reach = weight.double().abs().flatten(1).sum(1) * ACTIVATION_MAX + rounded.abs()
        if not bool((reach < 2**EXACT_BITS).all()):
            raise WeightsError(
                f"exact layer {name}: sums may reach {reach.max().item():.0f}, beyond 2^{EXACT_BITS} = {2**EXACT_BITS}"
            )
        scale = (0.5 / half).float()
        return cls(weight.float() * scale.reshape(-1, *[1] * (weight.ndim - 1)), rounded.float() * scale, scale)

    def pointwise(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), not clipped."""
        return F.linear(x, self.weight, self.bias).floor_()

    def depthwise(self, x: Tensor) -> Tensor:
        """(h, w, C) -> (h, w, C), zeros around the border, not clipped."""
        # Accelerators may compute convolutions by other algorithms or in shorter floats; shifted sums they do not.
        sums = convolved(x, self.weight) if x.device.type == "cpu" else shifted(x, self.weight)
        return sums.add_(self.bias).floor_()

    def rows(self, channels: slice, latents: int) -> Layer:
        """Of a step's last layer, what gives mu and s of some channels."""
        index = torch.cat([torch.arange(channels.start, channels.stop) + half for half in (0, latents)])
        index = index.to(self.weight.device)
        return Layer(self.weight[index], self.bias[index], self.scale[index])

    def to(self, device: str) -> Layer:
        return Layer(self.weight.to(device), self.bias.to(device), self.scale.to(device))


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """(h, w, C) and a depthwise weight (C, 1, 3, 3) -> (h, w, C) sums, zeros around the border."""
    return F.conv2d(x.permute(2, 0, 1)[None], weight, padding=1, groups=len(weight))[0].permute(1, 2, 0)


def shifted(x: Tensor, weight: Tensor) -> Tensor:
    """The same as `convolved`, as nine products and sums."""
    height, width, _ = x.shape
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    sums = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            sums = sums + padded[i : i + height, j : j + width] * weight[:, 0, i, j]
    return sums


def clip_(x: Tensor) -> Tensor:
    """Clip activations in place."""
    return x.clamp_(-ACTIVATION_MAX, ACTIVATION_MAX)


def clip_positive_(x: Tensor) -> Tensor:
    """Clip activations in place, and make negative ones zero."""
    return x.clamp_(0, ACTIVATION_MAX)


def block(layers: dict[str, Layer], name: str, x: Tensor) -> Tensor:
    """`layers.ResidualBlock` with a slope of 0."""
    inner = clip_(layers[f"{name}.depthwise"].depthwise(x))
    inner = clip_positive_(layers[f"{name}.expand"].pointwise(inner))
    return clip_(layers[f"{name}.project"].pointwise(inner).add_(x))


def up(layers: dict[str, Layer], name: str, x: Tensor) -> Tensor:
    """`layers.PlainUp`: (h, w, C) -> (2h, 2w, C)."""
    height, width, channels = x.shape
    x = clip_(layers[name].pointwise(x).add_(x.repeat_interleave(4, 2)))
    x = x.reshape(height, width, channels, 2, 2).permute(0, 3, 1, 4, 2)
    return x.reshape(2 * height, 2 * width, channels)


@dataclass(frozen=True, slots=True)
class LevelTables:
    """Everything that depends on the quality step, as integers.

    `unit` (latents,) log2 of a normalised latent in quantisation steps, 256ths; `hyper_bins` (hyper_latents,) scale
    bins; `input_scale`, `input_bias` (hyper_latents,); `feature_bias` (context_width,).
    """

    unit: NDArray[np.int64]
    hyper_bins: NDArray[np.uint8]
    input_scale: NDArray[np.int64]
    input_bias: NDArray[np.int64]
    feature_bias: NDArray[np.int64]


class ExactEntropyModel:
    """The integer entropy model on one device. Stateless after construction."""

    TABLES = ("unit", "hyper_log2_scale", "input_scale", "input_bias", "feature_bias")

    def __init__(self, config: ModelConfig, tensors: dict[str, Tensor], device: str = "cpu") -> None:
        """`tensors`: the `exact.*` tensors of a weights file, without that prefix."""
        self.config, self.device = config, device
        try:
            self._tables = {name: tensors[f"tables.{name}"].numpy().astype(np.int64) for name in self.TABLES}
            names = [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]
            layers = {
                name: Layer.load(tensors[f"{name}.weight"], tensors[f"{name}.bias"], tensors[f"{name}.shift"], name)
                for name in names
            }
        except KeyError as error:
            raise WeightsError(f"the weights lack the exact tensor {error}") from error
        self.layers = {name: layer.to(device) for name, layer in layers.items()}
        self._arrange()

    def _arrange(self) -> None:
        """Cut the steps' first and last layers into the products that `latents` needs."""
        width, size = self.config.context_width, self.config.latents // CONTEXT_STAGES
        self._groups = [slice(g * size, (g + 1) * size) for g in range(CONTEXT_STAGES)]
        enter = [self.layers[f"steps.{step}.enter"].weight.T for step in range(CONTEXT_STAGES)]
        # Features into the sums of all steps; a group decoded in a step into the sums of all later ones.
        self._from_features = torch.cat([weight[:width] for weight in enter], 1)
        # Rows: the group's latents, then their magnitudes.
        self._from_latents = [
            [
                torch.cat([w[width:].reshape(2, -1, width)[:, group].flatten(0, 1) for w in enter[step + 1 :]], 1)
                for group in self._groups
            ]
            for step in range(CONTEXT_STAGES - 1)
        ]
        self._leave = [
            [self.layers[f"steps.{step}.leave"].rows(group, self.config.latents) for group in self._groups]
            for step in range(CONTEXT_STAGES)
        ]

    def level(self, step: int) -> LevelTables:
        """The tables at quality step 0 … (levels - 1) * QUALITY_STEPS + EXTRA_STEPS."""
        extra = max(0, step - self.config.max_step)
        lower = min((step - extra) // QUALITY_STEPS, self.config.levels - 2)
        fraction = step - extra - lower * QUALITY_STEPS
        values = {
            name: (t[lower] * (QUALITY_STEPS - fraction) + t[lower + 1] * fraction + QUALITY_STEPS // 2)
            // QUALITY_STEPS
            for name, t in self._tables.items()
        }
        values["unit"] = values["unit"] + extra * EXTRA_GAIN // QUALITY_STEPS
        bins = to_bins(torch.from_numpy(values.pop("hyper_log2_scale")).double()).numpy().astype(np.uint8)
        return LevelTables(hyper_bins=bins, **values)

    def _constant(self, values: NDArray[np.generic], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(values).to(self.device, dtype)

    def features(self, hyper: Tensor, level: LevelTables) -> Tensor:
        """(hz, wz, hyper_latents) integer hyper-latents -> (4hz, 4wz, context_width)."""
        x = hyper.double() * self._constant(level.input_scale, torch.float64)
        x = x + self._constant(level.input_bias + (1 << (HYPER_INPUT_BITS - 1)), torch.float64)
        x = clip_(torch.floor(x * 2.0**-HYPER_INPUT_BITS)).float()
        layers = self.layers
        x = up(layers, "hyper_synthesis.up1", x)
        x = block(layers, "hyper_synthesis.block", x)
        x = clip_positive_(up(layers, "hyper_synthesis.up2", x))
        return clip_(layers["hyper_synthesis.leave"].pointwise(x).add_(self._constant(level.feature_bias)))

    def latents(
        self,
        hyper: Tensor,
        level: LevelTables,
        height: int,
        width: int,
        source: LatentSource,
        coded: Tensor | None = None,
    ) -> Tensor:
        """Run the four steps over an area of height x width latents.

        `hyper` is (ceil(height/4), ceil(width/4), hyper_latents); the result (height, width, latents) holds the decoded
        latents in 2^-MEAN_BITS quantisation steps. Latents that are not `coded`, of the same shape, are zero: their
        means are, and their scale bins, which skips them.
        """
        features = self.features(hyper, level)[:height, :width].contiguous()
        to_mean = self._constant(power_of_two(level.unit, MEAN_BITS - MU_BITS), torch.float64)
        to_normalised = self._constant(power_of_two(-level.unit, LATENT_BITS - MEAN_BITS), torch.float64)
        unit = self._constant(level.unit)
        decoded = torch.empty(height, width, self.config.latents, device=self.device)
        sums = (features @ self._from_features).chunk(CONTEXT_STAGES, 2)
        for step in range(CONTEXT_STAGES):
            entered = clip_((sums[step] + self.layers[f"steps.{step}.enter"].bias).floor_())
            hidden = block(self.layers, f"steps.{step}.block", entered).clamp_(min=0)
            means, bins, places, groups = [], [], [], []
            for position in range(4):
                group = (STAGE_ORDER.index(position) - step) % CONTEXT_STAGES
                channels = self._groups[group]
                place = (slice(position // 2, None, 2), slice(position % 2, None, 2), channels)
                mu, s = self._leave[step][group].pointwise(hidden[place[:2]]).chunk(2, -1)
                # To the nearest: rounded down, all components together would leave a dot in the corner of every block.
                mean = mu.clamp_(-MU_MAX, MU_MAX).double().mul_(to_mean[channels]).add_(0.5).floor_()
                mean = mean.clamp_(-MEAN_MAX, MEAN_MAX).float()
                scale_bins = to_bins(s.clamp_(S_MIN, S_MAX).add_(unit[channels]))
                means.append(mean if coded is None else mean * coded[place])
                bins.append(scale_bins if coded is None else scale_bins * coded[place])
                places.append(place)
                groups.append(group)
            for symbols, mean, place, group in zip(source(means, bins, places), means, places, groups, strict=True):
                block_decoded = symbols * 2.0**MEAN_BITS + mean
                decoded[place] = block_decoded
                if step < CONTEXT_STAGES - 1:
                    normalised = clip_(block_decoded.double().mul_(to_normalised[place[2]]).floor_()).float()
                    seen = torch.cat([normalised, normalised.abs()], 2)
                    # All sums are exact, so it does not matter in which order and parts they are formed.
                    parts = (seen @ self._from_latents[step][group]).chunk(CONTEXT_STAGES - 1 - step, 2)
                    for later, part in enumerate(parts, step + 1):
                        sums[later][place[:2]] += part
        return decoded


def to_bins(log2_scale: Tensor) -> Tensor:
    """Log2 of a scale in 256ths of an octave -> the nearest scale bin."""
    nearest = (log2_scale + ((1 << (_BIN_SHIFT - 1)) - _SCALE_MIN)).mul_(2.0**-_BIN_SHIFT).floor_()
    return nearest.clamp_(0, SCALE_BINS - 1)


def hyper_size(height: int, width: int) -> tuple[int, int]:
    """The hyper-latents' height and width behind an area of latents."""
    return -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE)


def arithmetic_is_exact(device: str) -> bool:
    """Whether products and convolutions on `device` are computed in full float32 at this moment.

    Global switches (`torch.set_float32_matmul_precision`, TF32, oneDNN's fast-math modes) may shorten them. The probes
    have the shapes of the real work: weights of 15 bits, which every shorter float would round, and sums of 24 bits.
    """
    weights, sums = torch.full((256, 192), 16411.0, device=device), torch.full((256, 192), 63.0, device=device)
    ones = torch.ones(256, 256, device=device)
    if not bool((ones @ weights == 256 * 16411).all() and ((1023 * ones) @ sums == 256 * 1023 * 63).all()):
        return False
    x = (torch.arange(8 * 8 * 192, device=device).reshape(8, 8, 192) % 113).float()
    kernel = torch.full((192, 1, 3, 3), 16411.0, device=device)
    return device != "cpu" or torch.equal(convolved(x, kernel), shifted(x, kernel))
