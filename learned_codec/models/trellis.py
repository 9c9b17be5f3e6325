"""The encoder's side of dependent quantisation: the symbols of a pass with the least bits and error.

Only encoders do it; decoders need not know. Down each column of `entropy/dependent.py`, the Viterbi algorithm finds the
best path through four states: which quantiser a row has, and which one the row after it has if the symbol is even.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy.dependent import DELTA, columns
from learned_codec.entropy.tables import MAX_SYMBOL

STRIP = 1024
"""Columns searched at once, so that their arrays fit a processor's cache."""

CLASSES = 0, 2, 3, 1
"""Which multiples of DELTA, modulo 4, each class of symbols has: class 2q + p are those of parity p in quantiser q."""

MOST_LEFT = 1.5
"""The largest error, in quantisation steps, of a latent that is coded."""

_FAR = np.float32(1e30)


def searched(
    residual: NDArray[np.float32], bins: NDArray[np.intp], cost: NDArray[np.float32], bits: NDArray[np.float32]
) -> NDArray[np.int32]:
    """The dependent symbols for (n,) residuals in quantisation steps, whose (n,) bins are in ascending order.

    `cost` (n,) is what a squared error of one quantisation step is worth in bits. `bits` (SCALE_BINS, 2, magnitudes) is
    what a symbol takes in each quantiser; above the last magnitude, as much as there.
    """
    count, width = len(residual), columns(len(residual))
    symbols = np.zeros((-(-count // width), width), np.int32)
    scaled, in_bins, worth = (
        np.pad(found, (0, symbols.size - count)).reshape(symbols.shape)
        for found in (residual * np.float32(1 / DELTA), bins, cost * np.float32(DELTA**2))
    )
    for start in range(0, width, STRIP):
        strip = np.s_[:, start : start + STRIP]
        symbols[strip] = _best_paths(scaled[strip], in_bins[strip], worth[strip], bits)
    return symbols.reshape(-1)[:count]


def _best_paths(
    scaled: NDArray[np.float32], bins: NDArray[np.intp], worth: NDArray[np.float32], bits: NDArray[np.float32]
) -> NDArray[np.int32]:
    """(rows, width) symbols for values in multiples of DELTA."""
    magnitude = np.minimum(np.abs(scaled), np.float32(2 * MAX_SYMBOL - 4))
    costs, symbols = _candidates(magnitude, bins, worth, bits)
    rows, _, _, width = costs.shape
    crosses = np.empty((rows, 2, 2, width), np.bool_)
    least = np.full((2, 2, width), _FAR)  # by this row's quantiser, and by that of the row before
    least[0, 0] = 0
    for row in range(rows):
        # Where the row before had the second quantiser, parity 1 - p leads to where p leads otherwise.
        straight, crossed = least[:, 0, None] + costs[row], least[:, 1, None] + costs[row, :, ::-1]
        np.less(crossed, straight, out=crosses[row])
        least = np.minimum(straight, crossed).swapaxes(0, 1)
    place = least.swapaxes(0, 1).reshape(4, width).argmin(0)  # 2 * this row's quantiser + that of the next one
    chosen = np.empty((rows, width), np.intp)
    here = np.arange(width)
    for row in range(rows - 1, -1, -1):
        cross = crosses[row].reshape(-1).take(place * width + here).astype(np.intp)
        chosen[row] = place ^ cross
        place = 2 * cross + (place >> 1)
    found: NDArray[np.int32] = symbols.take((4 * np.arange(rows)[:, None] + chosen) * width + here)
    np.negative(found, out=found, where=scaled < 0)
    return found


def _candidates(
    magnitude: NDArray[np.float32], bins: NDArray[np.intp], worth: NDArray[np.float32], bits: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The best symbol of each class, (rows, 4, width), and what it costs with its error, (rows, 2, 2, width) bits.

    Of the four multiples around a value, each class has one. Of the even symbols, zero may cost less.
    """
    rows, width = magnitude.shape
    costs, symbols = np.empty((rows, 4, width), np.float32), np.empty((rows, 4, width), np.int32)
    flat, length = bits.reshape(-1), bits.shape[2]
    below, table = magnitude.astype(np.int32) - 1, bins * (2 * length)
    error_of_zero = np.where(magnitude <= MOST_LEFT / DELTA, worth * np.square(magnitude), _FAR)
    for number, leaves in enumerate(CLASSES):
        quantiser, parity = divmod(number, 2)
        multiple = below + ((leaves - below) & 3)
        symbol = (multiple + 1) >> 1  # -1, which is in no quantiser, becomes 0
        in_table = table + quantiser * length
        cost = worth * np.square(magnitude - np.maximum(multiple, 0))
        cost += flat.take(in_table + np.minimum(symbol, length - 1))
        if parity == 0:
            zero = error_of_zero + flat.take(in_table)
            symbol[zero < cost] = 0
            np.minimum(cost, zero, out=cost)
        costs[:, number], symbols[:, number] = cost, symbol
    return costs.reshape(rows, 2, 2, width), symbols
