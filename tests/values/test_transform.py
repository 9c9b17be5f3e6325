"""Array values to the model's domain and back, without the model: what is lost, and what may stand in a header."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import learned_codec
from learned_codec.bitstream import Header
from learned_codec.errors import BitstreamError, CorruptDataError, InvalidInputError, UnsupportedVersionError
from learned_codec.values.choose import FINEST, Samples, choose, guess_unit
from learned_codec.values.ranges import robust_range
from learned_codec.values.spectral import covariance, spectral_klt
from learned_codec.values.transform import GREY, KNEE, MATRIX_ONE, MAX_BANDS, PLAIN, SCALED, ValueTransform, unit_in

DTYPES = ("uint8", "uint16", "int16", "float32")
QUICK = settings(max_examples=150, deadline=None, derandomize=True)

EPSILON = 2.0**-21
"""The error of a few roundings in float32."""


def of_header(transform: ValueTransform) -> ValueTransform:
    """What a decoder gets: the transform through a header's bytes."""
    code, parameters = transform.in_header()
    header = Header(
        width=1,
        height=1,
        bands=transform.bands,
        dtype=transform.dtype.name,  # type: ignore[arg-type]
        layout="CHW",
        weights_id=b"12345678",
        quality_step=0,
        transform=code,
        parameters=parameters,
    )
    return ValueTransform.of_header(Header.from_bytes(header.to_bytes()), 1)


def chosen(values: np.ndarray, unit: str | None = None) -> ValueTransform:
    """For (bands, h, w) values, all of them valid."""
    return choose(values.dtype, len(values), 1, unit, Samples(values.reshape(len(values), -1)), values[0].size)  # type: ignore[arg-type]


def scale_of(values: np.ndarray, unit: str | None = None) -> float:
    """The one scale that all bands share."""
    (scale,) = set(chosen(values, unit).scales)
    return scale


def there_and_back(
    values: np.ndarray, noise: float = 0.0, unit: str | None = None, *, bounded: bool = False
) -> np.ndarray:
    """Through the model's domain, where a codec adds noise, and through the header."""
    transform = chosen(values, unit)
    decoder = of_header(transform.within(bounds_of(values)) if bounded else transform)
    if decoder.constant:
        return decoder.constants(*values.shape[1:])
    if transform.code == PLAIN:
        return decoder.from_model(transform.to_model(values, None, 1))
    planes = transform._scaled(values, None)
    assert planes.dtype == np.float32
    assert np.isfinite(planes).all()
    planes = planes + noise * np.random.default_rng(1).normal(size=planes.shape).astype(np.float32)
    return decoder._unscaled(planes)


def bound(values: np.ndarray, share: float) -> np.ndarray:
    """The error allowed of each value: a share of the range, of an outlier's distance, and float32's own."""
    transform = chosen(values)
    if transform.code == PLAIN:
        return np.zeros(values.shape)
    scales = np.array(transform.scales)[:, None, None]
    middle = np.array(transform.offsets)[:, None, None] + scales / 2
    wide = values.astype(float)
    whole = 0.5 if values.dtype.kind != "f" else 0
    return share * (scales + np.abs(wide - middle)) + EPSILON * (np.abs(wide) + np.abs(middle)) + whole


