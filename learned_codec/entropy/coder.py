"""Entropy coding of integer symbols with the tables of their scale bins, by constriction's ANS coder.

    runs = Runs.of(scale_bins)
    encoder = Encoder(models)
    encoder.push(symbols[runs.order], runs.counts)       # one group after another …
    payload = encoder.finish()
    decoder = Decoder(models, payload)
    symbols[runs.order] = decoder.pop(runs.counts)       # … and back in the same order
    decoder.finish()

In a group, symbols are coded bin by bin, so that the coder uses one table at a time. The values of the escapes follow.
In a dependent group, this holds for the symbols below bin FIRST_BIN; the others follow row by row (`dependent.py`), in
each row first those of the first quantiser, bin by bin, then those of the second, then the row's escapes. Symbols in
the first SKIPPED_BINS bins are zero and not coded.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.errors import CorruptDataError

from .dependent import FIRST_BIN, columns, free_count, quantisers, rows_of, values
from .tables import ESCAPE_BITS, MAX_REACH, MAX_SYMBOL, SCALE_BINS, SKIPPED_BINS, TABLES, TOTAL, ScaleTables

Symbols = NDArray[np.int32]
Bins = NDArray[np.uint8]
Counts = NDArray[np.intp]

_BINS = np.arange(SCALE_BINS, dtype=np.int16)
_EDGES = np.arange(SCALE_BINS + 1, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Runs:
    """The coded symbols of a group, sorted by bin.

    `coded` are their indices in the group, in ascending order; `by_bin` are those in `coded`, sorted by bin; `counts`
    (SCALE_BINS,) is how many are in each bin.
    """

    coded: NDArray[np.intp]
    by_bin: NDArray[np.intp]
    counts: Counts

    @classmethod
    def of(cls, scale_bins: Bins) -> Runs:
        """From the (n,) bins of the symbols."""
        coded = np.flatnonzero(scale_bins >= SKIPPED_BINS)
        bins = scale_bins.take(coded)
        by_bin = np.argsort(bins, kind="stable")
        return cls(coded, by_bin, np.diff(bins.take(by_bin).searchsorted(_EDGES)))

    @property
    def order(self) -> NDArray[np.intp]:
        """The indices in the group, sorted by bin."""
        return self.coded.take(self.by_bin)


def run_starts(numbers: NDArray[np.int16], width: int) -> NDArray[np.intp]:
    """Where a row of `width` begins, or a run of the same number in a row."""
    begins = np.ones(len(numbers), np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=begins[1:])
    begins[::width] = True
    return np.flatnonzero(begins)


class CoderModels:
    """constriction's models for a set of tables, built once."""

    def __init__(self, tables: ScaleTables) -> None:
        self.tables = tables
        self.reaches, self.reach_list = tables.reaches, tables.reaches.tolist()
        self.escape: Any = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
        # Counts divided by a power of two are exact, so constriction quantises them in the same way everywhere.
        self.models: list[Any] = [
            constriction.stream.model.Categorical(tables.table(number).astype(np.float64) / TOTAL, perfect=False)
            for number in range(TABLES)
        ]

    @cached_property
    def costs(self) -> NDArray[np.float32]:
        """(TABLES, MAX_REACH + 2) the bits of a symbol, by table and magnitude. Only encoders need them."""
        return self.tables.cost_matrix(MAX_REACH + 1)


def first_tables(symbols: Symbols, counts: Counts) -> NDArray[np.int16]:
    """(n,) the number of the first table for each symbol of a dependent group: that of its quantiser, or 0."""
    free = free_count(counts)
    found = np.zeros(len(symbols), np.int16)
    found[free:] = SCALE_BINS + SCALE_BINS * quantisers(symbols[free:]).astype(np.int16)
    return found


@dataclass(frozen=True, slots=True)
class SymbolGroup:
    """A group of symbols that an encoder holds.

    `symbols` (n,) int32 are sorted by bin, and `numbers` (n,) are those of their tables. From `free` on, symbols are
    dependent.
    """

    symbols: Symbols
    numbers: NDArray[np.int16]
    free: int

    @property
    def values(self) -> NDArray[np.float32]:
        """(n,) what the symbols stand for, as `dequantised`."""
        found = self.symbols.astype(np.float32)
        found[self.free :] = values(self.symbols[self.free :], self.numbers[self.free :] >= 2 * SCALE_BINS)
        return found


