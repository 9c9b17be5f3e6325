"""A folder of scenes to LCI files, or to a Zarr store, by a cluster of processes that may be killed at any moment.

python examples/archive.py SCENES OUT [--workers 2] [--zarr] [--quality 60]

To files: each scene goes to one worker, which encodes it with one thread. The files are the same, byte for byte, as
those of `learned-codec encode SCENES/*.tif OUT`. They appear whole or not at all, so a file that is there is done.

To Zarr: each row of chunks goes to one worker, so scenes may be larger than memory, and a single one is encoded by all
workers. A chunk has checksums, so one that is there and whole is done.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import distributed
import rasterio
import zarr
from rasterio.windows import Window

import learned_codec
from learned_codec.integrations.zarr import LciCodec

CHUNK = 512
"""The most rows and columns of a chunk in the Zarr store."""

SUFFIXES = (".tif", ".tiff", ".jp2")


def to_file(scene: Path, out: Path, quality: float) -> int:
    """Encode one scene to a file unless it is there. Returns the pixels that were coded."""
    target = out / f"{scene.stem}.lci"
    if target.exists():
        return 0
    info = learned_codec.encode_file(scene, target, quality=quality, threads=1)
    return info.height * info.width


def begin(scene: Path, store: Path, quality: float) -> list[int]:
    """Make the array of a scene in a Zarr store unless it is there. Returns the first rows of its rows of chunks."""
    group = zarr.open_group(store, mode="a")
    if scene.stem not in group:
        with rasterio.open(scene) as raster:
            crs = raster.crs.to_wkt() if raster.crs else ""
            group.create_array(
                scene.stem,
                shape=(raster.count, raster.height, raster.width),
                chunks=(raster.count, min(CHUNK, raster.height), min(CHUNK, raster.width)),
                dtype=raster.dtypes[0],
                serializer=LciCodec(quality=quality),
                compressors=None,
                fill_value=raster.nodata or 0,
                dimension_names=("band", "y", "x"),
                attributes={"crs": crs, "transform": list(raster.transform)[:6]},
            )
    array = zarr.open_array(store / scene.stem, mode="r")
    return [] if array.attrs.get("complete") else list(range(0, array.shape[1], array.chunks[1]))


def to_zarr(scene: Path, store: Path, first: int) -> int:
    """Encode those chunks of a row that aren't there and whole. Returns the pixels that were coded."""
    array = zarr.open_array(store / scene.stem, mode="r+")
    _, height, width = array.chunks
    rows, coded = min(height, array.shape[1] - first), 0
    with rasterio.open(scene) as raster:
        for left in range(0, array.shape[2], width):
            columns = min(width, array.shape[2] - left)
            chunk = store / scene.stem / array.metadata.encode_chunk_key((0, first // height, left // width))
            if not (chunk.exists() and learned_codec.check(chunk).ok):
                window = Window(left, first, columns, rows)
                array[:, first : first + rows, left : left + columns] = raster.read(window=window)
                coded += rows * columns
    return coded


def archive(scenes: list[Path], out: Path, client: distributed.Client, *, quality: float, as_zarr: bool) -> float:
    """Encode scenes by a cluster. Returns megapixels a second; raises the first error after all others are done."""
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    if as_zarr:
        done = _all_to_zarr(scenes, out, client, quality)
    else:
        done = [client.submit(to_file, scene, out, quality, pure=False) for scene in scenes]
        distributed.wait(done)
    return sum(client.gather(done)) / 1e6 / (time.perf_counter() - start)


def _all_to_zarr(
    scenes: list[Path], store: Path, client: distributed.Client, quality: float
) -> list[distributed.Future]:
    """Encode scenes row by row, and mark those that are complete. Returns the results of all rows."""
    zarr.open_group(store, mode="a")  # before the workers find that there is none
    begun = {scene: client.submit(begin, scene, store, quality, pure=False) for scene in scenes}
    distributed.wait(list(begun.values()))
    failed = [future for future in begun.values() if future.status == "error"]
    rows = {
        scene: [client.submit(to_zarr, scene, store, first, pure=False) for first in future.result()]
        for scene, future in begun.items()
        if future not in failed
    }
    for scene, futures in rows.items():
        distributed.wait(futures)
        if futures and all(future.status == "finished" for future in futures):
            zarr.open_array(store / scene.stem, mode="r+").attrs["complete"] = True
    return [*failed, *(future for futures in rows.values() for future in futures)]


@click.command()
@click.argument("scenes", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option("--zarr", "as_zarr", is_flag=True, help="One Zarr store instead of a file for each scene.")
@click.option("--quality", type=float, default=60.0, show_default=True)
def main(scenes: Path, out: Path, workers: int, as_zarr: bool, quality: float) -> None:
    """Encode all GeoTIFFs and JPEG 2000 files in SCENES into OUT."""
    files = sorted(path for path in scenes.iterdir() if path.suffix.lower() in SUFFIXES)
    if len({path.stem for path in files}) < len(files):
        raise click.UsageError("several scenes have the same name but for its end.")
    settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        speed = archive(files, out, client, quality=quality, as_zarr=as_zarr)
    print(f"{len(files)} scenes, {workers} workers: {speed:.2f} megapixels a second")


if __name__ == "__main__":
    main()
