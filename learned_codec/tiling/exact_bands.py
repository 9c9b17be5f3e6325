"""Finds bands of few values, such as classes, that it costs little to keep exactly.

Errors of lossy coding would make other classes of them, and their sharp edges would cost more bits than they do here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.choose import Samples
from learned_codec.values.constants import ExactBand
from learned_codec.values.few import MOST_VALUES, are_few, with_others
from learned_codec.values.mask import VALID
from learned_codec.values.planes import pack_plane

from .masking import MaskedSource
from .sampling import parts, squares, thirds

MOST_BITS = 0.25
"""The most bits per pixel that a band may take. The scene classification of a Sentinel-2 scene takes 0.15, the cirrus
band of another one 0.18; coded lossily at quality 40, 1.5 and 3.4 times as much. Values that change smoothly, such as
temperatures, take more. A band of two values, such as a mask, may take any number: lossy coding takes 3 to 10 times as
many, even at quality 20."""

SAMPLE, SQUARE = 256, 1024
"""Pixels per side of each of up to four samples, which tell what a band costs, and of what is read at once."""


def exact_bands(source: MaskedSource, samples: Samples, most: float | None = None) -> tuple[list[ExactBand], list[int]]:
    """The bands that are kept exactly. All together, they take at most `most` bits per pixel, if that is given.

    Also returns the bands that would be kept if `most` were more.
    """
    # A band of one value needs no classes: its bounds are in the header.
    nothing = np.empty(0, source.dtype)
    few = {
        band: known.size
        for band, values in enumerate(samples.bands())
        if are_few(known := with_others(nothing, values))
    }
    if not few:
        return [], []
    costs = _costs(source, list(few), whole=most is not None)
    cheap = [band for band in sorted(costs, key=lambda band: costs[band]) if few[band] == 2 or costs[band] <= MOST_BITS]
    count = len(cheap) if most is None else int((np.cumsum([costs[band] for band in cheap]) <= most).sum())
    taken = set(source.mask_spec.values) if source.mask_spec is not None else set()
    kept = []
    for band, values in _values(source, cheap[:count]).items():
        both = taken | set(values.astype(float).tolist())
        allowed = MOST_VALUES if costs[band] <= MOST_BITS else 2  # samples may not show all values
        if values.size <= allowed and len(both) < VALID:
            taken = both
            kept.append(ExactBand(band, values))
    return kept, cheap[count:]


def _costs(source: MaskedSource, bands: Sequence[int], *, whole: bool) -> dict[int, float]:
    """The bits per pixel that bands take if they are kept exactly, of the `whole` image or about, by parts of it."""
    sizes, pixels = np.zeros(len(bands)), 0
    size = source.height, source.width
    some = parts(*size, (SAMPLE, SAMPLE), lambda length, side: [third - side // 2 for third in thirds(length)])
    windows = squares(*size, SQUARE) if whole else some
    for rows, columns in windows:
        read = source.read(rows, columns)
        pixels += read.values[0].size
        for number, band in enumerate(bands):
            values = read.values[band]
            if read.valid is not None:  # others, such as nodata, have a class already
                values = np.where(read.valid[band], values, values.flat[read.valid[band].argmax()])
            known, classes = np.unique(values, return_inverse=True)
            if known.size > MOST_VALUES:
                sizes[number] = np.inf
            else:
                sizes[number] += len(pack_plane(classes.reshape(values.shape).astype(np.uint8)))
    return dict(zip(bands, (8 * sizes / pixels).tolist(), strict=True))


def _values(source: MaskedSource, bands: Sequence[int]) -> dict[int, NDArray[Any]]:
    """All valid values of bands; of bands of too many values, perhaps only some."""
    found = {band: np.empty(0, source.dtype) for band in bands}
    for window in squares(source.height, source.width, SQUARE):
        read = source.read(*window)
        for band, known in found.items():
            if known.size <= MOST_VALUES:
                here = read.values[band]
                found[band] = with_others(known, here if read.valid is None else here[read.valid[band]])
    return found
