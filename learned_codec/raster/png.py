"""Chunks of a PNG that Pillow doesn't copy: texts, the meaning of its colours, and a few others."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from learned_codec.errors import CorruptDataError

from . import metadata as meta

START = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = 33  # the signature and IHDR

# The meaning of colours, beside an ICC profile: code points, sRGB, gamma, primaries, mastering display, light levels.
_COLOUR = ("cICP", "sRGB", "gAMA", "cHRM", "mDCV", "cLLI")
_TEXTS = ("tEXt", "zTXt", "iTXt")
# Significant bits, background, and the time of the last change.
_OTHERS = ("sBIT", "bKGD", "tIME")
# The picture, and what Pillow copies. Apple's iDOT only helps to decode it; an animation of several frames is refused.
_PICTURE = ("IHDR", "PLTE", "tRNS", "IDAT", "IEND", "pHYs", "iCCP", "eXIf", "iDOT", "acTL", "fcTL", "fdAT")
# Texts that are kept under keys of their own, or that describe another file.
_NO_TEXTS = ("XML:com.adobe.xmp", "Raw profile type ")
_LARGEST = 2**22  # bytes of a chunk or a text that is kept

# The gamma and primaries of sRGB: they add no information.
_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_SRGB = {"gAMA": struct.pack(">I", 45455), "cHRM": struct.pack(">8I", *_PRIMARIES)}


def beside(stream: BinaryIO) -> dict[str, Any]:
    """The metadata `text` and `png` of a PNG, without reading its pixels. The stream keeps its position."""
    before = stream.tell()
    texts: list[list[str]] = []
    colour: dict[str, str] = {}
    for kind, payload in _chunks(stream):
        if payload is None:
            continue
        if kind in (*_COLOUR, *_OTHERS):
            colour[kind] = meta.binary(payload)
        elif (text := _text(kind, payload)) is not None and not text[0].startswith(_NO_TEXTS):
            texts.append(list(text))
    stream.seek(before)
    return ({"text": texts} if texts else {}) | ({"png": colour} if colour else {})


def remembered(picture: Any) -> dict[str, Any]:
    """The metadata `text` and `png` that Pillow remembers of a PNG that it has closed."""
    info, colour = picture.info, {}
    if "srgb" in info:
        colour["sRGB"] = bytes([info["srgb"]])
    if "gamma" in info:
        colour["gAMA"] = struct.pack(">I", round(info["gamma"] * 1e5))
    if "chromaticity" in info:
        colour["cHRM"] = struct.pack(">8I", *(round(x * 1e5) for x in info["chromaticity"]))
    found = ([key, str(text)] for key, text in picture.text.items() if not key.startswith(_NO_TEXTS))
    texts = [[key, text] for key, text in found if "\0" not in text and _is_keyword(key)]
    packed = {kind: meta.binary(payload) for kind, payload in colour.items()}
    return ({"text": texts} if texts else {}) | ({"png": packed} if packed else {})


def left_out(stream: BinaryIO) -> list[str]:
    """The kinds of chunks that aren't kept, also those of invalid texts. The stream keeps its position."""
    before = stream.tell()
    found: dict[str, None] = {}
    for kind, payload in _chunks(stream):
        if kind not in _PICTURE and (payload is None or (kind in _TEXTS and _text(kind, payload) is None)):
            found[kind] = None
    stream.seek(before)
    return [kind for kind in found if kind.isascii() and kind.isalpha()]


def _chunks(stream: BinaryIO) -> Iterator[tuple[str, bytes | None]]:
    """The chunks; None instead of what those contain that aren't kept, or are too large.

    In a damaged file, those before the damage.
    """
    stream.seek(len(START))
    while len(head := stream.read(8)) == 8:
        (length,) = struct.unpack_from(">I", head)
        kind = head[4:].decode("latin-1")
        if kind not in (*_COLOUR, *_OTHERS, *_TEXTS) or length > _LARGEST:
            yield kind, None
            stream.seek(length + 4, 1)
            continue
        payload, crc = stream.read(length), stream.read(4)
        if len(crc) < 4 or zlib.crc32(head[4:] + payload) != int.from_bytes(crc, "big"):
            return
        yield kind, payload


