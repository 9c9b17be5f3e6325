"""What the README says is what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks import readme, rivals

ROOT = Path(__file__).parents[2]
pytest.importorskip("scipy")
pytest.importorskip("bjontegaard")

README = (ROOT / "README.md").read_text("utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("kodak", readme.rate_table),
        ("kodak", readme.structure_table),
        ("kodak", lambda result: rivals.table(result, short=True)),
        ("effort/kodak", readme.effort_table),
        ("speed", readme.speed_table),
        ("optical_test-eo", readme.checks_table),
    ],
)
def test_tables(name: str, table: object) -> None:
    assert callable(table)
    assert table(json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))) in README


def test_rates_by_quality() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "kodak.json").read_text("utf-8"))
    assert readme.quality_table(result) in (ROOT / "docs" / "guide" / "photographs.md").read_text("utf-8")


def test_settings_of_peers() -> None:
    assert readme.peers_table() in BENCHMARKS


def test_table_of_rasters() -> None:
    results = ROOT / "benchmarks" / "results"
    names = ("optical_test-rgb8", "optical_test-mono16", "optical_test-multi", "sar_test-whole")
    *optical, sar = (json.loads((results / f"{name}.json").read_text("utf-8")) for name in names)
    assert readme.raster_table(sar, optical) in README


def test_distances_to_published_codecs() -> None:
    """What the text says that we take more is what the published points give."""
    result = json.loads((ROOT / "benchmarks" / "results" / "kodak.json").read_text("utf-8"))
    ours = next(entry for entry in result["codecs"] if entry["name"] == "ours")
    published = {entry["name"]: entry for entry in rivals.load("kodak", 24)}
    for name, said in (("VVC intra (VTM)", "VVC intra"), ("TinyLIC Nano", "TinyLIC Nano")):
        distance = rivals.distance(ours, published[name])
        assert distance is not None
        assert f"{distance:.0f} % more than {said}" in " ".join(README.split())


def test_pictures_and_links_are_there() -> None:
    import re

    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