@st.composite
def rasters(draw: st.DrawFn) -> np.ndarray:
    """(bands, h, w) of any dtype: noise about any level and of any range, in a few bands much alike, or none."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    bands, height, width = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    common, own = rng.normal(size=(1, height, width)), rng.normal(size=(bands, height, width))
    alike = draw(st.sampled_from([0.0, 0.5, 0.999, 1.0]))
    if dtype.kind == "f":
        level = draw(st.sampled_from([0.0, 1.0, -273.15, 1e6, -1e20, 1e-30]))
        spread = draw(st.sampled_from([0.0, 1e-30, 1e-6, 0.1, 1e3, 1e20, 1e37]))
    else:
        level, spread = draw(st.sampled_from([0, 100, 10_000])), draw(st.sampled_from([0, 0.4, 5, 1000, 50_000]))
    values = level + spread * (alike * common + (1 - alike) * own)
    limits = np.iinfo(dtype) if dtype.kind != "f" else np.finfo(dtype)
    return np.clip(values, float(limits.min), float(limits.max)).astype(dtype)


# -- no loss but of precision ------------------------------------------------------------------------------------------


@QUICK
@given(rasters())
def test_rasters_come_back(values: np.ndarray) -> None:
    back = there_and_back(values)
    assert back.dtype == values.dtype
    assert back.shape == values.shape
    # Several bands: the components that are left out, and a matrix of 16 bits.
    share = 1e-6 if len(values) == 1 else 1.5e-3
    assert (np.abs(back.astype(float) - values) <= bound(values, share)).all()


@QUICK
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_any_finite_floats_come_back(values: np.ndarray) -> None:
    back = there_and_back(values, bounded=True)  # the middle of a constant band may be beyond what float32 holds
    assert np.isfinite(back).all()
    share = 1e-5 if len(values) == 1 else 0.02  # among a few values, a left-out component may be all of one of them
    assert (np.abs(back.astype(float) - values) <= bound(values, share)).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-40, 3.4e38, -3.4e38, 12345.678])
@pytest.mark.parametrize("bands", [1, 3])
def test_constant_floats_come_back_to_a_millionth(value: float, bands: int) -> None:
    values = np.full((bands, 4, 5), value, np.float32)
    back = there_and_back(values, noise=0.1).astype(float)
    assert np.abs(back - value).max() <= 1e-6 * abs(value) + FINEST


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_integers_of_a_small_range_are_exact_under_noise(dtype: str) -> None:
    values = np.random.default_rng(0).integers(1000, 1004, (1, 40, 40)).astype(dtype)
    assert (there_and_back(values, noise=0.02) == values).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_wraps_around(dtype: str) -> None:
    limits = np.iinfo(dtype) if dtype != "float32" else np.finfo(dtype)
    values = np.array([limits.min, limits.max] * 50, dtype).reshape(1, 10, 10)
    values = np.concatenate([values, values[:, ::-1]])
    back = there_and_back(values, noise=0.05).astype(float)
    assert np.abs(back - values).max() < 0.4 * (float(limits.max) - float(limits.min))


def test_uint8_needs_no_parameters() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    transform = chosen(values)
    assert transform.in_header() == (PLAIN, b"")
    assert (there_and_back(values) == values).all()
    grey = choose(values.dtype, 1, 3, None, Samples(values.reshape(1, -1)), values.size)
    assert grey.code == GREY
    planes = grey.to_model(values, None, 3)
    assert planes.shape == (3, 16, 16)
    assert (grey.from_model(planes) == values).all()


# -- outliers ----------------------------------------------------------------------------------------------------------


@QUICK
@given(
    exponent=st.floats(3, 30),
    sign=st.sampled_from([-1, 1]),
    count=st.integers(1, 40),
    level=st.sampled_from([0.0, -20.0, 1e4]),
    spread=st.sampled_from([1e-3, 1.0, 500.0]),
    bands=st.sampled_from([1, 1, 3]),
)
def test_hot_pixels_neither_blow_up_the_step_nor_are_clipped(
    exponent: float, sign: int, count: int, level: float, spread: float, bands: int
) -> None:
    rng = np.random.default_rng(count)
    values = (level + spread * rng.normal(size=(bands, 100, 100))).astype(np.float32)
    before = scale_of(values)
    hot = values.copy()
    places = rng.permutation(10_000)[:count]  # up to 0.4 %
    hot.reshape(bands, -1)[0, places] = sign * 6 * spread * 10**exponent
    after = chosen(hot).scales[0]
    # The extreme 0.1 % of the others may now lie within the range: no more than that.
    assert before / 1.05 <= after <= 3 * before
    noise = 0.01
    back = there_and_back(hot, noise).astype(float)
    error = np.abs(back - hot)
    rest = np.ones(hot.shape, bool)
    rest.reshape(bands, -1)[:, places] = False
    assert np.sqrt(np.mean(error[rest] ** 2)) <= 1.3 * noise * after + EPSILON * abs(level)
    # The logarithm of an outlier has the error that values have: e to the power of a few hundredths.
    distance = np.abs(hot[0].reshape(-1)[places].astype(float) - level)
    assert (error[0].reshape(-1)[places] <= 6 * noise * distance).all()


def test_hot_pixels_in_a_flat_image_leave_it_flat() -> None:
    values = np.full((1, 100, 100), 7.25, np.float32)
    values[0, 50, 50] = 1e30
    back = there_and_back(values, noise=0.01)
    assert np.abs(back - values)[values < 10].max() < 0.01
    assert back[0, 50, 50] == pytest.approx(1e30, rel=0.1)


def test_a_few_real_values_on_a_flat_ground_have_a_linear_range() -> None:
    """Islands in the sea: where most of an image is one value, the others say what the range is."""
    rng = np.random.default_rng(0)
    values = np.zeros((1, 200, 200), np.float32)
    values[0, :10, :30] = rng.uniform(1, 500, (10, 30))  # 0.75 %
    assert 400 <= scale_of(values) <= 500
    values[0, 100, 100] = 1e20
    assert 400 <= scale_of(values) <= 1500


def test_the_knee_is_smooth() -> None:
    values = np.linspace(0, 1, 20_001, dtype=np.float32).reshape(1, 1, -1)
    values[0, 0, -3:] = [1.98, 2.02, 5.0]
    transform = chosen(values)
    planes = transform._scaled(values, None)
    assert (np.diff(planes[0, 0, -3:]) > 0).all()
    assert planes[0, 0, -1] < 0.5 + KNEE + 2
    assert np.abs(there_and_back(values) - values).max() < 1e-5


def test_robust_range() -> None:
    values = np.arange(10_001, dtype=np.float64)
    assert robust_range(values) == (10, 9990)
    assert robust_range(np.full(7, 3.0)) == (3, 3)
    assert robust_range(np.array([1.0, 5.0])) == (1, 5)
    values[-30:] = 1e9  # more than 0.1 %: bounded by the 98 % in the middle
    assert robust_range(values)[1] == pytest.approx(9900 + 9800, rel=0.01)


# -- several bands -----------------------------------------------------------------------------------------------------


def correlated(bands: int, size: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * np.geomspace(1, 0.02, bands)
    return (1000 + 200 * np.tensordot(mixing, rng.normal(size=(bands, size, size)), 1)).astype(np.float32)


@QUICK
@given(st.integers(2, 12), st.integers(0, 50))
def test_the_spectral_transform_is_orthonormal(bands: int, seed: int) -> None:
    samples = correlated(bands, 16, seed).reshape(bands, -1)
    rows = spectral_klt(covariance(samples, None))
    assert np.abs(rows @ rows.T - np.eye(bands)).max() < 1e-10
    variances = (rows @ (samples - samples.mean(1, keepdims=True))).var(1)
    assert (np.diff(variances) <= 1e-6 * variances[0]).all()
    transform = chosen(samples.reshape(bands, 16, 16))
    assert transform.matrix is not None
    one = MATRIX_ONE[transform.matrix.dtype]
    stored = transform.matrix.astype(float) / one
    assert np.abs(stored @ stored.T - np.eye(len(stored))).max() < bands / one


@pytest.mark.parametrize("bands", [2, 4, 13])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_error_is_uniform_in_the_bands_scales(bands: int, dtype: str) -> None:
    values = np.clip(4 * correlated(bands) + 3000, 0, 65535).astype(dtype)
    noise = 0.01
    error = there_and_back(values, noise).astype(float) - values
    scales = np.array(chosen(values).scales)
    np.testing.assert_allclose(np.sqrt(np.mean(error**2, (1, 2))), noise * scales, rtol=0.05)
    assert (np.abs(error.mean((1, 2))) < 0.05 * noise * scales).all()


def test_components_that_are_left_out_do_not_bias() -> None:
    """Bands that are sums of two others, with unlike means: ten components say nothing and are not coded."""
    rng = np.random.default_rng(0)
    two = rng.normal(size=(2, 50, 50))
    values = np.tensordot(rng.normal(size=(12, 2)), two, 1) + np.linspace(-9, 30, 12)[:, None, None]
    values = values.astype(np.float32)
    transform = chosen(values)
    assert transform.components == 2
    back = there_and_back(values, noise=0.001)
    assert (np.abs((back - values).mean((1, 2))) < 1e-4 * np.array(transform.scales)).all()


@pytest.mark.parametrize(("side", "kind"), [(40, "int8"), (100, "int16")])
def test_coefficients_are_as_fine_as_pays(side: int, kind: str) -> None:
    values = np.clip(4 * correlated(4) + 3000, 0, 65535).astype(np.uint16)[:, :side, :side]
    values = np.tile(values, (1, -(-side // values.shape[1]), -(-side // values.shape[2])))[:, :side, :side]
    transform = chosen(values)
    assert transform.matrix is not None
    assert transform.matrix.dtype == kind
    error = there_and_back(values).astype(float) - values
    assert (np.abs(error).max((1, 2)) < 1e-3 * np.array(transform.scales)).all()


def test_bands_that_do_not_vary_cost_one_component() -> None:
    values = np.arange(5, dtype=np.uint16)[:, None, None] * np.ones((5, 8, 8), np.uint16)
    assert chosen(values).components == 1
    assert (there_and_back(values) == values).all()


@QUICK
@given(
    exponents=st.lists(st.floats(-6, 6), min_size=2, max_size=6),
    apart=st.booleans(),
    common=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_no_band_of_a_range_of_its_own_is_worse_than_alone(
    exponents: list[float], apart: bool, common: float, seed: int
) -> None:
    """Ranges of any widths that don't overlap, and such as are a decade apart in width."""
    rng = np.random.default_rng(seed)
    factors = 10.0 ** (np.array(exponents) if apart else np.unique(np.round(exponents)))
    bands = len(factors)
    values = (1 - common) * rng.normal(size=(bands, 50, 50)) + common * rng.normal(size=(1, 50, 50))
    values *= factors[:, None, None]
    if apart:
        values += 20 * np.cumsum(factors)[:, None, None]
    values = values.astype(np.float32)
    together = there_and_back(values, 0.01).astype(float) - values
    for band, error in zip(values, together, strict=True):
        alone = there_and_back(band[None], 0.01).astype(float) - band
        assert np.sqrt(np.mean(error**2)) <= 1.122 * np.sqrt(np.mean(alone**2)) + EPSILON * np.abs(band).max()


