"""Structure-aware mutations: files are taken apart, changed where parsers look, and joined with right checksums."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from learned_codec.bitstream import Header, chunks, index, read_head, varint
from learned_codec.bitstream.header import DTYPES, LAYOUTS
from learned_codec.errors import LearnedCodecError

NUMBERS = (0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 1000, 2**14, 2**16, 2**20, 2**31 - 1, 2**31, 2**62)
"""Where parsers go wrong."""

FLOATS = (
    0.0,
    -0.0,
    1.0,
    0.5,
    -9999.0,
    255.0,
    65535.0,
    3.4e38,
    -3.5e38,
    1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
)


@dataclass
class FileParts:
    """A file taken apart. `head` is the payload of HEAD; `before` are the chunks behind it, without INDX and tiles."""

    head: bytes
    before: list[tuple[int, bytes]]
    tiles: list[bytes]
    ends: list[list[int]] = field(default_factory=list)  # of each tile's fronts
    entries: list[index.Entry] | None = None  # what INDX says instead of the truth
    index: bool | None = None  # whether there is one; None: if there are several tiles

    @classmethod
    def of(cls, data: bytes) -> FileParts:
        """Those of a good file."""
        container = read_head(data)
        before, at = [], len(chunks.MAGIC)
        first = container.tiles[0].offset
        while at < first:
            chunk = chunks.locate(container.source, at)
            before.append((chunk.type, chunks.load(container.source, chunk, before=b"" if before else chunks.MAGIC)))
            at = chunk.end
        head = before.pop(0)[1]
        tiles = [bytes(container.tile(i)) for i in range(len(container.tiles))]
        ends = [[front.length for front in tile.fronts] for tile in container.tiles]
        return cls(head, [chunk for chunk in before if chunk[0] != chunks.INDX], tiles, ends)

    def truth(self) -> list[index.Entry]:
        """What INDX should say; without fronts where tiles came or went."""
        ends = self.ends if len(self.ends) == len(self.tiles) else [[]] * len(self.tiles)
        return [index.Entry.of(*both) for both in zip(self.tiles, ends, strict=True)]

    def join(self) -> bytes:
        """The file, every checksum right."""
        parts = [chunks.MAGIC, chunks.pack(chunks.HEAD, self.head, before=chunks.MAGIC)]
        parts += [chunks.pack(kind, payload) for kind, payload in self.before]
        if len(self.tiles) > 1 if self.index is None else self.index:
            entries = self.truth() if self.entries is None else self.entries
            parts.append(chunks.pack(chunks.INDX, index.encode(entries)))
        parts += [chunks.pack(chunks.TILE, tile) for tile in self.tiles]
        return b"".join([*parts, chunks.END])


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> tuple[str, bytes]:
    """The kind of a mutation, and a good file changed by one to three of its kind."""
    name = rng.choice(list(MUTATIONS))
    parts = FileParts.of(data)
    for _ in range(rng.randint(1, 3)):
        MUTATIONS[name](parts, rng)
    result = parts.join()
    if rng.random() < 0.15:
        name, result = "bytes without checksums", _spoiled(result, rng, others)
    return name, result


# -- the parts ---------------------------------------------------------------------------------------------------------


def _header(parts: FileParts, rng: random.Random) -> None:
    """One field, in its range or a little outside; where the fields don't fit together, the bytes."""
    try:
        header = Header.from_bytes(parts.head)
        numbers = "width", "height", "bands", "quality_step", "lapping", "tile_code", "transform"
        field = rng.choice((*numbers, "dtype", "layout"))
        value: Any = rng.choice(NUMBERS)
        if field == "dtype":
            value = rng.choice(DTYPES)
        elif field == "layout":
            value = rng.choice(LAYOUTS)
        elif rng.random() < 0.5:
            value = max(0, getattr(header, field) + rng.randint(-17, 17))
        changes = {field: value}
        if rng.random() < 0.3:
            changes = {"parameters": _bytes(header.parameters, rng)}
        elif rng.random() < 0.2:
            changes = {"adaptation": _bytes(header.adaptation, rng)}
        parts.head = replace(header, **changes).to_bytes()
    except LearnedCodecError:
        parts.head = _bytes(parts.head, rng)


