"""A model of the first generation. Built once per weights file and engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import Decoder, Encoder
from learned_codec.errors import WeightsError

from . import rdoq
from .base import BaseModel, Coded
from .block_transform import BlockTransform
from .config import BLOCK, ModelConfig
from .engine import Array, Engine, engine_for
from .exact import MEAN_BITS, ExactEntropyModel, Stage, hyper_size, usual_size
from .inference import HyperAnalysisProgram, Parameters, RefinementProgram
from .rdoq import OPTIMISED, SINGLE_PASS
from .shape_adaptive import Shape
from .stages import add_symbols, channels_of, hyper_runs, ordered, values_of
from .weights import LEVEL_TABLES, Weights


class Model(BaseModel):
    """A hyper-prior and four stages of context. Stateless after construction; threads may share it."""

    def __init__(self, weights: Weights, engine: Engine | None = None) -> None:
        """`engine` runs the networks, by default on the CPU.

        Raises `WeightsError` if the weights don't fit their configuration.
        """
        engine = engine or engine_for("cpu")
        self.config: ModelConfig = weights.config_as(ModelConfig)
        transforms = weights.part("transforms")
        super().__init__(weights, LEVEL_TABLES, _block_transform(self.config, transforms), engine)
        refinement, inner = Parameters(transforms, "synthesis.refinement"), 2 * self.config.refinement_width
        self.refinement = RefinementProgram(self.config, refinement, engine, inner)
        self.exact = ExactEntropyModel(self.config, weights.part("exact"), engine)
        width = self.config.hyper_latents
        self._hyper_analysis = HyperAnalysisProgram(self.config.latents, width, width, transforms, engine)

    # -- entropy coding -----------------------------------------------------------------------------------------------

    def encoder(self) -> Encoder:
        """As `BaseModel.encoder`."""
        return Encoder(self.coder_models)

    def code(
        self,
        latents: Array,
        step: int,
        *,
        encoder: Encoder | None = None,
        distortion_weight: float = 1.0,
        optimised: Array | None = None,
        shape: Shape | None = None,
        plain: bool = False,
    ) -> Coded:
        """As `BaseModel.code`."""
        height, width, _ = latents.shape
        self._engine.prepare([self._hyper_analysis.program, *self.exact.programs], *usual_size(height, width))
        level = self.exact.level(step)
        gain: Array = np.exp2(self.at("log2_gain", step))
        target = latents if optimised is None else optimised
        strength = SINGLE_PASS if optimised is None else OPTIMISED
        cost = np.float32(distortion_weight) * self.error_cost(step, strength)
        found = encoder or self.encoder()

        def quantise(stage: Stage) -> None:
            runs, place = ordered(stage)
            channel = channels_of(stage).take(runs.order)
            means = stage.means.reshape(-1)
            residual = values_of(target, stage).take(runs.order) * gain[channel]
            residual -= means.take(place) * np.float32(2.0**-MEAN_BITS)
            symbols = rdoq.rounded(residual, runs.counts, None if plain else cost[channel], self._savings)
            found.push(symbols, runs.counts)
            add_symbols(means, place, symbols)

        hyper = self._hyper_latents(latents, step, level)
        runs = hyper_runs(level, *hyper.shape[:2])
        found.push(hyper.reshape(-1).take(runs.order), runs.counts)
        return Coded(found, self.exact.latents(hyper, level, height, width, quantise, self.coded(shape)))

    def decode(
        self,
        payload: bytes | memoryview,
        step: int,
        height: int,
        width: int,
        components: int = 1,
        shape: Shape | None = None,
        factor: int = 1,  # noqa: ARG002 - here, all latents are in one stream
    ) -> list[Array]:
        """As `BaseModel.decode`. Whatever the factor, all latents are decoded."""
        self._engine.prepare(self.exact.programs, *usual_size(height, width))
        level = self.exact.level(step)
        decoder = Decoder(self.coder_models, payload)

        def read(stage: Stage) -> None:
            mine, place = ordered(stage)
            add_symbols(stage.means.reshape(-1), place, decoder.pop(mine.counts))

        runs = hyper_runs(level, *hyper_size(height, width))
        found, coded = [], self.coded(shape)
        for _ in range(components):
            hyper = np.zeros((*hyper_size(height, width), len(level.hyper_bins)), np.int32)
            hyper.reshape(-1)[runs.order] = decoder.pop(runs.counts)
            found.append(self.exact.latents(hyper, level, height, width, read, coded))
        decoder.finish()
        return found


def _block_transform(config: ModelConfig, transforms: dict[str, NDArray[np.floating]]) -> BlockTransform:
    names = ("analysis.skeleton.weight", "synthesis.skeleton.weight")
    filters = ("analysis.pre_filter.matrix", "synthesis.post_filter.matrix")
    shapes = dict.fromkeys(names, (config.latents, config.bands, BLOCK, BLOCK)) | dict.fromkeys(filters, (BLOCK, BLOCK))
    for name, shape in shapes.items():
        if name not in transforms or transforms[name].shape != shape:
            raise WeightsError(f"the weights do not fit their configuration: transforms.{name} should be {shape}")
    return BlockTransform.of(*(transforms[name] for name in (*names, *filters)))
