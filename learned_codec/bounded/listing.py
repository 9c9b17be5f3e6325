"""Planes of few levels in large areas, such as maps of classes: the numbers of levels, compressed by LZMA."""

from __future__ import annotations

import lzma
import zlib

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

AS_IT_IS, LEFT, ABOVE = range(3)
"""What is written for a pixel: its number, or the difference from the one on its left or above it."""

DICTIONARY = 2**22

PROMISING = 2.0
"""By how much LZMA may be better than zlib at its fastest."""

FLATTEST = 100
"""How many bytes zlib makes one of at best, where LZMA has no such end: half of what it can."""


def _filters() -> list[dict[str, int]]:
    chain = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": DICTIONARY, "lc": 0, "pb": 0, "nice_len": 273}
    return [chain]


def compress(numbers: NDArray[np.int64], count: int, most: int) -> bytes | None:
    """(h, w) numbers of levels below `count`, at most 2^16; None where that would hardly take less than `most` bytes.

    LZMA is slow, so a fast compressor tells first whether it may do, and in which form.
    """
    dtype = _dtype(count)
    plane = numbers.astype(dtype)
    candidates = [plane, np.diff(plane, axis=1, prepend=dtype(0)), np.diff(plane, axis=0, prepend=dtype(0))]
    order = np.dtype(dtype).newbyteorder("<")
    raw = [candidate.astype(order).tobytes() for candidate in candidates]
    sizes = [len(zlib.compress(data, 1)) for data in raw]
    least = len(raw[0]) // FLATTEST
    if min(sizes) > PROMISING * most + least:
        return None
    found = [
        bytes([kind]) + lzma.compress(data, lzma.FORMAT_RAW, filters=_filters())
        for kind, data in enumerate(raw)
        if sizes[kind] <= PROMISING * min(sizes) + least
    ]
    return min(found, key=len)


def decompress(data: bytes, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
    """The inverse of `compress`. Raises `CorruptDataError`; takes no more memory than the plane."""
    dtype = np.dtype(_dtype(count))
    size = shape[0] * shape[1] * dtype.itemsize
    if not data or data[0] > ABOVE:
        raise CorruptDataError("a listed plane makes no sense")
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters())
        found = unpacker.decompress(data[1:], size + 1)
    except lzma.LZMAError as error:
        raise CorruptDataError(f"a listed plane can't be unpacked: {error}") from error
    if len(found) != size or not unpacker.eof or unpacker.unused_data:
        raise CorruptDataError("a listed plane doesn't have as many values as the tile")
    plane = np.frombuffer(found, dtype.newbyteorder("<")).reshape(shape)
    if data[0] != AS_IT_IS:
        plane = np.add.accumulate(plane, axis=1 if data[0] == LEFT else 0, dtype=dtype)
    if plane.max() >= count:
        raise CorruptDataError("a listed plane has a level that there isn't")
    return plane.astype(np.int64)


def _dtype(count: int) -> type[np.uint8 | np.uint16]:
    return np.uint8 if count <= 2**8 else np.uint16
