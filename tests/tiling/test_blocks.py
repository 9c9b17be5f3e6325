"""Blocks that show what bands have in common, and files in which these are turned to the axes of their details."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import learned_codec
from learned_codec.tiling import plan
from learned_codec.tiling.blocks import some_blocks, without_holes
from learned_codec.tiling.masking import MaskedSource
from learned_codec.values.arrays import ArraySource
from learned_codec.values.axes import MOST_BANDS
from learned_codec.values.constants import ExactBand
from learned_codec.values.mask import MaskSpec
from tests.tiling.test_plateaus import scene

FEW = settings(max_examples=20, deadline=None, derandomize=True)


def source_of(values: NDArray[Any], nodata: float | None = None) -> MaskedSource:
    spec = None if nodata is None else MaskSpec((nodata,))
    return MaskedSource(ArraySource(values, planar=True, nodata=nodata), spec)


def numbered(bands: int, height: int, width: int) -> NDArray[np.float32]:
    """Each value is another one, and tells its place."""
    return np.arange(1, bands * height * width + 1, dtype=np.float32).reshape(bands, height, width)


@FEW
@given(bands=st.integers(1, 5), height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99))
def test_blocks_are_of_the_image_and_have_no_holes(bands: int, height: int, width: int, seed: int) -> None:
    values = numbered(bands, height, width)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        values[rng.integers(bands), rng.integers(height), rng.integers(width)] = 0
    found = some_blocks(source_of(values, 0))
    assert found is not None
    assert found.shape[1:] == (bands, 16, 16)
    assert (found > 0).all()
    for block in found:
        top, left = np.divmod(int(block[0, 0, 0]) - 1, width)
        np.testing.assert_array_equal(block, values[:, top : top + 16, left : left + 16])


@FEW
@given(height=st.integers(16, 1500), width=st.integers(16, 1500))
def test_blocks_are_spread_and_not_too_many(height: int, width: int) -> None:
    rows, columns = (
        np.broadcast_to(np.arange(height)[:, None], (height, width)),
        np.broadcast_to(np.arange(width), (height, width)),
    )
    found = some_blocks(source_of(np.stack([rows, columns]).astype(np.int16)))
    assert found is not None
    assert 1 <= len(found) <= 36 * 9
    for places, length in zip(found[:, :, 0, 0].T, (height, width), strict=True):
        ends = np.unique([0, *places, length])
        assert np.diff(ends).max() <= max(64, length / 4)


def test_at_most_so_many_blocks() -> None:
    values = numbered(1, 160, 160)
    assert [len(without_holes(values, None, most)) for most in (None, 100, 99, 50, 7, 1)] == [100, 100, 50, 50, 7, 1]


def test_exact_bands_take_no_part_and_make_no_holes() -> None:
    values = np.stack([*numbered(2, 96, 96), np.indices((96, 96)).sum(0) // 8 % 3]).astype(np.float32)
    classes = ExactBand(2, np.arange(3, dtype=np.float32))
    found = some_blocks(source_of(values).keeping(exact=[classes]))
    assert found is not None
    assert len(found) == 36
    assert not found[:, 2].any()
    assert found[:, :2].all()


def test_nothing_is_chosen_for_very_many_bands() -> None:
    assert some_blocks(source_of(numbered(MOST_BANDS, 32, 32))) is not None
    assert some_blocks(source_of(numbered(MOST_BANDS + 1, 32, 32))) is None


def sharp_and_smooth(bands: int, seed: int, dtype: str, holes: bool) -> NDArray[Any]:
    """Bands whose means go together in other ways than their details do."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(bands, bands)))[0] for _ in range(2)]
    energy = 0.3 ** np.arange(bands)[:, None, None]
    common = [np.stack([scene((160, 160), 100 * seed + 10 * kind + band) for band in range(bands)]) for kind in (0, 1)]
    smooth = np.stack([np.kron(plane[::16, ::16], np.ones((16, 16))) for plane in common[0]])
    for axis in (1, 2):
        smooth = sum(np.roll(smooth, lag, axis) for lag in range(-16, 17)) / 33
    detail = common[1] - sum(np.roll(common[1], lag, 2) for lag in range(-3, 4)) / 7
    found = sum(np.tensordot(turn, energy * x, 1) for turn, x in zip(turns, (4 * (smooth - 2000), detail), strict=True))
    found = 100 + (found - found.min()) / np.ptp(found) * (150 if dtype == "uint8" else 20000)
    if holes:
        found[:, :60, :70] = 0
    return found.astype(dtype) if dtype == "float32" else np.rint(found).astype(dtype)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 4), ("uint16", 3), ("int16", 6), ("float32", 4)])
def test_files_are_smaller_if_details_have_axes_of_their_own(dtype: str, bands: int, holes: bool) -> None:
    image = sharp_and_smooth(bands, 3, dtype, holes)

    def coded(quality: float) -> tuple[float, float]:
        data = learned_codec.encode(image, planar=True, quality=quality, nodata=0 if holes else None)
        error = learned_codec.decode(data).astype(float) - image
        return -np.log(np.square(error).mean()), np.log(len(data))

    found, size = coded(65)
    with mock.patch.object(plan, "some_blocks", return_value=None):
        usual, sizes = np.array([coded(quality) for quality in (50, 65, 80)]).T
    assert usual[0] < found < usual[-1]
    assert size < np.interp(found, usual, sizes) + np.log(0.98)
