"""Artificial scenes: a landscape as Sentinel-1 and Sentinel-2 might measure it, and its map of classes.

python examples/scenes.py [FOLDER] [SIZE]

writes s1.tif (power), s1-db.tif (the same in dB), s2.tif, s2-west.tif (the same place, another swath) and classes.tif.
Nothing in them was measured. They show how to call the codec and what it does, not how good it is on real data.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from learned_codec.comparison import side_by_side
from learned_codec.training.speckle import speckle

Surface = NDArray[np.float64]
Box = tuple[slice, slice]

SIZE = 512
CRS, PIXEL, CORNER = "EPSG:32633", 10.0, (399_960.0, 5_800_020.0)

WATER, FIELD, WOOD, TOWN, TRACK = range(5)
COLOURS = {
    WATER: (40, 90, 160),
    FIELD: (220, 200, 110),
    WOOD: (30, 100, 40),
    TOWN: (190, 60, 60),
    TRACK: (120, 110, 100),
}

SAR_BANDS = ("VV", "VH")
# dB by class and polarisation, without vegetation on the fields; what full vegetation adds to them.
BACKSCATTER = {
    WATER: (-17.0, -24.0),
    FIELD: (-12.5, -21.5),
    WOOD: (-9.0, -14.5),
    TOWN: (-6.0, -13.0),
    TRACK: (-14.0, -22.0),
}
VEGETATION_DB = (2.5, 5.0)
NOISE_DB = -25.0

S2_BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
# Reflectance by class and band; of fields, of bare soil and of full vegetation.
REFLECTANCE = {
    WATER: (0.050, 0.045, 0.030, 0.015, 0.006, 0.004),
    FIELD: (0.070, 0.100, 0.140, 0.220, 0.320, 0.270),
    WOOD: (0.025, 0.045, 0.030, 0.300, 0.130, 0.060),
    TOWN: (0.120, 0.130, 0.140, 0.200, 0.220, 0.200),
    TRACK: (0.110, 0.120, 0.130, 0.160, 0.180, 0.170),
}
VEGETATION = (0.030, 0.060, 0.035, 0.420, 0.200, 0.100)
SCALE, OFFSET = 1e-4, -0.1  # reflectance = DN * SCALE + OFFSET, as in products since baseline 04.00
S2_NOISE = 0.0012


@dataclass(frozen=True)
class Ground:
    """What there is: classes, vegetation from 0 to 1, fractal texture and relief of mean 0 and deviation 1 (H, W).

    `field` is a rectangle of one bare field without texture, in which speckle can be measured.
    """

    kind: NDArray[np.uint8]
    vegetation: Surface
    texture: Surface
    relief: Surface
    field: Box


def ground(size: int, seed: int = 5) -> Ground:
    """A square of made-up country: fields of all stages of growth, woods, a lake and small towns."""
    rng = np.random.default_rng(seed)
    parcel, border = _parcels(rng, size)
    height = _fractal(rng, size, 2.0)
    kind = np.full((size, size), FIELD, np.uint8)
    kind[border] = TRACK
    kind[_fractal(rng, size, 1.5) > 0.9] = WOOD
    buildings = _fractal(rng, size, 0.6) > 0.4
    kind[(_fractal(rng, size, 2.2) > 1.4) & buildings] = TOWN
    kind[height < np.quantile(height, 0.1)] = WATER

    side = size // 5
    row, column = size * 5 // 8, size * 5 // 8
    field = slice(row, row + side), slice(column, column + side)
    kind[field] = FIELD
    texture = _fractal(rng, size, 1.1)
    relief = height - np.roll(height, (2, 3), (0, 1))  # lit from the upper left
    relief /= relief.std()
    vegetation = np.clip(rng.beta(0.7, 0.7, parcel.max() + 1)[parcel] + 0.05 * texture, 0, 1)
    for plane in (vegetation, texture, relief):
        plane[field] = 0.0
    return Ground(kind, vegetation, texture, relief, field)


def sentinel1(size: int = SIZE, seed: int = 5) -> tuple[NDArray[np.float32], Box]:
    """(2, size, size) linear power, VV and VH, NaN in the collar; and where in it a homogeneous field lies.

    Thermal noise is subtracted as the processors do it, which leaves pixels of power 0 on dark water.
    """
    land, rng = ground(size, seed), np.random.default_rng(seed + 1)
    noise = 10 ** (NOISE_DB / 10)
    bands = []
    for index, growth in enumerate(VEGETATION_DB):
        decibels = np.select([land.kind == k for k in BACKSCATTER], [v[index] for v in BACKSCATTER.values()])
        decibels = decibels + (land.kind == FIELD) * growth * land.vegetation
        decibels += (land.kind != WATER) * (0.4 * land.texture + 0.7 * land.relief)
        power = 10 ** (decibels / 10)
        houses = (land.kind == TOWN) & (rng.random((size, size)) < 0.02)
        power[houses] *= 10 ** rng.uniform(1.0, 2.5, int(houses.sum()))
        seen = speckle((size, size), rng, power.astype(np.float32)) + noise * (speckle((size, size), rng) - 1)
        bands.append(np.maximum(seen, 0))
    image = np.stack(bands).astype(np.float32)
    image[:, ~_footprint(size, 0.10, 0.16)] = np.nan
    return image, land.field


def sentinel2(size: int = SIZE, seed: int = 5, *, west: bool = False) -> NDArray[np.uint16]:
    """(6, size, size) digital numbers, 0 outside the swath."""
    land, rng = ground(size, seed), np.random.default_rng(seed + 2 + west)
    bands = []
    for index, name in enumerate(S2_BANDS):
        bare = np.select([land.kind == k for k in REFLECTANCE], [v[index] for v in REFLECTANCE.values()])
        growing = (land.kind == FIELD) * land.vegetation
        clean = bare + growing * (VEGETATION[index] - bare)
        clean *= 1 + (land.kind != WATER) * (0.05 * land.texture + 0.06 * land.relief)
        reflectance = _blur(clean) + rng.normal(0, S2_NOISE, clean.shape)
        if name in ("B11", "B12"):  # 20 m pixels, brought to 10 m smoothly
            reflectance = _blur(_blur(reflectance))
        bands.append(np.rint((reflectance - OFFSET) / SCALE).clip(1, 65535))
    image = np.stack(bands).astype(np.uint16)
    outside = ~_footprint(size, 0.55, 0.65) if west else _footprint(size, 0.86, 0.72)
    image[:, outside] = 0
    return image


def write_sentinel1(path: Path, power: NDArray[np.float32], unit: str = "power") -> None:
    """A GeoTIFF of backscatter in `unit`, "power" or "dB"; its tags say which."""
    values = power if unit == "power" else 10 * np.log10(np.maximum(power, np.float32(1e-4)))  # NaN stays
    with _create(path, values, nodata=float("nan"), predictor=3) as raster:
        raster.update_tags(SENSOR="made-up SAR, after Sentinel-1 IW", UNIT=unit)
        for index, name in enumerate(SAR_BANDS, 1):
            raster.set_band_description(index, name)
            raster.update_tags(index, POL=name)


def write_sentinel2(path: Path, image: NDArray[np.uint16]) -> None:
    """A GeoTIFF with band names, scales and offsets."""
    with _create(path, image, nodata=0, predictor=2) as raster:
        raster.update_tags(PRODUCT="made up, after Sentinel-2 L2A", BASELINE="04.00")
        raster.descriptions = S2_BANDS
        raster.scales, raster.offsets = (SCALE,) * len(S2_BANDS), (OFFSET,) * len(S2_BANDS)


def write_classes(path: Path, kind: NDArray[np.uint8]) -> None:
    """A GeoTIFF with a colour table: what lossy coding isn't for."""
    with _create(path, kind[None]) as raster:
        raster.write_colormap(1, {k: (*colour, 255) for k, colour in COLOURS.items()})


