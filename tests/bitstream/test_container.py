import io
import itertools
import json
import mmap
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec import errors
from learned_codec.bitstream import MAGIC, Header, chunks, index, read, read_head, varint, write
from learned_codec.bitstream.container import GAP, READ_TOGETHER
from learned_codec.bitstream.header import LAPPINGS
from learned_codec.bitstream.source import READ_AHEAD
from learned_codec.errors import (
    BitstreamError,
    CorruptDataError,
    FileError,
    InvalidInputError,
    LimitError,
    TruncatedError,
)
from learned_codec.limits import Limits
from tests.streams import CountingFile, FailingFile

ID = bytes(range(8))
MINIMAL = Header(width=64, height=64, weights_id=ID, quality_step=60)
GRID = Header(width=150, height=100, weights_id=ID, quality_step=60, tile_code=1)
TILES = [b"%d" % i * 50 for i in range(6)]


def read_all(data):
    """Read the head, the end and every tile of `data`."""
    container = read(data)
    return [container.tile(i) for i in range(len(container.tiles))]


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
@pytest.mark.parametrize("quality_step", [0, 60, 2**12 - 1])
@pytest.mark.parametrize("payload", [0, 127, 2**14 - 1, 2**14, 2**21])
def test_overhead_of_a_plain_array_is_at_most_40_bytes(size, quality_step, payload):
    header = Header(width=size, height=size, weights_id=ID, quality_step=quality_step)
    overhead = len(write(header, [bytes(payload)])) - payload
    assert overhead <= 40
    if size == 64 and quality_step < 2**12 and payload < 2**14:
        assert overhead <= 36
    assert overhead == 30 + sum(len(varint.encode(n)) for n in (size - 1, size - 1, LAPPINGS * quality_step, payload))


def test_a_window_costs_one_request_for_the_head_and_one_per_tile():
    tiles = [bytes(10_000)] * 6
    file = CountingFile(write(GRID, tiles, metadata={"crs": "EPSG:4326"}))
    container = read_head(file)
    assert file.reads == [(0, READ_AHEAD)]
    assert container.tile(3) == tiles[3]
    assert file.reads[1:] == [(container.tiles[3].offset, container.tiles[3].size)]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3 * GAP) | st.integers(0, 2 * READ_TOGETHER), min_size=6, max_size=6),
    st.sets(st.integers(0, 5), min_size=1),
)
def test_tiles_come_in_one_request_where_little_lies_between(lengths, wanted):
    payloads = [bytes([i]) * length for i, length in enumerate(lengths)]
    file = CountingFile(write(GRID, payloads))
    container = read_head(file)
    file.reads.clear()
    rest = sorted(wanted)
    while rest:
        batch = rest[: container.fetch(rest)]
        fetched = len(file.reads)
        assert [bytes(container.tile(i)) for i in batch] == [payloads[i] for i in batch]
        assert len(file.reads) == fetched  # nothing more was needed
        first, last = (container.tiles[batch[i]] for i in (0, -1))
        # What didn't fit would have been too much, and what is read beyond the first tile is never too much.
        assert len(batch) == 1 or sum(size for _, size in file.reads) <= READ_TOGETHER
        spans = [(at, at + size) for at, size in file.reads]
        assert all(start - end > GAP for (_, end), (start, _) in itertools.pairwise(spans))
        assert all(first.offset <= start and end <= last.end for start, end in spans)
        needless = sum(end - start for start, end in spans) - sum(container.tiles[i].size for i in batch)
        assert needless <= GAP * (len(batch) - 1)
        file.reads.clear()
        rest = rest[len(batch) :]


def test_long_metadata_from_a_file_that_gives_little_at_a_time():
    class SlowInput(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 100))

    metadata = {"xmp": "x" * 20_000}
    container = read_head(SlowInput(write(GRID, TILES, metadata=metadata)))
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


LONG_TILES = [bytes([i]) * (100_000 if i % 2 else 300) for i in range(6)]
"""Every second tile has fronts, so short that a request for each costs less than what lies between."""

ENDS = [(100, 200)] * 6


