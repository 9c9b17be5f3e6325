"""A tile of numbers as a payload: a description of each band, and its residuals."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.errors import CorruptDataError
from learned_codec.values.inpaint import fill

from . import listing
from .description import CodedBand, pack, unpack
from .fit import order_of
from .numbers import Mapping, numbers_of
from .planes import Levels, PlaneSource, decode_plane, encode_plane, storage
from .residuals import ResidualDecoder, ResidualEncoder

COUNTABLE = 2**17
"""Ranges up to which levels are counted; beyond, only where a sample shows few."""

FEW = 512
"""This many levels are numbered in an even plane, whatever they save. Where a sample has more, none are looked for."""

LEVEL_BITS = 12
"""What a level must save to be numbered: it takes less, but numbers are predicted less well than values."""

EVEN = 0.4
"""A plane is even if at least this share of pixels equals the one on their left."""

MOST_LEVELS = 2**16
"""The most levels that can be numbered: a limit of the format."""


@dataclass
class _SourceBand:
    """A band while it is coded: its numbers from 0 to `top`, and its properties."""

    mapping: Mapping
    numbers: NDArray[np.int64]
    valid: NDArray[np.bool_] | None
    error: int
    lowest: int
    top: int
    levels: NDArray[np.int64] | None = None
    even: bool = False
    """Whether many pixels equal the one on their left."""


def encode_tile(
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    bounds: Sequence[float],
    fills: Sequence[float] = (),
) -> bytes:
    """The payload of (bands, h, w) samples. Those that aren't `valid` (bands, h, w) may change to any value.

    Every valid sample decodes within its band's bound, even if it is moved to the next value of its dtype because it
    equals one of `fills`.
    """
    sources = [
        _source(band, None if valid is None or valid[k].all() else valid[k], float(bounds[k]), tuple(fills))
        for k, band in enumerate(values)
    ]
    order = order_of([source.numbers for source in sources])
    bands: list[CodedBand] = []
    streams: list[bytes] = []
    known: list[Levels | None] = []
    for number, wished in order:
        source = sources[number]
        places = tuple(place for place in wished if known[place] is not None)
        band, stream, levels = _coded(number, source, places, bands, known)
        bands.append(band)
        streams.append(stream)
        known.append(levels)
    description = zlib.compress(pack(bands, [len(stream) for stream in streams]), 9)
    return varint.encode(len(description)) + description + b"".join(streams)


def _source(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, bound: float, fills: tuple[float, ...]
) -> _SourceBand:
    mapping, numbers, error = numbers_of(values, valid, bound, fills)
    real = numbers.reshape(-1) if valid is None else numbers[valid]
    if not real.size:
        return _SourceBand(mapping, np.zeros_like(numbers), valid, error, 0, 0)
    lowest, highest = int(real.min()), int(real.max())
    numbers = numbers - lowest
    if valid is not None:
        smooth = fill(np.where(valid, numbers, 0).astype(np.float32), valid)
        numbers = np.where(valid, numbers, np.rint(smooth).astype(np.int64).clip(0, highest - lowest))
    if highest - lowest <= 2 * error:  # one value serves all
        middle = lowest + (highest - lowest) // 2
        return _SourceBand(mapping, np.zeros_like(numbers), valid, error, middle, 0)
    found = _SourceBand(mapping, numbers, valid, error, lowest, highest - lowest, even=_even(numbers))
    if error == 0:
        _number_levels(found)
    return found


def _number_levels(source: _SourceBand) -> None:
    """Take numbers of levels for values, where few of the range occur."""
    numbers, pixels = source.numbers, source.numbers.size
    if source.top < COUNTABLE:
        counts = np.bincount(numbers.reshape(-1), minlength=source.top + 1)
        levels = np.flatnonzero(counts)
        counts = counts[levels]
    else:
        if len(np.unique(numbers.reshape(-1)[:: max(1, pixels // 4096)])) > FEW:
            return
        levels, counts = np.unique(numbers, return_counts=True)
    if len(levels) > MOST_LEVELS:
        return
    # A residual can be as many times smaller as levels are apart.
    gaps = np.log2(np.diff(levels))
    apart = (np.append(gaps, gaps[-1]) + np.append(gaps[0], gaps)) / 2
    saved = float((counts * apart).sum())
    if saved > LEVEL_BITS * len(levels) or (len(levels) <= FEW and source.even):
        source.levels = levels
        if source.top < COUNTABLE:
            places = np.zeros(source.top + 1, np.int64)
            places[levels] = np.arange(len(levels))
            source.numbers = places[numbers]
        else:
            source.numbers = np.searchsorted(levels, numbers)
        source.top = len(levels) - 1


def _even(numbers: NDArray[np.int64]) -> bool:
    """Whether many pixels equal the one on their left."""
    rows = numbers[:: max(1, len(numbers) // 64)]
    return bool(rows.shape[1] > 1 and (rows[:, 1:] == rows[:, :-1]).mean() > EVEN)


def _coded(
    number: int,
    source: _SourceBand,
    places: tuple[int, ...],
    bands: Sequence[CodedBand],
    known: Sequence[Levels | None],
) -> tuple[CodedBand, bytes, Levels | None]:
    """A band's description, its stream, and the plane as decoded if it is predicted."""
    band = CodedBand(number, source.mapping, source.lowest, source.top, source.error, source.levels)
    if source.top == 0:
        return band, b"", None
    references = [levels for levels in (known[place] for place in places) if levels is not None]
    ranges = [source.top, *(bands[place].top for place in places)]
    coder = ResidualEncoder()
    numbers = source.numbers.astype(storage(source.top))
    model, levels = encode_plane(PlaneSource(numbers, source.valid, source.error, references, ranges), coder)
    stream = coder.finish()
    predicted = band.predicted(places, model)
    size, step = len(stream) + predicted.size, 2 * source.error + 1
    listed = listing.compress(source.numbers // step, source.top // step + 1, size, source.even)
    if listed is not None and len(listed) < size:
        return band, listed, None
    return predicted, stream, levels


def decode_tile(
    payload: bytes,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    valid: NDArray[np.bool_] | None,
    allow: Callable[[int], None] | None = None,
) -> NDArray[Any]:
    """The (bands, h, w) samples of a payload.

    `allow` is called with the number of coded samples, and may raise an error. Raises `CorruptDataError`.
    """
    count, *size = shape
    length, at = varint.decode(payload)
    bands, lengths = unpack(payload[at : at + length], count, size[0] * size[1])
    if allow is not None:
        allow(size[0] * size[1] * sum(band.top > 0 for band in bands))
    at += length
    result = np.empty(shape, dtype)
    known: list[Levels | None] = []
    for place, (band, stream_length) in enumerate(zip(bands, lengths, strict=True)):
        if at + stream_length > len(payload):
            raise CorruptDataError("a tile ends within a band")
        stream = payload[at : at + stream_length]
        at += stream_length
        real = None if valid is None or valid[band.number].all() else valid[band.number]
        numbers, levels = _decoded(band, place, stream, (size[0], size[1]), real, bands, known)
        known.append(levels)
        result[band.number] = band.samples(numbers, dtype)
    if at != len(payload):
        raise CorruptDataError("bytes follow a tile's last band")
    return result


def _decoded(
    band: CodedBand,
    place: int,
    stream: bytes,
    size: tuple[int, int],
    valid: NDArray[np.bool_] | None,
    bands: Sequence[CodedBand],
    known: Sequence[Levels | None],
) -> tuple[NDArray[np.int64], Levels | None]:
    """A band's numbers from 0 to `top`, and the plane as a reference for later bands."""
    if band.top == 0:
        if stream:
            raise CorruptDataError("a band of one value has a stream")
        return np.zeros(size, np.int64), None
    if band.model is None:
        step = 2 * band.error + 1
        listed = listing.decompress(stream, size, band.top // step + 1)
        return (listed * step + band.error).clip(None, band.top), None
    references = []
    for other in band.references:
        levels = known[other]
        if levels is None:
            raise CorruptDataError(f"band {place} refers to one that isn't predicted")
        references.append(levels)
    ranges = [band.top, *(bands[other].top for other in band.references)]
    coder = ResidualDecoder(stream)
    levels, numbers = decode_plane(band.model, size, valid, band.error, references, ranges, coder)
    coder.finish()
    return numbers.astype(np.int64), levels
