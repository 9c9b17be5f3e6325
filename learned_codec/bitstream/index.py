"""INDX: the lengths of all tiles, in front of the tiles. There are no gaps between them, so it gives offsets, too."""

from collections.abc import Iterable

from learned_codec.errors import CorruptDataError, TruncatedError

from . import varint
from .chunks import TILE, Chunk


def encode(lengths: Iterable[int]) -> bytes:
    """The payload of INDX: the length of each tile's payload."""
    return b"".join(map(varint.encode, lengths))


def decode(payload: bytes, count: int) -> list[int]:
    """The lengths of `count` tiles. Raises `CorruptDataError` if the payload has another number of them."""
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
    """The TILE chunks with these lengths; the first is at byte `offset`."""
    tiles = []
    for length in lengths:
        tile = Chunk(TILE, offset, length)
        tiles.append(tile)
        offset = tile.end
    return tiles
