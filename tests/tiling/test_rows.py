"""Rows of tiles encoded by other processes: the same bytes, from any source, and nothing left behind by errors."""

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

import learned_codec
from learned_codec.errors import InvalidInputError, ProcessLostError
from learned_codec.values.arrays import ArraySource
from tests import geotiffs, work
from tests.integrations.test_numcodecs import chunk

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


class Sending(Executor):
    """Sends calls and results as other processes would get them, but stays in this one."""

    def __init__(self) -> None:
        self.calls = self.most = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        assert not options
        self.calls += 1
        done: Future[Any] = Future()
        sent = pickle.dumps((function, arguments))
        self.most = max(self.most, len(sent))
        call, numbers = pickle.loads(sent)  # noqa: S301 - our own bytes
        try:
            done.set_result(pickle.loads(pickle.dumps(call(*numbers))))  # noqa: S301
        except Exception as error:  # noqa: BLE001 - what an executor does
            done.set_exception(error)
        return done


def picture(path: Path) -> Path:
    """A photograph with a black border and soft edges."""
    values = np.ascontiguousarray(chunk(3, 200, 150, dtype="uint8").transpose(1, 2, 0))
    values[:, :40] = 0
    opacity = np.full((200, 150), 255, np.uint8)
    opacity[50:60, 60:] = 99
    Image.fromarray(np.dstack([values, opacity])).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def scene(path: Path, dtype: str = "uint16", **profile: Any) -> Path:
    values = chunk(4, 200, 150).astype(dtype)
    values[:, :70, :60] = profile.get("nodata") or 0
    with geotiffs.write(path, values, **profile):
        return path


