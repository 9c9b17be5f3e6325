"""Images of a folder, or built-in ones, as they are stored: no conversion of type, bands or size."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, bands_of

SUFFIXES = (".png", ".tif", ".tiff", ".ppm", ".pgm", ".bmp")

#: Lossless images in scikit-image's wheel, and the crop of each: row, column, height, width.
_QUICK: tuple[tuple[str, tuple[int, int, int, int]], ...] = (
    ("astronaut.png", (0, 64, 384, 384)),
    ("chelsea.png", (0, 32, 288, 384)),
    ("coffee.png", (0, 128, 384, 384)),
    ("camera.png", (64, 64, 384, 384)),
    ("moon.png", (0, 0, 384, 384)),
)
_MOSAIC = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png", "ihc.png")


#: Images with fewer pixels per side are left out: their files are mostly headers, and metrics need windows.
MIN_SIDE = 32


class DatasetError(ValueError):
    """A data set that can't be read, or has no image."""


class UnfitError(DatasetError):
    """An image whose rate and distortion would mean nothing. A run lists it with this reason, and goes on."""


@dataclass(frozen=True)
class Item:
    """One image: its name, its path, and the part of it to use."""

    name: str
    path: str
    crop: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Loaded:
    """An image in memory. `valid` marks pixels that hold data; None if all do."""

    name: str
    image: AnyArray
    valid: AnyArray | None
    digest: str

    @property
    def kind(self) -> str:
        return f"{self.image.dtype}x{bands_of(self.image)}"

    @property
    def group(self) -> Group:
        return group_of(self.image.dtype, bands_of(self.image))

    @property
    def pixels(self) -> int:
        return int(self.image.shape[0] * self.image.shape[1])


@dataclass(frozen=True)
class Group:
    """Images that may be in one table: `title` is for people, `slug` for file names."""

    slug: str
    title: str


def group_of(dtype: npt.DTypeLike, bands: int) -> Group:
    """The group by type and number of bands. Several bands that aren't 8-bit RGB are multi-band."""
    dtype = np.dtype(dtype)
    depth, name = ("float", "float") if dtype.kind == "f" else (str(8 * dtype.itemsize), f"{8 * dtype.itemsize}-bit")
    if bands == 1:
        return Group(f"mono{depth}", f"{name}, one band")
    if dtype == np.uint8 and bands == 3:
        return Group("rgb8", "8-bit RGB")
    return Group("multi", "multi-band") if dtype.kind in "iu" else Group("multifloat", "multi-band, float")


def skimage_folder() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DatasetError("the built-in images come with scikit-image, which is not installed")
    return Path(spec.origin).parent / "data"


def quick() -> list[Item]:
    """Crops of images in scikit-image's wheel: three in colour, two grey."""
    folder = skimage_folder()
    items = [Item(Path(file).stem, str(folder / file), crop) for file, crop in _QUICK if (folder / file).exists()]
    if not items:
        raise DatasetError("this scikit-image bundles none of the expected images")
    return items


def find(dataset: str | Path) -> list[Item]:
    """The images of a folder, not of its subfolders, by name; or with "quick" the built-in ones."""
    if str(dataset) == "quick":
        return quick()
    folder = Path(dataset)
    if not folder.is_dir():
        raise DatasetError(f"{dataset} is neither a directory nor the name of a built-in data set (quick)")
    items = [Item(p.stem, str(p)) for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    if not items:
        raise DatasetError(f"no image in {dataset} (looked for {', '.join(SUFFIXES)})")
    return items


def dataset_name(dataset: str | Path) -> str:
    return "quick" if str(dataset) == "quick" else Path(dataset).resolve().name


def _read_tiff(path: str) -> tuple[AnyArray, AnyArray | None]:
    rasterio = importlib.import_module("rasterio")
    errors = importlib.import_module("rasterio.errors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
        # a nodata value takes precedence over an alpha band, as it should
        warnings.simplefilter("ignore", errors.NodataShadowWarning)
        with rasterio.open(path) as source:
            if "palette" in {interpretation.name for interpretation in source.colorinterp}:
                raise UnfitError("a colour table: its values are classes, which have no distortion")
            planes: AnyArray = source.read()
            valid: AnyArray = source.dataset_mask() != 0
    image = planes[0] if planes.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, 2))
    if image.dtype.kind == "f":
        valid &= np.isfinite(image) if image.ndim == 2 else np.isfinite(image).all(axis=2)
    return image, None if valid.all() else valid


def _check_fit(image: AnyArray, valid: AnyArray | None) -> None:
    if min(image.shape[:2]) < MIN_SIDE:
        raise UnfitError(f"{image.shape[1]}×{image.shape[0]} pixels, fewer than {MIN_SIDE} a side")
    if valid is not None and not valid.any():
        raise UnfitError("no pixel holds data")
    values = image if valid is None else image[valid]
    if values.min() == values.max():
        raise UnfitError("every pixel has the same value")


def load(item: Item) -> Loaded:
    """Read an image. Raises `UnfitError` for one that no codec should be judged by."""
    valid: AnyArray | None = None
    if Path(item.path).suffix.lower() in (".tif", ".tiff"):
        image, valid = _read_tiff(item.path)
    else:
        with importlib.import_module("PIL.Image").open(item.path) as file:
            if file.mode in ("P", "1", "CMYK"):
                raise UnfitError(f"mode {file.mode} would need a conversion")
            image = np.asarray(file)
    if item.crop is not None:
        row, column, height, width = item.crop
        image = image[row : row + height, column : column + width]
        valid = None if valid is None else valid[row : row + height, column : column + width]
    image = np.ascontiguousarray(image)
    _check_fit(image, valid)
    digest = hashlib.sha256(f"{image.dtype}{image.shape}".encode() + image.tobytes())
    if valid is not None:
        digest.update(np.packbits(valid).tobytes())
    return Loaded(item.name, image, valid, digest.hexdigest()[:16])


def mosaic(height: int, width: int) -> AnyArray:
    """An RGB image of any size, made of parts of scikit-image's photographs; the same on every machine.

    No two parts are equal. It is for timing only.
    """
    folder = skimage_folder()
    pil = importlib.import_module("PIL.Image")
    sources = []
    for name in _MOSAIC:
        if (folder / name).exists():
            with pil.open(folder / name) as file:
                if file.mode == "RGB":
                    sources.append(np.asarray(file))
    if not sources:
        raise DatasetError("this scikit-image bundles none of the expected colour images")
    tile, rng = 256, np.random.default_rng(12)
    out = np.empty((-(-height // tile) * tile, -(-width // tile) * tile, 3), np.uint8)
    for row in range(0, out.shape[0], tile):
        for column in range(0, out.shape[1], tile):
            source = sources[int(rng.integers(len(sources)))]
            y = int(rng.integers(source.shape[0] - tile + 1))
            x = int(rng.integers(source.shape[1] - tile + 1))
            piece = source[y : y + tile, x : x + tile]
            out[row : row + tile, column : column + tile] = piece[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
    return out[:height, :width].copy()