def test_fronts_are_read_alone():
    file = CountingFile(write(GRID, LONG_TILES, ends=ENDS))
    container = read_head(file)
    for front, end in enumerate(ENDS[0]):
        for i, tile in enumerate(LONG_TILES):
            file.reads.clear()
            kept = end if i % 2 else len(tile)
            assert container.tile(i, front) == tile[:kept]
            asked = [(container.tiles[i].offset, container.tiles[i].extent(front))]
            assert file.reads == (asked if i > 1 else [])  # the others came with the head
            assert container.tiles[i].extent(front) <= kept + 8
    assert container.tile(3, 2) == LONG_TILES[3]  # there is no third front
    file.reads.clear()
    assert container.fetch(range(2, 6), 0) == 4
    # A short tile comes with the front behind it. Between the two pairs lies too much to be read for nothing.
    assert [size for _, size in file.reads] == [307 + 104, 307 + 104]
    file.reads.clear()
    assert container.tile(4, 0) == LONG_TILES[4]
    assert container.tile(5, 0) == LONG_TILES[5][:100]
    assert file.reads == []
    assert container.tile(5) == LONG_TILES[5]
    assert len(file.reads) == 1
    assert container.damaged_tiles() == ()


@given(st.data())
def test_every_byte_that_is_used_is_checked(data):
    """A changed bit costs a tile, and those of its fronts that have it."""
    whole = write(GRID, LONG_TILES, ends=ENDS)
    tile = read_head(whole).tiles[3]
    at = data.draw(st.integers(0, tile.size - 1) | st.integers(0, 250))
    spoiled = bytearray(whole)
    spoiled[tile.offset + at] ^= 1 << data.draw(st.integers(0, 7))
    container = read_head(bytes(spoiled))
    assert container.damaged_tiles() == (3,)
    for front in (0, 1):
        if at < tile.extent(front):
            with pytest.raises(CorruptDataError, match="tile 3 of 6") as info:
                container.tile(3, front)
            assert info.value.tiles == (3,)
        else:
            assert container.tile(3, front) == LONG_TILES[3][: ENDS[3][front]]


def test_a_front_of_a_tile_that_is_cut_short():
    whole = write(GRID, LONG_TILES, ends=ENDS)
    tile = read_head(whole).tiles[3]
    container = read_head(whole[: tile.offset + tile.extent(0)])
    assert container.damaged_tiles() == (3, 4, 5)
    assert container.tile(3, 0) == LONG_TILES[3][:100]
    assert (container.held(2), container.held(3), container.held(4)) == (container.tiles[2].size, tile.extent(0), 0)
    with pytest.raises(CorruptDataError, match="cut short"):
        container.tile(3, 1)


def test_a_front_with_a_wrong_checksum_is_damage():
    """So that `damaged_tiles` finds all that any read finds."""
    entries = [index.Entry.of(*both) for both in zip(LONG_TILES, ENDS, strict=True)]
    honest = chunks.pack(chunks.INDX, index.encode(entries))
    fronts = (entries[3].fronts[0], chunks.Front(200, bytes(4)))
    entries[3] = index.Entry(len(LONG_TILES[3]), fronts)
    whole = write(GRID, LONG_TILES, ends=ENDS)
    container = read(whole.replace(honest, chunks.pack(chunks.INDX, index.encode(entries))))
    assert container.damaged_tiles() == (3,)
    assert container.tile(3, 0) == LONG_TILES[3][:100]