def radar(path: Path) -> Path:
    values = np.random.default_rng(3).gamma(4, 0.05, (2, 200, 150)).astype(np.float32)
    values[:, 150:, 100:] = np.nan
    with geotiffs.write(path, values):
        return path


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "a picture": (picture, {"quality": 40}),
    "a scene": (lambda path: scene(path, nodata=0), {"quality": 70}),
    "a scene by the rgb model's rules": (lambda path: scene(path, "uint8"), {"nodata": 0}),
    "wide integers": (lambda path: scene(path, "int32", nodata=0), {"quality": 50}),
    "radar": (radar, {"kind": "sar", "unit": "power"}),
    "a profile": (lambda path: scene(path), {"profile": "s2-l2a"}),
    "a bound": (lambda path: scene(path, nodata=0), {"max_error": 2}),
    "a bound, and voids": (lambda path: scene(path), {"max_error": 2}),
    "without loss": (lambda path: scene(path), {"max_error": 0}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::learned_codec.LearnedCodecWarning")
def test_the_bytes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    make, options = CASES[case]
    source = make(tmp_path / "scene.tif")
    monkeypatch.chdir(tmp_path)
    executor, progress = Sending(), []
    learned_codec.encode_file(source.name, "one.lci", tile_size=64, **options)
    learned_codec.encode_file(
        source.name,
        "many.lci",
        tile_size=64,
        executor=executor,
        progress=lambda *told: progress.append(told),
        **options,
    )
    assert Path("many.lci").read_bytes() == Path("one.lci").read_bytes()
    assert executor.calls % 4 == 0  # rows of tiles; a second time where the RGB model falls short
    assert executor.calls > 0
    assert progress[-1] == (12, 12)


def test_a_source_of_ones_own_is_sent(tmp_path: Path) -> None:
    source = ArraySource(chunk(3, 130, 150), planar=True, nodata=0)
    learned_codec.encode_file(source, tmp_path / "one.lci", tile_size=64)
    learned_codec.encode_file(source, tmp_path / "many.lci", tile_size=64, executor=Sending())
    assert (tmp_path / "many.lci").read_bytes() == (tmp_path / "one.lci").read_bytes()


@pytest.mark.slow
def test_processes(tmp_path: Path) -> None:
    source = scene(tmp_path / "scene.tif", nodata=0)
    learned_codec.encode_file(source, tmp_path / "one.lci", tile_size=64)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        learned_codec.encode_file(source, tmp_path / "many.lci", tile_size=64, executor=pool)
        assert (tmp_path / "many.lci").read_bytes() == (tmp_path / "one.lci").read_bytes()
        pool.submit(work.trouble, 5)  # kills its process
        with pytest.raises(ProcessLostError):
            learned_codec.encode_file(source, tmp_path / "lost.lci", tile_size=64, executor=pool)
    assert not (tmp_path / "lost.lci").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # distributed's own
def test_a_cluster_writes_one_file(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    xarray = pytest.importorskip("xarray")
    from learned_codec.integrations.xarray import to_lci

    source = scene(tmp_path / "scene.tif", nodata=0)
    learned_codec.encode_file(source, tmp_path / "one.lci", tile_size=64)
    array = xarray.DataArray(rasterio.open(source).read(), dims=("band", "y", "x"), attrs={"_FillValue": 0})
    to_lci(array, tmp_path / "array.lci", tile_size=64)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        workers = client.get_executor()
        learned_codec.encode_file(source, tmp_path / "many.lci", tile_size=64, executor=workers)
        to_lci(array.chunk({"y": 70}), tmp_path / "lazy.lci", tile_size=64, executor=workers)
    assert (tmp_path / "many.lci").read_bytes() == (tmp_path / "one.lci").read_bytes()
    assert (tmp_path / "lazy.lci").read_bytes() == (tmp_path / "array.lci").read_bytes()


@pytest.mark.parametrize("options", [{"bpp": 2}, {"psnr": 40}, {"effort": 1}])
def test_what_needs_all_tiles_at_once_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    source = scene(tmp_path / "scene.tif")
    with pytest.raises(InvalidInputError, match="executor"):
        learned_codec.encode_file(source, tmp_path / "a.lci", executor=Sending(), **options)
    assert not (tmp_path / "a.lci").exists()


def test_what_other_processes_cannot_read_is_refused(tmp_path: Path) -> None:
    with scene(tmp_path / "scene.tif").open("rb") as file, pytest.raises(InvalidInputError, match="path"):
        learned_codec.encode_file(file, tmp_path / "a.lci", executor=Sending())
    with pytest.raises(InvalidInputError, match="get_executor"):
        learned_codec.encode_file(tmp_path / "scene.tif", tmp_path / "a.lci", executor=object())


class Never(Executor):
    """Does nothing but the first call."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        self.futures.append(Sending().submit(function, *arguments, **options) if not self.futures else Future())
        return self.futures[-1]


def test_rows_that_have_not_begun_are_dropped(tmp_path: Path) -> None:
    source, executor = scene(tmp_path / "scene.tif", nodata=0), Never()

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned_codec.encode_file(source, tmp_path / "a.lci", tile_size=64, executor=executor, progress=stop)
    assert [future.cancelled() for future in executor.futures] == [False, True, True, True]
    assert not (tmp_path / "a.lci").exists()


@pytest.mark.parametrize("rate", [{"quality": 60}, {"max_error": 1}])
@pytest.mark.parametrize("lazy", [True, False])
def test_arrays_are_not_sent_but_computed_once(tmp_path: Path, rate: dict[str, float], lazy: bool) -> None:
    pytest.importorskip("dask")
    xarray = pytest.importorskip("xarray")
    from learned_codec.integrations.xarray import to_lci

    array = xarray.DataArray(chunk(3, 200, 150), dims=("band", "y", "x"), attrs={"_FillValue": 0})
    to_lci(array, tmp_path / "one.lci", tile_size=64, **rate)
    computed = []
    if lazy:
        array = array.chunk({"y": 70})
        array = array.copy(data=array.data.map_blocks(lambda x: (computed.append(0), x)[1], meta=array.data._meta))
    executor = Sending()
    to_lci(array, tmp_path / "many.lci", tile_size=64, executor=executor, **rate)
    assert (tmp_path / "many.lci").read_bytes() == (tmp_path / "one.lci").read_bytes()
    assert len(computed) == (3 if lazy else 0)
    assert executor.most < 20_000 < array.nbytes
