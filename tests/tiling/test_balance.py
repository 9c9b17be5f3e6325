"""No band of a file is more than a dB worse than when it is coded alone at the same quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import learned_codec
from learned_codec.values.axes import Spectrum
from learned_codec.values.balance import Balance, Trial, balanced
from learned_codec.values.spectral import quiet_first, spectral_klt
from tests.tiling.test_plateaus import scene

DB = 10 ** (1 / 20)
ROUNDED = 0.3
"""Errors of integers below that of rounding don't count."""


def shaped(size: tuple[int, int], kind: str, common: float, seed: int) -> NDArray[np.float64]:
    """A band of 0 to 1, which has something in `common` with all others."""
    rng = np.random.default_rng(seed)
    found = (1 - common) * scene(size, seed) + common * scene(size, 0)
    found = (found - found.min()) / np.ptp(found)
    if kind == "noisy":
        return 0.5 * found + 0.5 * rng.random(size)
    if kind == "skew":
        return found**6
    if kind == "speckle":
        found = found * rng.exponential(1, size)
        return found / found.max()
    return found


@dataclass(frozen=True)
class Chance:
    """What chooses a size, one of some options, and a whole or any number in a range."""

    size: Callable[[], tuple[int, int]]
    one_of: Callable[[Sequence[Any]], Any]
    whole: Callable[[int, int], int]
    between: Callable[[float, float], float]


THIN = [(1, 700), (2, 400), (3, 300), (300, 5), (17, 17), (15, 15), (33, 7)]
"""Sizes of images of which few blocks are whole, or none."""


def seeded(seed: int, size: tuple[int, int]) -> Chance:
    """The same choices each time."""
    rng = np.random.default_rng(seed)
    return Chance(
        size=lambda: size,
        one_of=lambda options: options[rng.integers(len(options))],
        whole=lambda low, high: int(rng.integers(low, high + 1)),
        between=rng.uniform,
    )


def bands_of(chance: Chance) -> NDArray[Any]:
    """(bands, h, w) of any range and much or little in common."""
    dtype = chance.one_of(["float32", "int16", "uint16"])
    size, seed = chance.size(), chance.whole(0, 999)
    bands = []
    for band in range(chance.whole(2, 5)):
        kind = chance.one_of(["smooth", "smooth", "noisy", "skew", "speckle"])
        values = shaped(size, kind, chance.one_of([0, 0.3, 0.6, 0.9, 1]), 1 + seed + 1000 * band)
        width = 10 ** (chance.between(-6, 6) if dtype == "float32" else chance.between(1.2, 4.4))
        low = width * chance.one_of([-1, -0.5, 0, 3]) if dtype == "float32" else 0
        bands.append(low + width * values)
    found = np.stack(bands)
    return (found if dtype == "float32" else np.rint(found)).astype(dtype)


@st.composite
def images(draw: st.DrawFn, sizes: st.SearchStrategy[tuple[int, int]]) -> NDArray[Any]:
    """(bands, h, w), as `bands_of`."""
    return bands_of(
        Chance(
            size=lambda: draw(sizes),
            one_of=lambda options: draw(st.sampled_from(options)),
            whole=lambda *ends: draw(st.integers(*ends)),
            between=lambda *ends: draw(st.floats(*ends)),
        )
    )


@st.composite
def images_with_holes(draw: st.DrawFn) -> np.ma.MaskedArray[Any, Any]:
    """(bands, h, w) of which bands miss no pixels, an area, or scattered ones."""
    image = draw(images(st.one_of(st.tuples(st.integers(48, 96), st.integers(48, 96)), st.sampled_from(THIN))))
    missing = np.zeros(image.shape, bool)
    for band in missing:
        holes = draw(st.sampled_from(["none", "area", "scattered"]))
        share = draw(st.sampled_from([0.1, 0.5]))
        if holes == "area":
            band[:, : max(1, int(share * band.shape[1]))] = True
        elif holes == "scattered":
            band[...] = np.random.default_rng(draw(st.integers(0, 999))).random(band.shape) < share
    return np.ma.MaskedArray(image, missing, fill_value=-1e9 if image.dtype.kind == "f" else 32767)


