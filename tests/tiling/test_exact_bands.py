"""Bands of few values, such as classes, come back exactly, and harm no other band."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import learned_codec
from learned_codec.errors import InputWarning
from learned_codec.tiling.exact_bands import MOST_VALUES, exact_bands
from learned_codec.tiling.masking import MaskedSource
from learned_codec.tiling.sampling import samples
from learned_codec.values.arrays import ArraySource


def areas(shape: tuple[int, int], count: int, seed: int) -> NDArray[np.int64]:
    """(H, W) numbers below `count`, in areas about points that lie 40 pixels apart on average."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (max(2, shape[0] * shape[1] // 1600), 2)) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    nearest = (np.square(y[..., None] - points[:, 0]) + np.square(x[..., None] - points[:, 1])).argmin(-1)
    return rng.integers(0, count, len(points))[nearest]


def scene(shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """(H, W) values of about 1000 to 3000, smooth and with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 20
    return 2000 + 800 * np.sin(y + rng.normal()) * np.cos(x + rng.normal()) + rng.normal(0, 30, shape)


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    count=st.integers(1, 12),
    bands=st.integers(0, 4),
    place=st.integers(0, 4),
    quality=st.sampled_from([1, 30, 100]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=15)
def test_classes_are_exact_at_any_quality(
    dtype: str, count: int, bands: int, place: int, quality: int, seed: int
) -> None:
    shape = 96, 130
    values = np.random.default_rng(seed).choice(np.arange(250), count, replace=False)
    classes = values[areas(shape, count, seed)]
    others = [scene(shape, seed + k) / (16 if dtype == "uint8" else 1) for k in range(bands)]
    place = min(place, bands)
    image = np.stack([*others[:place], classes, *others[place:]]).astype(dtype)
    if image.shape[0] == 3 and dtype == "uint8":
        image = np.concatenate([image, image[:1] // 2 + 9])  # three bands of 8 bits are colours
    decoded = learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality))
    np.testing.assert_array_equal(decoded[place], image[place])


@pytest.mark.parametrize("bands", [1, 3])
def test_reduced_images_have_no_other_classes(bands: int) -> None:
    shape = 150, 203
    classes = np.array([3, 50, 1000], np.uint16)[areas(shape, 3, 1)]
    image = np.stack([*(scene(shape, k).astype(np.uint16) for k in range(bands)), classes])
    with learned_codec.open(learned_codec.encode(image, planar=True)) as reader:
        for factor in (2, 4, 16):
            small = reader.read(scale=1 / factor)[-1]
            assert set(np.unique(small)) <= {3, 50, 1000}
            inside = small[: shape[0] // factor, : shape[1] // factor]
            middle = (slice(factor // 2 - 1, None, factor), slice(factor // 2 - 1, None, factor))
            np.testing.assert_array_equal(inside, classes[middle][: inside.shape[0], : inside.shape[1]])


def test_other_bands_have_the_usual_error() -> None:
    shape = 200, 160
    others = np.stack([scene(shape, k) for k in range(4)]).astype(np.uint16)
    image = np.concatenate([others, areas(shape, 7, 3)[None].astype(np.uint16)])
    with_classes, alone = (
        learned_codec.decode(learned_codec.encode(x, planar=True, quality=50))[:4].astype(float)
        for x in (image, others)
    )
    errors = [np.sqrt(np.square(found - others).mean((1, 2))) for found in (with_classes, alone)]
    np.testing.assert_allclose(errors[0], errors[1], rtol=0.02)


def test_masked_classes() -> None:
    """What is hidden or has no value isn't a class."""
    shape = 120, 90
    image = np.stack([scene(shape, 0), areas(shape, 5, 2)], 2).astype(np.float32)
    image[:40, :30] = -9999
    image[60:70, :, 1] = np.nan
    mask = np.ones(shape, bool)
    mask[:, 80:] = False
    decoded = learned_codec.decode(learned_codec.encode(image, nodata=-9999, mask=mask))
    np.testing.assert_array_equal(decoded[mask][:, 1], image[mask][:, 1])


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    share=st.floats(0.01, 0.99),
    grain=st.integers(1, 5),
    others=st.sampled_from([0, 1, 3]),
    quality=st.sampled_from([1, 30, 100]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=15)
def test_two_values_are_exact_however_they_change(
    dtype: str, share: float, grain: int, others: int, quality: int, seed: int
) -> None:
    """As in a mask or a line drawing, alone or beside other bands."""
    shape = 60, 70
    bits = np.random.default_rng(seed).random((15, 20)) < share
    mask = np.where(np.kron(bits, np.ones((grain, grain), bool))[: shape[0], : shape[1]], 200, 7)
    rest = [scene(mask.shape, seed + k) / (16 if dtype == "uint8" else 1) for k in range(others)]
    image = np.stack([*rest, mask]).astype(dtype)
    decoded = learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality))
    np.testing.assert_array_equal(decoded[-1], image[-1])


