"""Payloads into pixels: of the whole image or of a window, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import Container, Header, varint
from learned_codec.errors import BitstreamError, CorruptDataError
from learned_codec.models.config import BLOCK, HALO
from learned_codec.raster import tiles
from learned_codec.raster.mask import MaskLayout, Side, fill
from learned_codec.raster.values import ValueTransform

if TYPE_CHECKING:
    from torch import Tensor

    from learned_codec.models.registry import ModelCard
    from learned_codec.models.runtime import Model
    from learned_codec.models.shape import Shape

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and of all that are needed."""

Window = tuple[slice, slice]
"""Rows and columns of pixels, each with a start and a stop."""


@dataclass(frozen=True)
class Decoded:
    """A tile as decoded.

    (h, w, latents) of its first components, those of the others are zero; None if it was lost. And (h, w, 16, 16) which
    of its pixels are visible, None if all are or if it is lost.
    """

    components: Sequence[Tensor] | None
    visible: Tensor | None = None


Rows = dict[int, dict[int, Decoded]]
"""Rows of tiles, and in each its tiles by column."""

Along = tuple[tiles.Range, int]
"""An area along one axis, and the size of the tiles there in pixels."""


@dataclass(frozen=True)
class Block:
    """A decoded rectangle: (bands, h, w) values in their dtype, and (h, w) of the plane beside them if there is one."""

    rows: slice
    columns: slice
    values: NDArray[Any]
    plane: NDArray[np.uint8] | None

    def crop(self, rows: slice, columns: slice) -> Block:
        """What of it lies in a rectangle of the image."""
        top, bottom = max(self.rows.start, rows.start), min(self.rows.stop, rows.stop)
        left, right = max(self.columns.start, columns.start), min(self.columns.stop, columns.stop)
        y = slice(top - self.rows.start, bottom - self.rows.start)
        x = slice(left - self.columns.start, right - self.columns.start)
        plane = None if self.plane is None else self.plane[y, x]
        return Block(slice(top, bottom), slice(left, right), self.values[:, y, x], plane)


