"""Write the container fixtures: run once for each version of the format; what it wrote is never changed after that.

python tests/golden/make_container.py

`container/NAME.lci` are the files. `container/manifest.json` says of each bad one which error it is, and when: "read"
(the file as a whole) or "tile" (only when a tile is asked for); and of each good one what it holds.
"""

import json
from dataclasses import replace
from pathlib import Path

from learned_codec import bitstream
from learned_codec.bitstream import chunks, index, varint

FOLDER = Path(__file__).parent / "container"
WEIGHTS_ID = bytes.fromhex("0123456789abcdef")
MINIMAL = bitstream.Header(width=64, height=48, weights_id=WEIGHTS_ID, quality_step=60)
FULL = bitstream.Header(
    width=150,
    height=100,
    bands=5,
    dtype="uint16",
    layout="CHW",
    weights_id=WEIGHTS_ID,
    quality_step=1000,
    lapping=2,
    tile_code=1,
    transform=0x85,
    parameters=b"parameters",
)
FULL_TILES = [b"tile %d" % i * i for i in range(6)]
LONG = replace(MINIMAL, width=192, tile_code=1)
LONG_TILES = [b"short", b"\1" * index.LONG, b"\2" * (index.LONG - 1)]
LONG_ENDS = [[2, 3], [1000, 5000], [1000, 5000]]
METADATA = {"crs": "EPSG:32633", "nodata": None, "scales": [0.5, 1e-3], "bands": ["rot", "grün"]}


def head(payload: bytes) -> bytes:
    """A magic and a HEAD of any payload."""
    return chunks.MAGIC + chunks.pack(chunks.HEAD, payload, before=chunks.MAGIC)


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    """`data` with one bit changed."""
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def good() -> dict[str, tuple[bytes, dict[str, object]]]:
    """Name -> bytes and what a reader must find."""
    gray = bitstream.Header(
        width=1, height=1, bands=1, layout="HW", dtype="float32", weights_id=WEIGHTS_ID, quality_step=0, transform=1
    )
    full = bitstream.write(FULL, FULL_TILES, metadata=METADATA, mask=b"mask")
    after_head = len(head(FULL.to_bytes()))
    unknown = full[:after_head] + chunks.pack(0xFF, b"from the future") + full[after_head:]
    files = {
        "minimal": (bitstream.write(MINIMAL, [b"payload"]), [b"payload"]),
        "gray": (bitstream.write(gray, [b""]), [b""]),
        "adapted": (bitstream.write(replace(MINIMAL, adaptation=b"\x03\x00\xff"), [b"payload"]), [b"payload"]),
        "full": (full, FULL_TILES),
        "unknown-ancillary": (unknown, FULL_TILES),
        "fronts": (bitstream.write(LONG, LONG_TILES, ends=LONG_ENDS), LONG_TILES),
    }
    found = {}
    for name, (data, tiles) in files.items():
        container = bitstream.read(data)
        expected = {
            **container.to_json(),
            "tiles": [tile.hex() for tile in tiles],
            "ends": [[front.length for front in tile.fronts] for tile in container.tiles],
        }
        found[name] = data, expected
    return found


