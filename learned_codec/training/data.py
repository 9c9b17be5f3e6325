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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_codec.errors import TrainingError
from learned_codec.values.choose import robust_range, spectral_klt
from learned_codec.values.inpaint import fill

from .speckle import simulate

MIN_SIDE = 192
"""Smaller images are mirrored to this size, so that larger crops don't exclude them: radar chips are often small."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".avif", ".webp", ".tif", ".tiff"}


def read_pixels(path: Path) -> NDArray[Any]:
    """One image as (H, W, C) in its own dtype. TIFFs and 16-bit PNGs through rasterio, all else through Pillow.

    Radar images, which name a polarisation in their tags, come in dB.
    """
    if path.suffix.lower() in {".tif", ".tiff"} or _is_16_bit_png(path):
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # where a picture was taken does not matter here
            with rasterio.open(path) as source:
                pixels = np.moveaxis(source.read(), 0, -1)
                unit = source.tags().get("UNIT", "")
                return to_decibels(pixels, unit) if "POL" in source.tags() else pixels
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
    """8-bit pixels as they are; anything else affinely from its robust range to about [0, 1], float16.

    float16 has 11 bits near 1, an error 70 dB down: far below any distortion that is trained for.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = robust_range(pixels)
    # Outliers stay outliers, but of what float16 can hold.
    unit: NDArray[np.float16] = np.clip((pixels - low) / max(high - low, 1e-6), -1000, 1000).astype(np.float16)
    return unit


def to_bands(pixels: NDArray[Any], bands: int) -> list[NDArray[Any]]:
    """Fit an image in its own units to a model of 3 bands or of 1: (H, W, bands), uint8 or float16 in about [0, 1].

    A model of 3 bands gets the first three (an alpha band is dropped); an empty list where there are fewer. A model of
    1 band gets the spectral components that the codec would code, and one or two bands each by itself.
    """
    if bands == 3:
        return [to_unit(pixels[..., :3])] if pixels.shape[2] >= 3 else []
    if pixels.shape[2] <= 2:
        return [to_unit(pixels[..., i : i + 1]) for i in range(pixels.shape[2])]
    planes = to_unit(pixels).transpose(2, 0, 1) / np.float32(255 if pixels.dtype == np.uint8 else 1)
    centred = planes - 0.5
    components = np.tensordot(spectral_klt(centred.reshape(len(planes), -1)), centred, 1) + 0.5
    return [component[..., None].astype(np.float16) for component in components]


def to_decibels(pixels: NDArray[Any], unit: str) -> NDArray[np.float32]:
    """(H, W, C) radar backscatter in dB; `unit` is what the file's tag UNIT says of its values.

    Pixels without a value (zero power, not finite, or below -90 dB) are filled from their neighbours.
    """
    values = pixels.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        if "round(100*dB)+10000" in unit:
            values = np.where(values > 0, (values - 10000) / 100, -np.inf)
        elif "amplitude" in unit:
            values = 20 * np.log10(values)
        elif "dB" not in unit:
            values = 10 * np.log10(values)
    valid = np.isfinite(values) & (values > -90)
    planes = [fill(np.ascontiguousarray(values[..., i]), valid[..., i]) for i in range(values.shape[2])]
    return np.stack(planes, -1)


def mirrored(image: NDArray[Any]) -> NDArray[Any]:
    """An (H, W, C) image, continued in its mirror image up to MIN_SIDE pixels a side."""
    padding = [(0, max(0, MIN_SIDE - side)) for side in image.shape[:2]]
    return np.pad(image, [*padding, (0, 0)], "symmetric") if any(after for _, after in padding) else image


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
    """All pixels in one (P, bands) tensor, each image's offset, height and width, and which folder it came from."""

    pixels: Tensor
    offsets: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    folders: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def image(self, index: int) -> Tensor:
        """(bands, H, W) float32 in [0, 1]."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        return _to_float(self.pixels[start : start + height * width]).reshape(height, width, -1).permute(2, 0, 1)

    def to(self, device: str) -> Images:
        return replace(self, pixels=self.pixels.to(device))


def _to_float(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def load(
    paths: list[Path], bands: int, simulated: tuple[str, ...] = (), progress: Callable[[int, int], None] | None = None
) -> Images:
    """Decode every file. All 8-bit images stay 8-bit; with any other among them all become float16 in [0, 1].

    From images in the folders called in `simulated` come simulated radar images too, as if from one more folder each.
    """
    found: list[NDArray[Any]] = []
    origins: list[int] = []
    parents = list(dict.fromkeys(path.parent for path in paths))
    for number, path in enumerate(paths):
        origin = parents.index(path.parent)
        try:
            pixels = read_pixels(path)
            images = to_bands(pixels, bands)
        except Exception as error:  # decoders raise anything; the file's name is what the user needs
            raise TrainingError(f"cannot read {path}: {error}") from error
        origins += [origin] * len(images)
        found += [mirrored(image) for image in images]
        models = [name for name in simulated if path.parent.as_posix().endswith(name)]
        if models:
            rng = np.random.default_rng(number)
            scenes = [simulate(pixels[..., i].astype(np.float32), rng) for i in rng.permutation(pixels.shape[2])[:2]]
            origins += [len(parents) + simulated.index(models[0])] * len(scenes)
            found += [mirrored(to_unit(scene[..., None])) for scene in scenes]
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
    return Images(torch.from_numpy(pixels), offsets, sizes[:, 0], sizes[:, 1], np.array(origins))


class Sampler:
    """Random crops with flips, transposes and box downscaling; images are drawn in proportion to their area.

    With `shares`, so is each folder by its share. A share `contrast` of all crops has its contrast and brightness
    changed, down to a 50th: so the model learns to code the weak components of a spectral transform, too.
    """

    def __init__(
        self,
        images: Images,
        downscale: tuple[float, ...],
        seed: int,
        shares: tuple[float, ...] = (),
        contrast: float = 0.0,
    ) -> None:
        self.images, self.seed, self.contrast = images, seed, contrast
        self.downscale = np.array(downscale) / sum(downscale)
        self.weights = (images.heights * images.widths).astype(float)
        folders = int(images.folders.max()) + 1
        if shares and len(shares) != folders:
            raise TrainingError(f"{len(shares)} shares for {folders} folders (a simulated one counts as one more)")
        for folder, share in enumerate(shares):
            mine = images.folders == folder
            self.weights[mine] *= share / self.weights[mine].sum()

    def batch(self, step: int, size: int, crop: int) -> Tensor:
        """(size, bands, crop, crop) float32 in [0, 1], channels last, the same for the same `step`."""
        rng = np.random.default_rng([self.seed, step])
        images = self.images
        smallest = np.minimum(images.heights, images.widths)
        areas = np.where(smallest >= crop, self.weights, 0)
        if not areas.any():
            raise TrainingError(f"no training image is as large as the crop of {crop} pixels")
        chosen = rng.choice(len(images), size, p=areas / areas.sum())
        result = torch.empty(size, crop, crop, images.pixels.shape[1], device=images.pixels.device)
        for row, image in enumerate(chosen):
            scale = min(int(rng.choice(len(self.downscale), p=self.downscale)) + 1, int(smallest[image]) // crop)
            result[row] = self._crop(rng, int(image), crop, scale)
            if self.contrast and rng.random() < self.contrast:
                gain, middle = 50 ** rng.uniform(-1, 0.3), rng.uniform(0.2, 0.8)
                result[row] = (result[row] - result[row].mean()) * gain + middle
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
