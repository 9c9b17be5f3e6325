"""Training images: decoded once into one flat array, from which batches are gathered by index.

Images, places and augmentations are drawn on the CPU by a generator seeded with (seed, step). So a batch depends only
on its number, and a resumed run continues with the same data. The rest runs on the device: on a GPU, all pixels stay in
its memory, and only a few numbers per batch are copied there.
"""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_codec.errors import TrainingError
from learned_codec.values import decibels
from learned_codec.values.inpaint import fill
from learned_codec.values.ranges import robust_range
from learned_codec.values.spectral import covariance, spectral_klt

from .speckle import simulate

MIN_SIDE = 192
"""Smaller images are mirrored up to this size, so that larger crops can use them too: radar images are often small."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".avif", ".webp", ".tif", ".tiff"}


def read_pixels(path: Path) -> NDArray[Any]:
    """An image as (H, W, C) in its own dtype. TIFFs and 16-bit PNGs are read by rasterio, all others by Pillow.

    Radar images, which have a polarisation in their tags, become dB.
    """
    if path.suffix.lower() in {".tif", ".tiff"} or _is_16_bit_png(path):
        import rasterio

        with rasterio.open(path) as source:
            pixels = np.moveaxis(source.read(), 0, -1)
            unit = source.tags().get("UNIT", "")
            return to_decibels(pixels, unit) if "POL" in source.tags() else pixels
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _is_16_bit_png(path: Path) -> bool:
    """Whether Pillow would reduce a PNG to 8 bits: byte 24 of the file is the bit depth."""
    with path.open("rb") as stream:
        head = stream.read(25)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:] == b"\x10"


def to_unit(pixels: NDArray[Any]) -> NDArray[Any]:
    """8-bit pixels unchanged; others as float16, scaled from their robust range to about [0, 1].

    float16 has 11 bits near 1, an error of -70 dB: far below any distortion in training.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = robust_range(pixels)
    # Outliers stay outliers, but of what float16 can hold.
    unit: NDArray[np.float16] = np.clip((pixels - low) / max(high - low, 1e-6), -1000, 1000).astype(np.float16)
    return unit


def to_bands(pixels: NDArray[Any], bands: int) -> list[NDArray[Any]]:
    """Images (H, W, bands) for a model of 1 or 3 bands, uint8 or float16 in about [0, 1], from one in its own units.

    A model of 3 bands gets the first three (an alpha band is dropped), or an empty list if there are fewer. A model of
    1 band gets the spectral components that the codec would code, and also one or two single bands.
    """
    if bands == 3:
        return [to_unit(pixels[..., :3])] if pixels.shape[2] >= 3 else []
    if pixels.shape[2] <= 2:
        return [to_unit(pixels[..., i : i + 1]) for i in range(pixels.shape[2])]
    planes = to_unit(pixels).transpose(2, 0, 1) / np.float32(255 if pixels.dtype == np.uint8 else 1)
    centred = planes - 0.5
    components = np.tensordot(spectral_klt(covariance(centred.reshape(len(planes), -1), None)), centred, 1) + 0.5
    return [component[..., None].astype(np.float16) for component in components]


def to_decibels(pixels: NDArray[Any], unit: str) -> NDArray[np.float32]:
    """(H, W, C) radar backscatter in dB. `unit` is the file's tag UNIT.

    Pixels without a value (zero power, not finite, or below -90 dB) are filled from their neighbours.
    """
    values = pixels.astype(np.float32)
    if "round(100*dB)+10000" in unit:
        values = np.where(values > 0, (values - 10000) / 100, -np.inf)
    elif "dB" not in unit or "amplitude" in unit:
        values = decibels.to_decibels(values, "amplitude" if "amplitude" in unit else "power")
    valid = np.isfinite(values) & (values > -90)
    planes = [fill(np.ascontiguousarray(values[..., i]), valid[..., i]) for i in range(values.shape[2])]
    return np.stack(planes, -1)


def mirrored(image: NDArray[Any]) -> NDArray[Any]:
    """An (H, W, C) image, continued by its mirror image up to MIN_SIDE pixels per side."""
    padding = [(0, max(0, MIN_SIDE - side)) for side in image.shape[:2]]
    return np.pad(image, [*padding, (0, 0)], "symmetric") if any(after for _, after in padding) else image


def find(root: Path, folders: tuple[str, ...], holdout: float) -> tuple[list[Path], list[Path]]:
    """Training and validation files, in `folders`, or else anywhere below `root`.

    Files are held out by a hash of their scene group, or else of their name. If there are several groups, at least one
    is.
    """
    shares: dict[Path, float] = {}
    anywhere = sorted({path.parent.relative_to(root).as_posix() for path in _pictures(root, "**/*")})
    for folder in folders or anywhere:
        directory = root / folder
        if not directory.is_dir():
            raise TrainingError(
                f"no such data folder: {directory}, which the recipe names (without a recipe, --start MODEL trains on "
                f"all images below {root})"
            )
        groups: dict[str, str] = {}
        table = directory / "SOURCES.csv"
        if table.exists():
            with table.open(newline="") as lines:
                groups = {r["file"]: r.get("scene_group") or r.get("scene") or "" for r in csv.DictReader(lines)}
        for path in _pictures(directory, "*"):
            key = f"{folder}/{groups.get(path.name) or path.name}"
            shares[path] = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    if not shares:
        raise TrainingError(f"no images to train on below {root}{' in ' if folders else ''}{', '.join(folders)}")
    lowest = min(shares.values())
    if 0 < holdout <= lowest < max(shares.values()):
        holdout = float(np.nextafter(lowest, 1))
    train, held = ([p for p, share in shares.items() if (share < holdout) == wanted] for wanted in (False, True))
    if not train:
        raise TrainingError(f"all {len(held)} images below {root} are held out for validation: lower `holdout`")
    return train, held


