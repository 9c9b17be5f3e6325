"""Tiles on their way into bytes, and where a search for a rate keeps them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.shape_adaptive import Shape

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


class Store(Sequence[Tile]):
    """Tiles kept for a search, their arrays beyond `IN_MEMORY` in a temporary file."""

    def __init__(self, found: Iterable[Tile]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._tiles: list[tuple[bytes, list[Kept], list[Kept], Kept | None]] = []
        self._used = 0
        for tile in found:
            latents, optimised = ([self._keep(x) for x in found] for found in (tile.latents, tile.optimised))
            visible = None if tile.visible is None else self._keep(tile.visible)
            self._tiles.append((tile.side, latents, optimised, visible))

    def __len__(self) -> int:
        return len(self._tiles)

    @property
    def visible(self) -> bool:
        """Whether anything is."""
        return any(latents for _, latents, _, _ in self._tiles)

    def __getitem__(self, index: Any) -> Any:
        side, *kept, visible = self._tiles[index]
        latents, optimised = ([self._load(item) for item in items] for items in kept)
        return Tile(side, latents, optimised, None if visible is None else self._load(visible))

    def _keep(self, array: NDArray[Any]) -> Kept:
        if self._used + array.nbytes <= IN_MEMORY:
            self._used += array.nbytes
            return array
        place = self._file.tell(), array.shape, array.dtype
        array.tofile(self._file)
        return place

    def _load(self, item: Kept) -> NDArray[Any]:
        if isinstance(item, np.ndarray):
            return item
        offset, shape, dtype = item
        self._file.seek(offset)
        found: NDArray[Any] = np.fromfile(self._file, dtype, math.prod(shape)).reshape(shape)
        return found

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
