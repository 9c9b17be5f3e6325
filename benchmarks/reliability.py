"""The figures of docs/reliability.md: `python -m benchmarks.reliability costs|holes|geotiffs|disk|signals|same`.

`costs`: what ordinary files and the costliest ones take to decode. `holes`: how much holes of single pixels harm the
valid ones, on crops of scenes. `geotiffs`: what comes of rasters with odd numbers and texts. `disk`: what writers leave
behind on a full disk. `signals`: what they leave if a signal ends them. `same`: by how much decoded values differ
between ways to decode. Each writes a JSON file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream import chunks, payload, varint
from learned_codec.demo import landscape
from learned_codec.errors import LearnedCodecError
from learned_codec.models import registry
from learned_codec.values.mask import MaskSpec
from learned_codec.values.transform import SCALED, ValueTransform

from . import environment, reliability_tries
from .storage import write_json

RESULTS = Path(__file__).parent / "results"
_OUT = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")

CROP = 160
QUALITIES = (15, 50, 90)
HOLES = (
    *(("each band", share) for share in (0.3, 0.6, 0.9, 0.97)),
    *(("all bands", share) for share in (0.5, 0.9)),
    ("mixed", 0.5),
)
"""Where pixels are missing at random, and their share. Mixed: 10 to 95 %, another share in each band."""

ROUNDING = 12**-0.5
"""Smaller errors than that of rounding to integers are counted as this."""

PAGE = 4096


@click.group()
def main() -> None:
    """Measure what docs/reliability.md says."""


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_OUT
def holes(folder: Path, out: Path | None) -> None:
    """Errors beside holes, relative to those without holes, for the rasters in a FOLDER."""
    rng, cases = np.random.default_rng(5), []
    for path in sorted(folder.glob("*.tif")):
        image = _crop(path)
        if image is None:
            continue
        for quality in QUALITIES:
            plain = learned_codec.encode(image, quality=quality)
            before = _errors(learned_codec.decode(plain), image, np.ones(image.shape, bool))
            for where, share in HOLES:
                missing = _missing(rng, image.shape, where, share)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    data = learned_codec.encode(
                        np.where(missing, 0, image).astype(image.dtype), quality=quality, nodata=0
                    )
                decoded = learned_codec.decode(data)
                if ((decoded == 0) != missing).any():
                    raise click.ClickException(f"{path.name}: a mask came back wrong")
                worst = float((_errors(decoded, image, ~missing) / before).max())
                cases.append({"image": path.name, "bands": image.shape[2], "quality": quality, "missing in": where,
                              "share": share, "worst": round(worst, 3), "bytes": len(data)})  # fmt: skip
                click.echo(f"{path.name} quality {quality}, {share:.0%} of {where}: {worst:.2f}")
    table = [
        _row(where, share, [c for c in cases if (c["missing in"], c["share"]) == (where, share)])
        for where, share in HOLES
    ]
    _write(out, "holes", {"table": table, "cases": cases})


def _row(where: str, share: float, cases: list[dict[str, Any]]) -> dict[str, Any]:
    worst = np.array([case["worst"] for case in cases])
    return {"missing in": where, "share": share, "cases": len(cases), "median": round(float(np.median(worst)), 2),
            "worst": round(float(worst.max()), 2), "above 1.5": int((worst > 1.5).sum())}  # fmt: skip


def _crop(path: Path) -> npt.NDArray[Any] | None:
    """The middle of a raster of several bands, as integers without 0; None if much of it is 0."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as raster:
            height, width = min(CROP, raster.height), min(CROP, raster.width)
            top, left = (raster.height - height) // 2, (raster.width - width) // 2
            values = np.moveaxis(raster.read(window=((top, top + height), (left, left + width))), 0, -1)
    if values.shape[2] < 2 or (values == 0).all(2).mean() > 0.01:
        return None
    return np.where(values == 0, 1, values).astype(values.dtype)


def _missing(rng: np.random.Generator, shape: tuple[int, ...], where: str, share: float) -> npt.NDArray[np.bool_]:
    if where == "all bands":
        return np.repeat(rng.random(shape[:2])[..., None] < share, shape[2], 2)
    return rng.random(shape) < (rng.uniform(0.1, 0.95, shape[2]) if where == "mixed" else share)


