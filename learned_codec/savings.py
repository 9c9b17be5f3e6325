"""What this codec saves on a user's file, compared with the file as it is and with JPEG 2000.

This is `learned-codec compare`. JPEG 2000 is GDAL's (OpenJPEG, 9/7 wavelet, one tile), with no more bytes than our
file. It can't store floats, so rasters of floats are compared only with the file as it is.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import learned_codec
from learned_codec.atomic import atomic_write
from learned_codec.comparison import side_by_side
from learned_codec.errors import FileError, InvalidInputError, RateError
from learned_codec.raster.files import open_source
from learned_codec.streams import check_other
from learned_codec.values.sources import PixelSource

_LEAST = 32
"""Pixels a side of the smallest block of JPEG 2000 that GDAL writes."""
PANEL = 384
"""The picture shows the middle of the image, this many pixels per side."""


@dataclass(frozen=True)
class Row:
    """One way to store the image.

    `bytes` is the size, `share` that of today's file. `rmse` and `largest` are errors of valid values, in their
    units.
    """

    name: str
    bytes: int
    share: float
    rmse: float
    largest: float


@dataclass(frozen=True)
class Savings:
    """The result of `compare`: the image, the rows, and the path of the picture (None: none was asked for)."""

    width: int
    height: int
    bands: int
    dtype: str
    rows: tuple[Row, ...]
    picture: str | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)

    def report(self) -> str:
        """The result as a table of text."""
        lines = [f"{self.width} × {self.height} pixels, {self.bands} × {self.dtype}", ""]
        lines.append(f"{'':22}{'bytes':>14}{'of today':>10}{'RMSE':>10}{'largest error':>15}")
        lines += [
            f"{row.name:22}{row.bytes:>14,}{row.share:>10.1%}{row.rmse:>10.4g}{row.largest:>15.4g}" for row in self.rows
        ]
        told = [f"wrote {self.picture}"] if self.picture else []
        return "\n".join([*lines, *([""] if self.note or told else []), *([self.note] if self.note else []), *told])


def compare(
    src: Path,
    *,
    max_bytes: int | None = None,
    quality: float | None = None,
    picture: Path | None = None,
    kind: str | None = None,
    nodata: float | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Savings:
    """Encode an image file and report what that saves. The whole image is in memory.

    Args:
        src: an image file.
        max_bytes: the most bytes of our file; instead of a quality.
        quality: as for `encode`.
        picture: the path for a PNG of the middle of the image: the original, ours, JPEG 2000.
        kind: as for `encode_file`.
        nodata: as for `encode_file`.
        overwrite: replace an existing picture.
        threads: as for `encode`.
        progress: as for `encode`.

    Raises:
        FileError: the file can't be read, or the picture exists or is the file itself.
        RateError: no file of so few bytes can be made. Also the other errors of `encode_file`.
    """
    check_other(src, picture)
    if picture is not None and picture.exists() and not overwrite:
        raise FileError.existing(str(picture))
    with open_source(src) as source:
        original, valid = _values(source)
        declared = source.nodata if nodata is None else nodata
    if declared is not None:
        valid &= original != original.dtype.type(declared)
    bands, height, width = original.shape
    rate: dict[str, Any] = {"quality": quality}
    if max_bytes is not None:
        if max_bytes < 1:
            raise InvalidInputError(f"max_bytes must be at least 1, not {max_bytes}")
        rate = {"bpp": 8 * max_bytes / (height * width)}
    coded = io.BytesIO()
    options: dict[str, Any] = {"kind": kind, "nodata": nodata, "threads": threads, "progress": progress}
    try:
        learned_codec.encode_file(src, coded, **rate, **options)
    except RateError as error:
        if max_bytes is None:
            raise
        # The error speaks of bits per pixel.
        raise RateError(f"{max_bytes:,} bytes for {height * width:,} pixels: {error}") from error
    data = coded.getvalue()
    with learned_codec.open(data) as reader:
        decoded = reader.read(planar=True)
    today = src.stat().st_size
    rows = [Row("as it is", today, 1.0, 0.0, 0.0), _row("learned_codec", len(data), today, original, decoded, valid)]
    panels = [("as it is", original), (f"learned_codec, {len(data):,} bytes", decoded)]
    note = ""
    if original.dtype.kind == "f":
        note = "JPEG 2000 has no floating-point values"
    else:
        size, rival = _jpeg2000(original, valid, len(data))
        rows.append(_row("JPEG 2000", size, today, original, rival, valid))
        panels.append((f"JPEG 2000, {size:,} bytes", rival))
    if picture is not None:
        shown = _shown(original, valid)
        stream = io.BytesIO()
        Image.fromarray(side_by_side([(label, shown(planes)) for label, planes in panels])).save(stream, "PNG")
        with atomic_write(picture, overwrite=overwrite) as file:
            file.write(stream.getvalue())
    named = None if picture is None else str(picture)
    return Savings(width, height, bands, str(original.dtype), tuple(rows), named, note)


def _values(source: PixelSource) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(bands, H, W) values, and which of them are valid, nodata not counted."""
    everything = slice(0, source.height), slice(0, source.width)
    values = np.array(source.read(*everything))
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if source.plane is not None:
        valid &= source.read_plane(*everything) > 0
    return values, valid


