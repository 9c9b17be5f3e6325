"""The serializer of Zarr 3, with Zarr itself."""

import asyncio
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import CorruptDataError, InputWarning, InvalidInputError
from learned_codec.values.arrays import BOUNDED_DTYPES

zarr = pytest.importorskip("zarr", minversion="3.0")
from learned_codec.integrations.zarr import LciCodec  # noqa: E402 - needs zarr
from tests.full_disk import files_of_at_most  # noqa: E402
from tests.integrations.test_numcodecs import chunk  # noqa: E402


def create(store: Any, values: np.ndarray, chunks: tuple[int, ...], *, fill_value: Any = 0, **settings: Any) -> Any:
    shards = settings.pop("shards", None)
    array = zarr.create_array(
        store, shape=values.shape, chunks=chunks, shards=shards, dtype=values.dtype,
        serializer=LciCodec(**settings), compressors=None, fill_value=fill_value,
    )  # fmt: skip
    array[...] = values
    return array


@pytest.mark.parametrize("shards", [None, (2, 128, 128)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_round_trip_by_the_entry_point(tmp_path: Path, dtype: str, shards: tuple[int, ...] | None) -> None:
    values = chunk(2, 150, 130).astype(np.float64)
    values = (values / 8 if dtype == "uint8" else values).astype(dtype)
    create(tmp_path / "a.zarr", values, (2, 64, 64), shards=shards, quality=90)
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert again.dtype == dtype
    assert np.abs(again[...].astype(float) - values).mean() < values.astype(float).std() / 8
    assert sum(file.stat().st_size for file in (tmp_path / "a.zarr").rglob("c/*/*/*")) < values.nbytes / 2


@pytest.mark.parametrize("shards", [None, (1, 512, 512)])
def test_parts_of_chunks_are_parts_of_the_whole(shards: tuple[int, ...] | None) -> None:
    """Chunks of several tiles, in every way to index."""
    values = chunk(1, 512, 512)
    store = zarr.storage.MemoryStore()
    size = (1, 256, 256) if shards else (1, 512, 512)
    array = create(store, values, size, shards=shards, quality=50)
    whole = array[...]
    for key in (np.s_[0, 3:40, 5], np.s_[:, 200:300, 200:300], np.s_[..., 511, ::7], np.s_[0, 17, 300]):
        np.testing.assert_allclose(array[key].astype(float), whole[key], atol=1)
    rows, columns = np.array([5, 400, 7]), np.array([2, 300])
    np.testing.assert_allclose(array.oindex[0, rows, columns].astype(float), whole[0][np.ix_(rows, columns)], atol=1)
    points = (np.array([0, 0]), np.array([9, 411]), np.array([500, 2]))
    np.testing.assert_allclose(array.vindex[points].astype(float), whole[points], atol=1)


LARGE = np.random.default_rng(2).integers(0, 60, (2, 1100, 1050)).astype(np.uint8)
"""Four tiles, and more bytes than are read at once."""


@pytest.fixture(scope="module")
def large() -> Any:
    return create(zarr.storage.MemoryStore(), LARGE, LARGE.shape, max_error=0)


def parts(length: int) -> st.SearchStrategy[int | slice]:
    """Indices and slices of up to 40 along an axis, at any place and with any step."""
    starts = st.integers(-length, length - 1)
    slices = st.builds(lambda at, size, step: slice(at, at + size, step), starts, st.integers(0, 40), st.integers(1, 9))
    return starts | slices


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.tuples(st.just(slice(None)) | parts(2), parts(1100), parts(1050)))
def test_any_part_of_a_large_chunk(large: Any, key: tuple[int | slice, ...]) -> None:
    found = large[key]
    np.testing.assert_array_equal(found, LARGE[key])
    assert np.shape(found) == LARGE[key].shape


@settings(max_examples=10, deadline=None, derandomize=True)
@given(*(st.lists(st.integers(0, size - 1), min_size=1, max_size=3) for size in (1100, 1050)))
def test_any_rows_and_columns_of_a_large_chunk(large: Any, rows: list[int], columns: list[int]) -> None:
    np.testing.assert_array_equal(large.oindex[1, rows, columns], LARGE[1][np.ix_(rows, columns)])


def test_a_part_reads_less_than_the_chunk(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 4000, (2048, 2048)).astype(np.uint16)
    array = create(tmp_path / "a.zarr", values, (2048, 2048), quality=60)
    (file,) = (path for path in (tmp_path / "a.zarr" / "c").rglob("*") if path.is_file())
    asked: list[int] = []
    real = zarr.storage.LocalStore.get

    async def counted(self: Any, key: str, prototype: Any, byte_range: Any = None) -> Any:
        found = await real(self, key, prototype, byte_range)
        if "/c/" in f"/{key}" and found is not None:
            asked.append(len(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "get", counted)
        part = array[10:60, 1100:1160]
    assert 0 < sum(asked) < 0.6 * file.stat().st_size
    assert np.abs(part.astype(float) - values[10:60, 1100:1160]).mean() < 1000


@pytest.mark.parametrize(
    ("dtype", "fill"), [("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", np.nan), ("float32", -9999.0)]
)
def test_fill_values_are_kept(dtype: str, fill: Any) -> None:
    values = chunk(1, 100, 100, dtype=dtype)
    values[:, 20:50, 10:70] = fill
    array = create(zarr.storage.MemoryStore(), values, (1, 64, 64), fill_value=fill, quality=40)
    np.testing.assert_array_equal(np.isnan(array[...]) if np.isnan(fill) else array[...] == fill,
                                  np.isnan(values) if np.isnan(fill) else values == fill)  # fmt: skip


@pytest.mark.parametrize("kind", ["memory", "local", "zip", "fsspec"])
def test_chunks_that_were_never_written_are_fill_values(tmp_path: Path, kind: str) -> None:
    stores = {
        "memory": zarr.storage.MemoryStore,
        "local": lambda: zarr.storage.LocalStore(tmp_path / "a.zarr"),
        "zip": lambda: zarr.storage.ZipStore(tmp_path / "a.zip", mode="w"),
        "fsspec": lambda: zarr.storage.FsspecStore.from_url((tmp_path / "b").as_uri(), {"auto_mkdir": True}),
    }
    if kind == "fsspec":
        pytest.importorskip("fsspec")
    array = zarr.create_array(
        stores[kind](), shape=(64, 64), chunks=(32, 32), dtype="uint8", fill_value=9,
        serializer=LciCodec(max_error=0), compressors=None,
    )  # fmt: skip
    array[:32] = 7
    np.testing.assert_array_equal(array[20:40, 30:50], np.repeat([7, 9], (12, 8))[:, None] * np.ones(20))
    array.store.close()


def test_the_asynchronous_interface() -> None:
    async def go() -> np.ndarray:
        values = chunk(1, 64, 64)
        array = await zarr.api.asynchronous.create_array(
            zarr.storage.MemoryStore(), shape=values.shape, chunks=values.shape, dtype="uint16",
            serializer=LciCodec(quality=80), compressors=None,
        )  # fmt: skip
        await array.setitem(..., values)
        return np.abs((await array.getitem(...)).astype(float) - values)

    assert asyncio.run(go()).mean() < 20


def test_settings_are_kept_and_checked() -> None:
    codec = LciCodec(psnr=50.0, kind="sar", unit="db", keep_fill_value=False)
    assert LciCodec.from_dict(codec.to_dict()) == codec
    assert codec.to_dict()["configuration"] == {
        "psnr": 50.0, "kind": "sar", "unit": "db", "effort": 0, "keep_fill_value": False,
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="qualty"):
        LciCodec.from_dict({"name": "learned_codec.lci", "configuration": {"qualty": 3}})
    with pytest.raises(InvalidInputError, match="float64"):
        create(zarr.storage.MemoryStore(), np.zeros((64, 64)), (64, 64))
    with pytest.raises(InvalidInputError, match=r"shape \(9,\)"):
        create(zarr.storage.MemoryStore(), np.zeros(9, np.uint8), (9,))
    assert LciCodec(quality=np.float32(60), max_error=None).to_dict()["configuration"]["quality"] == 60.0
    create(zarr.storage.MemoryStore(), chunk(1, 8, 8), (1, 8, 8), quality=np.float32(60))


def test_chunks_are_files() -> None:
    values = chunk(2, 64, 64)
    store = zarr.storage.MemoryStore()
    create(store, values, (2, 64, 64), quality=70)
    (data,) = (value.to_bytes() for key, value in store._store_dict.items() if "c/" in key)
    assert data == learned_codec.encode(values, planar=True, quality=70)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    "encoding",
    [
        {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -9999},
        {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -32768},
        {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": 65535},
        {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": 0.01, "_FillValue": 0},
        {"dtype": "float32", "_FillValue": -9999.0},
        {"dtype": "float32", "_FillValue": np.nan},
    ],
    ids=str,
)
def test_missing_values_of_xarray(tmp_path: Path, encoding: dict[str, Any], zarr_format: int) -> None:
    """Codecs aren't told what stands for them. In each chunk there are none, few, or many."""
    xarray = pytest.importorskip("xarray")
    from learned_codec.integrations.numcodecs import Lci

    values = np.broadcast_to(chunk(1, 64, 64) / 1e4, (2, 64, 64)).astype(np.float32)
    values[:, :10, :20] = values[0, 30:34, 30:50] = np.nan
    codec: dict[str, Any] = {"compressors": Lci(quality=90)}
    if zarr_format == 3:
        codec = {"compressors": None, "serializer": LciCodec(quality=90)}
    settings = encoding | codec | {"chunks": (2, 32, 32)}
    xarray.Dataset({"a": (("band", "y", "x"), values)}).to_zarr(
        tmp_path / "a.zarr", zarr_format=zarr_format, encoding={"a": settings}, consolidated=False
    )
    with xarray.open_zarr(tmp_path / "a.zarr", consolidated=False) as found:
        again = found["a"].values
    np.testing.assert_array_equal(np.isnan(again), np.isnan(values))
    assert np.nanmax(np.abs(again - values)) < 0.3 * np.nanstd(values)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_missing_values_of_xarray_within_a_bound(tmp_path: Path, zarr_format: int) -> None:
    xarray = pytest.importorskip("xarray")
    from learned_codec.integrations.numcodecs import Lci

    values = chunk(2, 64, 64, dtype="float32")
    values[:, :10, :20] = values[0, 30:34, 30:50] = np.nan
    codec: dict[str, Any] = {"compressors": Lci(max_error=7)}
    if zarr_format == 3:
        codec = {"compressors": None, "serializer": LciCodec(max_error=7)}
    encoding = {"dtype": "float32", "_FillValue": -9999.0, "chunks": (2, 32, 32), **codec}
    xarray.Dataset({"a": (("band", "y", "x"), values)}).to_zarr(
        tmp_path / "a.zarr", zarr_format=zarr_format, encoding={"a": encoding}, consolidated=False
    )
    with xarray.open_zarr(tmp_path / "a.zarr", consolidated=False) as found:
        again = found["a"].values
    np.testing.assert_array_equal(np.isnan(again), np.isnan(values))
    assert 3 < np.nanmax(np.abs(again - values)) <= 7


@pytest.mark.parametrize("shards", [None, (2, 128, 128)])
@pytest.mark.parametrize("dtype", BOUNDED_DTYPES)
def test_arrays_within_a_bound(tmp_path: Path, dtype: str, shards: tuple[int, ...] | None) -> None:
    values = chunk(2, 150, 130, dtype="float64") / 16
    values = values > 60 if dtype == "bool" else values.astype(dtype)
    fill_value = False if dtype == "bool" else 3
    values[:, :70, :70] = fill_value
    for bound in (0,) if dtype == "bool" else (0, 2):
        path = tmp_path / f"{bound}.zarr"
        create(path, values, (2, 64, 64), shards=shards, fill_value=fill_value, max_error=bound)
        again = zarr.open_array(path, mode="r")
        assert again.dtype == dtype
        assert np.abs(again[...].astype(float) - values.astype(float)).max() <= bound
        np.testing.assert_array_equal(again[:, :70, :70], values[:, :70, :70])
        np.testing.assert_array_equal(again[1, 60:90, 3:120:5], again[...][1, 60:90, 3:120:5])


@pytest.mark.parametrize("shards", [None, (64, 64)])
def test_dtypes_without_a_bound_are_refused_at_once(shards: tuple[int, ...] | None) -> None:
    store = zarr.storage.MemoryStore()
    with pytest.raises(InvalidInputError, match="not of float64"):
        create(store, np.zeros((64, 64)), (32, 32), shards=shards, max_error=0)
    with pytest.raises(InvalidInputError, match="not of int32"):
        create(store, np.zeros((64, 64), np.int32), (32, 32), shards=shards, quality=60)
    assert not store._store_dict


@pytest.mark.parametrize("part", [np.s_[...], np.s_[:, 3:9, 5]])
@pytest.mark.parametrize(
    "other", [chunk(3, 40, 32), chunk(3, 32, 32).astype(np.int16), chunk(2, 32, 32), chunk(3, 32, 32).reshape(96, 32)]
)
def test_files_of_other_arrays_are_no_chunks(other: np.ndarray, part: Any) -> None:
    store = zarr.storage.MemoryStore()
    array = create(store, chunk(3, 32, 32), (3, 32, 32))
    (key,) = (key for key in store._store_dict if "c/" in key)
    data = learned_codec.encode(other, planar=other.ndim == 3)
    store._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(data)
    with pytest.raises(CorruptDataError, match=r"for a chunk of uint16, \(3, 32, 32\)"):
        array[part]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_full_disk_leaves_the_old_chunk(tmp_path: Path, zarr_format: int) -> None:
    from learned_codec.integrations.numcodecs import Lci

    codec: dict[str, Any] = {"compressors": Lci(quality=60)}
    if zarr_format == 3:
        codec = {"compressors": None, "serializer": LciCodec(quality=60)}
    old, new = chunk(64, 64), chunk(64, 64)[::-1] + 5000
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=old.shape, chunks=old.shape, dtype=old.dtype, zarr_format=zarr_format, **codec
    )
    array[...] = old
    before = array[...]
    size = len(learned_codec.encode(new))
    for limit in (0, size // 2, size - 1):
        with files_of_at_most(limit), pytest.raises(OSError, match="too large"):
            array[...] = new
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr", mode="r")[...], before)


@given(fill=st.integers(-60, 60), quality=st.integers(10, 60))
@settings(max_examples=5)
def test_no_value_becomes_an_absent_fill_value(fill: int, quality: int) -> None:
    values = (chunk(1, 64, 64)[0].astype(np.int32) % 200 - 100).astype(np.int16)
    values[values == fill] = fill + 1
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, shape=values.shape, chunks=values.shape, dtype=values.dtype, fill_value=fill, compressors=None,
        serializer=LciCodec(quality=quality),
    )  # fmt: skip
    array[:] = values
    assert not (zarr.open_array(store)[:] == fill).any()


@given(
    void=st.sampled_from([-9999.0, -32768.0, 0.0, 3.4e38]),
    fill_value=st.sampled_from([0.0, -1.0, -9999.0]),
    dtype=st.sampled_from(["int16", "float32"]),
    keep=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_advice_is_about_what_the_codec_takes(
    void: float, fill_value: float, dtype: str, keep: bool, seed: int
) -> None:
    """A warning of values that may mean "no value" names settings of the array and the codec, which silence it."""
    if dtype == "int16" and void == 3.4e38:
        return
    values = (1000 + chunk(1, 64, 64) / 50).astype(dtype)
    values[0, :20, :20] = void
    values[0, 30:34] = fill_value
    if seed % 2 and void != fill_value:
        values[0, 40:44] = 30000  # a third value of that kind
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        create(zarr.storage.MemoryStore(), values, (1, 64, 64), fill_value=fill_value, keep_fill_value=keep)
    of_voids = [str(one.message) for one in told if "apart from all" in str(one.message)]
    for said in of_voids:
        assert "nodata" not in said
        advised = said.rpartition(", say ")[2]
        told_value = re.search(r"fill_value=(\S+) of the array", advised)
        assert ("keep_fill_value=True of the codec" in advised) == (not keep)
        assert told_value or not keep
        declared = float(told_value[1]) if told_value else fill_value
        assert f" are {declared:g}, apart" in said
        with warnings.catch_warnings(record=True) as again:
            warnings.simplefilter("always")
            create(zarr.storage.MemoryStore(), values, (1, 64, 64), fill_value=declared)
        assert not any(f" are {declared:g}, apart" in str(one.message) for one in again)
    assert of_voids or keep


def test_advice_for_radar() -> None:
    rng = np.random.default_rng(0)
    values = (rng.exponential(size=(1, 64, 64)) * (rng.random((1, 64, 64)) > 0.2)).astype("float32")
    with pytest.warns(InputWarning, match=r"fill_value=0 of the array keeps zeros"):
        create(zarr.storage.MemoryStore(), values, (1, 64, 64), fill_value=-1, kind="sar", unit="power")
