"""What a model is made of: one frozen dataclass, saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

BLOCK = 16
"""Pixels per side of the block behind one latent position (the stride of the analysis)."""

HYPER_STRIDE = 4
"""Latent positions per side behind one hyper-latent position (so hyper-latents lie at 1/64)."""

CONTEXT_STEPS = 4
"""Latents are coded in this many steps: one position of every 2x2 neighbourhood per channel group."""


QUALITY_STEPS = 128
"""Quality steps between two trained levels."""

HALO = 5
"""Latent positions around an area that the transforms must see for the area to come out right: their reach (three
blocks at 1/16, three at 1/8, half a block of lapping)."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Architecture of one ResNet-Lite codec.

    `bands` input bands; `latents` channels at 1/16; `widths` of the residual stages at 1/8 and 1/16;
    `analysis_blocks` and `synthesis_blocks`, residual blocks per stage in the same order; `hyper_latents` channels
    at 1/64; `context_width` channels of the entropy networks at 1/16; `levels` trained quality levels, whose
    Lagrangian multipliers run geometrically from `lambda_min` to `lambda_max` (of lambda * 255^2 * MSE + bits/pixel).
    """

    bands: int = 3
    latents: int = 320
    widths: tuple[int, int] = (160, 256)
    analysis_blocks: tuple[int, int] = (3, 3)
    synthesis_blocks: tuple[int, int] = (2, 3)
    hyper_latents: int = 128
    context_width: int = 192
    levels: int = 8
    lambda_min: float = 0.0004
    lambda_max: float = 0.25

    def __post_init__(self) -> None:
        if self.latents % CONTEXT_STEPS:
            raise ValueError(f"latents must be a multiple of {CONTEXT_STEPS}, got {self.latents}")
        if self.levels < 2:
            raise ValueError(f"at least 2 quality levels are needed, got {self.levels}")

    def lagrangian(self, level: float) -> float:
        """The multiplier lambda at a real-valued quality level."""
        return float(self.lambda_min * (self.lambda_max / self.lambda_min) ** (level / (self.levels - 1)))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; unknown keys are an error, so that a newer model is never half understood."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)
