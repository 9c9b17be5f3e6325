"""Inpainting: values for pixels that have none.

Any value may be coded in place of a masked pixel. A smooth continuation of the valid pixels costs few bits and leaves
the neighbours alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OFTEN = 0.5
"""A band is used to fill the holes of another if it has values in at least this share of them."""

RIDGE = 1e-3
"""Added to variances for a stable regression, as a share of their mean: covariances are estimates."""


def fill(planes: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace (…, H, W) values outside `valid` (H, W) by a smooth continuation of the valid ones.

    Valid values are averaged in a pyramid of 2x2 blocks. Holes are then filled from the coarsest level down ("pull and
    push", Gortler et al., "The lumigraph", 1996). Without any valid value, the result is zeros.
    """
    if valid.all():
        return planes
    if not valid.any():
        return np.zeros_like(planes)
    weight = valid.astype(np.float32)
    return _fill(np.where(valid, planes, np.float32(0)), weight)


def fill_bands(
    planes: NDArray[np.float32], valid: NDArray[np.bool_], covariance: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Fill holes in (bands, H, W) values. Where other bands have values, these predict the missing ones.

    The prediction is linear, by the `covariance` of the bands, and costs no bits when bands are coded together. The
    rest is continued smoothly. A band without any valid value is first set to 0.5, the middle of its range.
    """
    found = np.stack([_smooth(plane, mask) for plane, mask in zip(planes, valid, strict=True)])
    own = valid.any(0) & ~valid  # holes in which another band has a value
    if covariance is None or not own.any():
        return found
    smooth = found.copy()
    for band in np.flatnonzero(own.any((1, 2))).tolist():
        there = own[band]
        others = np.flatnonzero(valid[:, there].mean(1) >= OFTEN)
        if len(others):
            told = np.tensordot(_regression(covariance, band, others), smooth[others], 1).astype(np.float32)
            rest = _smooth(planes[band] - told, valid[band]) if valid[band].any() else 0.5 - told.mean()
            found[band][there] = (told + rest)[there]
    return found


def _smooth(plane: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return fill(plane, valid) if valid.any() else np.full_like(plane, 0.5)


def _regression(covariance: NDArray[np.float64], band: int, others: NDArray[np.intp]) -> NDArray[np.float64]:
    """The weights by which other bands predict a band."""
    among = covariance[np.ix_(others, others)]
    ridge = RIDGE * np.trace(among) / len(others) + 1e-12
    weights: NDArray[Any] = np.linalg.solve(among + ridge * np.eye(len(others)), covariance[others, band])
    return weights


def _fill(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means total / weight where the weight is positive; elsewhere filled from a level of half the size."""
    means: NDArray[np.float32] = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    if weight.all():
        return means
    height, width = weight.shape
    sums, weights = _quartered(total), _quartered(weight)
    # Weights are at most 1. Otherwise the places with most valid pixels would dominate holes far away.
    scale = np.minimum(1, 1 / np.maximum(weights, 1e-9))
    coarse = _fill(sums * scale, weights * scale)
    holes = weight <= 0
    means[..., holes] = _double(coarse, height, width)[..., holes]
    return means


def _quartered(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(…, H, W) values, summed in blocks of 2x2."""
    *outer, height, width = planes.shape
    padded = np.pad(planes, [*[(0, 0) for _ in outer], (0, height % 2), (0, width % 2)])
    sums: NDArray[np.float32] = padded.reshape(*outer, -(-height // 2), 2, -(-width // 2), 2).sum((-3, -1))
    return sums


def _double(planes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(…, h, w) at twice the size, bilinearly (weights 3/4 and 1/4), cut to (…, height, width)."""
    for length in (height, width):  # each doubles the last axis but one, then swaps the two
        padded = np.concatenate([planes[..., :1, :], planes, planes[..., -1:, :]], -2)
        middle, before, after = padded[..., 1:-1, :], padded[..., :-2, :], padded[..., 2:, :]
        both = np.stack([0.75 * middle + 0.25 * before, 0.75 * middle + 0.25 * after], -2)
        *outer, half, _, other = both.shape
        planes = both.reshape(*outer, 2 * half, other)[..., :length, :].astype(np.float32).swapaxes(-1, -2)
    return planes
