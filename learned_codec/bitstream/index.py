"""INDX: the lengths of all tiles and their fronts, in front of the tiles.

There are no gaps between tiles, so it gives offsets, too.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from learned_codec.errors import CorruptDataError, TruncatedError, UnsupportedVersionError

from . import varint
from .chunks import CRC_SIZE, TILE, Chunk, Front

LONG = 2**14
"""Payloads of at least this many bytes have fronts. Reading fewer takes hardly longer than asking for them."""

MAX_FRONTS = 2
"""The most fronts that a tile has."""

MAX_BYTES = varint.MAX_BYTES + MAX_FRONTS * (varint.MAX_BYTES + CRC_SIZE)
"""The most bytes that a tile takes in INDX."""


class Entry(NamedTuple):
    """A tile's entry in INDX: the length of its payload, and its fronts, from short to long."""

    length: int
    fronts: tuple[Front, ...] = ()

    @classmethod
    def of(cls, payload: bytes, ends: Iterable[int] = ()) -> "Entry":
        """The entry of a payload whose fronts end at `ends`, in ascending order. Short payloads have none."""
        fronts = tuple(Front.of(payload, end) for end in ends) if len(payload) >= LONG else ()
        return cls(len(payload), fronts)


def encode(entries: Sequence[Entry]) -> bytes:
    """The payload of INDX. All long tiles must have equally many fronts."""
    count = max((len(entry.fronts) for entry in entries), default=0)
    parts = [bytes([count])]
    for entry in entries:
        parts.append(varint.encode(entry.length))
        start = 0
        for end, checksum in entry.fronts:
            parts += [varint.encode(end - start), checksum]
            start = end
    return b"".join(parts)


def decode(payload: bytes, count: int) -> list[Entry]:
    """The entries of `count` tiles, from the payload of INDX.

    Raises `CorruptDataError` if it has another number of them or a front is longer than its tile, and
    `UnsupportedVersionError` for too many fronts.
    """
    entries: list[Entry] = []
    fronts, position = (payload[0] if payload else 0), 1
    if fronts > MAX_FRONTS:
        raise UnsupportedVersionError(f"INDX has {fronts} fronts of each tile, but {MAX_FRONTS} is the most")
    try:
        while len(entries) < count:
            length, position = varint.decode(payload, position)
            found, end = [], 0
            for _ in range(fronts if length >= LONG else 0):
                more, position = varint.decode(payload, position)
                end, checksum = end + more, payload[position : position + CRC_SIZE]
                position += CRC_SIZE
                found.append(Front(end, checksum))
            if end > length or position > len(payload):
                raise CorruptDataError(f"INDX has a front of {end} bytes of tile {len(entries)}, which has {length}")
            entries.append(Entry(length, tuple(found)))
    except TruncatedError as error:
        raise CorruptDataError(f"INDX lists {len(entries)} of {count} tiles") from error
    if position != len(payload):
        raise CorruptDataError(f"INDX lists more than {count} tiles")
    return entries


def locate_tiles(entries: Iterable[Entry], offset: int) -> list[Chunk]:
    """The TILE chunks with these entries; the first is at byte `offset`."""
    tiles = []
    for length, fronts in entries:
        tile = Chunk(TILE, offset, length, fronts)
        tiles.append(tile)
        offset = tile.end
    return tiles
