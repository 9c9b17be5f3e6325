"""The command line: what it prints, where, and with which exit code."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from PIL import Image

import learned_codec
from learned_codec import demo, terminal
from learned_codec.cli import main
from learned_codec.errors import FileError
from learned_codec.values import hidden
from tests import geotiffs

ROOT = Path(__file__).parent.parent

OK, FOUND_WRONG, USAGE, ERROR, INTERRUPTED = 0, 1, 2, 3, 130


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return demo.landscape(64, 64)


@pytest.fixture(scope="module")
def coded(picture: np.ndarray) -> bytes:
    return learned_codec.encode(picture, quality=60)


@pytest.fixture
def png(tmp_path: Path, picture: np.ndarray) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture
def lci(tmp_path: Path, coded: bytes) -> Path:
    path = tmp_path / "picture.lci"
    path.write_bytes(coded)
    return path


def assert_told_in_one_line(result: Result, *words: str) -> None:
    """An error of ours: exit code 3, nothing on standard output, one line without a traceback on standard error."""
    assert result.exit_code == ERROR, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


# --- encode and decode ---


def test_encode_and_decode(tmp_path: Path, png: Path, coded: bytes) -> None:
    lci, again = tmp_path / "new.lci", tmp_path / "again.png"
    encoded = run("encode", png, lci)
    assert encoded.exit_code == OK, encoded.output
    assert encoded.stdout.startswith(f"{lci}: 64 × 64 pixels, ")
    assert encoded.stderr == ""
    assert lci.read_bytes() == coded  # quality 60 is the default
    decoded = run("decode", lci, again)
    assert (decoded.exit_code, decoded.output) == (OK, "")
    np.testing.assert_array_equal(np.array(Image.open(again)), learned_codec.decode(coded))
    assert {path.name for path in tmp_path.iterdir()} == {"picture.png", "new.lci", "again.png"}


def test_single_band(tmp_path: Path, picture: np.ndarray) -> None:
    grey, lci, again = tmp_path / "grey.png", tmp_path / "grey.lci", tmp_path / "again.tif"
    Image.fromarray(picture[:, :, 1]).save(grey)
    assert run("encode", grey, lci).exit_code == OK
    assert run("decode", lci, again).exit_code == OK
    with Image.open(again) as opened:
        assert (opened.mode, opened.size) == ("L", (64, 64))


def test_encode_json(tmp_path: Path, png: Path) -> None:
    lci = tmp_path / "new.lci"
    said = json.loads(run("encode", png, lci, "--quality", 30, "--json").stdout)
    assert said == learned_codec.inspect(lci.read_bytes()).to_dict()
    assert (said["width"], said["height"], said["bands"], said["bytes"]) == (64, 64, 3, lci.stat().st_size)


def test_rates(tmp_path: Path, png: Path) -> None:
    small, large = tmp_path / "small.lci", tmp_path / "large.lci"
    assert run("encode", png, small, "--quality", 20).exit_code == OK
    assert run("encode", png, large, "--quality", 90).exit_code == OK
    assert small.stat().st_size < large.stat().st_size
    middle = 8 * (small.stat().st_size + large.stat().st_size) / 2 / 64**2
    met = tmp_path / "met.lci"
    assert run("encode", png, met, "--bpp", middle).exit_code == OK
    assert 8 * met.stat().st_size / 64**2 <= middle


def test_pipe(png: Path, coded: bytes) -> None:
    encoded = run("encode", "-", "-", stdin=png.read_bytes())
    assert encoded.exit_code == OK
    assert encoded.stdout_bytes == coded
    assert "64 × 64" in encoded.stderr
    decoded = run("decode", "-", "-", stdin=coded)
    assert decoded.exit_code == OK
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(decoded.stdout_bytes))), learned_codec.decode(coded))
    as_tiff = run("decode", "-", "-", "--format", "tif", stdin=coded)
    assert as_tiff.stdout_bytes.startswith(b"II*\0")


def test_real_pipe(coded: bytes) -> None:
    """Through real standard streams, and `python -m`."""
    command = [sys.executable, "-m", "learned_codec", "check", "-"]
    done = subprocess.run(command, input=coded, capture_output=True, check=False, cwd=Path(__file__).parent.parent)
    assert (done.returncode, done.stderr) == (OK, b"")


def test_threads(tmp_path: Path, png: Path, coded: bytes) -> None:
    lci = tmp_path / "threads.lci"
    assert run("encode", png, lci, "--threads", 1, "--device", "cpu").exit_code == OK
    assert lci.read_bytes() == coded


# --- refusals ---


def test_existing_destination_needs_overwrite(tmp_path: Path, png: Path, lci: Path) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"precious")
    assert_told_in_one_line(run("decode", lci, out), "out.png", "exists", "overwrite")
    assert_told_in_one_line(run("encode", png, lci), "picture.lci", "exists", "overwrite")
    assert out.read_bytes() == b"precious"
    assert run("decode", lci, out, "--overwrite").exit_code == OK
    assert out.read_bytes().startswith(b"\x89PNG")
    assert run("encode", png, lci, "--overwrite").exit_code == OK


@pytest.mark.parametrize("name", ["x.jp2", "x.TIF", "x.png", "x.jpeg"])
def test_a_name_of_another_format_is_refused(tmp_path: Path, png: Path, name: str) -> None:
    assert_told_in_one_line(run("encode", png, tmp_path / name), name, "LCI files", ".lci")
    assert list(tmp_path.iterdir()) == [png]


@pytest.mark.parametrize(
    "arguments",
    [("--quality", 50, "--bpp", 1), ("--bpp", 1, "--psnr", 30), ("--bpp", "nan"), ("--quality", 0), ("--quality", 101)],
)
def test_rate_usage_errors(tmp_path: Path, png: Path, arguments: tuple[object, ...]) -> None:
    result = run("encode", png, tmp_path / "x.lci", *arguments)
    assert result.exit_code == USAGE
    assert result.stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    "arguments", [(), ("encode",), ("nothing",), ("info",), ("decode", "a", "b", "--max-pixels", 0)]
)
def test_usage_errors(arguments: tuple[object, ...]) -> None:
    assert run(*arguments).exit_code == USAGE


def test_a_rate_out_of_reach(tmp_path: Path, png: Path) -> None:
    assert_told_in_one_line(run("encode", png, tmp_path / "x.lci", "--bpp", 0.001))
    assert not (tmp_path / "x.lci").exists()


def test_the_best_there_is_comes_with_a_warning(tmp_path: Path, png: Path) -> None:
    result = run("encode", png, tmp_path / "x.lci", "--psnr", 200, "--model", "rgb-2")
    assert result.exit_code == OK
    assert "200 dB is out of reach: the best file of this image has " in result.stderr


def test_unknown_model(tmp_path: Path, png: Path) -> None:
    assert_told_in_one_line(run("encode", png, tmp_path / "x.lci", "--model", "no-such-model"), "no-such-model")


def test_missing_source(tmp_path: Path) -> None:
    for command in (("encode", "absent.png", tmp_path / "x.lci"), ("decode", "absent.lci", tmp_path / "x.png")):
        assert_told_in_one_line(run(*command), "absent")
    assert_told_in_one_line(run("info", "absent.lci"), "absent.lci")
    assert_told_in_one_line(run("check", "absent.lci"), "absent.lci")
    assert list(tmp_path.iterdir()) == []


def test_destination_format_is_checked_first(tmp_path: Path, lci: Path) -> None:
    assert_told_in_one_line(run("decode", lci, tmp_path / "out.xyz"), "xyz", "png")
    assert_told_in_one_line(run("decode", lci, tmp_path / "out"), "extension")


def test_picture_of_another_kind(tmp_path: Path) -> None:
    palette = tmp_path / "palette.png"
    Image.new("P", (8, 8)).save(palette)
    assert_told_in_one_line(run("encode", palette, tmp_path / "x.lci"), "palette.png", "palette")


@pytest.mark.parametrize("damage", ["foreign", "empty", "truncated", "flipped"])
def test_damaged_file(tmp_path: Path, coded: bytes, damage: str) -> None:
    flipped = bytearray(coded)
    flipped[len(coded) // 2] ^= 0x10
    data = {
        "foreign": b"PK\3\4 not ours",
        "empty": b"",
        "truncated": coded[: len(coded) // 2],
        "flipped": bytes(flipped),
    }
    path, out = tmp_path / "damaged.lci", tmp_path / "out.png"
    path.write_bytes(data[damage])
    assert_told_in_one_line(run("decode", path, out))
    assert list(tmp_path.iterdir()) == [path]
    checked = run("check", path)
    assert checked.exit_code == FOUND_WRONG
    assert checked.stdout.count("\n") == 1
    report = json.loads(run("check", path, "--json").stdout)
    assert report["ok"] is False
    assert report["message"]


def test_limits(tmp_path: Path, lci: Path) -> None:
    told = run("decode", lci, tmp_path / "out.png", "--max-pixels", 64 * 63)
    assert_told_in_one_line(told, "4,096", "4,032", "(--max-pixels)")
    assert run("decode", lci, tmp_path / "out.png", "--max-pixels", 64 * 64).exit_code == OK


def test_interrupted(tmp_path: Path, png: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("learned_codec.codec.encode_source", interrupt)
    result = run("encode", png, tmp_path / "x.lci")
    assert (result.exit_code, result.stderr) == (INTERRUPTED, "interrupted\n")
    assert list(tmp_path.iterdir()) == [png]


@pytest.mark.parametrize(("error", "said"), [(MemoryError(), "not enough memory"), (MemoryError("8 GiB"), "8 GiB")])
def test_not_enough_memory(
    tmp_path: Path, png: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("learned_codec.codec.encode_source", fail)
    assert_told_in_one_line(run("encode", png, tmp_path / "x.lci"), said)
    several = run("encode", png, png.with_name("absent.png"), tmp_path / "out")
    assert several.exit_code == ERROR
    assert said in several.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"picture.png", "out"}


def test_warning_is_one_line(tmp_path: Path, picture: np.ndarray) -> None:
    source = tmp_path / "wide.png"
    Image.fromarray(picture).save(source, icc_profile=b"Display P3, or so")
    assert run("encode", source, tmp_path / "x.lci").stderr == ""
    result = run("decode", tmp_path / "x.lci", tmp_path / "x.bmp")
    assert result.exit_code == OK
    assert result.stderr.startswith("warning: ")
    assert "profile" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_warning_names_its_file(tmp_path: Path, picture: np.ndarray, jobs: int) -> None:
    """Of many files, nobody could tell to which of them a warning without a name belongs."""
    opacity = np.where(np.arange(picture.shape[1]) < 40, 0, 255).astype(np.uint8)
    clear = Image.fromarray(np.dstack([picture, np.broadcast_to(opacity, picture.shape[:2])]))
    for name in ("a.png", "deep/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        clear.save(tmp_path / "in" / name, icc_profile=b"Display P3, or so")
    command = [sys.executable, "-m", "learned_codec", "encode", "in", "out", f"--jobs={jobs}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    told = done.stderr.splitlines()
    assert sorted(told) == [f"warning: {Path('in', name)}: {hidden.lost('alpha')}" for name in ("a.png", "deep/a.png")]


# --- many files, and folders ---


@pytest.fixture
def tree(tmp_path: Path, picture: np.ndarray) -> Path:
    """A folder of images, with things that are none."""
    folder = tmp_path / "in"
    for name in ("a.png", "deep/down/b.PNG", "deep/c.tif"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "d.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"none")
    return folder


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_folders_there_and_back(tmp_path: Path, tree: Path, jobs: int) -> None:
    done = run("encode", tree, tmp_path / "out", "--jobs", jobs)
    assert (done.exit_code, done.stderr) == (OK, f"{tree}: left out: 1 × names that end in .txt\n")
    assert names_in(tmp_path / "out") == {"a.lci", "deep/down/b.lci", "deep/c.lci"}
    assert done.stdout.count("64 × 64 pixels") == 3
    back = run("decode", tmp_path / "out", tmp_path / "back", "--format", "png")
    assert (back.exit_code, back.output) == (OK, "")
    assert names_in(tmp_path / "back") == {"a.png", "deep/down/b.png", "deep/c.png"}
    checked = run("check", tmp_path / "out")
    assert checked.exit_code == OK
    assert checked.stdout.count("1 tile, whole") == 3


def test_other_files_of_a_folder_are_told(tmp_path: Path, tree: Path) -> None:
    """Only those that belong to an image aren't: nobody would look for an image that wasn't encoded."""
    for name in ("a.png.aux.xml", "a.pgw", "deep/c.tfw", "deep/c.tif.ovr", "a.lci"):
        (tree / name).write_bytes(b"")
    (tree / "notes.txt").unlink()
    assert run("encode", tree, tmp_path / "out").stderr == ""
    for name in ("a.asc", "deep/b.nc", "deep/down/d.NC", "raw", "e.xml"):
        (tree / name).write_bytes(b"")
    (tree / "link").symlink_to(tree / "deep")
    told = run("encode", tree, tmp_path / "out2").stderr
    endings = "1 × names that end in .asc, 2 × names that end in .nc, 1 × names that end in .xml, 1 × names without an"
    assert endings in told
    assert f"1 × the link {tree / 'link'}" in told
    assert told.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.usefixtures("lci")
def test_pipes_in_a_folder_are_left_out(tmp_path: Path, tree: Path) -> None:
    """Nobody may ever write into them."""
    os.mkfifo(tree / "pipe.png")
    os.mkfifo(tmp_path / "pipe.lci")
    done = run("encode", tree, tmp_path / "out")
    assert done.exit_code == OK
    assert f"1 × {tree / 'pipe.png'}, which is not a file" in done.stderr
    assert run("check", tmp_path).stdout.count("whole") == 4


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, png: Path, lci: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """As that of a variable that isn't set."""
    monkeypatch.chdir(tmp_path)
    before = names_in(tmp_path)
    for arguments in (("encode", png, ""), ("decode", lci, ""), ("encode", "", "out.lci"), ("check", ""), ("info", "")):
        assert_told_in_one_line(run(*arguments), "the path is empty: ''")
    told = run("encode", "", png, "out/", "--jobs", jobs)
    assert (told.exit_code, told.stdout.count("64 × 64")) == (ERROR, 1)
    assert "the path is empty: ''" in told.stderr
    assert names_in(tmp_path) == before | {f"out/{png.stem}.lci"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions, and a user whom they concern")
def test_folders_that_cannot_be_read(tmp_path: Path, tree: Path, png: Path) -> None:
    closed = tree / "deep" / "down"
    closed.chmod(0)
    try:
        assert_told_in_one_line(run("encode", tree, tmp_path / "out"), "down", "Permission denied")
        assert_told_in_one_line(run("encode", png, closed / "a.lci"), "down", "Permission denied")
    finally:
        closed.chmod(0o755)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_listed(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could have images, so it isn't left out in silence."""
    listed = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "down":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert_told_in_one_line(run("encode", tree, tmp_path / "out"), str(tree / "deep" / "down"), "Permission denied")
    assert not (tmp_path / "out").exists()


def test_a_source_is_not_replaced(tmp_path: Path, picture: np.ndarray) -> None:
    """Neither under its own name nor through a link: what is written isn't the original."""
    path, link = tmp_path / "original", tmp_path / "link.lci"
    Image.fromarray(picture).save(path, "PNG")
    link.symlink_to(path)
    before = path.read_bytes()
    for target in (path, link):
        assert_told_in_one_line(run("encode", path, target, "--overwrite"), "is the source itself")
        with path.open("rb") as stream, pytest.raises(FileError, match="is the source itself"):
            learned_codec.encode_file(stream, target, overwrite=True)
    told = run("compare", path, "--picture", link, "--overwrite")
    assert_told_in_one_line(told, "is the source itself")
    assert path.read_bytes() == before
    assert run("encode", path, tmp_path / "a.lci").exit_code == OK
    told = run("decode", tmp_path / "a.lci", tmp_path / "a.lci", "--format", "png", "--overwrite")
    assert_told_in_one_line(told, "is the source itself")


@pytest.mark.parametrize("command", [("compare",), ("encode", "--overwrite")])
def test_an_lci_file_is_not_an_original(tmp_path: Path, lci: Path, command: tuple[str, ...]) -> None:
    target = [tmp_path / "b.lci"] if command[0] == "encode" else []
    assert_told_in_one_line(run(*command, lci, *target), f"error: {lci}: an LCI file already", "`decode`")
    assert not (tmp_path / "b.lci").exists()


def test_into_the_same_folder(tree: Path) -> None:
    before = names_in(tree)
    assert run("encode", tree, tree).exit_code == OK
    assert names_in(tree) == before | {"a.lci", "deep/down/b.lci", "deep/c.lci"}


def test_going_on_after_an_interruption(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    assert run("encode", tree / "a.png", f"{out}/").exit_code == OK
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.lci")}
    again = run("encode", tree, out)
    assert again.exit_code == ERROR
    assert "exists" in again.stderr
    assert "1 of 3 files failed" in again.stderr
    (out / "deep" / "c.lci").unlink()
    more = run("encode", tree, out, "--skip-existing")
    assert more.exit_code == OK
    assert more.stderr.endswith("\n2 of 3 files are done already\n")
    assert more.stdout.count("64 × 64 pixels") == 1
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert names_in(out) == {"a.lci", "deep/down/b.lci", "deep/c.lci"}
    assert run("encode", tree, out, "--skip-existing").exit_code == OK
    assert run("encode", tree, out).stderr.endswith("\n3 of 3 files failed\n")  # there are no others


def test_folders_that_do_not_fit(tmp_path: Path, tree: Path, lci: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_told_in_one_line(run("encode", empty, tmp_path / "out"), "empty", "no files", ".png")
    assert_told_in_one_line(run("decode", tree, tmp_path / "out"), "no files", ".lci")
    assert_told_in_one_line(run("check", empty), "empty", "no files")
    assert run("encode", tree, "-").exit_code == USAGE
    assert run("encode", tree, lci, lci).exit_code == USAGE  # which is no folder
    Image.new("RGB", (8, 8)).save(tree / "a.tif")
    twice = run("encode", tree, tmp_path / "out")
    assert twice.exit_code == USAGE
    assert "a.lci" in twice.stderr
    assert not (tmp_path / "out").exists()


def test_what_nobody_thought_of_costs_one_file(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = learned_codec.encode_file

    def fail(source: str, *arguments: object, **options: object) -> object:
        if "c.tif" in source:
            raise ZeroDivisionError("deep inside")
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(learned_codec, "encode_file", fail)
    done = run("encode", tree, tmp_path / "out")
    assert done.exit_code == ERROR
    assert f"error: {tree / 'deep' / 'c.tif'}: unexpected ZeroDivisionError: deep inside\n" in done.stderr
    assert names_in(tmp_path / "out") == {"a.lci", "deep/down/b.lci"}


def test_bands_by_name(tmp_path: Path, picture: np.ndarray) -> None:
    source, out = tmp_path / "a.tif", tmp_path / "b.tif"
    with geotiffs.write(source, picture.transpose(2, 0, 1), transform=Affine.scale(2)) as raster:
        raster.descriptions = ("B02", "B03", "B04")
    assert run("encode", source, tmp_path / "a.lci").exit_code == OK
    assert run("decode", tmp_path / "a.lci", out, "--bands", "B04, 1").exit_code == OK
    with rasterio.open(out) as raster:
        assert raster.descriptions == ("B04", "B02")
    assert_told_in_one_line(run("decode", tmp_path / "a.lci", tmp_path / "c.tif", "--bands", "B08"), "B08", "B02")


def test_a_reduced_image(tmp_path: Path, lci: Path, coded: bytes) -> None:
    assert run("decode", lci, tmp_path / "a.png", "--scale", "1/4").exit_code == OK
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), learned_codec.decode(coded, scale=1 / 4))
    assert run("decode", lci, tmp_path / "b.png", "--scale", "1/3").exit_code == USAGE


# --- signals and pipes, with real processes ---


def start(*arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "learned_codec", *map(str, arguments)]
    usual = {"stderr": subprocess.PIPE, "env": environment, "start_new_session": True}
    return subprocess.Popen(command, **(usual | options))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that takes a while."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.fromarray(np.tile(demo.landscape(256, 256), (8, 8, 1))).save(path)
    return path


def at_work(folder: Path) -> None:
    """Wait until a file is being written into a folder."""
    until = time.monotonic() + 60
    while not list(folder.glob(".learned-codec*/*/content")):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("number", "said"), [("SIGINT", "interrupted"), ("SIGTERM", "ended by SIGTERM"), ("SIGHUP", "ended by SIGHUP")]
)
def test_signals_leave_nothing_behind(tmp_path: Path, large: Path, number: str, said: str) -> None:
    process = start("encode", large, tmp_path / "x.lci", "--effort", 3)
    at_work(tmp_path)
    process.send_signal(getattr(signal, number))
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, number)
    assert told.decode() == said + "\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_nohup_is_respected(tmp_path: Path, png: Path) -> None:
    code = (
        "import signal, runpy, sys, os; signal.signal(signal.SIGHUP, signal.SIG_IGN); sys.argv[0] = 'learned-codec'; "
    )
    code += "import learned_codec.codec as c; e = c.encode_source; "
    code += "c.encode_source = lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), e(*a, **k))[1]; "
    code += "runpy.run_module('learned_codec', run_name='__main__')"
    command = [sys.executable, "-c", code, "encode", str(png), str(tmp_path / "x.lci")]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert (done.returncode, done.stderr) == (OK, b"")


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_signals_end_all_jobs(tmp_path: Path, large: Path, number: str) -> None:
    sources = [tmp_path / "in" / f"{i}.png" for i in range(4)]
    sources[0].parent.mkdir()
    for source in sources:
        source.symlink_to(large)
    process = start("encode", tmp_path / "in", tmp_path / "out", "--effort", 3, "--jobs", 2)
    at_work(tmp_path / "out")
    begun = time.monotonic()
    if number == "SIGINT":  # from a terminal, all hear it
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)  # which also waits for who else has standard error
    assert time.monotonic() - begun < 20  # who waits for a tile of this effort takes longer
    assert process.returncode == 128 + getattr(signal, number)
    assert told.decode().count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("command", ["encode", "decode", "info", "check", "models", "many", "help"])
