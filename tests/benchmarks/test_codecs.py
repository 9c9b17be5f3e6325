"""The adapters: each returns what it was given, and takes only what it can code unconverted."""

# ruff: noqa: E402
# `benchmarks` is not installed: it is put on the path, then imported, if what it needs is there.

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("scipy")

from benchmarks import codec as base
from benchmarks import codecs, compressai_peers, jpeg2000, metrics, openjpeg


def picture(dtype=np.uint8, bands=3, height=72, width=100):
    y, x = np.mgrid[:height, :width]
    planes = [0.5 + 0.3 * np.sin(x / (7 + b) + b) * np.cos(y / 11) for b in range(bands)]
    noise = np.random.default_rng(0).normal(0, 0.01, (height, width, bands))
    unit = np.clip(np.stack(planes, 2) + noise, 0, 1)
    if np.dtype(dtype).kind == "f":
        return (unit[..., 0] if bands == 1 else unit).astype(dtype)
    limits = np.iinfo(dtype)
    image = (limits.min + unit * (limits.max - limits.min)).astype(dtype)
    return image[..., 0] if bands == 1 else image


INPUTS = [(np.uint8, 3), (np.uint8, 1), (np.uint16, 1), (np.uint16, 5), (np.int16, 4), (np.float32, 1)]


def adapter(name):
    codec = codecs.get(name)
    reason = codec.unavailable()
    if reason:
        pytest.skip(f"{name}: {reason}")
    return codec


@pytest.mark.parametrize("name", codecs.names(by_default=True))
def test_round_trip_keeps_shape_and_type_and_climbs(name):
    codec = adapter(name)
    taken = [(dtype, bands) for dtype, bands in INPUTS if codec.accepts(dtype, bands)]
    assert taken
    for dtype, bands in taken:
        image = picture(dtype, bands)
        ladder = codec.ladder(image.dtype, bands)
        assert list(ladder) == sorted(ladder)
        sizes, errors = [], []
        for setting in (ladder[0], ladder[-1]):
            data = codec.encode(image, setting)
            decoded = codec.decode(data)
            assert (decoded.shape, decoded.dtype) == (image.shape, image.dtype)
            sizes.append(len(data))
            errors.append(float(np.mean((decoded.astype(float) - image) ** 2)))
        assert sizes[0] < sizes[1], (dtype, bands)
        assert errors[0] > errors[1], (dtype, bands)


def test_what_the_eight_bit_formats_do_not_take():
    for name in ("webp", "avif", "heic"):
        assert not codecs.get(name).accepts(np.uint8, 1)
    for name in ("jpeg", "webp", "avif", "heic"):
        assert codecs.get(name).accepts(np.uint8, 3)
        assert not codecs.get(name).accepts(np.uint16, 3)
        assert not codecs.get(name).accepts(np.uint8, 5)
    assert not codecs.get("jpeg2000").accepts(np.float32, 1)
    assert not codecs.get("jpegxl").accepts(np.uint8, 5)


def test_jpeg2000_meets_its_rate():
    codec = adapter("jpeg2000")
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    for rate in (0.5, 2.0):
        assert 8 * len(codec.encode(image, rate)) / 128**2 == pytest.approx(rate, rel=0.08)


@pytest.mark.parametrize("name", ["jpeg2000", "jpeg2000-gdal"])
def test_klt_helps_correlated_bands(name):
    plain, klt = adapter(name), adapter(f"{name}-klt")
    base = picture(np.uint16, 1, 128, 128).astype(float)
    weights = (0.3, 0.5, 0.7, 0.9, 1.0)
    image = np.stack([w * base + 300 * np.random.default_rng(b).random(base.shape) for b, w in enumerate(weights)], 2)
    image = image.astype(np.uint16)
    errors = {}
    for codec in (plain, klt):
        data = codec.encode(image, 2.0)
        assert 8 * len(data) / 128**2 == pytest.approx(2.0, rel=0.06)  # mean, matrix and scale are inside the rate
        errors[codec.name] = float(np.mean((codec.decode(data).astype(float) - image) ** 2))
    assert errors[klt.name] < 0.5 * errors[plain.name]


def test_klt_of_bands_of_unlike_ranges():
    """Each of the two is the better one for its own measure."""
    base = picture(np.uint16, 1, 128, 128).astype(float)
    noise = np.random.default_rng(0).normal(0, 1, (2, 128, 128))
    image = np.stack([base, 0.02 * base + 40 * noise[0], 0.5 * base + 200 * noise[1]], 2).clip(0).astype(np.uint16)
    found = {}
    for name in ("jpeg2000-klt", "jpeg2000-klt-bands"):
        codec = adapter(name)
        data = codec.encode(image, 4.0)
        assert 3.7 < 8 * len(data) / 128**2 < 4.1
        decoded = codec.decode(data)
        found[name] = metrics.psnr(image, decoded, 65535), metrics.psnr_of_bands(image, decoded)
    plain, by_range = found.values()
    assert plain[0] > by_range[0] + 1
    assert by_range[1] > plain[1] + 1


def test_setting_for_bytes_stays_under_and_close():
    codec = adapter("jpeg")
    image = picture(np.uint8, 3, 128, 128)
    target = len(codec.encode(image, 60))
    setting, data = base.setting_for_bytes(codec, image, target)
    assert len(data) <= 1.01 * target
    assert setting == pytest.approx(60, abs=2)
    assert base.setting_for_bytes(codec, image, 1e9)[0] == codec.ladder(image.dtype, 3)[-1]
    with pytest.raises(ValueError, match="lowest setting"):
        base.setting_for_bytes(codec, image, 10)


