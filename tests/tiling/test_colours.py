"""Pictures in colours that photographs do not have: rotated, or coded by the one-band model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec import bitstream
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


def radar(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3): a composite of radar images in dB, with speckle of its own in each band."""
    rng = np.random.default_rng(seed)
    scene = composite(height, width, seed) / 255 * 20
    field = rng.normal(size=(2, height + 1, width + 1, 3))
    field = field[:, 1:, 1:] + field[:, :-1, 1:] + field[:, 1:, :-1] + field[:, :-1, :-1]
    levels = scene + 10 * np.log10(np.square(field).sum(0) + 0.05)
    low, high = np.percentile(levels, (2, 98), (0, 1))
    return (np.clip((levels - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def test_photographs_are_coded_by_the_rgb_model() -> None:
    image = landscape(256, 384)
    for quality in (20, 60, 80):
        assert learned_codec.inspect(learned_codec.encode(image, quality=quality)).model == "rgb-2"


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("rate", [{"quality": 40}, {"quality": 80}, {"psnr": 34}, {"bpp": 3}])
def test_composites_of_radar_take_fewer_bytes(rate: dict[str, float], holes: bool) -> None:
    image = radar(256, 256, 0)
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


def rotated(image: np.ndarray, seed: int) -> np.ndarray:
    """The image with its colours turned by up to 90 degrees about a random axis, and less contrast."""
    rng = np.random.default_rng(seed)
    axis, angle = rng.normal(size=3), rng.uniform(0.5, 1.5)
    cross = np.cross(np.eye(3), axis / np.linalg.norm(axis)).T
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return np.clip(np.round((image / 255 - 0.5) @ matrix.T * 140 + 127.5), 0, 255).astype(np.uint8)


@FEW
@given(seed=st.integers(0, 99), quality=st.integers(40, 95), holes=st.booleans())
def test_rotated_colours_take_about_as_many_bytes(seed: int, quality: int, holes: bool) -> None:
    image = landscape(160, 224)
    usual = np.round((image / 255 - 0.5) * 140 + 127.5).astype(np.uint8)
    valid = np.ones(image.shape[:2], bool)
    if holes:
        valid[30:90, 50:150] = False
    mask = valid if holes else None
    other = rotated(image, seed)
    data = learned_codec.encode(other, quality=quality, mask=mask)
    assert learned_codec.inspect(data).model == "rgb-2"
    assert bitstream.read(data).header.transform == 132
    expected = learned_codec.encode(usual, quality=quality, mask=mask)
    assert len(data) < 1.25 * len(expected)
    assert abs(psnr(data, other, valid) - psnr(expected, usual, valid)) < 1


def test_windows_and_reduced_images_of_rotated_colours() -> None:
    image = rotated(landscape(200, 260), 3)
    data = learned_codec.encode(image, quality=90, tile_size=64)
    assert bitstream.read(data).header.transform == 132
    whole = learned_codec.decode(data).astype(int)
    with learned_codec.open(data) as reader:
        part = reader.read(window=(70, 50, 60, 90))
    assert np.abs(part - whole[70:130, 50:140]).max() <= 1
    small = learned_codec.decode(data, scale=0.25).astype(int)
    cells = whole.reshape(50, 4, 65, 4, 3).mean((1, 3))
    assert np.abs(small - cells).mean() < 3
    unrefined = learned_codec.decode(data, refine=False).astype(int)
    assert np.abs(unrefined - whole).mean() < 3


def test_greys_and_noise_of_greys_are_not_rotated() -> None:
    grey = landscape(128, 160).mean(-1).round().astype(np.uint8)
    for image in (np.stack([grey] * 3, -1), np.full((64, 64, 3), 9, np.uint8)):
        assert bitstream.read(learned_codec.encode(image, quality=80)).header.transform in (0, 128)
