"""INDX: how long each tile is, in front of them all. They lie without gaps, so that gives every offset too."""

from collections.abc import Iterable

from learned_codec.errors import CorruptDataError, TruncatedError

from . import varint
from .chunks import TILE, Chunk


def encode(lengths: Iterable[int]) -> bytes:
    """The payload of INDX: the length of each tile's payload."""
    return b"".join(map(varint.encode, lengths))


def decode(payload: bytes, count: int) -> list[int]:
    """The lengths of `count` tiles. Raises `CorruptDataError` if the payload isn't exactly that."""
    lengths: list[int] = []
    position = 0
    try:
        while len(lengths) < count:
            length, position = varint.decode(payload, position)
            lengths.append(length)
    except TruncatedError as error:
        raise CorruptDataError(f"INDX lists {len(lengths)} of {count} tiles") from error
    if position != len(payload):
        raise CorruptDataError(f"INDX lists more than {count} tiles")
    return lengths


def locate_tiles(lengths: Iterable[int], offset: int) -> list[Chunk]:
    """The TILE chunks of these lengths, the first of them at byte `offset`."""
    tiles = []
    for length in lengths:
        tile = Chunk(TILE, offset, length)
        tiles.append(tile)
        offset = tile.end
    return tiles
