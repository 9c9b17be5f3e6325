"""The discrete cosine transform, by which the models code blocks and `values` fills scattered holes."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=16)
def dct(length: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II of `length` values, (length, length): a row for each coefficient."""
    k, n = np.arange(length)[:, None], np.arange(length)
    matrix: NDArray[np.float64] = np.cos(math.pi / length * (n + 0.5) * k) * (2 / length) ** 0.5
    matrix[0] /= 2**0.5
    matrix.flags.writeable = False
    return matrix
