"""The codec through other libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.codec import encode_source
from learned_codec.errors import CorruptDataError, InvalidInputError, RateError
from learned_codec.values.arrays import ArraySource

numcodecs = pytest.importorskip("numcodecs")
from learned_codec.integrations.numcodecs import Lci  # noqa: E402 - needs numcodecs


def chunk(*shape: int, dtype: str = "uint16") -> np.ndarray:
    x = np.broadcast_to(np.arange(shape[-1]), shape[-2:])
    rng = np.random.default_rng(0)
    bands = [1000 + 200 * np.sin(x / 9 + k) + rng.normal(0, 20, x.shape) for k in range(int(np.prod(shape[:-2])))]
    return np.array(bands).reshape(shape).astype(dtype)


@pytest.mark.parametrize("shape", [(100, 70), (3, 64, 80), (2, 2, 64, 64), (1, 1, 40, 50)])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_chunks_come_back(shape: tuple[int, ...], dtype: str) -> None:
    values = chunk(*shape, dtype=dtype)
    codec = numcodecs.get_codec({"id": "lci", "quality": 80})  # as installed: by the entry point
    data = codec.encode(values)
    assert isinstance(data, bytes)
    assert len(data) < values.nbytes / 4
    out = np.empty(shape, dtype)
    for found in (codec.decode(data), codec.decode(data, out=out), codec.decode(np.frombuffer(data, np.uint8))):
        assert found.dtype == dtype
        assert np.abs(found.reshape(shape).astype(float) - values).mean() < 20
    np.testing.assert_array_equal(out, codec.decode(data).reshape(shape))


@pytest.mark.parametrize(
    "given_settings",
    [
        {},
        {"psnr": 75.0, "nodata": 0},
        {"bpp": 1.5, "effort": 1},
        {"quality": 30, "kind": "sar", "unit": "db"},
    ],
)
def test_settings_are_kept(given_settings: dict[str, Any]) -> None:
    codec = numcodecs.get_codec({"id": "lci", **given_settings})
    assert codec.get_config() == {"id": "lci", "effort": 0, **given_settings}
    assert numcodecs.get_codec(codec.get_config()) == codec
    values = chunk(64, 64, dtype="float32" if "kind" in given_settings else "uint16")
    assert codec.encode(values) == learned_codec.encode(values, **given_settings)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    dtype=st.sampled_from(["u1", "u2", "i2", "f4", "f8"]),
    byte_order=st.sampled_from("<>"),
    order=st.sampled_from("CF"),
    shape=st.sampled_from([(40, 70), (3, 50, 40), (2, 2, 32, 50)]),
    missing=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:float64 is stored")
def test_any_byte_order_and_order_of_axes(
    dtype: str, byte_order: str, order: str, shape: tuple[int, ...], missing: bool
) -> None:
    """What the bytes of a chunk are taken for, as zarr does, is what was put in."""
    kind = np.dtype(byte_order + dtype)
    values = chunk(*shape, dtype="f8") / (8 if dtype == "u1" else 1)
    values = np.asarray(values.astype(kind), order=order)  # type: ignore[call-overload]
    void = np.array({"f": -9999, "i": -32768, "u": 0}[kind.kind], kind)
    there = np.random.default_rng(0).random(shape) < 0.1
    if missing and dtype != "u1":
        values[there] = void
    codec = numcodecs.get_codec({"id": "lci", "quality": 90})
    decoded = np.asarray(codec.decode(codec.encode(values)))
    found = decoded.view(kind).reshape(-1, order="A").reshape(shape, order=order)
    if missing and dtype != "u1":
        np.testing.assert_array_equal(found == void, there)
    assert np.abs(found.astype(float) - values.astype(float)).mean() < 20


@pytest.mark.parametrize("dtype", ["u1", "i1", "?", "<u2", ">i2", "<u4", ">i4", "<f4", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_without_loss_are_exact(dtype: str, order: str) -> None:
    rng = np.random.default_rng(3)
    kind = np.dtype(dtype)
    values = np.frombuffer(rng.bytes(2 * 3 * 40 * 50 * kind.itemsize), np.uint8)
    values = values > 99 if dtype == "?" else values.view(kind)
    values = np.asarray(values.reshape(2, 3, 40, 50), order=order)  # type: ignore[call-overload]
    codec = numcodecs.get_codec({"id": "lci", "max_error": 0})
    assert numcodecs.get_codec(codec.get_config()) == codec
    decoded = np.asarray(codec.decode(codec.encode(values)))
    found = decoded.view(kind).reshape(-1, order="A").reshape(values.shape, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(found, values)
    out = np.empty_like(values)
    codec.decode(codec.encode(values), out=out)
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("dtype", ["int16", "float32", "int32"])
@pytest.mark.parametrize("settings", [{}, {"nodata": -9999}])
def test_missing_values_are_exact_within_a_bound(dtype: str, settings: dict[str, Any]) -> None:
    values = chunk(2, 50, 40, dtype=dtype)
    gone = np.random.default_rng(4).random(values.shape) < 0.2
    values[gone] = -9999
    codec = numcodecs.get_codec({"id": "lci", "max_error": 7, **settings})
    found = codec.decode(codec.encode(values))
    np.testing.assert_array_equal(found == -9999, gone)
    error = np.abs(found.astype(float) - values)
    assert 3 < error.max() <= 7


@pytest.mark.parametrize(
    "form",
    [
        {"dtype": "<u2", "order": "F", "shape": [40, 51]},
        {"dtype": "O", "order": "C", "shape": [50, 40]},
        {"dtype": "<c8", "order": "C", "shape": [50, 40]},
        {"dtype": "<u2", "order": "Z", "shape": [50, 40]},
        {"dtype": "<u2", "order": "C", "shape": [-50, -40]},
        {"dtype": "<u2"},
        "C",
        7,
    ],
)
def test_a_forged_form_is_damage(form: Any) -> None:
    source = ArraySource(chunk(50, 40))
    source.metadata["chunk"] = form
    with pytest.raises(CorruptDataError, match="shape or dtype is invalid"):
        numcodecs.get_codec({"id": "lci"}).decode(encode_source(source))


def test_bad_chunks_and_settings_are_ours() -> None:
    codec = numcodecs.get_codec({"id": "lci"})
    with pytest.raises(InvalidInputError, match=r"shape \(9,\)"):
        codec.encode(np.zeros(9, np.uint8))
    with pytest.raises(InvalidInputError, match="uint32"):
        codec.encode(np.zeros((9, 9), np.uint32))
    with pytest.raises(RateError, match="out of reach"):
        numcodecs.get_codec({"id": "lci", "bpp": 1e-4}).encode(chunk(64, 64))


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[s]", "S3", "U3", "c8", "f2", "u8", "V4"])
@pytest.mark.parametrize("max_error", [None, 0])
def test_other_dtypes_are_refused(dtype: str, max_error: int | None) -> None:
    with pytest.raises(InvalidInputError):
        numcodecs.get_codec({"id": "lci", "max_error": max_error}).encode(np.zeros((8, 9), dtype))


def test_what_a_chunk_is_decoded_into() -> None:
    values = chunk(20, 30) + np.uint16(300)
    codec = numcodecs.get_codec({"id": "lci", "max_error": 0})
    data = codec.encode(values)
    for out in (np.empty(values.shape, "<u2"), np.empty(values.shape, ">u2"), np.empty(values.size, np.uint16)):
        np.testing.assert_array_equal(codec.decode(data, out=out), values.reshape(out.shape))
    raw = bytearray(values.nbytes)
    codec.decode(data, out=raw)
    assert raw == values.tobytes()
    for other in (np.empty(values.shape, np.uint8), np.empty(values.shape, np.int16), bytearray(3), np.empty(7, "u2")):
        with pytest.raises(InvalidInputError, match="doesn't go into"):
            codec.decode(data, out=other)
    assert type(numcodecs.get_codec({"id": "lci", "quality": np.float32(60)}).get_config()["quality"]) is float


def test_a_zarr_array(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.0")
    values = chunk(3, 150, 130)
    values[:, :40, :50] = 0
    codec = numcodecs.get_codec({"id": "lci", "quality": 90, "nodata": 0})
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=values.shape, chunks=(3, 64, 64), dtype="uint16", zarr_format=2, compressors=codec
    )
    array[...] = values
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(again[...] == 0, values == 0)
    assert np.abs(again[:, 60:70, 100:].astype(float) - values[:, 60:70, 100:]).mean() < 20
    assert sum(file.stat().st_size for file in (tmp_path / "a.zarr").iterdir()) < values.nbytes / 4


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 0, 5), (0, 5, 5)])
def test_empty_chunks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="no rows and columns"):
        Lci(max_error=0).encode(np.zeros(shape, np.uint8))


def test_a_mask_is_refused_and_so_is_what_cannot_be_written() -> None:
    values = chunk(1, 20, 30)[0]
    with pytest.raises(InvalidInputError, match="can't keep a mask"):
        Lci().encode(np.ma.masked_greater(values, np.median(values)))
    data, out = Lci().encode(values), np.empty_like(values)
    out.flags.writeable = False
    for into in (out, bytes(out.nbytes)):
        with pytest.raises(InvalidInputError, match="read-only"):
            Lci().decode(data, into)