def _errors(
    decoded: npt.NDArray[Any], image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    squares = np.square(decoded.astype(np.float64) - image)
    means = np.where(valid, squares, 0).sum((0, 1)) / np.maximum(valid.sum((0, 1)), 1)
    return np.maximum(np.sqrt(means), ROUNDING)


@main.command()
@click.option("--count", default=1000, show_default=True, help="How many files.")
@click.option("--seed", default=0, show_default=True)
@_OUT
def geotiffs(count: int, seed: int, out: Path | None) -> None:
    """Encode and decode rasters of random odd metadata. Stops at an error that isn't a refusal."""
    _write(out, "geotiffs", {"seed": seed, "table": [reliability_tries.odd_geotiffs(count, seed)]})


@main.command()
@click.option("--tries", default=10, show_default=True, help="How many for each signal.")
@click.option("--seed", default=0, show_default=True)
@_OUT
def signals(tries: int, seed: int, out: Path | None) -> None:
    """End programs that write files of five formats by signals, and look at what they leave."""
    _write(out, "signals", {"seed": seed, "table": reliability_tries.signals(tries, seed)})


@main.command()
@_OUT
def disk(out: Path | None) -> None:
    """Write files onto a disk with one page of 4 KiB fewer at a time. Mounts file systems in memory: for root."""
    table = []
    with tempfile.TemporaryDirectory() as folder, _mounted(Path(folder)) as resize:
        small, large = (_scene(side) for side in (64, 200))
        sources = {"picture": learned_codec.encode(large[:3].astype(np.uint8), planar=True, max_error=0),
                   "scene": learned_codec.encode(large, planar=True, max_error=0),
                   "small scene": learned_codec.encode(small, planar=True, max_error=0)}  # fmt: skip
        for name, source, extension in (
            ("GeoTIFF", "scene", ".tif"), ("small GeoTIFF", "small scene", ".tif"), ("PNG", "picture", ".png"),
            ("JPEG", "picture", ".jpg"), ("WebP", "picture", ".webp"), ("BMP", "picture", ".bmp"),
            ("PPM", "picture", ".ppm"), ("LCI", "scene", ".lci"),
        ):  # fmt: skip
            path = Path(folder) / f"a{extension}"

            def write(data: bytes = sources[source], path: Path = path) -> None:
                if path.suffix == ".lci":
                    learned_codec.encode_file(_source(learned_codec.decode(data)), path, overwrite=True, max_error=0)
                else:
                    learned_codec.decode_file(data, path, overwrite=True)

            table.append({"writer": name, **_on_small_disks(write, path, resize)})
            click.echo(table[-1])
    _write(out, "disk", {"table": table})


def _on_small_disks(write: Callable[[], None], path: Path, resize: Callable[[int], None]) -> dict[str, int]:
    old = b"old" * 100
    found = {"failed": 0, "errors of ours": 0, "old file whole": 0, "something left": 0}
    for pages in range(2, 2000):
        for other in path.parent.iterdir():
            other.unlink()
        path.write_bytes(old)
        resize(pages)
        try:
            write()
        except Exception as error:  # noqa: BLE001 - which ones come is what is counted
            found["failed"] += 1
            found["errors of ours"] += isinstance(error, LearnedCodecError)
            found["old file whole"] += path.read_bytes() == old
            found["something left"] += [other.name for other in path.parent.iterdir()] != [path.name]
        else:
            break
    return found


def _source(values: npt.NDArray[Any]) -> Any:
    from learned_codec.values.arrays import ArraySource

    return ArraySource(values, planar=values.shape[0] < values.shape[2])


def _scene(side: int) -> npt.NDArray[np.uint16]:
    y, x = np.mgrid[:side, :side]
    noise = np.random.default_rng(0).normal(0, 9, (4, side, side))
    return (120 + 60 * np.sin(x / 17) * np.cos(y / 23) + noise).astype(np.uint16)


@contextmanager
def _mounted(folder: Path) -> Iterator[Callable[[int], None]]:
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        yield lambda pages: _remount(folder, pages)
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


def _remount(folder: Path, pages: int) -> None:
    subprocess.run(["/bin/mount", "-o", f"remount,size={pages * PAGE}", str(folder)], check=True)


def _ways() -> dict[str, dict[str, str]]:
    """Ways to decode, with the variables of the environment for each."""
    from numpy._core._multiarray_umath import __cpu_dispatch__ as beyond  # the names differ between versions

    wide = [name for name in beyond if name.startswith(("AVX512", "X86_V4"))]
    blas = ("Prescott", "Haswell")
    return {
        "1 thread": {},
        "2 threads": {"THREADS": "2"},
        "NumPy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": " ".join(wide)},
        "NumPy with nothing beyond its baseline": {"NPY_DISABLE_CPU_FEATURES": " ".join(beyond)},
        **{f"OpenBLAS for {kind}": {"OPENBLAS_CORETYPE": kind} for kind in blas},
    }


