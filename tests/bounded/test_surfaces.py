"""`max_error` in files, on the command line and in a Reader."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec.cli import main
from learned_codec.demo import landscape
from learned_codec.values.arrays import BOUNDED_DTYPES

rasterio = pytest.importorskip("rasterio")
from tests import geotiffs  # noqa: E402 - needs rasterio

PLACE = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
NODATA = 7
COLOURS = {number: (20 * number, 255 - number, 0, 255) for number in range(9)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def noise(dtype: str, *shape: int) -> np.ndarray:
    """Values over the whole range of a dtype, in which some are nodata."""
    rng = np.random.default_rng(0)
    if dtype == "float32":
        values = rng.normal(0, 1e4, shape).astype(dtype)
    elif dtype == "bool":
        return rng.random(shape) < 0.5
    else:
        ends = np.iinfo(dtype)
        values = rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    values[..., 10:30] = NODATA
    return values


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        found: np.ndarray = raster.read()
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    with geotiffs.write(tmp_path / "scene.tif", noise("uint16", 2, 70, 90), nodata=NODATA, **PLACE):
        return tmp_path / "scene.tif"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    values = np.random.default_rng(1).integers(0, 9, (1, 70, 90)).astype(np.uint8)
    with geotiffs.write(tmp_path / "classes.tif", values, nodata=0, **PLACE) as raster:
        raster.write_colormap(1, COLOURS)
        raster.set_band_description(1, "land cover")
    return tmp_path / "classes.tif"


# --- the command line ---


@pytest.mark.parametrize("name", ["scene", "classes"])
def test_a_geotiff_without_loss(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    path, lci, again = request.getfixturevalue(name), tmp_path / "a.lci", tmp_path / "again.tif"
    encoded = run("encode", path, lci, "--lossless")
    assert encoded.exit_code == 0, encoded.output
    assert encoded.stdout.endswith(", lossless\n")
    assert run("decode", lci, again).exit_code == 0
    np.testing.assert_array_equal(read(again), read(path))
    assert geotiffs.describe(again) == geotiffs.describe(path)
    checked = run("check", lci)
    assert (checked.exit_code, checked.stdout) == (0, f"{lci}: 1 tile, whole, lossless\n")


def test_a_bound_for_each_band_is_kept_and_said(tmp_path: Path, scene: Path) -> None:
    lci, again = tmp_path / "a.lci", tmp_path / "again.tif"
    assert run("encode", scene, lci, "--max-error", 3, "--max-error", 8).stdout.endswith(", max_error 3 to 8\n")
    assert json.loads(run("info", lci, "--json").stdout)["max_error"] == [3, 8]
    assert "max_error   [3.0, 8.0]" in run("info", lci).stdout.splitlines()
    assert run("check", lci).stdout.endswith(", max_error 3 to 8\n")
    assert run("decode", lci, again).exit_code == 0
    before, after = read(scene).astype(int), read(again).astype(int)
    np.testing.assert_array_equal(before == NODATA, after == NODATA)
    first, second = np.abs(before - after).max((1, 2))
    assert first <= 3 < second <= 8


@pytest.mark.parametrize("bound", [0, 2])
def test_a_png(tmp_path: Path, bound: int) -> None:
    picture = landscape(64, 80)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", tmp_path / "a.lci", "--max-error", bound).exit_code == 0
    assert run("decode", tmp_path / "a.lci", tmp_path / "again.png").exit_code == 0
    with Image.open(tmp_path / "again.png") as found:
        assert np.abs(np.asarray(found).astype(int) - picture).max() == bound


def test_profiles_have_bounds_that_give_way(tmp_path: Path, scene: Path) -> None:
    for options, bounds in (
        (["--profile", "classes"], [0, 0]),
        (["--profile", "elevation", "--max-error", 2], [2, 2]),
        (["--profile", "elevation", "--lossless"], [0, 0]),
    ):
        result = run("encode", scene, tmp_path / "a.lci", *options, "--json", "--overwrite")
        assert json.loads(result.stdout)["max_error"] == bounds


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--lossless --max-error 1", 2, "--lossless is --max-error 0"),
        ("--lossless --quality 60", 2, "exclude --quality"),
        ("--max-error 1 --bpp 0.01", 3, "bpp, above the 0.01 asked for"),
        ("--max-error 1 --psnr 40", 2, "exclude --quality and --psnr"),
        ("--max-error much", 2, "'much' is not a valid float"),
        ("--max-error -1", 3, "0 or more, not -1"),
        ("--max-error nan", 3, "not nan"),
        ("--max-error 1 --max-error 1 --max-error 1", 3, "each of 2 bands, not 3"),
        ("--lossless --model mono-2", 3, "can't go with model"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, scene: Path, options: str, code: int, words: str) -> None:
    result = run("encode", scene, tmp_path / "a.lci", *options.split())
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "a.lci").exists()


@pytest.mark.parametrize("options", [[], ["--max-error", 1]])
def test_classes_are_not_changed(tmp_path: Path, classes: Path, options: list[object]) -> None:
    result = run("encode", classes, tmp_path / "a.lci", *options)
    assert result.exit_code == 3
    assert "a raster of classes" in result.stderr
    assert not (tmp_path / "a.lci").exists()


# --- files ---


@pytest.mark.parametrize("dtype", [name for name in BOUNDED_DTYPES if name != "bool"])
def test_files_of_every_dtype_come_back_with_all_they_say(tmp_path: Path, dtype: str) -> None:
    path, lci, again = (tmp_path / name for name in ("a.tif", "a.lci", "again.tif"))
    with geotiffs.write(path, noise(dtype, 2, 70, 90), nodata=NODATA, **PLACE) as raster:
        raster.update_tags(SENSOR="none")
        raster.set_band_description(2, "second")
        raster.scales, raster.offsets, raster.units = (0.5, 2), (1, 0), ("m", "K")
    info = learned_codec.encode_file(path, lci, max_error=0, tile_size=64)
    assert (info.dtype, info.nodata, info.max_error) == (dtype, NODATA, (0, 0))
    learned_codec.decode_file(lci, again)
    assert read(again).tobytes() == read(path).tobytes()
    assert geotiffs.describe(again) == geotiffs.describe(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_booleans_become_a_file_of_0_and_1(tmp_path: Path) -> None:
    values = noise("bool", 70, 90)
    (tmp_path / "a.lci").write_bytes(learned_codec.encode(values, max_error=0))
    for name in ("a.tif", "a.png"):
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / name)
    assert read(tmp_path / "a.tif").dtype == np.uint8
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], values)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), values)


# --- windows and reduced images ---


@functools.cache
def coded(dtype: str, bound: float) -> bytes:
    nodata = None if dtype == "bool" else NODATA
    return learned_codec.encode(noise(dtype, 2, 130, 150), planar=True, max_error=bound, nodata=nodata, tile_size=64)


@settings(max_examples=20, deadline=None)
@given(st.data(), st.sampled_from([("int8", 20), ("bool", 0), ("uint32", 0), ("float32", 0.75)]))
def test_windows_are_parts_of_the_whole(data: st.DataObject, image: tuple[str, float]) -> None:
    dtype, bound = image
    whole = learned_codec.decode(coded(dtype, bound))
    row, column = data.draw(st.integers(0, 129)), data.draw(st.integers(0, 149))
    height, width = data.draw(st.integers(1, 130 - row)), data.draw(st.integers(1, 150 - column))
    with learned_codec.open(io.BytesIO(coded(dtype, bound))) as reader:
        part = reader.read(window=(row, column, height, width))
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, whole[:, row : row + height, column : column + width])


@pytest.mark.parametrize("factor", [2, 16])
@pytest.mark.parametrize("dtype", BOUNDED_DTYPES)
def test_reduced_pixels_are_means_of_the_decoded_ones(dtype: str, factor: int) -> None:
    data = coded(dtype, 20 if dtype != "bool" else 0)
    whole, small = learned_codec.decode(data), learned_codec.decode(data, scale=1 / factor)
    assert small.dtype == dtype
    assert small.shape == (2, -(-130 // factor), -(-150 // factor))
    for (band, row, column), found in np.ndenumerate(small):
        cell = whole[band, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        real = cell[cell != NODATA] if dtype != "bool" else cell.reshape(-1)
        if not real.size:
            assert found == NODATA
            continue
        mean = real.mean(dtype=np.float64)
        expected = np.dtype(dtype).type(mean if dtype == "float32" else np.rint(mean))
        if dtype not in ("bool", "float32") and expected == NODATA:
            assert abs(int(found) - NODATA) == 1  # the mean isn't taken for nodata
        elif dtype == "float32":
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        else:
            assert found == expected
