"""Encoder effort: the same format, the same decoder, fewer bytes."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec.cli import main
from learned_codec.demo import landscape
from learned_codec.errors import InvalidInputError
from learned_codec.models import effort, registry
from learned_codec.models.model import Model


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return landscape(200, 296)


def cost(image: np.ndarray, data: bytes) -> float:
    """The Lagrangian of the file: bits, and what the error is worth at its quality level."""
    info = learned_codec.inspect(data)
    card = registry.by_name(info.model)
    config = registry.load(card.name).config
    level = (info.quality - 1) / 99 * (config.levels - 1)
    error = np.square(image.astype(float) - learned_codec.decode(data)).mean()
    return 8 * len(data) + config.lagrangian(level) * float(error) * image.shape[0] * image.shape[1]


@pytest.mark.parametrize(("bands", "quality"), [(1, 20), (1, 35), (1, 50), (1, 65), (3, 20), (3, 50), (3, 80)])
def test_more_effort_costs_less(quality: float, bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # One band gains little, and at quality 80 effort 1 gains nothing of this picture; a larger one has less chance.
    image = landscape(200, 296) if bands == 3 else landscape(400, 592)[..., 1]
    costs = [cost(image, learned_codec.encode(image, quality=quality, effort=level)) for level in (0, 1, 3)]
    assert costs[2] < costs[1] < costs[0]
    monkeypatch.setattr(Model, "dependent", lambda *_, **__: False)
    assert costs[1] < 0.995 * cost(image, learned_codec.encode(image, quality=quality))


def test_most_effort_costs_less_of_one_band_at_high_rates() -> None:
    image = landscape(400, 592)[..., 1]
    none, most = (cost(image, learned_codec.encode(image, quality=80, effort=level)) for level in (0, 3))
    assert most < 0.999 * none


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    bands=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    quality=st.floats(1, 100),
)
def test_any_shape_comes_back(height: int, width: int, bands: int, dtype: str, quality: float) -> None:
    image = landscape(height + 20, width + 20)[:height, :width, [0, 1, 2, 0][:bands]].astype(dtype)
    decoded = learned_codec.decode(learned_codec.encode(image, quality=quality, effort=1))
    assert decoded.shape == image.shape
    assert decoded.dtype == image.dtype


def test_nothing_but_pixels_differs(picture: np.ndarray) -> None:
    plain, optimised = (learned_codec.encode(picture, quality=40, effort=level) for level in (0, 1))
    names = ("width", "height", "bands", "dtype", "model", "quality", "tiles")
    assert [getattr(learned_codec.inspect(plain), n) for n in names] == [
        getattr(learned_codec.inspect(optimised), n) for n in names
    ]
    assert optimised == learned_codec.encode(picture, quality=40, effort=1)  # deterministic
    assert plain == learned_codec.encode(picture, quality=40)


def test_masks_stay_exact_and_are_not_paid_for(picture: np.ndarray) -> None:
    image = picture.copy()
    image[np.add.outer(np.arange(200), np.arange(296)) % 300 > 140] = 0
    plain, optimised = (learned_codec.encode(image, quality=50, nodata=0, effort=level) for level in (0, 2))
    hidden = (image == 0).all(2)
    decoded = [learned_codec.decode(data) for data in (plain, optimised)]
    for found in decoded:
        assert np.array_equal((found == 0).all(2), hidden)
    errors = [np.square(image.astype(float) - found)[~hidden].mean() for found in decoded]
    # Fewer bytes, or a smaller error, and not much more of the other.
    assert len(optimised) * errors[1] < 0.97 * len(plain) * errors[0]
    nothing = np.full((64, 64), np.nan, np.float32)
    assert np.isnan(learned_codec.decode(learned_codec.encode(nothing, quality=50, effort=1))).all()


@pytest.mark.parametrize("options", [{"bpp": 0.5}, {"psnr": 31.5}])
def test_rates_are_met(picture: np.ndarray, options: dict[str, float]) -> None:
    plain, optimised = (learned_codec.encode(picture, effort=level, **options) for level in (0, 2))

    def psnr(data: bytes) -> float:
        return float(10 * np.log10(255**2 / np.square(picture.astype(float) - learned_codec.decode(data)).mean()))

    if "bpp" in options:
        reached = 8 * len(optimised) / (200 * 296)
        assert options["bpp"] * 0.97 <= reached <= options["bpp"]
        assert psnr(optimised) > psnr(plain)
    else:
        assert options["psnr"] <= psnr(optimised) <= options["psnr"] + 0.1
        assert len(optimised) < len(plain)


def test_tiles_leave_no_seams(picture: np.ndarray) -> None:
    image = picture[:192, :256]
    decoded = learned_codec.decode(learned_codec.encode(image, quality=50, effort=2, tile_size=64))
    error = np.square(image.astype(float) - decoded)
    near = ((np.arange(192)[:, None] + 4) % 64 < 8) | ((np.arange(256)[None] + 4) % 64 < 8)
    assert error[near].mean() < 1.5 * error.mean()


def test_tiles_at_once_are_the_same(picture: np.ndarray) -> None:
    alone, together = (learned_codec.encode(picture, effort=1, tile_size=64, threads=n) for n in (1, 3))
    assert alone == together


@pytest.mark.parametrize("value", [-1, 4, 1.5, True, "1", None])
def test_wrong_efforts(value: object) -> None:
    with pytest.raises(InvalidInputError, match="effort must be an integer from 0 to 3"):
        learned_codec.encode(np.zeros((8, 8), np.uint8), effort=value)  # type: ignore[arg-type]


def test_command_line(tmp_path: Path, picture: np.ndarray) -> None:
    source, target = tmp_path / "a.png", tmp_path / "a.lci"
    Image.fromarray(picture).save(source)
    result = CliRunner().invoke(main, ["encode", str(source), str(target), "--quality", "40", "--effort", "1"])
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == learned_codec.encode(picture, quality=40, effort=1)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), strength=st.floats(0.5, 20), share=st.floats(0.5, 4))
def test_guesses_are_near_what_is_coded(seed: int, strength: float, share: float) -> None:
    """They are zero where a symbol wouldn't pay, of the same sign elsewhere, and never off by more than a step."""
    scaled = np.random.default_rng(seed).laplace(0, share, (3, 4, 50)).astype(np.float32)
    cost = np.full(50, strength, np.float32)
    guessed = effort._guessed(scaled, cost)
    pays = strength * (2 * np.abs(scaled) - 1) > effort.DEAD_BITS
    assert (guessed[~pays & (np.abs(scaled) < 1.5)] == 0).all()
    assert (guessed[pays & (np.abs(scaled) > 0.5)] != 0).all()
    assert (guessed * scaled >= 0).all()
    assert np.abs(guessed - scaled).max() <= 1.5
