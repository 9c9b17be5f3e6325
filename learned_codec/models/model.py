"""A model: pixels to latents, latents to a payload, and back. Built once per weights file and engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream.header import LAPPINGS
from learned_codec.caching import cached_property
from learned_codec.entropy import SKIPPED_BINS, CoderModels
from learned_codec.entropy.tables import MAX_SYMBOL
from learned_codec.errors import WeightsError

from . import coding, rdoq
from .block_transform import BlockTransform
from .coding import TileEncoder
from .config import BLOCK, EXTRA_GAIN, HYPER_STRIDE, MEANS, QUALITY_STEPS, layers_for
from .crosswise import Crosswise
from .engine import Array, Engine, engine_for
from .exact import PHASES, ExactEntropyModel, usual_size
from .inference import HyperAnalysisProgram, RefinementProgram
from .rdoq import OPTIMISED, SINGLE_PASS, Strength
from .shape_adaptive import Shape
from .weights import LEVEL_TABLES, Weights

PREDICTED = 0.5
"""Latents without means that are below this, in quantisation steps, are only predicted from another component."""

REFINEMENT_FADES = 1.5
"""The octaves by which the refinement's output gets smaller per level, beyond the last trained one."""


OPTIMISED_DEPENDENT = 0.3
"""The share of the quality steps up to quality 100 from which on optimised latents are dependent, too."""


@dataclass(frozen=True, slots=True)
class Coded:
    """Coded latents.

    `encoder` holds the symbols and writes the payload. `decoded` (h, w, latents) are the latents that a decoder will
    get, in quantisation steps.
    """

    encoder: TileEncoder
    decoded: Array


