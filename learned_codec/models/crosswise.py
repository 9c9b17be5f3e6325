"""Predicts latents of a component from those of earlier components at the same place.

The spectral transform is one for the whole image, but bands go together differently at an edge of water and at one of
a field. What components still have in common shows in their lower frequencies, which are decoded first. So before each
pass but the first, weights are fitted to all that is decoded of the lower layers, block by block, and the latents of
the pass are predicted with them. Nothing is sent: encoder and decoder fit the same weights.

For that, all must come out the same to the last bit on every machine. Sums are sums of integers, below 2^53. Only the
weights are real numbers, and each operation on them is one of IEEE 754 in float64, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import BLOCK, ModelConfig
from .engine import Array
from .integers import MEAN_BITS, MEAN_MAX

Place = tuple[slice, slice, slice]
"""Rows, columns and channels of latents: those at one of four positions, in one pass."""

MOST = 3
"""How many components predict the later ones: the first, which have the most energy. Four save 0.1 % more."""

FITTED = 2
"""Latents of so many layers tell the weights."""

FIT_BITS = 4
"""Fractional bits of decoded latents, in quantisation steps, where weights are fitted to them."""

FIT_MAX = 1 << 15
"""Latents are clipped to this magnitude there. The weighted products of a neighbourhood then sum up to less than
2^53."""

NEAR = 4
"""How many times a block counts compared with its neighbours on the left, right, above or below."""

RIDGE = float(256 << 2 * FIT_BITS)
"""What is added to each sum of squares, so that weights of what is hardly there are small."""

WEIGHT_BITS, WEIGHT_MAX = 12, 1 << 15
"""The fractional bits of weights, and their largest magnitude."""

SLACK = float(10 << 2 * FIT_BITS)
"""What is added to each sum of squares before it is asked what share of it is explained."""

DROPS = tuple(round(2.0**16 * 2 ** (-(2 * i - 1) / 6)) for i in range(1, 17))
"""The shares that are left unexplained, in 2^-16, at which scales fall by another bin, an eighth of an octave. The RMS
falls by three quarters more."""


class Crosswise:
    """The components of a tile that predict later ones. Not for several threads."""

    def __init__(self, config: ModelConfig, positions: NDArray[np.integer[Any]]) -> None:
        """`positions` (latents,): 16 * v + u of each latent of a component."""
        v, u = np.divmod(positions, BLOCK)
        # High frequencies have less energy, but tell more of the next layer. The mean of a block tells nothing.
        self._importance = (u**2 + v**2)[: config.layers[FITTED - 1].stop].astype(np.float64)
        self._first_layer = config.layers[0].stop
        self._earlier: list[Component] = []

    def begin(self, decoded: Array) -> Component:
        """Begin a component, whose (height, width, latents) latents will be in `decoded`."""
        self._last = Component(self._earlier, self._importance, decoded, self._first_layer)
        return self._last

    def keep(self) -> None:
        """The component that was begun last is coded: later ones may be predicted from it."""
        if len(self._earlier) < MOST:
            self._earlier.append(self._last)


class Component:
    """A component whose passes are being coded, and its prediction from earlier ones.

    Call `fit` before each pass, `predict` before the latents at one of its positions are coded, and `note` after that.
    """

    def __init__(
        self, earlier: Sequence[Component], importance: NDArray[np.float64], decoded: Array, first_layer: int
    ) -> None:
        height, width, _ = decoded.shape
        self._earlier, self._importance, self.decoded = tuple(earlier), importance, decoded
        # What is new of the first layer: its latents without the means that the entropy model knows by itself.
        self.news = np.zeros((height, width, first_layer), np.float32)
        self.fitted = np.zeros((height, width, len(importance)))
        # The sums of products with each earlier component, and of squares: so far, and smoothed before each pass.
        self._products = np.zeros((len(earlier) + 1, height, width))
        self.smoothed: list[NDArray[np.float64]] = []
        self._weights: list[NDArray[np.float64]] = []
        self._drop = np.zeros((height, width), np.uint8)

    def fit(self) -> None:
        """Before a pass: fit the weights to what is known."""
        number = len(self.smoothed)
        self.smoothed.append(_smooth(self._products))
        if number and self._earlier:
            products = [list(x.smoothed[number]) for x in self._earlier]
            *target, square = self.smoothed[number]
            weights = _solved(products, target)
            self._drop = _drop(weights, target, square)
            scaled = (np.floor(np.ldexp(w, WEIGHT_BITS) + 0.5) for w in weights)
            self._weights = [np.clip(w, -WEIGHT_MAX, WEIGHT_MAX)[..., None] for w in scaled]

    def predict(self, place: Place, means: Array, bins: NDArray[np.uint8]) -> None:
        """Add the prediction to the means at a place, and lower the bins there. Both are (rows, columns, channels)."""
        rows, columns, channels = place
        first = channels.stop <= self.news.shape[2]
        if first:
            np.negative(means, out=self.news[place])
        if not self._weights:
            return
        total = np.full(means.shape, 0.5)
        for weights, component in zip(self._weights, self._earlier, strict=True):
            known = component.news if first else component.decoded
            total += known[place] * (weights[rows, columns] * 2.0 ** (MEAN_BITS - WEIGHT_BITS))
        np.floor(total, out=total)
        total += means * 2.0**MEAN_BITS
        np.multiply(total.clip(-MEAN_MAX, MEAN_MAX), 2.0**-MEAN_BITS, out=means, casting="same_kind")
        bins -= np.minimum(bins, self._drop[rows, columns, None])

    def note(self, place: Place) -> None:
        """Note what was decoded at a place."""
        rows, columns, channels = place
        if channels.stop <= self.news.shape[2]:
            self.news[place] += self.decoded[place]
        if channels.stop <= len(self._importance):
            fine = np.floor(self.decoded[place] * np.float32(2**FIT_BITS) + np.float32(0.5))
            own = fine.clip(-FIT_MAX, FIT_MAX).astype(np.float64)
            self.fitted[place] = own
            weighted = own * self._importance[channels]
            for total, other in zip(self._products, (*self._earlier, self), strict=True):
                total[rows, columns] += np.einsum("hwc,hwc->hw", weighted, other.fitted[place])


def _smooth(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, height, width) sums of blocks -> those of the blocks around each."""
    for axis in (1, 2):
        around = sums * NEAR
        ahead, behind = (np.moveaxis(x, axis, 0) for x in (sums, around))
        behind[1:] += ahead[:-1]
        behind[:-1] += ahead[1:]
        sums = around
    return sums