def test_bands_of_like_range_share_a_scale() -> None:
    values = np.clip(4 * correlated(13) + 3000, 0, 65535).astype(np.uint16)
    assert len(set(chosen(values).scales)) == 1
    values = np.random.default_rng(0).integers(0, 1000, (5, 40, 40)).astype(np.int16)
    assert len(set(chosen(values).scales)) == 1
    assert len(set(chosen(np.concatenate([values, 0 * values])).scales)) == 1  # what is constant has no range


# -- bands with holes of their own -------------------------------------------------------------------------------------


@QUICK
@given(
    bands=st.integers(2, 8),
    missing=st.lists(st.floats(0, 1), min_size=8, max_size=8),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
)
def test_holes_of_single_bands_harm_no_value(bands: int, missing: list[float], seed: int, dtype: str) -> None:
    """Where they are at random, in any share, up to bands that are all holes."""
    values = np.clip(4 * correlated(bands, 40, seed) + 3000, 0, 30000).astype(dtype)
    rng = np.random.default_rng(seed)
    share = np.round(np.array(missing[:bands]) * 1.2 - 0.1, 1)[:, None, None]
    valid = rng.random(values.shape) >= share
    assume(valid.sum() > 100)
    holed = np.where(valid, values, np.array(-1 if dtype == "float32" else 0, dtype))
    flat = holed.reshape(bands, -1), valid.reshape(bands, -1)
    transform = choose(values.dtype, bands, 1, None, Samples(*flat), values[0].size)
    planes = transform._scaled(holed, valid) + 0.01 * rng.normal(size=(transform.components, 40, 40)).astype(np.float32)
    error = of_header(transform)._unscaled(planes).astype(float) - values
    assert np.sqrt(np.mean(error[valid] ** 2)) <= 1.5 * 0.01 * max(transform.scales) + 0.5


