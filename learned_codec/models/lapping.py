"""Time-domain lapping: a block transform that overlaps its neighbours, made of a filter over every block boundary.

A pre-filter before the blocks of the analysis takes out what neighbouring blocks have in common; its inverse, the
post-filter, after those of the synthesis smooths their boundaries. Against the block transform alone this gains about
0.5 dB per dimension on photographs, at the cost of one 16 x 16 matrix per boundary.

T. D. Tran, J. Liang and C. Tu, "Lapped transform via time-domain pre- and post-filtering", IEEE Trans. Signal
Processing 51(6), 2003: the filter is butterflies around a half-size matrix, here any invertible one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .config import BLOCK

SUPPORT = 3 * BLOCK
"""Pixels that a lapped block function spans: its block and half of each neighbour, within three blocks."""

HALF = BLOCK // 2


@lru_cache(maxsize=BLOCK)
def dct(length: int = BLOCK) -> NDArray[np.float64]:
    """The orthonormal DCT-II of so many values, (length, length)."""
    k, n = np.arange(length)[:, None], np.arange(length)
    matrix: NDArray[np.float64] = np.cos(math.pi / length * (n + 0.5) * k) * (2 / length) ** 0.5
    matrix[0] /= 2**0.5
    matrix.flags.writeable = False
    return matrix