def _pictures(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.suffix.lower() in SUFFIXES and path.is_file())


@dataclass(frozen=True, slots=True)
class Images:
    """All pixels in one (P, bands) tensor, with each image's offset, height, width and folder."""

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
        """The same images with their pixels on a device."""
        return replace(self, pixels=self.pixels.to(device))


def _to_float(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def load(
    paths: list[Path], bands: int, simulated: tuple[str, ...] = (), progress: Callable[[int, int], None] | None = None
) -> Images:
    """Decode all files in parallel. If all are 8-bit, they stay 8-bit; otherwise all become float16 in [0, 1].

    Images in the folders `simulated` also give simulated radar images; each such folder counts as one more folder.
    """

    def read(number: int) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """The images of a file, and those simulated from it."""
        path, scenes = paths[number], []
        try:
            pixels = read_pixels(path)
            images = to_bands(pixels, bands)
        except Exception as error:  # decoders raise anything; the file's name is what the user needs
            raise TrainingError(f"cannot read {path}: {error}") from error
        if any(path.parent.as_posix().endswith(name) for name in simulated):
            rng = np.random.default_rng(number)
            chosen = rng.permutation(pixels.shape[2])[:2]
            scenes = [to_unit(simulate(pixels[..., i].astype(np.float32), rng)[..., None]) for i in chosen]
        return [mirrored(image) for image in images], [mirrored(scene) for scene in scenes]

    found: list[NDArray[Any]] = []
    origins: list[int] = []
    parents = list(dict.fromkeys(path.parent for path in paths))
    for number, (images, scenes) in enumerate(_in_parallel(read, len(paths))):
        parent = paths[number].parent
        found += images + scenes
        origins += [parents.index(parent)] * len(images)
        named = [len(parents) + i for i, name in enumerate(simulated) if parent.as_posix().endswith(name)]
        origins += named[:1] * len(scenes)
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


def _in_parallel(function: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Call the function with 0 … count - 1 on as many threads as there are cores. Yields results in order."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # where a picture was taken does not matter here
        try:
            yield from pool.map(function, range(count))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, the rest need not be read


class Sampler:
    """Random crops with flips, transposes and box downscaling. Images are drawn in proportion to their pixels.

    With `shares`, folders are drawn by their shares. A share `contrast` of all crops has its contrast and brightness
    changed, down to a 50th. So the model also learns to code the weak components of a spectral transform.
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
        scale = np.minimum(rng.choice(len(self.downscale), size, p=self.downscale) + 1, smallest[chosen] // crop)
        height, width = images.heights[chosen], images.widths[chosen]
        top, left = (rng.integers(side - crop * scale + 1) for side in (height, width))
        transposed, *flipped = rng.random((3, size)) < 0.5
        one = np.ones_like(width)
        strides = np.where(transposed, (one, width), (width, one))
        # Where each crop begins, how far apart its rows and its columns are, and which of them run backwards.
        places = np.stack([images.offsets[chosen] + top * width + left, *strides, *flipped])
        by_scale = np.argsort(scale, kind="stable")
        placed = torch.from_numpy(places[:, by_scale]).to(images.pixels.device, non_blocking=True)
        counts = np.bincount(scale)
        parts = torch.split(placed, counts.tolist(), 1)
        batch = torch.cat([self._gather(part, crop, k) for k, part in enumerate(parts) if counts[k]])
        # Back in the order they were drawn in: a crop's scale has nothing to do with the quality level that it gets.
        batch = batch[torch.from_numpy(np.argsort(by_scale)).to(batch.device, non_blocking=True)]
        return self._with_contrast(rng, batch).permute(0, 3, 1, 2)

    def _gather(self, places: Tensor, crop: int, scale: int) -> Tensor:
        """The crops at `places` (5, n), each of crop * scale pixels a side, averaged: (n, crop, crop, bands)."""
        begin, *strides, flip_rows, flip_columns = places
        pixel = torch.arange(crop * scale, device=places.device)
        rows, columns = (
            torch.where(flip[:, None] > 0, pixel.flip(0), pixel) * stride[:, None]
            for flip, stride in zip((flip_rows, flip_columns), strides, strict=True)
        )
        found = _to_float(self.images.pixels[begin[:, None, None] + rows[:, :, None] + columns[:, None]])
        if scale == 1:
            return found
        found = found.reshape(len(found), crop, scale, crop, scale, -1).mean((2, 4))
        return (found * 255).round() / 255 if self.images.pixels.dtype == torch.uint8 else found

    def _with_contrast(self, rng: np.random.Generator, batch: Tensor) -> Tensor:
        """A batch with the contrast and the brightness of some crops changed."""
        if not self.contrast:
            return batch
        changed = rng.random(len(batch)) < self.contrast
        gain, middle = 50 ** rng.uniform(-1, 0.3, len(batch)), rng.uniform(0.2, 0.8, len(batch))
        settings = np.stack([changed, np.where(changed, gain, 1), middle]).astype(np.float32)
        changed, gain, middle = torch.from_numpy(settings).to(batch.device, non_blocking=True)[..., None, None, None]
        mean = batch.mean((1, 2, 3), keepdim=True)
        return torch.where(changed > 0, (batch - mean) * gain + middle, batch)

    def crops(self, count: int, side: int) -> Tensor:
        """(count, bands, side, side) crops for choosing the block transform.

        They are like the batches, but drawn apart from them.
        """
        steps = range(2**32, 2**32 + -(-count // 64))
        return torch.cat([self.batch(step, 64, side) for step in steps])[:count]