def errors(image: NDArray[Any], quality: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bands,) each: the RMSE of bands coded together, and alone."""

    def rmse(original: NDArray[Any]) -> NDArray[np.float64]:
        data = learned_codec.encode(original, planar=True, quality=quality)
        decoded = learned_codec.decode(data).reshape(original.shape)
        squares = np.square(decoded.astype(np.float64) - np.ma.getdata(original))
        seen = ~np.ma.getmaskarray(original)
        found: NDArray[np.float64] = np.sqrt(np.where(seen, squares, 0).sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1))
        return found

    return rmse(image), np.concatenate([rmse(band[None]) for band in image])


def assert_balanced(image: NDArray[Any], quality: float) -> None:
    together, alone = errors(image, quality)
    least = 0 if image.dtype.kind == "f" else ROUNDED
    assert (together <= DB * np.maximum(alone, least)).all(), (together / alone).tolist()


@given(
    image=images(st.tuples(st.integers(48, 96), st.integers(48, 96))),
    quality=st.sampled_from([10, 20, 40, 60, 80, 100]),
)
@settings(max_examples=25)
@pytest.mark.filterwarnings("ignore::learned_codec.LearnedCodecWarning")
def test_no_band_is_a_db_worse_than_alone(image: NDArray[Any], quality: float) -> None:
    assert_balanced(image, quality)


@pytest.mark.filterwarnings("ignore::learned_codec.LearnedCodecWarning")
def test_hardly_any_in_thin_images() -> None:
    """Of several hundred bands, one or two may be a little more than a dB worse."""
    worse = []
    for seed in range(60):
        image = bands_of(seeded(seed, THIN[seed % len(THIN)]))
        together, alone = errors(image, [20, 60, 100][seed % 3])
        least = 0 if image.dtype.kind == "f" else ROUNDED
        worse += (together / np.maximum(alone, least)).tolist()
    assert len(worse) > 200
    assert sum(value > DB for value in worse) <= 2
    assert max(worse) < 1.3


@given(image=images_with_holes(), quality=st.sampled_from([20, 60, 100]))
@settings(max_examples=25, derandomize=True)
@pytest.mark.filterwarnings("ignore::learned_codec.LearnedCodecWarning")
def test_nor_where_bands_miss_other_pixels(image: NDArray[Any], quality: float) -> None:
    assert_balanced(image, quality)


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (1, 1)])
def test_nor_where_a_band_is_in_a_corner(corner: tuple[int, int]) -> None:
    size, side = (400, 600), 80
    bands = [20000 + width * (shaped(size, "smooth", 0, width) - 0.5) for width in (30000, 12000, 5000)]
    image = np.ma.MaskedArray(np.rint(np.stack(bands)).astype(np.uint16), fill_value=65535)
    rows, columns = (slice(0, side) if end == 0 else slice(-side, None) for end in corner)
    seen = np.zeros(size, bool)
    seen[rows, columns] = True
    image[2, ~seen] = np.ma.masked
    assert_balanced(image, 60)


def tried(widths: list[float], groups: list[int]) -> Balance:
    """The balance of bands of noise with these widths, as shares of their scale."""
    rng = np.random.default_rng(0)
    shares = np.array(widths)
    noise = (shares[:, None, None] * rng.normal(0, 0.1, (len(widths), 50, 256))).astype(np.float32)
    sizes, ones = np.full(256, 0.02, np.float32), np.ones((len(widths), 50, 1), np.float32)
    trial = Trial(noise, sizes, ones, np.eye(256, dtype=np.float32), np.full(len(widths), 50.0 * 256))
    covariance = np.diag(np.square(0.1 * shares))
    stays = np.ones((len(widths), 256), np.float32)
    return balanced(
        trial, trial, stays, shares, np.array(groups), Spectrum(covariance), np.zeros(len(widths)), 50 * 256
    )


def test_bands_that_are_as_good_as_alone_stay_as_they_are() -> None:
    found = tried([1, 1, 1], [0, 1, 1])
    assert found.level == 1
    assert found.factors.tolist() == [1, 1, 1]


@pytest.mark.parametrize("narrow", [0.1, 0.3, 0.6])
def test_a_narrow_band_becomes_finer_and_its_group_a_little(narrow: float) -> None:
    found = tried([1, narrow, 1], [0, 0, 1])
    reached = found.level * found.factors
    assert reached[1] < reached[0] < reached[2] == 1
    assert narrow * 0.8 < reached[1] <= narrow * 1.3
    whole = tried([1, narrow], [0, 0])
    assert whole.level < 1  # what all need is left to the quality step
    assert whole.factors[0] == 1


def test_a_header_tells_the_finer_quality_and_a_goal_is_met() -> None:
    narrow, wide = 500 * shaped((80, 90), "smooth", 0, 1), 1200 * shaped((80, 90), "smooth", 0, 2)
    image = np.rint(np.stack([narrow, wide, wide[::-1]])).astype(np.uint16)
    coded = learned_codec.encode(image, planar=True, quality=60)
    assert learned_codec.inspect(coded).quality > 62
    small = learned_codec.encode(image, planar=True, bpp=1)
    assert 0.97 * image[0].size <= 8 * len(small) <= image[0].size


def test_quiet_components_come_first_and_what_is_negligible_last() -> None:
    variances, busy = np.diag([1.0, 0.5, 1e-12, 0.2]), np.array([0.9, 0.1, 0, 0.4])
    found = quiet_first(spectral_klt(variances), variances, busy)
    assert np.abs(found).argmax(1).tolist() == [1, 3, 0, 2]


def test_mixed_components_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (4, 500)) + 2 * rng.normal(0, 1, 500)
    rows = spectral_klt(np.cov(values))
    assert quiet_first(rows, np.cov(values), rng.random(4)) is rows


def test_bands_without_values_count_for_nothing() -> None:
    image = np.ma.MaskedArray(shaped((64, 64), "smooth", 0, 1)[..., None] + np.zeros(4, np.float32), dtype=np.float32)
    image[..., 1] = np.ma.masked
    image[..., 2] = 7
    image[::3, ::2, 3] = np.ma.masked
    decoded = learned_codec.decode(learned_codec.encode(image, quality=90), masked=True)
    assert decoded.mask[..., 1].all()
    assert (decoded[..., 2] == 7).all()
