"""Bytes from strangers: whatever they say, there is an array, or an error of ours before memory and time are spent."""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream import Header
from learned_codec.bitstream.payload import join_payload
from learned_codec.cli import main
from learned_codec.errors import CorruptDataError, LearnedCodecError, LimitError
from learned_codec.models import registry
from learned_codec.reader import nodata_of
from learned_codec.values.mask import MaskSpec
from learned_codec.values.transform import SCALED, ValueTransform

RGB, MONO = (registry.default(bands) for bands in (3, 1))


def header(components: int = 1, **fields: Any) -> Header:
    """The header of an RGB picture, or with `bands` of a raster of uint16 with this number of components."""
    if "bands" not in fields:
        return Header(weights_id=bytes.fromhex(RGB.weights_id), quality_step=0, **fields)
    bands = fields["bands"]
    matrix = np.eye(components, bands, dtype=np.int8) * 127 if bands > 1 else None
    kind = np.dtype(np.uint16)
    chosen = ValueTransform(SCALED, kind, bands, scales=(1000.0,) * bands, offsets=(0.0,) * bands, matrix=matrix)
    code, parameters = chosen.in_header()
    return Header(
        weights_id=bytes.fromhex(MONO.weights_id),
        quality_step=0,
        dtype="uint16",
        transform=code,
        parameters=parameters,
        **fields,
    )


@pytest.fixture(scope="module", autouse=True)
def _models() -> None:
    """Load them before anything is timed."""
    for bands in (1, 3):
        learned_codec.decode(learned_codec.encode(np.zeros((8, 8, bands), np.uint8)))


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        (header(width=1600, height=1600), b""),
        (header(width=1600, height=1600), b"\1\1\1\1"),
        (header(width=4000, height=2500, tile_code=16), b""),
        (header(width=1024, height=1024, tile_code=16), b""),
        (header(width=1800, height=1800, bands=1), b""),
        (header(width=1800, height=1800, bands=8), b"\1"),
    ],
)
def test_nothing_coded_for_millions_of_pixels_is_refused(head: Header, payload: bytes) -> None:
    data = bitstream.write(head, [payload] * head.tile_count)
    start = time.process_time()
    for call in (
        lambda: learned_codec.decode(data),
        lambda: learned_codec.decode(data, errors="fill"),
        lambda: learned_codec.open(data).read(window=(0, 0, 1, 1)),
    ):
        with pytest.raises(LimitError) as info:
            call()
        assert info.value.field in ("max_samples_per_byte", "max_coded_samples_per_byte")
        assert info.value.value > info.value.limit
    assert time.process_time() - start < 1


def test_tiles_without_a_component_or_without_a_value_are_nearly_free() -> None:
    """16 components, none of which any tile has; or nothing but nodata."""
    flat = header(width=1024, height=1024, bands=16, components=16, tile_code=4)
    start = time.process_time()
    decoded = learned_codec.decode(bitstream.write(flat, [b"\0\0\0"] * 16))  # no component, no byte of two layers
    assert np.ptp(decoded.astype(int)) < 50
    side = b"\1\0\0"  # one plane for all bands, everywhere of class 0
    empty = [join_payload(side, b"", False)] * 16
    assert not learned_codec.decode(bitstream.write(flat, empty, mask=MaskSpec((0.0,)).to_bytes())).any()
    assert time.process_time() - start < 7  # 32 million samples; with the networks it would be 16


def test_lost_tiles_are_nearly_free() -> None:
    """Half of a picture's tiles, and all but one of a raster's with 12 bands, are missing."""
    head = header(width=512, height=512, tile_code=1)
    good = bytes(bitstream.read(learned_codec.encode(np.zeros((64, 64, 3), np.uint8), quality=1)).tile(0))
    files = [bitstream.write(head, [b"\0" if i % 2 else good for i in range(head.tile_count)])]
    scene = np.random.default_rng(0).normal(900, 99, (128, 128, 12)).astype(np.int16)
    whole = learned_codec.encode(scene, quality=1, tile_size=64)
    files.append(whole[: bitstream.read(whole).tiles[1].offset])
    for data in files:
        start = time.process_time()
        decoded = learned_codec.decode(data, errors="fill")
        assert time.process_time() - start < 2 + decoded.size * 2e-6
        assert not decoded[-1, -1].any()


@pytest.mark.parametrize("lost", [0, 4, 5])
def test_a_lost_tile_touches_its_neighbours_within_48_pixels(lost: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (192, 192, 3), np.uint8)
    data = learned_codec.encode(image, quality=30, tile_size=64)
    tile = bitstream.read(data).tiles[lost]
    damaged = bytearray(data)
    damaged[tile.offset + 10] ^= 1
    whole, filled = (learned_codec.decode(bytes(d), errors="fill").astype(int) for d in (data, damaged))
    row, column = (64 * n for n in divmod(lost, 3))
    y, x = np.mgrid[:192, :192]
    distance = np.maximum(np.maximum(row - y, y - row - 63), np.maximum(column - x, x - column - 63))
    assert not filled[distance <= 0].any()
    assert not (whole - filled)[distance > 48].any()
    assert (whole - filled)[(distance > 0) & (distance <= 16)].any()


