"""LZMA streams of the format: raw LZMA2, whose settings the decoder knows."""

from __future__ import annotations

import lzma

from learned_codec.errors import CorruptDataError

DICTIONARY = 2**22
"""Bytes of LZMA's dictionary, as in the format."""


def packed(data: bytes) -> bytes:
    """Compress bytes, such as numbers of classes."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_filters())


def unpacked(data: bytes, size: int) -> bytes:
    """The `size` bytes of a stream of `packed`, which takes little more memory than these.

    Raises `CorruptDataError`, also if there are more or fewer.
    """
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters())
        found = unpacker.decompress(data, size + 1)
    except lzma.LZMAError as error:
        raise CorruptDataError(f"a stream can't be unpacked: {error}") from error
    if len(found) != size or not unpacker.eof or unpacker.unused_data:
        raise CorruptDataError(f"a stream doesn't unpack to the {size} bytes that it should")
    return found


def _filters() -> list[dict[str, int]]:
    return [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": DICTIONARY, "lc": 0, "pb": 0, "nice_len": 273}]
