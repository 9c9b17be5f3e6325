"""Pillow and imageio open and save LCI files."""

import copy
import io
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import learned_codec
import learned_codec.integrations.pillow
from learned_codec.demo import landscape
from learned_codec.errors import (
    CorruptDataError,
    InputWarning,
    InvalidInputError,
    LearnedCodecError,
    MetadataLostWarning,
)

PICTURE = landscape(70, 90)
MODES = {
    "RGB": PICTURE,
    "L": PICTURE[..., 1],
    "RGBA": np.dstack([PICTURE, PICTURE[..., 0]]),
    "LA": np.dstack([PICTURE[..., 1], PICTURE[..., 0]]),
    "I;16": PICTURE[..., 1].astype(np.uint16) * 200,
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_come_back(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(MODES[mode])
    assert image.mode == mode
    image.save(tmp_path / "x.lci", quality=90)
    with Image.open(tmp_path / "x.lci") as found:
        assert (found.format, found.mode, found.size) == ("LCI", mode, (90, 70))
        values = np.asarray(found).astype(float)
    assert np.abs(values - MODES[mode]).mean() < (3 if mode != "I;16" else 600)
    if mode.endswith("A"):
        np.testing.assert_array_equal(values[..., -1], MODES[mode][..., -1])


def test_options_and_what_comes_along(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "a maker"
    exif[274] = 6  # to be turned
    image = Image.fromarray(PICTURE)
    for quality in (20, 90):
        image.save(tmp_path / f"{quality}.lci", quality=quality, exif=exif, icc_profile=b"a profile", dpi=(72, 72))
    small, large = (tmp_path / f"{quality}.lci" for quality in (20, 90))
    assert small.stat().st_size < large.stat().st_size
    with Image.open(small) as found:
        assert found.size == (70, 90)  # as viewers show it
        assert (found.getexif()[271], found.getexif().get(274, 1)) == ("a maker", 1)
        assert found.info["icc_profile"] == b"a profile"
        found.thumbnail((32, 32))
        assert max(found.size) == 32


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bound", [0, 3])
def test_errors_are_bounded(mode: str, bound: int) -> None:
    values = MODES[mode].astype(int)
    stream = io.BytesIO()
    hides = mode.endswith("A")
    with pytest.warns(InputWarning, match="opacity 0 have values") if hides else nullcontext():
        Image.fromarray(MODES[mode]).save(stream, "LCI", max_error=bound)
    with Image.open(stream) as found:
        assert found.mode == mode
        error = np.abs(np.asarray(found).astype(int) - values)
    if hides:
        assert not error[..., -1].any()
        error = error[values[..., -1] > 0]
    assert error.max() <= bound
    assert learned_codec.inspect(stream.getvalue()).max_error == (bound,) * (3 if "RGB" in mode else 1)


def test_a_bound_and_a_quality_exclude_each_other() -> None:
    stream = io.BytesIO()
    with pytest.raises(InvalidInputError, match="max_error .* quality"):
        Image.fromarray(PICTURE).save(stream, "LCI", max_error=1, quality=60)
    assert not stream.getvalue()


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "1", "P"])
def test_other_modes_are_told_before_anything_is_written(tmp_path: Path, mode: str) -> None:
    with pytest.raises(InvalidInputError, match=f"mode {mode};.*convert"):
        Image.new(mode, (9, 9)).save(tmp_path / "x.lci", quality=60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_keep_their_colours(tmp_path: Path, mode: str, transparent: bool) -> None:
    image = Image.fromarray(PICTURE).convert(mode)
    if transparent:
        image.info["transparency"] = 0
    image.save(tmp_path / "x.lci", max_error=0)
    with Image.open(tmp_path / "x.lci") as found:
        assert found.mode == "P"
        np.testing.assert_array_equal(np.asarray(found), np.asarray(image))
        kind = "RGBA" if transparent else "RGB"
        np.testing.assert_array_equal(np.asarray(found.convert(kind)), np.asarray(image.convert(kind)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_transparent_level_comes_along(tmp_path: Path, dtype: str) -> None:
    pixels = (np.arange(300).reshape(15, 20) % 7).astype(dtype) * 30
    image = Image.fromarray(pixels)
    image.info["transparency"] = 60
    image.save(tmp_path / "x.lci", max_error=0)
    with Image.open(tmp_path / "x.lci") as found:
        assert found.info["transparency"] == 60
        np.testing.assert_array_equal(np.asarray(found), pixels)


def test_xmp_texts_and_comments_come_along(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", xmp=xmp, comment="a comment")
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "a tïtle \u2026")
    Image.fromarray(PICTURE).save(tmp_path / "a.png", pnginfo=texts)
    for name, kept in (("a.jpg", {"Comment": "a comment"}), ("a.png", {"Title": "a tïtle \u2026"})):
        with Image.open(tmp_path / name) as image:
            image.save(tmp_path / "x.lci")
        for _ in range(2):  # also from one LCI file to another
            with Image.open(tmp_path / "x.lci") as again:
                assert again.text == kept
                assert again.info.get("xmp") == (xmp if name == "a.jpg" else None)
                again.load()
                again.save(tmp_path / "x.lci")


def test_verify_finds_damage(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "x.lci")
    data = (tmp_path / "x.lci").read_bytes()
    Image.open(io.BytesIO(data)).verify()
    for bad in (data[:-1], data[:-40], data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]):
        with pytest.raises(CorruptDataError):
            Image.open(io.BytesIO(bad)).verify()


def test_rasters_and_damage_are_told(tmp_path: Path) -> None:
    data = learned_codec.encode(np.zeros((70, 70, 5), np.uint16))
    with pytest.raises(InvalidInputError, match="5 × uint16"):
        Image.open(io.BytesIO(data))
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "LCI")
    damaged = bytearray(stream.getvalue())
    damaged[-20] ^= 1
    with pytest.raises(CorruptDataError), Image.open(io.BytesIO(damaged)) as image:
        image.load()
    with pytest.raises(LearnedCodecError, match="quality"):
        Image.fromarray(PICTURE).save(tmp_path / "x.lci", quality=300)


def test_imageio(tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3")
    from learned_codec.integrations.imageio import register

    register()
    register()
    for image in (PICTURE, PICTURE[..., 0], MODES["RGBA"], MODES["LA"]):
        iio.imwrite(tmp_path / "x.lci", image, quality=80)
        found = iio.imread(tmp_path / "x.lci")
        bands = found.shape[2] if found.ndim == 3 else 1
        pixels = found if bands % 2 else found[..., :-1].squeeze()
        np.testing.assert_array_equal(pixels, learned_codec.decode(tmp_path / "x.lci"))
        if bands % 2 == 0:  # opacity
            np.testing.assert_array_equal(found[..., -1], image[..., -1])
        properties = iio.improps(tmp_path / "x.lci")
        assert (properties.shape, properties.dtype) == (image.shape, np.uint8)
        assert iio.immeta(tmp_path / "x.lci")["height"] == 70
    data = iio.imwrite("<bytes>", PICTURE, extension=".lci")
    np.testing.assert_array_equal(iio.imread(data, extension=".lci"), learned_codec.decode(data))
    with pytest.raises(IndexError, match="index 1"):
        iio.imread(data, extension=".lci", index=1)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int8", "uint16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("bound", [0, 3])
def test_imageio_within_a_bound(tmp_path: Path, dtype: str, bound: int) -> None:
    iio = pytest.importorskip("imageio.v3")
    from learned_codec.integrations.imageio import register

    register()
    image = (PICTURE > 90) if dtype == "bool" else (PICTURE // 2).astype(dtype)
    if dtype == "bool":
        bound = 0
    iio.imwrite(tmp_path / "x.lci", image, max_error=bound)
    found = iio.imread(tmp_path / "x.lci")
    assert (found.dtype, found.shape) == (image.dtype, image.shape)
    assert np.abs(found.astype(float) - image.astype(float)).max() <= bound
    assert iio.improps(tmp_path / "x.lci").dtype == dtype
    assert iio.immeta(tmp_path / "x.lci")["max_error"] == [bound] * 3


@pytest.mark.parametrize("options", [{"qualty": 90}, {"optimize": True}, {"quality": 90, "subsampling": 0}])
def test_options_without_a_meaning_are_named(options: dict[str, int]) -> None:
    (unknown,) = options.keys() - {"quality"}
    with pytest.warns(InputWarning, match=unknown):
        Image.fromarray(PICTURE).save(io.BytesIO(), "LCI", **options)


def test_lossless_is_not_taken_for_granted() -> None:
    with pytest.raises(InvalidInputError, match="max_error=0"):
        Image.fromarray(PICTURE).save(io.BytesIO(), "LCI", lossless=True)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])  # noqa: S301 - our own bytes
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_copies_have_the_pixels(copied: Callable[[Image.Image], Image.Image], mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(stream, "LCI", max_error=0)
    with Image.open(stream) as expected, Image.open(stream) as found:
        np.testing.assert_array_equal(copied(found).convert("RGB"), expected.convert("RGB"))


@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{"quality": 60}, {"max_error": 0}, {"quality": 60, "is_batch": True}])
def test_imageio_keeps_opacity_of_16_bits(tmp_path: Path, bands: int, order: str, options: dict[str, Any]) -> None:
    iio = pytest.importorskip("imageio.v3")
    from learned_codec.integrations.imageio import register

    register()
    image = (MODES["RGBA"] * np.uint16(257) + np.arange(70, dtype=np.uint16)[:, None, None])[..., -bands:]
    image[..., -1] = np.maximum(image[..., -1], 1)
    given = image.astype(image.dtype.newbyteorder(order))
    iio.imwrite(tmp_path / "x.lci", given[None] if "is_batch" in options else given, **options)
    found = iio.imread(tmp_path / "x.lci")
    assert (found.dtype, found.shape) == (np.uint16, image.shape)
    np.testing.assert_array_equal(found[..., -1], image[..., -1])
    if "max_error" in options:
        np.testing.assert_array_equal(found, image)


def test_imageio_has_one_image_in_a_file(tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3")
    from learned_codec.integrations.imageio import register

    register()
    path = tmp_path / "x.lci"
    for several, options in ((np.stack([PICTURE] * 2), {"is_batch": True}), ([PICTURE, PICTURE], {})):
        with pytest.raises(InvalidInputError, match="one image, not 2"):
            iio.imwrite(path, several, **options)
    iio.imwrite(path, [PICTURE])
    assert iio.imread(path, index=...).shape == iio.improps(path, index=...).shape == (1, *PICTURE.shape)
    for ask in (iio.imread, iio.improps, iio.immeta):
        with pytest.raises(IndexError, match="index 1"):
            ask(path, index=np.int64(1))


def test_frames_are_not_lost_silently(tmp_path: Path) -> None:
    picture, stream = Image.fromarray(PICTURE), io.BytesIO()
    picture.save(stream, "TIFF", save_all=True, append_images=[picture.rotate(90)])
    picture.save(tmp_path / "one.lci", save_all=True)
    with Image.open(stream) as frames:
        with pytest.warns(MetadataLostWarning, match="one of 2 frames"):
            frames.save(tmp_path / "x.lci")
        for image, others in ((frames, []), (picture, [picture])):
            with pytest.raises(InvalidInputError, match="one picture, not 2 frames"):
                image.save(tmp_path / "y.lci", save_all=True, append_images=others)
    with pytest.raises(InvalidInputError, match="no pixels"):
        Image.new("RGB", (0, 5)).save(tmp_path / "y.lci")
    assert not (tmp_path / "y.lci").exists()


@given(
    kind=st.sampled_from([("bool", "1"), ("int32", "I"), ("float32", "F"), ("uint16", "I;16"), ("uint8", "L")]),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_rasters_of_one_band_open_in_their_mode(kind: tuple[str, str], shape: tuple[int, int], seed: int) -> None:
    dtype, mode = kind
    values = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)
    with Image.open(io.BytesIO(learned_codec.encode(values, max_error=0))) as found:
        assert (found.mode, found.size) == (mode, shape[::-1])
        np.testing.assert_array_equal(np.asarray(found), values)
        assert found.load() is not None
    with Image.open(io.BytesIO(learned_codec.encode(values, max_error=0))) as found:
        found.thumbnail((9, 9))
        assert found.mode == mode
        assert max(found.size) <= 9


def test_nodata_is_an_option() -> None:
    """As warnings advise it."""
    values = MODES["I;16"] // 4 + np.uint16(20000)
    values[:30, :40] = 0
    with pytest.warns(InputWarning, match="say nodata=0"):
        Image.fromarray(values).save(io.BytesIO(), "LCI")
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "LCI", nodata=0)
    with Image.open(stream) as found:
        assert found.info["transparency"] == 0
        np.testing.assert_array_equal(np.asarray(found) == 0, values == 0)
