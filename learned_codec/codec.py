"""The one path an image takes: array -> values -> analysis -> latents -> payloads -> container, and back.

Only what needs the networks imports torch, inside the functions: a header can be read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream
from learned_codec.bitstream import TILE_UNIT, Container, Header
from learned_codec.errors import (
    BitstreamError,
    CorruptDataError,
    InvalidInputError,
    RateError,
    UnknownModelError,
    UnsupportedVersionError,
)
from learned_codec.limits import Limits
from learned_codec.models import registry
from learned_codec.models.config import BLOCK
from learned_codec.models.registry import ModelCard, list_models
from learned_codec.raster import tiles, values

if TYPE_CHECKING:
    from torch import Tensor

    from learned_codec.models.runtime import Coded, Model

__all__ = ["Info", "ModelCard", "Report", "check", "decode", "encode", "inspect", "list_models"]

DEFAULT_TILE = 1024
MAX_TILE = 4096
"""Decoding takes memory in proportion to the tile; `Limits.max_tile_pixels` allows this much by default."""

BPP_TOLERANCE = 0.03
PSNR_TOLERANCE = 0.1

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and of all tiles."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a header says.

    `model` and `quality` are None where this installation does not have the model; `bpp` counts bits of the whole file
    per pixel (height x width).
    """

    width: int
    height: int
    bands: int
    dtype: str
    layout: str
    model: str | None
    weights_id: str
    quality: float | None
    tile_size: int | None
    tiles: int
    bytes: int
    bpp: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found."""

    ok: bool
    damaged_tiles: tuple[int, ...]
    tiles: int
    message: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"damaged_tiles": list(self.damaged_tiles)}


def encode(
    image: NDArray[Any] | Tensor,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    model: str | None = None,
    planar: bool = False,
    tile_size: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Encode an image.

    Args:
        image: uint8, (H, W), (H, W, 1) or (H, W, 3), or with `planar` (1 or 3, H, W); every H, W >= 1.
        quality: 1 (smallest) to 100 (best), continuous; 60 if no rate is given.
        bpp: bits of the whole file per pixel (height x width), met from below, within 3 % on all but tiny images.
        psnr: in dB over all bands with the peak 255, met from above, within 0.1 dB.
        model: a model's name (see `list_models`); by default the newest for RGB, which codes a single band too.
        planar: the array is (C, H, W).
        tile_size: pixels a side of the independently coded tiles, a multiple of 64; 1024 by default.
        device: where the networks run, as torch names it. The entropy coder's symbols are the same everywhere.
        threads: torch's threads for this call; by default as many as torch uses.
        progress: called with (tiles done, tiles).

    Returns:
        The bytes of an LCI file.

    Raises:
        InvalidInputError: the array, or an argument, is not one of the above.
        RateError: the bpp or PSNR is outside what the model reaches on this image; the message names the range.
        UnknownModelError: there is no such model.
        LimitError: the image is larger than a decoder accepts by default (see `Limits`).
    """
    planes, layout = _planes(image, planar)
    card = registry.find(name=model) if model is not None else registry.find(bands=3)
    rate = _one_rate(quality, bpp, psnr)
    header = Header(
        width=planes.shape[2],
        height=planes.shape[1],
        bands=planes.shape[0],
        layout=layout,  # type: ignore[arg-type]  # one of the three by construction
        weights_id=bytes.fromhex(card.weights_id),
        level=0,
        tile_code=_tile_code(tile_size, planes.shape[1], planes.shape[2]),
        transform=values.choose(planes.shape[0], card.bands),
    )
    header.validate(Limits())  # what no decoder would accept by default is better not written
    from learned_codec.models import runtime

    with runtime.threads(threads):
        return _Encoding(planes, header, registry.load(card.name, device), progress).run(*rate)