def test_fronts_cost_a_few_bytes_of_long_tiles_alone():
    plain, several = (len(write(GRID, LONG_TILES, ends=ends)) for ends in ((), ENDS))
    assert several - plain == 3 * (2 * 4 + 1 + 1)
    assert len(write(GRID, TILES, ends=ENDS)) == len(write(GRID, TILES))
    assert len(write(MINIMAL, LONG_TILES[1:2], ends=ENDS[1:2])) == len(write(MINIMAL, LONG_TILES[1:2]))


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
        (Header(width=2**25, height=16, tile_code=1, weights_id=ID, quality_step=0), "max_tiles"),
        (Header(width=2**15, height=2**15, weights_id=ID, quality_step=0), "max_tile_pixels"),
        (Header(width=2**25, height=1, tile_code=3, weights_id=ID, quality_step=0), "max_padding"),
        (Header(width=2**20, height=1, weights_id=ID, quality_step=0), "max_padding"),
        (Header(width=1, height=2**20, bands=2, weights_id=ID, quality_step=0), "max_padding"),
        (Header(width=2**20, height=17, weights_id=ID, quality_step=0), "max_tile_pixels"),
        (Header(width=1024, height=1024, bands=65, weights_id=ID, quality_step=0), "max_tile_samples"),
        (Header(width=2**12, height=2**12, weights_id=ID, quality_step=0), "max_samples_per_byte"),
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
    header = Header(width=2**12, height=2**12, weights_id=ID, quality_step=0)
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
    more = {"max_pixels": 2**34, "max_samples": 2**36, "max_tile_pixels": 2**34, "max_tile_samples": 2**36}
    read(data, limits=Limits(**more, max_samples_per_byte=2**30))
    with pytest.raises(LimitError):
        read(EXAMPLES["all"], limits=Limits(max_metadata_bytes=5))
    with pytest.raises(InvalidInputError):
        Limits(max_pixels=-1)


def test_what_users_have_passes():
    twelve_megapixels = {"width": 4000, "height": 3000, "weights_id": ID, "quality_step": 0}
    read(write(Header(**twelve_megapixels), [bytes(40)]))
    scene = Header(width=10980, height=10980, bands=13, dtype="uint16", tile_code=8, weights_id=ID, quality_step=0)
    read(write(scene, [b"empty"] * scene.tile_count))
    line = Header(width=2**18, height=1, bands=1, weights_id=ID, quality_step=0)
    read(write(line, [b""]))
    tiled = Header(width=2**15, height=2**15, weights_id=ID, quality_step=0, tile_code=16)
    read(write(tiled, [bytes(8)] * tiled.tile_count))


