"""The encoder's side of dependent quantisation: the symbols of a pass with the least bits and error.

Only encoders do it; decoders need not know. Down each column of `entropy/dependent.py`, the Viterbi algorithm finds the
best path through four states: which quantiser a row has, and which one the row after it has if the symbol is even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy.dependent import DELTA, columns
from learned_codec.entropy.tables import MAX_SYMBOL

STRIP = 512
"""Columns searched at once, so that their arrays fit a processor's cache."""

_CLASSES = np.array([0, 2, 3, 1], np.int32)
"""Which multiples of DELTA, modulo 4, each class of symbols has: class 2q + p are those of parity p in quantiser q."""

MOST_LEFT = 1.5
"""The largest error, in quantisation steps, of a latent that is coded."""

_BEFORE = np.array([2 * (bits >> place & 1) + (place >> 1) for bits in range(16) for place in range(4)])
"""The place in the row before, by the survivors' bits and this row's place: see `_best_paths`."""

_CHOSEN = np.array([place ^ (bits >> place & 1) for bits in range(16) for place in range(4)], np.int32)
"""The class of a row's symbol, by the same."""

_FAR = np.float32(1e30)


@dataclass(frozen=True, slots=True)
class ClassBits:
    """What the symbols of the four classes take.

    Attributes:
        near: (4, bins, wholes) by class, bin, and the whole part of a value in multiples of DELTA: the bits of the
            class's symbol near that value. Above the last whole part, as much as there.
        zero: (4, bins): the bits of zero in the class's quantiser.
    """

    near: NDArray[np.float32]
    zero: NDArray[np.float32]

    @classmethod
    def of(cls, bits: NDArray[np.float32]) -> ClassBits:
        """From (bins, 2, magnitudes) bits of a symbol in each quantiser; above the last magnitude, as much as there."""
        wholes = np.arange(2 * bits.shape[2])
        symbols = (_multiples(wholes, _CLASSES[:, None]) + 1) // 2
        near = [bits[:, number // 2, np.minimum(own, bits.shape[2] - 1)] for number, own in enumerate(symbols)]
        return cls(np.ascontiguousarray(near), np.ascontiguousarray(bits[:, [0, 0, 1, 1], 0].T))


def searched(
    residual: NDArray[np.float32], bins: NDArray[np.intp], cost: NDArray[np.float32], bits: ClassBits
) -> NDArray[np.int32]:
    """The dependent symbols for (n,) residuals in quantisation steps, whose (n,) bins are in ascending order.

    `cost` (n,) is what a squared error of one quantisation step is worth in bits.
    """
    count, width = len(residual), columns(len(residual))
    symbols = np.zeros((-(-count // width), width), np.int32)
    scaled, worth = np.zeros((2, *symbols.shape), np.float32)
    np.multiply(residual, np.float32(1 / DELTA), out=scaled.reshape(-1)[:count])
    np.multiply(cost, np.float32(DELTA**2), out=worth.reshape(-1)[:count])
    in_bins = np.zeros(symbols.shape, np.intp)
    in_bins.reshape(-1)[:count] = bins
    for start in range(0, width if count else 0, STRIP):
        strip = np.s_[:, start : start + STRIP]
        symbols[strip] = _best_paths(scaled[strip], in_bins[strip], worth[strip], bits)
    return symbols.reshape(-1)[:count]


def _best_paths(
    scaled: NDArray[np.float32], bins: NDArray[np.intp], worth: NDArray[np.float32], bits: ClassBits
) -> NDArray[np.int32]:
    """(rows, width) symbols for values in multiples of DELTA. There is at least one."""
    magnitude = np.minimum(np.abs(scaled), np.float32(2 * MAX_SYMBOL - 4))
    whole = magnitude.astype(np.int32)
    paths, zeros = _candidates(magnitude, whole, bins, worth, bits)
    rows, width = scaled.shape
    crosses = np.empty((rows, 2, 2, width), np.bool_)
    least = np.full((2, 2, width), _FAR)  # by the quantiser of the row before, and by this row's
    least[0, 0] = 0
    extended, both = least[:, :, None], np.empty((2, 2, 2, width), np.float32)
    straight, crossed = both
    for path, crosses_here in zip(paths, crosses, strict=True):
        np.add(extended, path, out=both)
        np.less(crossed, straight, out=crosses_here)
        np.minimum(straight, crossed, out=least)
    # A place is 2 * this row's quantiser + that of the row after. From each, a bit says which the row before had. These
    # are bits 2 to 5 of `survivors`: with a place in bits 0 and 1, they are an index of `_BEFORE`.
    bit = np.array([4, 8, 16, 32], np.uint8).reshape(2, 2, 1)
    survivors = (crosses.view(np.uint8) * bit).sum((1, 2), np.uint8).astype(np.intp)
    places = np.empty((rows, width), np.intp)
    places[-1] = least.reshape(4, width).argmin(0)
    for survivors_here, here, before in zip(survivors[:0:-1], places[:0:-1], places[-2::-1], strict=True):
        _BEFORE.take(survivors_here + here, out=before, mode="clip")
    survivors += places
    symbols: NDArray[np.int32] = _multiples(whole, _CLASSES[_CHOSEN].take(survivors))
    symbols += 1
    symbols >>= 1
    symbols *= (zeros & (1 << _CHOSEN).take(survivors)) == 0
    negative = scaled.view(np.int32) >> 31  # -1 or 0
    symbols ^= negative  # -x is ~x + 1; a choice between two arrays would take longer
    symbols -= negative
    return symbols


def _candidates(
    magnitude: NDArray[np.float32],
    whole: NDArray[np.int32],
    bins: NDArray[np.intp],
    worth: NDArray[np.float32],
    bits: ClassBits,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What the best symbols cost with their errors, in bits, and (rows, width) which of the four are zero, a bit each.

    The best symbol of a class is the class's multiple near the value. Of the even symbols, zero may cost less. Costs
    are (rows, 2, 2, 2, width), by the quantiser of the row before, this row's, and that of the row after.
    """
    rows, width = magnitude.shape
    costs, zeros = np.empty((rows, 2, 2, 2, width), np.float32), np.zeros((rows, width), np.uint8)
    wholes = bits.near.shape[2]
    place = bins * wholes + np.minimum(whole, wholes - 1)
    error_of_zero = np.square(magnitude)
    error_of_zero *= worth
    np.maximum(error_of_zero, (magnitude > MOST_LEFT / DELTA) * _FAR, out=error_of_zero)
    for number, (near, zero) in enumerate(zip(bits.near, bits.zero, strict=True)):
        cost = magnitude - _multiples(whole, _CLASSES[number]).astype(np.float32)
        np.square(cost, out=cost)
        cost *= worth
        cost += near.reshape(-1).take(place)
        quantiser, odd = divmod(number, 2)
        if not odd:
            of_zero = error_of_zero + zero.take(bins)
            zeros |= (of_zero < cost).view(np.uint8) << number
            np.minimum(cost, of_zero, out=cost)
        for before in (0, 1):
            costs[:, before, quantiser, odd ^ before] = cost
    return costs, zeros


def _multiples(whole: NDArray[np.int32], leaves: Any) -> Any:
    """The multiples that leave `leaves` modulo 4, among the four from `whole` - 1 on. Of each four, there is one."""
    return ((whole + (np.int32(2) - leaves)) & np.int32(-4)) + leaves
