"""Files appear whole or not at all, whatever happens meanwhile, and nothing else stays behind."""

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learned_codec import staging
from learned_codec.atomic import atomic_path, atomic_write, write_whole
from learned_codec.errors import FileError, InvalidInputError
from tests.full_disk import PAGE, SmallDisk, files_of_at_most
from tests.full_disk import small_disk as small_disk

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="as POSIX has it")


def test_atomic_write(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with atomic_write(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    with pytest.raises(FileError, match="exists"), atomic_write(path) as stream:
        stream.write(b"never")
    with atomic_write(path, overwrite=True) as stream:
        stream.write(b"sec")
        stream.write(b"ond")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


class Interruption(BaseException):
    """Such as KeyboardInterrupt."""


@pytest.mark.parametrize("error", [Interruption, KeyError, ConnectionResetError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_inside_leaves_all_as_it_was_and_comes_out_as_it_is(
    tmp_path: Path, error: type[BaseException], overwrite: bool
) -> None:
    path = tmp_path / "out.bin"
    if overwrite:
        path.write_bytes(b"old")
    raised = error()
    with pytest.raises(error) as caught, atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(b"half")
        raise raised
    assert caught.value is raised
    with pytest.raises(error) as caught, atomic_write(path, overwrite=overwrite) as stream:
        stream.write(b"half")
        raise raised
    assert caught.value is raised
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"out.bin": b"old"} if overwrite else {})


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appeared_meanwhile_is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "out.bin"
    with pytest.raises(FileError, match="exists"), atomic_write(path) as stream:
        stream.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    path.unlink()
    with atomic_write(path) as stream:
        stream.write(b"ours")
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place, said in (
        (tmp_path, "directory"),
        (tmp_path / "absent" / "out.bin", "absent"),
        (tmp_path / "file" / "out.bin", "Not a directory"),
        (tmp_path / ("x" * 256), "too long"),
        (str(tmp_path / "a\0b"), "null"),
    ):
        reached = False
        with pytest.raises(FileError, match=said), atomic_write(place, overwrite=True):
            reached = True
        assert not reached
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@posix
def test_modes_links_and_devices(tmp_path: Path) -> None:
    path, link = tmp_path / "out.bin", tmp_path / "link"
    mask = os.umask(0o022)
    try:
        with atomic_write(path) as stream:
            stream.write(b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # not the 0600 of a temporary file
    link.symlink_to(path)
    with atomic_write(link, overwrite=True) as stream:
        stream.write(b"y")
    assert link.is_symlink()
    assert path.read_bytes() == b"y"
    with atomic_write("/dev/null") as stream:
        stream.write(b"z")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)  # still the device


@posix
def test_a_named_pipe_stays_one(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    with atomic_write(pipe) as stream:
        stream.write(b"through")
    reader.join()
    assert found == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# -- names -------------------------------------------------------------------------------------------------------------


@posix
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_any_name_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    while len(name.encode()) > 255:
        name = name[:-1]
    if name in (".", ".."):
        return
    path = tmp_path / name
    with atomic_write(path) as stream:
        stream.write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    path.unlink()


@posix
@pytest.mark.parametrize("letter", ["a", "é", "图", "🛰"])
def test_the_longest_names(tmp_path: Path, letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    with atomic_write(tmp_path / name) as stream:
        stream.write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == [name]


# -- full disks --------------------------------------------------------------------------------------------------------


@posix
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 50_000), share=st.floats(0, 0.999))
def test_a_file_that_does_not_fit(tmp_path: Path, size: int, share: float) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with files_of_at_most(int(size * share)):
        with (
            pytest.raises(FileError, match=r"out\.bin: File too large") as caught,
            atomic_write(path, overwrite=True) as s,
        ):
            s.write(b"x" * size)
        assert caught.value.errno == errno.EFBIG
        with pytest.raises(FileError), atomic_path(path, overwrite=True) as content:
            write_whole(content, [b"x" * (size - size // 3), b"y" * (size // 3)], "out.bin")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk(small_disk: SmallDisk) -> None:
    path, content = small_disk.folder / "out.bin", os.urandom(10 * PAGE)
    path.write_bytes(b"old")
    for pages in range(2, 11):  # one has the old file
        small_disk.resize(pages)
        with (
            pytest.raises(FileError, match=r"out\.bin: No space left"),
            atomic_write(path, overwrite=True) as stream,
        ):
            stream.write(content)
        assert path.read_bytes() == b"old"
        assert list(small_disk.folder.iterdir()) == [path]
    small_disk.resize(11)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(content)
    assert path.read_bytes() == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_full_device() -> None:
    with pytest.raises(FileError, match="/dev/full: No space left"), atomic_write("/dev/full") as stream:
        stream.write(b"x")
    with (
        Path("/dev/full").open("wb", buffering=0) as device,
        pytest.raises(FileError, match="/dev/full: No space left"),
        atomic_path(device) as path,
    ):
        path.write_bytes(b"x" * 100)


def test_what_the_file_system_did_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    synced = os.fsync

    def lose(descriptor: int) -> None:
        os.ftruncate(descriptor, 2)
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(FileError, match="didn't keep"), atomic_write(path, overwrite=True) as stream:
        stream.write(b"new and long")
    assert path.read_bytes() == b"old"


# -- file objects ------------------------------------------------------------------------------------------------------


def test_a_file_object_gets_all_or_nothing() -> None:
    for way in (atomic_write, atomic_path):
        stream = io.BytesIO()
        with pytest.raises(ZeroDivisionError), way(stream) as out:
            (out.write if way is atomic_write else out.write_bytes)(b"half")
            _ = 1 / 0
        assert stream.getvalue() == b""
        with way(stream) as out:
            (out.write if way is atomic_write else out.write_bytes)(b"whole")
        assert stream.getvalue() == b"whole"


class SlowOutput(io.RawIOBase):
    """Takes a few bytes at a time, as a socket does."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Any) -> int:
        self.taken += bytes(data[:7])
        return len(data[:7])


class BareOutput:
    """No more than `write`, which says nothing of how much it took."""

    name = 7

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: bytes) -> None:
        self.taken += data


@pytest.mark.parametrize("kind", [SlowOutput, BareOutput])
def test_other_file_objects(kind: Any) -> None:
    stream, content = kind(), os.urandom(500)
    with atomic_write(stream) as out:
        out.write(content[:100])
        out.write(content[100:])
    assert stream.taken == content


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), BrokenPipeError(32, "Broken pipe"), RuntimeError("x")]
)
def test_file_objects_that_fail(error: Exception) -> None:
    class FailingOutput(io.BytesIO):
        def write(self, _: Any) -> int:
            raise error

    with pytest.raises(FileError, match="output: ") as caught, atomic_write(FailingOutput()) as out:
        out.write(b"x")
    assert caught.value.__cause__ is error
    assert caught.value.errno == getattr(error, "errno", None)
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(FileError, match="closed"), atomic_write(closed) as out:
        out.write(b"x")


@pytest.mark.parametrize(
    "wrong", [b"out.lci", bytearray(3), io.StringIO(), 7, None, [], Path], ids=lambda x: type(x).__name__
)
def test_what_is_no_destination(wrong: Any) -> None:
    for way in (atomic_write, atomic_path):
        with pytest.raises(InvalidInputError, match="binary"), way(wrong):
            raise AssertionError


# -- processes that are killed, and others beside them -----------------------------------------------------------------

WRITER = """
import sys, time
from learned_codec.atomic import atomic_path
print("ready", flush=True)
while True:
    with atomic_path(sys.argv[1], overwrite=True) as path:
        with path.open("wb") as stream:
            for _ in range(20):
                stream.write(b"n" * 5000)
                time.sleep(0.0005)
"""


def writer(path: Path) -> "subprocess.Popen[str]":
    """A process that writes 100,000 bytes to a path again and again."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


@posix
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.011, 0.02, 0.031])
def test_a_killed_process_leaves_the_old_file_or_the_new(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    process = writer(path)
    time.sleep(delay)
    ended(process)
    assert path.read_bytes() in (b"old", b"n" * 100_000)
    assert len(list(tmp_path.iterdir())) <= 2
    with atomic_write(tmp_path / "another.bin") as stream:  # the next one into this folder cleans up
        stream.write(b"x")
    assert {p.name for p in tmp_path.iterdir()} == {"out.bin", "another.bin"}


@posix
def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with atomic_path(path) as mine:
        mine.write_bytes(b"mine")
        dead = writer(tmp_path / "theirs.bin")
        time.sleep(0.01)
        ended(dead)
        alive = writer(tmp_path / "theirs.bin")
        for _ in range(50):  # each looks for what can be removed
            with atomic_write(tmp_path / "other.bin", overwrite=True) as stream:
                stream.write(b"x")
        assert alive.poll() is None
        ended(alive)
        assert mine.read_bytes() == b"mine"
    assert path.read_bytes() == b"mine"
    with atomic_write(tmp_path / "other.bin", overwrite=True) as stream:
        stream.write(b"x")
    assert {p.name for p in tmp_path.iterdir()} <= {"out.bin", "other.bin", "theirs.bin"}


@posix
def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(staging.fcntl, "flock", refuse)
    with atomic_path(tmp_path / "one.bin") as one:
        with atomic_path(tmp_path / "two.bin") as two:
            two.write_bytes(b"2")
        one.write_bytes(b"1")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"one.bin": b"1", "two.bin": b"2"}


def test_many_threads_into_one_folder(tmp_path: Path) -> None:
    failed = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                with atomic_write(tmp_path / f"{number}.bin", overwrite=True) as stream:
                    stream.write(f"{number} {turn}".encode())
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {f"{n}.bin": f"{n} 19" for n in range(8)}


@posix
def test_a_signal_that_ends_a_program_by_an_exception(tmp_path: Path) -> None:
    """As the command line does it, and as a server may."""
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))" + WRITER
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for delay in (0.0, 0.005, 0.013):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "out.bin")], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 9
        process.stdout.close()
        assert [p.name for p in tmp_path.iterdir()] in ([], ["out.bin"])


INTERRUPTED = """
import os, sys
from pathlib import Path
from learned_codec import staging
folder, line = Path(sys.argv[1]), 0
while child := os.fork():
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = os.listdir(folder)
    if left or status not in (0, 9):
        sys.exit(f"line {line}: status {status}, left {left}")
    if status == 0:
        print(line)
        sys.exit()
    line += 1

def trace(frame, event, _):
    global line
    if frame.f_code.co_filename != staging.__file__:
        return None
    if event == "line":
        if line == 0:
            sys.exit(9)
        line -= 1
    return trace

sys.settrace(trace)
with staging.staged(folder) as content:
    content.write_bytes(b"x")
sys.settrace(None)
"""


@posix
def test_nothing_is_left_at_whatever_line_a_signal_handler_ends_the_program(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 25, "lines tried"
