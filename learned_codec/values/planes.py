"""Lossless coding of planes of bytes: masks, alpha channels and classes.

A plane of two levels is coded as areas whose edges move little from row to row, plus single pixels. A plane of a few
levels is coded as several of two, or as its patterns repeat. A plane of many is coded by differences between
neighbours, as it is usually smooth.
"""

from __future__ import annotations

import itertools
import zlib
from array import array

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.errors import CorruptDataError, TruncatedError
from learned_codec.packing import packed, unpacked

_CONSTANT, _BILEVEL, _LEVELS, _REGIONS, _LAYERS, _LISTED = range(6)
"""Kinds of coded planes, the first byte (docs/format.md)."""

MOST_LAYERS = 4
"""A plane of at most this many levels and one more can be coded as layers of two levels."""

MOST_LISTED = 64
"""A plane of more levels isn't listed: LZMA is slow, and hardly better where levels change smoothly."""

MAX_EDGES = 16
"""With more edges per row than this, on average, a list of edges takes more bytes than a bitmap."""


def pack_plane(plane: NDArray[np.uint8]) -> bytes:
    """Code a (H, W) uint8 plane: its kind, its levels, and its content, by the kind that takes the fewest bytes."""
    counts = np.bincount(plane.reshape(-1), minlength=256)
    levels = np.flatnonzero(counts).tolist()
    if len(levels) == 1:
        return bytes([_CONSTANT, levels[0]])
    if len(levels) == 2:
        return _packed_bits(plane == levels[1], *levels)
    left = np.diff(plane, axis=1, prepend=np.uint8(0)).tobytes()
    found = [bytes([_LEVELS]) + _counted(zlib.compress(left, 9))]
    if len(levels) <= MOST_LISTED:
        found.append(bytes([_LISTED]) + _counted(packed(plane.tobytes())))
    if len(levels) <= MOST_LAYERS + 1:
        usual = sorted(levels, key=lambda level: -counts[level])
        found += [_packed_layers(plane, [level for level in usual if level != last] + [last]) for last in usual]
    return min(found, key=len)


def estimated_size(plane: NDArray[np.uint8]) -> int:
    """About how many bytes `pack_plane` takes, in much less time: of planes of a few levels, as a rule a bit more."""
    counts = np.bincount(plane.reshape(-1), minlength=256)
    levels = np.flatnonzero(counts).tolist()
    if not 2 < len(levels) <= MOST_LAYERS + 1:
        return len(pack_plane(plane))
    return len(_packed_layers(plane, sorted(levels, key=lambda level: -counts[level])))


def _packed_layers(plane: NDArray[np.uint8], levels: list[int]) -> bytes:
    """A plane as layers of two levels. Each level hides those before it, which may have any bits there."""
    base, *others = levels
    hidden, layers = np.zeros(plane.shape, bool), []
    for level in reversed(others):
        layers.append(_packed_bits(_continued(plane == level, hidden), base, level))
        hidden |= plane == level
    return bytes([_LAYERS, len(layers)]) + b"".join(reversed(layers))


