"""`max_error`: every valid value comes back within its bound, whatever the image is, and everywhere the same."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.bounded import lattice, planes, predictor
from learned_codec.bounded import tile as bounded
from learned_codec.bounded.residuals import ResidualEncoder
from learned_codec.errors import BoundError, CorruptDataError, InvalidInputError, RateError, UnsupportedVersionError
from learned_codec.tiling import bounded as tiling
from learned_codec.values.arrays import BOUNDED_DTYPES

GOLDEN = Path(__file__).parents[1] / "golden" / "bounded"
INTEGERS = [name for name in BOUNDED_DTYPES if name not in ("float32", "bool")]

settings.register_profile("bounded", deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
SETTINGS = settings.get_profile("bounded")
pytestmark = pytest.mark.filterwarnings("ignore:.* kept exactly:learned_codec.InputWarning")  # of random images


def scene(rng: np.random.Generator, shape: tuple[int, int, int], dtype: str, kind: int) -> np.ndarray:
    """(bands, h, w): noise over the whole range, a smooth surface, few classes, or one value."""
    height, width = shape[1:]
    low, high = (0, 2) if dtype == "bool" else (-1e5, 1e5)
    if dtype not in ("bool", "float32"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
    if kind == 0:
        values = rng.uniform(low, high, shape)
    elif kind == 1:
        y, x = np.mgrid[:height, :width]
        surface = np.sin(x / 7) + np.cos(y / 9) + rng.normal(0, 0.02, shape)
        values = low + (high - low) * (surface + 2.5) / 5
    elif kind == 2:
        values = rng.choice(rng.uniform(low, high, 5), shape[:2])[..., None].repeat(width, 2)
    else:
        values = np.full(shape, rng.uniform(low, high))
    values = np.floor(values) if dtype != "float32" else values
    top = high if dtype == "float32" else high - 1
    return values.clip(low, top).astype(dtype)


def worst(decoded: np.ndarray, original: np.ndarray, valid: np.ndarray | None = None) -> float:
    place = ... if valid is None else valid
    error = np.abs(decoded[place].astype(np.float64) - original[place].astype(np.float64))
    return float(error.max()) if error.size else 0.0


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, float, np.random.Generator]:
    """An image (bands, h, w), a bound, and what else is to be drawn at random."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 70)), draw(st.integers(1, 70))
    dtype = draw(st.sampled_from(BOUNDED_DTYPES))
    bounds = [0, 1e-3, 0.25] if dtype == "bool" else [0, 1, 2, 7, 300.5, 1e-3, 0.25, 1e7]  # a bool off by 1 is no bool
    bound = draw(st.sampled_from(bounds))
    return scene(rng, shape, dtype, draw(st.integers(0, 3))), bound, rng


@SETTINGS
@given(images(), st.sampled_from([None, 64]))
def test_every_value_is_within_the_bound(image, tile_size) -> None:
    values, bound, _ = image
    data = learned_codec.encode(values, planar=True, max_error=bound, tile_size=tile_size)
    decoded = learned_codec.decode(data)
    assert decoded.dtype == values.dtype
    assert decoded.shape == values.shape
    assert worst(decoded, values) <= bound
    info = learned_codec.inspect(data)
    assert info.max_error == (bound,) * len(values)
    assert info.model is None
    json.dumps(info.to_dict())


@SETTINGS
@given(images(), st.booleans())
def test_missing_values_are_exact_and_others_within_the_bound(image, masked) -> None:
    values, bound, rng = image
    if values.dtype.kind == "b":
        return
    missing = rng.random(values.shape) < 0.3
    nodata = values.reshape(-1)[0].item()
    values = np.where(missing, values.dtype.type(nodata), values)
    mask = rng.random(values.shape[1:]) < 0.8 if masked else None
    if values.dtype.kind == "f":
        values[0, 0] = np.nan
        values[0, :, 0] = -np.inf
    data = learned_codec.encode(values, planar=True, max_error=bound, nodata=nodata, mask=mask)
    decoded = learned_codec.decode(data)
    seen = np.broadcast_to(True if mask is None else mask, values.shape)
    real = seen & np.isfinite(values.astype(np.float64)) & (values != values.dtype.type(nodata))
    assert worst(decoded, values, real) <= bound
    gone = seen & ~real
    np.testing.assert_array_equal(decoded[gone], values[gone])
    assert not (decoded[real] == values.dtype.type(nodata)).any()


