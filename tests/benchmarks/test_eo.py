"""Earth observation: equal bytes, checks of the decoded scene, tables."""

# ruff: noqa: E402
# What is tested is imported if what it needs is there.

import numpy as np
import pytest

pytest.importorskip("scipy")
rasterio = pytest.importorskip("rasterio")

from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import codecs, eo, plots


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("eo")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :192]
    planes = [2000 + 900 * np.sin(x / (11 + b)) * np.cos(y / 17) + rng.normal(0, 30, x.shape) for b in range(4)]
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": 160, "width": 192, "nodata": 0}
    with rasterio.open(path / "s.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **profile) as file:
        file.write(np.stack(planes).astype(np.uint16))
        file.descriptions = ("blue", "green", "Red", "NIR")
    rgb = {**profile, "dtype": "uint8", "count": 3}
    with rasterio.open(path / "rgb.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **rgb) as file:
        file.write((np.stack(planes[:3]) / 16).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def result(folder):
    if codecs.get("jpeg2000-gdal").unavailable():
        pytest.skip("this GDAL has no JPEG 2000")
    return eo.run(str(folder), progress=False)


def test_all_codecs_get_the_same_bytes(result):
    [scene] = result["scenes"]  # 8-bit RGB is measured elsewhere
    rows = {(row["codec"], row["rate"]): row for row in scene["rows"]}
    for rate in eo.RATES:
        budget = rows["jpeg2000-gdal", rate]["bytes"]
        assert budget == pytest.approx(rate * 4 * scene["pixels"] / 8, rel=0.15)
        assert 0.5 * budget < rows["ours", rate]["bytes"] <= budget
        assert rows["jpeg2000-gdal-klt", rate]["bytes"] == pytest.approx(budget, rel=0.15)


def test_checks_and_sizes_are_there(result):
    [scene] = result["scenes"]
    assert scene["raw"] == 160 * 192 * 8
    assert 0 < scene["zstd"] < scene["raw"]
    assert scene["lerc"] > 0
    for row in scene["rows"]:
        assert {"psnr", "max-error", "tails", "edges", "spectral-angle", "ndvi-error"} <= set(row)
    best = {row["codec"]: row for row in scene["rows"] if row["rate"] == eo.RATES[-1]}["ours"]
    assert best["ndvi-error"] < 0.02
    assert scene["largest"] == best["max-error"]
    page = eo.report(result, plots.label)
    assert "| s | uint16×4 | 246 kB |" in page
    assert "| 1 (1 scenes) | learned_codec |" in page


def test_bands_are_told_by_their_names(folder):
    from benchmarks import datasets

    assert eo.red_and_infrared(datasets.Item("s", str(folder / "s.tif"))) == (2, 3)
    assert eo.red_and_infrared(datasets.Item("rgb", str(folder / "rgb.tif"))) is None


def test_nothing_to_measure_is_said(tmp_path):
    rgb = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 64, "width": 64}
    with rasterio.open(tmp_path / "rgb.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **rgb) as file:
        file.write(np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8))
    done = CliRunner().invoke(command.main, ["eo", "--dataset", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "several bands or 16 bits" in done.output
