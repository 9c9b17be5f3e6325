"""The description of a tile's bands: everything except their residuals, compressed by zlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.errors import CorruptDataError, TruncatedError

from .lattice import PASSES
from .numbers import GRID, ORDERED, Mapping
from .planes import PlaneModel
from .predictor import SHADES, PassWeights, activities_of, features_of
from .residuals import CONTEXTS, MAX_SHIFT, Tables
from .tables import SCALES, SHAPES

LISTED, NUMBERED, PREDICTED = 4, 8, 16
"""Bits of a band's form; its lowest two are the kind of mapping."""

MOST_SETS, MOST_REFERENCES, MAX_NUMBER = 8, 2, 2**34
"""Limits of the format: sets of weights, references of a band, and the largest number."""


@dataclass(frozen=True)
class CodedBand:
    """A band as coded.

    Attributes:
        number: of the band in the image.
        mapping: how its numbers mean samples.
        lowest: the number that becomes 0.
        top: the largest of the coded numbers, which are from 0 on.
        error: the most by which a decoded number may differ; 0 with levels.
        levels: the values of the coded numbers, ascending from 0; None if numbers are values.
        references: places, among the bands before it, of those that help to predict it.
        model: what predicts it; None for a band of one value and for a listed one.
    """

    number: int
    mapping: Mapping
    lowest: int
    top: int
    error: int = 0
    levels: NDArray[np.int64] | None = None
    references: tuple[int, ...] = ()
    model: PlaneModel | None = None

    def predicted(self, references: tuple[int, ...], model: PlaneModel) -> CodedBand:
        """The description of the band as a predicted one."""
        return replace(self, references=references, model=model)

    @property
    def size(self) -> int:
        """About how many bytes its description takes."""
        return len(zlib.compress(_pack_band(self, 0)))

    def samples(self, numbers: NDArray[np.int64], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """The meaning of coded numbers. Raises `CorruptDataError`."""
        return self.mapping.samples((numbers if self.levels is None else self.levels[numbers]) + self.lowest, dtype)


def pack(bands: Sequence[CodedBand], lengths: Sequence[int]) -> bytes:
    """The bands in their order of coding, and how many bytes the stream of each has."""
    return b"".join(_pack_band(band, length) for band, length in zip(bands, lengths, strict=True))


def _pack_band(band: CodedBand, length: int) -> bytes:
    form = band.mapping.kind | (NUMBERED if band.levels is not None else 0)
    form |= PREDICTED if band.model is not None else LISTED if band.top else 0
    out = bytearray(varint.encode(band.number))
    out.append(form)
    if band.mapping.kind == GRID:
        out += struct.pack("<d", band.mapping.step)
    out += varint.encode(2 * band.lowest if band.lowest >= 0 else -2 * band.lowest - 1) + varint.encode(band.top)
    if band.levels is not None:
        out += b"".join(varint.encode(int(gap)) for gap in np.diff(band.levels))
    if band.top:
        out += varint.encode(band.error) + varint.encode(length)
    if band.model is not None:
        model = band.model
        out.append(len(band.references))
        out += b"".join(map(varint.encode, band.references)) + varint.encode(model.first)
        out.append(len(model.weights))
        for weights, tables in zip(model.weights, model.tables, strict=True):
            for one, chosen in zip(weights, tables, strict=True):
                out += one.values.astype("<i2").tobytes() + one.magnitudes.tobytes() + one.shifts.tobytes()
                out += bytes([chosen.first, len(chosen.shapes)])
                out += chosen.shapes.tobytes() + chosen.scales.tobytes() + chosen.shifts.tobytes()
    return bytes(out)


def unpack(data: bytes, count: int, pixels: int) -> tuple[list[CodedBand], list[int]]:
    """The inverse of `pack`, of a zlib stream. Raises `CorruptDataError`."""
    most = count * (24_000 + 5 * min(pixels, 2**16))
    try:
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise CorruptDataError(f"a tile's description can't be unpacked: {error}") from error
    if not unpacker.eof or unpacker.unused_data or len(found) > most:
        raise CorruptDataError("a tile's description doesn't end where it should")
    cursor = _Cursor(found)
    bands, lengths = [], []
    try:
        for place in range(count):
            band, length = _unpack_band(cursor, place, pixels)
            bands.append(band)
            lengths.append(length)
    except (TruncatedError, IndexError, struct.error) as error:
        raise CorruptDataError("a tile's description ends too early") from error
    if cursor.at != len(found):
        raise CorruptDataError("bytes follow the description of a tile's last band")
    if sorted(band.number for band in bands) != list(range(count)):
        raise CorruptDataError("a tile's description names a band twice")
    return bands, lengths


class _Cursor:
    """Reads bytes one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def number(self, most: int) -> int:
        value, self.at = varint.decode(self._data, self.at)
        if value > most:
            raise CorruptDataError(f"a tile's description has {value} where {most} is the most")
        return value

    def byte(self, most: int) -> int:
        return int(self.array(1, most)[0])

    def array(self, count: int, most: int = 255) -> NDArray[np.uint8]:
        found = np.frombuffer(self.take(count), np.uint8)
        if count and found.max() > most:
            raise CorruptDataError(f"a tile's description has {found.max()} where {most} is the most")
        return found

    def take(self, count: int) -> bytes:
        found = self._data[self.at : self.at + count]
        if len(found) != count:
            raise TruncatedError("the data ends too early")
        self.at += count
        return found


def _unpack_band(cursor: _Cursor, place: int, pixels: int) -> tuple[CodedBand, int]:
    number = cursor.number(varint.MAX)
    form = cursor.byte(31)
    kind, coding = form & 3, form & (LISTED | PREDICTED)
    step = 0.0
    if kind > ORDERED or coding == LISTED | PREDICTED:
        raise CorruptDataError(f"a band has the unknown form {form}")
    if kind == GRID:
        (step,) = struct.unpack("<d", cursor.take(8))
        if not 0 < step < np.inf:
            raise CorruptDataError(f"a grid can't have the step {step}")
    folded = cursor.number(2 * MAX_NUMBER)
    lowest, top = -(folded + 1 >> 1) if folded & 1 else folded >> 1, cursor.number(MAX_NUMBER)
    if (top > 0) != (coding > 0):
        raise CorruptDataError("a band of one value isn't coded, and others are")
    levels = None
    if form & NUMBERED:
        if not 0 < top < min(2**16, pixels):
            raise CorruptDataError(f"a tile of {pixels} pixels can't have {top + 1} levels")
        levels = np.cumsum([0, *(cursor.number(MAX_NUMBER) for _ in range(top))])
        if levels[-1] > MAX_NUMBER or (np.diff(levels) < 1).any():
            raise CorruptDataError("a band's levels don't ascend")
    error = cursor.number((top - 1) // 2 if levels is None else 0) if top else 0
    band = CodedBand(number, Mapping(kind, step), lowest, top, error, levels)
    length = cursor.number(varint.MAX) if top else 0
    if coding != PREDICTED:
        return band, length
    references = tuple(cursor.number(place - 1) for _ in range(cursor.byte(MOST_REFERENCES if place else 0)))
    first = cursor.number(top)
    model = PlaneModel(first, [], [])
    for _ in range(cursor.byte(MOST_SETS)):
        weights, tables = zip(*(_unpack_pass(cursor, k, len(references)) for k in range(len(PASSES))), strict=True)
        model.weights.append(list(weights))
        model.tables.append(list(tables))
    if not model.weights:
        raise CorruptDataError("a predicted band has no weights")
    return band.predicted(references, model), length


def _unpack_pass(cursor: _Cursor, number: int, references: int) -> tuple[PassWeights, Tables]:
    features, activities = features_of(PASSES[number], references), activities_of(references)
    values = np.frombuffer(cursor.take(2 * features), "<i2").astype(np.int16)
    weights = PassWeights(values, cursor.array(activities), cursor.array(SHADES).view(np.int8))
    first, count = cursor.byte(CONTEXTS - 1), cursor.byte(CONTEXTS)
    tables = [cursor.array(count, most) for most in (SHAPES - 1, SCALES - 1, MAX_SHIFT)]
    return weights, Tables(first, *tables)
