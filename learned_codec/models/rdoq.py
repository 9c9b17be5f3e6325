"""Rate-distortion optimised rounding of latents: towards zero by one step where that saves more than it costs.

The encoder's choice alone: a decoder needs to know nothing of it. Training uses it too, in its last phases, so that the
networks meet the latents that they will see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SCALE_BINS, ScaleTables
from learned_codec.entropy.tables import MAX_SYMBOL

REACH = 15
"""Symbols of larger magnitude are rounded plainly: there the tables are too flat for it to matter."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much error counts against rate, relative to the Lagrangian: `base`, and `low` more at frequency zero.

    A symbol made zero also misleads the contexts of its neighbours, and those of low frequency tell most.
    """

    base: float
    low: float

    def at(self, frequencies: Any) -> Any:
        """By frequencies of latents (half waves in a block of 16 pixels), numpy's or torch's."""
        return self.base + self.low / (1 + frequencies) ** 2


SINGLE_PASS = Strength(1.2, 4.0)
"""Chosen on validation images. (Training of rgb-1 and mono-1 had 1.7 and 1.3 for all.)"""

OPTIMISED = Strength(1.0, 0.15)
"""For latents optimised by `effort`, which counts what contexts lose in another way."""


def error_cost(worth: Any, log2_size: Any, frequencies: Any, strength: Strength = SINGLE_PASS) -> Any:
    """The bits that a squared error of one quantisation step is worth, of numpy's arrays or torch's tensors.

    The skeleton is nearly orthonormal, so a squared error in the latents of a block is one in its pixels, of which each
    is `worth` so much (`ModelConfig.bits_per_error`). `log2_size` is the log2 of the quantisation step's size; the
    frequencies broadcast against it.
    """
    return strength.at(frequencies) * worth * 2 ** (2 * log2_size)


def savings(tables: ScaleTables) -> NDArray[np.float32]:
    """(SCALE_BINS, REACH + 1): the bits saved by a symbol that is one nearer to zero, by its bin and magnitude."""
    costs = tables.cost_matrix(REACH)
    saved = np.zeros((SCALE_BINS, REACH + 1), np.float32)
    saved[:, 1:] = costs[:, 1:] - costs[:, :-1]
    return saved


def rounded(
    residual: NDArray[np.float32],
    counts: NDArray[np.intp],
    cost: NDArray[np.float32] | None,
    saved: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Symbols for (n,) residuals (in quantisation steps), which stand scale bin by bin, so many in each.

    `cost` (n,) is that of their errors (None: infinite), `saved` what `savings` gives. The twin for tensors is
    `entropy_model.optimised`.
    """
    symbols = np.rint(residual)
    if cost is None:
        return np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
    (some,) = np.nonzero(symbols)
    bins = np.repeat(np.arange(len(counts)), counts)[some]
    value, exact = symbols[some], residual[some]
    smaller = value - np.sign(value)
    more_error = cost[some] * (np.square(exact - smaller) - np.square(exact - value))
    magnitude = np.abs(value)
    known = magnitude <= REACH
    nearer = known & (more_error < saved[bins, np.where(known, magnitude, 0).astype(np.intp)])
    symbols[some] = np.where(nearer, smaller, value)
    return np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
