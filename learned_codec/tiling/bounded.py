"""Images with a bounded error, tile by tile: no tile needs another, nor any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream
from learned_codec.bitstream import Container, Header
from learned_codec.bitstream.metadata import of_classes
from learned_codec.bitstream.payload import join_payload, split_payload
from learned_codec.bounded.header import NO_MODEL, TRANSFORM, bounds_of, parameters_of
from learned_codec.bounded.tile import decode_tile, encode_tile
from learned_codec.errors import BitstreamError, BoundError, CorruptDataError
from learned_codec.values.few import different_values, may_be_classes, with_others
from learned_codec.values.mask import Side

from .decoder import Block, TileDecoder, checked
from .grid import Window, tiles_of
from .masking import MaskedSource, Part
from .parallel import Workers
from .progress import Progress

BoundedTile = tuple[bytes, bytes, bool, bool, list[NDArray[Any]]]
"""A tile's side, its samples, whether it has any, whether hidden pixels have values, which aren't kept, and for each
band the different values that it has (see `values.few`)."""

FEW_VALUES = "few_values"
"""META's list of the bands that may be of classes. In a file of one tile, the tile itself tells."""

BoundedElsewhere = Callable[[], Iterator[list[BoundedTile]]]
"""Encodes all rows of tiles in other processes."""


def _exact(header: Header, bounds: Sequence[float]) -> list[bool]:
    """For each band, whether it is lossless, and so may be one of classes.

    None is if they look like red, green and blue: the means of pictures look best, also if they have few colours.
    """
    picture = header.dtype == "uint8" and header.bands == 3
    return [not picture and (bound == 0 or (bound < 1 and header.dtype != "float32")) for bound in bounds]


