"""Analysed tiles, and the store in which a search for a rate keeps them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.models.shape_adaptive import Shape
from learned_codec.streams import our_errors

IN_MEMORY = 2**28
"""Bytes that a store keeps in memory. What is beyond goes to a temporary file."""


@dataclass(frozen=True)
class Tile:
    """An analysed tile.

    Attributes:
        side: its mask or plane, packed.
        latents: (h, w, latents) of each component; empty if nothing in the tile is visible.
        optimised: the same after latent optimisation, to be rounded in their place; empty without.
        visible: (h, w, 16, 16), which pixels of each block are visible; None: all.
    """

    side: bytes
    latents: Sequence[NDArray[np.float32]]
    optimised: Sequence[NDArray[np.float32]]
    visible: NDArray[np.bool_] | None

    @cached_property
    def shape(self) -> Shape | None:
        """The shape of its coded pixels."""
        return Shape.of(self.visible)


Kept = Any
"""An array, or its place in the temporary file with its shape and dtype."""


class Store:
    """Keeps arrays for later: in memory up to `IN_MEMORY`, then in a temporary file. A context manager."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._used = 0

    def keep(self, array: NDArray[Any]) -> Kept:
        """Keep an array. The result is what `load` takes."""
        if self._used + array.nbytes <= IN_MEMORY:
            self._used += array.nbytes
            return array
        with our_errors("temporary file"):  # where the disk is full
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
            place = self._file.seek(0, 2), array.shape, array.dtype
            array.tofile(self._file)
        return place

    def load(self, kept: Kept) -> NDArray[Any]:
        """The array that was kept."""
        if self._file is None or isinstance(kept, np.ndarray):
            found: NDArray[Any] = kept
            return found
        offset, shape, dtype = kept
        self._file.seek(offset)
        return np.fromfile(self._file, dtype, math.prod(shape)).reshape(shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class TileStore(Store, Sequence[Tile]):
    """Keeps the tiles of a search. A sequence."""

    def __init__(self) -> None:
        super().__init__()
        self._tiles: list[tuple[bytes, list[Kept], list[Kept], Kept | None]] = []

    def extend(self, tiles: Iterable[Tile]) -> None:
        """Append tiles."""
        for tile in tiles:
            latents, optimised = ([self.keep(x) for x in arrays] for arrays in (tile.latents, tile.optimised))
            visible = None if tile.visible is None else self.keep(tile.visible)
            self._tiles.append((tile.side, latents, optimised, visible))

    def __len__(self) -> int:
        return len(self._tiles)

    @property
    def sides(self) -> list[bytes]:
        """The packed masks or planes of all tiles."""
        return [side for side, _, _, _ in self._tiles]

    @property
    def visible(self) -> bool:
        """Whether any pixel of any tile is visible."""
        return any(latents for _, latents, _, _ in self._tiles)

    def __getitem__(self, index: Any) -> Any:
        side, *kept, visible = self._tiles[index]
        latents, optimised = ([self.load(item) for item in items] for items in kept)
        return Tile(side, latents, optimised, None if visible is None else self.load(visible))
