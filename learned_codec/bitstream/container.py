"""A whole file: written at once, read at once, or read tile by tile from where it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learned_codec.errors import CorruptDataError, InvalidInputError, TruncatedError, UnsupportedVersionError
from learned_codec.limits import Limits

from . import chunks, index, varint
from . import metadata as meta
from .chunks import ANCILLARY, END, HEAD, INDX, MAGIC, MASK, META, TILE, VERSION, Chunk
from .header import Header
from .source import SeekableFile, Source, as_source

DEFAULT_LIMITS = Limits()

READ_TOGETHER = 2**20
"""Bytes of neighbouring tiles that are read in one request: each request to a remote file takes its time."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file whose head has been read and checked, and whose tiles haven't.

    Attributes:
        header: HEAD.
        metadata: META; empty where there is none.
        mask: MASK, its checksum already checked; None where there is none.
        tiles: where each TILE chunk lies, by index; `offset` and `size` are what to request from a remote file.
        source: where the bytes come from. Threads may read tiles of one container at a time.
        limits: what is accepted of the tiles, too.
    """

    header: Header
    metadata: dict[str, Any]
    mask: bytes | None
    tiles: Sequence[Chunk]
    source: Source
    limits: Limits = DEFAULT_LIMITS

    @property
    def size(self) -> int:
        """The bytes that the complete file has, by what its head says."""
        return self.tiles[-1].end + len(END)

    @property
    def overhead(self) -> int:
        """The bytes of the complete file that aren't a tile's payload."""
        return self.size - sum(tile.length for tile in self.tiles)

    def tile(self, i: int) -> memoryview:
        """The payload of tile `i`, read from the source now.

        Raises:
            CorruptDataError: it is damaged or missing; `tiles` is `(i,)`.
            IndexError: there is no such tile.
        """
        if not 0 <= i < len(self.tiles):
            raise IndexError(f"tile {i} of {len(self.tiles)}")
        return self.check_tile(i, self.source.read_at(self.tiles[i].offset, self.tiles[i].size))

    def fetch(self, wanted: Sequence[int]) -> int:
        """Ask for the first of some tiles, and those that follow it in the file up to 1 MiB, in one request.

        Returns how many these are, at least 1. `tile` then finds them there.
        """
        start, count = self.tiles[wanted[0]].offset, 1
        while count < len(wanted) and wanted[count] == wanted[count - 1] + 1:
            if self.tiles[wanted[count]].end - start > READ_TOGETHER:
                break
            count += 1
        self.source.fetch(start, self.tiles[wanted[count - 1]].end - start)
        return count

    def check_tile(self, i: int, data: bytes) -> memoryview:
        """The payload of tile `i`, from the bytes of its chunk, for who fetches them himself. Raises as `tile`."""
        try:
            return self.tiles[i].check(data)
        except CorruptDataError as error:
            raise CorruptDataError(f"tile {i} of {len(self.tiles)}: {error}", tiles=(i,)) from error

    def damaged_tiles(self) -> tuple[int, ...]:
        """The indices of all tiles that are damaged or missing. Reads everything."""
        return tuple(i for i in range(len(self.tiles)) if self._is_damaged(i))

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
        """What the head says, for people and programs."""
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
    metadata: Mapping[str, Any] | None = None,
    mask: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """A file.

    Args:
        header: what the tiles are tiles of.
        tiles: the payload of each, along rows: `header.tile_count` of them.
        metadata: what JSON can hold; nothing is written where it is empty.
        mask: the payload of MASK.
        limits: `max_metadata_bytes` holds here too, lest a file be written that nobody reads.

    Raises:
        InvalidInputError: the wrong number of tiles, or metadata that isn't JSON.
        LimitError: too much metadata.
    """
    if len(tiles) != header.tile_count:
        raise InvalidInputError(f"{len(tiles)} tiles for a grid of {header.tile_count}")
    parts = [MAGIC, chunks.pack(HEAD, header.to_bytes(), before=MAGIC)]
    if metadata:
        payload = meta.encode(metadata)
        limits.check("max_metadata_bytes", len(payload), "bytes of metadata")
        parts.append(chunks.pack(META, payload))
    if mask is not None:
        parts.append(chunks.pack(MASK, mask))
    if len(tiles) > 1:
        parts.append(chunks.pack(INDX, index.encode(map(len, tiles))))
    parts.extend(chunks.pack(TILE, tile) for tile in tiles)
    return b"".join([*parts, END])


def read(data: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS) -> Container:
    """A complete file in memory: `read_head`, and then `Container.check_end`.

    Tiles are checked when they are asked for, so that a damaged one costs that tile. To rescue what is left of a file
    that was cut short, use `read_head`, which doesn't look at the end.

    Raises:
        NotLCIError, TruncatedError, CorruptDataError, UnsupportedVersionError: the bytes are at fault.
        LimitError: the file declares more than `limits` allow.
    """
    container = read_head(data, limits=limits)
    container.check_end()
    return container


def read_head(data: bytes | bytearray | memoryview | SeekableFile, *, limits: Limits = DEFAULT_LIMITS) -> Container:
    """All that precedes the first tile, of bytes or of a seekable binary file.

    Of a file, nothing else is read but what reading 4 KiB at a time brings along; each `Container.tile` is then one
    seek and one read.

    Raises: as `read`, for what is wrong with the head; `LimitError` also if the bytes of tiles that are really there
        are too few for the declared image.
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
        if chunk.end <= source.size:  # else it isn't there
            if chunk.type == MASK:
                limits.check("max_header_bytes", chunk.length, "bytes of MASK")
            else:
                described += chunk.length
                limits.check("max_metadata_bytes", described, f"bytes of {chunk.name} and such before it")
        payload = chunks.load(source, chunk)
        offset = chunk.end
        if chunk.type == META and metadata is None:
            metadata = meta.decode(payload)
        elif chunk.type == MASK and mask is None:
            mask = payload
        elif chunk.type in (META, MASK):
            raise CorruptDataError(f"{chunk.name} at byte {chunk.offset} is there twice")
        elif not chunk.type & ANCILLARY:
            raise UnsupportedVersionError(f"{chunk.name} at byte {chunk.offset} needs a later version of this library")
    tiles = _locate_tiles(source, header, chunk)
    there = min(tiles[-1].end, source.size) - tiles[0].offset
    limits.check_ratio(header.pixels * header.bands, there)
    return Container(header, metadata or {}, mask, tiles, source, limits)


def _read_header(source: Source, limits: Limits) -> tuple[Header, int]:
    """The header, checked against `limits`, and the offset after it."""
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
    """Where the tiles are, by `chunk`: INDX, or the only tile itself."""
    if (chunk.type == INDX) != (header.tile_count > 1):
        raise CorruptDataError(f"{chunk.name} at byte {chunk.offset}, but the image has {header.tile_count} tiles")
    if chunk.type == TILE:
        return [chunk]
    if chunk.length > header.tile_count * varint.MAX_BYTES:
        raise CorruptDataError(f"INDX lists more than {header.tile_count} tiles")
    lengths = index.decode(chunks.load(source, chunk), header.tile_count)
    return index.locate_tiles(lengths, chunk.end)
