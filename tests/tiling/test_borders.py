"""Borders of one exact value come back as they are, and cost next to nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.bitstream import read_head
from learned_codec.tiling.borders import border_constants
from learned_codec.tiling.masking import MaskedSource
from learned_codec.values.arrays import ArraySource
from learned_codec.values.constants import MARGIN, Border, areas_of

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
FEW = settings(max_examples=15, deadline=None, derandomize=True)


def picture(height: int, width: int, bands: int = 3, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """(H, W, bands) waves with some noise, from 40 to 220 of 255 or as much of 12 bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(9, 40) + y / rng.uniform(9, 40) + band) for band in range(bands)]
    values = 130 + 80 * np.stack(waves, -1) + rng.normal(0, 3, (height, width, bands))
    return (np.clip(values, 40, 220) * (1 if dtype == "uint8" else 16)).astype(dtype)


def framed(image: np.ndarray, form: str, depth: int, value: Any) -> tuple[np.ndarray, np.ndarray]:
    """An image with a border, and where that is."""
    y, x = np.indices(image.shape[:2])
    height, width = image.shape[:2]
    if form == "frame":
        there = (np.minimum(y, x) < depth) | (y >= height - depth) | (x >= width - depth)
    elif form == "bars":
        there = (y < depth) | (y >= height - depth)
    elif form == "side":
        there = x < depth
    else:  # turned
        there = (x + 0.2 * y < depth) | (y - 0.3 * x > height - depth)
    result = image.copy()
    result[there] = value
    return result, there


@FEW
@given(
    form=st.sampled_from(["frame", "bars", "side", "turned"]),
    depth=st.integers(1, 60),
    value=st.sampled_from([0, 255, 16, (12, 34, 56)]),
    size=st.tuples(st.integers(130, 200), st.integers(130, 200)),
    quality=st.sampled_from([1, 20, 60, 100]),
    tile=st.sampled_from([None, 64]),
)
def test_borders_of_photographs_stay_as_they_are(
    form: str, depth: int, value: Any, size: tuple[int, int], quality: float, tile: int | None
) -> None:
    depth = max(depth, 20) if form == "turned" else depth
    image, there = framed(picture(*size), form, depth, value)
    decoded = learned_codec.decode(learned_codec.encode(image, quality=quality, tile_size=tile))
    wrong = (decoded[there] != image[there]).any(-1).mean()
    assert wrong <= (0.01 if form == "turned" else 0)  # a sharp corner ends in single pixels


@FEW
@given(
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
    bands=st.integers(1, 4),
    form=st.sampled_from(["frame", "bars", "side"]),
    depth=st.integers(8, 60),
    seed=st.integers(0, 9),
)
def test_borders_of_rasters_stay_and_harm_nothing(dtype: str, bands: int, form: str, depth: int, seed: int) -> None:
    whole = picture(160, 190, bands, seed, "uint16").astype(dtype)
    image, there = framed(whole, form, depth, 0)
    with pytest.warns(learned_codec.InputWarning, match="of band 1 are 0"):
        data = learned_codec.encode(image)
    decoded = learned_codec.decode(data)
    assert (decoded[there] == 0).all()
    error = (decoded.astype(float) - image)[~there].std()
    alone = (learned_codec.decode(learned_codec.encode(whole)).astype(float) - whole)[~there].std()
    assert error < 1.2 * alone
    assert not np.ma.getmaskarray(learned_codec.decode(data, masked=True)).any()


