"""Samples of any dtype as integers, and back: each way within a bound.

Integers and booleans stay as they are. Floats are put on a grid with several steps to the bound. If the bound is finer
than the spacing of floats, they are numbered in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

AS_THEY_ARE, GRID, ORDERED = range(3)

MOST_STEPS = 2**30
"""Grid steps from 0 to the largest value."""

FINE = 3
"""Grid steps on each side of a value that the bound leaves free, where the grid isn't too fine for that."""

STEPS = tuple(sorted([*(2.0**-k for k in range(24)), 0.1, 0.01, 0.001, 0.0001], reverse=True))
"""Floats are often whole multiples of these steps."""


@dataclass(frozen=True)
class Mapping:
    """How samples are mapped to integers: the kind, and the step of a grid (0 for other kinds)."""

    kind: int
    step: float = 0.0

    def samples(self, numbers: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The samples that integers mean. Raises `CorruptDataError` where the dtype has none such."""
        if (dtype.kind == "f") == (self.kind == AS_THEY_ARE):
            raise CorruptDataError(f"{dtype} values can't have a mapping of kind {self.kind}")
        if self.kind == GRID:
            with np.errstate(over="ignore"):
                found = (numbers * self.step).astype(dtype)
            if not np.isfinite(found).all():
                raise CorruptDataError("a decoded value is beyond the range of floats")
            return found
        low, high = (0, 1) if dtype.kind == "b" else limits(np.dtype(np.int32) if self.kind == ORDERED else dtype)
        if numbers.size and not low <= int(numbers.min()) <= int(numbers.max()) <= high:
            raise CorruptDataError(f"a decoded value doesn't fit {dtype}")
        if self.kind == ORDERED:
            return _bits(numbers.astype(np.int32)).view(np.float32)
        return numbers.astype(dtype)


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The lowest and the highest integer of a dtype."""
    found = np.iinfo(dtype)
    return int(found.min), int(found.max)


def numbers_of(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, bound: float, fills: tuple[float, ...]
) -> tuple[Mapping, NDArray[np.int64], int]:
    """Integers for (h, w) samples, how they mean these, and by how much each may differ.

    A valid value that comes out equal to one of `fills` is moved by one step of its dtype; there is room for that.
    """
    real = values.reshape(-1) if valid is None else values[valid]
    if values.dtype.kind != "f":
        free = int(min(bound, 2**33))
        if free and real.size and any(real.min() <= fill <= real.max() for fill in fills):
            free -= 1
        return Mapping(AS_THEY_ARE), values.astype(np.int64), free
    if real.size and real.min() == real.max():  # one value comes back exactly, whatever the bound
        return Mapping(ORDERED), _bits(values.view(np.int32)).astype(np.int64), 0
    largest = np.abs(real).max() if real.size else np.float32(0)
    room = bound - 2 * float(np.spacing(largest)) if bound else 0.0
    usable = values if valid is None else np.where(valid, values, np.float32(0))
    for fine in (FINE, 0):
        step = room * (1 - 2.0**-30) / (fine + 0.5)
        if step > 0 and float(largest) / step < MOST_STEPS:
            return Mapping(GRID, step), np.rint(usable / np.float64(step)).astype(np.int64), fine
    if not bound:
        for step in STEPS:
            if float(largest) / step < MOST_STEPS and _on_grid(real, step):
                return Mapping(GRID, step), np.rint(usable / np.float64(step)).astype(np.int64), 0
    return Mapping(ORDERED), _bits(usable.view(np.int32)).astype(np.int64), 0


def _on_grid(values: NDArray[Any], step: float) -> bool:
    """Whether floats are exactly those of a grid, the sign of 0 included."""
    for some in (values[:: max(1, values.size // 1024)], values):
        again = (np.rint(some / np.float64(step)).astype(np.int64) * step).astype(np.float32)
        if (again.view(np.int32) != np.ascontiguousarray(some).view(np.int32)).any():
            return False
    return True


def _bits(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """The bits of floats as integers in the same order, and back."""
    found: NDArray[np.int32] = np.where(numbers < 0, numbers ^ np.int32(0x7FFFFFFF), numbers)
    return found
