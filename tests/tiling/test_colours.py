"""Pictures in colours that photographs don't have are coded by the one-band model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.demo import landscape
from learned_codec.errors import RateError

FEW = settings(max_examples=10, deadline=None, derandomize=True)


def psnr(data: bytes, image: np.ndarray, valid: np.ndarray | None = None) -> float:
    error = learned_codec.decode(data).astype(np.float64) - image
    return float(10 * np.log10(255**2 / np.square(error if valid is None else error[valid]).mean()))


def composite(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3): one photograph's parts in each band, so no band tells of another."""
    grey = landscape(512, 768).mean(-1)
    rng = np.random.default_rng(seed)
    tops, lefts = rng.integers(0, 513 - height, 3), rng.integers(0, 769 - width, 3)
    parts = [grey[top : top + height, left : left + width] for top, left in zip(tops, lefts, strict=True)]
    return np.stack(parts, -1).round().astype(np.uint8)


def test_photographs_are_coded_by_the_rgb_model() -> None:
    image = landscape(256, 384)
    for quality in (20, 60, 80):
        assert learned_codec.inspect(learned_codec.encode(image, quality=quality)).model == "rgb-2"


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("rate", [{"quality": 40}, {"quality": 80}, {"psnr": 34}, {"bpp": 3}])
def test_other_colours_take_fewer_bytes(rate: dict[str, float], holes: bool) -> None:
    image = composite(256, 256, 0)
    valid = np.ones(image.shape[:2], bool)
    if holes:
        valid[40:130, 100:] = False
    data = learned_codec.encode(image, mask=valid if holes else None, **rate)
    assert learned_codec.inspect(data).model == "mono-2"
    other = learned_codec.encode(
        image, mask=valid if holes else None, model="rgb-2", psnr=psnr(data, image, valid) - 0.05
    )
    assert len(data) < 0.92 * len(other)


@FEW
@given(seed=st.integers(0, 99), quality=st.integers(20, 100), side=st.integers(48, 200))
def test_a_quality_means_the_same_error_in_all_colours(seed: int, quality: int, side: int) -> None:
    image = composite(side, side + 9, seed)
    data = learned_codec.encode(image, quality=quality)
    usual = learned_codec.encode(image, quality=quality, model="rgb-2")
    assert abs(psnr(data, image) - psnr(usual, image)) < 2.5
    info = learned_codec.inspect(data)
    assert info.quality == pytest.approx(quality, abs=0.08)
    assert learned_codec.encode(image, quality=quality, model=info.model) == data


def test_a_named_model_is_used_for_any_colours() -> None:
    for image in (composite(64, 64, 1), landscape(64, 64)):
        for model in ("rgb-2", "mono-2"):
            assert learned_codec.inspect(learned_codec.encode(image, model=model)).model == model


def test_a_low_rate_is_met_by_the_model_that_can() -> None:
    """Most bytes may be those of a mask, and the smallest file of the RGB model is smaller."""
    image = np.clip(composite(236, 176, 2).astype(float) * 3 - 200, 0, 255).astype(np.uint8)
    smallest = learned_codec.encode(image, nodata=0, quality=1, model="rgb-2")
    rate = 8 * len(smallest) / (236 * 176) * 1.03
    with pytest.raises(RateError):
        learned_codec.encode(image, nodata=0, bpp=rate, model="mono-2")
    assert len(learned_codec.encode(image, nodata=0, bpp=rate)) <= 1.03 * len(smallest)