@FEW
@given(
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
    bands=st.integers(2, 4),
    depth=st.integers(50, 65),
    seed=st.integers(0, 9),
)
@pytest.mark.filterwarnings("ignore::learned_codec.InputWarning")
def test_borders_stay_in_all_bands(dtype: str, bands: int, depth: int, seed: int) -> None:
    """Also if they lie apart from all other values in some bands alone, where they are kept like nodata."""
    image, there = framed(picture(160, 190, bands, seed, "uint16").astype(dtype), "frame", depth, 0)
    assert not learned_codec.decode(learned_codec.encode(image))[there].any()


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_a_border_saves_bytes(quality: float, monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = framed(picture(256, 256), "frame", 20, 0)
    kept = learned_codec.encode(image, quality=quality)
    monkeypatch.setattr("learned_codec.tiling.plan.border_constants", lambda *_: [])
    assert len(kept) < 0.97 * len(learned_codec.encode(image, quality=quality))


@FEW
@given(seed=st.integers(0, 99), bands=st.sampled_from([1, 3]), top=st.integers(110, 200))
def test_images_without_a_border_have_none(seed: int, bands: int, top: int) -> None:
    """Ordinary ones, noise of a few levels, and smooth ones that are clipped."""
    y, x = np.mgrid[:96, :120]
    clipped = np.minimum(100 + 90 * np.sin(x / 9 + seed + 0.3) * np.cos(y / 8), top)[..., None].repeat(bands, 2)
    few = np.random.default_rng(seed).integers(0, 3, (96, 120, bands))
    for found in (picture(96, 120, bands, seed), few, clipped):
        source = MaskedSource(ArraySource(found.astype(np.uint8)))
        assert border_constants(source, np.full(bands, 255.0)) == []


@pytest.mark.parametrize(
    ("dtype", "bands", "missing", "form", "how"),
    [
        ("uint8", 3, 0.02, "frame", "nodata"),
        ("uint8", 1, 0.05, "bars", "nodata"),
        ("uint16", 3, 0.6, "frame", "each band"),
        ("uint16", 1, 0.6, "bars", "masked"),
        ("float32", 2, 0.2, "side", "mask"),
        ("float32", 4, 0.5, "bars", "nodata"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* of band . are 0, apart from all others")
def test_a_border_is_found_beside_scattered_holes(dtype: str, bands: int, missing: float, form: str, how: str) -> None:
    image, there = framed(picture(160, 190, bands).astype(dtype), form, 20, 0)
    holes = np.random.default_rng(0).random(image.shape) < missing
    if how != "each band":
        holes[:] = holes[..., :1]
    if how == "mask":
        data = learned_codec.encode(image, mask=~holes[..., 0])
    elif how == "masked":
        data = learned_codec.encode(np.ma.MaskedArray(image, holes))
    else:
        data = learned_codec.encode(np.where(holes, 9, image).astype(dtype), nodata=9)
    assert (learned_codec.decode(data)[there[..., None] & ~holes] == 0).all()


def test_an_image_of_one_value_is_no_border() -> None:
    source = MaskedSource(ArraySource(np.full((50, 60, 3), 7, np.uint8)))
    assert border_constants(source, np.full(3, 255.0)) == []


def test_psnr_counts_borders_as_well() -> None:
    image, _ = framed(picture(160, 160), "frame", 30, 0)
    data = learned_codec.encode(image, psnr=38)
    error = learned_codec.decode(data).astype(float) - image
    assert 38 <= 10 * np.log10(255**2 / np.mean(error**2)) < 38.3


def test_what_a_mask_hides_is_zero() -> None:
    image, there = framed(picture(96, 96), "bars", 20, 255)
    mask = np.indices((96, 96))[1] < 60
    decoded = learned_codec.decode(learned_codec.encode(image, mask=mask))
    np.testing.assert_array_equal(decoded[there], np.where(mask, 255, 0)[there][:, None].repeat(3, 1))


def test_windows_and_alone_bands() -> None:
    image, there = framed(picture(200, 200), "turned", 60, 0)
    data = learned_codec.encode(image, tile_size=64)
    assert read_head(data).mask is not None
    whole = learned_codec.decode(data)
    with learned_codec.open(data) as reader:
        window = reader.read(window=(30, 0, 100, 90))
        assert np.abs(window.astype(int) - whole[30:130, :90]).max() <= 1
        assert (window[there[30:130, :90]] == 0).all()
        assert (reader.read(bands=2)[there] == 0).all()


@QUICK
@given(seed=st.integers(0, 999), share=st.floats(0, 1))
def test_what_can_be_reached_from_the_edge(seed: int, share: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    filled = np.random.default_rng(seed).random((2, 17, 23)) < share
    for one, near in zip(filled, Border.of(filled).cells, strict=True):
        labels, _ = ndimage.label(np.pad(one, 1, constant_values=True))
        expected = ndimage.binary_dilation(labels == labels[0, 0], np.ones((3, 3)))[1:-1, 1:-1]
        np.testing.assert_array_equal(near, expected)


def test_an_area_inside_is_no_border() -> None:
    """A black square in the middle of a photograph with a black frame is coded."""
    image, there = framed(picture(160, 200), "frame", 12, 0)
    image[60:100, 80:120] = 0
    constants = border_constants(MaskedSource(ArraySource(image)), np.full(3, 255.0))
    part = MaskedSource(ArraySource(image)).keeping(constants).read(slice(0, 160), slice(0, 200))
    assert part.valid is not None
    np.testing.assert_array_equal(~part.valid[0], there)


@QUICK
@given(
    seed=st.integers(0, 999),
    share=st.floats(0.3, 0.95),
    window=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(41, 80), st.integers(41, 90)),
)
def test_a_window_with_a_margin_has_the_same_areas(seed: int, share: float, window: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((10, 12)) < share
    equal = coarse.repeat(8, 0).repeat(8, 1)[:80, :90] & (rng.random((80, 90)) < 0.97)
    whole = areas_of(equal, (True, True, True, True))
    top, left, bottom, right = window
    rows, columns = (
        slice(max(0, start - MARGIN), min(length, stop + MARGIN))
        for start, stop, length in ((top, bottom, 80), (left, right, 90))
    )
    ends = rows.start == 0, rows.stop == 80, columns.start == 0, columns.stop == 90
    part = areas_of(equal[rows, columns], ends)[top - rows.start :, left - columns.start :]
    np.testing.assert_array_equal(part[: bottom - top, : right - left], whole[top:bottom, left:right])
    assert not (whole & ~equal).any()
