"""What has no value: how it is filled, and that it is kept exactly."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from learned_codec.bitstream import varint
from learned_codec.errors import BitstreamError, CorruptDataError, UnsupportedVersionError
from learned_codec.packing import packed
from learned_codec.values.inpaint import fill
from learned_codec.values.mask import VALID, MaskSpec, Side, holds
from learned_codec.values.planes import _gaps, estimated_size, pack_plane

QUICK = settings(max_examples=150, deadline=None, derandomize=True)

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.sampled_from([(1, 300), (300, 1), (64, 64)])

# -- fill --------------------------------------------------------------------------------------------------------------


@st.composite
def planes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values, among them NaN where not valid, and what is valid: at random, or a half."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    share = draw(st.sampled_from([0.01, 0.3, 0.9, 0.999]))
    valid = rng.random(shape) < share
    if draw(st.booleans()):
        valid[:, shape[1] // 2 :] = draw(st.booleans())
    values = rng.normal(draw(st.sampled_from([0.0, 0.5, -70.0])), draw(st.sampled_from([0.0, 0.2, 50.0])), shape)
    values = values.astype(np.float32)
    values[~valid] = draw(st.sampled_from([np.nan, np.inf, -3.4e38, 0.0]))
    return values, valid


@QUICK
@given(planes())
def test_fill(both: tuple[np.ndarray, np.ndarray]) -> None:
    values, valid = both
    before = values.copy()
    filled = fill(values, valid)
    np.testing.assert_array_equal(values, before)  # not in place
    assert filled.dtype == np.float32
    assert filled.shape == values.shape
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[valid], values[valid])
    if valid.any():
        low, high = values[valid].min(), values[valid].max()
        slack = 1e-5 * max(abs(low), abs(high))
        assert low - slack <= filled.min()
        assert filled.max() <= high + slack
    else:
        assert not filled.any()


def test_fill_is_smooth() -> None:
    """A ramp with a hole stays nearly a ramp, and far outside it becomes flat: no step costs bits."""
    ramp = np.tile(np.arange(128, dtype=np.float32), (128, 1))
    hole = np.ones(ramp.shape, bool)
    hole[40:80, 50:90] = False
    assert np.abs(fill(ramp, hole) - ramp).max() < 20
    right = np.ones(ramp.shape, bool)
    right[:, 64:] = False
    filled = fill(ramp, right)
    assert np.abs(np.diff(filled[:, 63:], axis=1)).max() < 16
    assert np.abs(np.diff(filled[:, 70:], axis=1)).max() < 8


def test_fill_does_not_depend_on_how_many_pixels_are_valid_where() -> None:
    """Half way between a large and a small region lies their middle."""
    values, valid = np.zeros((1, 256), np.float32), np.zeros((1, 256), bool)
    valid[0, :100] = valid[0, 250:] = True
    values[0, 250:] = 1
    assert 0.2 < fill(values, valid)[0, 175] < 0.8


def stream(body: bytes) -> bytes:
    packed = zlib.compress(body)
    return varint.encode(len(packed)) + packed


# -- packed ------------------------------------------------------------------------------------------------------------


@st.composite
def sides(draw: st.DrawFn) -> tuple[MaskSpec, Side, int]:
    """A MaskSpec, a side that fits it, and the number of bands."""
    height, width = draw(SHAPES)
    bands = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    fills = draw(st.sampled_from([(), (0.0,), (np.nan, np.inf, -np.inf), (-9999.0, np.nan, np.inf, -np.inf)]))
    constants = draw(st.sampled_from([(), (0.0,), (255.0, 3.0)]))
    kind = draw(st.sampled_from([None, "mask", "alpha"]))
    bits = draw(st.sampled_from([8, 16])) if kind == "alpha" else 8
    classes = plane = None
    if fills + constants and draw(st.booleans()):
        count = draw(st.sampled_from([1, bands]))
        classes = rng.integers(0, len(fills + constants), (count, height, width), np.uint8)
        classes[rng.random(classes.shape) < draw(st.sampled_from([0.0, 0.5, 0.99, 1.0]))] = VALID
        classes[..., width // 2 :] = draw(st.sampled_from([0, VALID]))
        if draw(st.booleans()):  # bands that lack nearly the same pixels
            classes[1:] = np.where(rng.random(classes[1:].shape) < 0.02, classes[1:], classes[0])
    if kind == "mask":
        plane = np.where(rng.random((height, width)) < draw(st.sampled_from([0.0, 0.1, 1.0])), 255, 0).astype(np.uint8)
    elif kind == "alpha":
        plane = rng.integers(0, 1 << bits, (height, width), f"uint{bits}")
    return MaskSpec(fills, kind, constants, bits), Side(classes, plane), bands


@QUICK
@given(sides())
def test_sides_come_back(drawn: tuple[MaskSpec, Side, int]) -> None:
    mask_spec, side, bands = drawn
    height, width = next((p.shape[-2:] for p in (side.classes, side.plane) if p is not None), (3, 5))
    again = MaskSpec.from_bytes(mask_spec.to_bytes())
    assert repr(again) == repr(mask_spec)  # NaN isn't equal to itself
    found = again.unpack(mask_spec.pack(side), bands, height, width)
    for one, other in ((found.classes, side.classes), (found.plane, side.plane)):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_bands_that_lack_nearly_the_same_pixels_share_their_edges() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.indices((200, 240))
    edge = 40 + rows // 3 + np.cumsum(rng.integers(-1, 2, 200))[:, None]
    classes = np.where(columns < edge, 0, VALID).astype(np.uint8).repeat(4, 0).reshape(200, 4, 240).swapaxes(0, 1)
    for band in classes[1:]:
        band[rng.integers(0, 200, 5), rng.integers(100, 240, 5)] = 0
    spec = MaskSpec((0.0,))
    alone = [len(spec.pack(Side(band[None], None))) for band in classes]
    packed = spec.pack(Side(classes, None))
    assert len(packed) < sum(alone) / 2
    np.testing.assert_array_equal(spec.unpack(packed, 4, 200, 240).classes, classes)


@QUICK
@given(
    st.sampled_from([st.integers(0, 255), st.sampled_from([0, 1, 7, 255])]).flatmap(
        lambda levels: arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 19)), elements=levels)
    )
)
def test_any_plane_comes_back(plane: np.ndarray) -> None:
    mask_spec = MaskSpec((), "alpha")
    found = mask_spec.unpack(mask_spec.pack(Side(None, plane)), 3, *plane.shape).plane
    assert found is not None
    np.testing.assert_array_equal(found, plane)


def test_a_mask_of_large_areas_costs_little() -> None:
    y, x = np.mgrid[:1024, :1024]
    plane = np.where(0.3 * y + x > 700, 255, 0).astype(np.uint8)  # the edge of an orbit
    mask_spec = MaskSpec((), "mask")
    assert len(mask_spec.pack(Side(None, plane))) < 50
    assert len(mask_spec.pack(Side(None, np.full_like(plane, 255)))) == 3


def test_borders_of_several_values_cost_little() -> None:
    plane = np.full((512, 768), 255, np.uint8)
    plane[:, :3], plane[-2:], plane[100:140, 700:] = 0, 1, 2
    mask_spec = MaskSpec((0.0, 1.0, 2.0))
    packed = mask_spec.pack(Side(plane[None], None))
    assert len(packed) < 80
    np.testing.assert_array_equal(mask_spec.unpack(packed, 3, 512, 768).classes, plane[None])  # type: ignore[arg-type]


def test_single_pixels_cost_little() -> None:
    """No code takes fewer bits for a pixel that is missing at random than 8.1 (1 %) and 11.4 (1 in 1,000)."""
    rng = np.random.default_rng(0)
    mask_spec = MaskSpec((), "mask")
    for share, most in ((0.01, 9.0), (0.001, 12.5)):
        plane = np.where(rng.random((512, 512)) < share, 0, 255).astype(np.uint8)
        assert 8 * len(mask_spec.pack(Side(None, plane))) < most * (plane == 0).sum()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.95])
def test_single_pixels_cost_no_more_beside_a_border(share: float) -> None:
    rng = np.random.default_rng(0)
    holes = np.where(rng.random((256, 256)) < share, 0, 255).astype(np.uint8)
    framed = np.pad(holes[20:-20, 20:-20], 20, constant_values=1)
    framed[holes == 0] = 0
    mask_spec = MaskSpec((0.0, 1.0))
    without, with_border = (mask_spec.pack(Side(plane[None], None)) for plane in (holes, framed))
    assert len(with_border) < 1.15 * len(without)
    np.testing.assert_array_equal(mask_spec.unpack(with_border, 1, 256, 256).classes, framed[None])  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 2000), (2, 900), (1, 17), (900, 1)])
def test_a_few_long_rows_come_back(shape: tuple[int, int]) -> None:
    """With any number of edges, up to more than a list of edges may have."""
    mask_spec, rng = MaskSpec((0.0,)), np.random.default_rng(0)
    for edges in range(1, 60):
        bits = np.zeros(shape, bool)
        bits.reshape(-1)[rng.choice(bits.size, min(edges, bits.size), replace=False)] = True
        for there in (bits, np.logical_xor.accumulate(bits, 1)):
            plane = np.where(there, 0, 255).astype(np.uint8)
            side = mask_spec.unpack(mask_spec.pack(Side(plane[None], None)), 1, *shape)
            np.testing.assert_array_equal(side.classes if side.classes is not None else plane[None], plane[None])


@QUICK
@given(st.integers(0, 999), st.sampled_from([0.0, 0.02, 0.2]), SHAPES)
def test_regions_with_single_pixels_come_back(seed: int, share: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    bits = (y * rng.normal() + x * rng.normal() + 3 * np.sin(y / 3) > 5) ^ (rng.random(shape) < share)
    plane = np.where(bits, rng.integers(1, 256), 0).astype(np.uint8)
    mask_spec = MaskSpec((), "mask")
    found = mask_spec.unpack(mask_spec.pack(Side(None, plane)), 1, *shape).plane
    np.testing.assert_array_equal(found, plane)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\3\0\xff\x10\0\1\0", "more single pixels"),
        (b"\3\0\xff\1\x20\1\0", "are missing"),
        (b"\3\0\xff\1\2\1\xff", "are missing"),
        (b"\3\0\xff\1\5\1\x7e", "outside the tile"),
        (b"\3\0\xff\1\2\2\0\0", "bytes follow"),
        (b"\3\0\xff\1\2\1\1", "bytes follow"),
        (b"\3\0\xff\0" + stream(b"\0\4"), "don't fit"),
        (b"\3\0\xff\0" + stream(b"\6\3"), "don't fit"),
        (b"\3\0\xff\0" + stream(b"\1\3\4\2\2"), "in order"),
        (b"\3\0\xff\0" + stream(b"\2\3\1\0\0\1\0\1"), "in order"),
        (b"\3\0\xff\0" + stream(b"\0\3\0"), "bytes follow"),
        (b"\3\0\xff\0" + stream(b"\0\2"), "damaged"),
        (b"\4\1" + 1 * b"\1\0\xff" + stream(bytes(3)), "1 layers"),
        (b"\4\5" + 5 * (b"\1\0\xff" + stream(bytes(3))), "5 layers"),
        (b"\4\2\4\0\0", "kind 4"),
        (b"\4\2\0\7", "kind 0"),
        (b"\4\2\1\0\xff" + stream(bytes(3)), "damaged"),
        (b"\5\3abc", "can't be unpacked"),
        (b"\5\11\0", "cut off"),
        (b"\5\16" + packed(bytes(14)), "15 bytes"),
        (b"\6\0\xff", "kind 6"),
    ],
)
def test_damaged_planes_of_regions(data: bytes, words: str) -> None:
    """Broken sides of a tile of 3 x 5 pixels."""
    with pytest.raises(CorruptDataError, match=words):
        MaskSpec((), "mask").unpack(b"\0" + data, 1, 3, 5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60), sides())
def test_garbage_is_noticed_or_a_side(data: bytes, drawn: tuple[MaskSpec, Side, int]) -> None:
    mask_spec, side, bands = drawn
    whole = mask_spec.pack(side)
    flipped = (
        bytes(b ^ (1 << (data[0] % 8 if i == data[-1] % max(1, len(whole)) else 9)) & 255 for i, b in enumerate(whole))
        if data
        else whole
    )
    for broken in (data, whole + data, flipped, whole[: len(data)]):
        try:
            found = mask_spec.unpack(broken, bands, 3, 5)
        except CorruptDataError:
            continue
        if found.classes is not None:
            assert found.classes.shape in ((1, 3, 5), (bands, 3, 5))
            assert set(np.unique(found.classes).tolist()) <= {*range(len(mask_spec.values)), VALID}
        assert (found.plane is None) == (mask_spec.plane is None)


def test_a_bomb_takes_no_more_memory_than_the_tile() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    for kind, levels in ((1, b"\0\xff"), (2, b""), (3, b"\0\xff\0")):
        data = b"\0" + bytes([kind]) + levels + varint.encode(len(bomb)) + bomb
        tracemalloc.start()
        with pytest.raises(CorruptDataError, match="wrong size"):
            MaskSpec((), "mask").unpack(data, 1, 100, 100)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < len(bomb) * 3 + 1_000_000


@pytest.mark.parametrize(("height", "width"), [(2**14, 16), (512, 512), (2**14, 1), (1, 2**18)])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("kind", ["runs of a row", "one run", "specks"])
def test_the_costliest_planes_take_little_for_each_pixel(height: int, width: int, kind: str, layers: int) -> None:
    """Every row a run, every edge there may be, every pixel a speck: less than decoding a pixel, and 100 bytes."""
    specks, edges = b"\0", min(16, width)
    numbers = [edges, height] + [1 if row == 0 and edge else 0 for edge in range(edges) for row in range(height)]
    if kind == "runs of a row":
        numbers = [number for _ in range(height) for number in [edges, 1, 0, *[1] * (edges - 1)]]
    elif kind == "specks":
        specks = _gaps(np.arange(height * width))
        numbers = [0, height]
    data = b"\3\0\xff" + specks + stream(b"".join(map(varint.encode, numbers)))
    data = b"\0" + (data if layers == 1 else bytes([4, layers]) + layers * data)
    blocks = -(-height // 16) * -(-width // 16)
    start = time.process_time()
    plane = MaskSpec((), "mask").unpack(data, 1, height, width).plane
    assert time.process_time() - start < 0.3 + blocks * 256 * 1e-6
    assert plane is not None
    assert plane.any()
    tracemalloc.start()
    MaskSpec((), "mask").unpack(data, 1, height, width)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + 100 * blocks * 256


def test_more_numbers_than_a_plane_can_have_are_not_unpacked() -> None:
    for numbers in ([0, 1] * 99 + [1] * 2000, [0, 1] * 4000):
        with pytest.raises(CorruptDataError, match="wrong size"):
            MaskSpec((), "mask").unpack(b"\0\3\0\xff\0" + stream(bytes(numbers)), 1, 100, 100)
    with pytest.raises(CorruptDataError, match="more bytes than they can"):
        MaskSpec((), "mask").unpack(b"\0\3\0\xff\1\0\x64" + bytes(100) + stream(b"\0\x64"), 1, 10, 10)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_any_mask_spec_is_ours_or_an_error(data: bytes) -> None:
    try:
        mask_spec = MaskSpec.from_bytes(data)
    except BitstreamError:
        return
    assert mask_spec.to_bytes() == data
    for dtype in map(np.dtype, ("uint8", "int16", "float32")):
        try:
            mask_spec.check(dtype)
        except CorruptDataError:
            continue
        values = np.zeros((1, 2, 3), dtype)
        mask_spec.restore(values, Side(np.zeros((1, 2, 3), np.uint8), None) if mask_spec.values else Side(None, None))


def test_mask_specs_that_make_no_sense() -> None:
    for data in (b"", b"\0", b"\0\1", bytes([0, 255]) + bytes(255 * 8), bytes(3)):
        with pytest.raises(CorruptDataError, match="MASK"):
            MaskSpec.from_bytes(data)
    with pytest.raises(UnsupportedVersionError, match="later version"):
        MaskSpec.from_bytes(b"\7\0")


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 0), ("uint8", 255), ("uint16", 7), ("int16", -32768), ("int16", 32767), ("float32", -9999.0),
     ("float32", 0.1), ("float32", -3.4028234663852886e38), ("float32", 3.4028234663852886e38), ("float32", None)],
)  # fmt: skip
@pytest.mark.parametrize("plane", [False, True])
def test_what_has_no_value_comes_back_exactly(dtype: str, nodata: float | None, plane: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 100, (3, 20, 30)).astype(dtype)
    fills: tuple[float, ...] = () if nodata is None else (nodata,)
    if dtype == "float32":
        fills += (np.nan, np.inf, -np.inf)
    for value in fills:
        values[rng.random(values.shape) < 0.1] = value  # a band each
        values[:, rng.random(values.shape[1:]) < 0.05] = value
    mask = np.where(rng.random((20, 30)) < 0.8, 255, 0).astype(np.uint8) if plane else None
    mask_spec = MaskSpec(fills, "mask" if plane else None)
    mask_spec.check(values.dtype)
    side = mask_spec.classify(values, mask)
    valid = mask_spec.valid(side, 3)
    assert valid is not None
    assert valid.shape == values.shape
    real = np.isfinite(values) & (values != np.array(0.5 if nodata is None else nodata, dtype))
    np.testing.assert_array_equal(valid, real if mask is None else real & (mask > 0))

    # The worst that coding can do: every valid pixel becomes nodata.
    decoded = np.full(values.shape, 50 if nodata is None else nodata, dtype)
    mask_spec.restore(decoded, side)
    hidden = np.zeros(values.shape, bool) if mask is None else np.broadcast_to(mask == 0, values.shape)
    np.testing.assert_array_equal(decoded[~real], values[~real])
    assert (decoded[real & hidden] == 0).all()
    if nodata is not None:
        assert not (decoded[valid] == np.array(nodata, dtype)).any()
        assert np.abs(decoded[valid].astype(float) - nodata).max() <= (1 if dtype != "float32" else abs(nodata) / 1e6)
    assert np.isfinite(decoded[valid]).all()
    again = mask_spec.classify(decoded, mask)
    np.testing.assert_array_equal(mask_spec.valid(again, 3), valid)


@QUICK
@given(st.data(), st.sampled_from(["uint8", "int16", "uint16", "float32"]))
def test_no_value_becomes_a_fill_of_another(data: st.DataObject, name: str) -> None:
    """Fills in any order, next to each other and at the ends of the range: what is valid is moved off all of them."""
    dtype = np.dtype(name)
    if dtype.kind == "f":
        ends = [np.nan, np.inf, -np.inf, 0.0, 3.4028234663852886e38, -3.4028234663852886e38]
        near = [float(np.nextafter(np.float32(0), np.float32(sign))) for sign in (1, -1)]
        values = st.sampled_from([*ends, *near, float(np.nextafter(np.float32(ends[4]), np.float32(0)))])
    else:
        low, high = (float(end) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
        values = st.sampled_from([low, low + 1, low + 2, high - 2, high - 1, high]) | st.integers(1, 9).map(float)
    fills = tuple(data.draw(st.lists(values, min_size=1, max_size=8, unique=True)))
    mask_spec = MaskSpec(fills)
    decoded = np.array(fills, dtype).reshape(1, 1, -1)
    before = decoded.copy()
    mask_spec.restore(decoded, Side(None, None))
    moved = ~np.isnan(before)
    assert mask_spec.classify(decoded[moved].reshape(1, 1, -1), None).classes is None
    assert np.isfinite(decoded[moved]).all()
    if dtype.kind != "f":
        assert np.abs(decoded.astype(int) - before.astype(int)).max() <= len(fills)


def test_all_fills_but_one() -> None:
    fills = tuple(float(value) for value in range(255, 1, -1))
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    MaskSpec(fills).restore(values, Side(None, None))
    assert set(np.unique(values).tolist()) == {0, 1}


def test_hidden_pixels_are_0_also_where_0_is_nodata() -> None:
    mask_spec = MaskSpec((0.0,), "mask")
    values = np.array([[[5, 6, 0]]], np.uint8)
    plane = np.array([[255, 0, 255]], np.uint8)
    side = mask_spec.classify(values, plane)
    decoded = np.array([[[0, 6, 3]]], np.uint8)
    mask_spec.restore(decoded, side)
    assert decoded.tolist() == [[[1, 0, 0]]]


def test_masks_of_all_bands_are_stored_once() -> None:
    values = np.ones((5, 9, 9), np.uint16)
    values[:, :4] = 0
    mask_spec = MaskSpec((0.0,))
    side = mask_spec.classify(values, None)
    assert side.classes is not None
    assert len(side.classes) == 1
    values[2, 5, 5] = 0
    assert len(mask_spec.classify(values, None).classes) == 5  # type: ignore[arg-type]
    assert mask_spec.pack(mask_spec.classify(np.ones((5, 9, 9), np.uint16), None)) == b""


@pytest.mark.parametrize(
    ("dtype", "value", "can"),
    [
        ("uint8", 255, True),
        ("uint8", 256, False),
        ("uint8", -1, False),
        ("int16", 0.5, False),
        ("uint16", np.nan, False),
        ("uint16", np.inf, False),
        ("float32", np.nan, True),
        ("float32", 1e300, False),
        ("float32", 0.1, True),
        ("float32", 0.0, True),
        ("float32", 1e-45, True),
        ("float32", 1e-50, False),  # it would be 0, and mask what is 0
    ],
)
def test_values_that_a_dtype_can_have(dtype: str, value: float, can: bool) -> None:
    assert holds(np.dtype(dtype), value) == can
    if not can:
        with pytest.raises(CorruptDataError, match=f"{dtype} can't hold"):
            MaskSpec.from_bytes(struct.pack("<BBd", 0, 1, value)).check(np.dtype(dtype))


@QUICK
@given(SHAPES, st.integers(1, 8), st.integers(0, 99), st.booleans())
def test_estimated_sizes_are_never_too_small(shape: tuple[int, int], levels: int, seed: int, smooth: bool) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, levels, shape).astype(np.uint8)
    if smooth:
        plane = np.sort(np.sort(plane, 0), 1)
    assert estimated_size(plane) >= len(pack_plane(plane))


def test_estimated_sizes_of_frames_are_near() -> None:
    plane = np.full((200, 300), 255, np.uint8)
    plane[:9], plane[:, -4:] = 0, 1
    assert estimated_size(plane) <= len(pack_plane(plane)) + 20
