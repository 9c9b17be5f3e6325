"""Published codecs: where they stand, and that they stay apart."""

import json
from pathlib import Path

import pytest

pytest.importorskip("bjontegaard")

from benchmarks import rivals

ENTRY = {"name": "x", "results": {"bpp": [0.05, 0.1, 0.2, 0.4, 0.8], "psnr-rgb": [26, 29, 32, 35, 38]}}
ANCHOR = {"name": "a", "results": {"bpp": [0.1, 0.2, 0.4, 0.8, 1.6], "psnr": [26, 29, 32, 35, 38]}}


def test_the_distance_is_what_we_take_more():
    assert rivals.bd(ANCHOR, ENTRY) == pytest.approx(-50)
    assert rivals.distance(ANCHOR, ENTRY) == pytest.approx(100)
    assert rivals.bd(ANCHOR, ENTRY, (30, 35)) == pytest.approx(-50)
    assert rivals.bd(ANCHOR, ENTRY, (50, 60)) is None
    assert rivals.bd(ANCHOR, {"name": "only stated", "results": {}}) is None


def test_their_means_are_of_the_whole_set():
    assert len(rivals.load("kodak", 24)) > 15
    assert not rivals.load("kodak", 23)
    assert not rivals.load("pictures", 24)


def test_table_has_every_published_codec_with_whose_measurement_it_is():
    codecs = [ANCHOR | {"name": "jpeg2000"}, ANCHOR | {"name": "ours"}]
    result = {"dataset": "kodak", "images": list(range(24)), "anchor": "jpeg2000", "codecs": codecs}
    lines = rivals.table(result).splitlines()
    files = list((Path(rivals.__file__).parent / "published").glob("*.json"))
    assert len(lines) == 2 + len(files)
    for path in files:
        entry = json.loads(path.read_text("utf-8"))
        assert sum(line.startswith(f"| {entry['name']} |") and entry["measured_by"] in line for line in lines) == 1
    assert rivals.table({**result, "images": [1]}) == ""
