"""Rate-distortion optimised quantisation (RDOQ).

A latent with a step of its own is rounded one step towards zero where that saves more than it costs; `trellis.py` finds
the symbols of those that share two quantisers. And all latents of a component are coded, even those whose small scale
says that they are zero, where that saves more error than it costs.

Only encoders do it; decoders need not know. Training does it in its last phases, so that the networks learn from the
symbols that real files have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SCALE_BINS, SKIPPED_BINS
from learned_codec.entropy.dependent import FIRST_BIN, free_count
from learned_codec.entropy.tables import MAX_SYMBOL

from .trellis import MOST_LEFT, ClassBits, searched

REACH = 15
"""Symbols of larger magnitude are rounded to the nearest: their bits hardly change from one to the next."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much an error counts, relative to the Lagrangian: `base`, plus up to `low` at low frequencies.

    A symbol that is made zero also misleads the context of its neighbours. Low frequencies tell the context most.
    """

    base: float
    low: float

    def at(self, frequencies: Any) -> Any:
        """For frequencies of latents, half waves in a block of 16 pixels: a numpy array or a torch tensor."""
        return self.base + self.low / (1 + frequencies) ** 2


SINGLE_PASS = Strength(1.1, 2.0)
"""Chosen on validation images. (The models were trained with 1.2 and 4.0.)"""

OPTIMISED = Strength(1.1, 0.5)
"""Also chosen there, for latents optimised by `effort`."""


def error_cost(worth: Any, log2_size: Any, frequencies: Any, strength: Strength = SINGLE_PASS) -> Any:
    """The bits that a squared error of one quantisation step is worth. Takes numpy arrays or torch tensors.

    The block transform is nearly orthonormal, so a squared error in a block's latents is about the same in its pixels.
    `worth` is `ModelConfig.bits_per_error`; `log2_size` is the log2 of the step size; `frequencies` broadcast against
    it.
    """
    return strength.at(frequencies) * worth * 2 ** (2 * log2_size)


@dataclass(frozen=True, slots=True)
class SymbolCosts:
    """The bits of symbols.

    Attributes:
        saved: (SCALE_BINS, REACH + 1), by bin and magnitude: the bits that a symbol one nearer to zero saves.
        least: (REACH + 1,) by magnitude: the bits of a symbol in the first bin that is coded.
        dependent: the bits of dependent symbols.
    """

    saved: NDArray[np.float32]
    least: NDArray[np.float32]
    dependent: ClassBits

    @classmethod
    def of(cls, costs: NDArray[np.float32]) -> SymbolCosts:
        """From the (TABLES, magnitudes) bits of a model's symbols."""
        bits = costs.reshape(-1, SCALE_BINS, costs.shape[1])
        saved = np.zeros((SCALE_BINS, REACH + 1), np.float32)
        saved[:, 1:] = np.diff(bits[0, :, : REACH + 1])
        return cls(saved, bits[0, SKIPPED_BINS, : REACH + 1], ClassBits.of(bits[1:].swapaxes(0, 1)))


def quantised(
    residual: NDArray[np.float32], counts: NDArray[np.intp], cost: NDArray[np.float32], costs: SymbolCosts
) -> NDArray[np.int32]:
    """The symbols of a dependent group for (n,) residuals: `rounded` below FIRST_BIN, `searched` from there on.

    The arguments are those of `rounded`.
    """
    free = free_count(counts)
    bins = np.repeat(np.arange(FIRST_BIN, SCALE_BINS), counts[FIRST_BIN:])
    first = rounded(residual[:free], counts[:FIRST_BIN], cost[:free], costs)
    return np.concatenate([first, searched(residual[free:], bins, cost[free:], costs.dependent)])


def rounded(
    residual: NDArray[np.float32],
    counts: NDArray[np.intp],
    cost: NDArray[np.float32] | None,
    costs: SymbolCosts,
) -> NDArray[np.int32]:
    """Symbols for (n,) residuals (in quantisation steps), sorted by scale bin with `counts` in each bin.

    `cost` (n,) is what a squared error costs in bits (None: infinite). The twin for tensors is
    `entropy_model.optimised`.
    """
    symbols = np.rint(residual)
    if cost is None:
        return np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
    some = np.flatnonzero(symbols != 0)  # of booleans it is faster
    bins = np.repeat(np.arange(len(counts)), counts)[some]
    value, exact = symbols[some], residual[some]
    smaller = value - np.sign(value)
    more_error = cost[some] * (np.square(exact - smaller) - np.square(exact - value))
    magnitude = np.abs(value)
    known = magnitude <= REACH
    nearer = known & (more_error < costs.saved[bins, np.where(known, magnitude, 0).astype(np.intp)])
    symbols[some] = np.where(nearer, smaller, value)
    return np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)


def completing_pays(
    scaled: NDArray[np.float32],
    decoded: NDArray[np.float32],
    coded: NDArray[np.bool_] | None,
    cost: NDArray[np.float32],
    costs: SymbolCosts,
    skipped: int,
) -> bool:
    """Whether it pays to code the `skipped` latents as well, whose scales were too small.

    (h, w, latents) `scaled` ones were coded and come back as `decoded`. `cost` (latents,) is what a squared error costs
    in bits. The scales of patterns that no photograph has, such as a checkerboard, are far too small.
    """
    gain, error = 0.0, np.empty_like(scaled[0])
    for row, (original, found) in enumerate(zip(scaled, decoded, strict=True)):  # a row fits a processor's cache
        np.subtract(original, found, out=error)
        np.abs(error, out=error)
        if coded is not None:
            error *= coded[row]
        places = np.flatnonzero(error > MOST_LEFT)
        lost = error.reshape(-1)[places]
        bits = costs.least[np.minimum(np.rint(lost), REACH).astype(np.intp)]
        gain += float(np.maximum(cost[places % len(cost)] * np.square(lost) - bits, 0).sum())
    return gain > float(costs.least[0]) * skipped
