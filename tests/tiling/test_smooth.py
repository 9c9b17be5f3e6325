"""Smooth images, such as enlarged ones, have smaller errors than others; beside scattered holes, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import learned_codec
from learned_codec.tiling.masking import MaskedSource
from learned_codec.tiling.sampling import Differences
from learned_codec.values.arrays import ArraySource
from learned_codec.values.mask import MaskSpec
from learned_codec.values.transform import SCALED, ValueTransform
from tests.tiling.test_plateaus import scene


def enlarged(bands: int, times: int, seed: int, side: int = 160) -> NDArray[np.uint16]:
    """(bands, side, side) of about 10,000 to 30,000, so that rounding counts for nothing."""
    base = scene((side // times, side // times), seed)
    found = []
    for band in range(bands):
        own = base + 0.5 * (scene(base.shape, seed + 1 + band) - 2000)
        picture = Image.fromarray(own.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        found.append(10 * np.asarray(picture))
    return np.rint(np.stack(found)).clip(1, 65535).astype(np.uint16)


def rough(values: NDArray[Any], valid: NDArray[np.bool_]) -> float:
    source = ArraySource(np.where(valid, values, 0).astype(values.dtype), planar=True, nodata=0)
    bands = len(values)
    transform = ValueTransform(SCALED, values.dtype, bands, scales=(20000.0,) * bands, offsets=(10000.0,) * bands)
    return Differences.of(MaskedSource(source, MaskSpec((0.0,))), transform).roughness(transform)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_enlarged_images_are_less_rough(share: float, seed: int) -> None:
    valid = np.random.default_rng(seed).random((3, 160, 160)) >= share
    found = [rough(enlarged(3, times, seed), valid) for times in (1, 2, 4)]
    noise = np.random.default_rng(seed).integers(10000, 30000, (3, 160, 160)).astype(np.uint16)
    assert rough(noise, valid) == 1
    assert found[0] > found[2] or found[0] == pytest.approx(found[2], abs=0.01)
    assert found[2] < 0.55


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_what_is_too_small_counts_as_rough(shape: tuple[int, int]) -> None:
    assert rough(np.full((1, *shape), 9, np.uint16), np.ones((1, *shape), bool)) == 1
    assert rough(np.full((1, 90, 90), 9, np.uint16), np.ones((1, 90, 90), bool)) == 1


@pytest.mark.parametrize("bands", [1, 3])
def test_roughness_is_measured_once(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a tenth of the time of encoding."""
    measured = []
    measure = Differences.of

    def counted(source: MaskedSource, transform: ValueTransform) -> Differences:
        measured.append(source)
        return measure(source, transform)

    monkeypatch.setattr(Differences, "of", counted)
    image = enlarged(bands, 2, 0)
    image[np.random.default_rng(0).random(image.shape) < 0.3] = 0
    learned_codec.encode(image, planar=True, nodata=0)
    assert len(measured) == 1


@given(
    bands=st.sampled_from([2, 3, 5]),
    times=st.sampled_from([1, 2, 4]),
    share=st.sampled_from([0.3, 0.6, 0.9]),
    where=st.sampled_from(["each band", "all bands"]),
    quality=st.sampled_from([50, 90]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=15, derandomize=True)
def test_errors_beside_scattered_holes(
    bands: int, times: int, share: float, where: str, quality: int, seed: int
) -> None:
    image = enlarged(bands, times, seed)
    missing = np.random.default_rng(seed).random(image.shape) < share
    if where == "all bands":
        missing = np.broadcast_to(missing[:1], image.shape)
    plain = learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality))
    usual = np.sqrt(np.square(plain - image.astype(float)).mean((1, 2)))
    data = learned_codec.encode(np.where(missing, 0, image).astype(np.uint16), planar=True, quality=quality, nodata=0)
    decoded = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), missing)
    squares = np.where(missing, 0, np.square(decoded.data - image.astype(float)))
    assert (np.sqrt(squares.sum((1, 2)) / (~missing).sum((1, 2))) < 1.5 * np.maximum(usual, 0.3)).all()