def test_bands_that_share_no_pixel_are_unrelated() -> None:
    values = np.random.default_rng(0).normal(size=(3, 1000)) + np.arange(3)[:, None]
    valid = np.zeros(values.shape, bool)
    valid[0, :500] = valid[1, 500:] = True
    found = covariance(values, valid)
    np.testing.assert_array_equal(found == 0, ~np.diag([True, True, False]))
    rows = spectral_klt(found)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-12)


# -- bounds ------------------------------------------------------------------------------------------------------------


@QUICK
@given(rasters(), st.floats(0, 3), st.sampled_from([None, "power", "amplitude", "db"]))
def test_what_comes_back_lies_within_the_source_s_range(values: np.ndarray, noise: float, unit: str | None) -> None:
    transform = chosen(values, unit)
    if transform.code == PLAIN:
        return
    bounded = of_header(transform.within(bounds_of(values)))
    planes = noise * np.random.default_rng(0).normal(size=(transform.components, *values.shape[1:]))
    found = (
        bounded._unscaled(planes.astype(np.float32)) if not bounded.constant else bounded.constants(*values[0].shape)
    )
    assert found.dtype == values.dtype
    low, high = bounds_of(values)[..., None, None]
    assert ((low <= found) & (found <= high)).all()
    assert (found[(low == high)[:, 0, 0]] == low[(low == high)[:, 0, 0]]).all()


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [(0, 255, 0), (10, 250, 0), (16, 235, 2), (0, 200, 2), (230, 255, 2), (0, 9, 2), (7, 7, 2)],
)
def test_pictures_have_bounds_where_these_tell_something(low: int, high: int, stored: int) -> None:
    transform = ValueTransform(PLAIN, np.dtype(np.uint8), 1).within(np.array([[low], [high]]))
    code, parameters = transform.in_header()
    assert len(parameters) == stored
    assert code == (PLAIN | 0x80 if stored else PLAIN)
    found = of_header(transform).from_model(
        transform.to_model(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), None, 1)
    )
    assert (found.min(), found.max()) == ((low, high) if stored else (0, 255))


