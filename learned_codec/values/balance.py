"""How much finer bands must be quantised, so that none has a much larger error than it would have alone.

Bands of similar ranges share a scale, and the spectral transform spreads the errors of each component over several
bands. So a band may have a larger error than alone, at the same quality. A trial tells: coefficients of each band, as
a model would quantise them, are quantised alone and together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import without_forks

from .axes import Spectrum

DEAD = 0.6
"""Coefficients below this many quantisation steps become 0. With it, the ratio of a band's error to that alone is
within 5 % of the true one in most bands of eleven training scenes, at qualities from 10 to 85."""

SAFE = 0.06
"""A band whose error is too large becomes finer by so many octaves more. In files, errors may be larger than in the
trial: of 200 made-up images, two had more than 1.122 times the error alone without that."""

FEW, MARGIN = 8192, 0.05
"""In images of fewer pixels than that, errors may be larger still, by chance. So those in the trial must be smaller, by
so many octaves each time that pixels halve. Without it, a hundredth of 800 bands of 700 to 900 pixels and a fortieth of
800 of 200 to 300 had more than 1.122 times the error alone."""

ROUNDS, ENOUGH = 12, 0.01
"""How often the factors are adjusted at most, each time by as many octaves as an error is too large; and how many are
good enough. Errors change at most as much as scales do, so nothing becomes finer than it must."""

PARTS = 16
"""Factors are rounded down to powers of the 16th root of 2. So the last digits of a processor's sums don't change
files."""


@dataclass(frozen=True)
class Balance:
    """What a trial tells.

    Attributes:
        level: what the quantisation steps of the whole image should be multiplied by, at most 1.
        factors: (bands,) what the scales should be multiplied by, besides; at most 1.
        busy: (bands,) how many of its coefficients aren't 0, as a share.
    """

    level: float
    factors: NDArray[np.float64]
    busy: NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """What is quantised in a trial.

    Attributes:
        coefficients: (bands, blocks, K) of each band, in its scale.
        sizes: (K,) or (bands, 1, K) quantisation steps.
        weights: (bands, blocks, K) how much the squared errors of a block's pixels count, from 0 to 1;
            (bands, blocks, 1) if all pixels of each block count alike.
        patterns: (K, K) what each coefficient is in the pixels of a block.
        pixels: (bands,) how many pixels are valid.
    """

    coefficients: NDArray[np.float32]
    sizes: NDArray[np.float32]
    weights: NDArray[np.float32]
    patterns: NDArray[np.float32]
    pixels: NDArray[np.float64]

    def rms(self, errors: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float64]:
        """(bands,) the errors of bands, from those of coefficients; `shares` as in `balanced`."""
        if self.weights.shape[2] == 1:  # as the patterns are orthonormal
            squares = np.einsum("bnk,bk->bn", np.square(errors), shares) * self.weights[..., 0]
        else:
            pixels = (errors * np.sqrt(shares)[:, None]) @ self.patterns
            squares = np.einsum("bnk,bnk->bn", np.square(pixels), self.weights)
        found: NDArray[np.float64] = np.sqrt(squares.sum(1).astype(np.float64) / np.maximum(self.pixels, 1))
        return found


@without_forks
def balanced(
    together: Trial,
    alone: Trial,
    shares: NDArray[np.float32],
    scales: NDArray[np.float64],
    groups: NDArray[np.intp],
    spectrum: Spectrum,
    least: NDArray[np.float64],
    area: int,
) -> Balance:
    """The balance of bands.

    Args:
        together: the bands as they are coded in one file.
        alone: the bands as each is coded in a file of its own.
        shares: (bands, K) how much of a squared error stays in a band, of which plateaus get their means.
        scales: (bands,) the scale that a band would have alone, in its scale.
        groups: (bands,) numbers of the groups of bands with similar ranges; -1 for constant bands.
        spectrum: what the bands have in common, in their scales.
        least: (bands,) errors below these, in the bands' scales, don't count.
        area: how many pixels the parts of the image have that are tried, holes too.
    """
    coefficients = together.coefficients
    counts = (together.pixels > 0) & (np.diagonal(spectrum.covariance) > 0) & (groups >= 0)
    # A band without values, or of one, may have any scale.
    scales = np.where(counts, scales, 1)
    own = (alone.coefficients / scales[:, None, None]).astype(np.float32)
    allowed = np.maximum(alone.rms(_errors(own, alone.sizes), shares) * scales, least)
    allowed /= max(1.0, FEW / area) ** MARGIN
    counts &= allowed > 0
    log2 = np.zeros(len(coefficients))
    for _ in range(ROUNDS):
        factors = np.exp2(log2)
        rows = spectrum.divided(factors).axes().astype(np.float32)
        components = np.tensordot(rows, (coefficients / factors[:, None, None]).astype(np.float32), 1)
        errors = together.rms(np.tensordot(rows.T, _errors(components, together.sizes), 1), shares) * factors
        over = np.log2(np.maximum(errors, allowed), where=counts, out=np.zeros(len(errors)))
        over -= np.log2(allowed, where=counts, out=np.zeros(len(errors)))
        if over.max() < ENOUGH:
            break
        over = np.where(over < ENOUGH, 0, over + SAFE)
        log2 -= np.maximum(over, _levels(over, np.where(counts, groups, -1)))
    log2 = np.floor(log2 * PARTS + PARTS * ENOUGH) / PARTS
    # What all bands need is left to the quality step.
    level = float(log2[counts].max(initial=-np.inf))
    level = level if np.isfinite(level) else 0.0
    busy = np.abs(coefficients) >= DEAD * together.sizes * np.exp2(log2)[:, None, None]
    return Balance(float(np.exp2(level)), np.exp2(np.minimum(log2 - level, 0)), busy.mean((1, 2)))


def _levels(over: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """(bands,) by how many octaves all bands of a group become finer, if their errors are so many octaves too large.

    With one scale for all of a group, the mean squared error of a scene is smallest for its bytes. But then one narrow
    band would make all others finer. With the root mean square, eleven training scenes have 1.2 % more bytes at
    the same mean squared error, and 2.2 % fewer at the same mean PSNR of bands by their own ranges.
    """
    found = np.zeros(len(over))
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        found[members] = np.sqrt(np.square(over[members]).mean())
    return found


def _errors(coefficients: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What quantisation adds to coefficients."""
    steps = coefficients / sizes
    found: NDArray[np.float32] = np.copysign(np.floor(np.abs(steps) + np.float32(1 - DEAD)), steps)
    found -= steps
    found *= sizes
    return found
