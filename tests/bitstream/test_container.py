import io
import json
import mmap
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec import errors
from learned_codec.bitstream import MAGIC, Header, chunks, read, read_head, varint, write
from learned_codec.errors import BitstreamError, CorruptDataError, InvalidInputError, LimitError, TruncatedError
from learned_codec.limits import Limits

ID = bytes(range(8))
MINIMAL = Header(width=64, height=64, weights_id=ID, quality_step=60)
GRID = Header(width=150, height=100, weights_id=ID, quality_step=60, tile_code=1)
TILES = [b"%d" % i * 50 for i in range(6)]


def read_all(data):
    """Read the head, the end and every tile of `data`."""
    container = read(data)
    return [container.tile(i) for i in range(len(container.tiles))]


class CountingFile(io.BytesIO):
    """A file that notes which bytes were asked for."""

    def __init__(self, data):
        super().__init__(data)
        self.requests = []

    def read(self, size=-1):
        self.requests.append((self.tell(), size))
        return super().read(size)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.binary(max_size=200), min_size=6, max_size=6),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.none() | st.binary(max_size=50),
)
def test_round_trip(tiles, metadata, mask):
    data = write(GRID, tiles, metadata=metadata, mask=mask)
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        container = read_head(source)
        container.check_end()
        assert (container.header, container.metadata, container.mask) == (GRID, metadata, mask)
        assert [bytes(container.tile(i)) for i in range(6)] == tiles
        assert container.size == len(data)
        assert container.overhead == len(data) - sum(map(len, tiles))
        assert container.damaged_tiles() == ()
        json.dumps(container.to_json())


@pytest.mark.parametrize("size", [1, 64, 128, 1024, 16384])
@pytest.mark.parametrize("quality_step", [0, 60, 2**14 - 1])
@pytest.mark.parametrize("payload", [0, 127, 2**14 - 1, 2**14, 2**21])
def test_overhead_of_a_plain_array_is_at_most_40_bytes(size, quality_step, payload):
    header = Header(width=size, height=size, weights_id=ID, quality_step=quality_step)
    overhead = len(write(header, [bytes(payload)])) - payload
    assert overhead <= 40
    if size == 64 and quality_step < 128 and payload < 2**14:
        assert overhead <= 35
    assert overhead == 30 + sum(len(varint.encode(n)) for n in (size - 1, size - 1, quality_step, payload))


def test_a_window_costs_one_request_for_the_head_and_one_per_tile():
    tiles = [bytes(10_000)] * 6
    file = CountingFile(write(GRID, tiles, metadata={"crs": "EPSG:4326"}))
    container = read_head(file)
    assert file.requests == [(0, 4096)]
    assert container.tile(3) == tiles[3]
    assert file.requests[1:] == [(container.tiles[3].offset, container.tiles[3].size)]


def test_long_metadata_from_a_file_that_gives_little_at_a_time():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 100))

    metadata = {"xmp": "x" * 20_000}
    container = read_head(Slow(write(GRID, TILES, metadata=metadata)))
    assert container.metadata == metadata
    assert container.damaged_tiles() == ()


def test_mmap(tmp_path):
    path = tmp_path / "a.lci"
    path.write_bytes(write(GRID, TILES))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        container = read(mapped)
        assert container.tile(5) == TILES[5]
        del container  # or the map can't be closed


def test_check_tile_of_bytes_fetched_elsewhere():
    data = write(GRID, TILES)
    container = read_head(data)
    tile = container.tiles[2]
    chunk = data[tile.offset : tile.offset + tile.size]
    assert container.check_tile(2, chunk) == TILES[2]
    with pytest.raises(CorruptDataError) as info:
        container.check_tile(2, chunk[:-1])
    assert info.value.tiles == (2,)


def test_a_damaged_tile_costs_that_tile():
    data = bytearray(write(GRID, TILES))
    container = read(bytes(data))
    data[container.tiles[4].offset + 10] ^= 1
    container = read(data)
    with pytest.raises(CorruptDataError, match="tile 4 of 6") as info:
        container.tile(4)
    assert info.value.tiles == (4,)
    assert container.tile(3) == TILES[3]
    assert container.damaged_tiles() == (4,)
    for i in (-1, 6):
        with pytest.raises(IndexError):
            container.tile(i)


def test_what_is_left_of_a_file_cut_short():
    data = write(GRID, TILES)
    cut = data[: read(data).tiles[4].offset + 3]
    with pytest.raises(TruncatedError):
        read(cut)
    assert read_head(cut).damaged_tiles() == (4, 5)
    assert read_head(io.BytesIO(cut)).damaged_tiles() == (4, 5)


