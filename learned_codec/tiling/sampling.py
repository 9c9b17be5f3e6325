"""Which values of an image tell its range and how its bands go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.mask import MaskSpec
from learned_codec.values.sources import PixelSource

if TYPE_CHECKING:
    pass


SAMPLE_WINDOW, SAMPLE_GRID = 256, 8
"""Images beyond four megapixels show their range and spectrum in a grid of 8 x 8 windows of 256 pixels."""

MAX_SAMPLES = 2**22
"""Beyond, only every n-th pixel is taken: what is made of them takes thirty times their number in bytes."""


def samples(source: PixelSource, layout: MaskSpec) -> list[NDArray[Any]]:
    """The valid values of each band, as many as tell their range and how they go together.

    Where most pixels have a value in all bands, only these.
    """
    found, valid = [], []
    windows = list(_sample_windows(source.height, source.width))
    total = source.bands * sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in windows)
    # An odd step: an even one would take the same columns of every row.
    every_nth = 1 if total <= MAX_SAMPLES else -(-total // MAX_SAMPLES) | 1
    for rows, columns in windows:
        values = source.read(rows, columns)
        side = layout.classify(values, source.read_plane(rows, columns) if source.plane else None)
        mask = layout.valid(side, source.bands)
        found.append(values.reshape(source.bands, -1)[:, ::every_nth].copy())
        valid.append(
            np.ones(found[-1].shape, bool) if mask is None else mask.reshape(source.bands, -1)[:, ::every_nth].copy()
        )
    every, real = np.concatenate(found, 1), np.concatenate(valid, 1)
    common = real.all(0)
    if 2 * common.sum() > real.any(0).sum():
        return list(every[:, common])
    return [band[mask] for band, mask in zip(every, real, strict=True)]


def _sample_windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    side = SAMPLE_WINDOW
    if height * width <= (SAMPLE_GRID * side) ** 2:
        yield slice(0, height), slice(0, width)
        return
    starts = [
        np.unique(np.linspace(0, max(0, length - side), min(SAMPLE_GRID, -(-length // side))).astype(int))
        for length in (height, width)
    ]
    for top in starts[0].tolist():
        for left in starts[1].tolist():
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))
