"""What bands have in common in details of any size, and the bits that an ideal code takes for them.

The coefficients of blocks are divided into rings of like frequencies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.dct import dct
from learned_codec.forks import without_forks

SIDE = 16
"""Pixels a side of a block, as of those of the models."""

_RING = (np.maximum(*np.indices((SIDE, SIDE))) // 2).reshape(-1)
BY_RING, RING_STARTS = np.argsort(_RING, kind="stable"), np.searchsorted(np.sort(_RING), np.arange(SIDE // 2))
COUNTS = np.bincount(_RING) - (np.arange(SIDE // 2) == 0)
"""The coefficients of a block in the order of their rings, where each ring begins, and how many it has. The mean isn't
among them."""


@without_forks
def coefficients(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(blocks, bands, 256) the coefficients of (blocks, bands, 16, 16). The mean, which is no detail, is 0."""
    basis = dct(SIDE).astype(np.float32).T
    along = (blocks.reshape(-1, SIDE) @ basis).reshape(blocks.shape)
    both = np.ascontiguousarray(along.swapaxes(2, 3)).reshape(-1, SIDE) @ basis
    found: NDArray[np.float32] = both.reshape(*blocks.shape[:2], SIDE * SIDE)
    found[..., 0] = 0
    return found


@without_forks
def covariances(found: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rings, bands, bands) of (blocks, bands, 256) coefficients."""
    by_place = np.ascontiguousarray(found.transpose(2, 1, 0))
    products = (by_place @ by_place.swapaxes(1, 2))[BY_RING].astype(np.float64)
    result: NDArray[np.float64] = np.add.reduceat(products, RING_STARTS, 0) / (COUNTS * len(found))[:, None, None]
    return result


def ideal_bits(variances: NDArray[np.floating[Any]], error: float) -> NDArray[np.float64]:
    """The bits that an ideal code takes for each of Gaussian values with these variances, at this RMSE."""
    found: NDArray[np.float64] = np.log2(1 + np.maximum(variances, 0) / error**2) / 2
    return found