def _row(
    name: str, size: int, today: int, original: NDArray[Any], decoded: NDArray[Any], valid: NDArray[np.bool_]
) -> Row:
    errors = np.abs(original[valid].astype(np.float64) - decoded[valid])
    rmse = float(np.sqrt(np.square(errors).mean())) if errors.size else 0.0
    return Row(name, size, size / today, rmse, float(errors.max(initial=0)))


def _jpeg2000(planes: NDArray[Any], valid: NDArray[np.bool_], most: int) -> tuple[int, NDArray[Any]]:
    """The size and pixels of the best JPEG 2000 file of at most `most` bytes.

    Invalid values become their band's mean.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    filled = planes.copy()
    for band, mask in zip(filled, valid, strict=True):
        if mask.any():
            band[~mask] = np.rint(band[mask].mean())
    percent, best = 100.0 * most / planes.nbytes, b""
    bands, height, width = planes.shape
    layout = {"height": height, "width": width, "count": bands, "dtype": planes.dtype.name}
    blocks = {"blockxsize": max(width, _LEAST), "blockysize": max(height, _LEAST)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for _ in range(8):
            with rasterio.MemoryFile(ext=".jp2") as memory:
                settings = {"quality": f"{percent:.6f}", "reversible": "NO", **blocks}
                with memory.open(driver="JP2OpenJPEG", **layout, **settings) as raster:
                    raster.write(filled)
                best = bytes(memory.getbuffer())
            if len(best) <= most:
                break
            percent *= min(0.998, most / len(best))
        with rasterio.MemoryFile(best, ext=".jp2") as memory, memory.open() as raster:
            return len(best), raster.read()


def _shown(original: NDArray[Any], valid: NDArray[np.bool_]) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """A function from (bands, H, W) values to a picture of their middle, with three bands or one.

    All are stretched like the original.
    """
    bands = [0, 1, 2] if len(original) >= 3 else [0]
    top, left = ((length - PANEL) // 2 if length > PANEL else 0 for length in original.shape[1:])
    here = slice(top, top + PANEL), slice(left, left + PANEL)
    ends = [(0.0, 255.0)] * len(bands)
    if original.dtype != np.uint8:
        ends = [
            (float(np.percentile(values, 2)), float(np.percentile(values, 98))) if values.size else (0.0, 1.0)
            for values in (original[band][valid[band]] for band in bands)
        ]

    def stretched(planes: NDArray[Any]) -> NDArray[np.uint8]:
        scaled = [
            (np.nan_to_num(planes[band][here].astype(float), nan=low) - low) / max(high - low, 1e-12)
            for band, (low, high) in zip(bands, ends, strict=True)
        ]
        levels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
        return levels[0] if len(bands) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))

    return stretched
