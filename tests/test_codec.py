"""encode() and decode() as a user sees them."""

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream.payload import split_parts
from learned_codec.demo import landscape
from learned_codec.errors import (
    CorruptDataError,
    InvalidInputError,
    LimitError,
    RateError,
    UnknownModelError,
    UnsupportedVersionError,
)
from learned_codec.models import registry
from learned_codec.models.config import top_step
from learned_codec.models.model import Model
from learned_codec.values.transform import BEYOND
from tests import geotiffs

GOLDEN = Path(__file__).parent / "golden" / "codec"
SLOW_FIRST_CALL = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return landscape(200, 296)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def bpp(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


@SLOW_FIRST_CALL
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    layout=st.sampled_from(["HW", "HW1", "HW3", "1HW", "3HW"]),
    quality=st.floats(1, 100),
    seed=st.integers(0, 3),
)
def test_any_shape_comes_back(height: int, width: int, layout: str, quality: float, seed: int) -> None:
    shape = {
        "HW": (height, width),
        "HW1": (height, width, 1),
        "HW3": (height, width, 3),
        "1HW": (1, height, width),
        "3HW": (3, height, width),
    }[layout]
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    data = learned_codec.encode(image, quality=quality, planar=layout.endswith("HW") and layout != "HW")
    decoded = learned_codec.decode(data)
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8
    assert learned_codec.check(data).ok
    info = learned_codec.inspect(data)
    assert (info.height, info.width) == (height, width)
    if info.bands == 3 and info.model == "mono-2":  # the RGB model fell short
        assert info.quality > quality - 0.08
    else:
        assert info.quality == pytest.approx(quality, abs=0.06)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_clipped_highlights_and_shadows_have_smaller_errors(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because they are coded as if they were brighter than white and darker than black, which takes few bytes."""
    light = landscape(256, 384)[..., [0, 1, 2, 1][:bands]].astype(np.float64).squeeze()
    low, high = np.percentile(light, [20, 80])
    image = np.rint(np.clip((light - low) * 255 / (high - low), 0, 255)).astype(np.uint8)
    errors, sizes = [], []
    for beyond in (0.0, BEYOND):
        monkeypatch.setattr("learned_codec.values.transform.BEYOND", beyond)
        data = learned_codec.encode(image, quality=60)
        sizes.append(len(data))
        errors.append(np.square(learned_codec.decode(data).astype(np.float64) - image)[image % 255 == 0].mean())
    assert errors[1] < 0.8 * errors[0]
    assert sizes[1] < 1.02 * sizes[0]


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_image_stays_flat_and_costs_little(value: int) -> None:
    image = np.full((300, 300, 3), value, np.uint8)
    data = learned_codec.encode(image, quality=60)
    error = np.abs(learned_codec.decode(data).astype(int) - value)
    assert error.mean() < 1
    assert error.max() <= 8  # at corners, whose pixels depend on the padding
    assert len(data) < 1000


def test_quality_is_monotone(picture: np.ndarray) -> None:
    files = [learned_codec.encode(picture, quality=q) for q in (1, 25, 50, 75, 100)]
    sizes = [len(f) for f in files]
    psnrs = [psnr(picture, learned_codec.decode(f)) for f in files]
    assert sizes == sorted(sizes)
    assert psnrs == sorted(psnrs)
    assert sizes[-1] > 8 * sizes[0]


def test_encoding_is_deterministic(picture: np.ndarray) -> None:
    assert learned_codec.encode(picture) == learned_codec.encode(picture)


def test_views_and_tensors_are_arrays_too(picture: np.ndarray) -> None:
    data = learned_codec.encode(picture[::2, ::-1])
    assert data == learned_codec.encode(np.ascontiguousarray(picture[::2, ::-1]))
    grey = picture[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # numpy's, for any matrix
        assert learned_codec.encode(np.asmatrix(grey)) == learned_codec.encode(grey)


def test_grey_costs_less_than_colour(picture: np.ndarray) -> None:
    grey = picture[..., 1]
    data = learned_codec.encode(grey, quality=50, model="rgb-2")
    same = learned_codec.encode(np.repeat(grey[..., None], 3, 2), quality=50)
    assert abs(len(data) - len(same)) < 8
    assert psnr(grey, learned_codec.decode(data)) > 27
    # By default one band goes through the model for one band. Qualities are each model's own, so at the same PSNR:
    colour = learned_codec.encode(picture, psnr=32)
    assert len(learned_codec.encode(grey, psnr=32)) < len(colour)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.png")), ids=lambda path: path.stem)
def test_golden_files_decode_to_what_they_did(path: Path) -> None:
    decoded = learned_codec.decode(path.with_suffix(".lci").read_bytes())
    with Image.open(path) as expected:
        error = np.abs(decoded.reshape(np.asarray(expected).shape).astype(int) - np.asarray(expected))
    assert error.max() <= 1  # the synthesis is floating-point


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_golden_rasters_decode_to_what_they_did(path: Path) -> None:
    decoded = learned_codec.decode(path.with_suffix(".lci").read_bytes())
    with np.load(path) as found:
        expected = found["arr_0"]
    assert decoded.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(expected))
    np.testing.assert_array_equal(decoded == 0, expected == 0)  # nodata
    # A level of 8 bits in the model's domain; of radar, that is a factor.
    np.testing.assert_allclose(decoded, expected, rtol=0.03, atol=30 if decoded.dtype == np.uint16 else 0)


def test_processors_with_and_without_bf16_agree(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    data = learned_codec.encode(picture, quality=80)
    decoded = learned_codec.decode(data)
    from learned_codec.models.engine import openvino

    for supported in (True, False):
        monkeypatch.setattr(openvino, "has_bf16", lambda supported=supported: supported)
        registry.forget()
        assert np.abs(learned_codec.decode(data).astype(int) - decoded).max() <= 1
    registry.forget()


def test_every_model_has_golden_files() -> None:
    stems = {path.stem for path in GOLDEN.glob("*.lci")}
    for card in learned_codec.list_models():
        kinds = ("colour", "tiles", "grey", "pixel") + (("bands", "radar") if card.bands == 1 else ())
        assert {f"{card.name}-{kind}" for kind in kinds} <= stems


# -- rate control ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.3, 0.8, 1.7])
def test_bpp_is_met_from_below(picture: np.ndarray, target: float) -> None:
    reached = bpp(learned_codec.encode(picture, bpp=target), picture)
    assert target * 0.97 <= reached <= target


@pytest.mark.parametrize("target", [27.0, 31.5, 36.0])
def test_psnr_is_met_from_above(picture: np.ndarray, target: float) -> None:
    reached = psnr(picture, learned_codec.decode(learned_codec.encode(picture, psnr=target)))
    assert target <= reached <= target + 0.1


def test_what_cannot_be_reached(picture: np.ndarray) -> None:
    """At least a PSNR, at most a bpp: what keeps the promise comes without a word."""
    image = picture[:96, :96]
    smallest, best = learned_codec.encode(image, quality=1), learned_codec.encode(image, bpp=100, model="rgb-2")
    assert learned_codec.encode(image, psnr=3) == smallest
    assert bpp(best, image) > bpp(learned_codec.encode(image, quality=100), image)
    reached = psnr(image, learned_codec.decode(best))
    with pytest.warns(learned_codec.RateWarning, match=f"^99 dB.*{reached:.2f} dB") as caught:
        assert learned_codec.encode(image, psnr=99, model="rgb-2") == best
    assert caught[0].filename == __file__
    with pytest.warns(learned_codec.RateWarning, match="^301 dB") as caught:  # nor can the one-band model
        other = learned_codec.encode(np.random.default_rng(0).integers(0, 256, image.shape, np.uint8), psnr=301)
    assert caught[0].filename == __file__
    assert learned_codec.inspect(other).model == "mono-2"
    with pytest.raises(RateError, match=f"^0.0001 bpp.*{bpp(smallest, image):.4g} bpp"):
        learned_codec.encode(image, bpp=1e-4)


@pytest.mark.parametrize("options", [{"psnr": 35.0}, {"bpp": 4.0}], ids=["psnr", "bpp"])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.full((64, 64), 1000, np.uint16),
        np.full((64, 64), 3.5, np.float32),
        np.full((64, 64, 3), 137, np.uint8),
        np.tile(np.arange(64, dtype=np.uint8)[:, None], (1, 64)),
    ],
    ids=["black", "uint16", "float32", "colour", "gradient"],
)
def test_easy_images_have_any_rate(image: np.ndarray, options: dict[str, float]) -> None:
    data = learned_codec.encode(image, **options)
    if "bpp" in options:
        assert bpp(data, image) <= 4
    peak = {"uint8": 255, "uint16": 65535, "float32": 1}[image.dtype.name]
    error = np.square((image.astype(float) - learned_codec.decode(data)) / peak).mean()
    assert error <= 10**-3.5


def test_a_rate_takes_two_codings_as_a_rule(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    coded = []
    code = Model.code
    monkeypatch.setattr(Model, "code", lambda self, *a, **k: coded.append(1) or code(self, *a, **k))
    targets = [{"bpp": 0.2}, {"bpp": 0.6}, {"bpp": 1.8}, {"psnr": 29.0}, {"psnr": 33.0}, {"psnr": 37.0}]
    for target in targets:
        learned_codec.encode(picture, **target)  # type: ignore[arg-type]
    assert len(coded) <= 2.5 * len(targets)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 40},
        {"bpp": 0.7},
        {"psnr": 33},
        {"psnr": 33, "effort": 1},
        {"quality": 40, "effort": 1},
    ],
    ids=str,
)
def test_progress_counts_once(picture: np.ndarray, options: dict[str, Any]) -> None:
    calls: list[tuple[int, int]] = []
    learned_codec.encode(picture[:100, :150], tile_size=64, progress=lambda *call: calls.append(call), **options)
    done = [call[0] for call in calls]
    assert len({call[1] for call in calls}) == 1
    assert done == sorted(set(done))
    assert calls[-1][0] == calls[-1][1] >= 6
    assert done[0] <= calls[-1][1] / 6


class Stop(Exception):  # noqa: N818 - a user's own
    pass


@pytest.mark.parametrize("options", [{"quality": 40}, {"bpp": 0.7}, {"psnr": 33}], ids=str)
def test_a_progress_that_raises(picture: np.ndarray, options: dict[str, float]) -> None:
    def progress(_done: int, _all: int) -> None:
        raise Stop

    with pytest.raises(Stop) as caught:
        learned_codec.encode(picture[:80, :80], tile_size=64, progress=progress, **options)  # type: ignore[arg-type]
    assert caught.value.__cause__ is caught.value.__context__ is None
    data = learned_codec.encode(picture[:80, :80])
    with pytest.raises(Stop) as caught:
        learned_codec.decode(data, progress=progress)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("name", [card.name for card in learned_codec.list_models()])
def test_beyond_the_last_trained_level_errors_go_on_falling(name: str) -> None:
    """Each level is 4 dB finer, and gains at least as much as the last trained one, where most latents are zeros."""
    model = registry.load(name)
    pixels = landscape(128, 160).transpose(2, 0, 1)[: model.config.bands].astype(np.float32) / 255
    y = model.analyse(pixels)
    found = []
    for step in range(model.max_step - 128, top_step(model.max_step) + 1, 64):
        coded = model.code(y, step)
        (decoded,) = model.decode(coded.encoder.finish(), step, *y.shape[:2])
        assert np.array_equal(decoded, coded.decoded)
        error = model.synthesise(decoded, step) - pixels
        found.append(-10 * float(np.log10(np.square(error).mean())))
    trained, *beyond = np.diff(found[::2])
    assert min(beyond) > min(2.9, trained)
    assert found[-1] > found[2] + 14


@pytest.mark.parametrize("effort", [0, 1])
def test_rates_beyond_quality_100(picture: np.ndarray, effort: int) -> None:
    image = picture[:128, :128, 0].astype(np.uint16) * 200
    at_100 = learned_codec.encode(image, quality=100)
    reached = learned_codec.inspect(at_100).bpp + 1.5
    data = learned_codec.encode(image, bpp=reached, effort=effort)
    assert learned_codec.inspect(data).quality > 100  # type: ignore[operator]
    assert 0.97 * reached <= learned_codec.inspect(data).bpp <= reached
    errors = [np.abs(learned_codec.decode(d).astype(int) - image).mean() for d in (at_100, data)]
    assert errors[1] < 0.6 * errors[0]
    with pytest.raises(InvalidInputError, match="from 1 to 100"):
        learned_codec.encode(image, quality=101)


def test_a_quality_step_above_all_is_damage(picture: np.ndarray) -> None:
    container = bitstream.read(learned_codec.encode(picture[:32, :32]))
    card = registry.default(3)
    header = replace(container.header, quality_step=top_step(card.max_step) + 1)
    with pytest.raises(CorruptDataError, match=f"highest, {top_step(card.max_step)}"):
        learned_codec.decode(bitstream.write(header, [bytes(container.tile(0))]))


def test_real_bytes_are_the_estimated_bits(picture: np.ndarray) -> None:
    model = registry.load(registry.default(3).name)
    y = model.analyse(picture[:192, :288].transpose(2, 0, 1).astype(np.float32) / 255)
    for step in range(0, model.max_step + 1, 128):
        encoder = model.code(y, step).encoder
        for part, layer in zip(split_parts(encoder.finish(), 3, 3), encoder.layers, strict=True):
            assert 8 * len(part) == pytest.approx(layer.bits, rel=0.002, abs=40)


def test_the_container_costs_at_most_40_bytes(picture: np.ndarray) -> None:
    narrow = np.clip(picture[:64, :64], 20, 230)
    whole = narrow.copy()
    whole[0, 0], whole[-1, -1] = 0, 255
    for image, more in ((whole, 0), (narrow, 6)):  # the bounds of three bands
        container = bitstream.read(learned_codec.encode(image))
        rotation = 3 if container.header.transform == 132 else 0
        assert container.overhead <= 40 + more + rotation + (2 if more or rotation else 0)


# -- tiles -------------------------------------------------------------------------------------------------------------


@SLOW_FIRST_CALL
@given(height=st.integers(40, 260), width=st.integers(40, 260), tile=st.sampled_from([64, 128, 192]))
def test_tiles_leave_no_seams(height: int, width: int, tile: int) -> None:
    image = landscape(260, 260)[:height, :width]
    whole = learned_codec.decode(learned_codec.encode(image, quality=70))
    data = learned_codec.encode(image, quality=70, tile_size=tile)
    tiled = learned_codec.decode(data)
    assert learned_codec.inspect(data).tiles == -(-height // tile) * -(-width // tile)
    assert psnr(image, tiled) > psnr(image, whole) - 0.6
    # Across tile borders the error is what it is elsewhere (the contexts differ, so symbols and pixels may too).
    error = (image.astype(float) - tiled) ** 2
    near = ((np.arange(height)[:, None] + 4) % tile < 8) | ((np.arange(width)[None] + 4) % tile < 8)
    assert error[near].mean() < 1.5 * error.mean() + 1


@pytest.mark.parametrize("bands", [1, 3])
def test_transforms_do_not_see_the_tiles(picture: np.ndarray, bands: int) -> None:
    """Analysis and synthesis of the same latents are the same whole and in parts."""
    from learned_codec import codec
    from learned_codec.tiling.encoder import ImageEncoder
    from learned_codec.tiling.masking import MaskedSource
    from learned_codec.tiling.progress import Counter
    from learned_codec.tiling.synthesis import Decoded, synthesise
    from learned_codec.values.arrays import ArraySource
    from learned_codec.values.transform import PLAIN, ValueTransform

    card = registry.default(bands)
    model = registry.load(card.name)
    source = MaskedSource(ArraySource(picture[..., :bands]))
    transform = ValueTransform(PLAIN, source.dtype, bands)
    headers = {
        tile: codec.Header(
            height=200,
            width=296,
            bands=bands,
            weights_id=model.id,
            quality_step=300,
            tile_code=codec._tile_code(tile, 200, 296, bands),
        )
        for tile in (None, 64)
    }
    latents = []
    for header in headers.values():
        encoder = ImageEncoder(source, header, transform, model, None, Counter(None))
        found = [tile.latents[0] for tile in encoder._tiles()]
        rows, columns = header.tile_grid
        latents.append(np.concatenate([np.concatenate(found[r * columns : (r + 1) * columns], 1) for r in range(rows)]))
    assert np.abs(latents[0] - latents[1]).max() < 1e-5

    decoded = model.code(latents[0], 300).decoded
    parts = {
        None: [decoded],
        64: [decoded[r : r + 4, c : c + 4] for r in range(0, len(decoded), 4) for c in range(0, decoded.shape[1], 4)],
    }
    images = []
    for tile, header in headers.items():
        image = np.zeros((bands, 200, 296), np.uint8)
        for r, c, block in synthesise(model, header, transform, [Decoded([[p]]) for p in parts[tile]], [()]):
            image[:, r, c] = block
        images.append(image.astype(int))
    assert np.abs(images[0] - images[1]).max() <= 1


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint32), "uint32"),
        (np.zeros((4, 4), np.float16), "float16"),
        (np.zeros((4, 4), np.int8), "int8"),
        (np.zeros((0, 4), np.uint8), "empty"),
        (np.zeros((4,), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 300), np.uint8), "300 bands, more than 256.*planar=True"),
        (np.zeros((3, 3, 300), np.uint8), "planar=True"),
        (np.zeros((256, 1, 257), np.float32), "planar=True"),
        (np.full((4, 4), 1e300), "float64"),
        ("text", "encode_file"),
    ],
)
def test_wrong_arrays(image: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        learned_codec.encode(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 0.5},
        {"quality": 101},
        {"quality": float("nan")},
        {"quality": "best"},
        {"bpp": -1.0},
        {"quality": 50, "bpp": 1.0},
        {"tile_size": 100},
        {"tile_size": 0},
        {"tile_size": 2**16},
        {"threads": 0},
        {"threads": 1.5},
        {"device": None},
        {"device": ["cpu"]},
        pytest.param({"device": "nonsense"}, marks=pytest.mark.torch),
        pytest.param({"device": "meta"}, marks=pytest.mark.torch),
        {"tile_size": 8192},
    ],
)
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        learned_codec.encode(np.zeros((8, 8), np.uint8), **options)  # type: ignore[arg-type]


@settings(max_examples=49, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["quality", "psnr", "bpp", "max_error", "nodata", "tile_size", "effort"]),
    value=st.sampled_from([10**400, -(10**400), 10**5000, 1j, "x" * 10**5, np.complex64(1j), [10**5000]]),
)
def test_values_that_no_float_holds_are_refused_in_short_words(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        learned_codec.encode(np.zeros((8, 8), np.uint8), **{name: value})
    assert len(str(caught.value)) < 400


def test_any_number_of_threads_may_be_allowed() -> None:
    data = learned_codec.encode(np.zeros((8, 8, 3), np.uint8), threads=10**5000)
    assert not learned_codec.decode(data, threads=2**40).any()


@pytest.mark.parametrize("limits", [0, 3, {}, {"max_pixels": 9}, learned_codec.Limits])
def test_limits_are_limits(limits: Any) -> None:
    data = learned_codec.encode(np.zeros((8, 8), np.uint8))
    for function in (learned_codec.decode, learned_codec.inspect, learned_codec.check, learned_codec.open):
        with pytest.raises(InvalidInputError, match=r"limits must be a learned_codec\.Limits, not"):
            function(data, limits=limits)
    with pytest.raises(InvalidInputError, match="must be an integer"):
        learned_codec.Limits(max_pixels=True)


def test_unknown_models() -> None:
    with pytest.raises(UnknownModelError, match="no-such-model"):
        learned_codec.encode(np.zeros((8, 8), np.uint8), model="no-such-model")
    data = learned_codec.encode(np.zeros((8, 8), np.uint8))
    from dataclasses import replace

    container = bitstream.read(data)
    tile = bytes(container.tile(0))
    foreign = bitstream.write(replace(container.header, weights_id=b"12345678"), [tile])
    with pytest.raises(UnknownModelError, match=b"12345678".hex()):
        learned_codec.decode(foreign)
    assert learned_codec.inspect(foreign).model is None
    with pytest.raises(UnsupportedVersionError):
        learned_codec.decode(bitstream.write(replace(container.header, transform=5, parameters=b""), [tile]))
    with pytest.raises(CorruptDataError, match="quality step"):
        learned_codec.decode(bitstream.write(replace(container.header, quality_step=10**6), [tile]))


@pytest.mark.parametrize(
    ("mask", "error"), [(b"\1ask", CorruptDataError), (b"\7\0", UnsupportedVersionError), (b"", CorruptDataError)]
)
def test_masks_are_not_ignored(mask: bytes, error: type[Exception]) -> None:
    container = bitstream.read(learned_codec.encode(np.zeros((8, 8), np.uint8)))
    masked = bitstream.write(container.header, [bytes(container.tile(0))], mask=mask)
    for function in (learned_codec.decode, learned_codec.inspect, learned_codec.open):
        with pytest.raises(error, match="(?i)mask"):
            function(masked)


@pytest.mark.parametrize("data", [1.5, None, 7])
def test_what_is_not_bytes(data: object) -> None:
    for function in (learned_codec.decode, learned_codec.inspect):
        with pytest.raises(InvalidInputError, match="bytes"):
            function(data)  # type: ignore[operator]


def test_limits_come_first(picture: np.ndarray) -> None:
    data = learned_codec.encode(picture)
    with pytest.raises(LimitError, match="max_pixels"):
        learned_codec.decode(data, limits=learned_codec.Limits(max_pixels=100))


@SLOW_FIRST_CALL
@given(payload=st.binary(max_size=200))
def test_a_wrong_payload_is_an_error_or_an_image(payload: bytes) -> None:
    """Checksums catch damage; whoever forges them gets a picture or `CorruptDataError`, never anything else."""
    header = bitstream.read(learned_codec.encode(np.zeros((40, 40, 3), np.uint8))).header
    try:
        decoded = learned_codec.decode(bitstream.write(header, [payload]))
    except CorruptDataError:
        return
    assert decoded.shape == (40, 40, 3)


@pytest.mark.torch
def test_tensors_are_coded_as_arrays(picture: np.ndarray) -> None:
    import torch

    floats = picture[..., 1].astype(np.float32)
    for image in (picture[::2, ::-1].copy(), floats):
        assert learned_codec.encode(torch.from_numpy(image)) == learned_codec.encode(image)


@pytest.mark.torch
def test_global_settings_survive(picture: np.ndarray) -> None:
    import torch

    before = torch.get_num_threads()
    learned_codec.encode(picture[:64, :64], threads=1)
    assert torch.get_num_threads() == before


def test_shortened_arithmetic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from learned_codec.errors import ModelError
    from learned_codec.models import engine

    monkeypatch.setattr(engine, "sums_are_exact", lambda _: False)
    engine.engine_for.cache_clear()
    with pytest.raises(ModelError, match="not exact"):
        engine.engine_for("cpu")


def test_metadata_of_an_array(tmp_path: Path) -> None:
    image = np.arange(64 * 64).reshape(64, 64).astype(np.uint16)
    crs = rasterio.CRS.from_epsg(32633).to_wkt()
    metadata = {"crs": crs, "transform": [10, 0, 4e5, 0, -10, 5e6], "mine": {"a": [1, "b", None]}}
    data = learned_codec.encode(image, nodata=0, metadata=metadata)
    assert learned_codec.inspect(data).metadata == metadata | {"nodata": 0}
    learned_codec.decode_file(io.BytesIO(data), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert (raster.crs.to_epsg(), raster.transform[:6], raster.nodata) == (32633, (10, 0, 4e5, 0, -10, 5e6), 0)


@pytest.mark.parametrize(
    "metadata",
    [
        {"nodata": 1},
        {"a": float("nan")},
        {"a": object()},
        {"transform": [1, 2]},
        {"crs": "nowhere"},
        {1: 2},
        {"a": [{1: 2}]},
        [1],
        [],
        "text",
    ],
    ids=[
        "nodata",
        "NaN",
        "an object",
        "a short transform",
        "an unknown CRS",
        "a number as a name",
        "a number below",
        "a list",
        "nothing",
        "a text",
    ],
)
def test_wrong_metadata(metadata: Any) -> None:
    with pytest.raises(InvalidInputError):
        learned_codec.encode(np.zeros((64, 64), np.uint8), metadata=metadata)


@pytest.mark.parametrize("kind", ["path", "name", "file", "dataset", "bytes", "nothing"])
def test_what_is_no_array_is_told_apart(tmp_path: Path, kind: str) -> None:
    with geotiffs.write(tmp_path / "a.tif", np.ones((1, 64, 64), np.uint8), transform=rasterio.Affine.scale(2)):
        pass
    path = tmp_path / "a.tif"
    with path.open("rb") as file, rasterio.open(path) as dataset:
        given = {"path": path, "name": str(path), "file": file, "dataset": dataset, "bytes": b"x", "nothing": None}
        with pytest.raises(InvalidInputError, match="encode_file takes files"):
            learned_codec.encode(given[kind])