class Decoding:
    """A file on its way into pixels.

    With `lenient`, a damaged tile is not an error: it is listed in `damaged` and its pixels get the fill value: nodata
    where the file has one, else NaN or 0.
    """

    def __init__(self, container: Container, card: ModelCard, *, lenient: bool = False) -> None:
        header = container.header
        self.container, self.header, self.card, self.lenient = container, header, card, lenient
        self.transform = ValueTransform.of_header(header, card.bands)
        self.layout = None if container.mask is None else MaskLayout.from_bytes(container.mask)
        if self.layout is not None:
            self.layout.check(self.transform.dtype)
        if header.level > card.top_step:
            raise CorruptDataError(f"quality step {header.level} is above the model's highest, {card.top_step}")
        self.adaptations = split_adaptation(header.adaptation, card.adaptations, self.transform.components)
        self.damaged: set[int] = set()
        self._sides: dict[int, bytes] = {}

    @property
    def fill_value(self) -> float:
        """What stands where nothing could be decoded."""
        fills = () if self.layout is None else self.layout.fills
        return fills[0] if fills else np.nan if self.transform.dtype.kind == "f" else 0

    def blocks(self, model: Model, window: Window | None = None, progress: Progress | None = None) -> Iterator[Block]:
        """The image, or what touches a window of it, in blocks along rows. Raises `CorruptDataError`."""
        shape = self.header.height, self.header.width
        window = window or (slice(0, shape[0]), slice(0, shape[1]))
        total = len(tiles_of(self.header, window, HALO))
        done = 0

        def source(index: int) -> Decoded:
            nonlocal done
            decoded = self._latents(model, index)
            done += 1
            if progress is not None:
                progress(done, total)
            return decoded

        for rows, columns, values in synthesise(model, self.header, self.transform, source, self.adaptations, window):
            plane = self._finish(values, rows, columns)
            yield Block(rows, columns, values, plane)
            for index in list(self._sides):  # those above are done with
                if self.header.tile_box(index).row + self.header.tile_size[0] < rows.start:
                    del self._sides[index]

    def planes(self, window: Window) -> Iterator[tuple[slice, slice, NDArray[np.uint8]]]:
        """The plane beside the bands in a window, without its pixels: rows, columns and values, tile by tile.

        Nothing comes of damaged tiles with `lenient`. Raises `CorruptDataError`.
        """
        if self.layout is None:
            return
        for index in tiles_of(self.header, window):
            box = self.header.tile_box(index)
            rows = slice(max(window[0].start, box.row), min(window[0].stop, box.row + box.height))
            columns = slice(max(window[1].start, box.col), min(window[1].stop, box.col + box.width))
            try:
                side, _, _ = split_payload(bytes(self.container.tile(index)))
                plane = self.layout.unpack(side, self.header.bands, box.height, box.width).plane
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

    def _latents(self, model: Model, index: int) -> Decoded:
        """A tile's decoded latents; its side is kept in bytes until its pixels are there."""
        from learned_codec.models.shape import Shape

        header, valid = self.header, None
        box = header.tile_box(index)
        height, width = tiles.latents_along(box.height), tiles.latents_along(box.width)
        try:
            payload: bytes | memoryview = self.container.tile(index)
            shown = True
            if self.layout is not None:
                side, payload, shown = split_payload(bytes(payload))
                self._sides[index] = side
                # Damage is found before anything of the tile is used.
                valid = self.layout.valid(self._unpack(index), header.bands)
            visible = visible_blocks(valid, box.height, box.width, model.device)
            if not shown:
                return Decoded((), visible)
            components = 1
            if self.transform.matrix is not None:
                components, payload = split_count(bytes(payload), self.transform.components)
            shape = Shape.of(visible)
            return Decoded(model.decode(payload, header.level, height, width, components, shape), visible)
        except BitstreamError as error:
            self._damage(index, error)
            return Decoded(None)

    def _damage(self, index: int, error: BitstreamError) -> None:
        if not self.lenient:
            raise CorruptDataError(_named(index, self.header, error), tiles=(index,)) from error
        self.damaged.add(index)

    def _unpack(self, index: int) -> Side:
        if self.layout is None:
            return Side(None, None)
        box = self.header.tile_box(index)
        return _unpacked(self.layout, self._sides[index], self.header.bands, box.height, box.width)

    def _finish(self, values: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.uint8] | None:
        """Put masks back into the (bands, h, w) values of a rectangle, and what was lost; the plane if there is one."""
        plane = None
        if self.layout is not None and self.layout.plane is not None:
            plane = np.zeros(values.shape[1:], np.uint8)
        if self.layout is None and not self.damaged:
            return None
        for index in tiles_of(self.header, (rows, columns)):
            box = self.header.tile_box(index)
            top, bottom = max(rows.start, box.row), min(rows.stop, box.row + box.height)
            left, right = max(columns.start, box.col), min(columns.stop, box.col + box.width)
            here = slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start)
            if index in self.damaged:
                values[:, here[0], here[1]] = self.fill_value
                continue
            if self.layout is None:
                continue
            inside = slice(top - box.row, bottom - box.row), slice(left - box.col, right - box.col)
            side = self._unpack(index).crop(*inside)
            self.layout.restore(values[:, here[0], here[1]], side)
            if plane is not None and side.plane is not None:
                plane[here] = side.plane
        return plane


@lru_cache(maxsize=8)
def _unpacked(layout: MaskLayout, data: bytes, bands: int, height: int, width: int) -> Side:
    return layout.unpack(data, bands, height, width)


def _named(index: int, header: Header, error: BitstreamError) -> str:
    text = str(error)
    return text if text.startswith(f"tile {index}") else f"tile {index} of {header.tile_count}: {text}"


def join_payload(side: bytes, latents: bytes, shown: bool) -> bytes:
    """The payload of a tile of a file with masks, from its side and its coded latents, if anything in it is `shown`."""
    return varint.encode(2 * len(side) + shown) + side + latents


