"""Decoded tiles into pixels, span by span, with their neighbours as a halo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import Header
from learned_codec.models.config import BLOCK, HALO
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.inpaint import fill
from learned_codec.values.transform import ValueTransform

from . import grid
from .grid import Window
from .parallel import Workers

if TYPE_CHECKING:
    from learned_codec.models.model import Model


@dataclass(frozen=True)
class Decoded:
    """A tile as decoded, or the last rows of it.

    Attributes:
        components: (h, w, latents) of its first components; those of the others are zero.
        visible: (h, w, 16, 16), which of its pixels are visible; None: all.
        lost: nothing could be decoded; then `components` is empty and `visible` None.
        first_row: the row of the tile, in latent positions, at which the arrays begin.
    """

    components: Sequence[NDArray[np.float32]]
    visible: NDArray[np.bool_] | None = None
    lost: bool = False
    first_row: int = 0

    def last_rows(self, count: int) -> Decoded:
        """The same without the rows above the last `count`, in memory of its own."""
        arrays: list[NDArray[Any]] = [x for x in (*self.components, self.visible) if x is not None]
        first_row = max(0, len(arrays[0]) - count) if arrays else 0
        visible = None if self.visible is None else self.visible[-count:].copy()
        return Decoded([x[-count:].copy() for x in self.components], visible, self.lost, first_row)

    def cut(self, values: NDArray[Any], part: Window) -> NDArray[Any]:
        """A part of the tile, given in its latent positions, of one of the arrays above."""
        rows, columns = part
        return values[rows.start - self.first_row : rows.stop - self.first_row, columns]


Rows = dict[int, dict[int, Decoded]]
"""Rows of tiles, and in each its tiles by column."""

Blank = dict[tuple[tuple[int, ...], tuple[int, ...]], NDArray[np.float32]]
"""The last area without any coded latents, by its shape and adaptation: others like it, often many, need no network."""

Along = tuple[grid.Range, int]
"""An area along one axis, and the size of the tiles there in pixels."""


def visible_blocks(valid: NDArray[np.bool_] | None, height: int, width: int) -> NDArray[np.bool_] | None:
    """(h, w, 16, 16): of each block of a rectangle, which pixels are in the image and valid in any band; None: all.

    `valid` (bands, height, width) as `MaskSpec.valid` has it.
    """
    if valid is None and height % BLOCK == width % BLOCK == 0:
        return None
    rows, columns = grid.latents_along(height), grid.latents_along(width)
    visible = np.zeros((rows * BLOCK, columns * BLOCK), bool)
    visible[:height, :width] = True if valid is None else valid.any(0)
    blocks = visible.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks)


def synthesise(
    model: Model,
    header: Header,
    transform: ValueTransform,
    tiles: Iterable[Decoded],
    adaptations: Sequence[Sequence[int]],
    window: Window | None = None,
    workers: Workers | None = None,
) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Turn tiles of decoded latents into pixels: yields rows, columns and (bands, h, w) values.

    `tiles` are those that `grid.tiles_of` counts for the window with a halo, in order. Each component has its amounts
    in `adaptations`. Only the rows of tiles that the halo reaches are in memory, and of the row above only what is
    reached. Of a window, the blocks of 16 pixels that it touches come. With `workers`, several areas are made at once.
    """
    jobs = _jobs(model, header, transform, iter(tiles), adaptations, window)
    yield from (workers or Workers(1)).map(lambda job: job(), jobs)


