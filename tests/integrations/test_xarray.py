"""xarray reads and writes LCI files, with xarray, rioxarray and dask themselves."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import FileError, InvalidInputError, MetadataLostWarning
from learned_codec.values.arrays import BOUNDED_DTYPES
from tests.integrations.test_numcodecs import chunk

xarray = pytest.importorskip("xarray")
from learned_codec.integrations.xarray import to_lci  # noqa: E402 - needs xarray

TRANSFORM = rasterio.Affine(10, 0, 399960, 0, -10, 5800020)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands with names, a reference system and a hole, in tiles of 64."""
    folder = tmp_path_factory.mktemp("xarray")
    values = chunk(3, 150, 130)
    values[:, 100:, 90:] = 0
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", height=150, width=130, count=3, dtype="uint16", nodata=0,
        crs="EPSG:32633", transform=TRANSFORM,
    ) as raster:  # fmt: skip
        raster.write(values)
        raster.descriptions = ("B02", "B03", "B04")
    learned_codec.encode_file(folder / "scene.tif", folder / "scene.lci", quality=70, tile_size=64)
    return folder / "scene.lci"


def decoded(scene: Path) -> np.ndarray:
    return learned_codec.decode(scene.read_bytes()).transpose(2, 0, 1)


def test_a_dataset(scene: Path) -> None:
    with xarray.open_dataset(scene) as dataset:
        array = dataset["band_data"]
        assert (array.dims, array.dtype, array.attrs["_FillValue"]) == (("band", "y", "x"), "uint16", 0)
        np.testing.assert_array_equal(array.values, decoded(scene))
        assert array.x.values[[0, -1]].tolist() == [399965, 401255]
        assert array.y.values[[0, -1]].tolist() == [5800015, 5798525]
        assert dataset.band_name.values.tolist() == ["B02", "B03", "B04"]
        assert rasterio.crs.CRS.from_wkt(dataset.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32633


def test_parts_are_decoded_on_demand(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decoded(scene).astype(int)
    windows = []
    read = learned_codec.Reader.read

    def noted(self: learned_codec.Reader, bands: object, window: object, **options: object) -> np.ndarray:
        windows.append(window)
        return read(self, bands, window, **options)

    monkeypatch.setattr(learned_codec.Reader, "read", noted)
    array = xarray.open_dataset(scene)["band_data"]
    assert windows == []
    for key in (
        np.s_[0, 5, 7], np.s_[1:, 20:40, ::3], np.s_[:, ::-1, 4], np.s_[2, 3:3, :], np.s_[[2, 0], 60:70, [5, 9, 1]],
    ):  # fmt: skip
        expected = whole[np.ix_(*(np.atleast_1d(np.arange(n)[k]) for n, k in zip(whole.shape, key, strict=True)))]
        found = array[key]
        assert np.abs(found.values.astype(int) - expected.reshape(found.shape)).max(initial=0) <= 1
    assert windows[0] == (5, 7, 1, 1)
    assert len(windows) == 4  # nothing is read of nothing


def test_masks_as_nan(scene: Path) -> None:
    array = xarray.open_dataset(scene, masked=True)["band_data"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(array.values), decoded(scene) == 0)


def test_chunks_are_the_tiles(scene: Path) -> None:
    pytest.importorskip("dask")
    lazy = xarray.open_dataset(scene, chunks={})["band_data"]
    assert lazy.chunks == ((3,), (64, 64, 22), (64, 64, 2))
    assert np.abs(lazy.compute(scheduler="threads").values.astype(int) - decoded(scene)).max() <= 1
    again = pickle.loads(pickle.dumps(lazy))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again[0, :9, :9].compute(scheduler="synchronous"), lazy[0, :9, :9])


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_rioxarray_understands_it(scene: Path) -> None:
    pytest.importorskip("rioxarray")
    array = xarray.open_dataset(scene)["band_data"]
    assert array.rio.crs.to_epsg() == 32633
    assert array.rio.transform() == TRANSFORM
    assert array.rio.nodata == 0


@pytest.mark.parametrize("chunks", [None, {"y": 64}])
def test_arrays_are_written(scene: Path, tmp_path: Path, chunks: dict[str, int] | None) -> None:
    if chunks:
        pytest.importorskip("dask")
    array = xarray.open_dataset(scene, chunks=chunks)["band_data"]
    info = to_lci(array, tmp_path / "again.lci", quality=90)
    assert info.nodata == 0
    again = xarray.open_dataset(tmp_path / "again.lci")
    np.testing.assert_array_equal(again.band_data == 0, array == 0)
    assert np.abs(again.band_data.astype(int) - array.astype(int)).mean() < 10
    for name in ("x", "y", "band_name"):
        np.testing.assert_array_equal(again[name], array[name])
    assert again.spatial_ref.attrs["crs_wkt"] == array.spatial_ref.attrs["crs_wkt"]


@pytest.mark.parametrize("dtype", BOUNDED_DTYPES)
@pytest.mark.parametrize("bound", [0, 2])
def test_arrays_within_a_bound(tmp_path: Path, dtype: str, bound: int) -> None:
    values = chunk(3, 70, 90, dtype="float64") / 16
    if dtype == "bool":
        values, bound, attributes = values > 60, 0, {}
    else:
        values, attributes = values.astype(dtype), {"_FillValue": 5}
        values[:, 20:30] = 5
    array = xarray.DataArray(np.moveaxis(values, 0, 2), dims=("y", "x", "band"), attrs=attributes)
    info = to_lci(array.transpose("band", "y", "x"), tmp_path / "a.lci", max_error=bound, tile_size=64)
    assert info.max_error == (bound,) * 3
    found = xarray.open_dataset(tmp_path / "a.lci")["band_data"]
    assert (found.dtype, found.attrs) == (dtype, attributes)
    assert np.abs(found.values.astype(float) - values.astype(float)).max() <= bound
    masked = xarray.open_dataset(tmp_path / "a.lci", masked=True)["band_data"]
    np.testing.assert_array_equal(np.isnan(masked.values), values == 5 if attributes else np.zeros_like(values))


SCALED = {"scales": (1e-4, 1e-4, 2.0), "offsets": (-0.1, -0.1, -0.1), "units": ("1", "1", "K")}


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """Three bands with scales, offsets and units of their own."""
    with rasterio.open(
        tmp_path / "scaled.tif", "w", driver="GTiff", height=70, width=90, count=3, dtype="uint16", nodata=0,
        crs="EPSG:32633", transform=TRANSFORM,
    ) as raster:  # fmt: skip
        values = chunk(3, 70, 90)
        values[:, :20] = 0
        raster.write(values)
        for name, value in SCALED.items():
            setattr(raster, name, value)
    learned_codec.encode_file(tmp_path / "scaled.tif", tmp_path / "scaled.lci", max_error=0)
    return tmp_path / "scaled.lci"


@pytest.mark.filterwarnings("ignore:Scales differ across bands", "ignore::PendingDeprecationWarning")
def test_attributes_are_those_of_rioxarray(scaled: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    found = xarray.open_dataset(scaled)["band_data"]
    with rioxarray.open_rasterio(scaled.with_suffix(".tif")) as other:
        for name in ("scales", "add_offset", "units", "_FillValue"):
            assert found.attrs[name] == other.attrs[name]
        assert "scale_factor" not in found.attrs


def test_values_are_masked_and_scaled(scaled: Path) -> None:
    raw = xarray.open_dataset(scaled)["band_data"].values.astype(float)
    found = xarray.open_dataset(scaled, mask_and_scale=True)["band_data"]
    scales, offsets = (np.array(SCALED[name])[:, None, None] for name in ("scales", "offsets"))
    expected = np.where(raw == 0, np.nan, raw * scales + offsets)
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    np.testing.assert_allclose(found[2, 30, 10:20:3].values, expected[2, 30, 10:20:3], rtol=1e-6)
    assert not found.attrs.keys() & {"scales", "scale_factor", "add_offset", "offsets", "_FillValue"}


def test_scales_and_units_are_written(scaled: Path, tmp_path: Path) -> None:
    to_lci(xarray.open_dataset(scaled)["band_data"], tmp_path / "again.lci", max_error=0)
    with learned_codec.open(tmp_path / "again.lci") as again:
        assert (again.scales, again.offsets, again.units) == tuple(SCALED.values())


@pytest.mark.parametrize("axes", [("y", "x"), ("lat", "lon"), ("latitude", "longitude")])
@pytest.mark.parametrize("first", [True, False])
def test_rows_and_columns_are_known_by_name(tmp_path: Path, axes: tuple[str, str], first: bool) -> None:
    values = chunk(3, 40, 50)
    array = xarray.DataArray(
        values, dims=("band", *axes), coords={axes[0]: 9.5 - np.arange(40), axes[1]: 0.5 + 2 * np.arange(50)}
    )
    array = array if first else array.transpose(*axes[::-1], "band")
    info = to_lci(array, tmp_path / "a.lci", max_error=0)
    assert (info.bands, info.height, info.width) == (3, 40, 50)
    with learned_codec.open(tmp_path / "a.lci") as reader:
        np.testing.assert_array_equal(reader.read(planar=True), values)
        assert reader.transform[:6] == (2, 0, -0.5, 0, -1, 10)


@pytest.mark.parametrize("key", [np.s_[:, 3:4], np.s_[:, :, 7:8], np.s_[:, 5:6, 9:10], np.s_[:, 2:9, 4:30]])
def test_parts_lie_where_they_lay(scene: Path, tmp_path: Path, key: tuple[slice, ...]) -> None:
    array = xarray.open_dataset(scene)["band_data"][key]
    to_lci(array, tmp_path / "part.lci", max_error=0)
    part = xarray.open_dataset(tmp_path / "part.lci")["band_data"]
    for axis in ("x", "y"):
        np.testing.assert_allclose(part[axis], array[axis], rtol=1e-12)


def test_uneven_coordinates_are_told(tmp_path: Path) -> None:
    array = xarray.DataArray(chunk(40, 50), dims=("y", "x"), coords={"y": np.arange(40), "x": np.arange(50.0) ** 2})
    with pytest.warns(learned_codec.MetadataLostWarning, match="x aren't evenly spaced"):
        to_lci(array, tmp_path / "a.lci", max_error=0)
    assert "transform" not in learned_codec.inspect(tmp_path / "a.lci").metadata


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("said", ["attrs", "encoding"])
def test_what_stands_for_a_missing_value(tmp_path: Path, name: str, said: str) -> None:
    """The encoding is that of a file. In floats in memory, NaN is missing, and 0 may be measured."""
    values = chunk(40, 50, dtype="float32")
    values[:9], values[9:12] = np.nan, 0
    for array, nodata in (
        (xarray.DataArray(values, dims=("y", "x")), 0.0 if said == "attrs" else np.nan),
        (xarray.DataArray(np.nan_to_num(values).astype(np.int16), dims=("y", "x")), 0.0),
        (xarray.DataArray(values > 1, dims=("y", "x")), None),
    ):
        getattr(array, said)[name] = 0
        to_lci(array, tmp_path / "a.lci", max_error=0, overwrite=True)
        with learned_codec.open(tmp_path / "a.lci") as reader:
            assert reader.nodata == nodata or (reader.nodata != reader.nodata and nodata != nodata)
            np.testing.assert_array_equal(reader.read(), array.values)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fill=st.sampled_from([0, -1]),
    missing=st.lists(st.sampled_from([0, -1, -2]), min_size=1, max_size=2),
    said=st.sampled_from(["attrs", "encoding"]),
    dtype=st.sampled_from(["int16", "float32"]),
)
def test_two_values_for_missing_pixels(tmp_path: Path, fill: int, missing: list[int], said: str, dtype: str) -> None:
    """CF has `_FillValue` and `missing_value`, which can be several; a file keeps one. In floats read, it's NaN."""
    array = xarray.DataArray(chunk(40, 50, dtype=dtype), dims=("y", "x"))
    getattr(array, said).update(_FillValue=fill, missing_value=np.array(missing, dtype))
    others = [value for value in missing if value != fill]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        to_lci(array, tmp_path / "a.lci", overwrite=True)
    expected = bool(others) and (said == "attrs" or dtype == "int16")
    assert [warning.category for warning in told] == [MetadataLostWarning] * expected
    words = f"missing_value {', '.join(map(str, others))} is not kept beside _FillValue {fill}"
    assert all(words in str(warning.message) for warning in told)


def test_a_dataset_is_no_array(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="dataset\\['band_data'\\]"):
        to_lci(xarray.open_dataset(scene), tmp_path / "a.lci")


def test_other_arrays(tmp_path: Path) -> None:
    plain = xarray.DataArray(chunk(70, 64, dtype="float32"), dims=("row", "column"), attrs={"units": "m"})
    to_lci(plain, tmp_path / "plain.lci")
    found = learned_codec.inspect((tmp_path / "plain.lci").read_bytes())
    assert (found.height, found.width, found.bands, found.metadata["bands"][0]["unit"]) == (70, 64, 1, "m")
    with pytest.raises(InvalidInputError, match="dimensions"):
        to_lci(xarray.DataArray(np.zeros((2, 2, 3, 3))), tmp_path / "four.lci")
    assert not (tmp_path / "four.lci").exists()


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", "datetime64[s]", "timedelta64[s]", "U3"])
@pytest.mark.parametrize("shape", [(9, 8), (2, 9, 8)])
def test_other_dtypes_are_refused(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = xarray.DataArray(np.zeros(shape, "u1").astype(dtype))
    with pytest.raises(InvalidInputError, match="can be encoded, not"):
        to_lci(array, tmp_path / "a.lci")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(0, 8), (9, 0), (0, 9, 8), (2, 0, 8)])
