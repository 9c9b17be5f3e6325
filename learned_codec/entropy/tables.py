"""Probability tables, one for each scale bin and quantiser. They are part of a model's frozen format.

Bin b stands for a standard deviation of 2^(SCALE_LOG2_MIN + b/8) quantisation steps. A table has integer counts for the
symbols -reach … reach and, last, for the escape, which stands for all others. Counts are positive and sum to TOTAL.
TOTAL is a power of two, so probabilities are exact in float64, and all machines compute the same coder state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import WeightsError

from .dependent import DELTA, values

SCALE_LOG2_MIN = -3.25
BINS_PER_OCTAVE = 8
SCALE_BINS = 93
"""Scales from 0.105 to 304 quantisation steps."""

SKIPPED_BINS = 3
"""Symbols in the first bins are zero and not coded. There the scale is below 0.125, and a Gaussian rounds to something
other than zero once in 16,000 symbols."""

TOTAL_BITS = 18
TOTAL = 1 << TOTAL_BITS
"""The sum of the counts in a table."""

MAX_REACH = 1023
"""The largest magnitude that a table may hold."""

ESCAPE_BITS = 16
"""The bits of an escaped symbol's value, which is not entropy-coded."""

MAX_SYMBOL = (1 << (ESCAPE_BITS - 1)) - 1
"""The largest magnitude of a symbol."""

TABLES = 3 * SCALE_BINS
"""Three tables for each bin: for symbols with a step of 1, and for the two quantisers of `dependent.py`."""


@dataclass(frozen=True, slots=True)
class ScaleTables:
    """The tables: first those of all bins for a step of 1, then for the first quantiser, then for the second.

    `counts`: the tables, one after another, int32. `reaches`: each one's largest magnitude, int32.
    """

    counts: NDArray[np.int32]
    reaches: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.reaches.shape != (TABLES,) or not ((self.reaches >= 1) & (self.reaches <= MAX_REACH)).all():
            raise WeightsError(f"scale tables need {TABLES} reaches from 1 to {MAX_REACH}")
        if self.counts.shape != (int((2 * self.reaches + 2).sum()),) or (self.counts < 1).any():
            raise WeightsError("scale tables: counts are missing or not positive")
        totals = [int(self.table(number).sum(dtype=np.int64)) for number in range(TABLES)]
        if any(t != TOTAL for t in totals):
            raise WeightsError(f"scale tables: counts must sum to {TOTAL} in every table")

    def table(self, number: int) -> NDArray[np.int32]:
        """The 2*reach + 2 counts of one table. The last is that of the escape."""
        ends = (2 * self.reaches + 2).cumsum()
        end = int(ends[number])
        return self.counts[end - 2 * int(self.reaches[number]) - 2 : end]

    def cost_matrix(self, most: int) -> NDArray[np.float32]:
        """(TABLES, most + 1): the bits of a symbol, by table and by magnitude 0 … most. Skipped bins take none."""
        costs = np.full((TABLES, most + 1), TOTAL_BITS + ESCAPE_BITS, np.float32)
        for number in range(TABLES):
            table, reach = self.table(number), int(self.reaches[number])
            costs[number] -= np.log2(table[-1])
            known = table[reach : reach + min(reach, most) + 1]
            costs[number, : len(known)] = TOTAL_BITS - np.log2(known)
        costs[:SKIPPED_BINS] = 0
        return costs

    def bits(self, symbols: NDArray[np.int32], numbers: NDArray[np.integer]) -> float:
        """The ideal code length of (n,) symbols with (n,) table numbers, in bits: that of a coder without overhead."""
        costs = self.cost_matrix(MAX_REACH + 1)
        return float(costs[numbers, np.minimum(np.abs(symbols), MAX_REACH + 1)].sum(dtype=np.float64))


def largest_remainder(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Positive integers that sum to TOTAL, in proportion to `weights` as nearly as possible."""
    free = TOTAL - len(weights)
    shares = weights / weights.sum() * free
    counts = np.floor(shares).astype(np.int64)
    order = np.argsort(-(shares - counts), kind="stable")
    counts[order[: free - int(counts.sum())]] += 1
    result: NDArray[np.int32] = (counts + 1).astype(np.int32)
    return result


def gaussian_weights(number: int) -> NDArray[np.float64]:
    """The probabilities of -reach … reach and of the escape under the Gaussian of a table's bin."""
    quantiser, scale_bin = divmod(number, SCALE_BINS)
    scale = 2 ** (SCALE_LOG2_MIN + scale_bin / BINS_PER_OCTAVE)
    step = 2 * DELTA if quantiser else 1
    reach = min(MAX_REACH, max(2, math.ceil(5 * scale / step)))
    if quantiser:
        symbols = np.arange(-reach, reach + 1, dtype=np.int32)
        likely = np.exp(-0.5 * (values(symbols, np.full(len(symbols), quantiser - 1, np.uint8)) / scale) ** 2)
        return np.append(likely / likely.sum(), 1e-6)
    edges = np.arange(-reach, reach + 2) - 0.5
    below = np.array([0.5 * math.erfc(-edge / scale / math.sqrt(2)) for edge in edges])
    mass = np.diff(below)
    return np.append(mass, max(1 - mass.sum(), 0.0))


def gaussian_tables() -> ScaleTables:
    """Tables of Gaussians. When a model is exported, tables fitted to real symbols replace them."""
    return pack([largest_remainder(gaussian_weights(number)) for number in range(TABLES)])


def fitted_tables(histograms: list[NDArray[np.float64]], strength: float = 2000.0) -> ScaleTables:
    """Tables fitted to counted symbols.

    `histograms[t]` has the counts of |symbol| = 0 … reach in table t and, last, of escapes. To these counts, `strength`
    times the bin's Gaussian is added. Both signs are equally likely.
    """
    tables = []
    for number, seen in enumerate(histograms):
        prior = gaussian_weights(number)
        reach = (len(prior) - 2) // 2
        both = np.concatenate([seen[reach:0:-1] / 2, seen[:1], seen[1 : reach + 1] / 2, seen[-1:]])
        tables.append(largest_remainder(both + strength * prior))
    return pack(tables)


def pack(tables: list[NDArray[np.int32]]) -> ScaleTables:
    """`ScaleTables` from all tables, each of 2*reach + 2 counts."""
    reaches = np.array([(len(t) - 2) // 2 for t in tables], np.int32)
    return ScaleTables(np.concatenate(tables).astype(np.int32), reaches)
