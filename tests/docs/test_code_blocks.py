"""Every code block of the README and of the documentation runs: Python as it stands, commands in this process."""

import re
import shlex
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from benchmarks import codecs
from benchmarks.__main__ import main as benchmarks_line
from learned_codec.cli import main as command_line
from learned_codec.demo import landscape

ROOT = Path(__file__).parents[2]
PAGES = sorted(["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))])
_BLOCK = re.compile(r"^```(?P<kind>python|sh)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

PARSED_ONLY = ("train", "demo", "selftest")
"""Commands that have tests of their own, and take too long or need data."""


def blocks(page: str) -> Iterator[tuple[str, str]]:
    for match in _BLOCK.finditer((ROOT / page).read_text("utf-8")):
        yield match["kind"], match["body"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(landscape(96, 128)).save("photo.jpg")
    (tmp_path / "scenes").mkdir()
    values = np.random.default_rng(1).normal(3000, 300, (4, 576, 320)).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        for name in ("scene.tif", "scenes/scene.tif"):
            with rasterio.open(
                name, "w", driver="GTiff", height=576, width=320, count=4, dtype="uint16", nodata=0
            ) as raster:
                raster.write(values)
    return tmp_path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))])
@pytest.mark.usefixtures("folder")
def test_blocks_run(page: str) -> None:
    picture = landscape(64, 96)
    names = {
        "image": picture,
        "scene": np.stack([picture.astype(np.uint16) * 16] * 4, 2).reshape(64, 96, 12)[..., :4],
        "backscatter": np.random.default_rng(2).gamma(5, 0.02, (64, 96)).astype(np.float32),
    }
    for number, (kind, body) in enumerate(blocks(page)):
        if kind == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                for command in line.split("#")[0].split(" && "):
                    _run(command.strip())
        elif page == "docs/benchmarks.md":
            compile(body, f"{page}, block {number}", "exec")  # an adapter; the benchmarks' own tests run it
        else:
            exec(compile(body, f"{page}, block {number}", "exec"), names)  # noqa: S102 - our own documentation


def _run(command: str) -> None:
    """Run what is ours of a shell command; of everything else, what it names is there."""
    words = shlex.split(command)
    if words[:1] == ["learned-codec"]:
        expanded = [w for word in words[2:] for w in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        if words[1] in PARSED_ONLY or "-" in expanded:
            found = command_line.commands[words[1]]
            assert set(re.findall(r"--[\w-]+", command)) <= {o for p in found.params for o in p.opts}
            return
        again = ["--overwrite"] if words[1] in ("encode", "decode") else []  # blocks before it may have written it
        result = CliRunner().invoke(command_line, [words[1], *expanded, *again])
        assert result.exit_code == 0, f"{command}: {result.output}"
    elif words[:2] == ["rio", "lci"]:
        _run(" ".join(["learned-codec", *words[2:]]))
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert {e for names in re.findall(r"\[([\w,]+)\]", command) for e in names.split(",")} <= set(extras)
    elif words[:3] == ["python", "-m", "benchmarks"]:
        assert isinstance(benchmarks_line, click.Group)
        found = benchmarks_line.commands[words[3]]
        assert set(re.findall(r"--[\w-]+", command)) <= {o for p in found.params for o in (*p.opts, *p.secondary_opts)}
        if "--codecs" in words:
            assert set(words[words.index("--codecs") + 1].split(",")) <= set(codecs.names())
    elif words[:1] == ["python"] and words[1] != "-m":
        assert (ROOT / words[1]).exists(), command
