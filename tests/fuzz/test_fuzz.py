"""A few hundred files that mean harm, the same every time, and every one that ever did."""

import os
from pathlib import Path

import pytest

import learned_codec
from tests.fuzz import __main__ as fuzz
from tests.fuzz import target

DATA = Path(os.environ.get("LEARNED_CODEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
SHARED = DATA.parent / "cases" / "hostile"
"""Examples beside the project, where there are any."""


@pytest.mark.parametrize("path", sorted(fuzz.REGRESSIONS.glob("*.lci")), ids=lambda path: path.stem)
def test_what_once_failed(path: Path) -> None:
    target.check(path.read_bytes())


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="no examples beside the project")
def test_examples_beside_the_project() -> None:
    for path in sorted(SHARED.glob("*.lci")):
        target.check(path.read_bytes())


def test_files_that_mean_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "REGRESSIONS", tmp_path)
    outcomes, failed = fuzz.run(seconds=30, seed=0, bound=120)
    assert not failed
    images = sum(count for (_, outcome), count in outcomes.items() if outcome == "image")
    assert 0.1 < images / outcomes.total() < 0.9, "checksums or mutations are wrong: too few, or all, get through"


@pytest.mark.slow
def test_more_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "REGRESSIONS", tmp_path)
    _, failed = fuzz.run(seconds=60, seed=int(os.environ.get("FUZZ_SEED", "1")))
    assert not failed


@pytest.mark.parametrize("error", [OverflowError("too large"), MemoryError(), RecursionError()])
def test_an_error_that_is_not_ours_is_kept(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fuzz, "REGRESSIONS", tmp_path)
    monkeypatch.setattr(learned_codec, "check", broken)
    outcomes, failed = fuzz.run(seconds=30, seed=0, bound=2)
    assert len(failed) == 2
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "FAILED") == 2
    assert fuzz.table(outcomes).count("\n") >= 2
    assert type(error).__name__ in capsys.readouterr().err