def test_a_pipe_that_nobody_reads(lci: Path, png: Path, tmp_path: Path, command: str, both: bool) -> None:
    """Ends as other tools do. With `both`, standard error goes the same way."""
    arguments = {
        "encode": ("encode", png, "-"),
        "decode": ("decode", lci, "-"),
        "info": ("info", lci),
        "check": ("check", lci, lci),
        "models": ("models", "--json"),
        "many": ("encode", png, lci.parent / "absent.png", f"{tmp_path}/out/", "--jobs", "2"),
        "help": ("info", "--help"),
    }[command]
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*arguments, stdout=writing, **({"stderr": writing} if both else {}))
    os.close(writing)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGPIPE
    if not both:
        assert told == b""


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_named_pipe_that_nobody_reads_on(tmp_path: Path, lci: Path) -> None:
    """It isn't what is printed, so it is an error."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start("decode", lci, pipe, "--format", "tif")
    with pipe.open("rb"):
        pass
    _, told = process.communicate(timeout=60)
    assert process.returncode == ERROR
    assert "Broken pipe" in told.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
@pytest.mark.parametrize("command", ["encode", "decode", "info"])
def test_standard_output_onto_a_full_disk(lci: Path, png: Path, command: str) -> None:
    arguments = {"encode": (png, "-"), "decode": (lci, "-"), "info": (lci,)}[command]
    with Path("/dev/full").open("wb") as full:
        process = start(command, *arguments, stdout=full)
        _, told = process.communicate(timeout=60)
    lines = told.decode().splitlines()
    assert process.returncode == ERROR
    assert len(lines) == 1
    assert "No space left" in lines[0]


def test_nothing_reaches_the_terminal_but_what_it_shows(tmp_path: Path) -> None:
    name = tmp_path / "a\x1b[2J\x07 b.lci"
    name.write_bytes(b"foreign\x1b[2J")
    for command in ("info", "check"):
        told = run(command, name)
        assert told.exit_code in (ERROR, FOUND_WRONG)
        assert "\x1b" not in told.output
        assert "\x07" not in told.output
    assert terminal.line("a\ud800\x1b[31m\n b\u202e") == "a\\ud800\\x1b[31m b\\u202e"
    assert len(terminal.line("x" * 10**6)) < 2000


# --- info, check, selftest ---


def test_info(lci: Path, coded: bytes) -> None:
    told = run("info", lci)
    assert told.exit_code == OK
    assert dict(line.split(maxsplit=1) for line in told.stdout.splitlines() if " " in line)["width"] == "64"
    assert json.loads(run("info", lci, "--json").stdout) == learned_codec.inspect(coded).to_dict()
    assert json.loads(run("info", "-", "--json", stdin=coded).stdout)["bytes"] == len(coded)


def test_check(lci: Path) -> None:
    result = run("check", lci)
    assert (result.exit_code, result.stderr) == (OK, "")
    assert json.loads(run("check", lci, "--json").stdout)["ok"] is True


def test_many_files_are_looked_at(tmp_path: Path, lci: Path, coded: bytes) -> None:
    broken, foreign, absent = tmp_path / "broken.lci", tmp_path / "foreign.lci", tmp_path / "absent.lci"
    broken.write_bytes(coded[:-40])
    foreign.write_bytes(b"foreign")
    told = run("check", lci, broken, foreign)
    assert told.exit_code == FOUND_WRONG
    assert [line.split(":")[0] for line in told.stdout.splitlines()] == [str(lci), str(broken), str(foreign)]
    told = run("check", lci, absent, broken)
    assert told.exit_code == ERROR
    assert len(told.stdout.splitlines()) == 2
    assert "absent.lci" in told.stderr
    as_json = [json.loads(line) for line in run("check", lci, broken, "--json").stdout.splitlines()]
    assert [(found["file"], found["ok"]) for found in as_json] == [(str(lci), True), (str(broken), False)]
    told = run("info", lci, foreign, lci)
    assert told.exit_code == ERROR
    assert told.stdout.count("width") == 2
    assert "foreign.lci" in told.stderr
    as_json = [json.loads(line) for line in run("info", lci, lci, "--json").stdout.splitlines()]
    assert as_json == [{"file": str(lci)} | learned_codec.inspect(lci).to_dict()] * 2


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = learned_codec.list_models()
    result = run("models")
    assert result.exit_code == OK, result.output
    first, *lines = result.stdout.splitlines()
    assert first.split("  ")[0] == "name"
    assert [text.split()[:3] for text in lines] == [[card.name, str(card.bands), card.weights_id] for card in cards]
    said = json.loads(run("models", "--json").stdout)
    assert [(model["name"], Path(model["path"])) for model in said] == [(card.name, card.path) for card in cards]
    monkeypatch.setenv("LEARNED_CODEC_MODELS", str(tmp_path / "absent.safetensors"))
    assert_told_in_one_line(run("models"), "absent")


def test_selftest() -> None:
    result = run("selftest")
    assert result.exit_code == OK, result.output
    assert result.stdout
    assert all(line.startswith("ok ") for line in result.stdout.splitlines())
    said = json.loads(run("selftest", "--json").stdout)
    assert all(said["results"].values())
    assert said["versions"]["learned_codec"] == learned_codec.__version__


def test_selftest_of_a_device_tells_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learned_codec.selftest.run", lambda *_: [("first", True)])
    monkeypatch.setattr("learned_codec.selftest._SIDE", 64)
    lines = run("selftest", "--device", "cpu").stdout.splitlines()[1:]
    assert len(lines) == 8
    assert all(float(line.split()[0]) >= 0 for line in lines)
    speed = json.loads(run("selftest", "--device", "cpu", "--json").stdout)["speed"]
    assert speed["encode"] > 0
    assert speed["decode: transform, ms"] > 0


def test_selftest_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learned_codec.selftest.run", lambda *_: [("first", True), ("second", False)])
    result = run("selftest")
    assert result.exit_code == FOUND_WRONG
    assert result.stdout == "ok      first\nFAILED  second\n"


# --- train ---


@pytest.mark.torch
def test_train_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer has tests of its own; here, that what was typed is what it is told."""
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []
    monkeypatch.setattr("learned_codec.training.trainer.train", lambda *args, **kwargs: calls.append((args, kwargs)))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    assert run("train", recipe, "--data", tmp_path).exit_code == OK
    options = (
        "--out",
        tmp_path / "run",
        "--resume",
        "--start",
        recipe,
        "--minutes",
        1.5,
        "--device",
        "cuda",
        "--compile",
    )
    assert run("train", recipe, "--data", tmp_path, *options).exit_code == OK
    plain = {
        "out": Path("runs/recipe"),
        "resume": False,
        "start": None,
        "minutes": None,
        "device": "cpu",
        "compile": False,
    }
    full = {
        "out": tmp_path / "run",
        "resume": True,
        "start": str(recipe),
        "minutes": 1.5,
        "device": "cuda",
        "compile": True,
    }
    assert calls == [((recipe, tmp_path), plain), ((recipe, tmp_path), full)]


