"""Payloads into pixels, tile by tile, for the whole image or a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import Container, Header
from learned_codec.bitstream.metadata import of_classes
from learned_codec.bitstream.payload import split_adaptation, split_count, split_payload
from learned_codec.errors import BitstreamError, CorruptDataError
from learned_codec.models.config import BLOCK, GRAIN, HALO, MEANS, ModelConfig, layers_for, top_step
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.mask import MaskSpec, Side
from learned_codec.values.plateaus import SQUARE
from learned_codec.values.reduce import cells, reduced_side, reduced_values
from learned_codec.values.sources import Plane
from learned_codec.values.transform import ValueTransform

from . import grid
from .grid import Window, tiles_of
from .parallel import Workers
from .progress import Progress
from .synthesis import Decoded, synthesise, visible_blocks

if TYPE_CHECKING:
    from learned_codec.models.model import Model
    from learned_codec.models.registry import ModelCard

Sides = dict[int, Side | None]
"""The unpacked masks and planes of tiles, by index. None for a lost tile."""


@dataclass(frozen=True)
class Block:
    """A decoded rectangle: (bands, h, w) values in the image's dtype, and the (h, w) plane if there is one.

    `rows` and `columns` are where it lies in the image; in the reduced image where that was asked for. `lost` has the
    rows and columns, counted from the block's corner, of each rectangle that could not be decoded.
    """

    rows: slice
    columns: slice
    values: NDArray[Any]
    plane: Plane | None
    lost: tuple[Window, ...] = ()

    def crop(self, rows: slice, columns: slice) -> Block:
        """The part of it inside a rectangle of the image."""
        top, bottom = max(self.rows.start, rows.start), min(self.rows.stop, rows.stop)
        left, right = max(self.columns.start, columns.start), min(self.columns.stop, columns.stop)
        y = slice(top - self.rows.start, bottom - self.rows.start)
        x = slice(left - self.columns.start, right - self.columns.start)
        plane = None if self.plane is None else self.plane[y, x]
        lost = tuple((_inside(rows, y), _inside(columns, x)) for rows, columns in self.lost)
        return Block(slice(top, bottom), slice(left, right), self.values[:, y, x], plane, lost)


def _inside(part: slice, whole: slice) -> slice:
    """The part inside another, counted from its start; perhaps empty."""
    start, stop = max(part.start, whole.start), min(part.stop, whole.stop)
    return slice(start - whole.start, max(start, stop) - whole.start)


class TileDecoder:
    """What decoding has in common for all files: tiles that may be damaged, and masks.

    With `lenient`, a damaged tile is no error. Its index is added to `damaged`, and its pixels get the fill value:
    nodata if the file has one, else NaN or 0.
    """

    def __init__(self, container: Container, *, lenient: bool) -> None:
        self.container, self.header, self.lenient = container, container.header, lenient
        self.dtype = np.dtype(container.header.dtype)
        self.mask_spec = None if container.mask is None else MaskSpec.from_bytes(container.mask)
        if self.mask_spec is not None:
            self.mask_spec.check(self.dtype)
            self.mask_spec.check_grids(self.header.bands)
        self.damaged: set[int] = set()

    @property
    def fill_value(self) -> float:
        """The value of pixels that could not be decoded."""
        fills = () if self.mask_spec is None else self.mask_spec.fills
        return fills[0] if fills else np.nan if self.dtype.kind == "f" else 0

    def planes(self, window: Window, factor: int = 1) -> Iterator[tuple[slice, slice, Plane]]:
        """The plane in a window, without decoding pixels: yields rows, columns and values, tile by tile.

        With `lenient`, damaged tiles are left out, as many as `blocks` would lose of the image reduced by `factor`;
        else those whose plane is damaged raise `CorruptDataError`.
        """
        if self.mask_spec is None:
            return
        front = layers_for(factor) - 1 if self.lenient else 0  # a plane may be whole where the pixels aren't
        for index, read in self._read(tiles_of(self.header, window), front):
            box = self.header.tile_box(index)
            rows = slice(max(window[0].start, box.row), min(window[0].stop, box.row + box.height))
            columns = slice(max(window[1].start, box.col), min(window[1].stop, box.col + box.width))
            try:
                side, _, _ = split_payload(bytes(checked(read)))
                plane = self.mask_spec.unpack(side, self.header.bands, box.height, box.width).plane
            except BitstreamError as error:
                self._damage(index, error)
                continue
            if plane is not None:
                yield (
                    rows,
                    columns,
                    plane[rows.start - box.row : rows.stop - box.row, columns.start - box.col : columns.stop - box.col],
                )

    # -- tiles --------------------------------------------------------------------------------------------------------

    def _read(
        self, wanted: Sequence[int], front: int | None = None
    ) -> Iterator[tuple[int, memoryview | BitstreamError]]:
        """The indices of tiles with their payloads, or with the error from reading them.

        With `front`, only that front of each payload is read (see `Container.tile`).
        """
        fetched = 0
        for done, index in enumerate(wanted):
            if done == fetched:
                fetched += self.container.fetch(wanted[done:], front)
            try:
                yield index, self.container.tile(index, front)
            except BitstreamError as error:
                yield index, error

    def _damage(self, index: int, error: BitstreamError) -> None:
        if not self.lenient:
            raise CorruptDataError(_named(index, self.header, error), tiles=(index,)) from error
        self.damaged.add(index)

    def _classes(
        self,
        values: NDArray[Any],  # noqa: ARG002 - for those that have no other way
        valid: NDArray[np.bool_] | None,  # noqa: ARG002
    ) -> NDArray[np.bool_]:
        """(bands,) whether the numbers of a band stand for classes. `values` (bands, h, w) are those of a tile."""
        return np.full(self.header.bands, of_classes(self.container.metadata))

    def _finish(self, values: NDArray[Any], rows: slice, columns: slice, sides: Sides, factor: int) -> Block:
        """Reduce the (bands, h, w) values of a rectangle, put masked values back, and fill lost tiles.

        Removes the rectangle's tiles from `sides`: no other rectangle has pixels of them, and no cell those of two.
        """
        plane: Plane | None = None
        lost: list[Window] = []
        inside = cells(rows, factor), cells(columns, factor)
        found = values
        if factor > 1:
            size = (part.stop - part.start for part in inside)
            found = np.empty((len(values), *size), values.dtype)
        if self.mask_spec is not None and self.mask_spec.plane is not None:
            plane = np.zeros(found.shape[1:], self.mask_spec.plane_dtype)
        for index in tiles_of(self.header, (rows, columns)):
            box, side = self.header.tile_box(index), sides.pop(index)
            top, bottom = max(rows.start, box.row), min(rows.stop, box.row + box.height)
            left, right = max(columns.start, box.col), min(columns.stop, box.col + box.width)
            here = slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start)
            there = cells(here[0], factor), cells(here[1], factor)
            if side is None:
                found[:, *there] = self.fill_value
                lost.append(there)
                continue
            side = side.crop(slice(top - box.row, bottom - box.row), slice(left - box.col, right - box.col))
            if factor > 1:
                constant = None
                if self.mask_spec is not None:  # constants are values like others
                    self.mask_spec.restore(values[:, *here], side)
                    constant, side = self.mask_spec.constant(side), self.mask_spec.with_fills_alone(side)
                valid = MaskSpec.valid(side, len(values))
                classes = self._classes(values[:, *here], valid)
                found[:, *there] = reduced_values(values[:, *here], valid, constant, classes, factor)
                side = reduced_side(side, None if self.mask_spec is None else self.mask_spec.plane, factor)
            if self.mask_spec is not None:
                if factor == 1:  # means of cells hardly differ from those of plateaus
                    self.mask_spec.level(found[:, *there], side)
                self.mask_spec.restore(found[:, *there], side)
                if plane is not None and side.plane is not None:
                    plane[there] = side.plane
        return Block(*inside, found, plane, tuple(lost))


class ImageDecoder(TileDecoder):
    """Decodes one file of a model. Threads may share it."""

    def __init__(self, container: Container, card: ModelCard, *, lenient: bool = False, refined: bool = True) -> None:
        """Unless `refined`, the refinement is left out."""
        header = container.header
        self.card, self._refined = card, refined
        self.transform = ValueTransform.of_header(header, card.bands)
        super().__init__(container, lenient=lenient)
        highest = top_step(card.max_step)
        if header.quality_step > highest:
            raise CorruptDataError(f"quality step {header.quality_step} is above the model's highest, {highest}")
        self.adaptations = split_adaptation(header.adaptation, card.adaptations, self.transform.components)

    def blocks(
        self,
        model: Model,
        window: Window | None = None,
        progress: Progress | None = None,
        threads: int = 1,
        factor: int = 1,
    ) -> Iterator[Block]:
        """Decode the image, or the blocks that touch a window: rectangles from top to bottom, with `threads`.

        With a `factor`, of the image reduced by it (`values.reduce`), without the refinement, which hardly changes
        means. Raises `CorruptDataError`.
        """
        model = model.lapped(self.header.lapping)
        shape = self.header.height, self.header.width
        window = window or (slice(0, shape[0]), slice(0, shape[1]))
        if factor == 1 and self.mask_spec is not None and self.mask_spec.grids:  # plateaus must be whole
            rows, columns = (_squares_of(part, length) for part, length in zip(window, shape, strict=True))
            window = rows, columns
        wanted = tiles_of(self.header, window, HALO)
        inside = set(tiles_of(self.header, window))
        sides: Sides = {}  # of tiles in the window whose pixels are still to come

        def tiles(workers: Workers) -> Iterator[Decoded]:
            read = self._read(wanted, front=layers_for(factor) - 1)
            found = workers.map(lambda tile: self._tile(model, *tile, factor), read)
            for done, (index, (decoded, side)) in enumerate(zip(wanted, found, strict=True), 1):
                if index in inside:
                    sides[index] = side
                if progress is not None:
                    progress(done, len(wanted))
                yield decoded

        boxes = map(self.header.tile_box, wanted)
        positions = sum(grid.latents_along(box.height) * grid.latents_along(box.width) for box in boxes)
        model.expect(self.transform.components * positions, factor)
        with Workers(threads) as workers:
            parts = synthesise(
                model,
                self.header,
                self.transform,
                tiles(workers),
                self.adaptations,
                window,
                workers,
                refined=self._refined and factor == 1,
            )
            for rows, columns, values in parts:
                yield self._finish(values, rows, columns, sides, factor)

    def _tile(
        self, model: Model, index: int, read: memoryview | BitstreamError, factor: int
    ) -> tuple[Decoded, Side | None]:
        """A tile's decoded latents and its unpacked mask or plane; None for that of a lost tile."""
        header, side, valid, shown = self.header, Side(None, None), None, True
        box = header.tile_box(index)
        try:
            payload: bytes | memoryview = checked(read)
            if self.mask_spec is not None:
                data, payload, shown = split_payload(bytes(payload))
                side = self.mask_spec.unpack(data, header.bands, box.height, box.width)
                valid = self.mask_spec.valid(side, header.bands)
            visible = visible_blocks(valid, box.height, box.width)
            if self.transform.constant and (shown if self.mask_spec else payload):
                raise CorruptDataError("a tile has a payload, but all bands are constant")
            if self.transform.constant or not shown:
                return Decoded((), visible), side
            components, planes = 1, self.card.bands
            if self.transform.matrix is not None:
                components, payload = split_count(bytes(payload), self.transform.components)
                planes = components
            size = grid.latents_along(box.height), grid.latents_along(box.width)
            padded = BLOCK * size[0] * BLOCK * size[1] * planes
            self.container.limits.check_coded(padded, self.container.held(index))
            latents = model.decode(payload, header.quality_step, *size, components, Shape.of(visible), factor)
            small = [_in_little_memory(x, model.config) for x in latents[:1]]  # others are predicted more finely
            return Decoded(small + [[x] for x in latents[1:]], visible), side
        except BitstreamError as error:
            self._damage(index, error)
            return Decoded((), lost=True), None


def _in_little_memory(latents: NDArray[np.float32], config: ModelConfig) -> list[NDArray[Any]]:
    """Decoded latents in two parts. Tiles wait for those below them, and latents without means are multiples of GRAIN.

    Changes `latents`.
    """
    first = config.layers[MEANS].start
    rest = latents[..., first:]
    rest *= np.float32(1 / GRAIN)
    if max(rest.max(), -rest.min()) <= np.iinfo(np.int16).max:
        return [latents[..., :first].copy(), rest.astype(np.int16)]
    rest *= np.float32(GRAIN)
    return [latents]


def checked(read: memoryview | BitstreamError) -> memoryview:
    """What was read of a tile, or the error from reading it, which is raised."""
    if isinstance(read, BitstreamError):
        raise read
    return read


def _named(index: int, header: Header, error: BitstreamError) -> str:
    text = str(error)
    return text if text.startswith(f"tile {index}") else f"tile {index} of {header.tile_count}: {text}"


def _squares_of(part: slice, length: int) -> slice:
    """The whole squares of plateaus that a part of an axis touches."""
    return slice(part.start // SQUARE * SQUARE, min(-(-part.stop // SQUARE) * SQUARE, length))