class BoundedEncoder:
    """Encodes one image, with every valid value within its band's bound.

    Attributes:
        hides: whether a mask or an opacity of 0 hides values in the image, which `run` has then left out.
    """

    def __init__(
        self,
        source: MaskedSource,
        header: Header,
        bounds: Sequence[float],
        progress: Progress | None,
        threads: int = 1,
        *,
        elsewhere: BoundedElsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self.source, self.bounds, self.mask_spec = source, bounds, source.mask_spec
        self.header = replace(
            header, weights_id=NO_MODEL, quality_step=0, transform=TRANSFORM, parameters=parameters_of(bounds)
        )
        self.progress, self.threads = progress, threads
        self.hides = False
        self._known: list[NDArray[Any]] = [np.empty(0, source.dtype) for _ in bounds]

    def run(self, metadata: dict[str, Any]) -> bytes:
        """The file. Raises `BoundError` if a decoded value would exceed its bound."""
        coded: list[BoundedTile] = []
        with Workers(self.threads) as workers:
            here = self._encoded(range(self.header.tile_count), workers)
            for tile in here if self._elsewhere is None else chain.from_iterable(self._elsewhere()):
                coded.append(tile)
                self.hides = self.hides or tile[3]
                self._known = [with_others(*pair) for pair in zip(self._known, tile[4], strict=True)]
                if self.progress is not None:
                    self.progress(len(coded), self.header.tile_count)
        source = self.source.source
        metadata = {key: value for key, value in metadata.items() if key != FEW_VALUES}
        kinds = zip(self._known, _exact(self.header, self.bounds), strict=True)
        few = [band for band, (known, exact) in enumerate(kinds) if exact and may_be_classes(known)]
        if few and self.header.tile_count > 1 and not of_classes(metadata):
            metadata[FEW_VALUES] = few
        masked = source.nodata is not None or source.plane or any(side for side, *_ in coded)
        if self.mask_spec is None or not masked:
            return bitstream.write(self.header, [payload for _, payload, *_ in coded], metadata=metadata)
        joined = [join_payload(*tile[:3]) for tile in coded]
        return bitstream.write(self.header, joined, metadata=metadata, mask=self.mask_spec.to_bytes())

    def row(self, number: int) -> list[BoundedTile]:
        """A row of tiles, encoded."""
        columns = self.header.tile_grid[1]
        with Workers(self.threads) as workers:
            return list(self._encoded(range(number * columns, (number + 1) * columns), workers))

    def _encoded(self, indices: range, workers: Workers) -> Iterator[BoundedTile]:
        return workers.map(self._coded, self._tiles(indices))

    def _tiles(self, indices: range) -> Iterator[Part]:
        for index in indices:
            box = self.header.tile_box(index)
            part = self.source.read(slice(box.row, box.row + box.height), slice(box.col, box.col + box.width))
            plane = None if part.side.plane is None else part.side.plane.copy()
            yield replace(part, values=part.values.copy(), side=replace(part.side, plane=plane))  # for workers

    def _coded(self, part: Part) -> BoundedTile:
        """Encode a tile, decode it again, and check that it is within the bounds."""
        values, side, valid = part.values, part.side, part.valid
        packed, fills = b"", []
        if self.mask_spec is not None:
            packed = self.mask_spec.pack(side)
            fills = [fill for fill in self.mask_spec.fills if np.isfinite(fill)]
        shown = valid is None or bool(valid.any())
        payload = encode_tile(values, valid, self.bounds, fills) if shown else b""
        decoded = decode_tile(payload, values.shape, values.dtype, valid) if shown else np.zeros_like(values)
        if self.mask_spec is not None:
            self.mask_spec.restore(decoded, side)
        for band, bound in enumerate(self.bounds):
            real = ... if valid is None else valid[band]
            error = np.abs(decoded[band][real].astype(np.float64) - values[band][real].astype(np.float64))
            if error.size and not error.max() <= bound:
                raise BoundError(f"band {band + 1} would be decoded with an error of {error.max():g}, above {bound:g}")
        lost = False if valid is None else ~valid & (decoded != values) & ((decoded == decoded) | (values == values))
        return packed, payload, shown, bool(np.any(lost)), different_values(values, valid)


class BoundedDecoder(TileDecoder):
    """Decodes a file with a bounded error. Threads may share it."""

    def __init__(self, container: Container, *, lenient: bool = False) -> None:
        super().__init__(container, lenient=lenient)
        self.bounds = bounds_of(container.header)
        if self.dtype.kind == "b" and self.mask_spec is not None and self.mask_spec.fills:
            raise CorruptDataError("MASK is invalid: booleans can't have a nodata value")
        if self.mask_spec is not None and self.mask_spec.grids:
            raise CorruptDataError("MASK is invalid: plateaus of values that have a bound")

    def _classes(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        found = super()._classes(values, valid)
        if self.header.tile_count == 1:
            kinds = zip(different_values(values, valid), _exact(self.header, self.bounds), strict=True)
            return found | [exact and may_be_classes(known) for known, exact in kinds]
        said = self.container.metadata.get(FEW_VALUES)
        for band in said if isinstance(said, list) else ():
            if isinstance(band, int) and not isinstance(band, bool) and 0 <= band < len(found):
                found[band] = True
        return found

    def blocks(
        self, window: Window | None = None, progress: Progress | None = None, threads: int = 1, factor: int = 1
    ) -> Iterator[Block]:
        """Decode the image, or the tiles that touch a window, with `threads`.

        With a `factor`, of the image reduced by it (`values.reduce`). Raises `CorruptDataError`.
        """
        window = window or (slice(0, self.header.height), slice(0, self.header.width))
        wanted = tiles_of(self.header, window)
        with Workers(threads) as workers:
            found = workers.map(lambda read: self._tile(*read, factor), self._read(wanted))
            for done, block in enumerate(found, 1):
                if progress is not None:
                    progress(done, len(wanted))
                yield block

    def _tile(self, index: int, read: memoryview | BitstreamError, factor: int) -> Block:
        box = self.header.tile_box(index)
        shape = self.header.bands, box.height, box.width
        side: Side | None = Side(None, None)
        valid, shown = None, True
        values: NDArray[Any] = np.zeros(shape, self.dtype)
        try:
            payload = bytes(checked(read))
            if self.mask_spec is not None:
                data, payload, shown = split_payload(payload)
                side = self.mask_spec.unpack(data, *shape)
                valid = self.mask_spec.valid(side, self.header.bands)
            if shown:
                limit = self.container.limits
                values = decode_tile(payload, shape, self.dtype, valid, lambda n: limit.check_coded(n, len(payload)))
        except BitstreamError as error:
            self._damage(index, error)
            side = None
        rows, columns = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
        return self._finish(values, rows, columns, {index: side}, factor)