def test_train_needs_a_recipe_and_data(tmp_path: Path) -> None:
    assert run("train", tmp_path / "absent.toml", "--data", tmp_path).exit_code == USAGE
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    assert run("train", recipe).exit_code == USAGE


# --- demo ---


def test_demo(tmp_path: Path, png: Path, picture: np.ndarray) -> None:
    out = tmp_path / "out"
    result = run("demo", png, "--out", out)
    assert result.exit_code == OK, result.output
    for word in ("learned_codec", "JPEG 2000", "JPEG", "bpp", "dB", "comparison.png"):
        assert word in result.stdout
    with Image.open(out / "comparison.png") as sheet:
        assert sheet.width > 2 * 64
    data = (out / "demo.lci").read_bytes()
    np.testing.assert_array_equal(np.array(Image.open(out / "original.png")), picture)
    np.testing.assert_array_equal(np.array(Image.open(out / "decoded.png")), learned_codec.decode(data))

    assert_told_in_one_line(run("demo", png, "--out", out), "original.png", "exists")
    again = run("demo", png, "--out", out, "--overwrite", "--quality", 90, "--json")
    assert again.exit_code == OK
    ours, *rivals = json.loads(again.stdout)["contenders"]
    assert ours["bytes"] == (out / "demo.lci").stat().st_size > len(data)
    assert [row["name"] for row in rivals] == ["JPEG 2000", "JPEG"]


