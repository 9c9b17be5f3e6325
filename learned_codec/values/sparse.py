"""Values for scattered holes: those for which the fewest coefficients describe the image.

What lies in a hole is unknown, but most coefficients of an image are nearly zero. So small ones are set to zero, the
valid values are put back, and both are repeated (Guleryuz, "Nonlinear approximation based image recovery using adaptive
sparse reconstructions", 2006).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Pixels a side of a transform's block, as in the models."""

ROUNDS = 8
"""On training scenes, 16 make files 1 % smaller and errors no smaller."""


def refine(
    planes: NDArray[np.float32],
    valid: NDArray[np.bool_],
    covariance: NDArray[np.float64] | None,
    threshold: float,
) -> NDArray[np.float32]:
    """Improve the filled values, outside `valid`, of (bands, H, W) planes.

    Bands are turned into their principal components by the `covariance`, if there is one. Coefficients below the
    `threshold` become 0; those that are coded as 0 anyway tell nothing.
    """
    bands, height, width = planes.shape
    margin = (0, 0), (0, -height % SIDE + SIDE), (0, -width % SIDE + SIDE)
    found, known = np.pad(planes, margin, mode="edge"), np.pad(valid, margin)
    axes = None
    if covariance is not None and bands > 1:
        axes = np.linalg.eigh(covariance)[1].T.astype(np.float32)
    for _ in range(ROUNDS):
        for start in (0, SIDE // 2):  # two grids, so that no seams arise
            for top in range(start, height, SIDE):
                rows = slice(top, top + SIDE)
                _project(found[:, rows, start:], known[:, rows, start:], axes, threshold)
    return np.ascontiguousarray(found[:, :height, :width])


def _project(
    planes: NDArray[np.float32], valid: NDArray[np.bool_], axes: NDArray[np.float32] | None, threshold: float
) -> None:
    """Set small coefficients of a row of blocks to zero, and put the valid values back, in place."""
    bands, count = len(planes), planes.shape[2] // SIDE
    pixels, known = (x[:, :, : count * SIDE].reshape(bands, SIDE, count, SIDE).swapaxes(0, 2) for x in (planes, valid))
    holes = ~known.all((1, 2, 3)) & known.any((1, 2, 3))
    if not holes.any():
        return
    blocks, there = pixels[holes].swapaxes(1, 2), known[holes].swapaxes(1, 2)  # (blocks, bands, 16, 16)
    shape = blocks.shape
    components = blocks if axes is None else (axes @ blocks.reshape(shape[0], bands, -1)).reshape(shape)
    coefficients = _cosines() @ components @ _cosines().T
    small = np.abs(coefficients) < threshold
    small[:, :, 0, 0] = False
    coefficients[small] = 0
    components = _cosines().T @ coefficients @ _cosines()
    again = components if axes is None else (axes.T @ components.reshape(shape[0], bands, -1)).reshape(shape)
    pixels[holes] = np.where(there, blocks, again).swapaxes(1, 2)


@cache
def _cosines() -> NDArray[np.float32]:
    """(16, 16): the rows of the orthonormal discrete cosine transform."""
    order, place = np.arange(SIDE)[:, None], np.arange(SIDE)
    rows = np.cos(np.pi * (2 * place + 1) * order / (2 * SIDE)) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    found: NDArray[np.float32] = rows.astype(np.float32)
    return found
