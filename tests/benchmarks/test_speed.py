"""Time and memory: measured in processes of their own, on tiny images; the page from made-up figures."""

# ruff: noqa: ARG001
# Fixtures act by being there.

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks import codecs, latency, plots, speed, speed_page
from tests.benchmarks.toys import Toy

ROW = {"codec": "jpeg2000", "given": 1, "threads": 1, "megapixels": 12.0, "bpp": 0.75, "encode_mp_s": 2.0}
ROW |= {"decode_mp_s": 8.0, "random_weights": False, "peak_above_start_mib": 90.0}


def result(**more):
    environment = {"processor": "a processor", "cores": 2}
    fixed = {"image": "noise", "target_bpp": 0.75, "anchor": "jpeg2000", "features": [], "skipped": [], "load": None}
    return {"environment": environment, **fixed, "rows": [ROW], **more}


@pytest.mark.parametrize("threads", [1, 2])
def test_each_measurement_is_a_process_of_its_own(threads):
    codec = codecs.get("jpeg")
    if codec.unavailable():
        pytest.skip("no JPEG")
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    rows, failed = speed.time_image(image, [codec], {"jpeg": 50.0}, threads=threads, repeats=1, timeout=60)
    assert not failed
    assert rows[0]["encode_mp_s"] > 0
    assert rows[0]["peak_memory_mib"] > 10
    assert rows[0]["threads"] == 1  # JPEG has no others


def test_reports_what_failed(toys):
    # the child process does not know the toys
    image = np.zeros((32, 32, 3), np.uint8)
    rows, failed = speed.time_image(image, [Toy("nonsense")], {"nonsense": 1.0}, threads=1, repeats=1, timeout=60)
    assert not rows
    assert failed[0]["codec"] == "nonsense"
    assert "no codec 'nonsense'" in failed[0]["reason"]


def test_limits_of_the_processor_reach_the_measuring_process():
    environ = speed.child_environment(3, speed.FEATURES["AVX2"])
    assert environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert environ["ATEN_CPU_CAPABILITY"] == "avx2"
    assert environ["OMP_NUM_THREADS"] == "3"


@pytest.mark.slow
def test_a_run_and_its_page():
    pytest.importorskip("skimage")
    names = ["jpeg", "jpeg2000"]
    if any(codecs.get(name).unavailable() for name in names):
        pytest.skip("no JPEG or no JPEG 2000")
    found = speed.run(names, megapixels=0.01, large_megapixels=0.02, threads=[1], repeats=1, timeout=60)
    assert not found["skipped"]
    assert [row["codec"] for row in found["rows"]] == ["jpeg", "jpeg2000", "jpeg2000"]
    settings = {row["codec"]: row["setting"] for row in found["rows"]}
    start = latency.start(settings, repeats=1)
    assert [row["codec"] for row in start] == ["python", "jpeg2000"]
    assert start[0]["seconds"] < start[1]["seconds"]
    page = speed_page.page({**found, "start": start}, plots.label)
    assert "| JPEG 2000 | 1 |" in page
    assert "Python alone" in page


@pytest.mark.parametrize("megapixels", [0.1, 3.0, 100.0])
def test_sizes_are_what_was_asked_for(megapixels):
    height, width = speed.shape_of(megapixels)
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.01)


def test_speeds_stand_beside_the_anchor_of_the_same_size_and_threads():
    ours = {**ROW, "codec": "ours", "encode_mp_s": 1.0}
    two = {**ROW, "given": 2, "threads": 2, "encode_mp_s": 4.0}
    large = {**ROW, "megapixels": 100.0, "encode_mp_s": 8.0}
    lines = speed_page.calls(result(rows=[ROW, ours, two, {**ours, "given": 2}, large]), plots.label).splitlines()
    assert "| 1.0 MP/s (0.50 ×) |" in lines[3]
    assert "| 1.0 MP/s (0.25 ×) |" in lines[5]
    assert "| 8.0 MP/s (1.00 ×) |" in lines[6]
    assert {line.count("|") for line in lines} == {8}


def test_speed_of_slow_codecs_keeps_its_digits():
    assert [speed.digits(v) for v in (12.345, 0.0034)] == ["12.3", "0.0034"]
