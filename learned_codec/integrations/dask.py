"""Dask arrays that are computed once and then read many times, however large they are.

An encoder reads its source several times: samples, borders, and then everything. To compute the chunks of a dask array
each time would take hours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import FileError, InvalidInputError

ChunkStart = tuple[int, ...]
"""The indices of a chunk's first value."""


class Computed:
    """The values of a dask array (bands, height, width), in a temporary file as large as they are.

    Each chunk is computed once, by the scheduler that dask is set to, and written by the thread or process that
    computed it. So the workers of a cluster must share the folder of temporary files, which `TMPDIR` names.

    Raises `FileError` if the file can't be written, `InvalidInputError` if a chunk isn't what the array declares, and
    what the computation raises.
    """

    def __init__(self, array: Any) -> None:
        self._dtype, self._bands = array.dtype, array.shape[0]
        self._shapes = _shapes(array.chunks)
        sizes = (self._dtype.itemsize * prod(shape) for shape in self._shapes.values())
        self._places = dict(zip(self._shapes, accumulate(sizes, initial=0), strict=False))
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="learned_codec-"))
                path = Path(folder) / "values"
                path.touch()
                array.store(_ChunkFile(path, self._places, self._dtype), lock=False)
            except OSError as error:
                raise FileError.of(f"temporary file {error.filename or ''}".rstrip(), error) from error
            self._path, self._open = path, stack.pop_all()

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values."""
        wanted = slice(0, self._bands), rows, columns
        values = np.memmap(self._path, np.uint8, "r")
        found = np.empty([part.stop - part.start for part in wanted], self._dtype)
        for corner, shape in self._shapes.items():
            common = [
                slice(max(first, part.start), min(first + length, part.stop))
                for first, length, part in zip(corner, shape, wanted, strict=True)
            ]
            if all(part.start < part.stop for part in common):
                start = self._places[corner]
                chunk = values[start : start + self._dtype.itemsize * prod(shape)].view(self._dtype)
                origin = [part.start for part in wanted]
                found[_moved(common, origin)] = chunk.reshape(shape)[_moved(common, corner)]
        return found

    def close(self) -> None:
        """Delete the file."""
        self._open.close()

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which read the file as long as this one keeps it."""
        return vars(self) | {"_open": ExitStack()}


class _ChunkFile:
    """What dask stores chunks into, also from other processes."""

    def __init__(self, path: Path, places: dict[ChunkStart, int], dtype: np.dtype[Any]) -> None:
        self._path, self._places, self._dtype = path, places, dtype

    def __setitem__(self, key: tuple[slice, ...], chunk: NDArray[Any]) -> None:
        # A function for `map_blocks` may return something else than was declared, and dask doesn't look.
        shape = tuple(part.stop - part.start for part in key)
        if chunk.shape != shape or chunk.dtype != self._dtype or np.ma.is_masked(chunk):
            masked = " with masked values" if np.ma.is_masked(chunk) else ""
            raise InvalidInputError(
                f"a chunk of the dask array is {chunk.dtype} of shape {chunk.shape}{masked}, but the array declares "
                f"{self._dtype} of shape {shape}: was another dtype or shape given to map_blocks or apply_ufunc?"
            )
        with self._path.open("r+b") as file:  # no new file: it isn't there if another machine has other folders
            file.seek(self._places[tuple(part.start for part in key)])
            file.write(np.ascontiguousarray(chunk).data)


def _shapes(chunks: tuple[tuple[int, ...], ...]) -> dict[ChunkStart, tuple[int, ...]]:
    """The shape of each chunk, by its corner."""
    along = [list(zip(accumulate(lengths[:-1], initial=0), lengths, strict=True)) for lengths in chunks]
    return {tuple(first for first, _ in cell): tuple(length for _, length in cell) for cell in product(*along)}


def _moved(parts: Sequence[slice], origin: Sequence[int]) -> tuple[slice, ...]:
    """Slices counted from another origin."""
    return tuple(slice(part.start - at, part.stop - at) for part, at in zip(parts, origin, strict=True))
