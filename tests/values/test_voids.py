"""Values that stand for none though nobody says so."""

import base64
import struct
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import InvalidInputError
from learned_codec.values.attributes import declared_nodata
from learned_codec.values.voids import voids

FEW = settings(max_examples=10, deadline=None, derandomize=True)
QUICK = settings(max_examples=100, deadline=None, derandomize=True)


def terrain(seed: int = 0, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    return 500 + 200 * np.sin(x / 17 + seed) * np.cos(y / 23) + rng.normal(0, 5, (size, size))


@QUICK
@given(
    void=st.sampled_from([("int16", -32768), ("int16", -9999), ("int16", 32767), ("uint16", 65535), ("uint16", 0),
                          ("float32", -9999.0), ("float32", -3.4028235e38), ("float32", 1e20), ("float32", 0.0)]),
    share=st.floats(0.02, 0.9),
    seed=st.integers(0, 99),
    scattered=st.booleans(),
)  # fmt: skip
def test_what_is_apart_from_all_others_is_found(
    void: tuple[str, float], share: float, seed: int, scattered: bool
) -> None:
    dtype, value = void
    values = terrain(seed).astype(dtype)
    if scattered:
        there = np.random.default_rng(seed).random(values.shape) < share
    else:
        there = np.arange(values.size).reshape(values.shape) < share * values.size
    values[there] = value
    ((found, of_all),) = voids(values)
    assert np.array(found, dtype) == np.array(value, dtype)
    assert of_all == pytest.approx(there.mean())


@QUICK
@given(seed=st.integers(0, 99), dtype=st.sampled_from(["int16", "uint16", "float32"]), low=st.floats(0.0, 0.5))
def test_what_is_measured_is_not(seed: int, dtype: str, low: float) -> None:
    """Terrain, a plateau, the sea beside land that rises from it, a few hot pixels, mostly zeros, one value."""
    values = terrain(seed)
    sea = np.maximum(values - np.quantile(values, low), 0)
    plateau = np.minimum(values, np.quantile(values, 1 - low))
    hot = values.copy()
    hot.reshape(-1)[:5] = 30000
    rain = np.where(np.random.default_rng(seed).random(values.shape) < 0.005, 7, 0)
    for found in (values, sea, plateau, hot, rain, np.full(values.shape, 7)):
        assert voids(found.astype(dtype)) == []


@QUICK
@given(dtype=st.sampled_from(["int16", "float32"]), value=st.sampled_from([-1000, -999, 2000]), seed=st.integers(0, 99))
def test_what_is_not_far_is_found_by_its_share(dtype: str, value: int, seed: int) -> None:
    values = terrain(seed).astype(dtype)
    values[:3] = value
    ((found, share),) = voids(values)
    assert (found, share) == (value, 3 / 64)


@QUICK
@given(cells=st.integers(3, 30), seed=st.integers(0, 99), threshold=st.floats(0, 0.07))
def test_a_dark_background_is_measured(cells: int, seed: int, threshold: float) -> None:
    """Bright cells on zeros, as in microscopy: up to their dim edges, they have all values."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    light = np.zeros((128, 128))
    for row, column, width in zip(*rng.integers(0, 128, (2, cells)), rng.uniform(3, 9, cells), strict=True):
        light += np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    for values in (light, np.where(light > threshold, light, 0)):
        assert voids((4000 * values).astype(np.uint16)) == []


@QUICK
@given(count=st.integers(2, 20), seed=st.integers(0, 99))
def test_classes_are_measured(count: int, seed: int) -> None:
    assert voids(np.random.default_rng(seed).binomial(count, 0.5, (64, 64)).astype(np.int16)) == []


def test_a_bright_star_is_measured() -> None:
    """Saturated pixels, and around them all values down to the sky's."""
    y, x = np.mgrid[:128, :128]
    sky = np.random.default_rng(0).normal(1000, 30, (128, 128))
    star = 3e6 / (1 + ((y - 60) ** 2 + (x - 40) ** 2) / 4) ** 2
    values = np.minimum(sky + star, 65535).astype(np.uint16)
    assert (values == 65535).sum() > 8
    assert voids(values) == []


@FEW
@given(count=st.integers(1, 60), dtype=st.sampled_from(["uint16", "int16", "float32"]), seed=st.integers(0, 99))
def test_hot_pixels_lie_alone(count: int, dtype: str, seed: int) -> None:
    values = terrain(seed, 128).astype(dtype)
    places = np.random.default_rng(seed).choice(np.arange(0, 128 * 128, 2), count, replace=False)
    values.reshape(-1)[places] = 32767
    learned_codec.encode(values)  # no warning


def test_voids_are_kept_and_harm_nothing() -> None:
    """Without nodata, valid pixels come out as well as with it, and voids as they were."""
    for dtype, value in (("int16", -32768), ("int16", -1000), ("float32", -3.4028235e38), ("float32", 1e20)):
        values = np.stack([terrain(0, 128), terrain(1, 128)]).astype(dtype)
        there = np.hypot(*(np.mgrid[:128, :128] - 60)) < 25
        values[0][there] = value
        with pytest.warns(learned_codec.InputWarning, match="of band 1 are .* and kept exactly"):
            decoded = learned_codec.decode(learned_codec.encode(values, planar=True))
        expected = learned_codec.decode(learned_codec.encode(values, planar=True, nodata=value))
        assert (decoded[0][there] == values[0][there]).all()
        np.testing.assert_allclose(decoded[:, ~there], expected[:, ~there], atol=1)


@QUICK
@given(
    void=st.sampled_from([("int16", -32768), ("int32", -(2**31)), ("uint16", 65535), ("float32", -9999)]),
    bound=st.sampled_from([0.1, 1, 5]),
    seed=st.integers(0, 99),
)
def test_voids_are_kept_within_a_bound_too(void: tuple[str, int], bound: float, seed: int) -> None:
    """A value within the bound of -9999 wouldn't be -9999 any more, and nobody could tell."""
    dtype, value = void
    values = np.stack([terrain(seed), terrain(seed + 1)]).astype(dtype)
    there = np.hypot(*(np.mgrid[:64, :64] - 30)) < 12
    values[0][there] = value
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoded = learned_codec.decode(learned_codec.encode(values, planar=True, max_error=[bound, 0]))
    exact = dtype != "float32" and bound < 1
    assert [w.category for w in caught] == ([] if exact else [learned_codec.InputWarning])
    assert (decoded[0][there] == values[0][there]).all()
    assert (decoded[1] == values[1]).all()
    assert np.abs(decoded[0].astype(float) - values[0]).max() <= bound


def test_voids_of_exact_bands_need_no_warning() -> None:
    values = np.stack([terrain(0), terrain(1)]).astype(np.int16)
    values[0, :20] = -9999
    for bounds in (0, [0, 2]):
        assert (learned_codec.decode(learned_codec.encode(values, planar=True, max_error=bounds))[0] == values[0]).all()


def test_two_voids() -> None:
    values = terrain().astype(np.float32)
    values[:9], values[20:30] = -9999, 1e30
    assert {value for value, _ in voids(values)} == {-9999, float(np.float32(1e30))}


def test_encode_warns_and_says_what_to_do() -> None:
    values = terrain().astype(np.int16)
    values[:20] = -9999
    with pytest.warns(learned_codec.InputWarning, match="31.2% of band 1 are -9999.*nodata=-9999") as caught:
        learned_codec.encode(values)
    assert caught[0].filename == __file__
    learned_codec.encode(values, nodata=-9999)  # no warning


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"_FillValue": -9999}, -9999),
        ({"_FillValue": np.int16(7)}, 7),
        ({"_FillValue": base64.b64encode(struct.pack("<d", -5.5)).decode()}, -5.5),
        ({"_FillValue": "-3"}, -3),
        ({}, None),
        ({"_ARRAY_DIMENSIONS": ["y", "x"]}, 42),
        ({"_FillValue": np.array([-1], np.int16)}, -1),
        ({"missing_value": [-2.0]}, -2),
        ({"_FillValue": 3, "missing_value": 4}, 3),
    ],
)
def test_what_an_array_says_of_itself(attributes: dict[str, Any], value: float | None) -> None:
    assert declared_nodata(SimpleNamespace(attrs=attributes, fill_value=42)) == value
    assert declared_nodata(np.zeros(3)) is None


@pytest.mark.parametrize("value", ["none", [1, 2], [], b"x"])
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_a_fill_value_that_is_none(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be one number, not"):
        declared_nodata(SimpleNamespace(attrs={name: value}))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:.*zarr.*", "ignore:.*Zarr.*")
def test_a_zarr_array_as_xarray_writes_it(tmp_path: Any, zarr_format: int) -> None:
    xarray, zarr = pytest.importorskip("xarray"), pytest.importorskip("zarr", minversion="3.0")
    values = terrain()
    values[10:30, 5:25] = np.nan
    data = xarray.Dataset({"height": (("y", "x"), values)})
    data.to_zarr(
        tmp_path / "a.zarr",
        encoding={"height": {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -32768}},
        zarr_format=zarr_format,
        consolidated=False,
    )
    stored = zarr.open_group(tmp_path / "a.zarr", mode="r")["height"]
    decoded = learned_codec.decode(learned_codec.encode(stored))
    np.testing.assert_array_equal(decoded == -32768, np.isnan(values))
    assert np.nanmean(np.abs(0.1 * decoded - values)[~np.isnan(values)]) < 5
