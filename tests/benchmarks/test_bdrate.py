"""Bjøntegaard deltas: known cases, refusals, and the published points against this project's anchor."""

# ruff: noqa: E402
# `benchmarks` is not installed: it is put on the path, then imported, if what it needs is there.

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("bjontegaard")

from benchmarks import bdrate, rivals

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)


def entry(name, scale=1.0, gain=0.0, images=3):
    """A codec whose PSNR is 3 dB per doubling of rate, from `scale` times the rates, `gain` dB better."""
    quality = [30 + gain + 3 * i for i in range(len(RATES))]
    points = {"bpp": [r * scale for r in RATES], "psnr": quality}
    return {"name": name, "results": points, "images": {f"i{n}": points for n in range(images)}}


@pytest.mark.parametrize("method", bdrate.METHODS)
def test_half_the_rate_is_minus_fifty_percent(method):
    result = bdrate.compare(entry("anchor"), entry("test", scale=0.5), method=method)
    assert result.mean_curve["value"] == pytest.approx(-50)
    assert result.mean_curve["overlap"] == pytest.approx(1)
    assert (result.mean_curve["low"], result.mean_curve["high"]) == (30, 42)
    assert result.mean_of_images == pytest.approx(-50)
    assert result.images == 3
    assert result.per_image == pytest.approx({"i0": -50, "i1": -50, "i2": -50})
    assert result.mean_curve_bd_psnr["value"] == pytest.approx(3)
    assert not result.refused


def test_bd_psnr_of_a_shift_in_quality():
    result = bdrate.compare(entry("anchor"), entry("test", gain=1.5))
    assert result.mean_curve_bd_psnr["value"] == pytest.approx(1.5)
    assert result.mean_curve["value"] == pytest.approx(100 * (2**-0.5 - 1))
    assert result.mean_curve["overlap"] == pytest.approx(10.5 / 12)


def test_pchip_against_scipy():
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(0)
    quality = np.cumsum(1 + rng.random(6)) + 28
    other = np.cumsum(1 + rng.random(6)) + 28.5
    rate, slower = np.geomspace(0.1, 2, 6), np.geomspace(0.11, 2.1, 6)
    low, high = max(quality[0], other[0]), min(quality[-1], other[-1])
    area = [
        interpolate.PchipInterpolator(q, np.log10(r)).integrate(low, high)
        for q, r in ((quality, rate), (other, slower))
    ]
    expected = 100 * (10 ** ((area[1] - area[0]) / (high - low)) - 1)
    got = bdrate.bd(bdrate.curve(rate, quality), bdrate.curve(slower, other))
    assert got.value == pytest.approx(expected)


def test_too_little_overlap_is_refused_not_extrapolated():
    result = bdrate.compare(entry("anchor"), entry("test", gain=9))
    assert result.mean_curve is None
    assert result.mean_of_images is None
    assert result.images == 0
    assert "share 3 of the shorter one's range of 12" in result.refused["mean curve"]
    assert set(result.refused) >= {"mean curve", "i0", "i1", "i2"}


def test_too_few_points_are_refused():
    short = {"name": "s", "results": {"bpp": [0.1, 0.2, 0.4], "psnr": [30, 33, 36]}, "images": {}}
    assert bdrate.compare(entry("anchor"), short).mean_curve is not None
    assert (
        "3 usable points, akima needs 4" in bdrate.compare(entry("anchor"), short, method="akima").refused["mean curve"]
    )


def test_curve_sorts_and_leaves_out_dominated_and_lossless_points():
    cleaned = bdrate.curve([0.4, 0.1, 0.3, 0.2, 8, 9], [36, 30, 33, 34, float("inf"), None])
    assert cleaned == bdrate.Curve((0.1, 0.2, 0.4), (30, 34, 36))