EXAMPLES = {
    "minimal": write(MINIMAL, [b"payload"]),
    "all": write(GRID, TILES, metadata={"a": [1, "ü"]}, mask=b"mask"),
}
_head = len(write(MINIMAL, [b""])) - len(chunks.pack(chunks.TILE, b"")) - 2
EXAMPLES["unknown"] = (
    EXAMPLES["minimal"][:_head] + chunks.pack(0xFF, b"something unknown") + EXAMPLES["minimal"][_head:]
)


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_every_truncation_is_noticed(data):
    read_all(data)
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end])


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_every_flipped_bit_is_noticed(data):
    for i in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[i // 8] ^= 1 << i % 8
        with pytest.raises(BitstreamError):
            read_all(flipped)


def readable_or_ours(data):
    for source in (data, io.BytesIO(data)):
        try:
            container = read_head(source)
            container.check_end()
        except (BitstreamError, LimitError):
            continue
        container.damaged_tiles()
        json.dumps(container.to_json())


@given(st.binary(max_size=200))
def test_any_bytes(data):
    readable_or_ours(data)
    readable_or_ours(MAGIC + data)


@given(st.binary(max_size=30), st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=5))
def test_any_chunks(head, others):
    """Checksums are right here, so this gets behind them."""
    body = b"".join(chunks.pack(kind, payload) for kind, payload in others) + chunks.END
    readable_or_ours(MAGIC + chunks.pack(chunks.HEAD, head, before=MAGIC) + body)
    readable_or_ours(MAGIC + chunks.pack(chunks.HEAD, GRID.to_bytes(), before=MAGIC) + body)
    readable_or_ours(MAGIC + chunks.pack(chunks.HEAD, MINIMAL.to_bytes(), before=MAGIC) + body)


@given(st.sampled_from(list(EXAMPLES.values())), st.data())
def test_spliced_files(data, draw):
    start, end = sorted(draw.draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    readable_or_ours(data[:start] + draw.draw(st.binary(max_size=20)) + data[end:])


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (Header(width=2**31 - 1, height=2**31 - 1, weights_id=ID, quality_step=0), "max_pixels"),
        (Header(width=1, height=1, bands=2**31 - 1, weights_id=ID, quality_step=0), "max_bands"),
        (Header(width=2**15, height=2**15, bands=5, weights_id=ID, quality_step=0), "max_samples"),
        (Header(width=2**30, height=1, tile_code=1, weights_id=ID, quality_step=0), "max_tiles"),
        (Header(width=2**15, height=2**15, weights_id=ID, quality_step=0), "max_tile_pixels"),
        (Header(width=2**12, height=2**12, bands=64, weights_id=ID, quality_step=0), "max_samples_per_byte"),
        (
            Header(width=1, height=1, transform=255, parameters=bytes(2**20), weights_id=ID, quality_step=0),
            "max_header_bytes",
        ),
    ],
)
def test_a_small_file_with_a_large_claim_is_refused_before_anything_is_allocated(header, field):
    data = MAGIC + chunks.pack(chunks.HEAD, header.to_bytes(), before=MAGIC) + chunks.pack(chunks.TILE, b"x") + b"E\0"
    tracemalloc.start()
    with pytest.raises(LimitError) as info:
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert info.value.field == field
    assert info.value.value > info.value.limit
    for part in (f"{info.value.value:,}", f"{info.value.limit:,}", field):
        assert part in str(info.value)


def test_a_claimed_tile_length_does_not_count_as_coded_bytes():
    header = Header(width=2**12, height=2**12, bands=64, weights_id=ID, quality_step=0)
    data = (
        MAGIC + chunks.pack(chunks.HEAD, header.to_bytes(), before=MAGIC) + chunks.Chunk(chunks.TILE, 0, 2**40).prefix
    )
    with pytest.raises(LimitError, match="max_samples_per_byte"):
        read_head(data)


def test_limits_can_be_raised_and_lowered():
    header = Header(width=2**17, height=2**17, weights_id=ID, quality_step=0)
    data = write(header, [bytes(100)])
    with pytest.raises(LimitError):
        read(data)
    read(data, limits=Limits(max_pixels=2**34, max_samples=2**36, max_tile_pixels=2**34, max_samples_per_byte=2**30))
    with pytest.raises(LimitError):
        read(EXAMPLES["all"], limits=Limits(max_metadata_bytes=5))
    with pytest.raises(InvalidInputError):
        Limits(max_pixels=-1)


def test_flat_pictures_pass():
    twelve_megapixels = {"width": 4000, "height": 3000, "weights_id": ID, "quality_step": 0}
    read(write(Header(**twelve_megapixels), [b"12 bytes...."]))
    tiled = Header(width=2**15, height=2**15, weights_id=ID, quality_step=0, tile_code=16)
    read(write(tiled, [bytes(8)] * tiled.tile_count))


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"a": {1, 2}}, {"a": "\ud800"}])
def test_metadata_that_is_not_json(metadata):
    with pytest.raises(InvalidInputError):
        write(MINIMAL, [b""], metadata=metadata)


def test_too_much_metadata():
    with pytest.raises(LimitError):
        write(MINIMAL, [b""], metadata={"a": "x" * 2**22})


def test_wrong_number_of_tiles():
    with pytest.raises(InvalidInputError):
        write(GRID, [b""])


def test_swapped_chunks_of_equal_meaning():
    data = EXAMPLES["all"]
    container = read(data)
    head = len(MAGIC) + len(chunks.pack(chunks.HEAD, GRID.to_bytes()))
    meta = chunks.locate(container.source, head)
    mask = chunks.locate(container.source, meta.end)
    swapped = read(data[:head] + data[mask.offset : mask.end] + data[head : meta.end] + data[mask.end :])
    assert (swapped.metadata, swapped.mask) == (container.metadata, container.mask)


def test_errors():
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.LearnedCodecError)
        assert name in errors.__doc__ or name == "LearnedCodecError"
        assert str(pickle.loads(pickle.dumps(error("message")))) == "message"  # noqa: S301 - our own bytes
    assert pickle.loads(pickle.dumps(CorruptDataError("m", tiles=[1, 2]))).tiles == (1, 2)  # noqa: S301 - likewise
