"""A stage's symbols in the order of the format.

The format counts a stage's latents position by position; in the networks' arrays, the positions lie side by side.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import Runs

from .engine import Array
from .exact import MEAN_BITS, LevelTables, Stage


def ordered(stage: Stage) -> tuple[Runs, NDArray[np.int32]]:
    """The stage's coded symbols bin by bin, in the order of the format, and their indices in its means."""
    runs = Runs.of(stage.bins.transpose(2, 0, 1, 3).reshape(-1))
    return runs, _places(*stage.bins.shape).take(runs.order)


@lru_cache(maxsize=4)
def _places(height: int, width: int, positions: int, channels: int) -> NDArray[np.int32]:
    """Indices into flattened (h, w, positions, channels), in the order of the format."""
    index = np.arange(height * width * positions * channels, dtype=np.int32)
    return index.reshape(height, width, positions, channels).transpose(2, 0, 1, 3).reshape(-1)


def channels_of(stage: Stage) -> NDArray[np.int16]:
    """The channel of each latent, in the order of the format."""
    height, width, _, channels = stage.bins.shape
    groups = np.array([np.arange(group.start, group.stop) for group in stage.groups], np.int16)
    return np.broadcast_to(groups[:, None], (len(groups), height * width, channels)).reshape(-1)


def values_of(latents: Array, stage: Stage) -> Array:
    """The latents of a stage in the order of the format, with zeros beyond the region."""
    height, width, positions, channels = stage.bins.shape
    blocks = np.zeros((positions, height, width, channels), np.float32)
    for position, (block, group) in enumerate(zip(blocks, stage.groups, strict=True)):
        part = latents[position // 2 :: 2, position % 2 :: 2, group]
        block[: part.shape[0], : part.shape[1]] = part
    return blocks.reshape(-1)


def add_symbols(means: Array, place: NDArray[np.int32], symbols: NDArray[np.int32]) -> None:
    """Add symbols to their means, which makes them decoded latents."""
    (some,) = np.nonzero(symbols)
    means[place[some]] += symbols[some] * np.float32(2.0**MEAN_BITS)


def hyper_runs(level: LevelTables, height: int, width: int) -> Runs:
    """The hyper-latents of so many positions, bin by bin."""
    return Runs.of(np.tile(level.hyper_bins, height * width))