_DECODE = """
import os, pathlib, sys, numpy as np, learned_codec
found = {}
for path in sys.argv[2:]:
    found[path] = learned_codec.decode(path, threads=int(os.environ.get("THREADS", "1")))
np.savez(sys.argv[1], **found)
print(np.__version__)
"""


@main.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--python", "others", multiple=True, help="The interpreter of another environment to decode with.")
@_OUT
def same(files: tuple[str, ...], others: tuple[str, ...], out: Path | None) -> None:
    """Decode .lci FILES in several ways, each in a process of its own."""
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        first: dict[str, npt.NDArray[Any]] = {}
        for number, (way, python, settings) in enumerate(
            [(way, sys.executable, settings) for way, settings in _ways().items()]
            + [("", other, {}) for other in others]
        ):
            archive = Path(folder) / f"{number}.npz"
            command = [python, "-W", "ignore", "-c", _DECODE, str(archive), *files]
            done = subprocess.run(command, env=os.environ | settings, check=True, capture_output=True, text=True)
            found = dict(np.load(archive))
            first = first or found
            table.append({"decoded with": way or f"NumPy {done.stdout.strip()}", "numpy": done.stdout.strip(),
                          "largest difference": _differences(first, found)})  # fmt: skip
            click.echo(json.dumps(table[-1]))
    _write(out, "same", {"files": [Path(file).name for file in files], "table": table})


def _differences(first: dict[str, npt.NDArray[Any]], found: dict[str, npt.NDArray[Any]]) -> dict[str, float]:
    """By dtype, and apart for files with a bounded error.

    In levels, and for floats as a share of the deviation of an image's values.
    """
    worst: dict[str, float] = {}
    for name, values in first.items():
        kind = values.dtype.name if learned_codec.inspect(name).max_error is None else "with max_error"
        known = np.isfinite(values)
        if not np.array_equal(known, np.isfinite(found[name])):
            worst[kind] = float("inf")
            continue
        expected = values[known].astype(np.float64)
        apart = np.abs(expected - found[name][known])
        if values.dtype.kind == "f":
            apart /= max(float(expected.std()), 1e-30)
        worst[kind] = max(worst.get(kind, 0.0), float(f"{apart.max(initial=0):.3g}"))
    return worst


_MEASURE = """
import json, sys, time, numpy as np, learned_codec
def peak():  # in KiB; that of getrusage also has the parent process's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
path, options = sys.argv[1], json.loads(sys.argv[2])
for bands in (1, 3):  # so that what is loaded once isn't counted
    image = np.random.default_rng(0).integers(0, 255, (64, 64, bands), np.uint8)
    learned_codec.decode(learned_codec.encode(image, threads=1), threads=1)
before, start = peak(), time.process_time()
try:
    samples = learned_codec.decode(path, threads=1, **options).size
except learned_codec.LearnedCodecError:
    samples = 0
print(json.dumps([samples, time.process_time() - start, (peak() - before) / 1024]))
"""


