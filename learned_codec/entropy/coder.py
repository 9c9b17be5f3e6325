"""Entropy coding of integer symbols with the tables of their scale bins, by constriction's ANS coder.

    runs = Runs.of(scale_bins)
    encoder = Encoder(models)
    encoder.push(symbols[runs.order], runs.counts)       # one group after another …
    payload = encoder.finish()
    decoder = Decoder(models, payload)
    symbols[runs.order] = decoder.pop(runs.counts)       # … and back in the same order
    decoder.finish()

In a group, symbols are coded bin by bin, so that the coder uses one table at a time. The values of the group's escapes
follow. Symbols in the first SKIPPED_BINS bins are zero and not coded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

from .tables import ESCAPE_BITS, MAX_SYMBOL, SCALE_BINS, SKIPPED_BINS, TOTAL, ScaleTables

Symbols = NDArray[np.int32]
Bins = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Runs:
    """The coded symbols of a group, sorted by bin.

    `order` are their indices in the group; `counts` (SCALE_BINS,) is how many are in each bin.
    """

    order: NDArray[np.intp]
    counts: NDArray[np.intp]

    @classmethod
    def of(cls, scale_bins: Bins) -> Runs:
        """From the (n,) bins of the symbols."""
        coded = np.flatnonzero(scale_bins >= SKIPPED_BINS)
        bins = scale_bins[coded]
        return cls(coded[np.argsort(bins, kind="stable")], np.bincount(bins, minlength=SCALE_BINS))


class CoderModels:
    """constriction's models for a set of tables, built once."""

    def __init__(self, tables: ScaleTables) -> None:
        self.tables = tables
        self.reaches = tables.reaches
        self.escape: Any = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
        # Counts divided by a power of two are exact, so constriction quantises them in the same way everywhere.
        self.models: list[Any] = [
            constriction.stream.model.Categorical(tables.table(b).astype(np.float64) / TOTAL, perfect=False)
            for b in range(SCALE_BINS)
        ]


class Encoder:
    """Collects groups of symbols. `finish` codes them from the last to the first, as an ANS coder is a stack."""

    def __init__(self, models: CoderModels) -> None:
        self._models = models
        self.groups: list[tuple[Symbols, NDArray[np.intp]]] = []

    def push(self, symbols: Symbols, counts: NDArray[np.intp]) -> None:
        """Append a group: int32 symbols up to MAX_SYMBOL in magnitude, sorted by bin, and how many are in each bin."""
        self.groups.append((symbols, counts))

    @property
    def bits(self) -> float:
        """The ideal code length of all groups. The payload of `finish` is within 64 bits of it."""
        return self.bits_from(0)

    def mark(self) -> int:
        """The place after the last group, for `bits_from` and `cut`."""
        return len(self.groups)

    def bits_from(self, mark: int) -> float:
        """The ideal code length of the groups after a mark."""
        return sum(self._models.tables.bits_of_runs(*found) for found in self.groups[mark:])

    def cut(self, mark: int) -> None:
        """Remove the groups after a mark."""
        del self.groups[mark:]

    def finish(self) -> bytes:
        """The payload: little-endian words, with zero bytes removed at the end."""
        models = self._models
        coder = constriction.stream.stack.AnsCoder()
        for symbols, counts in reversed(self.groups):
            reach = np.repeat(models.reaches, counts)
            letters = symbols + reach
            escaped = np.flatnonzero(letters.view(np.uint32) > 2 * reach.view(np.uint32))
            if len(escaped):
                coder.encode_reverse(symbols[escaped] + np.int32(MAX_SYMBOL), models.escape)
                letters[escaped] = 2 * reach[escaped] + 1
            end = len(letters)
            for b in np.flatnonzero(counts)[::-1]:
                coder.encode_reverse(letters[end - counts[b] : end], models.models[b])
                end -= counts[b]
        payload: bytes = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
        return payload


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

    def pop(self, counts: NDArray[np.intp]) -> Symbols:
        """The next group's int32 symbols, sorted by bin. `counts` is the number of symbols in each bin."""
        models = self._models
        runs = [self._coder.decode(models.models[b], int(counts[b])) for b in np.flatnonzero(counts)]
        symbols: Symbols = np.concatenate(runs) if runs else np.zeros(0, np.int32)
        reach = np.repeat(models.reaches, counts)
        symbols -= reach
        escaped = np.flatnonzero(symbols > reach)
        if len(escaped):
            values = self._coder.decode(models.escape, len(escaped)) - MAX_SYMBOL
            if (values > MAX_SYMBOL).any():
                raise CorruptDataError(f"a symbol is above {MAX_SYMBOL}, the largest")
            symbols[escaped] = values
        return symbols

    def finish(self) -> None:
        """Raise `CorruptDataError` unless the payload ends exactly here."""
        if not self._coder.is_empty():
            raise CorruptDataError("an entropy-coded payload does not end where its symbols do")
