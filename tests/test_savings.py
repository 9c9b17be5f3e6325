"""`learned-codec compare`: what is said of a file is true of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

import learned_codec
from learned_codec.cli import main
from learned_codec.demo import landscape
from learned_codec.errors import RateError
from learned_codec.savings import compare


def raster(path: Path, values: np.ndarray, **profile: object) -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype.name, crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile,
    ) as file:  # fmt: skip
        file.write(values)
    return path


def test_a_picture(tmp_path: Path) -> None:
    Image.fromarray(landscape(96, 128)).save(tmp_path / "x.png")
    result = CliRunner().invoke(
        main, ["compare", str(tmp_path / "x.png"), "--picture", str(tmp_path / "side.png"), "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    today, ours, jpeg2000 = found["rows"]
    assert (today["bytes"], today["rmse"]) == ((tmp_path / "x.png").stat().st_size, 0)
    learned_codec.encode_file(tmp_path / "x.png", tmp_path / "x.lci")
    decoded = learned_codec.decode(tmp_path / "x.lci").astype(float)
    assert ours["bytes"] == (tmp_path / "x.lci").stat().st_size
    assert ours["rmse"] == pytest.approx(np.sqrt(np.mean((decoded - landscape(96, 128)) ** 2)))
    assert jpeg2000["bytes"] <= ours["bytes"]
    assert jpeg2000["rmse"] > 0
    with Image.open(tmp_path / "side.png") as picture:
        assert picture.size[0] > 3 * 128


def test_a_raster_with_nodata_and_a_size(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(2000, 300, (4, 120, 130)).astype(np.uint16)
    values[:, :40, :50] = 0
    path = raster(tmp_path / "x.tif", values, nodata=0)
    found = compare(path, max_bytes=20000)
    today, ours, jpeg2000 = found.rows
    assert ours.bytes <= 20000
    assert jpeg2000.bytes <= ours.bytes
    assert 0 < ours.rmse < 300
    assert 0 < jpeg2000.rmse < 400
    assert today.share == 1
    assert "of today" in found.report()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (80, 1), (1, 40), (31, 33)])
def test_small_images(tmp_path: Path, height: int, width: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, (1, height, width)).astype(np.uint8)
    found = compare(raster(tmp_path / "x.tif", values))
    assert found.rows[2].bytes > 0
    assert found.rows[2].largest <= 255


def test_floats_have_no_jpeg2000(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (1, 70, 64)).astype(np.float32)
    values[0, :9] = np.nan
    found = compare(raster(tmp_path / "x.tif", values), picture=tmp_path / "x.png", quality=80)
    assert [row.name for row in found.rows] == ["as it is", "learned_codec"]
    assert "floating-point" in found.note
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size[0] >= 2 * 64


def test_what_is_refused(tmp_path: Path) -> None:
    Image.fromarray(landscape(64, 64)).save(tmp_path / "x.png")
    command = ["compare", str(tmp_path / "x.png"), "--picture", str(tmp_path / "x.png")]
    assert CliRunner().invoke(main, command).exit_code == 3
    assert CliRunner().invoke(main, [*command[:2], "--quality", "5", "--max-bytes", "7"]).exit_code == 2
    with pytest.raises(RateError, match="7 bytes for 4,096 pixels"):
        compare(tmp_path / "x.png", max_bytes=7)