@pytest.mark.parametrize("dtype", BOUNDED_DTYPES)
def test_lossless_means_bit_by_bit(dtype) -> None:
    rng = np.random.default_rng(1)
    for kind in range(4):
        values = scene(rng, (3, 61, 83), dtype, kind)
        decoded = learned_codec.decode(learned_codec.encode(values, planar=True, max_error=0))
        assert decoded.tobytes() == values.tobytes()


def test_floats_of_every_kind_are_lossless() -> None:
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, (40, 50), dtype=np.uint32).view(np.float32)
    decimals = (rng.integers(-50_000, 50_000, (40, 50)) * 0.01).astype(np.float32)
    zeros = np.where(rng.random((40, 50)) < 0.5, np.float32(0), np.float32(-0.0))
    tiny = (rng.random((40, 50)) * 1e-42).astype(np.float32)
    for values in (bits, decimals, zeros, tiny):
        decoded = learned_codec.decode(learned_codec.encode(values, max_error=0))
        finite = np.isfinite(values)
        np.testing.assert_array_equal(decoded[finite].view(np.uint32), values[finite].view(np.uint32))
        np.testing.assert_array_equal(decoded, values)
    steps = learned_codec.encode(decimals, max_error=0)
    assert len(steps) < 0.62 * decimals.nbytes  # on a grid of their own


def test_a_bound_for_each_band() -> None:
    values = scene(np.random.default_rng(3), (3, 90, 70), "uint16", 1)
    bounds = [0, 5, 400]
    decoded = learned_codec.decode(learned_codec.encode(values, planar=True, max_error=bounds))
    for band, bound in enumerate(bounds):
        assert worst(decoded[band], values[band]) <= bound
    assert worst(decoded[2], values[2]) > 5


@pytest.mark.parametrize("bound", [0, 3])
def test_a_window_is_that_part_of_the_whole(bound) -> None:
    values = scene(np.random.default_rng(4), (2, 200, 150), "int16", 1)
    data = learned_codec.encode(values, planar=True, max_error=bound, tile_size=64, threads=2)
    whole = learned_codec.decode(data)
    with learned_codec.open(io.BytesIO(data)) as reader:
        assert f"{reader!r}".endswith("lossless>" if bound == 0 else "max_error 3>")
        for window in ((0, 0, 200, 150), (60, 10, 9, 130), (199, 149, 1, 1)):
            row, column, height, width = window
            part = reader.read(window=window, bands=2)
            np.testing.assert_array_equal(part, whole[1, row : row + height, column : column + width])
    np.testing.assert_array_equal(learned_codec.decode(data, threads=1), whole)


def test_reduced_images_are_means() -> None:
    values = scene(np.random.default_rng(13), (2, 128, 192), "int32", 1)
    data = learned_codec.encode(values, planar=True, max_error=0, tile_size=64)
    means = values.reshape(2, 32, 4, 48, 4).mean((2, 4))
    np.testing.assert_allclose(learned_codec.decode(data, scale=1 / 4), means, atol=1)


