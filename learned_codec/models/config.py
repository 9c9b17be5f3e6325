"""The configuration of a model: one frozen dataclass, stored in the weights file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

BLOCK = 16
"""Pixels per side of the block behind one latent position (the stride of the analysis)."""

HYPER_STRIDE = 4
"""Latent positions per side behind one hyper-latent position (so hyper-latents lie at 1/64)."""

CONTEXT_STAGES = 4
"""Latents are coded in this many stages. Each stage codes one position of every 2x2 neighbourhood per channel group."""

STAGE_ORDER = (0, 3, 1, 2)
"""Position (2*row + column in its 2x2 neighbourhood) that group 0 codes in each stage; group g runs g stages ahead."""

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
"""Latent positions around a region that its pixels depend on: a patch for each residual block of the refinement, and
half a block for the lapped filter."""


def step_of_quality(quality: float, max_step: int) -> int:
    """The quality step of a quality of 1 to 100. `max_step` is the step of quality 100."""
    return round((quality - 1) / 99 * max_step)


def quality_of_step(step: int, max_step: int) -> float:
    """The inverse of `step_of_quality`; above 100 for steps above `max_step`."""
    return round(1 + 99 * step / max_step, 3)


def top_step(max_step: int) -> int:
    """The highest quality step of a file. Only `bpp` and `psnr` lead above `max_step`, the step of quality 100."""
    return max_step + EXTRA_STEPS


class TrainedLevels:
    """The part of every configuration that is about levels, and how it is stored. Its classes are dataclasses."""

    __slots__ = ()

    bands: int
    levels: int
    lambda_min: float
    lambda_max: float

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
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises `ValueError` for unknown keys, so that a newer model is never half understood.
        """
        unknown = set(values) - {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if unknown:
            raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)


@dataclass(frozen=True, slots=True)
class ModelConfig(TrainedLevels):
    """Architecture of one ResNet-Lite codec.

    `bands` input bands; `latents` channels at 1/16; `refinement_width` channels and `refinement_blocks` residual blocks
    of the network at 1/4 that ends the synthesis, and `adaptations` of it to single images; `hyper_latents` channels at
    1/64; `context_width` channels of the entropy networks at 1/16; `levels` trained quality levels, whose Lagrangian
    multipliers run geometrically from `lambda_min` to `lambda_max` (of lambda * 255^2 * MSE + bits/pixel).
    """

    bands: int = 3
    latents: int = 640
    refinement_width: int = 64
    refinement_blocks: int = 8
    adaptations: int = 16
    hyper_latents: int = 128
    context_width: int = 192
    levels: int = 8
    lambda_min: float = 0.0004
    lambda_max: float = 0.25

    def __post_init__(self) -> None:
        if self.latents % CONTEXT_STAGES:
            raise ValueError(f"latents must be a multiple of {CONTEXT_STAGES}, got {self.latents}")
        if self.levels < 2:
            raise ValueError(f"at least 2 quality levels are needed, got {self.levels}")
        if self.refinement_blocks * PATCH + BLOCK // 2 > HALO * BLOCK:
            most = (HALO * BLOCK - BLOCK // 2) // PATCH
            raise ValueError(f"at most {most} refinement blocks fit the halo, got {self.refinement_blocks}")
