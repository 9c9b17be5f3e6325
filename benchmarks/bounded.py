"""Bytes of images that come back exactly, or within a bound, beside those of other codecs that can promise it.

Every codec codes the same arrays, decodes them again, and is checked against the bound. JPEG XL has no bound of its
own: it gets the better of the largest distance that keeps it, and of its lossless mode for values in steps of the
bound. PNG, JPEG 2000 and ZSTD get the latter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

import learned_codec

from . import environment, markdown
from .codec import AnyArray
from .storage import write_atomically, write_json

SIDE = 512
"""Pixels per side of the part of a raster that is measured, from its middle."""

BANDS = 5
"""The first bands of a raster that are measured."""

Coder = Callable[[AnyArray, float], tuple[int, AnyArray]]
"""An array (bands, h, w) and a bound -> bytes, and what comes back."""


def run(data: Path, out: Path, command: str, limit: int | None = None, jobs: int = 1) -> dict[str, Any]:
    """Measure all groups below a folder, several images at once, and write `bounded.json` and `bounded.md`."""
    with ProcessPoolExecutor(jobs) as pool:
        groups = [_measure(*group, limit, pool) for group in _groups(data)]
    result = {"command": command, "environment": environment.describe(), "groups": groups}
    write_json(out / "bounded.json", result)
    write_atomically(out / "bounded.md", table(result))
    return result


# -- images ------------------------------------------------------------------------------------------------------------

NamedImages = list[tuple[str, AnyArray]]


def _groups(data: Path) -> Iterator[tuple[str, NamedImages, list[float | str], dict[str, Coder]]]:
    """Name, images (bands, h, w), bounds (a share of the range if it ends in %), and codecs."""
    photographs = [(path.stem, _picture(path)) for path in sorted((data / "kodak").glob("*.png"))]
    pictures = {"ours": _ours, "png": _png, "jpeg2000": _jpeg2000, "jpegxl": _jpegxl, "jpegls": _jpegls, "lerc": _lerc}
    yield "photographs, 8-bit RGB", photographs, [0, 1, 2, 4], {**pictures, "zstd": _zstd}
    optical = [*sorted((data / "optical_test").glob("*16*.tif"))]
    yield "optical rasters, 16 bits", _rasters(optical), [0, "0.1%", "1%"], {**pictures, "zstd": _zstd}
    yield "SAR amplitude, 16 bits", _amplitudes(data / "sar_test"), [0, "0.1%", "1%"], {**pictures, "zstd": _zstd}
    classes = [*_rasters([data / "optical_test" / "special" / "colour_table_u8.tif"]), *_maps()]
    known = {"ours": _ours, "png": _png, "jpeg2000": _jpeg2000, "jpegxl": _jpegxl, "lerc": _lerc, "zstd": _zstd}
    yield "maps of classes, 8 bits", classes, [0], known
    special = data / "optical_test" / "special"
    heights = [*special.glob("dem*float32*.tif"), *special.glob("dsm*float32*.tif")]
    yield "elevation in metres, float32", _rasters(sorted(heights)), [0.01, 0.1, 1], {"ours": _ours, "lerc": _lerc}


def _picture(path: Path) -> AnyArray:
    from PIL import Image

    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def _rasters(paths: Sequence[Path]) -> NamedImages:
    import rasterio

    found = []
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as source:
                values = source.read(masked=True)[:BANDS]
        top, left = (max(0, (length - SIDE) // 2) for length in values.shape[1:])
        values = values[:, top : top + SIDE, left : left + SIDE]
        plain = np.ma.filled(values, np.ma.median(values).astype(values.dtype))
        if plain.dtype.kind == "f":
            plain = np.nan_to_num(plain, nan=float(np.nanmedian(plain)))
        found.append((path.stem, np.ascontiguousarray(plain)))
    return found


def _amplitudes(folder: Path) -> NamedImages:
    """Radar as whole numbers in proportion to amplitude, as Sentinel-1's products have it."""
    found = []
    for name, values in _rasters(sorted(folder.glob("*.tif"))):
        numbers = values.astype(np.float64)
        if name.endswith("_db"):
            numbers = 10 ** (numbers / 20)
        elif not name.endswith("_amp"):
            numbers = np.sqrt(np.maximum(numbers, 0))
        scale = 400 / max(float(np.median(numbers)), 1e-9)
        found.append((name, np.clip(np.rint(numbers * scale), 0, 65535).astype(np.uint16)))
    return found


