"""Probability tables, one for each scale bin. They are part of a model's frozen format.

Bin b stands for a standard deviation of 2^(SCALE_LOG2_MIN + b/8) quantisation steps. Its table has integer counts for
the symbols -reach … reach and, last, for the escape, which stands for all others. Counts are positive and sum to TOTAL.
TOTAL is a power of two, so probabilities are exact in float64, and all machines compute the same coder state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import WeightsError

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


@dataclass(frozen=True, slots=True)
class ScaleTables:
    """`counts`: the tables of all bins, one after another, int32. `reaches`: each bin's largest magnitude, int32."""

    counts: NDArray[np.int32]
    reaches: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.reaches.shape != (SCALE_BINS,) or not ((self.reaches >= 1) & (self.reaches <= MAX_REACH)).all():
            raise WeightsError(f"scale tables need {SCALE_BINS} reaches from 1 to {MAX_REACH}")
        if self.counts.shape != (int((2 * self.reaches + 2).sum()),) or (self.counts < 1).any():
            raise WeightsError("scale tables: counts are missing or not positive")
        totals = [int(self.table(b).sum(dtype=np.int64)) for b in range(SCALE_BINS)]
        if any(t != TOTAL for t in totals):
            raise WeightsError(f"scale tables: counts must sum to {TOTAL} in every bin")

    def table(self, scale_bin: int) -> NDArray[np.int32]:
        """The 2*reach + 2 counts of one bin. The last is that of the escape."""
        ends = (2 * self.reaches + 2).cumsum()
        end = int(ends[scale_bin])
        return self.counts[end - 2 * int(self.reaches[scale_bin]) - 2 : end]

    def cost_matrix(self, most: int) -> NDArray[np.float32]:
        """(SCALE_BINS, most + 1): the bits of a symbol, by bin and by magnitude 0 … most."""
        costs = np.full((SCALE_BINS, most + 1), TOTAL_BITS + ESCAPE_BITS, np.float32)
        for b in range(SCALE_BINS):
            reach = int(self.reaches[b])
            known = self.table(b)[reach : reach + min(reach, most) + 1]
            costs[b, : len(known)] = TOTAL_BITS - np.log2(known)
        costs[:SKIPPED_BINS, 0] = 0
        return costs

    def bits(self, symbols: NDArray[np.int32], scale_bins: NDArray[np.uint8]) -> float:
        """The ideal code length of (n,) symbols in bits: that of an entropy coder without overhead."""
        ordered = symbols[np.argsort(scale_bins, kind="stable")]
        counts = np.bincount(scale_bins, minlength=SCALE_BINS)
        skipped = int(counts[:SKIPPED_BINS].sum())
        counts[:SKIPPED_BINS] = 0
        return self.bits_of_runs(ordered[skipped:], counts)

    def bits_of_runs(self, symbols: NDArray[np.int32], counts: NDArray[np.intp]) -> float:
        """The ideal code length of symbols sorted by bin, with `counts` in each."""
        total, end = 0.0, 0
        for b in np.flatnonzero(counts).tolist():
            start, end = end, end + int(counts[b])
            mine, reach = symbols[start:end], int(self.reaches[b])
            cost = TOTAL_BITS - np.log2(self.table(b))
            cost[-1] += ESCAPE_BITS
            letters = mine + reach
            outside = (letters < 0) | (letters > 2 * reach)
            total += float(cost[np.where(outside, 2 * reach + 1, letters)].sum())
        return total


ESCAPE_BITS = 16
"""The bits of an escaped symbol's value, which is not entropy-coded."""

MAX_SYMBOL = (1 << (ESCAPE_BITS - 1)) - 1
"""The largest magnitude of a symbol."""


def largest_remainder(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Positive integers that sum to TOTAL, in proportion to `weights` as nearly as possible."""
    free = TOTAL - len(weights)
    shares = weights / weights.sum() * free
    counts = np.floor(shares).astype(np.int64)
    order = np.argsort(-(shares - counts), kind="stable")
    counts[order[: free - int(counts.sum())]] += 1
    result: NDArray[np.int32] = (counts + 1).astype(np.int32)
    return result


def gaussian_weights(scale_bin: int) -> NDArray[np.float64]:
    """The probabilities of -reach … reach and of the escape under the Gaussian of one bin."""
    scale = 2 ** (SCALE_LOG2_MIN + scale_bin / BINS_PER_OCTAVE)
    reach = min(MAX_REACH, max(2, math.ceil(5 * scale)))
    edges = np.arange(-reach, reach + 2) - 0.5
    below = np.array([0.5 * math.erfc(-edge / scale / math.sqrt(2)) for edge in edges])
    mass = np.diff(below)
    return np.append(mass, max(1 - mass.sum(), 0.0))


def gaussian_tables() -> ScaleTables:
    """Tables of Gaussians. When a model is exported, tables fitted to real symbols replace them."""
    return pack([largest_remainder(gaussian_weights(b)) for b in range(SCALE_BINS)])


def fitted_tables(histograms: list[NDArray[np.float64]], strength: float = 2000.0) -> ScaleTables:
    """Tables fitted to counted symbols.

    `histograms[b]` has the counts in bin b of |symbol| = 0 … reach and, last, of escapes. To these counts, `strength`
    times the bin's Gaussian is added. Both signs are equally likely.
    """
    tables = []
    for b, seen in enumerate(histograms):
        prior = gaussian_weights(b)
        reach = (len(prior) - 2) // 2
        both = np.concatenate([seen[reach:0:-1] / 2, seen[:1], seen[1 : reach + 1] / 2, seen[-1:]])
        tables.append(largest_remainder(both + strength * prior))
    return pack(tables)


def pack(tables: list[NDArray[np.int32]]) -> ScaleTables:
    """`ScaleTables` from the tables of all bins, each of 2*reach + 2 counts."""
    reaches = np.array([(len(t) - 2) // 2 for t in tables], np.int32)
    return ScaleTables(np.concatenate(tables).astype(np.int32), reaches)
