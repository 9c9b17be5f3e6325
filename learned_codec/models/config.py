"""What a model is made of, and how its latents are ordered."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from learned_codec import limits

BLOCK = limits.BLOCK
"""Pixels per side of the block behind one latent position (the stride of the analysis)."""

HYPER_STRIDE = 4
"""Latent positions per side behind one hyper-latent position (so hyper-latents lie at 1/64)."""

LIMITS = (4, 8, 16)
"""Layer i has the frequencies u, v below LIMITS[i] that no layer before it has: images at 1/4, 1/2 and 1/1."""

PASSES = (4, 2, 1)
"""In how many passes each layer is coded."""

PASS_ORDER = (0, 3, 1, 2)
"""The position (2*row + column in its 2x2 neighbourhood) at which each of four passes codes group 0. Group g is g
passes ahead."""

MEANS = 1
"""Layers from this one on have no means: those would explain a hundredth of the energy at most."""

HYPER_WIDTH = 128
"""Channels of the hyper-analysis, which only encoders run."""

QUALITY_STEPS = 128
"""Quality steps between two trained levels."""

EXTRA_STEPS = 4 * QUALITY_STEPS
"""Quality steps beyond the last trained level, for files that are all but lossless. There the quantisation gets finer
and the refinement fades away. The entropy model stays that of the last level: its inputs and outputs are normalised."""

EXTRA_GAIN = 170
"""256ths of an octave by which quantisation gets finer for every 128 steps beyond the last trained level. That is half
the log2 of the ratio between the multipliers of two trained levels, as for the trained levels."""

LOG2_SCALES = (-12, 6)
"""The range of the log2 of a normalised latent's scale, as the networks give it."""

INPUT_FACTOR = 4.0
"""The refinement's input is the decoded pixels around zero times this. Their standard deviation is about a quarter."""

CONTEXT_CLAMP = 4.0
"""Normalised latents are clipped to plus or minus this before they enter a network."""

SLOPE = 0.1
"""The slope of the leaky ReLUs for negative values."""

PATCH = 4
"""Pixels per side of the patch behind one position of the refinement, which works at a quarter of the resolution."""

HALO = 3
"""Latent positions around a region that its pixels depend on. Its pixels depend on a patch for each residual block of
the refinement, and half a block for the lapped filter; and the blocks' conditions depend on one position more."""

MOST_REFINEMENT_BLOCKS = 1 + (HALO - 1) * BLOCK // PATCH
"""The most residual blocks whose conditions don't depend on positions beyond the halo."""

GRAIN = 2 / 256
"""In quantisation steps: what symbols stand for, in either kind of quantisation, is a multiple of this."""


SAME_ERRORS = ((1, 1), (20, 12), (35, 21), (50, 31), (65, 43), (80, 57), (90, 66), (100, 76), (126, 100), (234, 200))
"""Qualities of the models `rgb-2` and `mono-2` that usually give the same error, by their quantisation steps. Below 20
the one-band model's errors are smaller."""


def step_of_quality(quality: float, max_step: int) -> int:
    """The quality step of a quality of 1 to 100. `max_step` is the step of quality 100."""
    return round((quality - 1) / 99 * max_step)


def quality_of_step(step: int, max_step: int) -> float:
    """The inverse of `step_of_quality`; above 100 for steps above `max_step`."""
    return round(1 + 99 * step / max_step, 3)


def quality_of_one_band(quality: float) -> float:
    """The one-band model's quality that usually gives the same error as the RGB model's `quality`.

    Three bands of uint8 have the RGB model's scale, whichever model codes them.
    """
    return float(np.interp(quality, *np.transpose(SAME_ERRORS)))


def quality_of_three_bands(quality: float) -> float:
    """The inverse of `quality_of_one_band`."""
    return round(float(np.interp(quality, *np.transpose(SAME_ERRORS)[::-1])), 3)


