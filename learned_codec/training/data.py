"""Images for training: decoded once into one flat array, from which every batch is gathered by index.

The choice of image, place and augmentation is drawn on the CPU from a generator seeded with (seed, step), so a batch
depends on nothing but its number and a resumed run continues with the same data. Only the gather runs on the device,
so on a GPU all pixels stay in its memory.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_codec.errors import TrainingError

SUFFIXES = {".png", ".jpg", ".jpeg", ".avif", ".webp", ".tif", ".tiff"}


def read_pixels(path: Path) -> NDArray[Any]:
    """One image as (H, W, C) in its own dtype. TIFFs and 16-bit PNGs through rasterio, all else through Pillow."""
    if path.suffix.lower() in {".tif", ".tiff"} or _is_16_bit_png(path):
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # where a picture was taken does not matter here
            with rasterio.open(path) as source:
                return np.moveaxis(source.read(), 0, -1)
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _is_16_bit_png(path: Path) -> bool:
    """Whether Pillow would cut a PNG's colours to 8 bits: its header has the bit depth in byte 24."""
    with path.open("rb") as stream:
        head = stream.read(25)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:] == b"\x10"


def to_unit(pixels: NDArray[Any]) -> NDArray[Any]:
    """8-bit pixels as they are; anything else affinely from its 0.1 to 99.9 percentile to [0, 1], not clipped, float16.

    float16 has 11 bits near 1, an error 70 dB down: far below any distortion that is trained for.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, [0.1, 99.9])
    unit: NDArray[np.float16] = ((pixels - low) / max(float(high - low), 1e-6)).astype(np.float16)
    return unit


def to_bands(pixels: NDArray[Any], bands: int) -> list[NDArray[Any]]:
    """Fit an image to a model of 1 or 3 bands: the first three bands for 3, each band by itself for 1.

    An alpha band is dropped. An empty list where it does not fit.
    """
    if bands == 3:
        return [pixels[..., :3]] if pixels.shape[2] >= 3 else []
    return [pixels[..., i : i + 1] for i in range(pixels.shape[2] if pixels.shape[2] != 4 else 3)]


def find(root: Path, folders: tuple[str, ...], holdout: float) -> tuple[list[Path], list[Path]]:
    """Training and validation files. A file is held out by a hash of its scene group, else of its name."""
    train: list[Path] = []
    held: list[Path] = []
    for folder in folders:
        directory = root / folder
        if not directory.is_dir():
            raise TrainingError(f"no such data folder: {directory}")
        groups: dict[str, str] = {}
        table = directory / "SOURCES.csv"
        if table.exists():
            with table.open(newline="") as lines:
                groups = {r["file"]: r.get("scene_group") or r.get("scene") or "" for r in csv.DictReader(lines)}
        for path in sorted(p for p in directory.iterdir() if p.suffix.lower() in SUFFIXES):
            key = groups.get(path.name) or path.name
            share = int.from_bytes(hashlib.sha256(f"{folder}/{key}".encode()).digest()[:4], "big") / 2**32
            (held if share < holdout else train).append(path)
    if not train:
        raise TrainingError(f"no images to train on below {root} in {', '.join(folders)}")
    return train, held


@dataclass(frozen=True, slots=True)
class Images:
    """All pixels in one (P, bands) tensor, and each image's offset, height and width."""

    pixels: Tensor
    offsets: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def image(self, index: int) -> Tensor:
        """(bands, H, W) float32 in [0, 1]."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        return _to_float(self.pixels[start : start + height * width]).reshape(height, width, -1).permute(2, 0, 1)

    def to(self, device: str) -> Images:
        return Images(self.pixels.to(device), self.offsets, self.heights, self.widths)


def _to_float(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def load(paths: list[Path], bands: int, progress: Callable[[int, int], None] | None = None) -> Images:
    """Decode every file. All 8-bit images stay 8-bit; with any other among them all become float16 in [0, 1]."""
    found: list[NDArray[Any]] = []
    for number, path in enumerate(paths):
        try:
            found.extend(to_bands(to_unit(read_pixels(path)), bands))
        except Exception as error:  # decoders raise anything; the file's name is what the user needs
            raise TrainingError(f"cannot read {path}: {error}") from error
        if progress is not None:
            progress(number + 1, len(paths))
    if not found:
        raise TrainingError(f"none of {len(paths)} images has the {bands} bands this model takes")
    if any(image.dtype != np.uint8 for image in found):
        found = [
            image if image.dtype == np.float16 else (image / np.float32(255)).astype(np.float16) for image in found
        ]
    sizes = np.array([image.shape[:2] for image in found], np.int64)
    areas = sizes.prod(1)
    pixels = np.empty((int(areas.sum()), bands), found[0].dtype)
    offsets = np.concatenate([[0], areas.cumsum()[:-1]])
    for index, start in enumerate(offsets):
        pixels[start : start + areas[index]] = found[index].reshape(-1, bands)
        found[index] = np.empty(0)  # free it now: both copies at once would double the memory
    return Images(torch.from_numpy(pixels), offsets, sizes[:, 0], sizes[:, 1])


class Sampler:
    """Random crops with flips, transposes and box downscaling; images are drawn in proportion to their area."""

    def __init__(self, images: Images, downscale: tuple[float, ...], seed: int) -> None:
        self.images, self.seed = images, seed
        self.downscale = np.array(downscale) / sum(downscale)

    def batch(self, step: int, size: int, crop: int) -> Tensor:
        """(size, bands, crop, crop) float32 in [0, 1], channels last, the same for the same `step`."""
        rng = np.random.default_rng([self.seed, step])
        images = self.images
        smallest = np.minimum(images.heights, images.widths)
        areas = np.where(smallest >= crop, images.heights * images.widths, 0).astype(float)
        if not areas.any():
            raise TrainingError(f"no training image is as large as the crop of {crop} pixels")
        chosen = rng.choice(len(images), size, p=areas / areas.sum())
        result = torch.empty(size, crop, crop, images.pixels.shape[1], device=images.pixels.device)
        for row, image in enumerate(chosen):
            scale = min(int(rng.choice(len(self.downscale), p=self.downscale)) + 1, int(smallest[image]) // crop)
            result[row] = self._crop(rng, int(image), crop, scale)
        return result.permute(0, 3, 1, 2)

    def _crop(self, rng: np.random.Generator, image: int, crop: int, scale: int) -> Tensor:
        images, side = self.images, crop * scale
        height, width = int(images.heights[image]), int(images.widths[image])
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        device = images.pixels.device
        rows = torch.arange(top, top + side, device=device)[:, None] * width
        columns = torch.arange(left, left + side, device=device)[None]
        pixels = _to_float(images.pixels[rows + columns + int(images.offsets[image])])
        if scale > 1:
            pixels = pixels.reshape(crop, scale, crop, scale, -1).mean((1, 3))
            if images.pixels.dtype == torch.uint8:
                pixels = (pixels * 255).round() / 255
        transpose, flip_rows, flip_columns = rng.random(3) < 0.5
        if transpose:
            pixels = pixels.transpose(0, 1)
        axes = [axis for axis, flip in ((0, flip_rows), (1, flip_columns)) if flip]
        return pixels.flip(axes) if axes else pixels

    def crops(self, count: int, side: int) -> Tensor:
        """(count, bands, side, side) crops for the skeleton, like the batches but not part of their sequence."""
        steps = range(2**32, 2**32 + -(-count // 64))
        return torch.cat([self.batch(step, 64, side) for step in steps])[:count]
