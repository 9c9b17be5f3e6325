"""A folder of scenes to LCI files, or to a Zarr store, by a cluster of processes that may be killed at any moment.

python examples/archive.py SCENES OUT [--workers 2] [--zarr] [--quality 60]

Each scene goes to one worker, which encodes it with one thread. The files are the same, byte for byte, as those of
`learned-codec encode SCENES/*.tif OUT`. What is done already isn't done again: LCI files appear whole or not at all,
and a scene in the Zarr store is marked when its last chunk is there.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import distributed
import rasterio
import zarr

import learned_codec
from learned_codec.integrations.zarr import LciCodec


def to_file(scene: Path, out: Path, quality: float) -> int:
    """Encode one scene to a file unless it is there. Returns the pixels that were coded."""
    target = out / f"{scene.stem}.lci"
    if target.exists():
        return 0
    info = learned_codec.encode_file(scene, target, quality=quality, threads=1)
    return info.height * info.width


def to_zarr(scene: Path, store: Path, quality: float) -> int:
    """Encode one scene to an array of a Zarr store unless it is there. Returns the pixels that were coded."""
    group = zarr.open_group(store, mode="a")
    if scene.stem in group and group[scene.stem].attrs.get("complete"):
        return 0
    with rasterio.open(scene) as raster:
        values = raster.read()
        array = group.create_array(
            scene.stem,
            shape=values.shape,
            chunks=(values.shape[0], min(512, values.shape[1]), min(512, values.shape[2])),
            dtype=values.dtype,
            serializer=LciCodec(quality=quality),
            compressors=None,
            fill_value=raster.nodata or 0,
            dimension_names=("band", "y", "x"),
            overwrite=True,
        )
        array[:] = values
        array.attrs.update({"crs": raster.crs.to_wkt() if raster.crs else "", "transform": list(raster.transform)[:6]})
    array.attrs["complete"] = True  # the last thing that is written
    return int(values.shape[1] * values.shape[2])


def archive(scenes: list[Path], out: Path, client: distributed.Client, *, quality: float, as_zarr: bool) -> float:
    """Encode scenes by a cluster. Returns megapixels a second; raises the first error after all others are done."""
    out.mkdir(parents=True, exist_ok=True)
    if as_zarr:
        zarr.open_group(out, mode="a")  # before the workers find that there is none
    start = time.perf_counter()
    encode = to_zarr if as_zarr else to_file
    futures = [client.submit(encode, scene, out, quality, pure=False) for scene in scenes]
    distributed.wait(futures)
    return sum(client.gather(futures)) / 1e6 / (time.perf_counter() - start)


@click.command()
@click.argument("scenes", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option("--zarr", "as_zarr", is_flag=True, help="One Zarr store instead of a file for each scene.")
@click.option("--quality", type=float, default=60.0, show_default=True)
def main(scenes: Path, out: Path, workers: int, as_zarr: bool, quality: float) -> None:
    """Encode all GeoTIFFs in SCENES into OUT."""
    files = sorted(scenes.glob("*.tif"))
    settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        speed = archive(files, out, client, quality=quality, as_zarr=as_zarr)
    print(f"{len(files)} scenes, {workers} workers: {speed:.2f} megapixels a second")


if __name__ == "__main__":
    main()
