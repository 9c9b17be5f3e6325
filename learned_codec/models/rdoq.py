"""Rate-distortion optimised rounding of latents: towards zero by one step where that saves more than it costs.

The encoder's choice alone: a decoder needs to know nothing of it. Training uses it too, in its last phases, so that the
networks meet the latents that they will see.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learned_codec.entropy import SKIPPED_BINS

REACH = 15
"""Symbols of larger magnitude are rounded plainly: there the tables are too flat for it to matter."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much error counts against rate, relative to the Lagrangian: `base`, and `low` more at frequency zero.

    A symbol made zero also misleads the contexts of its neighbours, and those of low frequency tell most.
    """

    base: float
    low: float

    def at(self, frequencies: Tensor) -> Tensor:
        """By frequencies of latents (half waves in a block of 16 pixels)."""
        return self.base + self.low / (1 + frequencies).square()


SINGLE_PASS = Strength(1.2, 4.0)
"""Chosen on validation images. (Training of rgb-1 and mono-1 had 1.7 and 1.3 for all.)"""

OPTIMISED = Strength(1.0, 0.15)
"""For latents optimised by `effort`, which counts what contexts lose in another way."""


def error_cost(
    multiplier: float | Tensor,
    bands: int,
    log2_size: Tensor,
    frequencies: Tensor,
    strength: Strength = SINGLE_PASS,
) -> Tensor:
    """The bits that a squared error of one quantisation step is worth.

    By the Lagrangian multiplier * 255^2 * MSE + bits/pixel: the skeleton is nearly orthonormal, so a squared error in
    the latents of a block is one in its pixels. `log2_size` is the log2 of the quantisation step's size; the
    frequencies broadcast against it.
    """
    cost: Tensor = strength.at(frequencies) * multiplier * 255**2 / bands * torch.exp2(2 * log2_size)
    return cost


def rounded(residual: Tensor, scale_bin: Tensor, cost: Tensor, bits: Tensor) -> Tensor:
    """Symbols for residuals (in quantisation steps), given their scale bins (int64) and the costs of their errors.

    `bits` is `ScaleTables.cost_matrix(REACH)`, flattened. Symbols of skipped bins are zero.
    """
    symbols = torch.round(residual)
    smaller = symbols - torch.sign(symbols)
    more_error = cost * ((residual - smaller).square() - (residual - symbols).square())
    magnitude = symbols.abs().clamp(max=REACH).long()
    row = scale_bin * (REACH + 1)
    saved = bits[row + magnitude] - bits[row + (magnitude - 1).clamp(min=0)]
    symbols = torch.where((more_error < saved) & (symbols.abs() <= REACH), smaller, symbols)
    return symbols * (scale_bin >= SKIPPED_BINS)
