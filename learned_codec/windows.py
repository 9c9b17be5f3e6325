"""Checks windows, shapes and subscripts from callers, and brings them into whole pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError, OutOfBoundsError, shown

WindowTuple: TypeAlias = tuple[int, int, int, int]
"""Row, column, height and width, in pixels."""


class RasterioWindow(Protocol):
    """The attributes of `rasterio.windows.Window` that are used."""

    @property
    def row_off(self) -> float: ...  # noqa: D102 - rasterio's
    @property
    def col_off(self) -> float: ...  # noqa: D102
    @property
    def height(self) -> float: ...  # noqa: D102
    @property
    def width(self) -> float: ...  # noqa: D102


WindowLike: TypeAlias = WindowTuple | tuple[slice, slice] | tuple[tuple[int, int], tuple[int, int]] | RasterioWindow
"""A window as (row, column, height, width), as two ranges of rows and columns, or rasterio's."""

Axis: TypeAlias = int | range | list[int]
"""The indices to take along an axis. A single one drops the axis."""

_ACCEPTED = "a window is (row, column, height, width), ((row, row), (column, column)) or rasterio's"


def checked(window: Any, size: tuple[int, int], *, boundless: bool | None = None) -> WindowTuple:
    """Check a window of an image of `size` (height, width). None is the whole image.

    Args:
        window: (row, column, height, width); or two ranges of rows and columns, as pairs or slices; or a rasterio
            `Window`.
        size: the size of the image.
        boundless: whether the window may reach beyond the image; None if the caller can't choose that.

    Raises `InvalidInputError`.
    """
    if window is None:
        return 0, 0, *size
    try:
        row, column, height, width = map(whole, _numbers(window, size))
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidInputError(f"{_ACCEPTED}, in whole pixels, not {shown(window)}") from error
    inside = 0 <= row < row + height <= size[0] and 0 <= column < column + width <= size[1]
    if not (inside or (boundless and height > 0 and width > 0)):
        raise InvalidInputError(
            f"the window {(row, column, height, width)} isn't inside the image of {size[0]} rows and {size[1]} columns"
            + ("; boundless=True reads the part inside" if boundless is False else "")
        )
    return row, column, height, width


def inside(window: WindowTuple, size: tuple[int, int]) -> WindowTuple | None:
    """The part of a window that is in the image; None if there is none."""
    top, left = max(window[0], 0), max(window[1], 0)
    bottom, right = min(window[0] + window[2], size[0]), min(window[1] + window[3], size[1])
    return (top, left, bottom - top, right - left) if top < bottom and left < right else None


def checked_shape(shape: Any, bands: int) -> tuple[int, int]:
    """Check an output shape, (height, width) or (bands, height, width). Raises `InvalidInputError`."""
    try:
        *first, height, width = map(whole, shape)
        if first not in ([], [bands]):
            raise ValueError("it has other bands")
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"out_shape is (height, width) or ({bands}, height, width), not {shown(shape)}"
        ) from error
    if height < 1 or width < 1:
        raise InvalidInputError(f"out_shape must be at least (1, 1), not {shown(shape)}")
    return height, width


def reduced(window: WindowTuple, factor: int) -> WindowTuple:
    """The window in an image reduced by `factor` that a window of the full image touches."""
    row, column, height, width = window
    top, left = row // factor, column // factor
    return top, left, -(-(row + height) // factor) - top, -(-(column + width) // factor) - left


def nearest(first: int, length: int, count: int, factor: int) -> NDArray[np.intp]:
    """(count,) the pixels nearest to `count` points, spread over `length` pixels from `first` on.

    They are pixels of an image reduced by `factor`, counted from the first one that holds one of the points.
    """
    points = (np.arange(count) * length + length // 2) // count
    found: NDArray[np.intp] = (first + points.clip(max=length - 1)) // factor - first // factor
    return found


def subscripts(key: Any, shape: Sequence[int]) -> list[Axis]:
    """The indices that `array[key]` takes along each axis of an array of `shape`.

    Keys are integers, slices, lists and one "...".

    Raises `OutOfBoundsError` where numpy raises `IndexError`, and `InvalidInputError` for other keys.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if sum(k is Ellipsis for k in keys) > 1 or len(keys) - (Ellipsis in map(_kind, keys)) > len(shape):
        raise OutOfBoundsError(f"{len(shape)} axes, but the subscript is {shown(key)}")
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    missing = len(shape) - (len(keys) - (at < len(keys)))
    keys[at : at + 1] = [slice(None)] * missing
    return [_axis(k, length) for k, length in zip(keys, shape, strict=True)]


def whole(value: Any) -> int:
    """A whole number as an integer. Raises `TypeError`, `ValueError` or `OverflowError` for anything else."""
    if isinstance(value, str | bytes) or int(value) != value:
        raise ValueError(f"{shown(value)} isn't an integer")
    return int(value)


def _numbers(window: Any, size: tuple[int, int]) -> Sequence[Any]:
    if hasattr(window, "row_off"):
        return window.row_off, window.col_off, window.height, window.width
    numbers: list[Any] = list(window)
    if len(numbers) != 2:
        return numbers
    (top, bottom), (left, right) = (_ends(part, length) for part, length in zip(numbers, size, strict=True))
    return top, left, bottom - top, right - left


def _ends(part: Any, length: int) -> tuple[int, int]:
    """The start and stop of a slice or a pair. None stands for an end of the image."""
    start, stop = (part.start, part.stop) if isinstance(part, slice) else part
    if isinstance(part, slice) and part.step not in (None, 1):
        raise ValueError(f"a window has no steps: {shown(part)}")
    return 0 if start is None else whole(start), length if stop is None else whole(stop)


def _kind(key: Any) -> Any:
    return key if key is Ellipsis else None


def _axis(key: Any, length: int) -> Axis:
    if isinstance(key, slice):
        try:
            return range(length)[key]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{shown(key)}: {error}") from error
    if isinstance(key, list | range | np.ndarray):
        try:
            numbers = np.asarray(key)
        except ValueError as error:  # lists of unlike lengths
            raise InvalidInputError(f"{shown(key)}: {error}") from error
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise InvalidInputError(f"a subscript consists of integers, slices and lists of integers, not {shown(key)}")
        return [_one(int(k), length) for k in numbers]
    if isinstance(key, bool | np.bool_ | type) or not hasattr(key, "__index__"):
        raise InvalidInputError(f"a subscript consists of integers, slices and lists of integers, not {shown(key)}")
    return _one(key.__index__(), length)


def _one(index: int, length: int) -> int:
    if not -length <= index < length:
        raise OutOfBoundsError(f"{index} is out of bounds for an axis of {length}")
    return index % length