def test_inspect_believes_no_length_that_only_the_damaged_tile_says() -> None:
    """Every flipped bit behind the head of a file of one tile is noticed, or changes nothing that is said."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = learned_codec.encode(image, quality=1)
    honest = learned_codec.inspect(data)
    (tile,) = bitstream.read(data).tiles
    for i in range(8 * tile.offset, 8 * (tile.offset + tile.size - tile.length)):
        flipped = bytearray(data)
        flipped[i // 8] ^= 1 << i % 8
        for source in (flipped, io.BytesIO(flipped)):
            try:
                said = learned_codec.inspect(source)
            except LearnedCodecError:
                continue
            assert said == honest


def test_inspect_of_several_tiles_needs_the_head_alone() -> None:
    data = learned_codec.encode(np.zeros((128, 128), np.uint8), quality=1, tile_size=64)
    head = data[: bitstream.read(data).tiles[0].offset + 3]
    assert learned_codec.inspect(head) == learned_codec.inspect(data)


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2))
def test_any_nodata_in_metadata(said: object) -> None:
    """In a file, numbers are those that a float can be."""
    try:
        payload = json.dumps({"nodata": said}).encode()
        metadata = bitstream.metadata.decode(payload)
    except CorruptDataError:
        return
    for dtype in map(np.dtype, ("uint8", "int16", "float32")):
        found = nodata_of((), metadata, dtype)
        assert found is None or np.isnan(found) or dtype.type(found) == dtype.type(said)


# -- the terminal ------------------------------------------------------------------------------------------------------


def info(data: bytes, *options: str) -> Any:
    return CliRunner().invoke(main, ["info", "-", *options], input=data)


TERMINAL = ["\x1b[2J\x1b]0;title\x07", "\x9b31m", "\u202e", "a\r\nb\0", "\x7f\b"]


@pytest.mark.parametrize("text", TERMINAL)
@pytest.mark.parametrize("place", [lambda x: {"crs": x}, lambda x: {x: 1}, lambda x: {"a": [{"b": x}]}])
def test_no_control_character_reaches_the_terminal(text: str, place: Callable[[str], dict[str, Any]]) -> None:
    head = header(width=8, height=8)
    data = bitstream.write(head, [b""], metadata=place(text))
    result = info(data)
    assert result.exit_code == 0
    assert all(character.isprintable() or character == "\n" for character in result.stdout)
    said = json.loads(info(data, "--json").stdout)
    assert said["metadata"] == place(text)


def test_letters_of_all_scripts_do() -> None:
    data = bitstream.write(header(width=8, height=8), [b""], metadata={"title": "Zürich 東京 😀"})
    assert "Zürich 東京 😀" in info(data).stdout


@pytest.mark.parametrize(
    "payload", [b'{"a":"\\ud800"}', b'{"a":1' + b"0" * 3_000_000 + b".0}", b'{"nodata":' + b"9" * 310 + b"}"]
)
def test_messages_are_short(payload: bytes) -> None:
    whole = bitstream.write(header(width=8, height=8), [b""], metadata={"a": 1})
    chunk = bitstream.chunks.pack(bitstream.chunks.META, b'{"a":1}')
    data = whole.replace(chunk, bitstream.chunks.pack(bitstream.chunks.META, payload))
    result = info(data)
    assert result.exit_code == 3
    assert len(result.output) < 300
    result = CliRunner().invoke(main, ["check", "-"], input=data)
    assert result.exit_code == 1
    assert len(result.output) < 300


SLOW = settings(max_examples=9, deadline=None, derandomize=True)


@SLOW
@given(st.integers(0, 2**32))
def test_what_an_encoder_writes_for_easy_images_is_accepted(seed: int) -> None:
    """Flat, empty, smooth and thin images at the lowest quality keep clear of every limit."""
    rng = np.random.default_rng(seed)
    shape = [(1, int(rng.integers(1, 1000))), (int(rng.integers(1, 200)),) * 2, (256, 320)][seed % 3]
    bands = int(rng.choice([1, 3, 5]))
    dtype = np.dtype(rng.choice(["uint8", "uint16", "float32"]))
    image = np.full((*shape, bands), int(rng.integers(0, 256)), dtype)
    if rng.random() < 0.5:
        image += np.arange(shape[1], dtype=np.uint16).reshape(-1, 1).astype(dtype) // 64
    data = learned_codec.encode(image, quality=1, tile_size=int(rng.choice([64, 1024])))
    assert learned_codec.decode(data).shape == image.shape
