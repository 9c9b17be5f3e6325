"""Probability tables of residuals: four shapes at 64 scales, computed with integers, so they are the same everywhere.

In a table of reach r, letter k <= 2r is the residual k - r, and the last letter, 2r + 1, is the escape.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy.tables import TOTAL, TOTAL_BITS

SHAPES = 4
"""Logistic, Laplace, and two mixtures of a narrow and a wide Laplace."""

SCALES = 64
"""A quarter of an octave apart, from 2^-11 to 2^4.75."""

MAX_REACH = 400
"""The largest reach of a table, as in the format."""

_ROOTS = (65536, 77935, 92681, 110217)  # floor(2^(16 + i/4))
_OCTAVES = 11
"""The least scale is 2 to the power of minus this."""
_MIXTURES = ((4, 3, 8), (15, 1, 16))  # shares of the narrow part for one of the wide, and both scales in quarters


@lru_cache(maxsize=SHAPES * SCALES)
def counts_of(shape: int, scale: int) -> NDArray[np.int32]:
    """(2r + 2,): the counts of one table; they are positive and sum to 2^18."""
    weights = _weights(shape, scale)
    total = 2 * sum(weights) - weights[0]
    reach, tail = MAX_REACH, 0
    while reach > 1 and (tail + 2 * weights[reach]) << TOTAL_BITS < total:
        tail += 2 * weights[reach]
        reach -= 1
    free = TOTAL - (2 * reach + 2)
    half = [1 + weight * free // total for weight in weights[: reach + 1]]
    escape = 1 + tail * free // total
    half[0] += TOTAL - escape - (2 * sum(half) - half[0])
    return np.array([*half[:0:-1], *half, escape], np.int32)


@lru_cache(maxsize=SHAPES * SCALES)
def model_of(shape: int, scale: int) -> Any:
    """Constriction's model of one table. Quotients of counts by a power of two are exact in float64."""
    return constriction.stream.model.Categorical(counts_of(shape, scale).astype(np.float64) / TOTAL, perfect=False)


@lru_cache(maxsize=1)
def costs() -> NDArray[np.float32]:
    """(SHAPES * SCALES, MAX_REACH + 2): the bits of a residual of each magnitude.

    The last entry is for all magnitudes beyond.
    """
    found = np.empty((SHAPES * SCALES, MAX_REACH + 2), np.float32)
    for number in range(SHAPES * SCALES):
        bits = TOTAL_BITS - np.log2(counts_of(*divmod(number, SCALES)))
        reach = len(bits) // 2 - 1
        found[number] = bits[-1] + ESCAPE_BITS
        found[number, : reach + 1] = bits[reach : 2 * reach + 1]
    return found


ESCAPE_LETTERS, ESCAPE_LETTER_BITS = 2, 18
ESCAPE_BITS = ESCAPE_LETTERS * ESCAPE_LETTER_BITS
"""The bits of an escaped residual, which is not entropy-coded."""


def _weights(shape: int, scale: int) -> list[int]:
    """The weights of the magnitudes 0 … MAX_REACH."""
    octave, quarter = divmod(scale, 4)
    size = _ROOTS[quarter] << 5 >> _OCTAVES + 5 - octave  # 2^16 S
    if shape == 0:
        return [(power << 90) // ((1 << 60) + power) ** 2 for power in _powers(size, 60)]
    if shape == 1:
        return _powers(size, 30)
    often, narrow, wide = _MIXTURES[shape - 2]
    parts = [(often, max(1, size * narrow >> 2)), (1, size * wide >> 2)]
    weights = [0] * (MAX_REACH + 1)
    for share, width in parts:
        for k, power in enumerate(_powers(width, 30)):
            weights[k] += (share * power << 16) // (2 * width + (1 << 16))  # of scale S they sum to 2S + 1
    return weights


def _powers(size: int, bits: int) -> list[int]:
    """2^bits * (S / (S + 1))^k for k = 0 … MAX_REACH, each rounded down; `size` is 2^16 S."""
    found = [1 << bits]
    for _ in range(MAX_REACH):
        found.append(found[-1] * size // (size + (1 << 16)))
    return found