@pytest.mark.parametrize("rate", [{}, {"max_error": 0}])
def test_nothing_is_refused(tmp_path: Path, shape: tuple[int, ...], rate: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="at least one of each is needed"):
        to_lci(xarray.DataArray(np.zeros(shape, "u1")), tmp_path / "a.lci", **rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dim", "labels", "names"),
    [
        ("band", ["red", "green", "nir"], ["red", "green", "nir"]),
        ("band", np.array(["red", "nir", "B05"], object), ["red", "nir", "B05"]),
        ("time", np.array(["2026-06-01", "2026-06-02", "2026-06-03"], "M8[ns]"), [f"2026-06-0{i}" for i in (1, 2, 3)]),
        ("time", np.array(["2026-06-01T10:07:09"] * 3, "M8[ns]"), ["2026-06-01T10:07:09"] * 3),
        ("band", [4, 3, 2], ["band 4", "band 3", "band 2"]),
        ("wavelength", [443.0, 560.5, 665.0], ["wavelength 443.0", "wavelength 560.5", "wavelength 665.0"]),
    ],
)
def test_labels_of_bands_are_kept(tmp_path: Path, dim: str, labels: Any, names: list[str | None]) -> None:
    array = xarray.DataArray(chunk(3, 20, 30), dims=(dim, "y", "x"), coords={dim: labels})
    to_lci(array, tmp_path / "all.lci")
    with learned_codec.open(tmp_path / "all.lci") as found:
        assert found.descriptions == tuple(names)
    to_lci(array[1], tmp_path / "one.lci")  # which has the coordinate without the dimension
    with learned_codec.open(tmp_path / "one.lci") as found:
        assert found.descriptions == (names[1] if dim == "band" else None,)