def panels(path: Path, pictures: list[tuple[str, NDArray[np.uint8]]], zoom: int = 2) -> None:
    """Pictures of one size side by side, (H, W) or (H, W, 3), each under its label, enlarged without smoothing."""
    Image.fromarray(side_by_side(pictures, zoom=zoom)).save(path, optimize=True)


def grey(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Values as 8 bits for the eye, `low` black and `high` white."""
    return np.nan_to_num((values - low) / (high - low) * 255, nan=0.0).clip(0, 255).astype(np.uint8)


def main(folder: str | Path = ".", size: int = SIZE) -> None:
    """Write all scenes and say what they are."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    power, _ = sentinel1(size)
    write_sentinel1(folder / "s1.tif", power)
    write_sentinel1(folder / "s1-db.tif", power, "dB")
    write_sentinel2(folder / "s2.tif", sentinel2(size))
    write_sentinel2(folder / "s2-west.tif", sentinel2(size, west=True))
    write_classes(folder / "classes.tif", ground(size).kind)
    for name in ("s1.tif", "s1-db.tif", "s2.tif", "s2-west.tif", "classes.tif"):
        with rasterio.open(folder / name) as raster:
            kind = f"{raster.count} × {raster.dtypes[0]}"
        print(f"{name:12} {size} × {size} pixels, {kind}, {(folder / name).stat().st_size:,} bytes")


def _create(path: Path, image: NDArray[Any], **options: Any) -> Any:
    """A GeoTIFF with the image in it, open for what belongs beside the pixels."""
    raster = rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=image.shape[1],
        width=image.shape[2],
        count=len(image),
        dtype=image.dtype,
        crs=CRS,
        transform=Affine(PIXEL, 0, CORNER[0], 0, -PIXEL, CORNER[1]),
        compress="deflate",
        tiled=True,
        **options,
    )
    raster.write(image)
    return raster