def test_images_of_different_kinds_have_no_mean_curve_but_a_mean():
    test = entry("test", scale=0.5)
    test["images"]["i2"] = entry("x", scale=0.8)["results"]
    result = bdrate.compare(entry("anchor"), test, no_mean_curve="no common rate")
    assert result.mean_curve is None
    assert result.mean_curve_bd_psnr is None
    assert result.refused == {"mean curve": "no common rate"}
    assert result.per_image == pytest.approx({"i0": -50, "i1": -50, "i2": -20})
    assert result.mean_of_images == pytest.approx(-40)


def test_only_shared_images_count():
    test = entry("test", scale=0.5)
    del test["images"]["i1"]
    assert bdrate.compare(entry("anchor"), test).images == 2


def test_a_band_that_holds_everything_is_the_whole_curve():
    a = bdrate.curve(RATES, [30, 32.5, 36, 38, 42])
    b = bdrate.curve([0.8 * r for r in RATES], [29.5, 33, 35, 39, 41.5])
    assert bdrate.bd_within(a, b, 30, 41.5).value == pytest.approx(bdrate.bd(a, b).value)


def test_bands_of_quality():
    a = bdrate.curve(RATES, [30, 33, 36, 39, 42])
    b = bdrate.curve([0.05, 0.1, 0.2, 0.8, 1.6], [30, 33, 36, 39, 42])  # half the rate up to 36 dB, then the same
    assert bdrate.bd_within(a, b, 30, 33).value == pytest.approx(-50, abs=1)
    assert bdrate.bd_within(a, b, 39, 42).value == pytest.approx(0, abs=6)  # PCHIP rounds the step at 36 dB off
    assert bdrate.bd_within(a, b, 30, 36).value < bdrate.bd_within(a, b, 36, 42).value
    assert bdrate.bd_within(a, b, 20, 34, 0.2).low == 30
    with pytest.raises(bdrate.NotComparable, match="20 to 31"):
        bdrate.bd_within(a, b, 20, 31)


def test_ms_ssim_counts_in_decibels():
    points = {"bpp": list(RATES), "ms-ssim": [0.9, 0.95, 0.975, 0.9875, 0.99375]}
    half = {"bpp": [r / 2 for r in RATES], "ms-ssim": points["ms-ssim"]}
    found = bdrate.compare(
        {"name": "a", "results": points}, {"name": "b", "results": half}, metric="ms-ssim", no_mean_curve=""
    )
    assert found.mean_curve["value"] == pytest.approx(-50)
    assert found.mean_curve["low"] == pytest.approx(10)
    assert bdrate._decibels([None, 1.0, 0.9], "ms-ssim") == [None, float("inf"), pytest.approx(10)]


def test_published_points_give_the_known_figures():
    """The measured anchor and the published files reproduce the project's table of figures to beat."""
    kodak = json.loads((ROOT / "benchmarks" / "results" / "kodak.json").read_text())
    anchor = next(codec for codec in kodak["codecs"] if codec["name"] == "jpeg2000")
    known = {
        "bmshj2018-hyperprior": -15.6, "mbt2018-mean": -21.4, "VVC intra (VTM)": -33.3, "cheng2020-anchor": -35.0,
        "TinyLIC (2022)": -35.7, "Cool-chic 5.0": -39.3, "ELIC": -40.6, "HPCM-Large": -48.9,
        "shallow-ntc, 2-layer synthesis": -15.0,
    }  # fmt: skip
    found = {p["name"]: rivals.bd(anchor, p) for p in rivals.load("kodak", 24)}
    for name, value in known.items():
        assert found[name] == pytest.approx(value, abs=0.15), name


def test_every_published_file_names_its_source():
    files = sorted((ROOT / "benchmarks" / "published").glob("*.json"))
    assert files
    for path in files:
        point = json.loads(path.read_text())
        assert point["source"], path.name
        assert point["measured_by"], path.name
        assert point["results"] or point["stated"], path.name
        if point["results"]:
            assert point["paper"].startswith("https://"), path.name
            assert len(point["results"]["bpp"]) == len(point["results"]["psnr-rgb"]), path.name
            assert point["source"].startswith("https://"), path.name
