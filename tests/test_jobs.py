"""Work in processes: all results come, whatever becomes of a process, and none outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from learned_codec.errors import CorruptDataError, LearnedCodecError, ProcessLostError
from learned_codec.jobs import attempt, each
from tests import work

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def test_every_argument_has_its_result() -> None:
    found = dict(each(work.square, range(20), 2))
    assert {x: result for x, (result, _) in found.items()} == {x: x * x for x in range(20)}
    processes = {pid for _, pid in found.values()}
    assert len(processes) <= 2
    assert os.getpid() not in processes


def test_nothing_to_do() -> None:
    assert list(each(work.square, [], 4)) == []


@posix
def test_what_goes_wrong_costs_its_own_argument() -> None:
    found = dict(each(work.trouble, range(10), 2))
    assert {x: result for x, result in found.items() if x % 2 == 0 or x == 9} == {x: x for x in (0, 2, 4, 6, 8, 9)}
    assert isinstance(found[1], CorruptDataError)
    assert found[1].tiles == (3,)
    assert isinstance(found[3], LearnedCodecError)
    assert str(found[3]) == "unexpected KeyError: 'nobody thought of it'"
    assert isinstance(found[5], ProcessLostError)
    assert "SIGKILL, perhaps for want of memory" in str(found[5])
    assert isinstance(found[7], ProcessLostError)
    assert "ended with 4" in str(found[7])


def test_attempts() -> None:
    assert attempt(work.trouble, 2) == 2
    assert isinstance(attempt(work.trouble, 1), CorruptDataError)
    assert isinstance(attempt(work.trouble, 3), LearnedCodecError)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@posix
def test_ctrl_c_is_blocked_from_the_start_of_every_process() -> None:
    """Also of the first process of its caller, beside which multiprocessing starts one of its own."""
    code = (
        "import signal; from tests.work import blocked; from learned_codec.jobs import each\n"
        "found = [signals for _, signals in each(blocked, range(3), 3)]\n"
        "assert len(found) == 3 and all(signal.SIGINT in signals for signals in found), found\n"
        "assert signal.SIGINT not in blocked(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look for processes in")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "terminal"])
def test_processes_end_with_their_caller_and_clean_up(tmp_path: Path, how: signal.Signals | str) -> None:
    targets = [tmp_path / name for name in ("a", "b", "c")]
    code = (
        "import signal, sys, runpy; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); "
        "from tests.work import slow_file; from learned_codec.jobs import each\n"
        "if __name__ == '__main__':\n    for _ in each(slow_file, sys.argv[1:], 2): pass"
    )
    script = tmp_path / "script" / "main.py"
    script.parent.mkdir()
    script.write_text(code)
    caller = subprocess.Popen(
        [sys.executable, str(script), *map(str, targets)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    notes = [Path(f"{target}.pid") for target in targets[:2]]
    until = time.monotonic() + 60
    while not all(note.exists() and note.read_text() for note in notes):
        assert time.monotonic() < until
        time.sleep(0.02)
    workers = [int(note.read_text()) for note in notes]
    assert all(map(alive, workers))
    start = time.monotonic()
    if how == "terminal":  # Ctrl-C goes to all of them
        os.killpg(caller.pid, signal.SIGINT)
    else:
        caller.send_signal(how)
    caller.communicate(timeout=30)
    while any(map(alive, workers)):
        assert time.monotonic() < start + 30  # left alone, they would take a minute
        time.sleep(0.02)
    # What was half done is gone, and what hadn't begun didn't.
    assert {path.name for path in tmp_path.iterdir()} == {"a.pid", "b.pid", "script"}