def kept(image: NDArray[Any]) -> list[int]:
    source = MaskedSource(ArraySource(image))
    return [band.band for band in exact_bands(source, samples(source))[0]]


def test_what_is_not_kept() -> None:
    """Few values that change from pixel to pixel, and many values in areas, are coded as usual."""
    shape = 256, 256
    noise = np.random.default_rng(0).integers(0, 8, shape)
    many = areas(shape, MOST_VALUES + 30, 0)
    many.flat[: MOST_VALUES + 1] = np.arange(MOST_VALUES + 1)
    smooth = scene(shape, 0) / 40
    classes = areas(shape, 4, 0)
    assert kept(np.stack([noise, many, smooth, classes], 2).astype(np.uint16)) == [3]


def test_values_that_no_sample_has() -> None:
    """In a large image, samples show only a part of the values."""
    classes = np.zeros((2100, 2200), np.uint8)
    classes[1000:1020, 1000:1020] = np.arange(20) + 1
    decoded = learned_codec.decode(learned_codec.encode(classes, quality=5))
    np.testing.assert_array_equal(decoded, classes)


def test_low_rates() -> None:
    """A bpp that isn't enough is told; it is kept all the same."""
    shape = 256, 256
    classes = areas(shape, 9, 5)
    classes[1::3] = np.roll(classes, 1, 1)[1::3]
    image = np.stack([scene(shape, 0), classes], 2).astype(np.uint16)
    with pytest.warns(InputWarning, match=r"band 2 has few values, as classes have, and 0\.1 bpp isn't enough"):
        data = learned_codec.encode(image, bpp=0.1)
    assert 8 * len(data) <= 0.1 * shape[0] * shape[1]
    data = learned_codec.encode(image, bpp=2.0)
    assert 8 * len(data) <= 2 * shape[0] * shape[1]
    np.testing.assert_array_equal(learned_codec.decode(data)[..., 1], image[..., 1])
    data = learned_codec.encode(image, psnr=40)
    np.testing.assert_array_equal(learned_codec.decode(data)[..., 1], image[..., 1])


def test_files_in_other_processes(tmp_path: Any) -> None:
    """Rows of tiles that other processes encode have the same bytes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    import rasterio

    shape = 300, 140
    image = np.stack([scene(shape, 0), areas(shape, 6, 1)]).astype(np.uint16)
    profile = {"driver": "GTiff", "count": 2, "height": shape[0], "width": shape[1], "dtype": "uint16"}
    profile |= {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(image)
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", tile_size=128)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "b.lci", tile_size=128, executor=pool)
    assert (tmp_path / "a.lci").read_bytes() == (tmp_path / "b.lci").read_bytes()
    with learned_codec.open(io.BytesIO((tmp_path / "a.lci").read_bytes())) as reader:
        np.testing.assert_array_equal(reader.read(planar=True)[1], image[1])
