"""Blocks of an image without holes, which show what its bands have in common."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.axes import MOST_BANDS
from learned_codec.values.rings import SIDE

from .masking import MaskedSource
from .sampling import parts, spread

WINDOW, GRID = 48, 6
"""A grid of 6 x 6 windows of 48 pixels is looked at. With 8 x 8, training scenes take as many bytes."""


def some_blocks(source: MaskedSource) -> NDArray[Any] | None:
    """(blocks, bands, 16, 16) the values that are coded in blocks without holes, spread over the image.

    Bands that have no values there, as all are kept exactly, are 0. None if there are so many bands that nothing is
    chosen by the blocks.
    """
    if source.bands > MOST_BANDS:
        return None
    values, valid = [], []
    for window in parts(source.height, source.width, (WINDOW, WINDOW), partial(spread, GRID)):
        part = source.read(*window)
        smooth = part.values if source.mask_spec is None else source.mask_spec.smoothed(part.values, part.side)
        values.append(smooth)
        valid.append(np.ones(smooth.shape, bool) if part.valid is None else part.valid)
    there = np.any([own.any((1, 2)) for own in valid], axis=0)
    pairs = zip(values, valid, strict=True)
    found = np.concatenate([without_holes(own, real[there]) for own, real in pairs])
    found[:, ~there] = 0
    return found


def without_holes(values: NDArray[Any], valid: NDArray[np.bool_] | None, most: int | None = None) -> NDArray[Any]:
    """(blocks, bands, 16, 16) the whole blocks of (bands, h, w) values, all of them or at most so many.

    `valid` (N, h, w) may be that of some of the bands.
    """
    blocks = _in_blocks(values)
    whole = np.ones(blocks.shape[:2], bool) if valid is None else _in_blocks(valid).all((2, 3, 4))
    places = np.argwhere(whole)
    if most is not None:
        places = places[:: max(1, -(-len(places) // most))]
    return blocks[places[:, 0], places[:, 1]]


def _in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """(bands, h, w) -> a view of the whole blocks: (rows, columns, bands, 16, 16)."""
    bands, height, width = len(values), values.shape[-2] // SIDE, values.shape[-1] // SIDE
    blocks = values[:, : height * SIDE, : width * SIDE].reshape(bands, height, SIDE, width, SIDE)
    return blocks.transpose(1, 3, 0, 2, 4)
