"""The archive example on a real cluster: the same bytes as the command line's, nothing lost, nothing done twice."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import rasterio

import learned_codec

distributed = pytest.importorskip("distributed")
zarr = pytest.importorskip("zarr", minversion="3.0")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # distributed's and rasterio's own, not ours


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(3):
        values = np.random.default_rng(seed).normal(2000, 100, (2, 90, 100)).astype(np.uint16)
        values[:, :20, :30] = 0
        with rasterio.open(
            folder / f"s{seed}.tif", "w", driver="GTiff", height=90, width=100, count=2, dtype="uint16", nodata=0,
            crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
        ) as raster:  # fmt: skip
            raster.write(values)
    return folder


def test_a_cluster(scenes: Path, tmp_path: Path) -> None:
    archive = importlib.import_module("examples.archive")
    files = sorted(scenes.glob("*.tif"))
    out, store = tmp_path / "out", tmp_path / "store.zarr"
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        assert archive.archive(files, out, client, quality=60, as_zarr=False) > 0
        assert archive.archive(files, store, client, quality=60, as_zarr=True) > 0
        learned_codec.encode_file(files[0], tmp_path / "alone.lci", quality=60)
        assert (out / "s0.lci").read_bytes() == (tmp_path / "alone.lci").read_bytes()
        # As a kill would leave it: one file missing, one scene of the store not marked.
        (out / "s1.lci").unlink()
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        zarr.open_group(store)["s2"].attrs["complete"] = False
        archive.archive(files, out, client, quality=60, as_zarr=False)
        archive.archive(files, store, client, quality=60, as_zarr=True)
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert after.keys() == {"s0.lci", "s1.lci", "s2.lci"}
    assert {name: after[name] for name in before} == before
    group = zarr.open_group(store, mode="r")
    for path in files:
        with rasterio.open(path) as raster:
            values = raster.read()
        found = group[path.stem][:]
        np.testing.assert_array_equal(found == 0, values == 0)
        assert np.abs(found.astype(float) - values).mean() < 60
        assert group[path.stem].attrs["complete"]
