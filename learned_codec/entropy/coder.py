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
    """The coded symbols of a group ordered by bin, as indices, and how many each bin has."""
    coded = np.flatnonzero(scale_bins >= SKIPPED_BINS)
    bins = scale_bins[coded]
    return coded[np.argsort(bins, kind="stable")], np.bincount(bins, minlength=SCALE_BINS)


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
        return self.bits_from(0)

    def bits_from(self, group: int) -> float:
        """That of the groups from this one on."""
        return sum(self._models.tables.bits(symbols, scale_bins) for symbols, scale_bins in self.groups[group:])

    def finish(self) -> bytes:
        """The payload: little-endian, without the zero bytes at its end."""
        models = self._models
        coder = constriction.stream.stack.AnsCoder()
        for symbols, scale_bins in reversed(self.groups):
            order, counts = _runs(scale_bins)
            values, reach = symbols[order], np.repeat(models.reaches, counts)
            escaped = np.abs(values) > reach
            if escaped.any():
                coder.encode_reverse(np.ascontiguousarray(values[escaped] + MAX_SYMBOL, np.int32), models.escape)
            letters = np.where(escaped, 2 * reach + 1, values + reach).astype(np.int32, copy=False)
            end = len(letters)
            for b in np.flatnonzero(counts)[::-1]:
                coder.encode_reverse(letters[end - counts[b] : end], models.models[b])
                end -= counts[b]
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
        if len(payload) and payload[-1] == 0:
            raise CorruptDataError("an entropy-coded payload ends in zero bytes")
        self._coder = constriction.stream.stack.AnsCoder(words)

    def pop(self, scale_bins: Bins) -> Symbols:
        """The next group's symbols, (n,) int32, given their bins."""
        models = self._models
        order, counts = _runs(scale_bins)
        bins = np.flatnonzero(counts)
        runs = [self._coder.decode(models.models[b], int(counts[b])) for b in bins]
        letters = np.concatenate(runs) if runs else np.zeros(0, np.int32)
        reach = np.repeat(models.reaches, counts)
        values = letters - reach
        escaped = values > reach
        count = int(escaped.sum())
        if count:
            values[escaped] = self._coder.decode(models.escape, count) - MAX_SYMBOL
        symbols = np.zeros(len(scale_bins), np.int32)
        symbols[order] = values
        return symbols

    def finish(self) -> None:
        """Raise `CorruptDataError` unless the payload is used up exactly."""
        if not self._coder.is_empty():
            raise CorruptDataError("an entropy-coded payload does not end where its symbols do")