def bad() -> dict[str, tuple[bytes, str, str]]:
    """Name -> bytes, error and when it is raised."""
    minimal = bitstream.write(MINIMAL, [b"payload"])
    fields = MINIMAL.to_bytes()
    full = bitstream.write(FULL, FULL_TILES)
    full_head = head(FULL.to_bytes())
    after_head = len(head(fields))
    body, full_body = minimal[after_head:], full[len(full_head) :]
    meta = chunks.pack(chunks.META, b"{}")
    giant = bitstream.Header(width=2**15, height=2**15, weights_id=WEIGHTS_ID, quality_step=60)
    endless = bitstream.Header(width=2**31 - 1, height=2**31 - 1, weights_id=WEIGHTS_ID, quality_step=60)
    lengths = index.encode([index.Entry.of(tile) for tile in FULL_TILES])
    fronts = index.encode([index.Entry.of(*both) for both in zip(LONG_TILES, LONG_ENDS, strict=True)])
    long = bitstream.write(LONG, LONG_TILES, ends=LONG_ENDS)

    def with_index(payload: bytes) -> bytes:
        return full_head + chunks.pack(chunks.INDX, payload) + full_body[len(chunks.pack(chunks.INDX, lengths)) :]

    def with_fronts(payload: bytes) -> bytes:
        return long.replace(chunks.pack(chunks.INDX, fronts), chunks.pack(chunks.INDX, payload))

    return {
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(32), "NotLCIError", "read"),
        "as-text": (minimal.replace(b"\r\n", b"\n"), "CorruptDataError", "read"),
        "empty": (b"", "TruncatedError", "read"),
        "cut-in-tile": (minimal[:-8], "TruncatedError", "read"),
        "no-end": (minimal[:-2], "TruncatedError", "read"),
        "after-end": (minimal + b"\0", "CorruptDataError", "read"),
        "version-2": (minimal[:8] + b"\x02" + minimal[9:], "UnsupportedVersionError", "read"),
        "head-flipped": (flip(minimal, 12), "CorruptDataError", "read"),
        "head-too-long": (head(fields + b"\0") + body, "CorruptDataError", "read"),
        "head-too-short": (head(fields[:-1]) + body, "CorruptDataError", "read"),
        "head-empty": (head(b"") + body, "CorruptDataError", "read"),
        "head-tile-code-0": (head(flip(fields, 0, 5) + b"\0") + body, "CorruptDataError", "read"),
        "head-adaptation-empty": (head(flip(fields, 0, 7) + b"\0") + body, "CorruptDataError", "read"),
        "head-adaptation-0": (head(flip(fields, 0, 7) + b"\2\1\0") + body, "CorruptDataError", "read"),
        "head-bands-3-twice": (
            head(bytes([fields[0] ^ 0x18]) + fields[1:3] + b"\x02" + fields[3:]) + body,
            "CorruptDataError",
            "read",
        ),
        "head-long-varint": (head(fields[:-1] + b"\xbc\x00") + body, "CorruptDataError", "read"),
        "head-huge-varint": (head(fields[:-1] + b"\xff" * 9 + b"\x01") + body, "CorruptDataError", "read"),
        "unknown-critical": (
            minimal[:after_head] + chunks.pack(0x7A, b"?") + body,
            "UnsupportedVersionError",
            "read",
        ),
        "meta-not-json": (minimal[:after_head] + chunks.pack(chunks.META, b"{") + body, "CorruptDataError", "read"),
        "meta-not-object": (minimal[:after_head] + chunks.pack(chunks.META, b"[]") + body, "CorruptDataError", "read"),
        "meta-nan": (minimal[:after_head] + chunks.pack(chunks.META, b'{"a":NaN}') + body, "CorruptDataError", "read"),
        "meta-nested": (
            minimal[:after_head] + chunks.pack(chunks.META, b'{"a":' + b"[" * 5_000) + body,
            "CorruptDataError",
            "read",
        ),
        "meta-twice": (minimal[:after_head] + meta + meta + body, "CorruptDataError", "read"),
        "meta-flipped": (minimal[:after_head] + flip(meta, 2) + body, "CorruptDataError", "read"),
        "chunk-longer-than-file": (
            minimal[:after_head] + bytes([chunks.META]) + varint.encode(varint.MAX) + body,
            "TruncatedError",
            "read",
        ),
        "no-tile": (minimal[:after_head] + chunks.END, "CorruptDataError", "read"),
        "no-index": (full_head + full_body[len(chunks.pack(chunks.INDX, lengths)) :], "CorruptDataError", "read"),
        "needless-index": (
            minimal[:after_head] + chunks.pack(chunks.INDX, b"\0\x07") + body,
            "CorruptDataError",
            "read",
        ),
        "index-short": (with_index(lengths[:-1]), "CorruptDataError", "read"),
        "index-long": (with_index(lengths + b"\0"), "CorruptDataError", "read"),
        "index-beyond-file": (with_index(lengths[:-1] + varint.encode(varint.MAX)), "TruncatedError", "read"),
        "tile-flipped": (flip(minimal, len(minimal) - 8), "CorruptDataError", "tile"),
        "index-of-3-fronts": (with_index(b"\3" + lengths[1:]), "UnsupportedVersionError", "read"),
        "front-longer-than-tile": (
            with_fronts(fronts.replace(varint.encode(1000), varint.encode(15000))),
            "CorruptDataError",
            "read",
        ),
        "front-flipped": (with_fronts(flip(fronts, 8)), "CorruptDataError", "tile"),
        "tile-not-as-index": (
            with_index(lengths[:1] + lengths[2:3] + lengths[1:2] + lengths[3:]),
            "CorruptDataError",
            "tile",
        ),
        "giant": (head(giant.to_bytes()) + body, "LimitError", "read"),
        "endless": (head(endless.to_bytes()) + body, "LimitError", "read"),
    }


def main() -> None:
    """Write the files and the manifest."""
    FOLDER.mkdir(exist_ok=True)
    manifest: dict[str, dict[str, object]] = {"good": {}, "bad": {}}
    for name, (data, expected) in good().items():
        (FOLDER / f"{name}.lci").write_bytes(data)
        manifest["good"][name] = expected
    for name, (data, error, when) in bad().items():
        (FOLDER / f"bad-{name}.lci").write_bytes(data)
        manifest["bad"][f"bad-{name}"] = {"error": error, "when": when}
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