def test_damage_costs_a_tile() -> None:
    values = scene(np.random.default_rng(5), (1, 200, 150), "uint8", 1)[0]
    data = bytearray(learned_codec.encode(values, max_error=0, tile_size=64))
    data[len(data) // 2] ^= 1
    report = learned_codec.check(bytes(data))
    assert len(report.damaged_tiles) == 1
    with pytest.raises(CorruptDataError):
        learned_codec.decode(bytes(data))
    row, column = (64 * number for number in divmod(report.damaged_tiles[0], 3))
    expected = values.copy()
    expected[row : row + 64, column : column + 64] = 0
    np.testing.assert_array_equal(learned_codec.decode(bytes(data), errors="fill"), expected)


def test_the_report_and_the_header_say_the_bound() -> None:
    data = learned_codec.encode(np.zeros((70, 70), np.uint8), max_error=2)
    assert learned_codec.check(data).message.endswith("max_error 2")
    assert learned_codec.inspect(data).to_dict()["max_error"] == [2.0]


def test_float32_and_float64_decode_alike(monkeypatch) -> None:
    """Whatever holds the integers, they are the same: no sum is ever rounded."""
    values = scene(np.random.default_rng(6), (3, 130, 170), "uint8", 1)
    payload = bounded.encode_tile(values, None, [1] * 3)
    decoded = bounded.decode_tile(payload, values.shape, values.dtype, None)
    monkeypatch.setattr(predictor, "dtype_for", lambda *_: np.dtype(np.float64))
    monkeypatch.setattr(predictor, "SMALL", 0)
    monkeypatch.setattr(planes, "storage", lambda _: np.dtype(np.float64))
    np.testing.assert_array_equal(bounded.decode_tile(payload, values.shape, values.dtype, None), decoded)
    monkeypatch.setattr(predictor, "STRIP", 100)
    np.testing.assert_array_equal(bounded.decode_tile(payload, values.shape, values.dtype, None), decoded)


@SETTINGS
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300))
def test_sums_that_dont_fit_are_refused(seed, height, top) -> None:
    rng = np.random.default_rng(seed)
    ranges = [int(top) << int(rng.integers(0, 30)), height]
    for step in lattice.PASSES:
        found = predictor.PassWeights(
            rng.integers(-(2**15), 2**15, predictor.features_of(step, 1)).astype(np.int16),
            rng.integers(0, 256, predictor.activities_of(1)).astype(np.uint8),
            np.zeros(predictor.SHADES, np.int8),
        )
        try:
            dtype = predictor.dtype_for(found, ranges)
        except CorruptDataError:
            continue
        # With the largest possible features, a sum is the same as with exact integers.
        spread = np.repeat([ranges[0], 4 * ranges[0], ranges[1], 4 * ranges[0]], [len(step.own), 1, 9, 1])
        spread *= np.sign(found.values.astype(np.int64))
        exact = sum(int(w) * int(s) for w, s in zip(found.values, spread, strict=True))
        assert int(found.values.astype(dtype) @ spread.astype(dtype)) == exact


@SETTINGS
@given(st.integers(0, 2**32), st.integers(0, 33), st.integers(0, 33))
def test_features_are_what_exact_integers_say(seed, bits, step_bits) -> None:
    """The two that are quotients, of whatever differences; in float32 if they are small."""
    rng = np.random.default_rng(seed)
    ranges = [2**bits, int(rng.integers(1, 2**bits + 1))]
    step = 2 * (2 ** min(step_bits, bits) // 2) + 1
    own = rng.integers(-ranges[0], ranges[0] + 1, (4, 1, 50)) >> rng.integers(0, bits + 1, (4, 1, 50))
    told = rng.integers(-ranges[1], ranges[1] + 1, (5, 1, 50)) >> rng.integers(0, bits + 1, (5, 1, 50))
    dtype = np.float32 if bits < 10 else np.float64
    near = predictor._for_products(own.astype(dtype), ranges)
    there = predictor._for_products(told.astype(dtype), ranges)
    along, alike = predictor._along(near)[0], predictor._alike(near, there, step)[0]
    most = predictor.LARGEST
    for i in range(50):
        a, b, c, d = (min(max(int(v), -most), most) for v in own[:, 0, i])
        assert along[i] == 2 * (a + b - c - d) * (abs(c - d) - abs(a - b)) // (abs(a - b) + abs(c - d) + 2)
        middle, *others = (min(max(int(v), -most), most) for v in told[:, 0, i])
        both = sum(x * y for x, y in zip((a, b, c, d), others, strict=True))
        assert alike[i] == 4 * both * middle // (sum(x * x for x in others) + 2 * min(step, most) ** 2)


def test_an_encoder_that_errs_is_found_out(monkeypatch) -> None:
    def shifted(payload, shape, dtype, valid):
        return bounded.decode_tile(payload, shape, dtype, valid) + dtype.type(1)

    monkeypatch.setattr(tiling, "decode_tile", shifted)
    with pytest.raises(BoundError):
        learned_codec.encode(np.arange(6400, dtype=np.uint16).reshape(80, 80), max_error=0)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 50},
        {"bpp": 0},
        {"psnr": 40},
        {"model": "mono-2"},
        {"max_error": -1},
        {"max_error": np.nan},
        {"max_error": "1"},
        {"max_error": True},
        {"max_error": [1, 2]},
        {"max_error": [[1], [2], [3]]},
    ],
)
def test_arguments_that_make_no_sense(options) -> None:
    with pytest.raises(InvalidInputError):
        learned_codec.encode(np.zeros((16, 16, 3), np.uint8), **({"max_error": 1} | options))