class Model:
    """Analysis, exact entropy model and synthesis. Stateless after construction; threads may share it."""

    def __init__(self, weights: Weights, engine: Engine | None = None) -> None:
        """`engine` runs the networks, by default on the CPU.

        Raises `WeightsError` if the weights don't fit their configuration.
        """
        engine = engine or engine_for("cpu")
        self.config, self.id, self.device, self._engine = weights.config, weights.id, engine.device, engine
        self.levels: Mapping[str, NDArray[Any]] = weights.part("levels")
        if missing := LEVEL_TABLES.keys() - self.levels.keys():
            raise WeightsError(f"the weights lack levels.{', levels.'.join(sorted(missing))}")
        transforms = weights.part("transforms")
        self.transform = BlockTransform.of(weights)
        self.positions = self.transform.positions
        self.coder_models = CoderModels(weights.scale_tables())
        self.refinement = RefinementProgram(self.config, transforms, engine)
        self.exact = ExactEntropyModel(self.config, weights.part("exact"), engine)
        self._hyper_analysis = HyperAnalysisProgram(self.config, transforms, engine)

    def lapped(self, lapping: int) -> Model:
        """This model with the lapped filters of a header's `lapping`, 0 to 3. It shares all else with this one."""
        return self._lapped[lapping]

    @cached_property
    def _lapped(self) -> list[Model]:
        found = [self, *(copy(self) for _ in range(1, LAPPINGS))]
        for lapping, model in enumerate(found):
            model.transform = self.transform.lapped(lapping)
        return found

    @cached_property
    def symbol_costs(self) -> rdoq.SymbolCosts:
        """What symbols cost. Only encoders need it."""
        return rdoq.SymbolCosts.of(self.coder_models.costs)

    @property
    def max_step(self) -> int:
        """The quality step of quality 100, the last trained one; the lowest is 0."""
        return self.config.max_step

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

    # -- synthesis ----------------------------------------------------------------------------------------------------

    def synthesise(
        self,
        decoded: Array,
        step: int,
        adaptation: Sequence[int] = (),
        shape: Shape | None = None,
        inner: tuple[slice, slice] | None = None,
        *,
        refined: bool = True,
        fine: bool = False,
    ) -> Array:
        """(h, w, latents) decoded latents in quantisation steps -> (bands, 16h, 16w) float32, not clipped.

        `adaptation` is that of this image, as in its file. With `inner`, only these rows and columns come back. Unless
        `refined`, the pixels are those before the refinement, which takes a third of the time. For more than 8 bits the
        refinement must be `fine`, in float32.
        """
        planes = self.transform.synthesise(decoded, shape, self.step_size(step))
        if not refined:
            planes += np.float32(0.5)
            return planes if inner is None else planes[:, *inner]
        given = self._for_refinement(planes, decoded, step)
        pixels = self.refinement.correction(*given, adaptation, inner, fine=fine)
        pixels += np.float32(0.5)
        pixels += planes if inner is None else planes[:, *inner]
        return pixels

    def synthesise_bytes(
        self,
        decoded: Array,
        step: int,
        adaptation: Sequence[int] = (),
        shape: Shape | None = None,
        inner: tuple[slice, slice] | None = None,
    ) -> NDArray[np.uint8]:
        """As `synthesise`, refined and not fine, but clipped to 0 … 1 and rounded to bytes, which takes less time."""
        planes = self.transform.synthesise(decoded, shape, self.step_size(step))
        return self.refinement.refined_bytes(*self._for_refinement(planes, decoded, step), adaptation, inner)

    def _for_refinement(self, planes: Array, decoded: Array, step: int) -> tuple[Array, Array, float, Sequence[Array]]:
        """The refinement's first inputs: for planes, those of the decoded latents."""
        bias, (log2_scale,) = self.at("refinement_bias", step), self.at("refinement_scale", step)
        return planes, bias, float(log2_scale), self._condition(decoded, step)

    def error_slope(
        self, pixels: Array, decoded: Array, step: int, visible: Array | None = None, shape: Shape | None = None
    ) -> Array:
        """The slope of the squared error of refined pixels by the (h, w, latents) `decoded` latents.

        `pixels` (bands, H, W) in [0, 1] are the original ones. Errors are multiplied by `visible`, which has the same
        shape. What the condition makes of the latents is taken as it is: small latents change it by leaps, so no slope
        at them holds for a whole quantisation step.
        """
        size = self.step_size(step)
        given = self._for_refinement(self.transform.synthesise(decoded, shape, size), decoded, step)
        slope = self.refinement.slope(given[0], pixels - np.float32(0.5), visible, *given[1:])
        found = self.transform.transposed.analyse(slope + np.float32(0.5), shape)
        found *= 2 * size
        return found

    def features(self, planes: Array, decoded: Array, step: int) -> Array:
        """The input of the refinement's last layer, (width, H/4, W/4).

        It is that for (bands, H, W) pixels before the refinement, which are those of the (h, w, latents) `decoded`
        latents.
        """
        return self.refinement.features(planes, self.at("refinement_bias", step), self._condition(decoded, step))

    def _condition(self, decoded: Array, step: int) -> Sequence[Array]:
        """What conditions the refinement of an image with these decoded latents."""
        known = slice(self.config.layers[1].stop)  # the condition needs no others
        unit = np.exp2(self.at("log2_gain", step)[known] + self.levels["log2_sigma"][known])
        normalised = decoded[..., known] / unit
        # What is only predicted mustn't count: of the models' own, latents without means are either zero or larger.
        few = normalised[..., self.config.layers[MEANS].start :]
        few *= np.abs(decoded[..., self.config.layers[MEANS].start : known.stop]) >= PREDICTED
        return self.refinement.condition.values(normalised, self.at("refinement_condition", step))

    # -- entropy coding -----------------------------------------------------------------------------------------------

    def expect(self, positions: int, factor: int = 1) -> None:
        """Say that latents at so many positions are soon to be coded, or decoded for an image reduced by `factor`.

        Only the time that it takes depends on this: networks are made faster at once if there is much to do.
        """
        self._engine.expect(self.exact.programs(layers_for(factor)), positions // PHASES)

    def prepare(self, height: int, width: int) -> None:
        """Make ready what `code` needs for height x width latents, as `code` does itself.

        Threads that call this at the same time share the work.
        """
        self._engine.prepare([self._hyper_analysis.program, *self.exact.programs()], *usual_size(height, width))

    def encoder(self, components: int = 1) -> TileEncoder:
        """An encoder for the `components` of a tile."""
        return TileEncoder(self.coder_models, self._crosswise(components))

    def _crosswise(self, components: int) -> Crosswise | None:
        return Crosswise(self.config, self.positions) if components > 1 else None

    def code(
        self,
        latents: Array,
        step: int,
        *,
        encoder: TileEncoder | None = None,
        hyper: NDArray[np.int32] | None = None,
        distortion_weight: float = 1.0,
        optimised: Array | None = None,
        shape: Shape | None = None,
        plain: bool = False,
        dependent: bool | None = None,
    ) -> Coded:
        """Quantise and code (h, w, latents) latents of `analyse` at a quality step.

        With `encoder`, that of another component of the same tile, the symbols are added to it. `hyper` is what
        `hyper_latents` gives, if that is known. `distortion_weight` is how much errors count. If `optimised` latents
        are given, these are quantised; the hyper-latents are still made from `latents`. Whether latents are `dependent`
        is by default what the method of this name says. With `plain`, they aren't, and rounding is to the nearest
        integer.
        """
        self.prepare(*latents.shape[:2])
        if hyper is None:
            hyper = self.hyper_latents(latents, step)
        scaled = (latents if optimised is None else optimised) * np.exp2(self.at("log2_gain", step))
        strength = SINGLE_PASS if optimised is None else OPTIMISED
        cost = None if plain else np.float32(distortion_weight) * self.error_cost(step, strength)
        if dependent is None:
            dependent = self.dependent(step, optimised=optimised is not None)
        found = encoder or self.encoder()
        which, costs = self.coded(shape), self.symbol_costs
        decoded = coding.code(self.exact, found, scaled, hyper, step, costs, cost, which, dependent=dependent)
        return Coded(found, decoded)

    def dependent(self, step: int, *, optimised: bool) -> bool:
        """Whether encoders use dependent quantisation at a quality step: always, unless latents are `optimised`.

        Optimised latents fit how the last pass rounded them. Dependent quantisers would round them anew, as a single
        change decides on all that follow, and at low rates they save less than that costs.
        """
        return not optimised or step >= OPTIMISED_DEPENDENT * self.max_step

    def decode(
        self,
        payload: bytes | memoryview,
        step: int,
        height: int,
        width: int,
        components: int = 1,
        shape: Shape | None = None,
        factor: int = 1,
    ) -> list[Array]:
        """A payload of `code` -> each component's (height, width, latents) decoded latents in quantisation steps.

        The layers that an image reduced by `factor` doesn't need are zeros, and may be missing in the payload. Raises
        `CorruptDataError` where the payload does not end with its last symbol.
        """
        layers, models = layers_for(factor), self.coder_models
        self._engine.prepare(self.exact.programs(layers), *usual_size(height, width))
        size, coded, crosswise = (height, width), self.coded(shape), self._crosswise(components)
        return coding.decode(self.exact, models, bytes(payload), step, size, components, coded, layers, crosswise)

    def hyper_latents(self, latents: Array, step: int) -> NDArray[np.int32]:
        """Quantised hyper-latents (hz, wz, hyper_latents) of latents."""
        height, width, _ = latents.shape
        padding = (0, -height % HYPER_STRIDE), (0, -width % HYPER_STRIDE), (0, 0)
        if any(map(any, padding)):
            latents = np.pad(latents, padding, mode="edge")
        gain = np.exp2(self.at("log2_gain", self.config.split(step)[0]))
        z = self._hyper_analysis(latents, gain, np.exp2(self.at("hyper_gain", step)), self.at("hyper_bias", step))
        rounded = np.clip(np.rint(z), -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
        found: NDArray[np.int32] = rounded * (self.exact.level(step).hyper_bins >= SKIPPED_BINS)
        return found