def test_ladders_scale_with_bands():
    assert jpeg2000.rate_ladder(np.uint8, 3) == jpeg2000.RGB_LADDER
    assert jpeg2000.rate_ladder(np.uint8, 6) == tuple(2 * r for r in jpeg2000.RGB_LADDER)
    deep = jpeg2000.rate_ladder("<i2", 13)
    assert deep[0] / 13 < 0.1
    assert deep[-1] / 13 == 4


def test_pixels_without_data_are_the_mean_of_the_others_for_free():
    codec = adapter("jpeg")
    image = picture(np.uint8, 3, 64, 64)
    valid = np.ones((64, 64), bool)
    valid[:, 40:] = False
    wild = image.copy()
    wild[~valid] = np.random.default_rng(1).integers(0, 255, (int((~valid).sum()), 3))
    filled = base.fill_with_mean(wild, valid)
    assert np.array_equal(filled[valid], image[valid])
    assert (filled[~valid] == np.rint(image[:, :40].reshape(-1, 3).mean(axis=0))).all()
    assert codec.encode_valid(wild, 50, valid) == codec.encode(filled, 50)  # what stood there doesn't matter
    assert base.fill_with_mean(image, None) is image
    holed = np.array([[1.0, np.nan], [3.0, 2.0]], np.float32)
    assert base.fill_with_mean(holed, np.isfinite(holed)).tolist() == [[1, 2], [3, 2]]


def test_ours_is_fed_pixels_without_data_and_meets_bytes_from_below():
    codec = adapter("ours")
    image = picture(np.uint8, 1, 96, 128)
    valid = np.ones(image.shape, bool)
    valid[20:60, 30:90] = False
    wild = image.copy()
    wild[~valid] = 255
    decoded = codec.decode(codec.encode_valid(wild, 80, valid))
    error = np.abs(decoded.astype(float) - image)[valid]
    assert error.mean() < 6  # had the mask been taken the other way round, only the hole would have been coded
    best = len(codec.encode_valid(wild, 100, valid))
    assert 0.35 * best < len(codec.within(wild, best // 2, valid)) <= best // 2
    assert best < len(codec.within(wild, 3 * best, valid)) <= 3 * best  # which reaches beyond quality 100
    with pytest.raises(ValueError, match=r"out of reach"):
        codec.within(image, 20)


def test_heic_keeps_colour_at_full_resolution():
    codec = adapter("heic")
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)
    image[:, 1::2] = (0, 0, 255)  # halved chroma would make all of it purple
    decoded = codec.decode(codec.encode(image, 95)).astype(int)
    assert (decoded[:, ::2, 0] - decoded[:, 1::2, 0]).mean() > 200
    assert "libheif" in codec.version()


def test_versions_name_the_library_that_does_the_work():
    words = {"jpeg": "jpeg", "webp": "webp", "avif": "avif", "jpegxl": "libjxl", "jpeg2000": "OpenJPEG"}
    for name, word in words.items():
        if not codecs.get(name).unavailable():
            assert re.search(rf"{word}\S* \d+\.\d+", codecs.get(name).version()), name


@pytest.mark.parametrize("name", ["zstd", "deflate"])
def test_geotiff_is_lossless_and_smaller(name):
    codec = adapter(name)
    for dtype, bands in INPUTS:
        image = picture(dtype, bands, 96, 80)
        data = codec.encode(image, 0.0)
        assert np.array_equal(codec.decode(data), image)
        assert len(data) < image.nbytes + 1000


def test_lerc_stays_within_its_error():
    codec = adapter("lerc")
    image = picture(np.uint16, 3)
    sizes = []
    for largest in (100.0, 1.0):
        data = codec.encode(image, -largest)
        assert np.abs(codec.decode(data).astype(float) - image).max() <= largest
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


def test_unknown_codec_names_the_known_ones():
    with pytest.raises(KeyError, match="jpeg2000-klt"):
        codecs.get("jpeg3000")


def test_random_weights_are_marked():
    assert all(codec.random_weights for codec in compressai_peers.codecs())
    assert not any(name.startswith("compressai") for name in codecs.names(by_default=True))


def test_openjpeg_version_in_file_names():
    assert openjpeg._version_in_name(Path("libopenjp2-e530e1bf.so.2.5.4")) == (2, 5, 4)
    assert openjpeg._version_in_name(Path("libopenjp2.2.5.0.dylib")) == (2, 5, 0)
    assert openjpeg._version_in_name(Path("openjp2.dll")) == ()


def test_glymur_is_led_to_a_wheel_without_touching_the_user(tmp_path):
    """In a fresh process with an empty home: a library is found, nothing is written, the environment is as it was."""
    pytest.importorskip("glymur")
    if not openjpeg.vendored_libraries():
        pytest.skip("no wheel here carries OpenJPEG")
    program = (
        "import json, os; from benchmarks import openjpeg as o; before = dict(os.environ); v = o.openjpeg_version();"
        "print(json.dumps([v, before == dict(os.environ)]))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "XDG_CONFIG_HOME"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    version, unchanged = json.loads(done.stdout)
    assert version.startswith("2.")
    assert unchanged
    assert not list(tmp_path.iterdir())


def test_the_documented_codec_is_short_and_works():
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert program.count("\n") < 40
    names: dict = {}
    exec(program, names)  # noqa: S102  # our own documentation
    codec = names["Png8"]()
    image = picture(np.uint8, 3)
    errors = [
        np.abs(codec.decode(codec.encode(image, s)).astype(int) - image).mean() for s in codec.ladder(np.uint8, 3)
    ]
    assert errors == sorted(errors, reverse=True)
    assert "Pillow" in codec.version()