def _continued(bits: NDArray[np.bool_], free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bits of which those that are `free` are the same as the next on the left, or else on the right."""
    if not free.any():
        return bits
    columns = np.arange(bits.shape[1])
    left = np.maximum.accumulate(np.where(free, -1, columns), 1)
    right = np.minimum.accumulate(np.where(free, len(columns), columns)[:, ::-1], 1)[:, ::-1]
    nearest = np.where(left >= 0, left, np.minimum(right, len(columns) - 1))
    return np.take_along_axis(bits, nearest, 1)


def _packed_bits(bits: NDArray[np.bool_], unset: int, set_: int) -> bytes:
    """A plane of two levels, those of bits that aren't set and that are."""
    changed = bits.copy()
    changed[1:] ^= bits[:-1]
    packed = np.packbits(changed, axis=1).tobytes()
    found = [bytes([_BILEVEL, unset, set_]) + _counted(zlib.compress(packed, 9))]
    specks = _specks(bits)
    regions = bits ^ specks
    if np.diff(regions, axis=1, prepend=False).sum() <= MAX_EDGES * len(bits):
        edges = zlib.compress(_edges(regions), 9)
        found.append(bytes([_REGIONS, unset, set_]) + _gaps(np.flatnonzero(specks)) + _counted(edges))
    return min(found, key=len)


def unpack_plane(data: bytes, at: int, height: int, width: int) -> tuple[NDArray[np.uint8], int]:
    """The (height, width) uint8 plane at data[at:], and the position after it. Raises `CorruptDataError`."""
    try:
        kind = data[at]
        if kind == _CONSTANT:
            return np.full((height, width), data[at + 1], np.uint8), at + 2
        if kind == _LEVELS:
            body, at = _inflated(data, at + 1, height * width)
            return np.cumsum(_rows(body, height, width), 1, np.uint8), at
        if kind == _LISTED:
            length, at = varint.decode(data, at + 1)
            if at + length > len(data):
                raise CorruptDataError("a mask's plane is cut off")
            return _rows(unpacked(data[at : at + length], height * width), height, width), at + length
        if kind != _LAYERS:
            bits, unset, set_, at = _unpacked_bits(data, at, height, width)
            return np.where(bits, np.uint8(set_), np.uint8(unset)), at
        count, at = data[at + 1], at + 2
        if not 2 <= count <= MOST_LAYERS:
            raise CorruptDataError(f"a mask's plane has {count} layers; it can have 2 to {MOST_LAYERS}")
        plane = np.zeros((height, width), np.uint8)
        for layer in range(count):
            bits, unset, set_, at = _unpacked_bits(data, at, height, width)
            if layer == 0:
                plane[:] = unset
            plane[bits] = set_
    except (IndexError, zlib.error, TruncatedError) as error:
        raise CorruptDataError(f"a mask's plane is damaged: {error}") from error
    return plane, at


def _unpacked_bits(data: bytes, at: int, height: int, width: int) -> tuple[NDArray[np.bool_], int, int, int]:
    """The (height, width) bits of a plane of two levels, the levels of bits not set and set, and the position after."""
    kind = data[at]
    if kind not in (_BILEVEL, _REGIONS):
        raise CorruptDataError(f"a mask's plane has the unknown kind {kind}")
    unset, set_, at = data[at + 1], data[at + 2], at + 3
    if kind == _BILEVEL:
        row = -(-width // 8)
        body, at = _inflated(data, at, height * row)
        changed = np.unpackbits(_rows(body, height, row), axis=1, count=width)
        return np.bitwise_xor.accumulate(changed, 0) > 0, unset, set_, at
    specks, at = _of_gaps(data, at, height * width)
    body, at = _inflated(data, at, _most_edge_bytes(height, width))
    bits = _of_edges(body, height, width)
    bits.reshape(-1)[specks] ^= True
    return bits, unset, set_, at


def _counted(stream: bytes) -> bytes:
    return varint.encode(len(stream)) + stream


def _inflated(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """The content of a stream of `_counted`, at most `most` bytes, and the position after it."""
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
    """Code (H, W) bits as runs of rows with equally many edges.

    A run is the number of edges, the number of rows, and the numbers of each edge. An edge is a column whose bit
    differs from the one before; before the first column, bits are False. In a run's first row, an edge's number is its
    distance from the edge to its left. In the other rows it is the signed distance from the same edge in the row above.
    """
    rows, columns = np.nonzero(np.diff(bits, axis=1, prepend=False))
    counts = np.bincount(rows, minlength=len(bits))
    first_of_run = np.diff(counts, prepend=-1) != 0
    index = np.arange(len(columns))
    is_leftmost = index == (np.cumsum(counts) - counts)[rows]
    distances = np.where(is_leftmost, columns, np.diff(columns, prepend=0))
    moves = columns - columns[np.maximum(0, index - counts[rows])]
    moves = np.where(moves >= 0, 2 * moves, -2 * moves - 1)
    numbers, found, at = np.where(first_of_run[rows], distances, moves), list[int](), 0
    for start, stop in itertools.pairwise([*np.flatnonzero(first_of_run).tolist(), len(bits)]):
        count, length = int(counts[start]), stop - start
        found += count, length, *numbers[at : at + count * length].reshape(length, count).T.reshape(-1).tolist()
        at += count * length
    return bytes(found) if max(found) < 128 else b"".join(map(varint.encode, found))


def _most_numbers(height: int, width: int) -> int:
    """The most numbers that `_edges` writes: two for each run, and `MAX_EDGES` edges per row on average."""
    return height * (2 + min(MAX_EDGES, width))


def _most_edge_bytes(height: int, width: int) -> int:
    """The most bytes that `_edges` writes: no number is larger than twice a side."""
    return _most_numbers(height, width) * len(varint.encode(2 * max(height, width)))


def _of_edges(body: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The inverse of `_edges`: (height, width) bits."""
    numbers = _numbers(body, _most_numbers(height, width), 2 * max(height, width) + 1)
    starts, counts, lengths = _runs(numbers, height, width)
    own = np.concatenate([starts, starts + 1])
    columns = _columns(np.delete(numbers, own), counts, lengths)
    if len(columns) and (columns.min() < 0 or columns.max() >= width):
        raise CorruptDataError("a mask's edges aren't in order")
    columns = columns.astype(np.int32)
    # Columns lie run by run, and in a run edge by edge. Each edge has one column for each row of its run: a line.
    per_line = np.repeat(lengths, counts).astype(np.int32)
    ends = np.cumsum(counts)
    leading = np.zeros(len(per_line), bool)
    leading[(ends - counts)[counts > 0]] = True
    # In a row, each edge must be right of the one before it, which is one line back.
    later = np.flatnonzero(~np.repeat(leading, per_line))
    if (columns[later] <= columns[later - np.repeat(per_line, per_line)[later]]).any():
        raise CorruptDataError("a mask's edges aren't in order")
    first_rows = np.repeat(np.cumsum(lengths) - lengths, counts)
    rows = np.repeat((first_rows - (np.cumsum(per_line) - per_line)).astype(np.int32), per_line)
    rows += np.arange(len(rows), dtype=np.int32)
    changes = np.zeros((height, width), bool)
    changes[rows, columns] = True
    result: NDArray[np.bool_] = np.logical_xor.accumulate(changes, 1)
    return result


def _columns(numbers: NDArray[np.int64], counts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The columns of all edges from their numbers. `counts` are the runs' edges, `lengths` their rows."""
    per_line = np.repeat(lengths, counts)
    starts = np.cumsum(per_line) - per_line
    first = _cumulated(numbers[starts], counts)  # in a run's first row, columns are sums of distances
    odd = numbers & 1
    moves = (numbers >> 1) ^ -odd  # -(n // 2) - 1 if n is odd
    moves[starts] = first
    return _cumulated(moves, per_line)


def _numbers(body: bytes, most: int, largest: int) -> NDArray[np.int64]:
    """The varints in `body`, at most `most`, clipped to `largest`."""
    data = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(ends) > most or (len(data) and (not len(ends) or ends[-1] != len(data) - 1)):
        raise CorruptDataError("a mask's plane has the wrong size")
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends + 1 - starts if len(ends) else np.zeros(0, np.int64)
    if (sizes > varint.MAX_BYTES).any() or ((data[ends] == 0) & (sizes > 1)).any():
        raise CorruptDataError("a mask's plane has a number that isn't written as it must be")
    values = np.zeros(len(ends), np.int64)
    for place in range(sizes.max(initial=0)):
        there = np.flatnonzero(sizes > place)
        values[there] |= (data[starts[there] + place] & 0x7F).astype(np.int64) << 7 * place
    return np.minimum(values, largest)


def _runs(numbers: NDArray[np.int64], height: int, width: int) -> tuple[NDArray[np.int64], ...]:
    """The runs in the numbers of `_edges`: where each starts, how many edges it has, and how many rows."""
    found, at, row = [], 0, 0
    while row < height:
        if at + 2 > len(numbers):
            raise CorruptDataError("a mask's plane is damaged: its edges end too early")
        count, length = int(numbers[at]), int(numbers[at + 1])
        if not 1 <= length <= height - row or count > width or count * length > len(numbers) - at - 2:
            raise CorruptDataError("a mask's edges don't fit its size")
        found.append((at, count, length))
        at += 2 + count * length
        row += length
    if at != len(numbers):
        raise CorruptDataError("bytes follow a mask's edges")
    starts, counts, lengths = np.array(found, np.int64).T
    return starts, counts, lengths


def _cumulated(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cumulative sums that restart at each part; `lengths` are the parts'."""
    sums = np.concatenate([[0], np.cumsum(values)])
    starts = np.cumsum(lengths) - lengths
    result: NDArray[np.int64] = sums[1:] - np.repeat(sums[starts], lengths)
    return result


# -- single pixels ----------------------------------------------------------------------------------------------------


def _specks(bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that differ from all four neighbours. Beyond the border, pixels are repeated."""
    padded = np.pad(bits, 1, "edge")
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    result: NDArray[np.bool_] = np.logical_and.reduce([bits != other for other in beside])
    return result


def _gaps(places: NDArray[np.int64]) -> bytes:
    """Code rising numbers: their count, then a Rice code of the gaps between them with its parameter k.

    A gap's quotient by 2^k is written in unary (ones and a zero), its remainder in k bits. For a geometric distribution
    this is within 0.03 bits of the optimum (R. F. Rice, "Some practical universal noiseless coding techniques", JPL
    79-22, 1979).
    """
    if not len(places):
        return varint.encode(0)
    skipped = np.diff(places, prepend=-1) - 1
    k = min(range(32), key=lambda k: int((skipped >> k).sum()) + k * len(skipped))
    quotients = skipped >> k
    ends = np.cumsum(quotients + 1 + k)
    bits = np.ones(int(ends[-1]), bool)
    bits[ends - 1 - k] = False
    for place in range(k):
        bits[ends - 1 - place] = skipped >> place & 1
    return varint.encode(len(places)) + bytes([k]) + _counted(np.packbits(bits).tobytes())


def _of_gaps(data: bytes, at: int, size: int) -> tuple[NDArray[np.int64], int]:
    """The inverse of `_gaps`: rising numbers below `size`, and the position after them."""
    count, at = varint.decode(data, at)
    if count == 0:
        return np.zeros(0, np.int64), at
    if count > size:
        raise CorruptDataError("a mask has more single pixels than pixels")
    k = data[at]
    length, at = varint.decode(data, at + 1)
    end = at + length
    if k > 31 or end > len(data):
        raise CorruptDataError("single pixels of a mask are missing")
    if length > size // 4 + 8:
        raise CorruptDataError("a mask's single pixels take more bytes than they can")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, length, at))
    # For each bit, the first zero at or after it: a quotient that begins at the bit ends there.
    zeros = np.where(bits == 0, np.arange(len(bits), dtype=np.int32), np.int32(len(bits)))
    zeros = np.minimum.accumulate(zeros[::-1])[::-1]
    starts = _chain(zeros, 1 + k, count)
    quotients = zeros[starts].astype(np.int64) - starts
    remainders = np.zeros(count, np.int64)
    for place in range(1, 1 + k):
        remainders = remainders << 1 | bits[zeros[starts] + place]
    if (quotients > size >> k).any():
        raise CorruptDataError("a mask's single pixel lies outside the tile")
    places = np.cumsum((quotients << k) + remainders + 1) - 1
    if places[-1] >= size:
        raise CorruptDataError("a mask's single pixel lies outside the tile")
    used = int(zeros[starts[-1]]) + 1 + k
    if length != -(-used // 8) or bits[used:].any():
        raise CorruptDataError("bytes follow a mask's single pixels")
    return places, end


def _chain(zeros: NDArray[np.int32], step: int, count: int) -> NDArray[np.int64]:
    """Where `count` codes begin. Each begins `step` bits after the zero that ends the quotient before it."""
    ends, end, start, starts = zeros.data, len(zeros), 0, array("q", bytes(8 * count))
    for index in range(count):
        starts[index] = start
        if start >= end or (start := ends[start] + step) > end:
            raise CorruptDataError("single pixels of a mask are missing")
    return np.frombuffer(starts, np.int64)