def _maps() -> NamedImages:
    """Made-up maps: soft regions, parcels with straight edges, and regions with single pixels of other classes."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    waves = []
    for _ in range(8):
        field = np.zeros((SIDE, SIDE))
        for size in (0.01, 0.03, 0.08, 0.2):
            a, b, c = [*rng.normal(0, size, 2), rng.uniform(0, 6)]
            d, e = rng.normal(0, size, 2)
            field += np.sin(a * x + b * y + c + 2 * np.sin(d * x + e * y)) * (0.05 / size) ** 0.5
        waves.append(field)
    soft = np.argmax(waves, 0).astype(np.uint8)
    seeds = rng.uniform(0, SIDE, (300, 2))
    nearest = np.zeros((SIDE, SIDE), np.int64)
    for row in range(SIDE):
        distances = (row - seeds[:, :1]) ** 2 + (np.arange(SIDE) - seeds[:, 1:]) ** 2
        nearest[row] = np.argmin(distances, 0)
    parcels = (nearest * 7 % 23 * 10).astype(np.uint8)
    speckled = np.where(rng.random(soft.shape) < 0.05, rng.integers(0, 8, soft.shape), soft).astype(np.uint8)
    return [("soft", soft[None]), ("parcels", parcels[None]), ("speckled", speckled[None])]


# -- codecs ------------------------------------------------------------------------------------------------------------


def _ours(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    data = learned_codec.encode(values, planar=True, max_error=bound, threads=1)
    return len(data), learned_codec.decode(data, threads=1)


def _steps(values: AnyArray, bound: float) -> tuple[AnyArray, int]:
    """Values in steps of the bound, for codecs that are lossless or nothing."""
    step = 2 * int(bound) + 1
    return ((values.astype(np.int64) + int(bound)) // step).astype(values.dtype), step


def _stepped(coder: Callable[[AnyArray], tuple[int, AnyArray]], values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    small, step = _steps(values, bound)
    size, decoded = coder(small)
    limits = np.iinfo(values.dtype)
    return size, np.clip(decoded.astype(np.int64) * step, limits.min, limits.max).astype(values.dtype)


def _png(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    return _stepped(lambda plain: _by_band(plain, _png_of), values, bound)


def _png_of(plane: AnyArray) -> tuple[int, AnyArray]:
    import imagecodecs

    data = imagecodecs.png_encode(plane if plane.dtype == np.uint8 else plane.view(np.uint16), level=9)
    return len(data), np.asarray(imagecodecs.png_decode(data)).view(plane.dtype)


def _by_band(values: AnyArray, coder: Callable[[AnyArray], tuple[int, AnyArray]]) -> tuple[int, AnyArray]:
    """Three bands of 8 bits together, others one by one."""
    if values.dtype == np.uint8 and len(values) == 3:
        size, decoded = coder(np.ascontiguousarray(values.transpose(1, 2, 0)))
        return size, decoded.transpose(2, 0, 1)
    parts = [coder(np.ascontiguousarray(plane)) for plane in values]
    return sum(size for size, _ in parts), np.stack([plane for _, plane in parts])


def _jpeg2000(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    return _stepped(lambda plain: _by_band(plain, _jpeg2000_of), values, bound)


def _jpeg2000_of(plane: AnyArray) -> tuple[int, AnyArray]:
    import imagecodecs

    data = imagecodecs.jpeg2k_encode(plane, reversible=True, level=0, mct=plane.ndim == 3)
    return len(data), np.asarray(imagecodecs.jpeg2k_decode(data)).reshape(plane.shape)


def _jpegxl(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    offset = 32768 if values.dtype == np.int16 else 0
    plain = (values.astype(np.int64) + offset).astype(np.uint16 if values.dtype.itemsize == 2 else np.uint8)
    size, decoded = _stepped(lambda small: _by_band(small, _jpegxl_of), plain, bound)
    if bound:
        parts = _by_band(plain, lambda plane: _jpegxl_within(plane, bound))
        if parts[0] < size:
            size, decoded = parts
    return size, (decoded.astype(np.int64) - offset).astype(values.dtype)


def _jpegxl_of(plane: AnyArray) -> tuple[int, AnyArray]:
    import imagecodecs

    data = imagecodecs.jpegxl_encode(plane, lossless=True, effort=7)
    return len(data), np.asarray(imagecodecs.jpegxl_decode(data)).reshape(plane.shape)


def _jpegxl_within(plane: AnyArray, bound: float) -> tuple[int, AnyArray]:
    """By bisection of the distance; a size beyond all others where none keeps the bound."""
    import imagecodecs

    low, high, best = -7.0, 3.0, (2**60, plane)
    for _ in range(6):
        middle = (low + high) / 2
        data = imagecodecs.jpegxl_encode(plane, distance=2**middle, effort=5)
        decoded = np.asarray(imagecodecs.jpegxl_decode(data)).reshape(plane.shape)
        if np.abs(decoded.astype(np.int64) - plane).max() <= bound:
            low, best = middle, min(best, (len(data), decoded), key=lambda found: found[0])
        else:
            high = middle
    return best


def _jpegls(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    """With the differences to green of three bands of 8 bits where nothing is lost; else band by band."""
    import imagecodecs

    def coded(plane: AnyArray) -> tuple[int, AnyArray]:
        data = imagecodecs.jpegls_encode(plane, level=min(int(bound), 255))
        return len(data), np.asarray(imagecodecs.jpegls_decode(data)).reshape(plane.shape)

    offset = 32768 if values.dtype == np.int16 else 0
    plain = (values.astype(np.int64) + offset).astype(np.uint16 if values.dtype.itemsize == 2 else np.uint8)
    if bound == 0 and plain.dtype == np.uint8 and len(plain) == 3:
        red, green, blue = plain
        half = np.uint8(128)
        size = sum(coded(plane)[0] for plane in (green, red - green + half, blue - green + half))
        return size, values
    parts = [coded(np.ascontiguousarray(plane)) for plane in plain]
    decoded = np.stack([plane for _, plane in parts]).astype(np.int64) - offset
    return sum(size for size, _ in parts), decoded.astype(values.dtype)


def _lerc(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    """The smaller of LERC alone and with ZSTD behind it."""
    import imagecodecs

    parts = []
    for plane in values:
        choices = [
            imagecodecs.lerc_encode(np.ascontiguousarray(plane), level=bound, compression=behind)
            for behind in (None, "zstd")
        ]
        data = min(choices, key=len)
        parts.append((len(data), np.asarray(imagecodecs.lerc_decode(data)).reshape(plane.shape)))
    return sum(size for size, _ in parts), np.stack([plane for _, plane in parts])


def _zstd(values: AnyArray, bound: float) -> tuple[int, AnyArray]:
    """A GeoTIFF in one tile, level 19, with the better of no predictor and horizontal differences."""
    return _stepped(_zstd_of, values, bound)


def _zstd_of(values: AnyArray) -> tuple[int, AnyArray]:
    from rasterio.io import MemoryFile

    sizes = []
    for predictor in (1, 2):
        form = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2]}
        options = {"compress": "zstd", "zstd_level": 19, "predictor": predictor, "interleave": "band", "tiled": True}
        side = -(-max(values.shape[1:]) // 16) * 16
        with warnings.catch_warnings(), MemoryFile() as memory:
            warnings.simplefilter("ignore")
            with memory.open(dtype=values.dtype.name, blockxsize=side, blockysize=side, **form, **options) as raster:
                raster.write(values)
            sizes.append(len(memory.read()))
    return min(sizes), values


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measure(
    name: str,
    images: NamedImages,
    bounds: Sequence[float | str],
    codecs: dict[str, Coder],
    limit: int | None,
    pool: Executor,
) -> dict[str, Any]:
    chosen = images[:limit]
    found = pool.map(_rows, *zip(*chosen, strict=True), repeat(bounds), repeat(codecs)) if chosen else ()
    rows = [row for some in found for row in some]
    return {"name": name, "bounds": list(bounds), "codecs": list(codecs), "rows": rows}


def _rows(
    title: str, values: AnyArray, bounds: Sequence[float | str], codecs: dict[str, Coder]
) -> list[dict[str, Any]]:
    """One image with all bounds and codecs."""
    rows = []
    for asked in bounds:
        bound = _bound(values, asked)
        sizes = {}
        for codec, coder in codecs.items():
            size, decoded = coder(values, bound)
            error = np.abs(decoded.astype(np.float64) - values.astype(np.float64)).max()
            slack = 0.0  # what LERC computes in float32 isn't rounded as a bound would have it
            if codec != "ours" and values.dtype.kind == "f":
                slack = float(np.spacing(np.abs(values).max()))
            if size < 2**60 and error <= bound + slack:
                sizes[codec] = {"bytes": size}
        rows.append({"image": title, "shape": list(values.shape), "asked": asked, "bound": bound, "codecs": sizes})
    return rows


def _bound(values: AnyArray, asked: float | str) -> float:
    """A share of the range from the 0.1th to the 99.9th percentile, as a whole number, or the number itself."""
    if not isinstance(asked, str):
        return asked
    low, high = np.percentile(values, (0.1, 99.9))
    return float(max(1, int(float(asked.rstrip("%")) / 100 * (high - low))))


def table(result: dict[str, Any]) -> str:
    """Markdown: by group and bound, bits per sample, the mean of images; and what each codec takes beside ours."""
    lines = []
    for group in result["groups"]:
        if not group["rows"]:
            continue
        codecs = group["codecs"]
        lines += [f"**{group['name']}** ({len({row['image'] for row in group['rows']})} images)", ""]
        lines += markdown.head("error up to", *codecs)
        for asked in group["bounds"]:
            rows = [row for row in group["rows"] if row["asked"] == asked]
            cells = []
            ours = _bits(rows, "ours")
            for codec in codecs:
                bits = _bits(rows, codec)
                if bits is None or ours is None:
                    cells.append("–")
                elif codec == "ours":
                    cells.append(f"**{bits:.3f}**")
                else:
                    cells.append(f"{bits:.3f} ({100 * (bits / ours - 1):+.0f}\N{NO-BREAK SPACE}%)".replace("-", "−"))
            label = "0 (lossless)" if asked == 0 else f"{asked}".replace("%", " % of the range")
            lines.append(markdown.row(label, *cells))
        lines.append("")
    return "\n".join(lines)


def _bits(rows: Sequence[dict[str, Any]], codec: str) -> float | None:
    """The mean of images' bits per sample; None where one is missing."""
    if any(codec not in row["codecs"] for row in rows):
        return None
    return float(np.mean([8 * row["codecs"][codec]["bytes"] / np.prod(row["shape"]) for row in rows]))


__all__ = ["run", "table"]