def _jobs(
    model: Model,
    header: Header,
    transform: ValueTransform,
    tiles: Iterator[Decoded],
    adaptations: Sequence[Sequence[int]],
    window: Window | None,
) -> Iterator[Callable[[], tuple[slice, slice, NDArray[Any]]]]:
    """What gives the areas of `synthesise`, one after the other. Each holds all that it needs."""
    height, width = header.height, header.width
    rows_wanted, columns_wanted = window or (slice(0, height), slice(0, width))
    step_y, step_x = grid.steps(header)
    (across,) = grid.ranges(width, grid.latents_along(width) * BLOCK, columns_wanted)
    tile_columns = [index for index, _, _ in grid.overlaps(across, step_x)]
    found: Rows = {}  # as long as they are reached
    blank: Blank = {}
    for rows in grid.ranges(height, step_y, rows_wanted):
        needed = [index for index, _, _ in grid.overlaps(rows, step_y)]
        for row in needed:
            if row not in found:
                found[row] = {column: next(tiles) for column in tile_columns}
        for row in found.keys() - needed:
            del found[row]
        for columns in grid.ranges(width, grid.span(width, step_x, header.bands), columns_wanted):
            here = rows.pixels(height), columns.pixels(width)
            if transform.constant:
                yield partial(_constant, transform, here)
                continue
            area = (rows, step_y), (columns, step_x)
            shape = _shape(found, *area)
            areas = [_component(model, found, number, *area, shape) for number in range(len(adaptations))]
            inner = rows.inner_pixels(height), columns.inner_pixels(width)

            def job(
                areas: list[NDArray[np.float32] | None] = areas,
                inner: Window = inner,
                here: Window = here,
                shape: Shape | None = shape,
            ) -> tuple[slice, slice, NDArray[Any]]:
                planes = [
                    _pixels(model, latents, header.quality_step, adaptation, shape, inner, blank)
                    for latents, adaptation in zip(areas, adaptations, strict=True)
                ]
                return *here, transform.from_model(np.concatenate(planes))

            yield job
        done = found[rows.start * BLOCK // step_y]
        for column, tile in done.items():  # the next row's halo reaches no further
            done[column] = tile.last_rows(HALO)


def _parts(found: Rows, rows: Along, columns: Along) -> Iterator[tuple[Decoded, Window, Window]]:
    """The tiles that an area touches, and for each which part of it that is, and where in the area it lies."""
    for row, from_rows, to_rows in grid.overlaps(*rows):
        for column, from_columns, to_columns in grid.overlaps(*columns):
            yield found[row][column], (from_rows, from_columns), (to_rows, to_columns)


def _shape(found: Rows, rows: Along, columns: Along) -> Shape | None:
    """The shape of an area."""
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
    model: Model, found: Rows, number: int, rows: Along, columns: Along, shape: Shape | None
) -> NDArray[np.float32] | None:
    """The latents of one component in an area, (h, w, latents); None where nobody will see its pixels."""
    if shape is not None:
        inner = [slice(r.inner.start * BLOCK, r.inner.stop * BLOCK) for r in (rows[0], columns[0])]
        if not shape.support[*inner].any():
            return None
    area = np.zeros((rows[0].outer_length, columns[0].outer_length, model.config.latents), np.float32)
    lost = np.zeros(area.shape[:2], bool)
    for tile, part, place in _parts(found, rows, columns):
        if tile.lost:
            lost[place] = True
        elif number < len(tile.components):
            area[place] = tile.cut(tile.components[number], part)
    if lost[rows[0].inner, columns[0].inner].all():  # the decoder fills it
        return None
    if lost.any():
        # The blocks beside a lost tile overlap with it: a smooth continuation harms them least.
        area = fill(area.transpose(2, 0, 1), ~lost).transpose(1, 2, 0)
    return area


def _pixels(
    model: Model,
    latents: NDArray[np.float32] | None,
    step: int,
    adaptation: Sequence[int],
    shape: Shape | None,
    inner: Window,
    blank: Blank,
) -> NDArray[np.float32]:
    """The pixels of one component in the inner part of an area, (model bands, h, w)."""
    if latents is None:
        return np.zeros((model.config.bands, *(part.stop - part.start for part in inner)), np.float32)
    if shape is not None or latents.any():
        return model.synthesise(latents, step, adaptation, shape)[:, *inner]
    key = latents.shape, tuple(adaptation)
    known = blank.get(key)
    if known is None:
        blank.clear()
        known = blank[key] = model.synthesise(latents, step, adaptation)
    return known[:, *inner]
