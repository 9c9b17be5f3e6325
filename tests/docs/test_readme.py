"""What the README says is what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bdrate, bounded, readme, rivals

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


def test_table_of_bounds() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "bounded.json").read_text("utf-8"))
    assert bounded.table(result) in BENCHMARKS


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


def test_what_the_text_says_of_losses() -> None:
    results = ROOT / "benchmarks" / "results"
    kodak, eo, multi, speed = (
        json.loads((results / f"{name}.json").read_text("utf-8"))
        for name in ("kodak", "optical_test-eo", "optical_test-multi", "speed")
    )
    text, words = (
        " ".join(README.split()),
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    )
    ours = next(entry for entry in kodak["codecs"] if entry["name"] == "ours")
    most = max(filter(None, (rivals.distance(ours, entry) for entry in rivals.load("kodak", 24))))
    assert f"up to {most:.0f} % more than the heaviest" in text
    whole, *bands = (
        {bd["codec"]: 1 + bd["mean_of_images"] / 100 for bd in rows if bd["method"] == "pchip"}
        for rows in (kodak["bd"], kodak["bd-parts"]["psnr 30–35 dB"], kodak["bd-parts"]["psnr 35–41 dB"])
    )
    assert whole["ours-effort3"] < whole["ours"] < whole["avif"]
    assert all(band["ours-effort3"] < band["avif"] for band in bands)
    assert all(band["ours"] < band["avif"] for band in bands)
    assert "AVIF tuned for PSNR is larger in every band" in text
    (bd,) = [bd for bd in multi["bd"] if bd["codec"] == "ours" and bd["method"] == "pchip"]
    assert max(bd["per_image"].values()) < 0
    assert "No scene takes more bytes than with JPEG 2000 and a KLT" in text
    coded = {scene["scene"]: row["bytes"] for scene in eo["scenes"] for row in scene["rows"] if row["codec"] == "ours"}
    smaller = sum(scene["lerc"] < coded[scene["scene"]] for scene in eo["scenes"])
    assert len(eo["scenes"]) == 14
    assert f"On {words[smaller]} of the fourteen scenes, LERC is smaller" in text
    times = {row["codec"]: row["decode_mp_s"] for row in speed["rows"] if row["given"] == 1 and row["megapixels"] < 50}
    assert f"JPEG 2000 decodes {words[round(times['jpeg2000'] / times['ours'])]} times as fast" in text


def _over_its_qualities(entries: dict[str, Any], measured: str, name: str) -> float:
    """The mean BD-rate of a codec's images against JPEG 2000, over the PSNRs that another one reaches on each."""
    found = []
    for image, values in entries[measured]["images"].items():
        anchor, own = (
            bdrate.curve(entries[codec]["images"][image]["bpp"], entries[codec]["images"][image]["psnr"])
            for codec in ("jpeg2000", name)
        )
        found.append(bdrate.bd_within(anchor, own, min(values["psnr"]), max(values["psnr"])).value)
    return sum(found) / len(found)


def test_slower_settings() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "slow" / "kodak.json").read_text("utf-8"))
    entries = {entry["name"]: entry for entry in result["codecs"]}
    text = " ".join(BENCHMARKS.split())
    saved = bdrate.compare(entries["avif"], entries["avif-slow"]).mean_of_images
    assert saved is not None
    assert f"At speed 1, AVIF takes {-saved:.1f} % less than at speed 4" in text
    assert f"AVIF takes another {-saved:.0f} % less" in " ".join(README.split())
    kodak = json.loads((ROOT / "benchmarks" / "results" / "kodak.json").read_text("utf-8"))
    entries |= {entry["name"]: entry for entry in kodak["codecs"] if entry["name"].startswith("ours")}
    avif, before, ours, with_effort = (_over_its_qualities(entries, "avif-slow", name) for name in (
        "avif-slow", "avif", "ours", "ours-effort3",
    ))  # fmt: skip
    assert (
        f"AVIF takes {-avif:.1f} % less than JPEG 2000 at speed 1, and {-before:.1f} % less at speed 4; ours takes "
        f"{-ours:.1f} % less, and {-with_effort:.1f} % less with effort 3"
    ) in text
    after, before = (_over_its_qualities(entries, "jpegxl-slow", name) for name in ("jpegxl-slow", "jpegxl"))
    assert f"JPEG XL takes {after:.1f} % more at effort 9, and {before:.1f} % more at effort 7" in text
    usual, slow = entries["jpegxl"], entries["jpegxl-slow"]
    places = [usual["settings"].index(setting) for setting in slow["settings"]]
    images = {
        name: {key: [column[place] for place in places] for key, column in values.items()}
        for name, values in usual["images"].items()
    }
    for metric in ("psnr", "ms-ssim"):
        found = bdrate.compare({**usual, "images": images}, slow, metric=metric, no_mean_curve="no").mean_of_images
        assert found is not None
        assert f"JPEG XL takes {-found:.1f} % less than at effort 7" in text


def test_largest_errors_on_kodak() -> None:
    """Ours is between those that `docs/benchmarks.md` names."""
    from benchmarks import tables

    kodak = json.loads((ROOT / "benchmarks" / "results" / "kodak.json").read_text("utf-8"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.errors(kodak)[2:]]
    mean = {row[0]: float(row[1]) for row in rows}
    assert max(mean["jpeg2000"], mean["avif"]) < mean["ours"] < min(mean["jpegxl"], mean["webp"], mean["jpeg"])
    assert "ours is above those of JPEG 2000 and AVIF, and below those of JPEG XL, WebP and JPEG" in BENCHMARKS
