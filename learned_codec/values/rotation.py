"""Rotations of a picture's colours, each stored as three small integers.

A rotation is a unit quaternion (w, x, y, z) with w of at least 0; x, y and z are stored in 127ths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ONE = 127
"""The integer that stands for 1."""


def matrix_of(vector: Sequence[int]) -> NDArray[np.float64]:
    """(3, 3) the matrix that rotates columns. Raises `ValueError` if the vector is longer than `ONE`."""
    left = ONE * ONE - sum(number * number for number in vector)
    if left < 0:
        raise ValueError(f"the rotation {tuple(vector)} is longer than {ONE}")
    w = math.sqrt(left) / ONE
    x, y, z = (number / ONE for number in vector)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    found: NDArray[np.float64] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return found


def vector_of(matrix: NDArray[np.float64]) -> tuple[int, int, int]:
    """The integers of about this rotation (3, 3)."""
    # Each row of this matrix is a multiple of the quaternion; the longest is the most exact (Shepperd 1978).
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    rows = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, d + b, c + g],
            [c - g, d + b, 1 - a + e - i, h + f],
            [d - b, c + g, h + f, 1 - a - e + i],
        ]
    )
    found = rows[np.argmax(np.diagonal(rows))]
    found = found / np.linalg.norm(found) * (ONE if found[0] >= 0 else -ONE)
    x, y, z = np.rint(found[1:]).astype(int).tolist()
    if x * x + y * y + z * z > ONE * ONE:
        x, y, z = np.trunc(found[1:]).astype(int).tolist()
    return x, y, z