def nested(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


NOT_JSON = {
    "NaN": {"a": float("nan")},
    "a set": {"a": {1, 2}},
    "half a pair": {"a": "\ud800"},
    "half a pair as a name": {"\udfff": 1},
    "beyond float": {"nodata": 10**400},
    "beyond float, negative": {"nodata": -(10**309)},
    "deep": nested(65),
    "too deep to write": nested(50_000),
}


@pytest.mark.parametrize("metadata", NOT_JSON.values(), ids=NOT_JSON)
def test_metadata_that_is_not_json(metadata):
    with pytest.raises(InvalidInputError):
        write(MINIMAL, [b""], metadata=metadata)


def with_metadata(payload):
    """The minimal file with a META of this payload."""
    return EXAMPLES["minimal"][:_head] + chunks.pack(chunks.META, payload) + EXAMPLES["minimal"][_head:]


@pytest.mark.parametrize(
    "text",
    [
        '{"nodata":' + "9" * 310 + "}",
        '{"nodata":-1' + "0" * 5000 + "}",
        '{"nodata":1' + "0" * 3_000_000 + ".0}",
        '{"nodata":1e309}',
        '{"a":"\\ud800"}',
        '{"a":["\\uDFFF\\ud800"]}',
        '{"\\udc00":1}',
        '{"a":' * 65 + "0" + "}" * 65,
        '{"a":' + "[" * 900 + "]" * 900 + "}",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_metadata_that_programs_stumble_over_is_refused_in_few_words(text):
    with pytest.raises(CorruptDataError, match="META") as info:
        read(with_metadata(text.encode()))
    assert len(str(info.value)) < 200


@given(st.text(), st.integers(-(10**308), 10**308))
def test_metadata_that_is_just_allowed(text, number):
    metadata = {"text": text, "number": number, "deep": nested(63), "pair": "\U0001f600"}
    escaped = json.dumps(metadata).encode()
    assert read(with_metadata(escaped)).metadata == metadata
    assert read(write(MINIMAL, [b""], metadata=metadata)).metadata == metadata


def test_too_much_metadata():
    with pytest.raises(LimitError):
        write(MINIMAL, [b""], metadata={"a": "x" * 2**22})


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        (chunks.pack(0xFF, b"") * 257, "max_chunks"),
        (chunks.pack(0xFF, bytes(2**20)) * 4 + chunks.pack(chunks.META, b"{}"), "max_metadata_bytes"),
        (chunks.pack(0x7A, bytes(2**22 + 1)), "max_metadata_bytes"),
        (chunks.pack(chunks.MASK, bytes(2**20 + 1)), "max_header_bytes"),
    ],
)
def test_chunks_before_the_tiles_are_bounded_together(extra, field):
    minimal = EXAMPLES["minimal"]
    for source in (minimal[:_head] + extra + minimal[_head:], io.BytesIO(minimal[:_head] + extra + minimal[_head:])):
        with pytest.raises(LimitError) as info:
            read_head(source)
        assert info.value.field == field


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("length", [2**31, 2**62, varint.MAX])
def test_an_index_that_lies_costs_the_tiles_behind_it(position, length):
    """From bytes and from a file, which can't be asked for what lies beyond 2^63."""
    entries = [index.Entry.of(tile) for tile in TILES]
    honest = index.encode(entries)
    entries[position] = index.Entry(length)
    whole = write(GRID, TILES)
    data = whole.replace(chunks.pack(chunks.INDX, honest), chunks.pack(chunks.INDX, index.encode(entries)))
    assert data != whole
    for source in (data, io.BytesIO(data)):
        container = read_head(source)
        assert container.damaged_tiles() == tuple(range(position, 6))
        with pytest.raises(TruncatedError):
            container.check_end()


def test_an_index_of_no_tiles_is_refused():
    data = MAGIC + chunks.pack(chunks.HEAD, GRID.to_bytes(), before=MAGIC) + chunks.pack(chunks.INDX, index.encode([]))
    with pytest.raises(CorruptDataError, match="0 of 6 tiles"):
        read_head(data)


def test_an_index_longer_than_any_is_not_read():
    data = MAGIC + chunks.pack(chunks.HEAD, GRID.to_bytes(), before=MAGIC)
    most = 1 + 6 * index.MAX_BYTES
    data += chunks.Chunk(chunks.INDX, 0, most + 1).prefix + bytes(most + 1)
    with pytest.raises(CorruptDataError, match="more than 6 tiles"):
        read_head(data)


# -- sources -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 3, -1])
def test_bytes_that_do_not_lie_one_after_another(step):
    data = EXAMPLES["all"]
    spread = bytearray(step * len(data) if step > 0 else data[::-1])
    if step > 0:
        spread[::step] = data
    assert read(memoryview(spread)[::step]).damaged_tiles() == ()
    with pytest.raises(TruncatedError):
        read(memoryview(b"")[::step])


def test_buffers_of_other_shapes():
    data = EXAMPLES["all"] + bytes(1 + -(len(EXAMPLES["all"]) + 1) % 8)
    with pytest.raises(CorruptDataError, match="follow END"):
        read(memoryview(data).cast("Q"))
    released = memoryview(data)
    released.release()
    with pytest.raises(InvalidInputError):
        read(released)


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), TimeoutError("slow"), ValueError("closed"), EOFError()]
)
def test_a_file_that_cannot_be_read(error):
    data = write(GRID, [bytes(10_000)] * 6)
    with pytest.raises(FileError, match="can't be read"):
        read_head(FailingFile(data, 0, error))
    container = read_head(FailingFile(data, 20_000, error))
    assert len(container.tile(0)) == 10_000
    with pytest.raises(FileError):  # not damage: what lies there isn't known
        container.damaged_tiles()


def test_a_closed_file_and_one_of_text(tmp_path):
    file = io.BytesIO(EXAMPLES["all"])
    file.close()
    with pytest.raises(FileError):
        read_head(file)
    path = tmp_path / "a.lci"
    path.write_bytes(b"text")
    with path.open() as text, pytest.raises(InvalidInputError, match="binary"):
        read_head(text)


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
        assert issubclass(error, errors.LearnedCodecError | errors.LearnedCodecWarning)
        assert name in errors.__doc__ or name == "LearnedCodecError"
        assert str(pickle.loads(pickle.dumps(error("message")))) == "message"  # noqa: S301 - our own bytes
    assert pickle.loads(pickle.dumps(CorruptDataError("m", tiles=[1, 2]))).tiles == (1, 2)  # noqa: S301 - our own bytes