def test_demo_needs_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = demo.landscape(48, 80)
    monkeypatch.setattr("learned_codec.demo.landscape", lambda: small)
    assert run("demo", "--out", tmp_path / "out").exit_code == OK
    with Image.open(tmp_path / "out" / "original.png") as original:
        assert original.size == (80, 48)


def test_demo_of_one_band(tmp_path: Path, picture: np.ndarray) -> None:
    grey = np.ascontiguousarray(picture[:, :, 1])
    result = demo.run(grey, tmp_path, rate={"quality": 60})
    assert result.raw_bytes == 64 * 64
    assert np.array(Image.open(tmp_path / "decoded.png")).shape == (64, 64)


def test_demo_folder_that_is_a_file(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(FileError, match="file"):
        demo.run(picture, path, rate={"quality": 60})


def test_rivals_keep_to_the_size() -> None:
    scene = demo.landscape(96, 128)
    for size in (1500, 3000, 6000):
        assert len(demo._jpeg(scene, size)) <= size
        assert 0.8 * size <= len(demo._jpeg2000(scene, size)) <= size


def test_landscape() -> None:
    scene = demo.landscape(96, 128)
    assert (scene.shape, scene.dtype) == ((96, 128, 3), np.uint8)
    assert scene.std() > 30  # something to see
    np.testing.assert_array_equal(scene, demo.landscape(96, 128))


# --- help ---


def test_help_and_version() -> None:
    assert run("--version").stdout.strip().endswith(learned_codec.__version__)
    told = run("--help").stdout
    for word in ("encode", "decode", "info", "check", "selftest", "train", "demo", "Exit codes"):
        assert word in told
    for command in ("encode", "decode", "info", "check", "selftest", "train", "demo"):
        assert run(command, "--help").exit_code == OK


def test_readme_names_real_commands() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    lines = [line.split() for line in readme.splitlines() if line.startswith("learned-codec ")]
    assert lines
    assert {line[1] for line in lines} <= set(main.commands)


@pytest.mark.parametrize("command", ["info", "check", "decode"])
def test_an_error_names_its_file(tmp_path: Path, png: Path, command: str) -> None:
    result = run(command, png, *([tmp_path / "out.png"] if command == "decode" else []))
    if command == "check":
        assert result.exit_code == FOUND_WRONG
        assert result.stdout.startswith(f"{png}: not an LCI file")
    else:
        assert_told_in_one_line(result, f"error: {png}: not an LCI file")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_forgotten_destination(lci: Path, command: str) -> None:
    result = run(command, lci)
    assert result.exit_code == USAGE
    assert f"{lci} is the only file: name the destination DST, too." in result.stderr