@main.command()
@_OUT
def costs(out: Path | None) -> None:
    """Decode ordinary and hostile files, each in a process of its own, with one thread. Takes 5 GiB of memory."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name, data, options in _files():
            path = Path(folder) / "a.lci"
            path.write_bytes(data)
            command = [sys.executable, "-W", "ignore", "-c", _MEASURE, str(path), json.dumps(options)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            samples, seconds, memory = json.loads(done.stdout)
            table.append({"file": name, "bytes": len(data), "samples": samples, "s": round(seconds, 2),
                          "ns a sample": round(1e9 * seconds / samples) if samples else None,
                          "MiB": round(memory), "ms a byte": round(1e3 * seconds / len(data), 2)})  # fmt: skip
            click.echo(table[-1])
    _write(out, "costs", {"table": table})


def _files() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """The names of files, what they contain, and options to decode them."""
    encode, join = learned_codec.encode, payload.join_payload
    picture = np.tile(landscape(512, 512), (4, 4, 1))
    rng = np.random.default_rng(0)
    bands = np.stack([picture[:1024, :1024, k % 3] for k in range(13)], -1).astype(np.uint16) * 30
    scene = encode(bands + rng.integers(0, 99, bands.shape).astype(np.uint16), quality=60)
    yield "photograph, 2048² RGB, quality 60", encode(picture, quality=60), {}
    yield "photograph, 2048² grey, quality 60", encode(picture[..., 0], quality=60), {}
    yield "scene, 1024² of 13 bands, quality 60", scene, {}
    flat = (90 + np.add.outer(np.arange(2048), np.arange(2048)) // 48).astype(np.uint8)
    yield "a slope, 2048² grey, quality 1", encode(flat, quality=1), {}
    yield "4096² RGB in one tile, quality 1", encode(np.tile(picture, (2, 2, 1)), quality=1, tile_size=4096), {}
    line = (np.arange(2**18) // 700).astype(np.uint8)[None]
    yield "1 × 2^18 grey, the longest line", encode(line, quality=60, tile_size=4096), {}

    runs = b"".join(
        varint.encode(n) for n in [16, 1024] + [int(not r and e > 0) for e in range(16) for r in range(1024)]
    )
    body = zlib.compress(runs, 9)
    plane = b"\3\0\xff\0" + varint.encode(len(body)) + body
    nodata = MaskSpec((0.0,)).to_bytes()
    masks = [join(b"\2" + plane * 64, b"", False)]
    yield "a mask for each of 64 bands, 1024²", bitstream.write(_header(1024, 64), masks, mask=nodata), {}
    lost = scene[: bitstream.read(scene).tiles[1].offset]
    yield "13 bands, all tiles but one lost, filled", lost, {"errors": "fill"}
    good = bytes(bitstream.read(encode(landscape(64, 64), quality=1)).tile(0))
    tiles = [good if k % 2 else b"\0" for k in range(256)]
    yield "256 tiles of RGB, every second lost, filled", bitstream.write(_header(1024, 3, 1), tiles), {"errors": "fill"}
    header = _header(2**14, 1, 1)
    empty = [join(b"\1\0\0", b"", False)] * header.tile_count
    yield "65,536 tiles without a value", bitstream.write(header, empty, mask=nodata), {}
    small, long = chunks.pack(chunks.META, b'{"a":1}'), chunks.pack(chunks.META, b'{"a":[' + b"[]," * 1398000 + b"0]}")
    plain = encode(landscape(16, 16), metadata={"a": 1})
    yield "4 MiB of [] in META", plain.replace(small, long), {}
    yield "an empty payload for 3200² RGB", bitstream.write(_header(3200, 3, 50), [b""]), {}


def _header(side: int, bands: int, tile_code: int = 0) -> bitstream.Header:
    """The header of a square image: an RGB picture, or else a raster of uint16 with one component."""
    dtype, transform, parameters = np.dtype(np.uint8), 0, b""
    card = registry.default(3 if bands == 3 else 1)
    if bands != 3:
        dtype, matrix = np.dtype(np.uint16), np.eye(1, bands, dtype=np.int8) * 127 if bands > 1 else None
        scales, offsets = (1000.0,) * bands, (0.0,) * bands
        transform, parameters = ValueTransform(SCALED, dtype, bands, None, scales, offsets, matrix=matrix).in_header()
    return bitstream.Header(
        width=side,
        height=side,
        bands=bands,
        dtype=dtype.name,  # type: ignore[arg-type]  # one of two
        layout="HWC" if bands > 1 else "HW",
        weights_id=bytes.fromhex(card.weights_id),
        quality_step=0,
        tile_code=tile_code,
        transform=transform,
        parameters=parameters,
    )


def _write(out: Path | None, name: str, found: dict[str, Any]) -> None:
    path = out or RESULTS / f"reliability-{name}.json"
    write_json(path, {"environment": environment.describe(), **found})
    click.echo(path)


if __name__ == "__main__":
    main()