@pytest.mark.parametrize("unit", [None, "power", "amplitude", "db"])
def test_the_unit_is_in_the_header(unit: str | None) -> None:
    values = np.abs(correlated(2, 8)) + 1
    for found in (values, np.ones_like(values)):
        transform = chosen(found, unit).within(bounds_of(found))
        code, parameters = transform.in_header()
        assert unit_in(header_with(parameters, "float32", 2, code)) == unit
    assert unit_in(header_with(b"", "uint8", 1, PLAIN)) is None


# -- radar -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "factor"), [("power", 10), ("amplitude", 20)])
@pytest.mark.parametrize("bands", [1, 2])
def test_linear_radar_has_its_error_in_decibels(unit: str, factor: int, bands: int) -> None:
    rng = np.random.default_rng(0)
    values = (10 ** rng.normal(-1.5, 0.4, (bands, 80, 80))).astype(np.float32)
    exact = there_and_back(values, unit=unit)
    np.testing.assert_allclose(exact, values, rtol=2e-5 if bands == 1 else 2e-3)
    error = factor * np.log10(there_and_back(values, 0.01, unit) / values)
    np.testing.assert_allclose(np.sqrt(np.mean(error**2, (1, 2))), 0.01 * scale_of(values, unit), rtol=0.05)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8"])
def test_amplitudes_in_integers(dtype: str) -> None:
    values = np.random.default_rng(0).integers(1, np.iinfo(dtype).max, (1, 60, 60)).astype(dtype)
    assert (there_and_back(values, unit="amplitude") == values).all()


