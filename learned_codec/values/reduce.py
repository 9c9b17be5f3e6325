"""Reduced images: each pixel is the mean of the valid pixels in a square cell, or of classes and constants one of them.

Cells begin at the image's upper left corner. The image's edge may cut the last cells of a row or column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mask import VALID, MaskSpec, Side
from .sources import Plane, PlaneKind

FACTORS = (1, 2, 4, 8, 16)
"""Pixels per side of a cell. As blocks have 16 pixels per side, no cell lies in two blocks."""


def reducing_factor(size: Sequence[int], shape: Sequence[int]) -> int:
    """The largest factor by which a (height, width) can be reduced before it is made a smaller or equal `shape`."""
    most = min(side / wanted for side, wanted in zip(size, shape, strict=True))
    return max(factor for factor in FACTORS if factor <= max(1, most))


def cells(pixels: slice, factor: int) -> slice:
    """The range of cells that a range of pixels touches."""
    return slice(pixels.start // factor, -(-pixels.stop // factor))


def reduced(values: NDArray[Any], valid: NDArray[np.bool_] | None, factor: int) -> NDArray[Any]:
    """(bands, H, W) values -> means of the valid values of each cell, (bands, h, w), same dtype; 0 without any.

    `valid` (bands, H, W), None where all are.
    """
    if valid is None:
        means = _sums(values, factor) / _sums(np.ones((1, *values.shape[1:])), factor)
    else:
        means = _sums(np.where(valid, values, 0), factor) / np.maximum(_sums(valid, factor), 1)
    return (means if values.dtype.kind == "f" else np.rint(means)).astype(values.dtype)


def picked(values: NDArray[Any], valid: NDArray[np.bool_] | None, factor: int) -> NDArray[Any]:
    """(bands, H, W) values -> of each cell the valid one nearest to its middle, (bands, h, w); 0 without any.

    `valid` is as for `reduced`. The mean of numbers that stand for classes or colours would be some other class.
    """
    bands, height, width = values.shape
    missing = (0, 0), (0, -height % factor), (0, -width % factor)
    there = np.ones(values.shape, bool) if valid is None else np.broadcast_to(valid, values.shape)
    offsets = np.abs(np.arange(factor) - (factor - 1) / 2)
    order = np.argsort(np.add.outer(offsets, offsets).reshape(-1), kind="stable")
    padded = np.pad(np.where(there, values, 0), missing), np.pad(there, missing)
    parts = [
        plane.reshape(bands, plane.shape[1] // factor, factor, plane.shape[2] // factor, factor)
        .transpose(0, 1, 3, 2, 4)
        .reshape(bands, plane.shape[1] // factor, plane.shape[2] // factor, factor**2)[..., order]
        for plane in padded
    ]
    found: NDArray[Any] = np.take_along_axis(parts[0], parts[1].argmax(-1)[..., None], -1)[..., 0]
    return found.astype(values.dtype)


def reduced_values(
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    constant: NDArray[np.bool_] | None,
    classes: NDArray[np.bool_],
    factor: int,
) -> NDArray[Any]:
    """As `reduced`, but of some cells, one value is `picked`: those of bands of classes, and those of constants.

    Args:
        values: (bands, H, W).
        valid: as for `reduced`.
        constant: (1 or bands, H, W) those that are kept exactly; None: none is. A cell all of whose valid values are,
            may be one of classes.
        classes: (bands,) those whose values stand for classes.
        factor: pixels per side of a cell.
    """
    if classes.all():
        return picked(values, valid, factor)
    found = reduced(values, valid, factor)
    if constant is None and not classes.any():
        return found
    there = np.ones(values.shape, bool) if valid is None else np.broadcast_to(valid, values.shape)
    found[classes] = picked(values[classes], there[classes], factor)
    if constant is None:
        return found
    constant = np.broadcast_to(constant, values.shape)
    bands = np.flatnonzero((there & constant).any((1, 2)))
    alone = ~_over_cells(np.logical_or, there[bands] & ~constant[bands], factor)
    found[bands] = np.where(alone, picked(values[bands], there[bands], factor), found[bands])
    return found


def reduced_plane(plane: Plane, kind: PlaneKind | None, factor: int) -> Plane:
    """Reduce an (H, W) plane. A mask's cell exists if any of its pixels does; an alpha channel's cell is their mean.

    The mean is rounded up, so that a cell is visible if any of its pixels is.
    """
    found = _over_cells(np.maximum, plane[None], factor)
    if kind == "alpha":
        found = np.ceil(_sums(plane[None], factor) / _sums(np.ones((1, *plane.shape)), factor))
    result: Plane = found[0].astype(plane.dtype)
    return result


def reduced_side(side: Side, kind: PlaneKind | None, factor: int) -> Side:
    """The `Side` of reduced values: a cell has a value if any of its pixels has one, and else the first class in it."""
    plane = None if side.plane is None else reduced_plane(side.plane, kind, factor)
    classes = None
    if side.classes is not None:
        bands = len(side.classes)
        there = MaskSpec.valid(side, bands)
        assert there is not None  # noqa: S101 - there are classes
        some = _over_cells(np.logical_or, there, factor)
        classes = np.where(some, np.uint8(VALID), _over_cells(np.minimum, side.classes, factor))
    return Side(classes, plane)


def _sums(values: NDArray[Any], factor: int) -> NDArray[np.float64]:
    """(bands, H, W) -> the sums of its cells."""
    return _over_cells(np.add, values.astype(np.float64), factor)


def _over_cells(function: np.ufunc, values: NDArray[Any], factor: int) -> NDArray[Any]:
    """A ufunc over each cell of (bands, H, W) values."""
    for axis in (1, 2):
        values = function.reduceat(values, np.arange(0, values.shape[axis], factor), axis)
    return values