class Encoder:
    """Collects groups of symbols. `finish` codes them from the last to the first, as an ANS coder is a stack."""

    def __init__(self, models: CoderModels) -> None:
        self._models = models
        self.groups: list[SymbolGroup] = []

    def push(self, symbols: Symbols, counts: Counts, *, dependent: bool = False) -> SymbolGroup:
        """Append a group: int32 symbols up to MAX_SYMBOL in magnitude, sorted by bin, and how many are in each bin.

        Returns it. If it is `dependent`, the symbols from bin FIRST_BIN on have the quantisers of `dependent.py`.
        """
        numbers, free = np.repeat(_BINS, counts), len(symbols)
        if dependent:
            numbers += first_tables(symbols, counts)
            free = free_count(counts)
        group = SymbolGroup(symbols, numbers, free)
        self.groups.append(group)
        return group

    @property
    def bits(self) -> float:
        """The ideal code length of all groups. The payload of `finish` is within 64 bits of it."""
        return self.bits_from(0)

    def mark(self) -> int:
        """The place after the last group, for `bits_from` and `cut`."""
        return len(self.groups)

    def bits_from(self, mark: int) -> float:
        """The ideal code length of the groups after a mark."""
        costs = self._models.costs.reshape(-1)
        places = (
            group.numbers * np.intp(MAX_REACH + 2) + np.minimum(np.abs(group.symbols), MAX_REACH + 1)
            for group in self.groups[mark:]
        )
        return sum(float(costs.take(found).sum(dtype=np.float64)) for found in places)

    def cut(self, mark: int) -> None:
        """Remove the groups after a mark."""
        del self.groups[mark:]

    def finish(self) -> bytes:
        """The payload: little-endian words, with zero bytes removed at the end."""
        coder = constriction.stream.stack.AnsCoder()
        for group in reversed(self.groups):
            for part, dependent in ((np.s_[group.free :], True), (np.s_[: group.free], False)):
                symbols, numbers = group.symbols[part], group.numbers[part]
                if len(symbols):
                    self._rows(coder, symbols, numbers, dependent=dependent)
        payload: bytes = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
        return payload

    def _rows(self, coder: Any, symbols: Symbols, numbers: NDArray[np.int16], *, dependent: bool) -> None:
        """Code rows in runs of the same table, from the last run to the first. Symbols without rows are one row."""
        width = columns(len(symbols)) if dependent else len(symbols)
        if dependent:
            key = 2 * rows_of(len(symbols))
            key += numbers >= 2 * SCALE_BINS
            order = np.argsort(key, kind="stable")
            symbols, numbers = symbols[order], numbers[order]
        reach = self._models.reaches[numbers]
        letters = symbols + reach
        after: dict[int, Symbols] = {}  # by where rows end, the values of their escapes
        escaped = np.flatnonzero(letters.view(np.uint32) > 2 * reach.view(np.uint32))
        if len(escaped):
            letters[escaped] = 2 * reach[escaped] + 1
            rows, firsts = np.unique(escaped // width, return_index=True)
            ends = np.minimum((rows + 1) * width, len(symbols)).tolist()
            values = symbols[escaped] + np.int32(MAX_SYMBOL)
            after = dict(zip(ends, np.split(values, firsts[1:]), strict=True))
        starts, models, end = run_starts(numbers, width), self._models.models, len(symbols)
        encode = coder.encode_reverse
        for start, table in zip(reversed(starts.tolist()), reversed(numbers[starts].tolist()), strict=True):
            if after and end in after:  # they follow the row, so backwards they come first
                encode(after[end], self._models.escape)
            encode(letters[start:end], models[table])
            end = start


class Decoder:
    """Decodes the groups of an `Encoder`, in the order in which they were pushed.

    It does not notice all damage; the container's checksums do. A damaged payload never yields more symbols than asked
    for.
    """

    def __init__(self, models: CoderModels, payload: bytes | memoryview) -> None:
        self._models = models
        padded = bytes(payload) + b"\0" * (-len(payload) % 4)
        words = np.frombuffer(padded, "<u4").astype(np.uint32)
        if len(payload) and payload[-1] == 0:
            raise CorruptDataError("an entropy-coded payload ends in zero bytes")
        self._coder = constriction.stream.stack.AnsCoder(words)

    def pop(self, counts: Counts, *, dependent: bool = False) -> Symbols:
        """The next group's int32 symbols, sorted by bin. `counts` is the number of symbols in each bin.

        `dependent` must be what it was in `push`.
        """
        symbols: Symbols = np.empty(int(counts.sum()), np.int32)
        free = free_count(counts) if dependent else len(symbols)
        self._free(symbols[:free], counts[:FIRST_BIN] if dependent else counts)
        if free < len(symbols):
            self._dependent(symbols[free:], np.repeat(_BINS, counts)[free:])
        return symbols

    def _free(self, symbols: Symbols, counts: Counts) -> None:
        """Read symbols with a step of their own, bin by bin."""
        at, least = 0, MAX_SYMBOL
        for number in np.flatnonzero(counts).tolist():
            reach, end = self._models.reach_list[number], at + int(counts[number])
            np.subtract(self._coder.decode(self._models.models[number], end - at), reach, out=symbols[at:end])
            at, least = end, min(least, reach)
        if len(symbols) and symbols.max() > least:
            escaped = np.flatnonzero(symbols > np.repeat(self._models.reaches[: len(counts)], counts))
            symbols[escaped] = self._escapes(len(escaped))

    def _dependent(self, symbols: Symbols, bins: NDArray[np.int16]) -> None:
        """Read the dependent symbols of (n,) bins in ascending order. There is at least one.

        Each row takes as few calls of NumPy as possible: rows of small images are short.
        """
        models, decode, width = self._models.models, self._coder.decode, columns(len(bins))
        reaches = [self._models.reaches[SCALE_BINS * number :].take(bins) for number in (1, 2)]
        alike = np.array_equal(reaches[0], reaches[1])
        edges = run_starts(bins, width)
        numbers = (SCALE_BINS + bins[edges]).tolist()
        starts = np.arange(0, len(bins), width)
        splits = [*edges.searchsorted(starts).tolist(), len(edges)]
        cuts = [*edges.tolist(), len(bins)]
        quantiser, before = np.zeros((2, width), np.bool_)
        ones = np.ones(width, np.int32)  # to convert a number would take longer
        for start, (begin, end) in zip(starts.tolist(), pairwise(splits), strict=True):
            own = symbols[start : start + width]
            second = quantiser[: len(own)]
            first, flags = ~second, second.tobytes()
            if end - begin == 1:
                number, count = numbers[begin], flags.count(1)
                own[first] = decode(models[number], len(own) - count)
                own[second] = decode(models[number + SCALE_BINS], count)
            else:  # by bin: first the symbols of the first quantiser, then those of the second
                letters, others = [], []
                for place in range(begin, end):
                    left, right, number = cuts[place], cuts[place + 1], numbers[place]
                    count = flags.count(1, left - start, right - start)
                    letters.append(decode(models[number], right - left - count))
                    others.append((models[number + SCALE_BINS], count))
                own[first] = np.concatenate(letters)
                own[second] = np.concatenate([decode(model, count) for model, count in others])
            reach = reaches[0][start : start + width]
            if not alike:
                reach = np.where(second, reaches[1][start : start + width], reach)
            own -= reach
            escaped = own > reach
            if 1 in escaped.tobytes():  # faster than any()
                order = np.concatenate([np.flatnonzero(escaped & first), np.flatnonzero(escaped & second)])
                own[order] = self._escapes(len(order))
            if len(own) == width:
                quantiser, before = (own & ones) != before, quantiser

    def _escapes(self, count: int) -> Symbols:
        """The values of symbols that their tables don't have."""
        values: Symbols = self._coder.decode(self._models.escape, count) - MAX_SYMBOL
        if (values > MAX_SYMBOL).any():
            raise CorruptDataError(f"a symbol is above {MAX_SYMBOL}, the largest")
        return values

    def finish(self) -> None:
        """Raise `CorruptDataError` unless the payload ends exactly here."""
        if not self._coder.is_empty():
            raise CorruptDataError("an entropy-coded payload does not end where its symbols do")
