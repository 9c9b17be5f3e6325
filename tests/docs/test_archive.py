"""The archive example on a real cluster: the same bytes as the command line's, nothing lost, nothing done twice."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import learned_codec
from learned_codec.cli import main as command_line

distributed = pytest.importorskip("distributed")
zarr = pytest.importorskip("zarr", minversion="3.0")

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # distributed's and rasterio's own, not ours


@pytest.fixture
def archive() -> ModuleType:
    return importlib.import_module("examples.archive")


def make(folder: Path, count: int, *, side: int) -> list[Path]:
    """Scenes of two bands with a hole, GeoTIFFs and a JPEG 2000 file."""
    folder.mkdir()
    for seed in range(count):
        values = np.random.default_rng(seed).normal(2000, 100, (2, side, side)).astype(np.uint16)
        values[:, :20, :30] = 0
        driver, name, lossless = ("GTiff", f"s{seed}.tif", {})
        if seed == 2:
            driver, name, lossless = "JP2OpenJPEG", "s2.jp2", {"quality": 100, "reversible": "YES"}
        with rasterio.open(
            folder / name, "w", driver=driver, height=side, width=side, count=2, dtype="uint16", nodata=0,
            crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **lossless,
        ) as raster:  # fmt: skip
            raster.write(values)
    return sorted(path for path in folder.iterdir() if path.suffix in (".tif", ".jp2"))


def test_a_cluster(archive: ModuleType, tmp_path: Path) -> None:
    files = make(tmp_path / "scenes", 3, side=100)
    out, store = tmp_path / "out", tmp_path / "store.zarr"
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        assert archive.archive(files, out, client, quality=60, as_zarr=False) > 0
        assert archive.archive(files, store, client, quality=60, as_zarr=True) > 0
        # The command line does the same, in processes of its own.
        told = CliRunner().invoke(
            command_line, ["encode", *map(str, files), str(tmp_path / "line"), "--quality", "60", "--jobs", "2"]
        )
        assert told.exit_code == 0
        assert {p.name: p.read_bytes() for p in out.iterdir()} == {
            p.name: p.read_bytes() for p in (tmp_path / "line").iterdir()
        }
        # What is there isn't done again; what is missing or damaged is.
        (out / "s1.lci").unlink()
        chunks = {path.parents[3].name: path for path in store.rglob("c/0/0/0")}
        chunks["s0"].unlink()
        chunks["s1"].write_bytes(chunks["s1"].read_bytes()[:-9])
        for name in ("s0", "s1"):
            zarr.open_group(store)[name].attrs["complete"] = False
        before = written(out) | written(store)
        archive.archive(files, out, client, quality=60, as_zarr=False)
        archive.archive(files, store, client, quality=60, as_zarr=True)
        # One scene that can't be read costs the others nothing.
        (tmp_path / "broken.tif").write_bytes(files[0].read_bytes()[:200])
        for as_zarr, target in ((False, tmp_path / "out2"), (True, tmp_path / "store2.zarr")):
            with pytest.raises(Exception, match="broken.tif"):
                archive.archive([tmp_path / "broken.tif", files[0]], target, client, quality=60, as_zarr=as_zarr)
            assert (target / ("s0" if as_zarr else "s0.lci")).exists()
    after = written(out) | written(store)
    changed = {str(path.relative_to(tmp_path)) for path in after if before.get(path) != after[path]}
    assert changed == {
        "out/s1.lci",
        *(f"store.zarr/{name}/{part}" for name in ("s0", "s1") for part in ("c/0/0/0", "zarr.json")),
    }
    as_scenes(files, store)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("as_zarr", [False, True])
def test_a_kill_loses_nothing(tmp_path: Path, as_zarr: bool) -> None:
    """All processes of a cluster are killed at once, in the middle; then the same command goes on."""
    files = make(tmp_path / "scenes", 3 if as_zarr else 4, side=520 if as_zarr else 200)
    out = tmp_path / "out"
    kind = ["--zarr"] if as_zarr else []
    command = [sys.executable, "examples/archive.py", str(tmp_path / "scenes"), str(out), *kind]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    try:
        while len(coded(out)) < 2 and running.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    before = {path: stamp for path, stamp in written(out).items() if path in coded(out)}
    assert before
    assert all(learned_codec.check(path).ok for path in before)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=240)
    after = written(out)
    assert {path: after[path] for path in before} == before
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]
    if as_zarr:
        as_scenes(files, out)
    else:
        assert {path.name for path in out.iterdir()} == {f"{path.stem}.lci" for path in files}
        assert all(learned_codec.check(path).ok for path in out.iterdir())


def coded(out: Path) -> set[Path]:
    """The files and chunks that are there and complete."""
    return {*out.glob("*.lci"), *(path for path in out.glob("*/c/*/*/*") if path.name.isdecimal())}


def written(folder: Path) -> dict[Path, int]:
    """All files with the time of their last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def as_scenes(files: list[Path], store: Path) -> None:
    """Assert that a store has all scenes: missing pixels exactly, the others nearly."""
    group = zarr.open_group(store, mode="r")
    for path in files:
        with rasterio.open(path) as raster:
            values = raster.read()
        found = group[path.stem][:]
        np.testing.assert_array_equal(found == 0, values == 0)
        assert np.abs(found.astype(float) - values).mean() < 60
        assert group[path.stem].attrs["complete"]
