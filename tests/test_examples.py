"""The examples run, and say what their documentation says."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_encode_decode(capsys: pytest.CaptureFixture[str]) -> None:
    rows = runpy.run_path(str(EXAMPLES / "encode_decode.py"))["main"]()
    rates, psnrs = [r[1] for r in rows], [r[2] for r in rows]
    assert rates == sorted(rates)
    assert psnrs == sorted(psnrs)
    assert capsys.readouterr().out.count("dB") == len(rows)