def _text(kind: str, payload: bytes) -> tuple[str, str] | None:
    """A keyword and its text; None if they are invalid or too large."""
    key, _, rest = payload.partition(b"\0")
    try:
        if kind == "tEXt":
            text = rest.decode("latin-1")
        elif kind == "zTXt":
            text = _inflated(rest[1:]).decode("latin-1")
        else:
            compressed = rest[:1] == b"\1"
            _, _, body = rest[2:].split(b"\0", 2)  # language, translated keyword
            text = (_inflated(body) if compressed else body).decode()
    except (ValueError, zlib.error):
        return None
    found = key.decode("latin-1"), text
    return found if "\0" not in text and _is_keyword(found[0]) else None


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, _LARGEST)
    if not inflater.eof:
        raise ValueError("truncated, or too long")
    return text


def texts(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """The keywords and texts in metadata. Raises `CorruptDataError`."""
    found = []
    for item in meta.sequence(metadata.get("text", []), "metadata.text"):
        key, text = (meta.text(part, "metadata.text") for part in meta.sequence(item, "metadata.text", 2))
        if not _is_keyword(key):
            raise CorruptDataError(f"metadata.text: {key!r} is not a keyword")
        found.append((key, text))
    return found


def _is_keyword(key: str) -> bool:
    return 1 <= len(key) <= 79 and all(c.isprintable() and ord(c) < 256 for c in key) and key == key.strip()


def colour(metadata: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The chunks in metadata for the meaning of colours. Raises `CorruptDataError`."""
    found = meta.mapping(metadata.get("png", {}), "metadata.png")
    return [(kind, meta.raw(found[kind], f"metadata.png.{kind}")) for kind in _COLOUR if kind in found]


def others(metadata: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The other chunks in metadata. Raises `CorruptDataError`."""
    found = meta.mapping(metadata.get("png", {}), "metadata.png")
    return [(kind, meta.raw(found[kind], f"metadata.png.{kind}")) for kind in _OTHERS if kind in found]


def _fits(kind: str, payload: bytes, data: bytes) -> bool:
    """Whether one of `others` has the length that the picture's depth and colour type ask for."""
    depth, colours = data[24], data[25]
    if kind == "tIME":
        return len(payload) == 7
    if kind == "bKGD":  # with a palette, it would have to follow that
        numbers = struct.unpack(f">{len(payload) // 2}H", payload[: len(payload) // 2 * 2])
        return len(payload) == {0: 2, 4: 2, 2: 6, 6: 6}.get(colours) and all(n < 1 << depth for n in numbers)
    return len(payload) == {0: 1, 4: 2, 2: 3, 3: 3, 6: 4}[colours] and all(0 < bits <= depth for bits in payload)


def is_plain(chunks: list[tuple[str, bytes]]) -> bool:
    """Whether the chunks mean sRGB, which is also the meaning of a picture without such chunks."""
    said = dict(chunks)
    return "cICP" not in said and ("sRGB" in said or all(_SRGB.get(kind) == payload for kind, payload in chunks))


def with_chunks(data: bytes, metadata: dict[str, Any]) -> bytes:
    """Add the texts and the meaning of colours in metadata to a PNG. Raises `CorruptDataError`."""
    added = list(colour(metadata))
    for kind, payload in others(metadata):
        if _fits(kind, payload, data):
            added.append((kind, payload))
        else:
            meta.lose(f"{kind} of a PNG doesn't fit these pixels, and isn't kept")
    for key, text in texts(metadata):
        keyword = key.encode("latin-1") + b"\0"
        try:
            added.append(("tEXt", keyword + text.encode("latin-1")))
        except UnicodeEncodeError:
            added.append(("iTXt", keyword + b"\0\0\0\0" + text.encode()))
    packed = b"".join(_packed(kind.encode(), payload) for kind, payload in added)
    return data[:_AFTER_HEADER] + packed + data[_AFTER_HEADER:]


def _packed(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