def test_values_that_seem_to_stand_for_none_spoil_nothing() -> None:
    """So there is no warning, which would be an error here."""
    values = np.random.default_rng(14).normal(300, 5, (90, 100)).astype(np.float32)
    values[20:60, 30:50] = -9999
    for bound in (0, 0.1):
        assert worst(learned_codec.decode(learned_codec.encode(values, max_error=bound)), values) <= bound


def test_with_a_bpp_a_larger_file_is_an_error() -> None:
    values = scene(np.random.default_rng(13), (3, 64, 64), "uint8", 1)
    data = learned_codec.encode(values, planar=True, max_error=1)
    taken = 8 * len(data) / 64**2
    assert learned_codec.encode(values, planar=True, max_error=1, bpp=taken) == data
    with pytest.raises(RateError, match="with max_error 1,"):
        learned_codec.encode(values, planar=True, max_error=1, bpp=0.99 * taken)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex64", "float16"])
def test_dtypes_that_cant_be_bounded(dtype) -> None:
    with pytest.raises(InvalidInputError, match="can be encoded with max_error"):
        learned_codec.encode(np.zeros((16, 16), dtype), max_error=1)


@pytest.mark.parametrize("dtype", ["int8", "bool", "uint32", "int32"])
def test_models_dont_take_what_they_would_spoil(dtype) -> None:
    with pytest.raises(InvalidInputError, match="max_error"):
        learned_codec.encode(np.zeros((16, 16), dtype))


def test_booleans_have_no_nodata() -> None:
    with pytest.raises(InvalidInputError):
        learned_codec.encode(np.zeros((16, 16), bool), max_error=0, nodata=0)


def test_flat_tiles_are_nearly_free() -> None:
    image = np.full((1024, 1024, 3), 7, np.uint8)
    assert len(learned_codec.encode(image, max_error=0)) < 100
    image[100:300, 200:700] = 9
    assert len(learned_codec.encode(image, max_error=0)) < 1000


