"""Tiles on their way into bytes, and where a search for a rate keeps them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.shape_adaptive import Shape
from learned_codec.streams import our_errors

IN_MEMORY = 2**28
"""Bytes of latents that a search for a rate keeps in memory; beyond, they go to a temporary file."""


@dataclass(frozen=True)
class Tile:
    """A tile on its way.

    Its side in bytes; each component's (h, w, latents), none where nothing in it is visible, and likewise what is
    rounded in their place if they were optimised; and which pixels are visible, as `Decoded` has it.
    """

    side: bytes
    latents: Sequence[NDArray[np.float32]]
    optimised: Sequence[NDArray[np.float32]]
    visible: NDArray[np.bool_] | None

    @cached_property
    def shape(self) -> Shape | None:
        """Of what is coded."""
        return Shape.of(self.visible)


Kept = Any
"""An array, or where in a file it is, its shape and dtype."""


class Store:
    """Arrays kept for later, beyond `IN_MEMORY` in a temporary file."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._used = 0

    def keep(self, array: NDArray[Any]) -> Kept:
        """What `load` takes to give the array back."""
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
        """What was kept."""
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
    """Tiles kept for a search."""

    def __init__(self) -> None:
        super().__init__()
        self._tiles: list[tuple[bytes, list[Kept], list[Kept], Kept | None]] = []

    def extend(self, tiles: Iterable[Tile]) -> None:
        """Keep tiles behind those that are there."""
        for tile in tiles:
            latents, optimised = ([self.keep(x) for x in arrays] for arrays in (tile.latents, tile.optimised))
            visible = None if tile.visible is None else self.keep(tile.visible)
            self._tiles.append((tile.side, latents, optimised, visible))

    def __len__(self) -> int:
        return len(self._tiles)

    @property
    def sides(self) -> list[bytes]:
        """The tiles' sides."""
        return [side for side, _, _, _ in self._tiles]

    @property
    def visible(self) -> bool:
        """Whether anything is."""
        return any(latents for _, latents, _, _ in self._tiles)

    def __getitem__(self, index: Any) -> Any:
        side, *kept, visible = self._tiles[index]
        latents, optimised = ([self.load(item) for item in items] for items in kept)
        return Tile(side, latents, optimised, None if visible is None else self.load(visible))
