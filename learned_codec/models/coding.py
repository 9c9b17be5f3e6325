"""Latents into the parts of a tile, one for each layer, and back from as many of them as there are.

A part has the layer of all components, one component after another. A component is complete if all of its latents are
coded, even those whose scales are too small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream.payload import join_parts, split_parts
from learned_codec.entropy import SCALE_BINS, SKIPPED_BINS, CoderModels, Decoder, Encoder, Runs
from learned_codec.errors import CorruptDataError

from . import rdoq
from .config import MEANS, PASSES
from .engine import Array
from .exact import ExactEntropyModel, LevelTables, PassLatents, hyper_size

_FLAG = np.bincount([SKIPPED_BINS], minlength=SCALE_BINS)
"""The counts of a group of one symbol, in the first bin that is coded: whether a component is complete. Hardly any is,
so as a rule this takes next to nothing."""


class TileEncoder:
    """Collects the symbols of a tile, component after component, and writes its payload.

    It has an encoder for each layer, the first with the hyper-latents in front.
    """

    def __init__(self, models: CoderModels) -> None:
        self.layers = [Encoder(models) for _ in PASSES]

    @property
    def groups(self) -> list[tuple[NDArray[np.int32], NDArray[np.intp]]]:
        """The groups of all layers, as `entropy.Encoder.groups`."""
        return [group for layer in self.layers for group in layer.groups]

    @property
    def bits(self) -> float:
        """As `entropy.Encoder.bits`."""
        return sum(layer.bits for layer in self.layers)

    def mark(self) -> list[int]:
        """As `entropy.Encoder.mark`."""
        return [layer.mark() for layer in self.layers]

    def bits_from(self, mark: Sequence[int]) -> float:
        """As `entropy.Encoder.bits_from`."""
        return sum(layer.bits_from(own) for layer, own in zip(self.layers, mark, strict=True))

    def cut(self, mark: Sequence[int]) -> None:
        """As `entropy.Encoder.cut`."""
        for layer, own in zip(self.layers, mark, strict=True):
            layer.cut(own)

    def finish(self) -> bytes:
        """The payload."""
        return join_parts([layer.finish() for layer in self.layers])


def code(
    model: ExactEntropyModel,
    encoder: TileEncoder,
    scaled: Array,
    hyper: NDArray[np.int32],
    step: int,
    costs: rdoq.SymbolCosts,
    cost: Array | None = None,
    coded: NDArray[np.bool_] | None = None,
) -> Array:
    """Code (h, w, latents) latents in quantisation steps and their (hz, wz, hyper_latents) hyper-latents.

    Returns the decoded latents, in quantisation steps. With `cost` (latents,), the bits that a squared error of one
    quantisation step is worth, latents are rounded by `rdoq.rounded`, and the component is complete if that pays; else
    they are rounded to the nearest. Hyper-latents of skipped bins must be 0.
    """
    height, width, _ = scaled.shape
    level, target = model.level(step), scaled.reshape(-1)
    of_hyper = _hyper_runs(level, *hyper.shape[:2])
    skipped = 0

    def quantise(found: PassLatents) -> None:
        nonlocal skipped
        runs = Runs.of(found.bins)
        skipped -= len(runs.order)
        places = found.places(runs.order)
        residual = target.take(places)
        if found.layer < MEANS:
            residual -= found.decoded.take(places)
        own = None if cost is None else cost.take(places % len(cost))
        symbols = rdoq.rounded(residual, runs.counts, own, costs)
        encoder.layers[found.layer].push(symbols, runs.counts)
        _add(found.decoded, places, symbols)

    def attempt(*, complete: bool) -> Array:
        nonlocal skipped
        skipped = target.size if coded is None else int(np.count_nonzero(coded))
        encoder.layers[0].push(np.array([complete], np.int32), _FLAG)
        encoder.layers[0].push(hyper.reshape(-1).take(of_hyper.order), of_hyper.counts)
        return model.latents(hyper, level, height, width, quantise, coded, complete=complete)

    start = encoder.mark()
    decoded = attempt(complete=False)
    if cost is not None and rdoq.completing_pays(scaled, decoded, coded, cost, costs, skipped):
        encoder.cut(start)
        decoded = attempt(complete=True)
    return decoded


def decode(
    model: ExactEntropyModel,
    models: CoderModels,
    payload: bytes,
    step: int,
    size: tuple[int, int],
    components: int = 1,
    coded: NDArray[np.bool_] | None = None,
    layers: int = len(PASSES),
) -> list[Array]:
    """Each component's (*size, latents) decoded latents from the first `layers` of a payload; zeros in the others.

    What lies behind those layers may be missing. Raises `CorruptDataError` where a part does not end with its last
    symbol, or doesn't say whether a component is complete.
    """
    level = model.level(step)
    decoders = [Decoder(models, part) for part in split_parts(payload, len(PASSES), layers)]
    runs = _hyper_runs(level, *hyper_size(*size))

    def read(found: PassLatents) -> None:
        runs = Runs.of(found.bins)
        _add(found.decoded, found.places(runs.order), decoders[found.layer].pop(runs.counts))

    found = []
    for _ in range(components):
        (complete,) = decoders[0].pop(_FLAG)
        if complete not in (0, 1):
            raise CorruptDataError(f"a component can be complete (1) or not (0), not {complete}")
        hyper = np.zeros((*hyper_size(*size), len(level.hyper_bins)), np.int32)
        hyper.reshape(-1)[runs.order] = decoders[0].pop(runs.counts)
        found.append(model.latents(hyper, level, *size, read, coded, layers, complete=bool(complete)))
    for decoder in decoders:
        decoder.finish()
    return found


def _add(decoded: Array, places: NDArray[np.intp], symbols: NDArray[np.int32]) -> None:
    """Add symbols to what is decoded. Most are zero."""
    (some,) = np.nonzero(symbols)
    decoded[places[some]] += symbols[some]


def _hyper_runs(level: LevelTables, height: int, width: int) -> Runs:
    """The hyper-latents of (height, width) positions, bin by bin."""
    return Runs.of(np.tile(level.hyper_bins, height * width))
