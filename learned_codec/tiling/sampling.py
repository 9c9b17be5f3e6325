"""Samples of an image, from which the value transform is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.choose import Samples
from learned_codec.values.transform import ValueTransform

from .grid import Window
from .masking import MaskedSource

SAMPLE_WINDOW, SAMPLE_GRID = 256, 8
"""If an image has more than four megapixels, a grid of 8 x 8 windows of 256 pixels is sampled."""

MAX_SAMPLES = 2**22
"""The most values sampled; beyond, every n-th pixel is taken. Choosing a transform takes about 30 bytes for each
value."""

FEW_WINDOWS = 8
"""About as many windows show how scattered holes are, or what colours there are."""

LEAST_PAIRS = 32
"""With fewer pairs of neighbours, an image's roughness isn't known."""

ROUGH, SMOOTHEST, ROUGHNESS = 1.5, 0.1, 0.42
"""If pixels at a distance of two differ by sqrt(4 - d) times as much as neighbours, errors without holes are about
(d / 1.5)^0.42 of those of rough images: five training scenes, also enlarged 2 and 4 times, have d from 0.1 to 2.7."""

LEAST_SCATTER, MOST_SCATTER = 0.02, 0.98
"""Large holes, which aren't scattered, have edges, too: less than the first. With fewer valid pixels than a fiftieth,
each is quantised by itself anyway."""


def samples(source: MaskedSource) -> Samples:
    """Samples of a source's values, for its ranges and the correlation of its bands.

    If a band has no value in the windows, or only one, the whole image is sampled.
    """
    windows = list(_sample_windows(source.height, source.width))
    found = _samples_in(source, windows)
    whole = [(slice(0, source.height), slice(0, source.width))]
    if windows != whole and any(not values.size or (values == values[0]).all() for values in found.bands()):
        side = SAMPLE_WINDOW * SAMPLE_GRID
        found = _samples_in(source, list(squares(source.height, source.width, side)))
    return found


def lies_in_areas(source: MaskedSource, band: int, value: float) -> bool:
    """Whether most pixels of a band with a value have a neighbour with it; hot pixels lie alone."""
    count = joined = 0
    for rows, columns in _sample_windows(source.height, source.width):
        there = np.pad(source.read(rows, columns).values[band] == value, 1)
        beside = there[:-2, 1:-1] | there[2:, 1:-1] | there[1:-1, :-2] | there[1:-1, 2:]
        count, joined = count + int(there.sum()), joined + int((there[1:-1, 1:-1] & beside).sum())
    return 2 * joined > count


def scatters(source: MaskedSource) -> NDArray[np.float64]:
    """(bands,) how far holes lie scattered over the valid pixels: 0 for none or large ones, more for single pixels.

    If pixels are missing by chance, this is the share of them; at most `MOST_SCATTER`.
    """
    edges, ends = np.zeros((2, source.bands))
    for rows, columns in _few_with_holes(source):
        valid = source.read(rows, columns).valid
        if valid is None:
            valid = np.ones((source.bands, rows.stop - rows.start, columns.stop - columns.start), bool)
        for axis in (1, 2):
            one, other = np.swapaxes(valid, 1, axis)[:, 1:], np.swapaxes(valid, 1, axis)[:, :-1]
            edges += [np.count_nonzero(band) for band in one != other]
            ends += [np.count_nonzero(a) + np.count_nonzero(b) for a, b in zip(one, other, strict=True)]
    found = edges / np.maximum(ends, 1)
    return np.where(found < LEAST_SCATTER, 0.0, np.minimum(found, MOST_SCATTER))


@dataclass(frozen=True)
class Differences:
    """By how much valid pixels of an image with holes differ that lie near each other.

    Attributes:
        sums: (2, bands) of the differences of pixels at a distance of one and of two, in the values of
            `ValueTransform.linear`.
        pairs: (2,) how many such pixels there are.
    """

    sums: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @classmethod
    def of(cls, source: MaskedSource, transform: ValueTransform) -> Differences:
        """Those of a source, in some windows."""
        sums, pairs = np.zeros((2, source.bands)), np.zeros(2)
        for rows, columns in _few_with_holes(source):
            read = source.read(rows, columns)
            linear = transform.linear(read.values)
            valid = np.ones(linear.shape, bool) if read.valid is None else read.valid
            for band, seen in enumerate(valid):
                values = np.where(seen, linear[band], 0).astype(np.float64)
                for k, lag in enumerate((1, 2)):
                    for down, right in ((lag, 0), (0, lag), (lag, lag)):
                        one = slice(down, None), slice(right, None)
                        other = slice(None, len(values) - down), slice(None, values.shape[1] - right)
                        both = seen[one] & seen[other]
                        sums[k, band] += (np.abs(values[one] - values[other]) * both).sum()
                        pairs[k] += np.count_nonzero(both)
        return cls(sums, pairs)

    def roughness(self, transform: ValueTransform) -> float:
        """How rough the image is: 1 for most, less for smooth ones, such as enlarged ones.

        It tells by how much errors without holes are smaller because of that. Neighbours and next but one are compared:
        if these differ twice as much, all between is smooth.
        """
        sums = (self.sums / transform.linear_range[1][:, 0, 0]).sum(1)
        if self.pairs.min() < LEAST_PAIRS or not sums.all():
            return 1.0
        near, far = sums / self.pairs
        # With few pairs, it may be as much smoother as their number leaves open.
        ratio = (far / near) ** 2 * (1 + np.sqrt((16 / self.pairs).sum()))
        return float(np.clip((4 - ratio) / ROUGH, SMOOTHEST, 1) ** ROUGHNESS)


def _few_with_holes(source: MaskedSource) -> list[Window]:
    """Some of the windows of a source that may have holes."""
    return few_windows(source.height, source.width) if source.mask_spec is not None else []


def few_windows(height: int, width: int) -> list[Window]:
    """Some of the windows from which samples are taken, spread over the image."""
    windows = list(_sample_windows(height, width))
    return windows[:: max(1, len(windows) // FEW_WINDOWS)]


def _samples_in(source: MaskedSource, windows: list[Window]) -> Samples:
    found, valid = [], []
    total = source.bands * sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in windows)
    # The step is odd: an even one could take the same columns of every row.
    every_nth = 1 if total <= MAX_SAMPLES else -(-total // MAX_SAMPLES) | 1
    for rows, columns in windows:
        read = source.read(rows, columns)
        values, mask = read.values, read.valid
        found.append(values.reshape(source.bands, -1)[:, ::every_nth].copy())
        valid.append(
            np.ones(found[-1].shape, bool) if mask is None else mask.reshape(source.bands, -1)[:, ::every_nth].copy()
        )
    values, real = np.concatenate(found, 1), np.concatenate(valid, 1)
    seen = real.any(0)
    if not seen.all():
        values, real = values[:, seen], real[:, seen]
    return Samples(values, None if real.all() else real)


def squares(height: int, width: int, side: int) -> Iterator[Window]:
    """The whole image, in squares."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def parts(
    height: int, width: int, sides: tuple[int, int], starts: Callable[[int, int], Iterable[int]]
) -> Iterator[Window]:
    """Along each axis, the whole length if it is at most two sides, else parts of one side.

    `starts` tells where the parts begin, from the length and the side.
    """

    def along(length: int, side: int) -> list[slice]:
        if length <= 2 * side:
            return [slice(0, length)]
        return [slice(start, min(start + side, length)) for start in starts(length, side)]

    return product(along(height, sides[0]), along(width, sides[1]))


def spread(most: int, length: int, side: int) -> list[int]:
    """Where parts of `side` pixels begin, spread over the length of an axis from end to end: at most so many."""
    found: list[int] = np.linspace(0, length - side, min(most, length // side)).astype(int).tolist()
    return found


def thirds(length: int) -> tuple[int, int]:
    """One third of a length, and two."""
    return length // 3, 2 * length // 3


def _sample_windows(height: int, width: int) -> Iterator[Window]:
    side = SAMPLE_WINDOW
    if height * width <= (SAMPLE_GRID * side) ** 2:
        yield slice(0, height), slice(0, width)
        return
    starts = [
        np.linspace(0, max(0, length - side), min(SAMPLE_GRID, -(-length // side))).astype(int).tolist()
        for length in (height, width)
    ]
    for top in dict.fromkeys(starts[0]):  # each once
        for left in dict.fromkeys(starts[1]):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))
