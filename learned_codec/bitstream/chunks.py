"""Chunks: type (1 byte), length (varint), payload, CRC-32C of these (4 bytes, little-endian).

The first chunk, HEAD, follows the magic; its checksum covers the magic too, and its type is the version of the format.
The last chunk, END, is a type and a length of 0, without a checksum.
"""

from __future__ import annotations

from typing import NamedTuple

import google_crc32c

from learned_codec.errors import CorruptDataError, NotLCIError, TruncatedError

from . import varint
from .source import Source

# As in PNG: a byte that isn't ASCII, a name, and line endings that a transfer in text mode would change.
MAGIC = b"\x89LCI\r\n\x1a\n"
VERSION = 1

HEAD = VERSION
INDX = 0x49  # I
MASK = 0x4B  # K
TILE = 0x54  # T
META = 0xCD  # M, ancillary
END = b"E\x00"
ANCILLARY = 0x80  # if this bit of a type is set, readers that don't know the chunk may skip it

CRC_SIZE = 4


class Front(NamedTuple):
    """The first `length` bytes of a tile's payload, enough for a reduced image.

    `checksum` (4 bytes) covers the type and the length of the chunk and these bytes.
    """

    length: int
    checksum: bytes

    @classmethod
    def of(cls, payload: bytes, length: int) -> Front:
        """The front of a TILE chunk with this payload that has `length` bytes."""
        return cls(length, _crc(Chunk(TILE, 0, len(payload)).prefix + payload[:length]))


class Chunk(NamedTuple):
    """Where a chunk lies in the file, in bytes. Its payload has not been read.

    Attributes:
        type: 0 to 255.
        offset: the position of the type byte.
        length: the length of the payload.
        fronts: those that INDX lists, from short to long.
    """

    type: int
    offset: int
    length: int
    fronts: tuple[Front, ...] = ()

    @property
    def prefix(self) -> bytes:
        """The type and the length, as written."""
        return bytes([self.type]) + varint.encode(self.length)

    @property
    def size(self) -> int:
        """The bytes of the whole chunk: type, length, payload and checksum."""
        return len(self.prefix) + self.length + CRC_SIZE

    @property
    def end(self) -> int:
        """The offset of the byte after the chunk."""
        return self.offset + self.size

    @property
    def name(self) -> str:
        """The name in documents and messages."""
        known = {HEAD: "HEAD", INDX: "INDX", MASK: "MASK", TILE: "TILE", META: "META", END[0]: "END"}
        return known.get(self.type, f"chunk 0x{self.type:02x}")

    def extent(self, front: int | None) -> int:
        """How many bytes of the chunk hold front number `front`; all of them for None, or where there is no such front.

        Fronts are numbered from 0.
        """
        if front is None or front >= len(self.fronts):
            return self.size
        return len(self.prefix) + self.fronts[front].length

    def check(self, data: bytes, *, before: bytes = b"") -> memoryview:
        """The payload, from `data`: all bytes of this chunk as in the file.

        Raises `CorruptDataError` if the number of bytes, the type, the length, or the checksum of the chunk or of a
        front is wrong.
        """
        payload = self._checked(data[:-CRC_SIZE], self.length, data[-CRC_SIZE:], before)
        for number in range(len(self.fronts)):
            self.check_front(number, data[: self.extent(number)])
        return payload

    def check_front(self, front: int, data: bytes) -> memoryview:
        """The front with this number, from `data`: the first `extent` bytes of this chunk.

        Raises as `check`. The bytes behind it are not checked.
        """
        return self._checked(data, *self.fronts[front])

    def _checked(self, body: bytes, length: int, checksum: bytes, before: bytes = b"") -> memoryview:
        """The first `length` bytes of the payload, from `body`: the type, the length and these."""
        prefix = self.prefix
        if len(body) != len(prefix) + length or len(checksum) != CRC_SIZE or not body.startswith(prefix):
            raise CorruptDataError(f"{self.name} at byte {self.offset} is missing or cut short")
        if _crc(body, before=before) != checksum:
            raise CorruptDataError(f"{self.name} at byte {self.offset} is damaged: its checksum doesn't match")
        return memoryview(body)[len(prefix) :]


def pack(type_: int, payload: bytes, *, before: bytes = b"") -> bytes:
    """A chunk as bytes. `before`: bytes in front of it that its checksum covers as well."""
    body = Chunk(type_, 0, len(payload)).prefix + payload
    return body + _crc(body, before=before)


def locate(source: Source, offset: int) -> Chunk:
    """The chunk at `offset`. Raises `TruncatedError`, or `CorruptDataError` for an invalid length."""
    start = source.read_at(offset, 1 + varint.MAX_BYTES, ahead=True)
    if not start:
        raise TruncatedError(f"the file ends at byte {source.size}, where another chunk should begin")
    length, _ = varint.decode(start, 1)
    return Chunk(start[0], offset, length)


def load(source: Source, chunk: Chunk, *, before: bytes = b"") -> bytes:
    """Read the payload of `chunk`. Raises `TruncatedError` (before reading) or `CorruptDataError`."""
    if chunk.end > source.size:
        raise TruncatedError(f"{chunk.name} should end at byte {chunk.end}, but the file ends at {source.size}")
    return bytes(chunk.check(source.read_at(chunk.offset, chunk.size, ahead=True), before=before))


def check_magic(source: Source) -> None:
    """Raise `NotLCIError`, `TruncatedError` or `CorruptDataError` unless the source begins like an LCI file."""
    start = source.read_at(0, len(MAGIC), ahead=True)
    if start == MAGIC:
        return
    if MAGIC.startswith(start):
        raise TruncatedError(f"only {len(start)} bytes: too few for an LCI file")
    if start.startswith(MAGIC[:4]):
        raise CorruptDataError("the magic is damaged: was the file transferred as text?")
    raise NotLCIError(f"not an LCI file: it begins with {start.hex(' ')}")


def _crc(body: bytes, *, before: bytes = b"") -> bytes:
    crc: int = google_crc32c.extend(google_crc32c.value(before), body)
    return crc.to_bytes(CRC_SIZE, "little")
