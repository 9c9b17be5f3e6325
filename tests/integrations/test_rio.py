"""`rio lci`, through rasterio's own command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rasterio.rio.main import main_group

from learned_codec.demo import landscape


@pytest.fixture
def rio(monkeypatch: pytest.MonkeyPatch):
    from learned_codec.integrations.rio import lci

    monkeypatch.setitem(main_group.commands, "lci", lci)  # what the entry point does
    return lambda *arguments: CliRunner().invoke(main_group, ["lci", *map(str, arguments)])


def test_there_and_back(rio, tmp_path: Path) -> None:
    Image.fromarray(landscape(64, 80)).save(tmp_path / "x.png")
    assert rio("encode", tmp_path / "x.png", tmp_path / "x.lci", "--quality", 80).exit_code == 0
    assert "80" in rio("info", tmp_path / "x.lci").output
    assert rio("decode", tmp_path / "x.lci", tmp_path / "y.png").exit_code == 0
    assert np.asarray(Image.open(tmp_path / "y.png")).shape == (64, 80, 3)


def test_errors_are_one_line(rio, tmp_path: Path) -> None:
    result = rio("info", tmp_path / "missing.lci")
    assert result.exit_code == 3
    assert "Traceback" not in result.output


@pytest.mark.parametrize("module", ["rio", "xarray", "zarr", "numcodecs", "pillow", "imageio"])
def test_importing_an_integration_is_cheap(module: str) -> None:
    """Ecosystems import every plug-in that they find."""
    pytest.importorskip({"rio": "rasterio", "pillow": "PIL"}.get(module, module))
    program = (
        f"import sys, learned_codec.integrations.{module}; print('torch' in sys.modules, 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