def _parameters(parts: FileParts, rng: random.Random) -> None:
    """One of the numbers of a value transform."""
    try:
        header = Header.from_bytes(parts.head)
    except LearnedCodecError:
        return
    found = bytearray(header.parameters)
    if len(found) >= 5:
        at = 1 + 4 * rng.randrange((len(found) - 1) // 4)
        with_float = struct.pack("<f", rng.choice([x for x in FLOATS if not 3.41e38 < abs(x) < float("inf")]))
        found[at : at + 4] = with_float
        parts.head = replace(header, parameters=bytes(found)).to_bytes()


def _chunks(parts: FileParts, rng: random.Random) -> None:
    """Chunks that are new, twice, gone or in another order; an INDX that shouldn't be there, or isn't."""
    what = rng.randrange(6)
    if what == 0:
        kind = rng.choice((chunks.MASK, chunks.META, chunks.TILE, chunks.INDX, 0xFF, 0x7A, 0, rng.randrange(256)))
        parts.before.insert(rng.randint(0, len(parts.before)), (kind, rng.randbytes(rng.choice((0, 1, 9, 40)))))
    elif what == 1 and parts.before:
        parts.before.append(rng.choice(parts.before))
    elif what == 2 and parts.before:
        parts.before.pop(rng.randrange(len(parts.before)))
    elif what == 3:
        rng.shuffle(parts.before)
    elif what == 4:
        parts.index = rng.random() < 0.5
    else:
        parts.before += [(0xFF, b"")] * rng.choice((2, 255, 257))


def _index(parts: FileParts, rng: random.Random) -> None:
    entries = parts.truth() if parts.entries is None else parts.entries
    what = rng.randrange(5)
    if what == 0 or not entries:
        entries.append(index.Entry(rng.choice(NUMBERS)))
    elif what == 1:
        entries.pop()
    else:
        at = rng.randrange(len(entries))
        length, fronts = entries[at]
        if what == 2:
            length = max(0, length + rng.randint(-2, 2))
        elif what == 3:
            length = rng.choice((*NUMBERS, varint.MAX))
        elif fronts and at < len(parts.tiles):  # others, with right checksums
            ends = sorted(rng.choice((0, 1, rng.randint(0, length), length)) for _ in fronts)
            fronts = index.Entry.of(parts.tiles[at], ends).fronts
        entries[at] = index.Entry(length, fronts)
    parts.entries = entries


def _metadata(parts: FileParts, rng: random.Random) -> None:
    found = {"nodata": 0, "crs": "EPSG:32633", "transform": [10.0, 0, 500000.0, 0, -10.0, 5e6]}
    for kind, payload in parts.before:
        if kind == chunks.META:
            with suppress(ValueError, RecursionError):  # changed before
                found |= json.loads(payload)
    key = rng.choice(
        (*found, "nodata", "bands", "tags", "gcps", "rpcs", "colormap", "icc", "exif", "xmp", "dpi", "alpha")
    )
    text = json.dumps({other: value for other, value in found.items() if other != key} | {key: 0})[:-2]
    payload = (text + rng.choice(_TEXTS)(rng) + "}").encode() if rng.random() < 0.8 else _bytes(text.encode(), rng)
    parts.before = [chunk for chunk in parts.before if chunk[0] != chunks.META] + [(chunks.META, payload)]


_TEXTS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: "9" * rng.choice((1, 20, 308, 309, 310, 4300, 4301, 50_000)),
    lambda rng: f"{rng.choice((1, -1))}e{rng.choice((1, 308, 309, -400, 10**9))}",
    lambda rng: "[" * (n := rng.choice((1, 63, 64, 900, 50_000))) + "]" * rng.choice((n, n - 1)),
    lambda rng: '{"a":' * (n := rng.choice((1, 60, 64, 900))) + "1" + "}" * n,
    lambda rng: rng.choice(('"\\ud800"', '"\\u001b[2J"', '"\\u0000"', '"\\ud83d\\ude00"', '"' + "x" * 100_000 + '"')),
    lambda rng: rng.choice(("null", "true", "NaN", "-Infinity", '"nan"', "[]", "{}", "-0", "1.5", '""', '"====" ')),
    lambda rng: json.dumps([rng.choice(FLOATS[:8]) for _ in range(rng.randrange(8))]),
    lambda rng: json.dumps(
        [{rng.choice(("description", "unit", "scale", "tags", "color")): rng.choice(("a", 1, None, {}))}]
    ),
    lambda rng: json.dumps({"points": [[0] * rng.randrange(9)], "crs": rng.choice((None, "EPSG:4326", "x", 1))}),
)


def _mask(parts: FileParts, rng: random.Random) -> None:
    """What masks mean."""
    for at, (kind, payload) in enumerate(parts.before):
        if kind == chunks.MASK:
            if rng.random() < 0.4:
                parts.before[at] = (kind, _bytes(payload, rng))
                return
            count = rng.choice((0, 1, 2, 5, 254, 255))
            fills = [rng.choice(FLOATS) if rng.random() < 0.5 else float(rng.randint(-3, 300)) for _ in range(count)]
            parts.before[at] = (kind, bytes([rng.choice((0, 1, 2, 2, 3)), count]) + struct.pack(f"<{count}d", *fills))
            return
    parts.before.append((chunks.MASK, bytes([rng.randrange(3), 0])))