@pytest.mark.parametrize("rate", [{"quality": 60}, {"bpp": 3}, {"max_error": 1}])
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_chunks_are_computed_once(tmp_path: Path, rate: dict[str, float], scheduler: str) -> None:
    dask = pytest.importorskip("dask")
    values = chunk(3, 150, 130)
    values[:, :, :40] = 0
    computed: list[object] = []

    def noted(block: np.ndarray, block_info: dict) -> np.ndarray:
        if block_info:
            computed.append(tuple(block_info[0]["chunk-location"]))
        return block

    array = xarray.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": 0})
    lazy = array.chunk({"band": 2, "y": 70, "x": 50})
    lazy = lazy.copy(data=lazy.data.map_blocks(noted, dtype=lazy.dtype, meta=lazy.data._meta))
    to_lci(array, tmp_path / "array.lci", tile_size=64, **rate)
    with dask.config.set(scheduler=scheduler):
        to_lci(lazy, tmp_path / "lazy.lci", tile_size=64, **rate)
    assert (tmp_path / "lazy.lci").read_bytes() == (tmp_path / "array.lci").read_bytes()
    assert sorted(computed) == sorted(np.ndindex(2, 3, 3))


def test_a_file_is_read_once(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask")
    array = xarray.open_dataset(scene)["band_data"].load()
    to_lci(array, tmp_path / "array.lci", tile_size=64)
    pixels = []
    read = learned_codec.Reader.read

    def noted(self: learned_codec.Reader, *arguments: object, **options: object) -> np.ndarray:
        found = read(self, *arguments, **options)
        pixels.append(found.size)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(learned_codec.Reader, "read", noted)
        to_lci(xarray.open_dataset(scene)["band_data"], tmp_path / "lazy.lci", tile_size=64)
    assert sum(pixels) == array.size
    assert (tmp_path / "lazy.lci").read_bytes() == (tmp_path / "array.lci").read_bytes()


def test_nothing_is_computed_for_what_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    lazy = xarray.DataArray(chunk(3, 70, 64), dims=("band", "y", "x")).chunk()
    lazy = lazy.copy(data=lazy.data.map_blocks(lambda _: 1 // 0, dtype=lazy.dtype, meta=lazy.data._meta))
    with pytest.raises(InvalidInputError, match="quality"):
        to_lci(lazy, tmp_path / "a.lci", quality=101)
    with pytest.raises(ZeroDivisionError):
        to_lci(lazy, tmp_path / "a.lci")
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    array = xarray.DataArray(chunk(3, 70, 64), dims=("band", "y", "x")).chunk()
    to_lci(array, tmp_path / "a.lci")
    assert list(folder.iterdir()) == []
    folder.rmdir()
    with pytest.raises(FileError, match="temporary file"):
        to_lci(array, tmp_path / "b.lci")


# -- parts of scenes, and what their metadata say ----------------------------------------------------------------------

PARTS = st.tuples(st.integers(0, 9), st.integers(10, 19), st.sampled_from([1, 2, 3])).map(lambda part: slice(*part))


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands with scales, units and names of their own, in a rotated grid."""
    folder = tmp_path_factory.mktemp("rotated")
    with rasterio.open(
        folder / "x.tif", "w", driver="GTiff", height=20, width=20, count=3, dtype="uint16", crs="EPSG:32633",
        transform=rasterio.Affine(8, 6, 400000, 6, -8, 5000000),
    ) as raster:  # fmt: skip
        raster.write(chunk(3, 20, 20))
        raster.scales, raster.offsets, raster.units = (1.0, 0.5, 0.25), (0.0, 4.0, 2.0), ("m", "K", "s")
    learned_codec.encode_file(folder / "x.tif", folder / "x.lci", max_error=0)
    return folder / "x.lci"


def place(transform: rasterio.Affine, column: float, row: float) -> tuple[float, float]:
    a, b, c, d, e, f = transform[:6]
    return a * column + b * row + c, d * column + e * row + f


@given(PARTS, PARTS, st.booleans(), st.permutations([0, 1, 2]), st.integers(1, 3))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_keep_their_place_and_scales(
    rotated: Path, tmp_path: Path, rows: slice, columns: slice, flipped: bool, order: list[int], count: int
) -> None:
    whole = xarray.open_dataset(rotated)["band_data"]
    part = whole.isel(band=order[:count], y=rows, x=columns)
    part = part.isel(y=slice(None, None, -1)) if flipped else part
    to_lci(part, tmp_path / "part.lci", max_error=0, overwrite=True)
    with learned_codec.open(rotated) as before, learned_codec.open(tmp_path / "part.lci") as after:
        for name in ("scales", "offsets", "units"):
            assert getattr(after, name) == tuple(getattr(before, name)[band] for band in order[:count])
        y, x = np.arange(20)[rows][:: -1 if flipped else 1], np.arange(20)[columns]
        for row, column in ((0, 0), (len(y) - 1, 0), (0, len(x) - 1)):
            expected = place(before.transform, x[column] + 0.5, y[row] + 0.5)
            assert place(after.transform, column + 0.5, row + 0.5) == pytest.approx(expected)


def test_attributes_and_single_coordinates_are_kept_as_tags(tmp_path: Path) -> None:
    array = xarray.DataArray(
        chunk(1, 20, 30)[0], dims=("y", "x"), coords={"time": np.datetime64("2026-06-01", "ns")},
        attrs={"sensor": "MSI", "clouds": 3.5, "STATISTICS_MEAN": 9},
    )  # fmt: skip
    to_lci(array, tmp_path / "x.lci", max_error=0)
    found = xarray.open_dataset(tmp_path / "x.lci")["band_data"].attrs
    assert found == {"sensor": "MSI", "clouds": "3.5", "time": "2026-06-01T00:00:00.000000000"}
    to_lci(xarray.open_dataset(tmp_path / "x.lci")["band_data"], tmp_path / "again.lci", max_error=0)
    assert xarray.open_dataset(tmp_path / "again.lci")["band_data"].attrs == found


@pytest.mark.parametrize(
    ("coordinates", "attributes", "named"),
    [
        ({"latitude_of_pixel": (("y", "x"), np.zeros((20, 30)))}, {}, "latitude_of_pixel"),
        ({"clouds": ("band", [0.1, 0.2, 0.3])}, {}, "clouds"),
        ({}, {"valid_range": [0, 10000]}, "valid_range"),
        ({}, {"long_name": ("a", "b")}, "long_name"),
        ({}, {"scales": (1.0, 2.0)}, "scales"),
        ({"x": np.full(30, np.nan), "y": np.arange(20)}, {}, "coordinates x"),
        ({"x": np.zeros(30), "y": np.arange(20)}, {}, "coordinates x"),
        ({"x": np.cumsum(np.repeat([9.992, 10.008], 15)), "y": np.arange(20)}, {}, "coordinates x"),
        ({"x": np.arange(30)}, {}, "coordinates y"),
        ({"x": [str(i) for i in range(30)], "y": np.arange(20)}, {}, "coordinates x"),
        ({"spatial_ref": ((), 0, {"crs_wkt": "no such system"})}, {}, "reference system"),
    ],
)
def test_what_is_not_kept_is_named(
    tmp_path: Path, coordinates: dict[str, Any], attributes: dict[str, Any], named: str
) -> None:
    array = xarray.DataArray(chunk(3, 20, 30), dims=("band", "y", "x"), coords=coordinates, attrs=attributes)
    with pytest.warns(MetadataLostWarning, match=named):
        to_lci(array, tmp_path / "x.lci", max_error=0)
    with learned_codec.open(tmp_path / "x.lci") as found:
        assert found.crs is None


def test_a_reference_system_of_another_name_is_kept(tmp_path: Path) -> None:
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    array = xarray.DataArray(
        chunk(3, 20, 30), dims=("band", "y", "x"), coords={"crs": ((), 0, {"crs_wkt": wkt})},
        attrs={"grid_mapping": "crs"},
    )  # fmt: skip
    to_lci(array, tmp_path / "x.lci", max_error=0)
    with learned_codec.open(tmp_path / "x.lci") as found:
        assert found.crs.to_epsg() == 32633


def test_several_fill_values_are_refused(tmp_path: Path) -> None:
    array = xarray.DataArray(chunk(3, 20, 30), dims=("band", "y", "x"), attrs={"_FillValue": [0, 1]})
    with pytest.raises(InvalidInputError, match="_FillValue"):
        to_lci(array, tmp_path / "x.lci")


@pytest.mark.parametrize(
    ("dims", "shape", "attributes", "expected"),
    [
        (("a", "b", "band"), (30, 20, 3), {}, (2, 0, 1)),
        (("a", "band", "b"), (30, 3, 20), {}, (1, 0, 2)),
        (("X", "Y"), (30, 20), {}, (1, 0)),
        (("easting", "t", "northing"), (30, 3, 20), {}, (1, 2, 0)),
        (("u", "v", "w"), (30, 20, 3), {"u": "X", "v": "Y"}, (2, 1, 0)),
        (("a", "b", "c"), (3, 30, 20), {}, (0, 1, 2)),
        (("a", "b", "c"), (30, 20, 17), {}, (0, 1, 2)),
        (("a", "b", "c"), (30, 20, 3), {}, None),
    ],
)
def test_bands_are_not_taken_for_rows(
    tmp_path: Path, dims: tuple[str, ...], shape: tuple[int, ...], attributes: dict[str, str], expected: Any
) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    coords = {dim: (dim, np.arange(shape[dims.index(dim)]), {"axis": axis}) for dim, axis in attributes.items()}
    array = xarray.DataArray(values, dims=dims, coords=coords)
    if expected is None:
        with pytest.raises(InvalidInputError, match=r"which dimension of .*rename\(\{'a': 'y', 'b': 'x'\}\)"):
            to_lci(array, tmp_path / "x.lci", max_error=0)
        return
    to_lci(array, tmp_path / "x.lci", max_error=0)
    found = xarray.open_dataset(tmp_path / "x.lci")["band_data"].values
    np.testing.assert_array_equal(found.squeeze(), values.transpose(expected))


def test_without_the_refinement(scene: Path) -> None:
    with learned_codec.open(scene) as reader, learned_codec.open(scene, refine=False) as plain:
        refined, expected = (file.read(planar=True).astype(float) for file in (reader, plain))
    assert np.abs(refined - expected).max() > 1
    with xarray.open_dataset(scene, refine=False, chunks={}) as dataset:
        sent = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
        for found in dataset, sent:
            assert np.abs(found["band_data"].values - expected).max() <= 1


def test_decoders_without_a_meaning_and_unknown_options(scene: Path) -> None:
    with xarray.open_dataset(scene, decode_coords="all", decode_times=False, decode_timedelta=True) as dataset:
        assert dataset["band_data"].dims == ("band", "y", "x")
    for option in ({"group": "data"}, {"mask": True}):
        with pytest.raises(InvalidInputError, match=f"without the options {next(iter(option))}"):
            xarray.open_dataset(scene, engine="lci", **option)


@pytest.mark.parametrize("sent", [False, True])
def test_another_file_in_its_place_is_noticed(tmp_path: Path, sent: bool) -> None:
    path = tmp_path / "x.lci"
    to_lci(xarray.DataArray(np.zeros((2, 30, 40), np.uint8), dims=("band", "y", "x")), path, max_error=0)
    with xarray.open_dataset(path) as dataset:
        if sent:
            dataset = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
        array = xarray.DataArray(np.ones((2, 30, 40), np.uint8), dims=("band", "y", "x"))
        to_lci(array, path, max_error=0, overwrite=True)
        with pytest.raises(FileError, match="another file has taken the place"):
            dataset["band_data"].load()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda part: part.astype(np.float64),
        lambda part: part.astype(np.uint8),
        lambda part: part[:, :-1],
        lambda part: np.ma.masked_less(part, part.max()),
    ],
)
def test_chunks_that_are_not_what_dask_declares_are_refused(
    tmp_path: Path, wrong: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Their bytes would be taken for values of other pixels."""
    dask = pytest.importorskip("dask.array")
    array = dask.map_blocks(wrong, dask.from_array(chunk(3, 70, 90), chunks=(1, 30, 40)), dtype=np.uint16)
    with pytest.raises(InvalidInputError, match=r"a chunk of the dask array is .* but the array declares uint16"):
        to_lci(xarray.DataArray(array, dims=("band", "y", "x")), tmp_path / "x.lci", max_error=0)
    assert not (tmp_path / "x.lci").exists()


def test_a_reference_system_in_terms_of_cf_alone_is_told(tmp_path: Path) -> None:
    mapping = ((), 0, {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0})
    array = xarray.DataArray(chunk(20, 30), dims=("y", "x"), coords={"crs": mapping}, attrs={"grid_mapping": "crs"})
    with pytest.warns(MetadataLostWarning, match="crs says 'latitude_longitude' without a crs_wkt"):
        to_lci(array, tmp_path / "x.lci")
