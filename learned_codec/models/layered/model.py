"""A model of the second generation. Built once per weights file and engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learned_codec.models.base import BaseModel, Coded
from learned_codec.models.engine import Array, Engine, engine_for
from learned_codec.models.exact import usual_size
from learned_codec.models.inference import HyperAnalysisProgram, Parameters, RefinementProgram
from learned_codec.models.rdoq import OPTIMISED, SINGLE_PASS
from learned_codec.models.shape_adaptive import Shape
from learned_codec.models.weights import LAYERED_LEVEL_TABLES, Weights

from . import coding
from .coding import LayeredEncoder
from .condition import Condition
from .config import HYPER_WIDTH, LIMITS, PASSES, LayeredConfig
from .exact import LayeredEntropyModel
from .transform import block_transform_of


class LayeredModel(BaseModel):
    """A hyper-prior and three layers of resolution. Stateless after construction; threads may share it."""

    def __init__(self, weights: Weights, engine: Engine | None = None) -> None:
        """`engine` runs the networks, by default on the CPU.

        Raises `WeightsError` if the weights don't fit their configuration.
        """
        engine = engine or engine_for("cpu")
        self.config: LayeredConfig = weights.config_as(LayeredConfig)
        transforms = weights.part("transforms")
        super().__init__(weights, LAYERED_LEVEL_TABLES, block_transform_of(weights), engine)
        parameters, inner = Parameters(transforms, "refinement"), self.config.refinement_inner
        self._conditions = Condition(self.config, parameters)
        self.refinement = RefinementProgram(self.config, parameters, engine, inner, self._conditions)
        self.exact = LayeredEntropyModel(self.config, weights.part("exact"), engine)
        self._hyper_analysis = HyperAnalysisProgram(
            self.config.latents, HYPER_WIDTH, self.config.hyper_latents, transforms, engine
        )

    def _condition(self, decoded: Array, step: int) -> Sequence[Array]:
        known = slice(self.config.layers[1].stop)  # the condition needs no others
        unit = np.exp2(self.at("log2_gain", step)[known] + self.levels["log2_sigma"][known])
        return self._conditions.values(decoded[..., known] / unit, self.at("refinement_condition", step))

    def encoder(self) -> LayeredEncoder:
        """As `BaseModel.encoder`."""
        return LayeredEncoder(self.coder_models)

    def code(
        self,
        latents: Array,
        step: int,
        *,
        encoder: LayeredEncoder | None = None,
        distortion_weight: float = 1.0,
        optimised: Array | None = None,
        shape: Shape | None = None,
        plain: bool = False,
    ) -> Coded:
        """As `BaseModel.code`."""
        self._engine.prepare([self._hyper_analysis.program, *self.exact.programs], *usual_size(*latents.shape[:2]))
        hyper = self._hyper_latents(latents, step, self.exact.level(step))
        scaled = (latents if optimised is None else optimised) * np.exp2(self.at("log2_gain", step))
        strength = SINGLE_PASS if optimised is None else OPTIMISED
        cost = None if plain else np.float32(distortion_weight) * self.error_cost(step, strength)
        found = encoder or self.encoder()
        return Coded(found, coding.code(self.exact, found, scaled, hyper, step, self._savings, cost, self.coded(shape)))

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
        """As `BaseModel.decode`. For a reduced image, only the first layers are decoded."""
        self._engine.prepare(self.exact.programs, *usual_size(height, width))
        layers = next((n for n, limit in enumerate(LIMITS, 1) if limit * factor >= LIMITS[-1]), len(PASSES))
        return coding.decode(
            self.exact, self.coder_models, bytes(payload), step, (height, width), components, self.coded(shape), layers
        )
