"""Bytes into fields, as docs/format.md has them. Slow and simple, and nothing of learned_codec is used."""

from __future__ import annotations

import json
import lzma
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = bytes.fromhex("89 4C 43 49 0D 0A 1A 0A")
DTYPES = ("uint8", "uint16", "int16", "float32")


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Bytes:
    """A cursor."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        assert len(part) == count, "too short"
        self.at += count
        return part

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = place = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << 7 * place
            place += 1
            if byte < 128:
                assert byte or place == 1, "not the shortest"
                return value
            assert place < 9, "too long"

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype)

    @property
    def left(self) -> int:
        return len(self.data) - self.at


@dataclass
class File:
    """What HEAD, META and MASK say, and the payloads of the tiles."""

    dtype: str = ""
    shape: int = 0
    width: int = 0
    height: int = 0
    bands: int = 0
    weights: bytes = b""
    quality_step: int = 0
    lapping: int = 0
    tile: int = 0
    transform: int = 0
    parameters: bytes = b""
    adaptation: bytes = b""
    metadata: dict[str, Any] = field(default_factory=dict)
    mask: bytes | None = None
    joins: dict[int, list[NDArray[np.uint8]]] = field(default_factory=dict)
    tiles: list[bytes] = field(default_factory=list)
    fronts: list[list[int]] = field(default_factory=list)

    def box(self, index: int) -> tuple[int, int]:
        """Height and width of a tile."""
        side = 64 * self.tile
        if not side:
            return self.height, self.width
        row, column = divmod(index, -(-self.width // side))
        return min(side, self.height - row * side), min(side, self.width - column * side)


def parse(data: bytes) -> File:
    """A good file."""
    file, source = File(), Bytes(data)
    assert source.take(8) == MAGIC
    kind, head = _chunk(source, MAGIC)
    assert kind == 1
    _head(file, Bytes(head))
    listed = None
    while True:
        start = source.at
        kind, payload = _chunk(source, b"")
        if kind == ord("E"):
            break
        if kind == ord("I"):
            listed = Bytes(payload)
            count = listed.u8()
            assert count <= 2
        elif kind == ord("K"):
            file.mask = payload
        elif kind == ord("M") + 0x80:
            file.metadata = json.loads(payload)
        elif kind == ord("T"):
            ends = []
            if listed is not None:
                assert listed.varint() == len(payload)
                prefix = source.data[start : source.at - len(payload) - 4]
                for _ in range(count if len(payload) >= 2**14 else 0):
                    ends.append(sum(ends[-1:]) + listed.varint())
                    assert int.from_bytes(listed.take(4), "little") == crc32c(prefix + payload[: ends[-1]]), "front"
            file.fronts.append(ends)
            file.tiles.append(payload)
        else:
            assert kind & 0x80
    assert source.left == 0
    assert listed is None or listed.left == 0
    return file


def _chunk(source: Bytes, before: bytes) -> tuple[int, bytes]:
    start = source.at
    kind, length = source.u8(), source.varint()
    payload = source.take(length)
    if kind != ord("E"):
        body = before + source.data[start : source.at]
        assert int.from_bytes(source.take(4), "little") == crc32c(body), "checksum"
    return kind, payload


def _head(file: File, head: Bytes) -> None:
    form = head.u8()
    file.dtype, file.shape = DTYPES[form & 7], form >> 3 & 3
    file.width, file.height = head.varint() + 1, head.varint() + 1
    file.bands = head.varint() + 1 if file.shape >= 2 else 3 if file.shape == 1 else 1
    file.weights = head.take(8)
    file.quality_step, file.lapping = divmod(head.varint(), 4)
    file.tile = head.u8() if form & 32 else 0
    file.transform = head.u8() if form & 64 else 0
    file.parameters = head.take(head.varint()) if file.transform & 128 else b""
    file.adaptation = head.take(head.varint()) if form & 128 else b""
    assert head.left == 0


def components(file: File) -> int:
    """K of transform 130, 0 of a constant image; otherwise 1."""
    if file.transform < 128:
        return 1
    data = Bytes(file.parameters)
    kind = data.u8() if file.transform == 130 else 0
    if file.transform == 132:
        rotation = data.array("i1", 3).astype(int)
        assert file.bands == 3
        assert (rotation**2).sum() <= 127**2
        if not data.left:
            return 1
    low, high = (data.array(file.dtype, file.bands) for _ in range(2))
    constant = bool((low == high).all())
    if file.transform != 130 or constant:
        assert data.left == 0
        return 0 if constant else 1
    data.array("<f4", file.bands if kind & 4 else 1)
    data.array("<f4", file.bands + (kind & 3 in (1, 2)))
    number = data.varint() if file.bands > 1 else 2
    data.take((number // 2) * file.bands * (1 + number % 2) if file.bands > 1 else 0)
    assert data.left == 0
    return number // 2


def side(file: File, index: int) -> tuple[NDArray[np.bool_] | None, bytes, bool]:
    """Which pixels of a tile are valid in some band (None: all), what is coded, and whether anything is."""
    payload = file.tiles[index]
    if file.mask is None:
        return None, payload, True
    source = Bytes(payload)
    number = source.varint()
    data = Bytes(source.take(number // 2))
    height, width = file.box(index)
    valid = np.ones((1, height, width), bool)
    kind = data.u8() if data.left else 0
    classes = [plane(data, height, width) for _ in range((0, 1, file.bands, file.bands)[kind & 3])]
    if classes:
        found = np.stack(classes)
        valid = (np.bitwise_xor.accumulate(found) if kind & 3 == 3 else found) == 255
    if file.mask[0] & 0x3F:
        shown = plane(data, height, width) > 0
        if file.mask[0] & 0x3F == 3:  # 16 bits: where the high byte is 0, the second plane is the low byte
            shown = shown | (plane(data, height, width) > 0)
        valid = valid & shown
    file.joins[index] = [joins(plane(data, height, width)) for _ in grids(file)] if kind & 4 else []
    assert data.left == 0
    return valid.any(0), payload[source.at :], number % 2 == 1


def grids(file: File) -> list[list[int]]:
    """The bands of each grid that MASK declares."""
    assert file.mask is not None
    data = Bytes(file.mask)
    flags, fills = data.u8(), data.u8()
    data.take(8 * (fills + (data.u8() if flags & 0x80 else 0)))
    found = [[data.u8() for _ in range(data.u8() + 1)] for _ in range(data.u8() if flags & 0x40 else 0)]
    assert data.left == 0
    return found


def joins(differences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bit 0: joined with the pixel on the left, bit 1: with the one above."""
    left, above = (differences & 1).cumsum(0) % 2, (differences >> 1).cumsum(1) % 2
    left[:, ::64] = 0
    above[::64] = 0
    found: NDArray[np.uint8] = (left + 2 * above).astype(np.uint8)
    return found