def _fractal(rng: np.random.Generator, size: int, slope: float) -> Surface:
    """Noise whose amplitude falls as frequency^-slope, of mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(1.0, frequency) ** slope
    spectrum[0, 0] = 0
    noise: Surface = np.fft.irfft2(spectrum, s=(size, size))
    noise /= noise.std()
    return noise


def _blur(plane: Surface) -> Surface:
    """The mean of each pixel and its neighbours, weighted 1 : 2 : 1 along both axes."""
    for axis in (0, 1):
        plane = (np.roll(plane, 1, axis) + 2 * plane + np.roll(plane, -1, axis)) / 4
    return plane


def _parcels(rng: np.random.Generator, size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each pixel's field: that of the nearest point of a jittered, turned grid. And the tracks between fields."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    along = (columns * np.cos(0.35) + rows * np.sin(0.35)) / 60 + 1
    across = (rows * np.cos(0.35) - columns * np.sin(0.35)) / 36
    across += 1 - across.min()
    cells = int(along.max()) + 3, int(across.max()) + 3
    jitter = rng.uniform(0.15, 0.85, (*cells, 2))
    nearest, parcel = np.full((size, size), np.inf), np.zeros((size, size), np.int64)
    for step in np.ndindex(3, 3):
        i, j = along.astype(int) + step[0] - 1, across.astype(int) + step[1] - 1
        distance = (along - i - jitter[i, j, 0]) ** 2 + (across - j - jitter[i, j, 1]) ** 2
        closer = distance < nearest
        nearest[closer], parcel[closer] = distance[closer], (i * cells[1] + j)[closer]
    border = (parcel != np.roll(parcel, 1, 0)) | (parcel != np.roll(parcel, 1, 1))
    return parcel, border


def _footprint(size: int, top: float, bottom: float) -> NDArray[np.bool_]:
    """Right of a slanting edge, from its column in the first row to that in the last, as shares of the width."""
    edge = np.linspace(top, bottom, size)[:, None] * size
    right: NDArray[np.bool_] = np.arange(size)[None] >= edge
    return right


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".", int(sys.argv[2]) if len(sys.argv) > 2 else SIZE)
