"""Planes that are packed without prediction: their numbers by LZMA, or the plain bits of these.

That is better where large areas are the same, as in maps of classes, and where pixels don't help to predict each other,
as in noise.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError
from learned_codec.packing import packed, unpacked

AS_IT_IS, LEFT, ABOVE, BITS = range(4)
"""What is packed for a pixel: its number, or the difference from the one on its left or above it. BITS isn't packed."""

SAMPLE = 2**15
"""How many numbers go through a fast compressor, zlib, to estimate what LZMA would reach."""

STRETCHES = 4
"""They are taken from this number of places in the plane."""

BETTER, BETTER_IF_EVEN = 1.1, 2.0
"""LZMA's result may be smaller than zlib's estimate by these factors: for numbers as they are, for even planes."""

FLATTEST = 100
"""zlib at its fastest makes one byte of at most 200, where LZMA needs next to none. So an estimate may be too high by
up to one byte for each 100 bytes of numbers, and LZMA is tried nevertheless."""

NOISE = 0.97
"""LZMA is tried only where it may take less than this share of the plain bits."""


def compress(numbers: NDArray[np.int64], count: int, most: int, even: bool) -> bytes | None:
    """(h, w) numbers below `count`; None where that would hardly take less than `most` bytes.

    LZMA is slow, so a fast compressor first estimates whether it is worth it, and in which form. `even`: many pixels
    equal their neighbours.
    """
    bits, width = (count - 1).bit_length(), _width(count)
    plain = 1 + bits * -(-numbers.size // 8)
    promised = min(most, NOISE * plain)
    sizes = _estimates(numbers, width)
    least = numbers.size * width // FLATTEST
    found = None
    if sizes[AS_IT_IS] <= BETTER * promised or min(sizes) <= (BETTER_IF_EVEN * promised + least if even else promised):
        found = min(
            (
                bytes([kind]) + packed(_bytes(_form(numbers, kind, width), width))
                for kind, size in enumerate(sizes)
                if size <= BETTER_IF_EVEN * min(sizes) + least
            ),
            key=len,
        )
    if plain < (most if found is None else min(most, len(found))):
        flat = numbers.reshape(-1)
        return bytes([BITS]) + b"".join(np.packbits(flat >> k & 1 != 0).tobytes() for k in reversed(range(bits)))
    return found


def decompress(data: bytes, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
    """The inverse of `compress`. Raises `CorruptDataError`; takes little more memory than the plane."""
    if not data or data[0] > BITS:
        raise CorruptDataError("a listed plane is empty or of an unknown kind")
    plane = _from_bits(data[1:], shape, count) if data[0] == BITS else _unpacked(data, shape, count)
    if plane.max() >= count:
        raise CorruptDataError("a listed plane has a number that there isn't")
    return plane


def _unpacked(data: bytes, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
    width = _width(count)
    size = shape[0] * shape[1] * width
    found = unpacked(data[1:], size)
    plane = np.zeros(shape, np.int64)
    for part in np.frombuffer(found, np.uint8).reshape(width, *shape):
        plane = plane << 8 | part
    if data[0] != AS_IT_IS:
        plane = np.add.accumulate(plane, axis=1 if data[0] == LEFT else 0) & (1 << 8 * width) - 1
    return plane


def _from_bits(data: bytes, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
    pixels, bits = shape[0] * shape[1], (count - 1).bit_length()
    each = -(-pixels // 8)
    if len(data) != bits * each:
        raise CorruptDataError("a listed plane doesn't have as many bits as the tile")
    plane = np.zeros(pixels, np.int64)
    for part in np.frombuffer(data, np.uint8).reshape(bits, each):
        plane = plane << 1 | np.unpackbits(part, count=pixels)
    return plane.reshape(shape)


def _form(numbers: NDArray[np.int64], kind: int, width: int) -> NDArray[np.int64]:
    """The numbers that are packed: as they are, or differences."""
    if kind == AS_IT_IS:
        return numbers
    return np.diff(numbers, axis=1 if kind == LEFT else 0, prepend=0) & (1 << 8 * width) - 1


def _bytes(numbers: NDArray[np.int64], width: int) -> bytes:
    """The highest bytes of all numbers, then the next, and so on."""
    return b"".join((numbers >> 8 * k).astype(np.uint8).tobytes() for k in reversed(range(width)))


def _estimates(numbers: NDArray[np.int64], width: int) -> list[float]:
    """About how many bytes zlib would make of each form."""
    rows = max(1, SAMPLE // STRETCHES // numbers.shape[1])
    parts = [numbers]
    if rows * STRETCHES < len(numbers):
        parts = [numbers[top : top + rows] for top in np.linspace(0, len(numbers) - rows, STRETCHES).astype(int)]
    share = sum(part.size for part in parts) / numbers.size
    return [
        len(zlib.compress(b"".join(_bytes(_form(part, kind, width), width) for part in parts), 1)) / share
        for kind in (AS_IT_IS, LEFT, ABOVE)
    ]


def _width(count: int) -> int:
    """The bytes of a number."""
    return max(1, -(-(count - 1).bit_length() // 8))
