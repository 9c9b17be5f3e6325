"""Latents into the parts of a tile, one for each layer, and back from as many of them as there are.

A part has the layer of all components, one component after another. A component is complete if all of its latents are
coded, even those whose scales are too small. Its latents are dependent (`entropy/dependent.py`), or each has a step
of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream.payload import join_parts, split_parts
from learned_codec.entropy import (
    SCALE_BINS,
    SKIPPED_BINS,
    CoderModels,
    Decoder,
    Encoder,
    Runs,
    SymbolGroup,
    dequantised,
)
from learned_codec.errors import CorruptDataError

from . import rdoq
from .config import MEANS, PASSES
from .crosswise import Crosswise
from .engine import Array
from .exact import ExactEntropyModel, LevelTables, PassLatents, hyper_size

_FLAG = np.bincount([SKIPPED_BINS], minlength=SCALE_BINS)
"""The counts of a group of one symbol, in the first bin that is coded: the kind of a component. As a rule it is 0, and
takes next to nothing."""

_KINDS = {0: (True, False), 1: (True, True), -1: (False, False), -2: (False, True)}
"""By a component's kind: whether its latents are dependent, and whether it is complete."""


class TileEncoder:
    """Collects the symbols of a tile, component after component, and writes its payload.

    It has an encoder for each layer, the first with the hyper-latents in front.
    """

    def __init__(self, models: CoderModels, crosswise: Crosswise | None = None) -> None:
        """With `crosswise`, components are predicted from those before them."""
        self.layers, self.crosswise = [Encoder(models) for _ in PASSES], crosswise

    @property
    def groups(self) -> list[SymbolGroup]:
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
    *,
    dependent: bool = True,
) -> Array:
    """Code (h, w, latents) latents in quantisation steps and their (hz, wz, hyper_latents) hyper-latents.

    Returns the decoded latents, in quantisation steps. `cost` (latents,) are the bits that a squared error of one
    quantisation step is worth: symbols are chosen for the least sum of both, and the component is complete if that
    pays. Without it, they are the nearest integers, which are never `dependent`. Hyper-latents of skipped bins must be
    0.
    """
    dependent = dependent and cost is not None
    kind_of = {found: kind for kind, found in _KINDS.items()}
    height, width, _ = scaled.shape
    level, target = model.level(step), scaled.reshape(-1)
    of_hyper = _hyper_runs(level, *hyper.shape[:2])
    skipped = 0

    def quantise(found: PassLatents) -> None:
        nonlocal skipped
        runs = Runs.of(found.bins)
        skipped -= len(runs.coded)
        places, channels = found.places_and_channels(runs.coded)
        residual = target.take(places)
        if found.layer < MEANS or encoder.crosswise is not None:
            residual -= found.decoded.take(places)
        # Until here in the order of memory, which takes less time.
        residual, places = residual.take(runs.by_bin), places.take(runs.by_bin)
        own = None if cost is None else cost.take(channels).take(runs.by_bin)
        if dependent and own is not None:
            symbols = rdoq.quantised(residual, runs.counts, own, costs)
        else:
            symbols = rdoq.rounded(residual, runs.counts, own, costs)
        group = encoder.layers[found.layer].push(symbols, runs.counts, dependent=dependent)
        _add(found.decoded, places, group.values)

    def attempt(*, complete: bool) -> Array:
        nonlocal skipped
        skipped = target.size if coded is None else int(np.count_nonzero(coded))
        encoder.layers[0].push(np.array([kind_of[dependent, complete]], np.int32), _FLAG)
        encoder.layers[0].push(hyper.reshape(-1).take(of_hyper.order), of_hyper.counts)
        return model.latents(
            hyper, level, height, width, quantise, coded, complete=complete, crosswise=encoder.crosswise
        )

    start = encoder.mark()
    decoded = attempt(complete=False)
    if cost is not None and rdoq.completing_pays(scaled, decoded, coded, cost, costs, skipped):
        encoder.cut(start)
        decoded = attempt(complete=True)
    if encoder.crosswise is not None:
        encoder.crosswise.keep()
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
    crosswise: Crosswise | None = None,
) -> list[Array]:
    """Each component's (*size, latents) decoded latents from the first `layers` of a payload; zeros in the others.

    What lies behind those layers may be missing. Raises `CorruptDataError` where a part does not end with its last
    symbol, or a component is of no known kind.
    """
    level = model.level(step)
    decoders = [Decoder(models, part) for part in split_parts(payload, len(PASSES), layers)]
    runs = _hyper_runs(level, *hyper_size(*size))
    of_hyper = runs.order

    def read(found: PassLatents) -> None:
        runs = Runs.of(found.bins)
        symbols = decoders[found.layer].pop(runs.counts, dependent=dependent)
        values = dequantised(symbols, runs.counts) if dependent else symbols
        _add(found.decoded, found.places(runs.coded).take(runs.by_bin), values)

    found = []
    for _ in range(components):
        (kind,) = decoders[0].pop(_FLAG).tolist()
        if kind not in _KINDS:
            raise CorruptDataError(f"a component is of a kind from {min(_KINDS)} to {max(_KINDS)}, not {kind}")
        dependent, complete = _KINDS[kind]
        hyper = np.zeros((*hyper_size(*size), len(level.hyper_bins)), np.int32)
        hyper.reshape(-1)[of_hyper] = decoders[0].pop(runs.counts)
        found.append(model.latents(hyper, level, *size, read, coded, layers, complete=complete, crosswise=crosswise))
        if crosswise is not None:
            crosswise.keep()
    for decoder in decoders:
        decoder.finish()
    return found


def _add(decoded: Array, places: NDArray[np.intp], values: NDArray[Any]) -> None:
    """Add what a group's symbols stand for to what is decoded. Most are zero."""
    some = np.flatnonzero(values != 0)  # of booleans it is faster
    decoded[places[some]] += values[some]


def _hyper_runs(level: LevelTables, height: int, width: int) -> Runs:
    """The hyper-latents of (height, width) positions, bin by bin."""
    return _tiled_runs(level.hyper_bins.tobytes(), height * width)


@lru_cache(maxsize=4)
def _tiled_runs(bins: bytes, count: int) -> Runs:
    """`Runs` of the same bins, `count` times. Many images have the same size."""
    return Runs.of(np.tile(np.frombuffer(bins, np.uint8), count))
