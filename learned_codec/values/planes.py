"""Planes of bytes, kept exactly: masks, alpha channels and classes of pixels without a value.

A plane of two levels is taken for regions with edges that are alike from row to row, and single pixels that differ from
all around them. A plane of more, for smooth ones.
"""

from __future__ import annotations

import itertools
import zlib

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.errors import CorruptDataError, TruncatedError

_CONSTANT, _BILEVEL, _LEVELS, _REGIONS = range(4)
MAX_EDGES = 16
"""Edges in a row, on average, up to which they are worth listing."""


def pack_plane(plane: NDArray[np.uint8]) -> bytes:
    """(H, W) uint8 in bytes: a kind, its one or two levels, and what it takes to place them, in the shortest way."""
    low, high = int(plane.min()), int(plane.max())
    if low == high:
        return bytes([_CONSTANT, low])
    if ((plane == low) | (plane == high)).all():
        bits = plane == high
        changed = bits.copy()
        changed[1:] ^= bits[:-1]
        packed = np.packbits(changed, axis=1).tobytes()
        found = [bytes([_BILEVEL, low, high]) + _counted(zlib.compress(packed, 9))]
        specks = _specks(bits)
        regions = bits ^ specks
        if (regions[:, 1:] != regions[:, :-1]).sum() <= MAX_EDGES * len(bits):
            edges = zlib.compress(_edges(regions), 9)
            found.append(bytes([_REGIONS, low, high]) + _gaps(np.flatnonzero(specks)) + _counted(edges))
        return min(found, key=len)
    left = np.diff(plane, axis=1, prepend=np.uint8(0)).tobytes()
    return bytes([_LEVELS]) + _counted(zlib.compress(left, 9))


def unpack_plane(data: bytes, at: int, height: int, width: int) -> tuple[NDArray[np.uint8], int]:
    """The (height, width) plane at data[at:], and where it ends. Raises `CorruptDataError`."""
    try:
        kind = data[at]
        if kind == _CONSTANT:
            return np.full((height, width), data[at + 1], np.uint8), at + 2
        if kind == _LEVELS:
            body, at = _inflated(data, at + 1, height * width)
            return np.cumsum(_rows(body, height, width), 1, np.uint8), at
        low, high, at = data[at + 1], data[at + 2], at + 3
        if kind == _BILEVEL:
            row = -(-width // 8)
            body, at = _inflated(data, at, height * row)
            changed = np.unpackbits(_rows(body, height, row), axis=1, count=width)
            bits = np.bitwise_xor.accumulate(changed, 0) > 0
        elif kind == _REGIONS:
            specks, at = _of_gaps(data, at, height * width)
            body, at = _inflated(data, at, height * (2 + MAX_EDGES) * varint.MAX_BYTES)
            bits = _of_edges(body, height, width)
            bits.reshape(-1)[specks] ^= True
        else:
            raise CorruptDataError(f"a mask's plane of kind {kind}")
    except (IndexError, zlib.error, TruncatedError) as error:
        raise CorruptDataError(f"a mask's plane is damaged: {error}") from error
    return np.where(bits, np.uint8(high), np.uint8(low)), at


def _counted(stream: bytes) -> bytes:
    return varint.encode(len(stream)) + stream


def _inflated(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """What a counted stream holds, at most so many bytes, and where it ends."""
    length, at = varint.decode(data, at)
    end = at + length
    inflater = zlib.decompressobj()
    body = inflater.decompress(data[at:end], most + 1)
    if end > len(data) or len(body) > most or not inflater.eof or inflater.unused_data:
        raise CorruptDataError("a mask's plane has the wrong size")
    return body, end


def _rows(body: bytes, height: int, width: int) -> NDArray[np.uint8]:
    if len(body) != height * width:
        raise CorruptDataError("a mask's plane has the wrong size")
    return np.frombuffer(body, np.uint8).reshape(height, width)


# -- regions ----------------------------------------------------------------------------------------------------------


def _edges(bits: NDArray[np.bool_]) -> bytes:
    """(H, W) bits as runs of rows with as many edges: how many edges, how many rows, and for each edge its numbers.

    An edge is a column from which on bits differ from those before, which are False before the first. In a run's first
    row its number is the distance from the edge before it, in the others that from the same edge of the row above.
    """
    rows, columns = np.nonzero(np.diff(bits, axis=1, prepend=False))
    counts = np.bincount(rows, minlength=len(bits))
    starts = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), len(bits)]
    out, at = bytearray(), 0
    for start, stop in itertools.pairwise(starts):
        count, length = int(counts[start]), stop - start
        out += varint.encode(count) + varint.encode(length)
        edges = columns[at : at + count * length].reshape(length, count)
        at += count * length
        moves = np.diff(edges, axis=0)
        numbers = np.concatenate([np.diff(edges[:1], prepend=0), np.where(moves >= 0, 2 * moves, -2 * moves - 1)])
        for number in numbers.T.reshape(-1).tolist():
            out += varint.encode(number)
    return bytes(out)