def plateaus(joined: NDArray[np.uint8]) -> list[list[tuple[int, int]]]:
    """The pixels (row, column) of each plateau."""
    height, width = joined.shape
    number = np.full((height, width), -1)
    found: list[list[tuple[int, int]]] = []
    for row in range(height):
        column = 0
        while column < width:
            end = column + 1
            while end < width and joined[row, end] & 1:
                end += 1
            above = [number[row - 1, at] for at in range(column, end) if joined[row, at] & 2]
            if not above:
                found.append([])
            which = above[0] if above else len(found) - 1
            found[which] += [(row, at) for at in range(column, end)]
            number[row, column:end] = which
            column = end
    return found


def _stream(data: Bytes) -> bytes:
    return zlib.decompress(data.take(data.varint()))


def plane(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
    """A plane of a tile's side."""
    kind = data.u8()
    if kind == 0:
        return np.full((height, width), data.u8(), np.uint8)
    if kind == 2:
        left = np.frombuffer(_stream(data), np.uint8).reshape(height, width)
        return left.cumsum(1, np.uint8)
    if kind == 5:
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**22}]
        stream = lzma.decompress(data.take(data.varint()), lzma.FORMAT_RAW, filters=chain)
        return np.frombuffer(stream, np.uint8).reshape(height, width)
    if kind == 4:
        count = data.u8()
        assert 2 <= count <= 4
        result = None
        for _ in range(count):
            b_level = data.data[data.at + 2]
            layer = plane(data, height, width)
            result = layer if result is None else np.where(layer == b_level, layer, result)
        return result
    a, b = data.u8(), data.u8()
    if kind == 1:
        rows = np.frombuffer(_stream(data), np.uint8).reshape(height, -1)
        differs = np.unpackbits(rows, axis=1, count=width)
        return np.where(differs.cumsum(0) % 2, b, a).astype(np.uint8)
    assert kind == 3
    specks = _specks(data)
    bits = np.zeros((height, width), bool)
    numbers = Bytes(_stream(data))
    row = 0
    while row < height:
        count, rows = numbers.varint(), numbers.varint()
        column = np.zeros(rows, int)
        for edge in range(count):
            first = numbers.varint() + (column[0] if edge else 0)
            found = [first]
            for _ in range(rows - 1):
                move = numbers.varint()
                found.append(found[-1] + (move // 2 if move % 2 == 0 else -(move + 1) // 2))
            column = np.array(found)
            for place, at in enumerate(found):
                bits[row + place, at:] ^= True
        row += rows
    assert numbers.left == 0
    bits.reshape(-1)[specks] ^= True
    return np.where(bits, b, a).astype(np.uint8)


def _specks(data: Bytes) -> list[int]:
    count = data.varint()
    if not count:
        return []
    k, code = data.u8(), data.take(data.varint())
    bits = "".join(f"{byte:08b}" for byte in code)
    places, place, at = [], -1, 0
    for _ in range(count):
        q = bits.index("0", at) - at
        at += q + 1
        place += 1 + (q << k) + int("0" + bits[at : at + k], 2)
        at += k
        places.append(place)
    return places
