"""A whole file: written as bytes, and read from bytes or tile by tile from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from learned_codec.errors import CorruptDataError, InvalidInputError, TruncatedError, UnsupportedVersionError
from learned_codec.limits import Limits

from . import chunks, index
from . import metadata as meta
from .chunks import ANCILLARY, END, HEAD, INDX, MAGIC, MASK, META, TILE, VERSION, Chunk
from .header import Header
from .source import SeekableFile, Source, as_source

DEFAULT_LIMITS = Limits()

READ_TOGETHER = 2**20
"""The most bytes of tiles that are read at a time. Each request to a remote file takes time."""

GAP = 2**16
"""Tiles, or fronts, with at most this many bytes between them are read in one request, and these bytes with them.

At 10 Mbit/s, they take 50 ms, about as long as a request takes.
"""


COMPARED = 16
"""The most tiles whose checksums are compared to tell one file from another."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file whose head has been read and checked, but not its tiles. Threads may share it.

    Attributes:
        header: HEAD.
        metadata: META; empty if there is none.
        mask: the payload of MASK, its checksum checked; None if there is none.
        tiles: the place of each TILE chunk, by index. `offset` and `size` are what to request from a remote file.
        source: where the bytes come from.
        limits: what the file is allowed, its tiles included.
    """

    header: Header
    metadata: dict[str, Any]
    mask: bytes | None
    tiles: Sequence[Chunk]
    source: Source
    limits: Limits = DEFAULT_LIMITS

    @property
    def size(self) -> int:
        """The size in bytes that the complete file must have, from its head."""
        return self.tiles[-1].end + len(END)

    @property
    def overhead(self) -> int:
        """The bytes of the complete file outside the tiles' payloads."""
        return self.size - sum(tile.length for tile in self.tiles)

    def held(self, i: int) -> int:
        """How many bytes of tile `i`'s chunk are really in the file."""
        return max(0, min(self.tiles[i].end, self.source.size) - self.tiles[i].offset)

    def tile(self, i: int, front: int | None = None) -> memoryview:
        """Read the payload of tile `i`.

        With `front`, 0 or 1, only that front of it is read and checked. A tile without it is read as a whole.

        Raises:
            CorruptDataError: what is read is damaged or missing; the error's `tiles` is `(i,)`.
            IndexError: there is no such tile.
        """
        if not 0 <= i < len(self.tiles):
            raise IndexError(f"tile {i} of {len(self.tiles)}")
        return self.check_tile(i, self.source.read_at(self.tiles[i].offset, self.tiles[i].extent(front)), front)

    def identity(self) -> bytes:
        """What tells another file in this one's place: a hash of the head and of the checksums of up to 16 tiles.

        These tiles lie evenly spread. A remote file gets a request for each, all at the same time.
        """
        count = min(len(self.tiles), COMPARED)
        some = sorted({i * (len(self.tiles) - 1) // max(count - 1, 1) for i in range(count)})
        parts = [(self.tiles[i].end - chunks.CRC_SIZE, chunks.CRC_SIZE) for i in some]
        parts.insert(0, (0, self.tiles[0].offset))
        self.source.fetch(parts)
        return sha256(b"".join(self.source.read_at(*part) for part in parts)).digest()

    def fetch(self, wanted: Sequence[int], front: int | None = None) -> int:
        """Read the first of some tiles, or of their fronts, up to 1 MiB; what lies closer than `GAP` in one request.

        `wanted` are in ascending order. Returns how many were read, at least 1. `tile` then needs no further request
        for them.
        """
        spans: list[tuple[int, int]] = []  # of bytes: the first one, and the one after the last
        count = total = 0
        for tile in (self.tiles[i] for i in wanted):
            start, end = tile.offset, tile.offset + tile.extent(front)
            near = bool(spans) and start - spans[-1][1] <= GAP
            total += end - (spans[-1][1] if near else start)
            if count and total > READ_TOGETHER:
                break
            spans.append((spans.pop()[0] if near else start, end))
            count += 1
        self.source.fetch([(start, end - start) for start, end in spans])
        return count

    def check_tile(self, i: int, data: bytes, front: int | None = None) -> memoryview:
        """The payload of tile `i`, or a front of it, from the first bytes of its chunk, as many as `Chunk.extent` says.

        For callers that read these themselves. Raises as `tile`.
        """
        tile = self.tiles[i]
        try:
            return tile.check(data) if front is None or front >= len(tile.fronts) else tile.check_front(front, data)
        except CorruptDataError as error:
            raise CorruptDataError(f"tile {i} of {len(self.tiles)}: {error}", tiles=(i,)) from error

    def damaged_tiles(self) -> tuple[int, ...]:
        """The indices of all tiles that are damaged or missing. Reads the whole file."""
        found, every, fetched = [], range(len(self.tiles)), 0
        for i in every:
            if i == fetched:
                fetched += self.fetch(every[i:])
            if self._is_damaged(i):
                found.append(i)
        return tuple(found)

    def _is_damaged(self, i: int) -> bool:
        try:
            self.tile(i)
        except CorruptDataError:
            return True
        return False

    def check_end(self) -> None:
        """Raise `TruncatedError` or `CorruptDataError` unless the file ends right after the last tile and END."""
        if self.source.size < self.size:
            raise TruncatedError(f"the file has {self.source.size:,} of {self.size:,} bytes")
        if self.source.read_at(self.size - len(END), len(END)) != END:
            raise CorruptDataError("END doesn't follow the last tile")
        if self.source.size > self.size:
            raise CorruptDataError(f"{self.source.size - self.size:,} bytes follow END")

    def to_json(self) -> dict[str, Any]:
        """The content of the head as JSON values."""
        return {
            "version": VERSION,
            "bytes": self.size,
            "header": self.header.to_json(),
            "tile_grid": list(self.header.tile_grid),
            "tile_bytes": [tile.length for tile in self.tiles],
            "mask_bytes": None if self.mask is None else len(self.mask),
            "metadata": self.metadata,
        }


def write(
    header: Header,
    tiles: Sequence[bytes],
    *,
    ends: Sequence[Sequence[int]] = (),
    metadata: Mapping[str, Any] | None = None,
    mask: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Write a file, as bytes.

    Args:
        header: the header of the image.
        tiles: the tiles' payloads, row by row: `header.tile_count` of them.
        ends: where the fronts of each tile's payload end, in ascending order, up to two; by default there are none.
            INDX lists those of long tiles.
        metadata: JSON values. If it is empty, META is left out.
        mask: the payload of MASK; None to leave it out.
        limits: only `max_metadata_bytes` counts here: readers would refuse more.

    Raises:
        InvalidInputError: the wrong number of tiles, or metadata that isn't JSON.
        LimitError: too much metadata.
    """
    if len(tiles) != header.tile_count:
        raise InvalidInputError(f"an image of this size has {header.tile_count} tiles, not {len(tiles)}")
    parts = [MAGIC, chunks.pack(HEAD, header.to_bytes(), before=MAGIC)]
    if metadata:
        payload = meta.encode(metadata)
        limits.check("max_metadata_bytes", len(payload), "bytes of metadata")
        parts.append(chunks.pack(META, payload))
    if mask is not None:
        parts.append(chunks.pack(MASK, mask))
    if len(tiles) > 1:
        entries = [index.Entry.of(*both) for both in zip(tiles, ends or [()] * len(tiles), strict=True)]
        parts.append(chunks.pack(INDX, index.encode(entries)))
    parts.extend(chunks.pack(TILE, tile) for tile in tiles)
    return b"".join([*parts, END])


def read(data: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Read a complete file from memory: `read_head`, then `Container.check_end`.

    A tile is checked when it is read, so a damaged one costs only that tile. To rescue what is left of a file that was
    cut short, use `read_head`, which doesn't need the end.

    Raises:
        NotLCIError, TruncatedError, CorruptDataError, UnsupportedVersionError: the bytes can't be read.
        LimitError: the file declares more than `limits` allow.
    """
    container = read_head(data, limits=limits)
    container.check_end()
    return container


def read_head(data: bytes | bytearray | memoryview | SeekableFile, *, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Read everything before the first tile, from bytes or a seekable binary file.

    A file is read in pieces of 16 KiB, and no further than needed. After that, `Container.tile` takes one seek and one
    read.

    Raises: the errors of `read`, if the head is at fault; also `LimitError` if the file is too short for the declared
        image.
    """
    source = as_source(data)
    header, offset = _read_header(source, limits)
    metadata: dict[str, Any] | None = None
    mask: bytes | None = None
    count = described = 0
    while (chunk := chunks.locate(source, offset)).type not in (INDX, TILE):
        if chunk.type == END[0]:
            raise CorruptDataError("the file ends before its first tile")
        count += 1
        limits.check("max_chunks", count, "chunks before the first tile")
        if chunk.end <= source.size:  # else it is cut short, and loading it raises
            if chunk.type == MASK:
                limits.check("max_header_bytes", chunk.length, "bytes of MASK")
            else:
                described += chunk.length
                limits.check("max_metadata_bytes", described, f"bytes of metadata up to {chunk.name}")
        payload = chunks.load(source, chunk)
        offset = chunk.end
        if chunk.type == META and metadata is None:
            metadata = meta.decode(payload)
        elif chunk.type == MASK and mask is None:
            mask = payload
        elif chunk.type in (META, MASK):
            raise CorruptDataError(f"{chunk.name} at byte {chunk.offset} is the second one")
        elif not chunk.type & ANCILLARY:
            raise UnsupportedVersionError(f"{chunk.name} at byte {chunk.offset} needs a later version of this library")
    tiles = _locate_tiles(source, header, chunk)
    there = min(tiles[-1].end, source.size) - tiles[0].offset
    limits.check_ratio(header.pixels * header.bands, there)
    return Container(header, metadata or {}, mask, tiles, source, limits)


def _read_header(source: Source, limits: Limits) -> tuple[Header, int]:
    """Read the header and check it against `limits`. Returns it and the offset after it."""
    chunks.check_magic(source)
    chunk = chunks.locate(source, len(MAGIC))
    if chunk.type != VERSION:
        raise UnsupportedVersionError(f"LCI version {chunk.type}; this library reads version {VERSION}")
    if chunk.end <= source.size:
        limits.check("max_header_bytes", chunk.length, "bytes of HEAD")
    header = Header.from_bytes(chunks.load(source, chunk, before=MAGIC))
    header.validate(limits)
    return header, chunk.end


def _locate_tiles(source: Source, header: Header, chunk: Chunk) -> list[Chunk]:
    """The TILE chunks, from `chunk`: INDX, or the only tile."""
    if (chunk.type == INDX) != (header.tile_count > 1):
        raise CorruptDataError(f"{chunk.name} at byte {chunk.offset}, but the image has {header.tile_count} tiles")
    if chunk.type == TILE:
        return [chunk]
    if chunk.length > 1 + header.tile_count * index.MAX_BYTES:
        raise CorruptDataError(f"INDX lists more than {header.tile_count} tiles")
    entries = index.decode(chunks.load(source, chunk), header.tile_count)
    return index.locate_tiles(entries, chunk.end)