def test_decibels_stay_as_they_are() -> None:
    values = np.random.default_rng(0).normal(-15, 5, (1, 60, 60)).astype(np.float32)
    transform = chosen(values, "db")
    assert of_header(transform).unit == "db"
    np.testing.assert_allclose(there_and_back(values, unit="db"), values, atol=1e-4)


def test_what_has_no_power_gets_the_floor_s() -> None:
    values = (10 ** np.random.default_rng(0).normal(-1.5, 0.3, (1, 100, 100))).astype(np.float32)
    positive = values.copy()
    values[0, :20] = 0
    values[0, 20] = -1  # what noise subtraction leaves
    back = there_and_back(values, unit="power")
    floor = 10 ** (chosen(values, "power").floor / 10)
    np.testing.assert_allclose(back[0, :21], floor, rtol=1e-5)
    # It lies below all but one in ten thousand, here all: nothing is cut off.
    assert floor == pytest.approx(positive[0, 21:].min(), rel=1e-5)
    assert np.isfinite(back).all()


@pytest.mark.parametrize("unit", ["power", "amplitude"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_scene_without_power(unit: str, dtype: str) -> None:
    back = there_and_back(np.zeros((1, 8, 8), dtype), unit=unit)
    assert back.max() <= (1 if dtype == "uint16" else 1e-5)


@pytest.mark.parametrize("unit", ["power", "amplitude"])
def test_extreme_powers(unit: str) -> None:
    values = np.float32(10.0) ** np.linspace(-37, 38, 2000, dtype=np.float32).reshape(1, 40, 50)
    back = there_and_back(values, unit=unit)
    np.testing.assert_allclose(np.log10(back), np.log10(values), atol=1e-3 + 0.012 * 38)  # the lowest 0.01 % excepted
    assert np.abs(np.log10(back / values))[0, 1:].max() < 1e-3


def test_units_are_guessed_from_the_values_alone() -> None:
    floats, integers = np.array([0.5, 2], np.float32), np.array([3, 900], np.uint16)
    assert guess_unit(floats.dtype, Samples(floats[None])) == "power"
    assert guess_unit(integers.dtype, Samples(integers[None])) == "amplitude"
    assert guess_unit(floats.dtype, Samples(np.stack([floats, -floats]))) == "db"
    assert guess_unit(floats.dtype, Samples(-floats[None], np.array([[False, False]]))) == "power"


# -- in the header -----------------------------------------------------------------------------------------------------


@QUICK
@given(rasters(), st.sampled_from([None, "power", "amplitude", "db"]))
def test_parameters_come_back(values: np.ndarray, unit: str | None) -> None:
    transform = chosen(values, unit)
    found = of_header(transform)
    assert (found.code, found.dtype, found.bands, found.unit) == (
        transform.code, transform.dtype, transform.bands, transform.unit,
    )  # fmt: skip
    if transform.code == SCALED:
        assert found.in_header() == transform.in_header()
        assert found.components == transform.components
        assert found.scales == transform.scales
        assert found.offsets == transform.offsets
        assert found.floor == pytest.approx(transform.floor, rel=1e-6)


NOTHING = Samples(np.zeros((1, 0)))


def bounds_of(values: np.ndarray) -> np.ndarray:
    return np.stack([values.min((1, 2)), values.max((1, 2))])


def elements(dtype: str) -> st.SearchStrategy:
    if dtype == "float32":
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    return arrays.from_dtype(np.dtype(dtype))


def header_with(parameters: bytes, dtype: str, bands: int, transform: int = SCALED) -> Header:
    return Header(
        width=1, height=1, bands=bands, dtype=dtype, layout="CHW", weights_id=b"12345678", quality_step=0,  # type: ignore[arg-type]
        transform=transform | 0x80 if parameters else transform, parameters=parameters,
    )  # fmt: skip


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("unit", [None, "power"])
def test_every_truncation_is_noticed(bands: int, unit: str | None) -> None:
    values = np.abs(correlated(bands, 16)) + 1
    _, data = chosen(values, unit).within(bounds_of(values)).in_header()
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            ValueTransform.of_header(header_with(data[:length], "float32", bands), 1)
    with pytest.raises(CorruptDataError):
        ValueTransform.of_header(header_with(data + b"\0", "float32", bands), 1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=80), st.sampled_from(DTYPES), st.integers(1, 5), st.floats(-5, 5, width=32), st.integers(0, 3)
)
def test_garbage_is_an_error_or_gives_values(data: bytes, dtype: str, bands: int, level: float, unit: int) -> None:
    """Whatever the parameters are: an error of ours, or values of the dtype. Never a warning, NaN or anything else."""
    size = np.dtype(dtype).itemsize * 2 * bands + 4 * (1 + bands + (unit in (1, 2)))
    for parameters in (data, bytes([unit]) + data[:size]):
        try:
            transform = ValueTransform.of_header(header_with(parameters, dtype, bands), 1)
        except BitstreamError:
            continue
        planes = np.full((transform.components, 2, 2), level, np.float32)
        values = transform.constants(2, 2) if transform.constant else transform._unscaled(planes)
        assert values.shape == (bands, 2, 2)
        assert values.dtype == dtype
        assert np.isfinite(values).all()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_forged_parameters_give_values(data: st.DataObject) -> None:
    """Right in form, wrong in all else."""
    bands = data.draw(st.integers(1, 4))
    unit = data.draw(st.integers(0, 3))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    scales = data.draw(st.lists(finite.map(abs).filter(bool), min_size=1, max_size=1) if data.draw(st.booleans())
                       else st.lists(finite.map(abs).filter(bool), min_size=bands, max_size=bands))  # fmt: skip
    numbers = data.draw(st.lists(finite, min_size=bands + 1, max_size=bands + 1))
    dtype = data.draw(st.sampled_from(DTYPES))
    bounds = np.sort(data.draw(arrays.arrays(dtype, (2, bands), elements=elements(dtype))), axis=0)
    parameters = bytes([unit | (4 if len(scales) > 1 else 0)]) + bounds.tobytes()
    if (bounds[0] != bounds[1]).any():
        parameters += np.array([*scales, *numbers[: bands + (unit in (1, 2))]], "<f4").tobytes()
    if bands > 1 and (bounds[0] != bounds[1]).any():
        count = data.draw(st.integers(1, bands))
        fine = data.draw(st.booleans())
        size = (1 + fine) * count * bands
        parameters += bytes([2 * count + fine]) + data.draw(st.binary(min_size=size, max_size=size))
    transform = ValueTransform.of_header(header_with(parameters, dtype, bands), 1)
    for level in (0.0, 0.5, 1.0, -700.0, 3e4):
        planes = np.full((transform.components, 2, 3), level, np.float32)
        values = transform.constants(2, 3) if transform.constant else transform._unscaled(planes)
        assert values.shape == (bands, 2, 3)
        assert (values >= bounds[0][:, None, None]).all()
        assert (values <= bounds[1][:, None, None]).all()


@pytest.mark.parametrize(
    ("transform", "dtype", "bands", "parameters"),
    [
        (PLAIN, "uint16", 1, b""),
        (PLAIN, "uint8", 2, b""),
        (GREY, "uint8", 3, b""),
        (5, "uint8", 1, b""),
        (SCALED, "uint8", MAX_BANDS + 1, b""),
        (SCALED, "uint8", 1, b"\x08" + bytes(8)),
        (SCALED, "uint8", 1, b""),
        (SCALED | 4, "uint8", 1, b"\0"),
        (GREY, "uint8", 1, bytes(8)),  # what SCALED was before bands had bounds
    ],
)
def test_transforms_of_later_versions(transform: int, dtype: str, bands: int, parameters: bytes) -> None:
    with pytest.raises(UnsupportedVersionError, match="later version"):
        ValueTransform.of_header(header_with(parameters, dtype, bands, transform), 1)


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0, 0.0, 1.0],
        [0.0, 1.0, -1.0, 1.0],
        [0.0, 1.0, math.nan, 1.0],
        [0.0, 1.0, math.inf, 0.0],
        [0.0, 1.0, 1.0, math.nan],
        [1.0, 0.0, 1.0, 0.0],
        [math.nan, 1.0, 1.0, 0.0],
        [0.0, math.inf, 1.0, 0.0],
        [2.0, 2.0, 1.0, 0.0],
    ],
)
def test_parameters_that_make_no_sense(values: list[float]) -> None:
    data = b"\0" + np.array(values, "<f4").tobytes()
    with pytest.raises(CorruptDataError, match="are invalid"):
        ValueTransform.of_header(header_with(data, "float32", 1), 1)


