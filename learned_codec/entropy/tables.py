"""Probability tables, one per scale bin, as integer counts that are part of a model's frozen format.

Bin b stands for the standard deviation 2^(SCALE_LOG2_MIN + b/8) in quantisation steps. Its table has the symbols
-reach … reach and, last, an escape for everything beyond. Counts are positive and sum to TOTAL, a power of two, so
that their float64 quotients are exact and every machine derives the same coder state from them.
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
"""Symbols in the first bins (scale below 0.125: an honest Gaussian is non-zero once in 16,000) are not coded: zero."""

TOTAL_BITS = 18
TOTAL = 1 << TOTAL_BITS
MAX_REACH = 1023


@dataclass(frozen=True, slots=True)
class ScaleTables:
    """`counts`, all bins' tables one after another, int32; `reaches`, each bin's largest magnitude, int32."""

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
        """The 2*reach + 2 counts of one bin; the last is the escape's."""
        ends = (2 * self.reaches + 2).cumsum()
        end = int(ends[scale_bin])
        return self.counts[end - 2 * int(self.reaches[scale_bin]) - 2 : end]

    def cost_matrix(self, most: int) -> NDArray[np.float32]:
        """(SCALE_BINS, most + 1): the bits of a symbol of magnitude 0 … most in each bin."""
        costs = np.full((SCALE_BINS, most + 1), TOTAL_BITS + ESCAPE_BITS, np.float32)
        for b in range(SCALE_BINS):
            reach = int(self.reaches[b])
            known = self.table(b)[reach : reach + min(reach, most) + 1]
            costs[b, : len(known)] = TOTAL_BITS - np.log2(known)
        costs[:SKIPPED_BINS, 0] = 0
        return costs

    def bits(self, symbols: NDArray[np.int32], scale_bins: NDArray[np.uint8]) -> float:
        """The ideal code length of the symbols in bits: what an entropy coder without overhead would need."""
        ordered = symbols[np.argsort(scale_bins, kind="stable")]
        counts = np.bincount(scale_bins, minlength=SCALE_BINS)
        skipped = int(counts[:SKIPPED_BINS].sum())
        counts[:SKIPPED_BINS] = 0
        return self.bits_of_runs(ordered[skipped:], counts)

    def bits_of_runs(self, symbols: NDArray[np.int32], counts: NDArray[np.intp]) -> float:
        """The same of symbols that stand bin by bin, so many in each."""
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
"""An escaped symbol follows as so many plain bits."""

MAX_SYMBOL = (1 << (ESCAPE_BITS - 1)) - 1


def largest_remainder(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Positive integers that sum to TOTAL, as near to proportional to `weights` as that allows."""
    free = TOTAL - len(weights)
    shares = weights / weights.sum() * free
    counts = np.floor(shares).astype(np.int64)
    order = np.argsort(-(shares - counts), kind="stable")
    counts[order[: free - int(counts.sum())]] += 1
    result: NDArray[np.int32] = (counts + 1).astype(np.int32)
    return result


def gaussian_weights(scale_bin: int) -> NDArray[np.float64]:
    """Probabilities of -reach … reach and of the escape under the Gaussian of one bin."""
    scale = 2 ** (SCALE_LOG2_MIN + scale_bin / BINS_PER_OCTAVE)
    reach = min(MAX_REACH, max(2, math.ceil(5 * scale)))
    edges = np.arange(-reach, reach + 2) - 0.5
    below = np.array([0.5 * math.erfc(-edge / scale / math.sqrt(2)) for edge in edges])
    mass = np.diff(below)
    return np.append(mass, max(1 - mass.sum(), 0.0))


def gaussian_tables() -> ScaleTables:
    """Tables of the Gaussians themselves. Export replaces them by what the latents really do in each bin."""
    return pack([largest_remainder(gaussian_weights(b)) for b in range(SCALE_BINS)])


def fitted_tables(histograms: list[NDArray[np.float64]], strength: float = 2000.0) -> ScaleTables:
    """Tables fitted to symbols that were counted, by magnitude, in each bin.

    `histograms[b]` has the counts of |symbol| = 0 … reach and, last, of escapes. They are blended with the bin's
    Gaussian as if that had been seen `strength` times; signs are taken as equally likely.
    """
    tables = []
    for b, seen in enumerate(histograms):
        prior = gaussian_weights(b)
        reach = (len(prior) - 2) // 2
        both = np.concatenate([seen[reach:0:-1] / 2, seen[:1], seen[1 : reach + 1] / 2, seen[-1:]])
        tables.append(largest_remainder(both + strength * prior))
    return pack(tables)


def pack(tables: list[NDArray[np.int32]]) -> ScaleTables:
    """The tables of all bins, each 2*reach + 2 counts, as one object."""
    reaches = np.array([(len(t) - 2) // 2 for t in tables], np.int32)
    return ScaleTables(np.concatenate(tables).astype(np.int32), reaches)
