"""Entropy coding of integer symbols, each under the table of its scale bin, with an ANS coder (constriction).

    encoder = Encoder(tables)
    encoder.push(symbols, scale_bins)        # one group after another …
    payload = encoder.finish()
    decoder = Decoder(tables, payload)
    symbols = decoder.pop(scale_bins)        # … and back in the same order
    decoder.finish()

Within a group, symbols are coded bin by bin (so that the coder runs through one table at a time), then the values of
the group's escapes. Symbols in the first SKIPPED_BINS bins must be zero and cost nothing.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError

from .tables import ESCAPE_BITS, MAX_SYMBOL, SCALE_BINS, SKIPPED_BINS, TOTAL, ScaleTables

Symbols = NDArray[np.int32]
Bins = NDArray[np.uint8]


class CoderModels:
    """constriction's models of a set of tables, built once per set."""

    def __init__(self, tables: ScaleTables) -> None:
        self.tables = tables
        self.reaches = tables.reaches
        self.escape: Any = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
        # Quotients of counts by a power of two are exact, so the quantisation inside is the same everywhere.
        self.models: list[Any] = [
            constriction.stream.model.Categorical(tables.table(b).astype(np.float64) / TOTAL, perfect=False)
            for b in range(SCALE_BINS)
        ]


def _runs(scale_bins: Bins) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order that sorts a group by bin, and where each bin starts in it."""
    order = np.argsort(scale_bins, kind="stable")
    counts = np.bincount(scale_bins, minlength=SCALE_BINS)
    return order, np.concatenate([[0], counts.cumsum()])


class Encoder:
    """Collects groups of symbols; `finish` codes them (an ANS coder is a stack, so it works from the end)."""

    def __init__(self, models: CoderModels) -> None:
        self._models = models
        self.groups: list[tuple[Symbols, Bins]] = []

    def push(self, symbols: Symbols, scale_bins: Bins) -> None:
        """Append a group: int32 symbols with |symbol| <= MAX_SYMBOL and their uint8 bins, both (n,)."""
        self.groups.append((symbols, scale_bins))

    @property
    def bits(self) -> float:
        """The ideal code length of what was pushed; `finish` comes within 64 bits of it."""
        return sum(self._models.tables.bits(symbols, scale_bins) for symbols, scale_bins in self.groups)

    def finish(self) -> bytes:
        """The payload: little-endian, without the zero bytes at its end."""
        models = self._models
        coder = constriction.stream.stack.AnsCoder()
        for symbols, scale_bins in reversed(self.groups):
            order, starts = _runs(scale_bins)
            sorted_symbols = symbols[order]
            reach = models.reaches[scale_bins[order]]
            coded = int(starts[SKIPPED_BINS])
            escaped = np.abs(sorted_symbols) > reach
            escaped[:coded] = False
            if escaped.any():
                values = sorted_symbols[escaped] + MAX_SYMBOL
                coder.encode_reverse(np.ascontiguousarray(values, np.int32), models.escape)
            letters = np.where(escaped, 2 * reach + 1, sorted_symbols + reach).astype(np.int32)
            for b in range(SCALE_BINS - 1, SKIPPED_BINS - 1, -1):
                if starts[b + 1] > starts[b]:
                    coder.encode_reverse(letters[starts[b] : starts[b + 1]], models.models[b])
        payload: bytes = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
        return payload


class Decoder:
    """Takes the groups of an `Encoder` back, in the order they were pushed.

    Damaged payloads are not always noticed here (checksums are the container's part), but never cost more than the
    number of symbols asked for.
    """

    def __init__(self, models: CoderModels, payload: bytes | memoryview) -> None:
        self._models = models
        padded = bytes(payload) + b"\0" * (-len(payload) % 4)
        words = np.frombuffer(padded, "<u4").astype(np.uint32)
        if words.size and words[-1] == 0:
            raise CorruptDataError("an entropy-coded payload ends in zero bytes")
        self._coder = constriction.stream.stack.AnsCoder(words)

    def pop(self, scale_bins: Bins) -> Symbols:
        """The next group's symbols, (n,) int32, given their bins."""
        models = self._models
        order, starts = _runs(scale_bins)
        coded = np.zeros(len(scale_bins), np.int32)
        for b in range(SKIPPED_BINS, SCALE_BINS):
            count = int(starts[b + 1] - starts[b])
            if count:
                coded[starts[b] : starts[b + 1]] = self._coder.decode(models.models[b], count)
        reach = models.reaches[scale_bins[order]]
        first = int(starts[SKIPPED_BINS])
        escaped = coded == 2 * reach + 1
        coded[first:] -= reach[first:]
        count = int(escaped.sum())
        if count:
            coded[escaped] = self._coder.decode(models.escape, count) - MAX_SYMBOL
        symbols = np.empty_like(coded)
        symbols[order] = coded
        return symbols

    def finish(self) -> None:
        """Raise `CorruptDataError` unless the payload is used up exactly."""
        if not self._coder.is_empty():
            raise CorruptDataError("an entropy-coded payload does not end where its symbols do")
