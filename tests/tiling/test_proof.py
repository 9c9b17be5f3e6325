"""What a decoder will see is compared with the source."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import learned_codec
from learned_codec.bitstream import Header
from learned_codec.models import rdoq
from learned_codec.tiling import plan, proof
from learned_codec.tiling.masking import MaskedSource
from learned_codec.tiling.proof import SIDE, Proof
from learned_codec.values import choose
from learned_codec.values.arrays import ArraySource
from learned_codec.values.balance import Balance
from learned_codec.values.mask import MaskSpec
from learned_codec.values.transform import ValueTransform

FEW = settings(max_examples=20, deadline=None, derandomize=True)


def bands(dtype: str, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = [
        np.sin(x / rng.uniform(5, 30) + y / rng.uniform(5, 30)) + rng.normal(0, 0.1, x.shape) for _ in range(count)
    ]
    return (120 + 50 * np.array(found)).astype(dtype)


def header_of(image: np.ndarray, tile_code: int) -> Header:
    return Header(
        width=image.shape[2], height=image.shape[1], bands=len(image), dtype="uint8", layout="CHW",
        weights_id=bytes(8), quality_step=0, tile_code=tile_code,
    )  # fmt: skip


@FEW
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    count=st.integers(1, 4),
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    quality=st.sampled_from([1, 20, 60, 100]),
    tile=st.sampled_from([None, 64]),
    kind=st.sampled_from([None, "sar"]),
)
def test_ordinary_images_are_in_proportion(
    dtype: str, count: int, size: tuple[int, int], quality: float, tile: int | None, kind: Any
) -> None:
    learned_codec.encode(
        bands(dtype, count, *size), planar=True, quality=quality, tile_size=tile, kind=kind
    )  # no warning


@pytest.mark.parametrize("rate", [{"quality": 60}, {"psnr": 45}, {"bpp": 3}])
def test_a_band_that_drowns_in_another_s_scale_is_noticed(
    monkeypatch: pytest.MonkeyPatch, rate: dict[str, float]
) -> None:
    image = bands("float32", 3, 100, 120) * np.array([100, 0.01, 1], np.float32)[:, None, None]
    monkeypatch.setattr(choose, "alike", lambda low, _high: np.zeros(len(low), int))
    monkeypatch.setattr(plan, "balance", lambda *_: Balance(1.0, np.ones(3), np.zeros(3)))  # nothing helps them
    with pytest.warns(learned_codec.DistortionWarning, match="band 2 .* encode it by itself") as caught:
        learned_codec.encode(image, planar=True, **rate)  # type: ignore[arg-type]
    assert caught[0].filename == __file__


def test_a_header_that_says_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    image = bands("uint16", 2, 80, 80)
    whole = ValueTransform.in_header

    def wrong(transform: ValueTransform) -> tuple[int, bytes]:
        scales = transform.scales[0], 9 * transform.scales[1]
        return whole(replace(transform, scales=scales, bounds=None))

    monkeypatch.setattr(ValueTransform, "in_header", wrong)
    with pytest.warns(learned_codec.DistortionWarning, match="band 2"):
        learned_codec.encode(image, planar=True)


def test_detail_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdoq, "completing_pays", lambda *_: False)
    y, x = np.indices((64, 64))
    # No rotation of the colours helps, and no two are alike, so the last digits of sums don't choose one.
    image = np.dstack([(y + x) % 2 * 255, x % 2 * 225, y % 2 * 200]).astype(np.uint8)
    with pytest.warns(learned_codec.DistortionWarning, match="band 1 .* a model of one band; so does one more band"):
        learned_codec.encode(image, quality=40, model="rgb-2")


@FEW
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([0, 1, 2]))
def test_areas_lie_in_the_image_and_in_their_tiles(height: int, width: int, tile_code: int) -> None:
    image = np.zeros((2, height, width), np.uint8)
    header = header_of(image, tile_code)
    for area in Proof(MaskedSource(ArraySource(image, planar=True)), header).areas:
        box = header.tile_box(area.tile)
        for (pixels, latents, inner), start, length in zip(
            zip(area.pixels, area.latents, area.inner, strict=True), box[:2], box[2:], strict=True
        ):
            assert start <= pixels.start < pixels.stop <= start + length
            assert pixels.stop - pixels.start == inner.stop - inner.start <= SIDE * 16
            assert pixels.start - start == latents.start * 16 + inner.start
            assert inner.stop <= 16 * (latents.stop - latents.start)
            assert latents.stop <= -(-length // 16)


def test_areas_show_every_band() -> None:
    image = np.zeros((3, 1024, 1024), np.uint8)
    image[0, :500], image[1, 500:], image[2, 400:700, 200:900] = 1, 2, 3
    source = ArraySource(image, planar=True, nodata=0)
    areas = Proof(MaskedSource(source, MaskSpec((0.0,))), header_of(image, 0)).areas
    assert len(areas) == 4
    assert np.array([source.read(*area.pixels).any((1, 2)) for area in areas]).any(0).all()


def grainy(bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Black and white, not quite: bands of two values would be kept exactly."""
    return (bits * 252 + np.random.default_rng(0).integers(0, 4, bits.shape)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["checkerboard", "noise", "lines"])
