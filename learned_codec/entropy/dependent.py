"""Dependent quantisation: two quantisers take turns, and the symbols say whose turn it is.

As in VVC, with four states (Schwarz et al., "Hybrid video coding with trellis-coded quantization", 2019). The first
quantiser has the even multiples of DELTA, the second one the odd multiples and zero. Together they are as fine as
DELTA, but a symbol takes only the bits of a step of 2 DELTA.

In a dependent group, the symbols from bin FIRST_BIN on, sorted by bin, fill rows of equal length, and a path goes down
each column. The first row has the first quantiser. After it, the number of the quantiser is the parity of the symbol
above, plus the number of the quantiser two rows above, modulo 2. These are VVC's four states. All of a row's quantisers
are known before the row is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST_BIN = 16
"""Symbols in lower bins, with scales below 0.43, have a step of 1: there, nearly all are zero, and two quantisers save
nothing."""

DELTA = 154 / 256
"""In quantisation steps."""

LEAST_COLUMNS, MOST_ROWS = 8, 64
"""Longer paths save bits, but each row takes time of its own: paths twice as long save 0.06 % more."""

SHORT_ROW = 64
"""Up to here, there are half as many rows: otherwise small images would take much longer per pixel."""


def free_count(counts: NDArray[np.intp]) -> int:
    """How many symbols of a dependent group, with `counts` in each bin, have a step of their own. They come first."""
    return int(counts[:FIRST_BIN].sum())


def columns(count: int) -> int:
    """The length of rows that hold `count` symbols. The last row may be shorter."""
    return max(-(-count // MOST_ROWS), min(-(-2 * count // MOST_ROWS), SHORT_ROW), LEAST_COLUMNS)


def rows_of(count: int) -> NDArray[np.uint8]:
    """(count,) the row of each symbol."""
    return np.repeat(np.arange(MOST_ROWS, dtype=np.uint8), columns(count))[:count]


def quantisers(symbols: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(n,) the number of the quantiser, 0 or 1, of each of a group's (n,) dependent symbols."""
    width = columns(len(symbols))
    parity = np.zeros((-(-len(symbols) // width), width), np.uint8)
    parity.reshape(-1)[: len(symbols)] = symbols & 1
    found = np.zeros_like(parity)
    found[1:] = parity[:-1]
    for before, own in zip(found, found[2:], strict=False):
        own ^= before
    return found.reshape(-1)[: len(symbols)]


def values(symbols: NDArray[np.int32], quantiser: NDArray[np.uint8 | np.bool_]) -> NDArray[np.float32]:
    """(n,) what (n,) symbols in these quantisers stand for, in quantisation steps. Exact in float32."""
    multiples = 2 * symbols - np.sign(symbols) * quantiser
    return multiples.astype(np.float32) * np.float32(DELTA)


def dequantised(symbols: NDArray[np.int32], counts: NDArray[np.intp]) -> NDArray[np.float32]:
    """(n,) what the symbols of a dependent group stand for. They are sorted by bin, with `counts` in each."""
    free = free_count(counts)
    found = symbols.astype(np.float32)
    found[free:] = values(symbols[free:], quantisers(symbols[free:]))
    return found
