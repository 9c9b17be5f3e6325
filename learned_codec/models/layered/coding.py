"""Latents into the parts of a tile, one for each layer, and back from as many of them as there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import CoderModels, Decoder, Encoder
from learned_codec.models import rdoq
from learned_codec.models.engine import Array
from learned_codec.models.exact import MEAN_BITS, Stage, hyper_size
from learned_codec.models.stages import add_symbols, channels_of, hyper_runs, ordered, values_of

from .config import PASSES
from .exact import LayeredEntropyModel


@dataclass(frozen=True, slots=True)
class CodedLayers:
    """A region of latents as coded: an encoder for each layer, the first with the hyper-latents in front.

    `decoded` (h, w, latents) are the latents that a decoder will see, in quantisation steps.
    """

    encoders: tuple[Encoder, ...]
    decoded: Array

    def finish(self) -> list[bytes]:
        """The parts of the tile."""
        return [encoder.finish() for encoder in self.encoders]


def code(
    model: LayeredEntropyModel,
    models: CoderModels,
    scaled: Array,
    hyper: NDArray[np.int32],
    step: int,
    cost: Array | None = None,
    coded: NDArray[np.bool_] | None = None,
) -> CodedLayers:
    """Code (h, w, latents) latents in quantisation steps and their (hz, wz, hyper_latents) hyper-latents.

    With `cost` (latents,), the bits that a squared error of one quantisation step is worth, they are rounded by
    `rdoq.rounded`, else to the nearest. Hyper-latents of skipped bins must be 0.
    """
    encoders = tuple(Encoder(models) for _ in PASSES)
    height, width, _ = scaled.shape
    level, saved = model.level(step), rdoq.savings(models.tables)
    runs = hyper_runs(level, *hyper.shape[:2])
    encoders[0].push(hyper.reshape(-1).take(runs.order), runs.counts)

    def quantise(layer: int, stage: Stage) -> None:
        runs, place = ordered(stage)
        part = model.config.layers[layer]
        means = stage.means.reshape(-1)
        residual = values_of(scaled[..., part], stage).take(runs.order)
        residual -= means.take(place) * np.float32(2.0**-MEAN_BITS)
        own = None if cost is None else cost[part][channels_of(stage).take(runs.order)]
        symbols = rdoq.rounded(residual, runs.counts, own, saved)
        encoders[layer].push(symbols, runs.counts)
        add_symbols(means, place, symbols)

    return CodedLayers(encoders, model.latents(hyper, level, height, width, quantise, coded))


def decode(
    model: LayeredEntropyModel,
    models: CoderModels,
    parts: Sequence[bytes | memoryview],
    step: int,
    height: int,
    width: int,
    coded: NDArray[np.bool_] | None = None,
) -> Array:
    """The (height, width, latents) decoded latents of the first parts of a tile, zeros in the layers that are missing.

    Raises `CorruptDataError` where a part does not end with its last symbol.
    """
    level = model.level(step)
    decoders = [Decoder(models, part) for part in parts]
    runs = hyper_runs(level, *hyper_size(height, width))
    hyper = np.zeros((*hyper_size(height, width), len(level.hyper_bins)), np.int32)
    hyper.reshape(-1)[runs.order] = decoders[0].pop(runs.counts)

    def read(layer: int, stage: Stage) -> None:
        runs, place = ordered(stage)
        add_symbols(stage.means.reshape(-1), place, decoders[layer].pop(runs.counts))

    found = model.latents(hyper, level, height, width, read, coded, len(parts))
    for decoder in decoders:
        decoder.finish()
    return found