@pytest.mark.parametrize("rate", [{"quality": q} for q in (10, 40, 55, 100)] + [{"psnr": 42.0}, {"psnr": 50.0}])
@pytest.mark.parametrize("bands", [1, 3])
def test_what_no_photograph_has_comes_back(kind: str, rate: dict[str, float], bands: int) -> None:
    even = np.indices((64, 128)).sum(0) % 2 if kind == "checkerboard" else np.indices((64, 128))[1] % 2
    image = grainy(np.dstack([even, 1 - even, even]))
    if kind == "noise":
        image = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    error = learned_codec.decode(learned_codec.encode(image[..., :bands], **rate)).astype(float) - image[..., :bands]
    least = rate.get("psnr") or {100: 45, 55: 28, 40: 24, 10: 14}[rate["quality"]]
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= least


def test_colours_that_the_rgb_model_has_not_go_through_the_other() -> None:
    even = np.indices((64, 128)).sum(0) % 2
    image = grainy(np.dstack([even, 1 - even, even]))
    told: list[tuple[int, int]] = []
    data = learned_codec.encode(image, quality=100, tile_size=64, progress=lambda *call: told.append(call))
    assert learned_codec.inspect(data).model == "mono-2"
    done, planned = zip(*told, strict=True)
    assert list(done) == sorted(set(done))
    assert {done[-1]} == set(planned)
    error = learned_codec.decode(data).astype(float) - image
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 35
    waves = np.dstack([bands("uint8", 1, 96, 96)[0]] * 3)
    assert learned_codec.inspect(learned_codec.encode(waves, quality=100)).model == "rgb-2"


def test_values_that_vary_by_less_than_the_finest_scale_are_noticed() -> None:
    image = bands("float32", 1, 60, 60) * np.float32(1e-42)
    with pytest.warns(learned_codec.DistortionWarning, match="band 1 comes back with an error"):
        learned_codec.encode(image, planar=True)


@pytest.mark.filterwarnings("ignore:.* kept exactly:learned_codec.InputWarning")  # 0, of few values
@pytest.mark.parametrize("level", [1.0, 300.0, 1e9])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("quality", [20, 60])
def test_few_steps_of_floats_are_coded_as_well_as_others(level: float, steps: int, quality: float) -> None:
    """Their range isn't taken for a wider one, however small it is beside their level."""
    step = float(np.spacing(np.float32(level)))
    surface = bands("float32", 1, 80, 80)
    numbers = np.rint((surface - surface.min()) / np.ptp(surface) * steps)
    errors = []
    for offset in (0, level):
        image = (offset + step * numbers).astype(np.float32)
        decoded = learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality))
        errors.append(float(np.sqrt(np.square(decoded.astype(float) - image).mean())))
    assert errors[1] <= 1.2 * errors[0] + 0.02 * step


@FEW
@given(
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
    share=st.sampled_from([0.0, 0.002, 0.02, 0.05]),
    times=st.sampled_from([200, 250]),
    seed=st.integers(0, 99),
)
def test_most_values_do_not_drown_beside_a_few_far_away(dtype: str, share: float, times: float, seed: int) -> None:
    """From a hundredth of the pixels on, outliers set the range, and the others are quantised by it."""
    image, rng = bands(dtype, 1, 160, 160, seed), np.random.default_rng(seed)
    far = rng.random(image.shape) < share
    image = np.where(far, 120 + times * rng.uniform(100, 130, image.shape), image).clip(0, 32767).astype(dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = learned_codec.encode(image, planar=True)
    error = (learned_codec.decode(data).astype(float) - image)[~far].std() / image[~far].std()
    assert error > 3 if share > 0.01 else error < 0.5
    assert [str(warning.message)[:21] for warning in caught] == ["most values of band 1"] * (share > 0.01)
    assert all(warning.category is learned_codec.DistortionWarning for warning in caught)


@pytest.mark.parametrize("drowns", [False, True])
def test_only_what_seems_poor_is_compared_after_the_refinement(monkeypatch: pytest.MonkeyPatch, drowns: bool) -> None:
    scales = np.array([100, 0.01, 1] if drowns else [1, 1, 1], np.float32)
    image = bands("float32", 3, 100, 120) * scales[:, None, None]
    monkeypatch.setattr(choose, "alike", lambda low, _high: np.zeros(len(low), int))
    monkeypatch.setattr(plan, "balance", lambda *_: Balance(1.0, np.ones(3), np.zeros(3)))  # nothing helps them
    seen, whole = [], proof.synthesise

    def noted(*args: Any, refined: bool) -> Any:
        seen.append(refined)
        return whole(*args, refined=refined)

    monkeypatch.setattr(proof, "synthesise", noted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", learned_codec.DistortionWarning)
        learned_codec.encode(image, planar=True)
    assert seen == [False, True][: 1 + drowns]
