import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learned_codec.bitstream import HAS_PARAMETERS, Header, chunks, index, varint
from learned_codec.bitstream.header import DTYPES, LAPPINGS, MAX_SIDE
from learned_codec.errors import (
    BitstreamError,
    CorruptDataError,
    InvalidInputError,
    TruncatedError,
    UnsupportedVersionError,
)

ID = bytes(range(8))
sides = st.integers(1, 2**14) | st.integers(1, MAX_SIDE)


@st.composite
def headers(draw):
    layout = draw(st.sampled_from(["HW", "HWC", "CHW"]))
    transform = draw(st.integers(0, 255))
    return Header(
        width=draw(sides),
        height=draw(sides),
        bands=1 if layout == "HW" else draw(st.integers(1, 5) | sides),
        dtype=draw(st.sampled_from(DTYPES)),
        layout=layout,
        weights_id=draw(st.binary(min_size=8, max_size=8)),
        quality_step=draw(st.integers(0, varint.MAX // LAPPINGS)),
        lapping=draw(st.integers(0, LAPPINGS - 1)),
        tile_code=draw(st.integers(0, 255)),
        transform=transform,
        parameters=draw(st.binary(max_size=300)) if transform & HAS_PARAMETERS else b"",
        adaptation=draw(st.binary(max_size=200)).rstrip(b"\0"),
    )


@given(st.integers(0, varint.MAX))
@example(0)
@example(127)
@example(128)
@example(varint.MAX)
def test_varint_round_trip(value):
    data = varint.encode(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert varint.decode(b"x" + data + b"y", 1) == (value, 1 + len(data))


@given(st.binary(max_size=12))
def test_a_varint_has_one_encoding(data):
    try:
        value, end = varint.decode(data)
    except BitstreamError:
        return
    assert varint.encode(value) == data[:end]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (b"\x80", TruncatedError),
        (b"\x80\x00", CorruptDataError),
        (b"\xff" * 9 + b"\x01", CorruptDataError),
    ],
)
def test_bad_varint(data, error):
    with pytest.raises(error):
        varint.decode(data)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_varint_out_of_range(value):
    with pytest.raises(InvalidInputError):
        varint.encode(value)


@given(headers())
def test_header_round_trip(header):
    assert Header.from_bytes(header.to_bytes()) == header


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_our_error(data):
    try:
        header = Header.from_bytes(data)
    except BitstreamError:
        return
    assert header.to_bytes() == data


@given(headers(), st.data())
def test_a_cut_header_is_corrupt(header, data):
    payload = header.to_bytes()
    with pytest.raises(CorruptDataError):
        Header.from_bytes(payload[: data.draw(st.integers(0, len(payload) - 1))])


def entries(fronts):
    """What INDX may hold of tiles with this number of fronts."""

    def entry(numbers):
        length, ends, checksum = numbers
        ends = sorted(end % (length + 1) for end in ends)
        return index.Entry(length, tuple(chunks.Front(end, checksum) for end in ends if length >= index.LONG))

    lengths = st.integers(0, varint.MAX) | st.sampled_from([index.LONG - 1, index.LONG])
    ends = st.lists(st.integers(0, varint.MAX), min_size=fronts, max_size=fronts)
    return st.lists(st.tuples(lengths, ends, st.binary(min_size=4, max_size=4)).map(entry), min_size=1)


@given(st.integers(0, 2).flatmap(entries), st.data())
def test_index_round_trip(written, data):
    payload = index.encode(written)
    assert index.decode(payload, len(written)) == written
    assert len(payload) <= 1 + len(written) * index.MAX_BYTES
    for spoiled in (payload[: data.draw(st.integers(0, len(payload) - 1))], payload + b"\0"):
        with pytest.raises(CorruptDataError, match="INDX"):
            index.decode(spoiled, len(written))


def test_an_index_of_other_fronts_is_refused():
    with pytest.raises(UnsupportedVersionError, match="3 fronts"):
        index.decode(b"\3\0", 1)
    long = varint.encode(index.LONG)
    assert index.decode(b"\1" + long + long + bytes(4), 1)[0].fronts == ((index.LONG, bytes(4)),)
    with pytest.raises(CorruptDataError, match="a front of 16385 bytes"):
        index.decode(b"\1" + long + varint.encode(index.LONG + 1) + bytes(4), 1)


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_shape_is_numpys(layout):
    header = Header(width=4, height=3, bands=1 if layout == "HW" else 2, layout=layout, weights_id=ID, quality_step=0)
    array = np.zeros(header.shape, header.dtype)
    assert array.shape == {"HW": (3, 4), "HWC": (3, 4, 2), "CHW": (2, 3, 4)}[layout]


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 5))
def test_tiles_cover_the_image_once(height, width, tile_code):
    header = Header(width=width, height=height, weights_id=ID, quality_step=0, tile_code=tile_code)
    covered = np.zeros((height, width), int)
    previous = (-1, -1)
    for i in range(header.tile_count):
        row, col, h, w = header.tile_box(i)
        assert h > 0
        assert w > 0
        assert previous < (row, col)
        previous = row, col
        covered[row : row + h, col : col + w] += 1
    assert (covered == 1).all()
    for i in (-1, header.tile_count):
        with pytest.raises(IndexError):
            header.tile_box(i)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 2**31},
        {"bands": 0},
        {"quality_step": -1},
        {"quality_step": 2**61},
        {"lapping": -1},
        {"lapping": 4},
        {"tile_code": 256},
        {"transform": 256},
        {"dtype": "float64"},
        {"layout": "WH"},
        {"layout": "HW"},
        {"weights_id": b"short"},
        {"parameters": b"x"},
        {"parameters": b"x", "transform": 1},
        {"adaptation": b"x\0"},
    ],
)
def test_invalid_fields(change):
    with pytest.raises(InvalidInputError):
        Header(**{"width": 1, "height": 1, "weights_id": ID, "quality_step": 0} | change)


def test_to_json():
    header = Header(width=4, height=3, weights_id=ID, quality_step=7)
    assert header.to_json() == {
        "width": 4,
        "height": 3,
        "bands": 3,
        "dtype": "uint8",
        "layout": "HWC",
        "weights_id": "0001020304050607",
        "quality_step": 7,
        "lapping": 0,
        "tile_code": 0,
        "transform": 0,
        "parameters": "",
        "adaptation": "",
    }
