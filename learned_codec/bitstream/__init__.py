"""The LCI container: bytes <-> dataclasses. Neither torch nor numpy; the payload of a tile is opaque here.

    header = Header(width=64, height=64, weights_id=weights_id, level=60)
    data = write(header, [payload])
    container = read(data)
    assert container.header == header and container.tile(0) == payload

`docs/format.md` describes every byte.
"""

from learned_codec.bitstream.chunks import MAGIC, VERSION, Chunk
from learned_codec.bitstream.container import Container, read, read_head, write
from learned_codec.bitstream.header import HAS_PARAMETERS, TILE_UNIT, DType, Header, Layout, TileBox

__all__ = [
    "HAS_PARAMETERS",
    "MAGIC",
    "TILE_UNIT",
    "VERSION",
    "Chunk",
    "Container",
    "DType",
    "Header",
    "Layout",
    "TileBox",
    "read",
    "read_head",
    "write",
]
