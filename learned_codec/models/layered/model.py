"""A model of the second generation ready for use: pixels to latents, latents to the parts of a tile, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import CoderModels, ScaleTables
from learned_codec.errors import WeightsError
from learned_codec.models.base import BaseModel
from learned_codec.models.block_transform import BlockTransform
from learned_codec.models.engine import Array, Engine
from learned_codec.models.inference import HyperAnalysisProgram
from learned_codec.models.rdoq import OPTIMISED, SINGLE_PASS
from learned_codec.models.shape_adaptive import Shape

from .coding import CodedLayers, code, decode
from .config import HYPER_WIDTH, LayeredConfig
from .exact import LayeredEntropyModel
from .refinement import LayeredRefinementProgram

LEVEL_TABLES = (
    "log2_gain",
    "log2_sigma",
    "log2_inverse",
    "hyper_gain",
    "hyper_bias",
    "refinement_bias",
    "refinement_scale",
    "refinement_condition",
)


class LayeredModel(BaseModel):
    """Analysis, exact entropy model in layers, and synthesis. Stateless after construction; threads may share it."""

    def __init__(self, config: LayeredConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """`tensors`: those of a weights file. Raises `WeightsError`."""
        self.config: LayeredConfig = config
        try:
            levels = {name: tensors[f"levels.{name}"] for name in LEVEL_TABLES}
            transform = BlockTransform(
                config.bands,
                tensors["transforms.components"].astype(np.intp),
                *(
                    tensors[f"transforms.{name}"].astype(np.float32)
                    for name in ("forward", "inverse", "pre_filter", "post_filter")
                ),
            )
            tables = ScaleTables(tensors["tables.counts"], tensors["tables.reaches"])
        except KeyError as error:
            raise WeightsError(f"the weights lack the tensor {error}") from error
        super().__init__(levels, transform)
        transforms, exact = ({name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
                             for start in ("transforms.", "exact."))  # fmt: skip
        self.exact = LayeredEntropyModel(config, exact, engine)
        self.refinement = LayeredRefinementProgram(config, transforms, engine)
        self._hyper_analysis = HyperAnalysisProgram(
            config.latents, HYPER_WIDTH, config.hyper_latents, transforms, engine
        )
        self.coder_models = CoderModels(tables)

    def code(
        self,
        latents: Array,
        step: int,
        *,
        distortion_weight: float = 1.0,
        optimised: Array | None = None,
        shape: Shape | None = None,
        plain: bool = False,
    ) -> CodedLayers:
        """As `Model.code`, for a single component."""
        hyper = self._hyper_latents(latents, step, self.exact.level(step))
        scaled = (latents if optimised is None else optimised) * np.exp2(self.at("log2_gain", step))
        strength = SINGLE_PASS if optimised is None else OPTIMISED
        cost = None if plain else np.float32(distortion_weight) * self.error_cost(step, strength)
        return code(self.exact, self.coder_models, scaled, hyper, step, cost, self.coded(shape))

    def decode(
        self, parts: Sequence[bytes | memoryview], step: int, height: int, width: int, shape: Shape | None = None
    ) -> Array:
        """The first parts of `code` -> (height, width, latents) decoded latents, zeros in the layers of the others.

        Raises `CorruptDataError`.
        """
        return decode(self.exact, self.coder_models, parts, step, height, width, self.coded(shape))

    def synthesise(self, decoded: Array, step: int, shape: Shape | None = None, *, refined: bool = True) -> Array:
        """(h, w, latents) decoded latents in quantisation steps -> (bands, 16h, 16w) float32, not clipped.

        Where layers are missing, their means over squares of 2 (two layers) or 4 pixels a side (one) are the image;
        they are not to be `refined`.
        """
        planes = self.linear(decoded * self.step_size(step), shape)
        if refined:
            unit = np.exp2(self.at("log2_gain", step) + self.at("log2_sigma", step))
            bias, (log2_scale,) = self.at("refinement_bias", step), self.at("refinement_scale", step)
            condition = self.at("refinement_condition", step)
            planes += self.refinement.correction(planes, decoded / unit, bias, float(log2_scale), condition)
        planes += np.float32(0.5)
        return planes