def _solved(products: Sequence[Sequence[NDArray[np.float64]]], target: Sequence[NDArray[np.float64]]) -> list[Any]:
    """The weights that fit best: Gaussian elimination without pivots, which positive definite matrices don't need.

    `products`: in row i, the sums of products of component i with those before it, and of its squares.
    """
    count = len(target)
    matrix = [[products[max(i, j)][min(i, j)] for j in range(count)] for i in range(count)]
    right = list(target)
    for i in range(count):
        matrix[i][i] = matrix[i][i] + RIDGE
    for i in range(count):
        for j in range(i + 1, count):
            factor = matrix[j][i] / matrix[i][i]
            for k in range(i + 1, count):
                matrix[j][k] = matrix[j][k] - factor * matrix[i][k]
            right[j] = right[j] - factor * right[i]
    for i in reversed(range(count)):
        for j in range(i + 1, count):
            right[i] = right[i] - matrix[i][j] * right[j]
        right[i] = right[i] / matrix[i][i]
    return right


def _drop(
    weights: Sequence[NDArray[np.float64]], target: Sequence[NDArray[np.float64]], square: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """By how many bins scales fall, because weights explain a share of the squares."""
    whole = square + SLACK
    left = whole
    for weight, product in zip(weights, target, strict=True):
        left = left - weight * product
    left = np.ldexp(left, 16)
    found = np.zeros(square.shape, np.uint8)
    for share in DROPS:
        found += left <= whole * share
    return found
