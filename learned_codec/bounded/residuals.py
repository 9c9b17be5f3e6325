"""Entropy coding of residuals, each with the table of its context, by constriction's ANS coder.

Groups are decoded in the order in which they were pushed. In a group, residuals are sorted by context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError
from learned_codec.forks import without_forks

from . import tables
from .tables import ESCAPE_LETTER_BITS, MAX_REACH, SCALES, SHAPES

CONTEXTS, MAX_SHIFT = 128, 32
"""How many contexts there are, and the largest shift of one, as in the format."""

RAW_BITS = 16
"""Low bits of a residual are coded in letters of at most this many bits."""

COMFORTABLE = 20
"""From this mean magnitude on, the lowest bits of residuals are not entropy-coded."""


@dataclass(frozen=True)
class Tables:
    """Which table each context has: `shapes`, `scales` and `shifts` (n,) uint8, from context `first` on."""

    first: int
    shapes: NDArray[np.uint8]
    scales: NDArray[np.uint8]
    shifts: NDArray[np.uint8]

    def of(self, context: int) -> tuple[int, int, int]:
        """Shape, scale and shift. Raises `CorruptDataError` where there is none."""
        at = context - self.first
        if not 0 <= at < len(self.shapes):
            raise CorruptDataError(f"a residual has context {context}, which has no table")
        return int(self.shapes[at]), int(self.scales[at]), int(self.shifts[at])


def runs_of(contexts: NDArray[np.uint8]) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
    """Indices that put residuals in order of context, and (context, count) of each that occurs."""
    counts = np.bincount(contexts, minlength=CONTEXTS)
    order = np.argsort(contexts, kind="stable")
    return order, [(context, int(counts[context])) for context in np.flatnonzero(counts).tolist()]


class Histograms:
    """The residuals of each context, to choose tables by."""

    def __init__(self) -> None:
        self._parts: dict[int, list[NDArray[np.int64]]] = {}

    def add(self, residuals: NDArray[np.int64], runs: list[tuple[int, int]]) -> None:
        """Residuals in order of context."""
        end = 0
        for context, count in runs:
            self._parts.setdefault(context, []).append(residuals[end : end + count])
            end += count

    def tables(self) -> Tables:
        """The best table of each context."""
        if not self._parts:
            return Tables(0, *(np.zeros(0, np.uint8) for _ in range(3)))
        first, last = min(self._parts), max(self._parts)
        found = np.zeros((3, last + 1 - first), np.uint8)
        for context in range(first, last + 1):
            if context in self._parts:
                found[:, context - first] = _best(np.concatenate(self._parts[context]))
            elif context > first:
                found[:, context - first] = found[:, context - first - 1]
        return Tables(first, *found)


@without_forks
def _best(residuals: NDArray[np.int64]) -> tuple[int, int, int]:
    """Shape, scale and shift that cost the fewest bits."""
    magnitudes = np.abs(residuals)
    mean = float(magnitudes.mean())
    shift = max(0, int(np.ceil(np.log2(max(mean, 1) / COMFORTABLE))))
    if shift:
        magnitudes = np.abs(residuals >> shift)
    counts = np.bincount(np.minimum(magnitudes, MAX_REACH + 1), minlength=MAX_REACH + 2)
    seen = np.flatnonzero(counts)
    shape, scale = divmod(int(np.argmin(tables.costs()[:, seen] @ counts[seen].astype(np.float32))), SCALES)
    return shape, scale, min(shift, MAX_SHIFT)


class ResidualEncoder:
    """Collects groups. `finish` codes them from the last to the first, as an ANS coder is a stack."""

    def __init__(self) -> None:
        self._groups: list[tuple[NDArray[np.int64], list[tuple[int, int]], Tables]] = []

    def push(self, residuals: NDArray[np.int64], runs: list[tuple[int, int]], chosen: Tables) -> None:
        """A group, its residuals in order of context."""
        self._groups.append((residuals, runs, chosen))

    def finish(self) -> bytes:
        """The payload of all groups: little-endian words, with zero bytes removed at the end."""
        coder = constriction.stream.stack.AnsCoder()
        for group in reversed(self._groups):
            _encode(coder, *group)
        data: bytes = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
        return data


def _encode(coder: Any, residuals: NDArray[np.int64], runs: list[tuple[int, int]], chosen: Tables) -> None:
    parts, escaped, end = [], [], 0
    for context, count in runs:
        shape, scale, shift = chosen.of(context)
        mine = residuals[end : end + count]
        end += count
        high = mine >> shift
        reach = len(tables.counts_of(shape, scale)) // 2 - 1
        outside = np.abs(high) > reach
        letters = (np.where(outside, reach + 1, high) + reach).astype(np.int32)
        if outside.any():
            escaped.append(high[outside])
        parts.append((letters, tables.model_of(shape, scale), mine, shift))
    for _, _, mine, shift in reversed(parts):
        for start in reversed(range(0, shift, RAW_BITS)):
            bits = min(RAW_BITS, shift - start)
            coder.encode_reverse((mine >> start & (1 << bits) - 1).astype(np.int32), _raw(bits))
    if escaped:
        high = np.concatenate(escaped)
        folded = np.where(high < 0, -2 * high - 1, 2 * high)
        mask = (1 << ESCAPE_LETTER_BITS) - 1
        coder.encode_reverse((folded >> ESCAPE_LETTER_BITS & mask).astype(np.int32), _raw(ESCAPE_LETTER_BITS))
        coder.encode_reverse((folded & mask).astype(np.int32), _raw(ESCAPE_LETTER_BITS))
    for letters, model, _, _ in reversed(parts):
        coder.encode_reverse(letters, model)


class ResidualDecoder:
    """Decodes the groups of a `ResidualEncoder`.

    It does not notice all damage; the container's checksums do. A damaged payload never yields more residuals than
    asked for.
    """

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise CorruptDataError("an entropy-coded payload ends in zero bytes")
        words = np.frombuffer(data + b"\0" * (-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def pop(self, contexts: NDArray[np.uint8], chosen: Tables) -> NDArray[np.float64]:
        """The residuals of a group, (n,), by their contexts (n,)."""
        order, runs = runs_of(contexts)
        parts, shifts = [], []
        for context, count in runs:
            shape, scale, shift = chosen.of(context)
            letters = self._coder.decode(tables.model_of(shape, scale), count)
            reach = len(tables.counts_of(shape, scale)) // 2 - 1
            parts.append(letters - np.int32(reach))
            shifts.append((count, reach, shift))
        found = np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
        self._escapes(found, shifts)
        if any(shift for *_, shift in shifts):
            self._low_bits(found, shifts)
        residuals = np.empty_like(found)
        residuals[order] = found
        return residuals

    def _escapes(self, found: NDArray[np.float64], shifts: list[tuple[int, int, int]]) -> None:
        reach = np.repeat([r for _, r, _ in shifts], [c for c, _, _ in shifts])
        escaped = np.flatnonzero(found > reach)
        if not len(escaped):
            return
        low = self._coder.decode(_raw(ESCAPE_LETTER_BITS), len(escaped)).astype(np.int64)
        high = self._coder.decode(_raw(ESCAPE_LETTER_BITS), len(escaped)).astype(np.int64)
        folded = high << ESCAPE_LETTER_BITS | low
        found[escaped] = np.where(folded & 1, -(folded + 1 >> 1), folded >> 1)

    def _low_bits(self, found: NDArray[np.float64], shifts: list[tuple[int, int, int]]) -> None:
        end = 0
        for count, _, shift in shifts:
            mine = found[end : end + count]
            end += count
            mine *= 2.0**shift
            for start in range(0, shift, RAW_BITS):
                mine += self._coder.decode(_raw(min(RAW_BITS, shift - start)), count) * 2.0**start

    def finish(self) -> None:
        """Raise `CorruptDataError` unless the payload ends exactly here."""
        if not self._coder.is_empty():
            raise CorruptDataError("an entropy-coded payload does not end where its residuals do")


def _raw(bits: int) -> Any:
    """The model of letters of a number of bits, all equally likely."""
    return constriction.stream.model.Uniform(1 << bits)


__all__ = ["CONTEXTS", "MAX_SHIFT", "SHAPES", "Histograms", "ResidualDecoder", "ResidualEncoder", "Tables", "runs_of"]
