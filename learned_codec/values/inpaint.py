"""Values for pixels that have none.

What is coded in place of a masked pixel is free, so it is chosen to cost nothing and to leave its neighbours alone: a
smooth continuation of the valid pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill(plane: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) values with those outside `valid` replaced by a smooth continuation of the valid ones.

    Valid values are averaged in a pyramid of 2x2 blocks, and holes are filled from the coarsest level down ("pull and
    push", Gortler et al., "The lumigraph", 1996). Nothing valid at all gives zeros.
    """
    if valid.all():
        return plane
    if not valid.any():
        return np.zeros_like(plane)
    weight = valid.astype(np.float32)
    return _fill(np.where(valid, plane, np.float32(0)), weight)


def _fill(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means total / weight where the weight is positive, and filled from a level of half the size elsewhere."""
    means: NDArray[np.float32] = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    if weight.all():
        return means
    height, width = total.shape
    padding = ((0, height % 2), (0, width % 2))
    quarters = [
        np.pad(values, padding).reshape(-(-height // 2), 2, -(-width // 2), 2).sum((1, 3)) for values in (total, weight)
    ]
    # Weights saturate, or far away regions would be dominated by where there are most valid pixels.
    scale = np.minimum(1, 1 / np.maximum(quarters[1], 1e-9))
    coarse = _fill(quarters[0] * scale, quarters[1] * scale)
    holes = weight <= 0
    means[holes] = _double(coarse, height, width)[holes]
    return means


def _double(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Twice the size, bilinearly (weights 3/4 and 1/4), cut to (height, width)."""
    for axis, length in ((0, height), (1, width)):
        padded = np.concatenate([plane.take([0], axis), plane, plane.take([-1], axis)], axis)
        middle, before, after = (padded.take(range(start, start + plane.shape[axis]), axis) for start in (1, 0, 2))
        both = np.stack([0.75 * middle + 0.25 * before, 0.75 * middle + 0.25 * after], axis + 1)
        shape = list(plane.shape)
        shape[axis] *= 2
        plane = both.reshape(shape).take(range(length), axis).astype(np.float32)
    return plane