def _of_edges(body: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The (height, width) bits of `_edges`."""
    changes = np.zeros((height, width), bool)
    at, row = 0, 0
    while row < height:
        count, at = varint.decode(body, at)
        length, at = varint.decode(body, at)
        if not 1 <= length <= height - row or count > width or count * length > len(body) - at:
            raise CorruptDataError("a mask's edges don't fit it")
        found = []
        for _ in range(count * length):
            number, at = varint.decode(body, at)
            found.append(min(number, 2 * width + 1))  # too large is too large
        numbers = np.array(found, np.int64).reshape(count, length)
        moves = numbers[:, 1:]
        first = numbers[:, :1].cumsum(0)
        edges = np.concatenate([first, np.where(moves % 2 == 0, moves // 2, -(moves // 2) - 1)], 1).cumsum(1)
        if count and (edges.min() < 0 or edges.max() >= width or (np.diff(edges, axis=0) < 1).any()):
            raise CorruptDataError("a mask's edges aren't in order")
        changes[np.arange(row, row + length), edges] = True
        row += length
    if at != len(body):
        raise CorruptDataError("bytes follow a mask's edges")
    result: NDArray[np.bool_] = np.logical_xor.accumulate(changes, 1)
    return result


# -- single pixels ----------------------------------------------------------------------------------------------------


def _specks(bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that differ from those above, below, on the left and on the right, which a border repeats."""
    padded = np.pad(bits, 1, "edge")
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    result: NDArray[np.bool_] = np.logical_and.reduce([bits != other for other in beside])
    return result


def _gaps(places: NDArray[np.int64]) -> bytes:
    """Rising numbers: how many, and if any the Rice parameter k and the code of how many are skipped before each.

    Its quotient by 2^k in unary, as ones and a zero, and its remainder in k bits; for a geometric distribution that
    comes within 0.03 bits of the best there is (R. F. Rice, "Some practical universal noiseless coding techniques",
    JPL 79-22, 1979).
    """
    if not len(places):
        return varint.encode(0)
    skipped = np.diff(places, prepend=-1) - 1
    k = min(range(32), key=lambda k: int((skipped >> k).sum()) + k * len(skipped))
    code = "".join("1" * (n >> k) + "0" + f"{n & ((1 << k) - 1) | 1 << k:b}"[1:] for n in skipped.tolist())
    return varint.encode(len(places)) + bytes([k]) + _counted(np.packbits([c == "1" for c in code]).tobytes())


def _of_gaps(data: bytes, at: int, size: int) -> tuple[NDArray[np.int64], int]:
    """The numbers below `size` of `_gaps`, and where they end."""
    count, at = varint.decode(data, at)
    if count == 0:
        return np.zeros(0, np.int64), at
    if count > size:
        raise CorruptDataError("a mask has more single pixels than pixels")
    k = data[at]
    length, at = varint.decode(data, at + 1)
    if k > 31 or at + length > len(data):
        raise CorruptDataError("a mask's single pixels aren't all there")
    bits = "".join(f"{byte:08b}" for byte in data[at : at + length])
    places, place, next_bit = np.zeros(count, np.int64), -1, 0
    for index in range(count):
        end = bits.find("0", next_bit)
        if end < 0 or end + 1 + k > len(bits):
            raise CorruptDataError("a mask's single pixels aren't all there")
        place += 1 + ((end - next_bit) << k) + int(bits[end + 1 : end + 1 + k] or "0", 2)
        if place >= size:
            raise CorruptDataError("a mask's single pixel lies outside the tile")
        places[index], next_bit = place, end + 1 + k
    if length != -(-next_bit // 8) or "1" in bits[next_bit:]:
        raise CorruptDataError("bytes follow a mask's single pixels")
    return places, at + length
