"""Good files to begin with: the golden ones, and small ones of every kind of mask."""

from pathlib import Path
from typing import Any

import numpy as np

import learned_codec
from learned_codec.codec import encode_source
from learned_codec.values.arrays import ArraySource

GOLDEN = Path(__file__).parents[1] / "golden"


def seeds() -> list[bytes]:
    """Bytes of good files, in an order that never changes."""
    files = [path.read_bytes() for path in sorted(GOLDEN.glob("codec/*.lci"))]
    bounded = [path.read_bytes() for path in sorted(GOLDEN.glob("bounded/*.lci"))]
    kept = [data for data in files + bounded if len(data) < 5000]
    masked, within = [_masked(number) for number in range(6)], [_bounded(number) for number in range(3)]
    return [*kept, *masked, *within, _opaque(), _long()]


def _long() -> bytes:
    """A tile with fronts, and one without."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 128, 3)).astype(np.uint8)
    noise[:, 64:] //= 16
    return learned_codec.encode(np.tile(noise, (2, 1, 1)), quality=95, tile_size=128)


def _bounded(number: int) -> bytes:
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:64, :48]
    values = 100 + 40 * np.sin(x / 9) + y + rng.normal(0, 3, x.shape)
    if number == 0:
        return learned_codec.encode(values.astype(np.uint8), max_error=1)
    if number == 1:
        values = values.astype(np.float32)
        values[:9, :9] = np.nan
        return learned_codec.encode(np.stack([values, values * 2], -1), max_error=0.5)
    hole = x + 2 * y < 70
    return learned_codec.encode(np.where(hole, -1, values).astype(np.int16), nodata=-1, max_error=0, mask=x > 5)


class _Opaque(ArraySource):
    """Grey with an opacity of 16 bits."""

    def read_plane(self, rows: slice, columns: slice) -> Any:
        return self.planes[0, rows, columns] * 5


def _opaque() -> bytes:
    source = _Opaque(np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) * 3)
    source.plane = "alpha"
    return encode_source(source, quality=20, tile_size=64)


def _masked(number: int) -> bytes:
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:64, :48]
    image = (100 + 40 * np.sin(x / 9)[..., None] + y[..., None] + rng.normal(0, 5, (64, 48, 3))).clip(1, 254)
    hole = (x + 2 * y < 70) ^ (rng.random(x.shape) < 0.02)
    if number == 0:
        alpha = np.where(hole, 0, 255).astype(np.uint8)
        return learned_codec.encode(image.astype(np.uint8), mask=alpha, quality=20)
    if number == 1:
        values = image.astype(np.uint16) * 20
        values[hole] = 0
        return learned_codec.encode(values, nodata=0, quality=20, tile_size=64)
    if number == 2:
        values = image.astype(np.float32)
        values[hole, 1] = np.nan
        values[0, :, 2] = np.inf
        return learned_codec.encode(values, quality=20)
    if number == 3:
        values = image[..., 0].astype(np.float32)
        values[hole] = -9999
        return learned_codec.encode(values, nodata=-9999.0, kind="sar", unit="power", quality=20)
    if number == 4:
        return learned_codec.encode(np.full((40, 33), -32768, np.int16), nodata=-32768, quality=20)
    wide = np.tile(image, (2, 3, 2)).astype(np.int16)
    wide[:70, :60] = -1
    return learned_codec.encode(wide, nodata=-1, quality=10, tile_size=64, mask=np.ones(wide.shape[:2], bool))
