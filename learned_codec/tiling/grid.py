"""Where tiles and regions lie, in latents and in pixels. Integer geometry only.

Tiles are coded one by one, but transformed with a halo of their neighbours, so there are no seams between them. To
spend less on halos, a transform takes a region of several tiles side by side, up to MAX_SPAN pixels wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from learned_codec.bitstream import TILE_UNIT, Header
from learned_codec.models.config import BLOCK, HALO

MAX_SPAN = 1024
"""The largest width of a region in pixels. Its largest tensors are then just below 32 MiB. Up to that size the C
library's allocator reuses memory; new pages for every tensor made everything a third slower."""

Window = tuple[slice, slice]
"""Rows and columns of pixels, each with a start and a stop."""


@dataclass(frozen=True, slots=True)
class Range:
    """A region along one axis, in latent positions: start … stop, and outer_start … outer_stop with the halo."""

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    @property
    def inner(self) -> slice:
        """The range without halo, within the range with halo."""
        return slice(self.start - self.outer_start, self.stop - self.outer_start)

    @property
    def outer_length(self) -> int:
        """The number of positions with the halo."""
        return self.outer_stop - self.outer_start

    def pixels(self, length: int) -> slice:
        """The range in pixels, on an axis of `length` pixels."""
        return slice(self.start * BLOCK, min(self.stop * BLOCK, length))

    def outer_pixels(self, length: int) -> slice:
        """The range with the halo in pixels, on an axis of `length` pixels."""
        return slice(self.outer_start * BLOCK, min(self.outer_stop * BLOCK, length))

    def inner_pixels(self, length: int) -> slice:
        """The range without halo in pixels, counted from the start of the range with halo."""
        start, stop = self.pixels(length).start, self.pixels(length).stop
        return slice(start - self.outer_start * BLOCK, stop - self.outer_start * BLOCK)


def latents_along(pixels: int) -> int:
    """How many latent positions cover a number of pixels."""
    return -(-pixels // BLOCK)


def steps(header: Header) -> tuple[int, int]:
    """Height and width of a tile in pixels. If the image is one tile, it is rounded up to whole blocks."""
    tile = header.tile_code * TILE_UNIT
    return tile or latents_along(header.height) * BLOCK, tile or latents_along(header.width) * BLOCK


def ranges(pixels: int, step: int, window: slice | None = None) -> Iterator[Range]:
    """Divide an axis of `pixels` into ranges of `step` pixels (a multiple of BLOCK); with `window`, only its part."""
    total, length = latents_along(pixels), step // BLOCK
    first, last = (0, total) if window is None else (window.start // BLOCK, latents_along(window.stop))
    for tile in range(0, total, length):
        start, stop = max(tile, first), min(tile + length, last)
        if start < stop:
            yield Range(start, stop, max(0, start - HALO), min(total, stop + HALO))


def overlaps(region: Range, step: int) -> Iterator[tuple[int, slice, slice]]:
    """The tiles of `step` pixels that a region touches with its halo.

    Yields the index of each tile, which part of the tile lies in the region, and where in the region that is; both
    in latent positions.
    """
    length = step // BLOCK
    for index in range(region.outer_start // length, -(-region.outer_stop // length)):
        tile = index * length
        start, stop = max(tile, region.outer_start), min(tile + length, region.outer_stop)
        yield index, slice(start - tile, stop - tile), slice(start - region.outer_start, stop - region.outer_start)


def span(width: int, tile: int, bands: int = 3) -> int:
    """The width in pixels of the regions in a row of tiles of `tile` pixels: less if there are many bands."""
    count = MAX_SPAN // tile // -(-bands // 3)
    return max(1, count) * tile if width > tile else latents_along(width) * BLOCK


def tiles_of(header: Header, window: Window, halo: int = 0) -> list[int]:
    """The indices of the tiles that a window touches.

    With `halo`, its blocks and that many latent positions around them count.
    """
    found = []
    step_y, step_x = steps(header)
    spans = []
    for pixels, step, length in zip(window, (step_y, step_x), (header.height, header.width), strict=True):
        if halo:
            (whole,) = ranges(length, latents_along(length) * BLOCK, pixels)
            spans.append(range(whole.outer_start * BLOCK // step, -(-whole.outer_stop * BLOCK // step)))
        else:
            spans.append(range(pixels.start // step, -(-pixels.stop // step)))
    for row in spans[0]:
        found += [row * header.tile_grid[1] + column for column in spans[1]]
    return found
