"""The codec through other libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learned_codec
from learned_codec.errors import InvalidInputError, RateError

numcodecs = pytest.importorskip("numcodecs")


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
    "settings",
    [{}, {"psnr": 75.0, "nodata": 0}, {"bpp": 1.5, "effort": 1}, {"quality": 30, "kind": "sar", "unit": "db"}],
)
def test_settings_are_kept(settings: dict[str, Any]) -> None:
    codec = numcodecs.get_codec({"id": "lci", **settings})
    assert codec.get_config() == {"id": "lci", "effort": 0, **settings}
    assert numcodecs.get_codec(codec.get_config()) == codec
    values = chunk(64, 64, dtype="float32" if "kind" in settings else "uint16")
    assert codec.encode(values) == learned_codec.encode(values, **settings)


def test_bad_chunks_and_settings_are_ours() -> None:
    codec = numcodecs.get_codec({"id": "lci"})
    with pytest.raises(InvalidInputError, match=r"shape \(9,\)"):
        codec.encode(np.zeros(9, np.uint8))
    with pytest.raises(InvalidInputError, match="uint32"):
        codec.encode(np.zeros((9, 9), np.uint32))
    with pytest.raises(RateError, match="out of reach"):
        numcodecs.get_codec({"id": "lci", "bpp": 1e-4}).encode(chunk(64, 64))


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
