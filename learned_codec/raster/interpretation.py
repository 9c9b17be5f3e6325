"""How a GeoTIFF says what the colour of each band means. GDAL reads this, but doesn't write all that it reads.

It takes an undefined first band for grey, and other grey bands for undefined.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import ColorInterp

from . import directories
from .directories import Field

_TAG, _ASCII = 42112, 2  # of GDAL's metadata, which are XML
_ROLE = re.compile(rb'\s*<Item\b[^>]*\brole="colorinterp"[^>]*>[^<]*</Item>')
_START, _END = b"<GDALMetadata>", b"\n</GDALMetadata>\n"
_NAMES = {ColorInterp.Y: "YCbCr_Y", ColorInterp.Cb: "YCbCr_Cb", ColorInterp.Cr: "YCbCr_Cr",
          ColorInterp.other_ir: "OtherIR"}  # fmt: skip
"""GDAL's names where they aren't rasterio's but for upper case."""


def say(path: Path, colours: Sequence[Any]) -> None:
    """Write the colour interpretation of each band into a GeoTIFF. Raises `OSError`, and `ValueError` if it isn't one.

    All but the first directory stay as they are.
    """
    with path.open("rb") as stream:
        fields, _ = directories.read(stream, *directories.start(stream))
    before = fields[_TAG].data.rstrip(b"\0\n") if _TAG in fields else _START + _END.rstrip()
    kept = _ROLE.sub(b"", before).removesuffix(_END.strip()).rstrip()
    items = "".join(
        f'\n  <Item name="COLORINTERP" sample="{at}" role="colorinterp">{_NAMES.get(colour, colour.name)}</Item>'
        for at, colour in enumerate(colours)
    )
    directories.extend(path, {_TAG: Field(_ASCII, kept + items.encode() + _END + b"\0")})