def decode(
    data: bytes | bytearray | memoryview,
    *,
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Decode the bytes of an LCI file to an array of the shape and dtype that was encoded.

    Args:
        data: the whole file.
        limits: the largest image to accept (`Limits()` by default).
        device: as for `encode`.
        threads: likewise.
        progress: likewise.

    Raises:
        NotLCIError, TruncatedError, CorruptDataError, UnsupportedVersionError: the bytes are at fault (all are
            `BitstreamError`s).
        LimitError: the image is larger than `limits`; nothing of its size was allocated.
        UnknownModelError: the file was made with a model that this installation does not have.
    """
    container = bitstream.read(data, limits=limits or Limits())
    header = container.header
    card = registry.find(weights_id=header.weights_id)
    values.check(header.transform, header.bands, card.bands, header.dtype)
    if container.mask is not None:
        raise UnsupportedVersionError("the file has a mask, which needs a later version of this library")
    if header.level > card.max_step:
        raise CorruptDataError(f"quality step {header.level} is above the model's highest, {card.max_step}")
    from learned_codec.models import runtime

    planes = np.empty((header.bands, header.height, header.width), np.uint8)
    with runtime.threads(threads):
        model = registry.load(card.name, device)
        for rows, columns, block in _synthesise(model, header, lambda i: _decode_tile(model, container, i), progress):
            planes[:, rows, columns] = block
    if header.layout == "CHW":
        return planes
    return planes[0] if header.layout == "HW" else np.ascontiguousarray(planes.transpose(1, 2, 0))


def inspect(data: bytes | bytearray | memoryview, *, limits: Limits | None = None) -> Info:
    """What the header of an LCI file says; takes microseconds and does not load torch. Raises as `decode`."""
    container = bitstream.read_head(data, limits=limits or Limits())
    header, size = container.header, container.size
    try:
        card = registry.find(weights_id=header.weights_id)
    except UnknownModelError:
        card = None
    return Info(
        width=header.width,
        height=header.height,
        bands=header.bands,
        dtype=header.dtype,
        layout=header.layout,
        model=card.name if card else None,
        weights_id=header.weights_id.hex(),
        quality=round(1 + 99 * header.level / card.max_step, 3) if card and header.level <= card.max_step else None,
        tile_size=header.tile_code * TILE_UNIT or None,
        tiles=header.tile_count,
        bytes=size,
        bpp=8 * size / header.pixels,
    )


def check(data: bytes | bytearray | memoryview, *, limits: Limits | None = None) -> Report:
    """Whether a file is whole, by its checksums, without decoding it; damage is reported, not raised."""
    try:
        container = bitstream.read_head(data, limits=limits or Limits())
    except BitstreamError as error:
        return Report(False, (), 0, str(error))
    count = container.header.tile_count
    damaged = container.damaged_tiles()
    if damaged:
        return Report(False, damaged, count, f"{len(damaged)} of {count} tiles are damaged or missing")
    try:
        container.check_end()
    except BitstreamError as error:
        return Report(False, (), count, str(error))
    return Report(True, (), count, f"{count} tiles, all whole")


# -- encoding ----------------------------------------------------------------------------------------------------------


def _planes(image: NDArray[Any] | Tensor, planar: bool) -> tuple[NDArray[np.uint8], str]:
    """The image as (bands, H, W), and its layout."""
    array = image if isinstance(image, np.ndarray) else _to_numpy(image)
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidInputError("masked arrays can't be encoded yet: the mask would be lost; fill them first")
    if array.dtype != np.uint8:
        raise InvalidInputError(f"uint8 can be encoded so far, not {array.dtype}")
    if array.ndim not in (2, 3) or (planar and array.ndim != 3):
        wanted = "(C, H, W)" if planar else "(H, W) or (H, W, C)"
        raise InvalidInputError(f"the array must be {wanted}, not of shape {array.shape}")
    if 0 in array.shape:
        raise InvalidInputError(f"the array is empty: its shape is {array.shape}")
    if array.ndim == 2:
        return array[None], "HW"
    planes = array if planar else array.transpose(2, 0, 1)
    if planes.shape[0] not in (1, 3):
        raise InvalidInputError(
            f"images of 1 or 3 bands can be encoded so far; shape {array.shape} has {planes.shape[0]}"
            + ("" if planar else " (if it is (C, H, W), say planar=True)")
        )
    return planes, "CHW" if planar else "HWC"


def _to_numpy(image: Any) -> NDArray[Any]:
    """A torch tensor, or whatever else numpy understands."""
    try:
        array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{type(image).__name__} is not an array: {error}") from error
    return array


def _one_rate(quality: object, bpp: object, psnr: object) -> tuple[str, float]:
    """The rate control in use and its value; these come from the user, so they may be anything."""
    given = {k: v for k, v in (("quality", quality), ("bpp", bpp), ("psnr", psnr)) if v is not None}
    if not given:
        return "quality", 60.0
    if len(given) > 1:
        raise InvalidInputError(f"exactly one of quality, bpp and psnr, not {' and '.join(given)}")
    ((name, value),) = given.items()
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise InvalidInputError(f"{name} must be a number, not {value!r}")
    if name == "quality" and not 1 <= value <= 100:
        raise InvalidInputError(f"quality must be from 1 to 100, not {value}")
    if value <= 0:
        raise InvalidInputError(f"{name} must be above 0, not {value}")
    return name, float(value)


def _tile_code(tile_size: object, height: int, width: int) -> int:
    """The header's tile code; 0 where one tile holds the image. `tile_size` comes from the user: it may be anything."""
    side = DEFAULT_TILE if tile_size is None else tile_size
    if not isinstance(side, int) or side % TILE_UNIT or not TILE_UNIT <= side <= MAX_TILE:
        raise InvalidInputError(f"tile_size must be a multiple of {TILE_UNIT} up to {MAX_TILE}, not {side!r}")
    return 0 if max(height, width) <= side else side // TILE_UNIT


class _Encoding:
    """One image on its way into bytes."""

    def __init__(self, planes: NDArray[np.uint8], header: Header, model: Model, progress: Progress | None) -> None:
        self.planes, self.header, self.model, self.progress = planes, header, model, progress

    def run(self, control: str, value: float) -> bytes:
        top = self.model.max_step
        if control == "quality":
            step = round((value - 1) / 99 * top)
            # Tile by tile: neither latents nor symbols of the whole image are ever in memory.
            return self._write(step, (self.model.code(y, step).encoder.finish() for y in self._latents()))
        latents = list(self._latents())
        if control == "bpp":
            return self._to_bpp(latents, value)
        return self._to_psnr(latents, value)

    def _latents(self) -> Iterator[Tensor]:
        """The analysed latents of each tile, (h, w, latents), in the order of tiles."""
        import torch

        header, model = self.header, self.model
        tile = header.tile_code * TILE_UNIT
        step_y, step_x = (tile or tiles.latents_along(n) * BLOCK for n in (header.height, header.width))
        for rows in tiles.ranges(header.height, step_y):
            for columns in tiles.ranges(header.width, tiles.span(header.width, step_x)):
                pixels = self.planes[
                    :,
                    rows.outer_start * BLOCK : rows.outer_stop * BLOCK,
                    columns.outer_start * BLOCK : columns.outer_stop * BLOCK,
                ]
                # Replicating the last row and column costs the fewest bits to fill up the last block.
                padding = ((0, 0), (0, -pixels.shape[1] % BLOCK), (0, -pixels.shape[2] % BLOCK))
                padded = np.pad(pixels, padding, mode="edge") if np.any(padding) else pixels
                x = values.to_model(padded, header.transform, model.config.bands).to(model.device)
                yield from torch.split(model.analyse(x)[rows.inner, columns.inner], step_x // BLOCK, 1)

    def _write(self, step: int, payloads: Iterator[bytes]) -> bytes:
        count = self.header.tile_count
        done = []
        for payload in payloads:
            done.append(payload)
            if self.progress is not None:
                self.progress(len(done), count)
        return bitstream.write(_with_level(self.header, step), done)

    def _coded(self, latents: list[Tensor], step: int) -> Iterator[Coded]:
        return (self.model.code(y, step) for y in latents)

    def _to_bpp(self, latents: list[Tensor], target: float) -> bytes:
        """The highest step whose file is not above `target` bits per pixel."""
        pixels = self.header.pixels

        def rate(step: int) -> float:
            # 32 bits a tile for the coder's state and 40 bytes of container: an estimate to search with.
            return (sum(c.encoder.bits + 32 for c in self._coded(latents, step)) + 320) / pixels

        @cache
        def write(step: int) -> bytes:
            return self._write(step, (c.encoder.finish() for c in self._coded(latents, step)))

        step = _search(rate, target, self.model.max_step, np.log)
        data = write(step)
        if 8 * len(data) / pixels > target:  # the estimate was a little low
            while step > 0 and 8 * len(data) / pixels > target:
                step -= 1
                data = write(step)
        else:
            while step < self.model.max_step and 8 * len(better := write(step + 1)) / pixels <= target:
                step, data = step + 1, better
        reached = 8 * len(data) / pixels
        if reached > target or (step == self.model.max_step and reached < target * (1 - BPP_TOLERANCE)):
            least, most = (8 * len(write(s)) / pixels for s in (0, self.model.max_step))
            raise RateError(
                f"{target:g} bpp is out of reach: on this image the model spans {least:.4f} to {most:.4f} bpp"
            )
        return data

    def _to_psnr(self, latents: list[Tensor], target: float) -> bytes:
        """The lowest step whose decoded image has at least `target` dB."""

        @cache
        def psnr(step: int) -> float:
            header = _with_level(self.header, step)
            error = 0
            blocks = _synthesise(self.model, header, lambda i: self.model.code(latents[i], step).decoded, None)
            for rows, columns, block in blocks:
                difference = self.planes[:, rows, columns].astype(np.int32) - block
                error += int(np.square(difference).sum(dtype=np.int64))
            decibels: float = 10 * np.log10(255**2 * self.planes.size / max(error, 1e-3))
            return decibels

        top = self.model.max_step
        step = min(_search(psnr, target, top, lambda x: x) + 1, top)
        while step > 0 and psnr(step - 1) >= target:
            step -= 1
        while step < top and psnr(step) < target:
            step += 1
        reached = psnr(step)
        if reached < target or (step == 0 and reached > target + PSNR_TOLERANCE):
            least, most = psnr(0), psnr(top)
            raise RateError(
                f"{target:g} dB is out of reach: on this image the model spans {least:.2f} to {most:.2f} dB"
            )
        return self._write(step, (c.encoder.finish() for c in self._coded(latents, step)))


def _with_level(header: Header, level: int) -> Header:
    return replace(header, level=level)


def _search(function: Callable[[int], float], target: float, top: int, shape: Callable[[Any], Any]) -> int:
    """The highest step in 0 … top where a rising `function` is at most `target`; 0 if there is none.

    Interpolates on `shape(function)`, which is nearly linear in the step, so a handful of evaluations do; every second
    one halves the interval all the same.
    """
    low, high = 0, top
    value_low, value_high = function(low), function(high)
    if value_low > target:
        return low
    if value_high <= target:
        return high
    turn = 0
    while high - low > 1:
        span = shape(value_high) - shape(value_low)
        guess = low + (high - low) * (shape(target) - shape(value_low)) / span if span > 0 and turn % 3 < 2 else 0
        middle = int(np.clip(round(guess) if guess else (low + high) // 2, low + 1, high - 1))
        value = function(middle)
        if value <= target:
            low, value_low = middle, value
        else:
            high, value_high = middle, value
        turn += 1
    return low


# -- decoding ----------------------------------------------------------------------------------------------------------


def _decode_tile(model: Model, container: Container, index: int) -> Tensor:
    """The decoded latents of one tile, (h, w, latents)."""
    header = container.header
    box = header.tile_box(index)
    size = tiles.latents_along(box.height), tiles.latents_along(box.width)
    try:
        return model.decode(container.tile(index), header.level, *size)
    except CorruptDataError as error:
        raise CorruptDataError(f"tile {index}: {error}", tiles=(index,)) from error


def _synthesise(
    model: Model, header: Header, source: Callable[[int], Tensor], progress: Progress | None
) -> Iterator[tuple[slice, slice, NDArray[np.uint8]]]:
    """Turn tiles of decoded latents into pixels: yields rows, columns and (bands, h, w) uint8 blocks.

    `source(i)` gives the latents of tile i; it is asked once for each, in order. Only the rows of tiles that the halo
    reaches are in memory.
    """
    import torch

    tile = header.tile_code * TILE_UNIT
    step_y, step_x = (tile or tiles.latents_along(n) * BLOCK for n in (header.height, header.width))
    tile_columns = header.tile_grid[1]
    found: dict[int, list[Tensor]] = {}  # a row of tiles -> the latents of each
    done = 0
    for rows in tiles.ranges(header.height, step_y):
        needed = [index for index, _, _ in tiles.overlaps(rows, step_y)]
        for row in needed:
            if row not in found:
                found[row] = [source(row * tile_columns + column) for column in range(tile_columns)]
                done += tile_columns
                if progress is not None:
                    progress(done, header.tile_count)
        for row in found.keys() - needed:
            del found[row]
        for columns in tiles.ranges(header.width, tiles.span(header.width, step_x)):
            area = torch.empty(rows.outer_length, columns.outer_length, model.config.latents, device=model.device)
            for row, from_rows, to_rows in tiles.overlaps(rows, step_y):
                for column, from_columns, to_columns in tiles.overlaps(columns, step_x):
                    area[to_rows, to_columns] = found[row][column][from_rows, from_columns]
            pixels = model.synthesise(area, header.level)
            inner_rows, inner_columns = (slice(r.inner.start * BLOCK, r.inner.stop * BLOCK) for r in (rows, columns))
            block = values.from_model(pixels[:, inner_rows, inner_columns], header.transform)
            top, left = rows.start * BLOCK, columns.start * BLOCK
            block = block[:, : header.height - top, : header.width - left]
            yield slice(top, top + block.shape[1]), slice(left, left + block.shape[2]), block