def test_classes_take_no_more_than_text_compression() -> None:
    import zlib

    rng = np.random.default_rng(7)
    seeds = rng.uniform(0, 256, (40, 2))
    y, x = np.mgrid[:256, :256]
    nearest = np.argmin((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2, 2)
    classes = (nearest % 9 * 10).astype(np.uint8)
    differences = np.diff(classes, axis=1, prepend=np.uint8(0))
    assert len(learned_codec.encode(classes, max_error=0)) < min(
        len(zlib.compress(plane.tobytes(), 9)) for plane in (classes, differences)
    )
    assert len(learned_codec.encode(classes, max_error=5)) <= len(learned_codec.encode(classes, max_error=0)) + 8


def test_bounds_save_bytes() -> None:
    values = scene(np.random.default_rng(8), (3, 128, 128), "uint8", 1)
    sizes = [len(learned_codec.encode(values, planar=True, max_error=bound)) for bound in (0, 1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 0.8 * values.nbytes


@settings(SETTINGS, max_examples=150)
@given(st.data())
def test_damaged_payloads_are_errors_or_images(data) -> None:
    """Without checksums in front: whatever the bytes, an error of ours or values of the right shape, and soon."""
    rng = np.random.default_rng(data.draw(st.integers(0, 3)))
    dtype = data.draw(st.sampled_from(["uint8", "float32", "int32"]))
    values = scene(rng, (2, 40, 30), dtype, data.draw(st.integers(1, 2)))
    payload = bytearray(bounded.encode_tile(values, None, [data.draw(st.sampled_from([0, 2]))] * 2))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = payload[: data.draw(st.integers(0, len(payload)))] if data.draw(st.booleans()) else payload
    try:
        decoded = bounded.decode_tile(bytes(cut), values.shape, values.dtype, None)
    except learned_codec.errors.BitstreamError:
        return
    assert decoded.shape == values.shape


@settings(SETTINGS, max_examples=100)
@given(st.data())
def test_damaged_descriptions_are_errors_or_images(data) -> None:
    import zlib

    from learned_codec.bitstream import varint

    values = scene(np.random.default_rng(9), (2, 40, 30), "uint8", data.draw(st.integers(1, 2)))
    payload = bounded.encode_tile(values, None, [0, 0])
    length, at = varint.decode(payload)
    found = bytearray(zlib.decompress(payload[at : at + length]))
    for _ in range(data.draw(st.integers(1, 3))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    packed = zlib.compress(bytes(found))
    try:
        decoded = bounded.decode_tile(
            varint.encode(len(packed)) + packed + payload[at + length :], values.shape, values.dtype, None
        )
    except learned_codec.errors.BitstreamError:
        return
    assert decoded.shape == values.shape


def test_a_header_of_a_model_cant_have_the_dtypes_of_none() -> None:
    from dataclasses import replace

    from learned_codec import bitstream

    data = learned_codec.encode(np.zeros((64, 64), np.uint8), quality=20)
    container = bitstream.read(data)
    again = bitstream.write(replace(container.header, dtype="int8"), [bytes(container.tile(0))])
    with pytest.raises(UnsupportedVersionError):
        learned_codec.decode(again)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.lci")))
def test_golden_files_decode_to_the_same_values_for_ever(name) -> None:
    decoded = learned_codec.decode((GOLDEN / f"{name}.lci").read_bytes())
    with np.load(GOLDEN / f"{name}.npz") as kept:
        expected = kept["arr_0"]
    assert decoded.dtype == expected.dtype
    np.testing.assert_array_equal(decoded, expected)


def test_there_are_golden_files() -> None:
    assert len(list(GOLDEN.glob("*.lci"))) >= 6


def test_weights_are_fitted_only_where_that_pays() -> None:
    rng = np.random.default_rng(10)
    for shape, sets, fitted in (((20, 20), 1, False), ((100, 100), 1, True), ((400, 500), 3, True)):
        numbers = rng.integers(0, 99, shape).astype(np.float32)
        model, _ = planes.encode_plane(planes.PlaneSource(numbers, None, 0, [], [99]), ResidualEncoder())
        assert len(model.weights) == sets
        assert all(one.values.any() == fitted for passes in model.weights for one in passes)


@pytest.mark.parametrize("bound", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "float32"])
def test_noise_takes_no_more_than_its_plain_bits(dtype, bound) -> None:
    rng = np.random.default_rng(11)
    bits = 1 if dtype == "bool" else 8 * np.dtype(dtype).itemsize
    values = rng.integers(0, 2**bits, (2, 120, 130), np.uint64).astype(f"u{max(1, bits // 8)}").view(dtype)
    if dtype == "float32":
        values = np.where(np.isfinite(values), values, np.float32(0))
        bound = 0
    payload = bounded.encode_tile(values, None, [bound] * 2)
    assert len(payload) < values.size * bits / 8 + 60
    decoded = bounded.decode_tile(payload, values.shape, values.dtype, None)
    assert worst(decoded, values) <= bound


@pytest.mark.parametrize("bound", [0, 0.01])
def test_what_repeats_takes_next_to_nothing(bound) -> None:
    """Where LZMA finds what a prediction can't: here of floats, in numbers of four bytes."""
    rng = np.random.default_rng(12)
    values = np.tile(rng.normal(size=(1, 8, 256)).astype(np.float32), (1, 32, 1))
    payload = bounded.encode_tile(values, None, [bound])
    assert len(payload) < 0.06 * values.nbytes
    decoded = bounded.decode_tile(payload, values.shape, values.dtype, None)
    assert worst(decoded, values) <= bound


def test_files_and_their_classes(tmp_path) -> None:
    rasterio = pytest.importorskip("rasterio")
    classes = np.random.default_rng(11).integers(0, 5, (80, 90)).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        form = {"driver": "GTiff", "height": 80, "width": 90, "count": 1, "dtype": "uint8"}
        with rasterio.open(tmp_path / "a.tif", "w", **form) as raster:
            raster.write(classes, 1)
            raster.write_colormap(1, {k: (10 * k, 0, 0, 255) for k in range(5)})
        with pytest.raises(InvalidInputError, match="raster of classes"):
            learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=1)
        info = learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", profile="classes")
        assert info.max_error == (0.0,)
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "b.tif")
        with rasterio.open(tmp_path / "b.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), classes)
            assert raster.colormap(1)[3] == (30, 0, 0, 255)


@pytest.mark.parametrize("holder", ["file", "band"])
@pytest.mark.parametrize("said", [{"LAYER_TYPE": "thematic"}, {"Layer_Type": "Thematic"}, {"LAYER_TYPE": "athematic"}])
def test_reduced_images_and_overviews_of_classes_have_no_other_classes(tmp_path, holder, said) -> None:
    rasterio = pytest.importorskip("rasterio")
    classes = np.random.default_rng(11).choice([1, 5, 200], (80, 90)).astype(np.uint8)
    form = {"driver": "GTiff", "height": 80, "width": 90, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "a.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **form) as raster:
        raster.write(classes, 1)
        raster.update_tags(1 if holder == "band" else 0, **said)
        raster.build_overviews([2])
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", profile="classes")
    learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "b.tif", overviews=True)
    learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "c.tif", scale=1 / 4)
    for name, options in (("b.tif", {"overview_level": 0}), ("c.tif", {})):
        with rasterio.open(tmp_path / name, **options) as raster:
            assert set(np.unique(raster.read())) <= {1, 5, 200}  # if it isn't declared, its few values tell


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int32"])
def test_rasters_of_other_integers(tmp_path, dtype) -> None:
    rasterio = pytest.importorskip("rasterio")
    values = scene(np.random.default_rng(12), (2, 70, 60), dtype, 1)
    form = {"driver": "GTiff", "height": 70, "width": 60, "count": 2, "dtype": dtype, "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "a.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **form) as raster:
        raster.write(values)
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as raster:
        assert raster.dtypes[0] == dtype
        np.testing.assert_array_equal(raster.read(), values)


@SETTINGS
@given(
    value=st.floats(allow_nan=False, allow_infinity=False, width=32),
    bound=st.sampled_from([0, 1e-6, 0.1, 3, 1e30]),
    holes=st.booleans(),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90)),
)
def test_images_of_one_value_come_back_exactly(value: float, bound: float, holes: bool, shape) -> None:
    """Whatever the bound, as it costs nothing."""
    values = np.full(shape, value, np.float32)
    if holes:
        values[:, ::3, ::2] = np.nan
    data = learned_codec.encode(values, planar=True, max_error=bound)
    np.testing.assert_array_equal(learned_codec.decode(data), values)
