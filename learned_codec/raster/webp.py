"""Reads what lies beside the pixels of a WebP that is too large for Pillow. GDAL doesn't read all of it."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from . import metadata as meta
from .exif import EXIF_START

_KEYS = {b"ICCP": "icc", b"EXIF": "exif", b"XMP ": "xmp"}


def beside(stream: BinaryIO) -> dict[str, Any]:
    """The metadata of a WebP; nothing of any other file. Chunks that reach beyond the file are left out."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    found: dict[str, Any] = {}
    if head[:4] + head[8:] != b"RIFFWEBP":
        return found
    while len(head := stream.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        after = stream.tell() + size + size % 2
        if (key := _KEYS.get(head[:4])) and size <= end - stream.tell():
            data = stream.read(size)
            found[key] = meta.binary(data.removeprefix(EXIF_START) if key == "exif" else data)
        stream.seek(after)
    return found
