"""The LCI container: bytes <-> dataclasses. The latents in a tile's payload are opaque bytes here.

    header = Header(width=64, height=64, weights_id=weights_id, quality_step=60)
    data = write(header, [payload])
    container = read(data)
    assert container.header == header and container.tile(0) == payload

`docs/format.md` describes every byte.
"""

from .chunks import MAGIC, VERSION, Chunk
from .container import Container, read, read_head, write
from .header import HAS_PARAMETERS, TILE_UNIT, DType, Header, Layout, TileBox

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