def split_payload(payload: bytes) -> tuple[bytes, bytes, bool]:
    """The inverse of `join_payload`. Raises `CorruptDataError`."""
    number, at = varint.decode(payload)
    end = at + number // 2
    if end > len(payload) or (number % 2 == 0 and end != len(payload)):
        raise CorruptDataError("a tile's mask doesn't end where it should")
    return payload[at:end], payload[end:], number % 2 == 1


def split_count(payload: bytes, most: int) -> tuple[int, bytes]:
    """The number of components that a tile has, and what follows it. Raises `CorruptDataError`."""
    count, at = varint.decode(payload)
    if count > most:
        raise CorruptDataError(f"{count} components in a tile of an image of {most}")
    return count, payload[at:]


def join_adaptation(amounts: Sequence[Sequence[int]]) -> bytes:
    """The adaptation in a header, from the components' amounts: the number of them and signed bytes, for each."""
    parts = [bytes([len(component)]) + np.array(component, np.int8).tobytes() for component in amounts]
    return b"".join(parts).rstrip(b"\0")  # the last components may have none


def split_adaptation(data: bytes, most: int, components: int) -> list[list[int]]:
    """The inverse of `join_adaptation`. Raises `CorruptDataError` for more than `most` amounts or other components."""
    found, at = [], 0
    while at < len(data):
        start, at = at + 1, at + 1 + data[at]
        found.append(np.frombuffer(data[start:at], np.int8).tolist())
    if at != len(data) or len(found) > components or any(len(amounts) > most for amounts in found):
        raise CorruptDataError(f"an adaptation of {len(data)} bytes is not one of {components} times up to {most}")
    return found + [[] for _ in range(components - len(found))]


def visible_blocks(valid: NDArray[np.bool_] | None, height: int, width: int, device: str) -> Tensor | None:
    """(h, w, 16, 16): of each block of a rectangle, which pixels are in the image and valid in any band; None: all.

    `valid` (bands, height, width) as `MaskLayout.valid` has it.
    """
    import torch

    if valid is None and height % BLOCK == width % BLOCK == 0:
        return None
    rows, columns = tiles.latents_along(height), tiles.latents_along(width)
    visible = np.zeros((rows * BLOCK, columns * BLOCK), bool)
    visible[:height, :width] = True if valid is None else valid.any(0)
    blocks = visible.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(blocks)).to(device)