def _sides(parts: FileParts, rng: random.Random) -> None:
    """The masks of a tile: planes of every kind, their streams packed anew."""
    at = rng.randrange(len(parts.tiles))
    meaning = next((payload for kind, payload in parts.before if kind == chunks.MASK), b"\0")
    try:
        header = Header.from_bytes(parts.head)
        number, start = varint.decode(parts.tiles[at])
        _, _, height, width = header.tile_box(at)
    except (LearnedCodecError, IndexError):
        return
    latents = parts.tiles[at][start + number // 2 :]
    kind = rng.choice((0, 1, 1, 2))
    count = (0, 1, min(header.bands, 20))[kind] + (meaning[:1] > b"\0")
    if rng.random() < 0.2:
        kind, count = rng.choice((kind, 3)), rng.choice((0, 1, 2, 4))
    side = bytes([kind]) + b"".join(_plane(min(height, 256), min(width, 256), rng) for _ in range(count))
    parts.tiles[at] = varint.encode(2 * len(side) + rng.randrange(2)) + side + (latents if rng.random() < 0.8 else b"")


def _plane(height: int, width: int, rng: random.Random) -> bytes:
    kind = rng.choice((0, 0, 1, 1, 2, 3, 3, 3, 3, 4) if rng.random() < 0.2 else (0, 1, 3))
    levels = bytes([rng.choice((0, 0, 0, 1, 255)), rng.choice((0, 1, 254, 255, 255, 255))])
    if kind == 0:
        return bytes([0]) + levels[:1]
    if kind == 2:
        return bytes([2]) + _stream(rng.randbytes(rng.choice((0, 5, height * width, height * width))), rng)
    if kind == 1:
        right = height * -(-width // 8)
        return bytes([1]) + levels + _stream(rng.randbytes(rng.choice((0, 8, right, right, 10**6))), rng)
    wild, specks = rng.random() < 0.4, b"\0"
    if wild and rng.random() < 0.5:
        code = rng.randbytes(rng.choice((0, 1, 8, 2000)))
        count, k = rng.choice((1, 3, *NUMBERS)), rng.choice((0, 1, 7, 31, 32, 255))
        specks = varint.encode(count) + bytes([k]) + varint.encode(len(code)) + code
    numbers, rows = [], rng.choice((height, height, height + 1, 2**20)) if wild else height
    while rows > 0 and len(numbers) < 5000:
        count = rng.choice((0, 0, 1, 2, 16, 2**30) if wild else (0, 1, 2, 3))
        length = rng.choice((1, rows, rng.randint(0, rows))) if wild else rng.randint(1, rows)
        edges = [
            rng.choice((0, 1, 2, 3, 60)) if wild else 0 if row else 5
            for _ in range(min(count, 100))
            for row in range(min(length, 300))
        ]
        numbers += [count, length, *edges]
        rows -= max(1, length)
    body = b"".join(map(varint.encode, numbers))
    spoiled = wild and rng.random() < 0.3
    return bytes([kind]) + levels + specks + _stream(_bytes(body, rng) if spoiled else body, rng)


def _stream(body: bytes, rng: random.Random) -> bytes:
    packed = zlib.compress(body)
    if rng.random() < 0.1:
        packed = _bytes(packed, rng)
    return varint.encode(max(0, len(packed) + (rng.choice((-1, 1, 2**40)) if rng.random() < 0.1 else 0))) + packed


def _tiles(parts: FileParts, rng: random.Random) -> None:
    """Payloads: changed, cut, empty, of another tile; the number of components; tiles gone or more."""
    at = rng.randrange(len(parts.tiles))
    what = rng.randrange(6)
    if what == 0:
        parts.tiles[at] = rng.choice(parts.tiles)
    elif what == 1:
        parts.tiles[at] = rng.choice((b"", b"\0", b"\1", b"\3", rng.randbytes(rng.choice((1, 4, 8, 200)))))
    elif what == 2 and len(parts.tiles) > 1:
        parts.tiles.pop(at)
    elif what == 3:
        parts.tiles.insert(at, parts.tiles[at])
    elif what == 4:
        parts.tiles[at] = varint.encode(rng.choice(NUMBERS)) + parts.tiles[at][1:]
    else:
        parts.tiles[at] = _bytes(parts.tiles[at], rng)


MUTATIONS: dict[str, Callable[[FileParts, random.Random], None]] = {
    "HEAD": _header,
    "value transform": _parameters,
    "chunks": _chunks,
    "INDX": _index,
    "META": _metadata,
    "MASK": _mask,
    "masks of tiles": _sides,
    "payloads": _tiles,
}


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, put in, taken out or cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, what = rng.randint(0, len(found)), rng.randrange(5)
        if what == 0 or not found:
            found[at:at] = rng.randbytes(rng.choice((1, 1, 9)))
        elif what == 1:
            del found[at : at + rng.choice((1, 1, 9))]
        elif what == 2:
            found[at - 1] ^= 1 << rng.randrange(8)
        elif what == 3:
            found[at - 1] = rng.choice((0, 1, 127, 128, 255))
        else:
            del found[at:]
    return bytes(found)


def _spoiled(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """A file changed without repairing its checksums, or spliced with another."""
    if rng.random() < 0.3:
        other = rng.choice(others)
        return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
    return _bytes(data, rng)
