"""The examples run, and say what their documentation says; what the documentation shows can be typed."""

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
import rasterio

from learned_codec.cli import main as command_line

ROOT = Path(__file__).parents[2]
EXAMPLES, DOCS = ROOT / "examples", ROOT / "docs"
WORKED = ("sar.md", "sentinel-2.md")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Imports an example as Python does it for a script: what lies beside it can be imported."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


def test_encode_decode(capsys: pytest.CaptureFixture[str]) -> None:
    rows = runpy.run_path(str(EXAMPLES / "encode_decode.py"))["main"]()
    rates, psnrs = [r[1] for r in rows], [r[2] for r in rows]
    assert rates == sorted(rates)
    assert psnrs == sorted(psnrs)
    assert capsys.readouterr().out.count("dB") == len(rows)


def test_scenes(example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("scenes").main(tmp_path, 128)
    assert capsys.readouterr().out.count("128 × 128 pixels") == 5
    with rasterio.open(tmp_path / "s1.tif") as raster:
        power = raster.read()
        assert (raster.descriptions, raster.tags()["UNIT"], raster.tags(2)["POL"]) == (("VV", "VH"), "power", "VH")
    assert 0.05 < np.isnan(power).mean() < 0.3
    assert np.array_equal(*np.isnan(power))
    with rasterio.open(tmp_path / "s2.tif") as raster:
        assert (raster.nodata, raster.count, raster.offsets[0]) == (0, 6, -0.1)
        assert 0.05 < (raster.read(1) == 0).mean() < 0.4


def test_speckle_of_the_scene_is_that_of_real_products(example) -> None:
    power, field = example("scenes").sentinel1(512)
    assert 4 < example("sar").enl(power[0][field]) < 6


def test_sar(example, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sar = example("sar")
    monkeypatch.setattr(sar, "QUALITIES", (10, 45, 85))
    rows = sar.main(tmp_path, 128)
    for key in ("bpp", "psnr", "epi"):
        assert [row[key] for row in rows] == sorted(row[key] for row in rows)
    assert 0.9 < rows[-1]["enl_vv"] < 1.1
    assert 0.97 < rows[-1]["mean_vh"] < 1.03
    assert (tmp_path / "sar.png").exists()
    assert len(re.findall(r"^ +\d+  \d", capsys.readouterr().out, re.MULTILINE)) == len(rows)


def test_edge_preservation_is_that_of_the_benchmarks(example) -> None:
    pytest.importorskip("scipy")
    from benchmarks import metrics

    rng = np.random.default_rng(1)
    plane = rng.normal(size=(40, 50))
    other = plane + rng.normal(size=plane.shape)
    assert example("sar").edge_preservation(plane, other) == pytest.approx(metrics.edge_preservation(plane, other))
    assert example("sar").enl(plane + 5) == pytest.approx(metrics.enl(plane + 5))


def test_sentinel2(
    example, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentinel2 = example("sentinel2")
    monkeypatch.setattr(sentinel2, "QUALITIES", (20, 60))
    rows = sentinel2.main(tmp_path, 128)
    assert rows[0]["bpp"] < rows[1]["bpp"]
    assert rows[0]["rmse"] > rows[1]["rmse"]
    assert all(row["exact"] for row in rows)
    assert (tmp_path / "sentinel-2.png").exists()
    assert capsys.readouterr().out.count("\nB") == 6


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", WORKED)
def test_blocks_of_a_page(example, page: str) -> None:
    make_docs = example("make_docs")
    text = (DOCS / page).read_text("utf-8")
    found = list(make_docs.blocks(text))
    names = [name for name, _, _ in found]
    assert (
        len(names)
        == len(set(names))
        == text.count("<!-- output: ")
        == text.count("```console\n") + text.count("```pycon\n")
    )
    assert {"scene", "encode", "rates", "windows"} <= set(names)
    for _, kind, body in found:
        if kind == "console":
            assert make_docs.commands(body)
            for command in make_docs.commands(body):
                _check(command)
        else:
            for part in make_docs.doctest.DocTestParser().get_examples(body):
                compile(part.source, page, "single")


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md")))])
def test_links(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_make_docs_writes_what_was_printed(example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head = "text\n\n<!-- output: "
    page = (
        head + "a -->\n```console\n$ learned-codec --version\nold\n$ learned-codec info missing.lci\n```\n"
        "\n<!-- output: b -->\n```pycon\n>>> x = 20\n>>> for i in range(2):\n...     print(x + i)\nold\n>>> 1 / 0\n"
        "Traceback (most recent call last):\n  ...\nOldError\n```\nrest\n"
    )
    fresh = example("make_docs").refresh(page)
    assert "old" not in fresh.lower()
    assert "$ learned-codec --version\nlearned-codec, version" in fresh
    assert "error: missing.lci: No such file" in fresh
    assert (
        "...     print(x + i)\n20\n21\n>>> 1 / 0\nTraceback (most recent call last):\n  ...\nZeroDivisionError: "
        in fresh
    )
    assert fresh.endswith("```\nrest\n")
    assert example("make_docs").refresh(fresh) == fresh


def _check(command: str) -> None:
    """Every program, command and option of a line that is shown exists. Raises what click raises."""
    program, *arguments = shlex.split(command)
    if program == "python":
        assert (ROOT / arguments[0]).exists()
        return
    assert program == "learned-codec"
    name, *arguments = arguments
    found = command_line.commands[name]
    with click.Context(found, info_name=name) as context:
        found.parse_args(context, arguments)
