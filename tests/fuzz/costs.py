"""What the most expensive files cost a decoder, and some ordinary ones: `python -m tests.fuzz.costs`.

Prints the table of `docs/reliability.md`. Each file is decoded in a process of its own, with one thread. Before that,
the process decodes 64 x 64 pixels, so models are loaded. Time is processor time; memory is what the decoder then takes
beyond what the process already had. Encoding the files takes most of the two to five minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import learned_codec
from benchmarks.speed import peak_memory
from learned_codec import bitstream
from learned_codec.bitstream import Header, chunks, varint
from learned_codec.bitstream.payload import join_payload
from learned_codec.demo import landscape
from learned_codec.errors import LearnedCodecError
from learned_codec.values.mask import MaskSpec
from tests.test_hostile import header

HOLLOW = join_payload(b"\1\0\0", b"", False)
"""A tile of which no pixel has a value."""


def files() -> Iterator[tuple[str, bytes]]:
    """What each file is, and its bytes."""
    photograph = np.tile(landscape(512, 512), (4, 4, 1))
    yield "photograph, 2048² RGB, quality 60", learned_codec.encode(photograph, quality=60)
    yield "photograph, 2048² grey, quality 60", learned_codec.encode(photograph[..., 0], quality=60)
    shifted = [np.roll(photograph[:1024, :1024, 0], 40 * band, (0, 1)) for band in range(13)]  # so none tells another
    scene = learned_codec.encode(30 * np.stack(shifted, -1).astype(np.uint16), quality=60)
    yield "scene, 1024² of 13 bands, quality 60", scene
    slope = (np.add.outer(np.arange(2048), np.arange(2048)) // 128 + 90).astype(np.uint8)
    yield "a slope, 2048² grey, quality 1", learned_codec.encode(slope, quality=1)
    large = learned_codec.encode(np.tile(photograph, (2, 2, 1)), quality=1, tile_size=4096)
    yield "4096² RGB in one tile, quality 1", large
    line = (np.arange(2**18) // 700).astype(np.uint8)[None]
    yield "1 × 2^18 grey, the longest line", learned_codec.encode(line, quality=60, tile_size=4096)
    yield "a mask for each of 64 bands, 1024²", _masks()
    yield "13 bands, all tiles but one lost, filled", scene[: bitstream.read(scene).tiles[1].offset]
    yield "256 tiles of RGB, every second lost, filled", _every_second_lost()
    yield "65,536 tiles without a value", _hollow(header(width=2**14, height=2**14, bands=1, tile_code=1))
    yield "4 MiB of `[]` in META", _lists()
    empty = bitstream.write(header(width=3200, height=3200, tile_code=50), [b""])
    yield "an empty payload for 3200² RGB", empty


def _masks() -> bytes:
    """Each band has a plane of 16 edges a row, the most that a list of edges may have."""
    numbers = [16, 1024, *(1 if edge and not row else 0 for edge in range(16) for row in range(1024))]
    body = zlib.compress(b"".join(map(varint.encode, numbers)), 9)
    plane = b"\3\0\xff\0" + varint.encode(len(body)) + body
    tile = join_payload(b"\2" + 64 * plane, b"", False)
    return bitstream.write(header(width=1024, height=1024, bands=64), [tile], mask=MaskSpec((0.0,)).to_bytes())


def _every_second_lost() -> bytes:
    small = learned_codec.encode(np.zeros((64, 64, 3), np.uint8), quality=1)
    good = bytes(bitstream.read(small).tile(0))
    return bitstream.write(header(width=1024, height=1024, tile_code=1), [b"\0", good] * 128)


def _hollow(head: Header) -> bytes:
    return bitstream.write(head, [HOLLOW] * head.tile_count, mask=MaskSpec((0.0,)).to_bytes())


def _lists() -> bytes:
    """An encoder wouldn't write so much: the chunk is put in afterwards."""
    data = bitstream.write(header(width=16, height=16), [b""], metadata={"a": 1})
    lists = b'{"a":[' + 1_398_000 * b"[]," + b"0]}"
    return data.replace(chunks.pack(chunks.META, b'{"a":1}'), chunks.pack(chunks.META, lists))


def measure(path: Path) -> None:
    """Decode a file, and print its samples, the seconds and the MiB; "refused" where the file is."""
    for bands in (1, 3):
        learned_codec.decode(learned_codec.encode(np.zeros((64, 64, bands), np.uint8), threads=1), threads=1)
    data = path.read_bytes()
    before, start = peak_memory(), time.process_time()
    try:
        samples = str(learned_codec.decode(data, errors="fill", threads=1).size)
    except LearnedCodecError:
        samples = "refused"
    print(samples, time.process_time() - start, (peak_memory() - before) / 2**20)


def main() -> None:
    """The command."""
    if sys.argv[1:]:
        measure(Path(sys.argv[1]))
        return
    print("| file | bytes | samples | s | ns a sample | MiB | ms a byte |\n|---|--:|--:|--:|--:|--:|--:|")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.lci"
        for name, data in files():
            path.write_bytes(data)
            command = [sys.executable, "-m", "tests.fuzz.costs", str(path)]
            found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            samples, seconds, mebibytes = found.stdout.split()
            each = ms = "–"
            if samples != "refused":
                ms = f"{1000 * float(seconds) / len(data):.2f}"
                if int(samples) > 1000:
                    each = f"{1e9 * float(seconds) / int(samples):,.0f}"
                samples = f"{int(samples):,}"
            cells = [name, f"{len(data):,}", samples, f"{float(seconds):.1f}", each, f"{float(mebibytes):,.0f}", ms]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