def tiles_of(header: Header, window: Window, halo: int = 0) -> list[int]:
    """The indices of the tiles that a window touches, or its blocks with a halo of so many latent positions."""
    found = []
    step_y, step_x = tiles.steps(header)
    spans = []
    for pixels, step, length in zip(window, (step_y, step_x), (header.height, header.width), strict=True):
        if halo:
            (whole,) = tiles.ranges(length, tiles.latents_along(length) * BLOCK, pixels)
            spans.append(range(whole.outer_start * BLOCK // step, -(-whole.outer_stop * BLOCK // step)))
        else:
            spans.append(range(pixels.start // step, -(-pixels.stop // step)))
    for row in spans[0]:
        found += [row * header.tile_grid[1] + column for column in spans[1]]
    return found


def synthesise(
    model: Model,
    header: Header,
    transform: ValueTransform,
    source: Callable[[int], Decoded],
    adaptations: Sequence[Sequence[int]],
    window: Window | None = None,
) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Turn tiles of decoded latents into pixels: yields rows, columns and (bands, h, w) values.

    `source(i)` gives what is decoded of tile i; it is asked once for each tile that is needed, in order. Each component
    has its amounts in `adaptations`. Only the rows of tiles that the halo reaches are in memory, and of the row above
    only what is reached. Of a window, the blocks of 16 pixels that it touches come.
    """
    height, width = header.height, header.width
    rows_wanted, columns_wanted = window or (slice(0, height), slice(0, width))
    step_y, step_x = tiles.steps(header)
    (across,) = tiles.ranges(width, tiles.latents_along(width) * BLOCK, columns_wanted)
    tile_columns = [index for index, _, _ in tiles.overlaps(across, step_x)]
    found: Rows = {}  # as long as they are reached
    for rows in tiles.ranges(height, step_y, rows_wanted):
        needed = [index for index, _, _ in tiles.overlaps(rows, step_y)]
        for row in needed:
            if row not in found:
                found[row] = {column: source(row * header.tile_grid[1] + column) for column in tile_columns}
        for row in found.keys() - needed:
            del found[row]
        for columns in tiles.ranges(width, tiles.span(width, step_x, header.bands), columns_wanted):
            area = (rows, step_y), (columns, step_x)
            shape = _shape(found, *area)
            planes = [
                _component(model, found, number, *area, header.level, adaptation, shape)
                for number, adaptation in enumerate(adaptations)
            ]
            here = rows.pixels(height), columns.pixels(width)
            yield *here, transform.from_model(_joined(planes, here))
        _forget(found, rows, step_y)


def _parts(found: Rows, rows: Along, columns: Along) -> Iterator[tuple[Decoded, Window, Window]]:
    """The tiles that an area touches, and for each which part of it that is, and where in the area it lies."""
    for row, from_rows, to_rows in tiles.overlaps(*rows):
        for column, from_columns, to_columns in tiles.overlaps(*columns):
            yield found[row][column], (from_rows, from_columns), (to_rows, to_columns)


def _cut(values: Tensor, part: Window) -> Tensor:
    """A part of a tile; of one in a row that is done, the last positions are left."""
    missing = max(0, part[0].stop - len(values))
    return values[part[0].start - missing : part[0].stop - missing, part[1]]


def _shape(found: Rows, rows: Along, columns: Along) -> Shape | None:
    """The shape of an area."""
    from learned_codec.models.shape import Shape

    visible = None
    for tile, part, place in _parts(found, rows, columns):
        if tile.visible is not None:
            if visible is None:
                size = rows[0].outer_length, columns[0].outer_length, BLOCK, BLOCK
                visible = tile.visible.new_ones(size)
            visible[place] = _cut(tile.visible, part)
    return Shape.of(visible)


def _component(
    model: Model,
    found: Rows,
    number: int,
    rows: Along,
    columns: Along,
    level: int,
    adaptation: Sequence[int],
    shape: Shape | None,
) -> Tensor:
    """The pixels of one component in an area, (model bands, 16h, 16w)."""
    import torch

    inner = [slice(r.inner.start * BLOCK, r.inner.stop * BLOCK) for r in (rows[0], columns[0])]
    if shape is not None and not shape.support[*inner].any():  # nobody will see it
        return torch.zeros(model.config.bands, *(part.stop - part.start for part in inner), device=model.device)
    area = torch.zeros(rows[0].outer_length, columns[0].outer_length, model.config.latents, device=model.device)
    lost = np.zeros(area.shape[:2], bool)
    for tile, part, place in _parts(found, rows, columns):
        if tile.components is None:
            lost[place] = True
        elif number < len(tile.components):
            area[place] = _cut(tile.components[number], part)
    if lost.any() and not lost.all():
        # The blocks beside a lost tile overlap with it: a smooth continuation harms them least.
        channels = area.permute(2, 0, 1).cpu().numpy()
        area = torch.from_numpy(np.stack([fill(channel, ~lost) for channel in channels])).to(area).permute(1, 2, 0)
    pixels = model.synthesise(area, level, adaptation, shape)
    return pixels[:, *inner]


def _joined(planes: list[Tensor], here: Window) -> Tensor:
    import torch

    height, width = (part.stop - part.start for part in here)
    return torch.cat([plane[:, :height, :width] for plane in planes])


def _forget(found: Rows, rows: tiles.Range, step: int) -> None:
    """Keep of the row of tiles that is done only the positions that the next row's halo reaches."""
    row = found[rows.start * BLOCK // step]
    for column, tile in row.items():
        visible = None if tile.visible is None else tile.visible[-HALO:].clone()
        components = None if tile.components is None else [latents[-HALO:].clone() for latents in tile.components]
        row[column] = Decoded(components, visible)
