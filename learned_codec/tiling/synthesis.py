"""Decoded latents into pixels, region by region, with a halo of neighbouring tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import Header
from learned_codec.models.config import BLOCK, GRAIN, HALO
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.inpaint import fill
from learned_codec.values.transform import PLAIN, ValueTransform

from . import grid
from .grid import Window
from .parallel import Workers

if TYPE_CHECKING:
    from learned_codec.models.model import Model


@dataclass(frozen=True)
class Decoded:
    """A decoded tile, or its last rows.

    Attributes:
        components: the latents of its first components; those of the others are zero. Each is one array or more,
            (h, w, some latents): the latents of an array follow those of the one before. An int16 array has them in
            multiples of GRAIN.
        visible: (h, w, 16, 16), which pixels of each block are visible; None: all.
        lost: nothing could be decoded; then `components` is empty and `visible` None.
        first_row: the row of the tile, in latent positions, at which the arrays begin.
    """

    components: Sequence[Sequence[NDArray[Any]]]
    visible: NDArray[np.bool_] | None = None
    lost: bool = False
    first_row: int = 0

    def last_rows(self, count: int) -> Decoded:
        """The last `count` rows of blocks, copied."""
        arrays = [x for x in (*chain.from_iterable(self.components), self.visible) if x is not None]
        first_row = self.first_row + (max(0, len(arrays[0]) - count) if arrays else 0)
        visible = None if self.visible is None else self.visible[-count:].copy()
        components = [[x[-count:].copy() for x in arrays] for arrays in self.components]
        return Decoded(components, visible, self.lost, first_row)

    def cut(self, values: NDArray[Any], part: Window) -> NDArray[Any]:
        """A part of `values`, one of the arrays above; `part` is given in latent positions of the whole tile."""
        rows, columns = part
        return values[rows.start - self.first_row : rows.stop - self.first_row, columns]


TilesByRow = dict[int, dict[int, Decoded]]
"""Tiles by row and column of the tile grid."""

Pixels = NDArray[Any]
"""float32 as a model gives them, or bytes."""

Blank = dict[tuple[tuple[int, ...], tuple[int, ...]], Pixels]
"""The pixels of the last region whose latents are all zero, by shape and adaptation. Often many regions are like it."""

Along = tuple[grid.Range, int]
"""A region along one axis, and the tile size in pixels along that axis."""


def visible_blocks(valid: NDArray[np.bool_] | None, height: int, width: int) -> NDArray[np.bool_] | None:
    """(h, w, 16, 16): which pixels of each block are inside the image and valid in any band. None: all.

    `valid` (bands, height, width) is that of `MaskSpec.valid`.
    """
    if valid is None and height % BLOCK == width % BLOCK == 0:
        return None
    rows, columns = grid.latents_along(height), grid.latents_along(width)
    visible = np.zeros((rows * BLOCK, columns * BLOCK), bool)
    visible[:height, :width] = True if valid is None else valid.any(0)
    blocks = visible.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks)


def whole_blocks(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) padded to whole blocks by repeating the last row and column, which costs the fewest bits."""
    height, width = planes.shape[1:]
    padding = (0, 0), (0, -height % BLOCK), (0, -width % BLOCK)
    return np.pad(planes, padding, mode="edge") if any(map(any, padding)) else planes


