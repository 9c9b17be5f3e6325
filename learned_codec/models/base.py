"""What models of all generations share: the linear transform, and what a quality step means for latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SKIPPED_BINS
from learned_codec.entropy.tables import MAX_SYMBOL

from . import rdoq
from .block_transform import BlockTransform
from .config import BLOCK, EXTRA_GAIN, EXTRA_STEPS, HYPER_STRIDE, QUALITY_STEPS
from .engine import Array
from .exact import LevelTables
from .inference import HyperAnalysisProgram
from .rdoq import SINGLE_PASS, Strength
from .shape_adaptive import Shape

REFINEMENT_FADES = 3.0
"""The octaves by which the refinement's output gets smaller per level, beyond the last trained one."""


class Config(Protocol):
    """What is used of a configuration."""

    @property
    def levels(self) -> int: ...
    @property
    def max_step(self) -> int: ...
    def split(self, step: int) -> tuple[int, int]: ...
    def bits_per_error(self, level: Any) -> Any: ...


class BaseModel:
    """The levels and the linear transform of a model. Stateless after construction; threads may share it."""

    config: Config
    _hyper_analysis: HyperAnalysisProgram

    def __init__(self, levels: Mapping[str, NDArray[Any]], transform: BlockTransform) -> None:
        """`levels`: the per-level tables by name."""
        self.levels, self.transform, self.positions = levels, transform, transform.positions

    @property
    def max_step(self) -> int:
        """The quality step of quality 100, the last trained one; the lowest is 0."""
        return self.config.max_step

    @property
    def top_step(self) -> int:
        """The highest quality step there is."""
        return self.max_step + EXTRA_STEPS

    def at(self, name: str, step: int) -> Array:
        """A per-level table at a quality step, (C,)."""
        trained, beyond = self.config.split(step)
        level, extra = trained / QUALITY_STEPS, beyond / QUALITY_STEPS
        table, lower = self.levels[name], min(int(level), self.config.levels - 2)
        fraction = np.float32(level - lower)
        values: Array = table[lower] * (1 - fraction) + table[lower + 1] * fraction
        if name == "log2_gain":
            return values + np.float32(extra * EXTRA_GAIN / 256)
        if name == "log2_inverse":  # learned for coarse quantisation; with fine steps it would only add error
            return values * np.float32(max(0.0, 1 - extra))
        return values - np.float32(REFINEMENT_FADES * extra) if name == "refinement_scale" else values

    def analyse(self, pixels: Array, shape: Shape | None = None) -> Array:
        """(bands, H, W) float32 in [0, 1], H and W multiples of 16 -> (H/16, W/16, latents) float32.

        `shape` says which pixels are coded, if not all. `code`, `decode` and `synthesise` must be given the same one.
        """
        return self.transform.analyse(pixels, shape)

    def linear(self, latents: Array, shape: Shape | None = None) -> Array:
        """(h, w, latents) latents as analysed -> (bands, 16h, 16w) pixels before the refinement, around zero."""
        return self.transform.synthesise(latents, shape)

    def scales(self, step: int) -> tuple[Array, Array]:
        """(latents,) each: the gain and the step size at a quality step, which `code` and `synthesise` multiply by."""
        gain: Array = np.exp2(self.at("log2_gain", step))
        return gain, self.step_size(step)

    def step_size(self, step: int) -> Array:
        """(latents,) what `synthesise` multiplies decoded latents by: 1 / gain, with a learned correction."""
        size: Array = np.exp2(self.at("log2_inverse", step) - self.at("log2_gain", step))
        return size

    def coded(self, shape: Shape | None) -> NDArray[np.bool_] | None:
        """(h, w, latents): which latents of a region of this shape are coded. None: all."""
        return None if shape is None else shape.coded(self.positions)

    def saved(self, latents: Array, decoded: Array, step: int) -> float:
        """How many bits (h, w, latents) `decoded` latents are worth: what they gain over zeros."""
        gain = np.exp2(self.at("log2_gain", step))
        gains = np.einsum("hwc,hwc->c", decoded, 2 * latents * gain - decoded)
        return float(self.error_cost(step, SINGLE_PASS) @ gains)

    def error_cost(self, step: int, strength: Strength) -> Array:
        """(latents,) `rdoq.error_cost` at a quality step."""
        log2_size = self.at("log2_inverse", step) - self.at("log2_gain", step)
        worth = self.config.bits_per_error(step / QUALITY_STEPS)
        frequencies = np.hypot(self.positions // BLOCK, self.positions % BLOCK).astype(np.float32)
        cost: Array = rdoq.error_cost(worth, log2_size, frequencies, strength)
        return cost

    def _hyper_latents(self, latents: Array, step: int, level: LevelTables) -> NDArray[np.int32]:
        """Quantised hyper-latents (hz, wz, hyper_latents) of latents."""
        height, width, _ = latents.shape
        padding = (0, -height % HYPER_STRIDE), (0, -width % HYPER_STRIDE), (0, 0)
        if any(map(any, padding)):
            latents = np.pad(latents, padding, mode="edge")
        gain = np.exp2(self.at("log2_gain", self.config.split(step)[0]))
        z = self._hyper_analysis(latents, gain, np.exp2(self.at("hyper_gain", step)), self.at("hyper_bias", step))
        rounded = np.clip(np.rint(z), -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
        return rounded * (level.hyper_bins >= SKIPPED_BINS)
