"""How strong the lapped filters should be for an image: all strengths are tried on some of its blocks."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream.header import LAPPINGS
from learned_codec.forks import without_forks
from learned_codec.models.config import BLOCK
from learned_codec.models.lapping import SUPPORT
from learned_codec.values.rings import ideal_bits
from learned_codec.values.transform import ValueTransform

from .masking import MaskedSource
from .sampling import parts, spread

if TYPE_CHECKING:
    from learned_codec.models.model import Model

SIDE, GRID = 96, 3
"""A grid of 3 x 3 windows of 96 pixels is looked at."""

MOST_PLANES = 432
"""At most about so many blocks are tried, each plane of them counted by itself."""

USUAL, MORE = 150, 0.003
"""Each step weaker must save more bits than this share, times the log of the error, where that of 1 / 150 is 0. At low
rates the networks are used to the full strength. With that, the choice saves 1.0 % of the bytes of 66 training
pictures and 0.6 % of 45 other training images at seven qualities; the best strengths would save 1.1 and 0.7 %."""


def lapping(source: MaskedSource, transform: ValueTransform, model: Model, error: float) -> int:
    """The `lapping` of the header with which the image takes the fewest ideal bits; 0 if nothing tells.

    `error` is the usual RMSE of a band, as a share of its scale.
    """
    blocks = _blocks(source, transform, model.config.bands)
    if not len(blocks):
        return 0
    bits = [_bits(model.lapped(number), blocks, error) for number in range(LAPPINGS)]
    least = MORE * max(0.0, math.log(USUAL * error))
    return int(np.argmin(np.array(bits) * (1 + least * np.arange(LAPPINGS))))


@without_forks
def _bits(model: Model, blocks: NDArray[np.float32], error: float) -> float:
    """The ideal bits of (…, bands, 48, 48) blocks with the lapped filters of a model."""
    found = ideal_bits(np.square(model.transform.analyse_middle(blocks)), error)
    return float(found.sum(dtype=np.float64))


def _blocks(source: MaskedSource, transform: ValueTransform, bands: int) -> NDArray[np.float32]:
    """(blocks, components, bands, 48, 48) what goes into a model of so many bands around some blocks without holes."""
    found, windows = [], list(parts(source.height, source.width, (SIDE, SIDE), partial(spread, GRID)))
    for window in windows:
        read = source.read(*window)
        values = read.values if source.mask_spec is None else source.mask_spec.smoothed(read.values, read.side)
        whole = np.ones(values.shape[1:], np.bool_)
        if read.valid is not None:
            read.valid.all(0, out=whole)
            values = np.where(read.valid, values, values[:, whole][:, :1, None] if whole.any() else 0)
        planes = transform.to_model(values, None, bands)
        rows, columns = np.nonzero(_around_blocks(whole).all((-2, -1)))
        nth = max(1, -(-len(rows) * len(planes) * len(windows) // MOST_PLANES))
        some = _around_blocks(planes).transpose(1, 2, 0, 3, 4)[rows[::nth], columns[::nth]]
        found.append(some.reshape(len(some), len(planes) // bands, bands, SUPPORT, SUPPORT))
    return np.concatenate(found)


def _around_blocks(planes: NDArray[np.generic]) -> NDArray[np.generic]:
    """(…, h, w) -> a view of the values around each block that isn't at an edge: (…, rows, columns, 48, 48)."""
    if min(planes.shape[-2:]) < SUPPORT:
        return np.empty((*planes.shape[:-2], 0, 0, SUPPORT, SUPPORT), planes.dtype)
    views = np.lib.stride_tricks.sliding_window_view(planes, (SUPPORT, SUPPORT), axis=(-2, -1))
    return views[..., ::BLOCK, ::BLOCK, :, :]