def top_step(max_step: int) -> int:
    """The highest quality step of a file. Only `bpp` and `psnr` lead above `max_step`, the step of quality 100."""
    return max_step + EXTRA_STEPS


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Architecture of one ResNet-Lite codec, as stored in its weights file.

    `bands` input bands; `levels` trained quality levels, whose Lagrangian multipliers run geometrically from
    `lambda_min` to `lambda_max` (of lambda * 255^2 * MSE + bits/pixel); `hyper_latents` channels at 1/64;
    `context_width` features at 1/16; `widths` of the entropy networks of each layer. The refinement has
    `refinement_blocks` blocks of `refinement_width` channels at 1/4, `refinement_inner` inside of them, is conditioned
    by a network of `condition_width` at 1/16, and has `adaptations` to single images.
    """

    bands: int = 3
    levels: int = 9
    lambda_min: float = 0.0004
    lambda_max: float = 0.6271211382783799
    hyper_latents: int = 64
    context_width: int = 96
    widths: tuple[int, int, int] = (128, 96, 96)
    refinement_width: int = 64
    refinement_blocks: int = 8
    refinement_inner: int = 64
    condition_width: int = 48
    adaptations: int = 16

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"at least 2 quality levels are needed, got {self.levels}")
        if len(self.widths) != len(PASSES):
            raise ValueError(f"{len(PASSES)} widths are needed, one for each layer, got {len(self.widths)}")
        if self.refinement_blocks > MOST_REFINEMENT_BLOCKS:
            most = MOST_REFINEMENT_BLOCKS
            raise ValueError(f"at most {most} refinement blocks fit the halo, got {self.refinement_blocks}")

    @property
    def latents(self) -> int:
        """All components of the block transform."""
        return self.bands * BLOCK**2

    @property
    def layers(self) -> tuple[slice, ...]:
        """The channels of each layer, in the order of the bitstream."""
        ends = [0, *(self.bands * limit**2 for limit in LIMITS)]
        return tuple(slice(start, stop) for start, stop in itertools.pairwise(ends))

    def passes(self) -> list[tuple[int, int, str]]:
        """Each pass in the order of coding: its layer, its number in the layer, and the name of its networks."""
        return [(layer, number, f"layers.{layer}.{number}") for layer, n in enumerate(PASSES) for number in range(n)]

    def known(self, layer: int, number: int) -> int:
        """How many values of decoded latents enter a pass: in layer 0 with signs and as magnitudes, then as these."""
        before, here = (self.bands * limit**2 for limit in (0, *LIMITS)[layer : layer + 2])
        if layer == 0:
            return 2 * here if number else 0
        return here if number else before

    @property
    def hyper_inputs(self) -> int:
        """The channels that enter the hyper-analysis: the latents of the first layer, then the magnitudes of all.

        The signs of the other latents would tell it nothing: with them, files differ by a tenth of a per cent.
        """
        first: int = self.layers[0].stop
        return first + self.latents

    def exact_layers(self) -> dict[str, tuple[int, ...]]:
        """The exact layers by name, and the shapes of their weights."""
        hyper, features = self.hyper_latents, self.context_width
        shapes: dict[str, tuple[int, ...]] = {f"hyper_synthesis.{up}": (4 * hyper, hyper) for up in ("up1", "up2")}
        shapes |= _block("hyper_synthesis.block", hyper) | {"hyper_synthesis.leave": (features, hyper)}
        for layer, number, name in self.passes():
            width, part = self.widths[layer], self.layers[layer]
            outputs = (part.stop - part.start) * (2 if layer < MEANS else 1)
            shapes |= {
                f"{name}.enter": (width, features + self.known(layer, number)),
                f"{name}.leave": (outputs, width),
            }
            shapes |= _block(f"{name}.block", width)
        return shapes

    @property
    def max_step(self) -> int:
        """The quality step of the last trained level."""
        return (self.levels - 1) * QUALITY_STEPS

    def split(self, step: int) -> tuple[int, int]:
        """A quality step as two: the trained one, at most `max_step`, and how many steps lie beyond."""
        return min(step, self.max_step), max(0, step - self.max_step)

    def lagrangian(self, level: Any) -> Any:
        """The multiplier lambda at a real-valued level: a number, a numpy array or a torch tensor."""
        return self.lambda_min * (self.lambda_max / self.lambda_min) ** (level / (self.levels - 1))

    def bits_per_error(self, level: Any) -> Any:
        """How many bits a squared error of 1 in one value of one pixel is worth, with pixels in [0, 1].

        `level` as for `lagrangian`.
        """
        return self.lagrangian(level) * 255**2 / self.bands

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises `ValueError` for unknown keys, so that a newer model is never half understood.
        """
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)


def _block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.depthwise": (width, 1, 3, 3),
        f"{name}.expand": (2 * width, width),
        f"{name}.project": (width, 2 * width),
    }


def order_of_components(bands: int, variance: NDArray[np.floating]) -> NDArray[np.intp]:
    """(bands * 256,) components of the block transform layer by layer, dealt out by variance to the groups of a layer.

    A component is counted as in `block_transform`: 256 * band + 16 * v + u.
    """
    v, u = np.divmod(np.arange(BLOCK**2), BLOCK)
    layer = np.tile(np.searchsorted(LIMITS, np.maximum(u, v), "right"), bands)
    parts = []
    for number, groups in enumerate(PASSES):
        (mine,) = np.nonzero(layer == number)
        by_variance = mine[np.argsort(-variance[mine], kind="stable")]
        parts.append(by_variance.reshape(-1, groups).T.reshape(-1))
    return np.concatenate(parts)


def groups_of(layer: int, number: int, channels: int) -> tuple[slice, ...]:
    """For each position in a 2 x 2 neighbourhood, the channels of the layer that a pass codes there.

    Of two passes, the first codes one half of the channels at the even positions of a checkerboard and the other half
    at the odd ones.
    """
    passes = PASSES[layer]
    size = channels // passes
    places = [PASS_ORDER.index(p) for p in range(4)] if passes == 4 else [0, 1, 1, 0]
    found = ((place - number) % passes for place in places)
    return tuple(slice(group * size, (group + 1) * size) for group in found)


def layers_for(factor: int) -> int:
    """How many layers an image reduced by `factor` needs."""
    return next(number for number, limit in enumerate(LIMITS, 1) if limit * factor >= LIMITS[-1])
