"""How strong the lapped filters are for an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream.header import LAPPINGS
from learned_codec.demo import landscape
from learned_codec.errors import RateError
from learned_codec.tiling import plan


def enlarged(height: int, width: int) -> np.ndarray:
    """(4 * height, 4 * width, 3): a picture enlarged by repeating its pixels, so that it has sharp edges."""
    return np.kron(landscape(height, width), np.ones((4, 4, 1), np.uint8))


def lapping(data: bytes) -> int:
    return bitstream.read(data).header.lapping


def error(data: bytes, image: np.ndarray) -> float:
    return float(np.square(learned_codec.decode(data).astype(np.float64) - image).mean())


def test_sharp_edges_take_fewer_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    image = enlarged(64, 80)
    found = learned_codec.encode(image, quality=80)
    assert lapping(found) > 0
    monkeypatch.setattr(plan, "lapping", lambda *_: 0)
    strong = learned_codec.encode(image, quality=80)
    assert lapping(strong) == 0
    assert len(found) < 0.95 * len(strong)
    assert error(found, image) < error(strong, image)


def test_smooth_pictures_have_strong_filters_at_low_rates() -> None:
    y, x = np.mgrid[:320, :400] / 320
    image = np.stack([100 + 80 * np.sin(7 * x + 3 * y), 90 + 100 * y, 120 + 60 * np.cos(5 * y * x)], -1)
    assert lapping(learned_codec.encode(image.astype(np.uint8), quality=15)) == 0


def test_finer_steps_never_have_stronger_filters_in_noise() -> None:
    image = np.random.default_rng(0).normal(128, 25, (192, 192, 3)).clip(0, 255).astype(np.uint8)
    found = [lapping(learned_codec.encode(image, quality=quality, model="rgb-2")) for quality in (5, 40, 95)]
    assert found == sorted(found)
    assert found[-1] > 0


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    bands=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    hidden=st.sampled_from([0.0, 0.01, 1.0]),
    rate=st.sampled_from([{"quality": 90}, {"psnr": 38}, {"bpp": 8}]),
    number=st.integers(0, LAPPINGS - 1),
)
def test_any_image_with_any_strength(height, width, bands, dtype, hidden, rate, number) -> None:
    """Every strength decodes, whole and in parts, with and without holes."""
    rng = np.random.default_rng(0)
    image = (rng.random((height, width, bands)) * 200).astype(dtype)
    mask = rng.random((height, width)) >= hidden
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "lapping", lambda *_: number)
        try:
            data = learned_codec.encode(image, mask=mask, **rate)
        except RateError:
            return
    whole = learned_codec.decode(data)
    with learned_codec.open(data) as reader:
        part = reader.read(window=(height // 3, width // 4, height - height // 3, width - width // 4))
    np.testing.assert_array_equal(part, whole[height // 3 :, width // 4 :])
