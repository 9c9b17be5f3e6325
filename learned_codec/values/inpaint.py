"""Inpainting: values for pixels that have none.

Any value may be coded in place of a masked pixel. A smooth continuation of the valid pixels costs few bits and leaves
the neighbours alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import gate, without_forks

MOST_FACTORS = 2
"""The most spectral components by which bands predict each other; the rest of each band's variance is its own. More
take time, and `sparse` finds what they would."""

OWN = 1e-3
"""The least variance that is a band's own, as a share of the bands' mean: covariances are estimates."""

CHUNK = 2**15
"""Pixels predicted at a time, so that this takes little memory."""


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

    So filled pixels have the `covariance` of the bands, too: holes of single bands cost few bits when bands are coded
    together, and weak spectral components stay weak. The rest is continued smoothly. A band without any valid value
    is 0.5, the middle of its range, and what the others predict of its detail.
    """
    if covariance is None or (valid == valid[:1]).all():
        return np.stack([_smooth(plane, mask) for plane, mask in zip(planes, valid, strict=True)])
    total, weight = np.where(valid, planes, np.float32(0)), valid.astype(np.float32)
    return _fill_bands(_Factors.of(covariance), total, weight)


def _smooth(plane: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return fill(plane, valid) if valid.any() else np.full_like(plane, 0.5)


@dataclass(frozen=True)
class _Factors:
    """A covariance of N bands as K common factors: `loadings` @ `loadings`.T + diag(`own`).

    `loadings` are (N, K), and `own` (N,) the variances that a band shares with no other.
    """

    loadings: NDArray[np.float64]
    own: NDArray[np.float64]

    @classmethod
    @without_forks
    def of(cls, covariance: NDArray[np.float64]) -> _Factors:
        values, vectors = np.linalg.eigh(covariance)  # rising
        loadings = (vectors * np.sqrt(np.maximum(values, 0)))[:, -MOST_FACTORS:]
        rest = np.diagonal(covariance) - np.square(loadings).sum(1)
        return cls(loadings, np.maximum(rest, 0) + OWN * max(float(np.diagonal(covariance).mean()), 1e-12))

    def expected(self, values: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, P) values with a mean of 0, of which some are `seen` -> what is expected of all by those."""
        weights = self.loadings / self.own[:, None]
        squares = (weights[:, :, None] * self.loadings[:, None]).reshape(len(weights), -1)
        count = weights.shape[1]
        found = np.empty_like(values)
        for start in range(0, values.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            there = seen[:, part].T
            with gate().working():
                precision = (there @ squares).reshape(-1, count, count) + np.eye(count)
                sums = np.where(there, values[:, part].T, 0) @ weights
                found[:, part] = self.loadings @ np.linalg.solve(precision, sums[..., None])[..., 0].T
        return found


def _fill_bands(factors: _Factors, total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `_fill`, with (bands, h, w) weights. `factors` tell how bands differ from the coarser level."""
    means: NDArray[np.float32] = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    seen = weight > 0
    if seen.all():
        return means
    height, width = weight.shape[1:]
    if height == width == 1:
        return np.where(seen, means, np.float32(0.5))
    found = _double(_fill_bands(factors, *_coarser(total, weight)), height, width)
    partly = seen.any(0) & ~seen.all(0)
    some = seen[:, partly]
    found[:, partly] += factors.expected((means - found)[:, partly], some)
    return np.where(seen, means, found)


def _fill(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means total / weight where the weight is positive; elsewhere filled from a level of half the size."""
    means: NDArray[np.float32] = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    if weight.all():
        return means
    height, width = weight.shape
    coarse = _fill(*_coarser(total, weight))
    holes = weight <= 0
    means[..., holes] = _double(coarse, height, width)[..., holes]
    return means


def _coarser(total: NDArray[np.float32], weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Totals and weights of half the size. Weights are at most 1: else holes would take after far places, if fuller."""
    sums, weights = _quartered(total), _quartered(weight)
    scale = np.minimum(1, 1 / np.maximum(weights, 1e-9))
    return sums * scale, weights * scale


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