def test_what_a_model_cannot_code() -> None:
    with pytest.raises(InvalidInputError, match="3 bands codes uint8.*2 bands of float32"):
        choose(np.dtype("float32"), 2, 3, None, NOTHING, 1)
    with pytest.raises(InvalidInputError, match=r"1 bands of uint8 \(amplitude\)"):
        choose(np.dtype("uint8"), 1, 3, "amplitude", NOTHING, 1)
    with pytest.raises(InvalidInputError, match="256 bands.*257"):
        choose(np.dtype("uint8"), 257, 1, None, NOTHING, 1)


@given(seed=st.integers(0, 99), others=st.integers(1, 4))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_a_band_that_goes_with_no_other_stays_alone(seed: int, others: int) -> None:
    """Even where a component of the others has just its variance."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=20000)
    bands = [common + 0.3 * rng.normal(size=20000) for _ in range(others)]
    found = covariance(np.array([*bands, 0.3 * rng.normal(size=20000)]), None)
    rows = spectral_klt(found)
    assert (np.abs(rows[:, -1]).max(), np.abs(rows[:, -1]).sum()) == (1, 1)


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_a_band_of_few_levels_costs_no_more_than_rounding_hides(quality: float) -> None:
    """Classes beside reflectances: as good as alone, or with the error of rounding, at half the bytes or less."""
    y, x = np.mgrid[:128, :128]
    rng = np.random.default_rng(0)
    land = 2000 + 800 * np.sin(x / 9) * np.cos(y / 11) + rng.normal(0, 60, x.shape)
    classes = np.round(3 + 2 * np.sin(x / 5 + y / 7) + rng.normal(0, 0.5, x.shape)).clip(0, 7)
    image = np.array([land, land[::-1], classes]).astype(np.uint16)
    decoded = learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality))
    alone = learned_codec.decode(learned_codec.encode(image[2], quality=quality)).astype(float) - image[2]
    error = np.sqrt(np.mean((decoded[2].astype(float) - image[2]) ** 2))
    assert error <= max(1.122 * np.sqrt(np.mean(alone**2)), 0.4)


@QUICK
@given(bands=st.integers(1, 5), detail=st.sampled_from([0.0, 0.003, 0.01, 0.2]), seed=st.integers(0, 99))
def test_white_and_black_are_moved_outwards_and_come_back(bands: int, detail: float, seed: int) -> None:
    """Pixels of 0 and 255 are coded beyond these values, the others as they are; without coding, all come back."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(128, 120, (bands, 12, 13)), 0, 255).astype(np.uint8)
    valid = np.broadcast_to(rng.random((1, 12, 13)) < 0.8, values.shape)
    transform = ValueTransform(
        {1: GREY, 3: PLAIN}.get(bands, SCALED), np.dtype(np.uint8), bands,
        scales=(255.0,) * bands, offsets=(0.0,) * bands, detail=detail,
    )  # fmt: skip
    planes = transform.to_model(values, None, 3)
    moved = planes[:bands] - values / np.float32(255)
    step = min(detail / 2, 2.5 / 255)
    np.testing.assert_allclose(moved, step * ((values == 255).astype(int) - (values == 0)), atol=EPSILON)
    np.testing.assert_array_equal(transform.from_model(planes), values)
    holed = transform.to_model(values, valid, 3)[:bands]
    np.testing.assert_array_equal(holed[valid], planes[:bands][valid])
