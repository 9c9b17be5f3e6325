"""Decoding without the refinement: nothing but the error differs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec import demo
from learned_codec.cli import main
from learned_codec.errors import InvalidInputError

HEIGHT, WIDTH = 200, 280


def scene(bands: int, dtype: str) -> np.ndarray:
    """(HEIGHT, WIDTH, bands) of a landscape, from 1."""
    levels = np.maximum(demo.landscape(HEIGHT, WIDTH)[..., np.arange(bands) % 3], 1)
    return levels if dtype == "uint8" else levels.astype(dtype) * 12


def encoded(bands: int, dtype: str, hidden: str | None, **options: Any) -> tuple[np.ndarray, bytes]:
    """Such a scene and its file, in which a corner is hidden."""
    image = scene(bands, dtype)
    if hidden == "nodata":
        image[:70, :90] = 0
        options["nodata"] = 0
    elif hidden == "mask":
        options["mask"] = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) > 150
    return image, learned_codec.encode(image, threads=1, **options)


def squared_error(image: np.ndarray, decoded: np.ndarray) -> float:
    return float(np.square(image.astype(float) - decoded).mean())


@settings(max_examples=16, deadline=None, derandomize=True)
@given(
    bands=st.sampled_from([1, 2, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    hidden=st.sampled_from([None, "nodata", "mask"]),
    quality=st.sampled_from([20, 60, 90]),
    window=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100), st.integers(1, 180)),
)
def test_only_the_error_differs(
    bands: int, dtype: str, hidden: str | None, quality: int, window: tuple[int, int, int, int]
) -> None:
    image, data = encoded(bands, dtype, hidden, quality=quality, tile_size=128)
    refined, plain = (learned_codec.decode(data, masked=True, refine=refine) for refine in (True, False))
    assert plain.dtype == image.dtype
    assert plain.shape == image.shape
    np.testing.assert_array_equal(np.ma.getmaskarray(plain), np.ma.getmaskarray(refined))
    shown = ~np.ma.getmaskarray(plain)
    errors = [squared_error(image[shown], np.ma.getdata(x)[shown]) for x in (refined, plain)]
    assert errors[0] < errors[1] < 1.5 * errors[0]
    with learned_codec.open(data, refine=False) as reader:
        assert reader.refine is False
        found = reader.read(window=window).astype(float)
    row, column, height, width = window
    expected = np.ma.getdata(plain)[row : row + height, column : column + width]
    assert np.abs(found - expected).max() <= (1 if dtype != "float32" else 1e-3 * image.max())


@pytest.mark.parametrize("options", [{"max_error": 0}, {"max_error": 3}])
def test_files_with_a_bounded_error_have_no_refinement(options: dict[str, Any]) -> None:
    _, data = encoded(3, "uint8", "nodata", **options)
    np.testing.assert_array_equal(learned_codec.decode(data, refine=False), learned_codec.decode(data))


def test_reduced_images_are_never_refined() -> None:
    _, data = encoded(3, "uint8", None)
    reduced = (learned_codec.decode(data, scale=1 / 4, refine=refine) for refine in (True, False))
    np.testing.assert_array_equal(*reduced)


@pytest.mark.parametrize("value", [7, 255])
def test_one_value_comes_back_exactly(value: int) -> None:
    image = np.full((90, 100, 3), value, np.uint8)
    image[50:] = scene(3, "uint8")[:40, :100]
    found = learned_codec.decode(learned_codec.encode(image), refine=False)
    np.testing.assert_array_equal(found[:45], image[:45])


@pytest.mark.parametrize("refine", [0, 1, None, "no"], ids=repr)
def test_other_values_are_refused(refine: Any, tmp_path: Path) -> None:
    _, data = encoded(1, "uint8", None)
    (tmp_path / "a.lci").write_bytes(data)
    with pytest.raises(InvalidInputError, match="refine must be True or False, not"):
        learned_codec.decode(data, refine=refine)
    with pytest.raises(InvalidInputError, match="refine must be"):
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "a.png", refine=refine)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lci"]
    np.testing.assert_array_equal(
        learned_codec.decode(data, refine=np.bool_(False)), learned_codec.decode(data, refine=False)
    )


def test_files_and_the_command_line(tmp_path: Path) -> None:
    _, data = encoded(3, "uint8", None)
    source = tmp_path / "a.lci"
    source.write_bytes(data)
    expected = learned_codec.decode(data, refine=False)
    learned_codec.decode_file(source, tmp_path / "a.png", refine=False)
    done = CliRunner().invoke(main, ["decode", str(source), str(tmp_path / "b.png"), "--no-refine"])
    assert done.exit_code == 0, done.output
    for name in "a.png", "b.png":
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_copy_of_a_reader_does_the_same(tmp_path: Path) -> None:
    _, data = encoded(3, "uint8", None)
    (tmp_path / "a.lci").write_bytes(data)
    with learned_codec.open(tmp_path / "a.lci", refine=False) as reader:
        sent = pickle.dumps(reader)
        expected = reader.read()
    with pickle.loads(sent) as other:  # noqa: S301 - of our own
        np.testing.assert_array_equal(other.read(), expected)
    rasterio = pytest.importorskip("learned_codec.integrations.rasterio")
    with rasterio.open(tmp_path / "a.lci", refine=False) as dataset:
        np.testing.assert_array_equal(dataset.read().transpose(1, 2, 0), expected)