def synthesise(
    model: Model,
    header: Header,
    transform: ValueTransform,
    tiles: Iterable[Decoded],
    adaptations: Sequence[Sequence[int]],
    window: Window | None = None,
    workers: Workers | None = None,
    *,
    refined: bool = True,
) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Turn tiles of decoded latents into pixels: yields rows, columns and (bands, h, w) values.

    `tiles` are those of `grid.tiles_of` for the window with a halo, in the same order; `adaptations` are the amounts of
    each component. The result covers the blocks that the window touches. A tile is taken when a region's halo reaches
    it, and after the last region that needs it whole, only its last rows stay in memory. With `workers`, several
    regions are computed at once. Pixels are `refined` or not.
    """
    jobs = _jobs(model, header, transform, iter(tiles), adaptations, window, refined=refined)
    yield from (workers or Workers(1)).map(lambda job: job(), jobs)


def _jobs(
    model: Model,
    header: Header,
    transform: ValueTransform,
    tiles: Iterator[Decoded],
    adaptations: Sequence[Sequence[int]],
    window: Window | None,
    *,
    refined: bool,
) -> Iterator[Callable[[], tuple[slice, slice, NDArray[Any]]]]:
    """Functions that compute the regions of `synthesise`, in order. Each holds all data that it needs."""
    height, width = header.height, header.width
    rows_wanted, columns_wanted = window or (slice(0, height), slice(0, width))
    step_y, step_x = grid.steps(header)
    (across,) = grid.ranges(width, grid.latents_along(width) * BLOCK, columns_wanted)
    tile_columns = [index for index, _, _ in grid.overlaps(across, step_x)]
    fine, step = transform.dtype != np.uint8, header.quality_step
    found: TilesByRow = {}  # only rows that the halo reaches
    blank: Blank = {}
    for rows in grid.ranges(height, step_y, rows_wanted):
        found = {row: found.get(row, {}) for row, _, _ in grid.overlaps(rows, step_y)}
        last = max(found)
        own = found[rows.start * BLOCK // step_y]
        for columns in grid.ranges(width, grid.span(width, step_x, header.bands), columns_wanted):
            touched = [index for index, _, _ in grid.overlaps(columns, step_x)]
            for row, known in found.items():
                end = touched[-1] if row == last else tile_columns[-1]  # in the order of tiles
                for column in range(tile_columns[0] + len(known), end + 1):
                    known[column] = next(tiles)
            here = rows.pixels(height), columns.pixels(width)
            if transform.constant:
                yield partial(_constant, transform, here)
                continue
            region = (rows, step_y), (columns, step_x)
            shape = _shape(found, *region)
            components = [_component(model, found, number, *region, shape) for number in range(len(adaptations))]
            inner = rows.inner_pixels(height), columns.inner_pixels(width)

            def job(
                components: list[NDArray[np.float32] | None] = components,
                inner: Window = inner,
                here: Window = here,
                shape: Shape | None = shape,
            ) -> tuple[slice, slice, NDArray[Any]]:
                if refined and transform.code == PLAIN and not transform.rotation:
                    to_pixels: Callable[..., Pixels] = partial(model.synthesise_bytes, step=step, shape=shape)
                else:
                    to_pixels = partial(model.synthesise, step=step, shape=shape, refined=refined, fine=fine)
                planes = [
                    _pixels(to_pixels, model.config.bands, latents, adaptation, inner, blank, reuse=shape is None)
                    for latents, adaptation in zip(components, adaptations, strict=True)
                ]
                return *here, transform.from_model(planes[0] if len(planes) == 1 else np.concatenate(planes))

            yield job
            end = touched[-1] + 1 if columns.stop == across.stop else (columns.stop * BLOCK - 1) // step_x
            for column in range(touched[0], end):  # the halo of the next row of regions needs no more
                own[column] = own[column].last_rows(HALO)


def _parts(found: TilesByRow, rows: Along, columns: Along) -> Iterator[tuple[Decoded, Window, Window]]:
    """The tiles that a region touches: each tile, which part of it lies in the region, and where in the region."""
    for row, from_rows, to_rows in grid.overlaps(*rows):
        for column, from_columns, to_columns in grid.overlaps(*columns):
            yield found[row][column], (from_rows, from_columns), (to_rows, to_columns)


def _shape(found: TilesByRow, rows: Along, columns: Along) -> Shape | None:
    """The shape of a region; None if all of it is coded."""
    visible = None
    for tile, part, place in _parts(found, rows, columns):
        if tile.visible is not None:
            if visible is None:
                size = rows[0].outer_length, columns[0].outer_length, BLOCK, BLOCK
                visible = np.ones(size, bool)
            visible[place] = tile.cut(tile.visible, part)
    return Shape.of(visible)


def _constant(transform: ValueTransform, here: Window) -> tuple[slice, slice, NDArray[Any]]:
    return *here, transform.constants(*(part.stop - part.start for part in here))


def _component(
    model: Model, found: TilesByRow, number: int, rows: Along, columns: Along, shape: Shape | None
) -> NDArray[np.float32] | None:
    """The latents of one component in a region, (h, w, latents). None if none of its pixels are visible."""
    if shape is not None:
        inner = [slice(r.inner.start * BLOCK, r.inner.stop * BLOCK) for r in (rows[0], columns[0])]
        if not shape.support[*inner].any():
            return None
    latents = np.zeros((rows[0].outer_length, columns[0].outer_length, model.config.latents), np.float32)
    lost = np.zeros(latents.shape[:2], bool)
    for tile, part, place in _parts(found, rows, columns):
        if tile.lost:
            lost[place] = True
        elif number < len(tile.components):
            start = 0
            for values in tile.components[number]:
                end = start + values.shape[2]
                unit = np.float32(GRAIN if values.dtype == np.int16 else 1)
                np.multiply(tile.cut(values, part), unit, out=latents[place][..., start:end])
                start = end
    if lost[rows[0].inner, columns[0].inner].all():  # the decoder puts its fill value there
        return None
    if lost.any():
        # The blocks beside a lost tile overlap with it. Smoothly continued latents disturb them least.
        latents = fill(latents.transpose(2, 0, 1), ~lost).transpose(1, 2, 0)
    return latents


def _pixels(
    synthesise: Callable[..., Pixels],
    bands: int,
    latents: NDArray[np.float32] | None,
    adaptation: Sequence[int],
    inner: Window,
    blank: Blank,
    *,
    reuse: bool,
) -> Pixels:
    """The pixels of one component in a region without its halo, (bands of the model, h, w)."""
    if latents is None:
        return np.zeros((bands, *(part.stop - part.start for part in inner)), np.float32)
    if not reuse or latents.any():
        return synthesise(latents, adaptation=adaptation, inner=inner)
    key = latents.shape, tuple(adaptation)
    known = blank.get(key)
    if known is None:
        blank.clear()
        known = blank[key] = synthesise(latents, adaptation=adaptation)
    return known[:, *inner]
