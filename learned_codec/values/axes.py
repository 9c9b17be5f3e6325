"""The axes along which several bands are coded: those on which their details take the fewest bits.

On the principal axes of the pixels' values, components are uncorrelated over the whole image. That is mostly a matter
of what changes slowly, as from fields to water. But most bits are spent on details, which have other things in common.
So the covariances of details are measured, and the axes are turned about each other until an ideal code takes the
fewest bits for all of them, at the error of the quality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import without_forks

from .rings import COUNTS, coefficients, covariances, ideal_bits
from .spectral import ordered, spectral_klt

MOST_BANDS = 32
"""More bands are coded on their principal axes: turning them about each other takes time, in proportion to the third
power."""

CLASSES, LEAST_BLOCKS = 4, 8
"""Blocks of much and of little detail, in so many classes, differ in what their bands have in common. With fewer blocks
than the second number, it isn't known."""

SPENT = 3**0.5
"""What multiplies the error in the ideal bits, as for the colours of pictures."""

LEAST_SAVED = 0.005
"""The share of the ideal bits that other axes must save, compared with the principal ones."""

LEAST_TURN = 2.0
"""How many bits of all that are measured each turn must save: fewer are saved by chance."""

ROUNDS, ANGLES, SMALLER = 3, 9, 0.25
"""So many times, all pairs of axes are turned by the best of so many angles, from -45 to 45 degrees at first, and each
time within a smaller range."""


@dataclass(frozen=True)
class Spectrum:
    """What the bands of an image have in common.

    Attributes:
        covariance: (bands, bands) of their values, in the model's domain.
        details: what they have in common in details; None if that isn't known.
    """

    covariance: NDArray[np.float64]
    details: Details | None = None

    def divided(self, factors: NDArray[np.float64]) -> Spectrum:
        """That of bands whose values are divided by (bands,) factors."""
        details = None if self.details is None else self.details.divided(factors)
        return Spectrum(self.covariance / np.outer(factors, factors), details)

    @without_forks
    def axes(self) -> NDArray[np.float64]:
        """(bands, bands) orthonormal rows, one for each component, in order of falling variance."""
        usual, details = spectral_klt(self.covariance), self.details
        if details is None:
            return usual
        found = details.turned(min(usual, details.principal(), key=details.bits))
        if details.bits(found) >= (1 - LEAST_SAVED) * details.bits(usual):
            return usual
        return ordered(found, self.covariance)


@dataclass(frozen=True)
class Details:
    """What bands have in common in details, of each ring of frequencies and each class of blocks.

    Attributes:
        covariances: (n, bands, bands) of coefficients.
        counts: (n,) how many coefficients each comes from.
        error: with which the ideal bits are counted.
    """

    covariances: NDArray[np.float64]
    counts: NDArray[np.int_]
    error: float

    @classmethod
    @without_forks
    def of(cls, blocks: NDArray[np.float32], error: float) -> Details | None:
        """Those of (blocks, bands, 16, 16), which will have this RMSE; None if they aren't enough."""
        if len(blocks) < LEAST_BLOCKS or not error:
            return None
        found = coefficients(blocks)
        much = np.log(np.square(found).sum(1) + np.float32(error**2)).sum(1)
        classes = np.array_split(found[np.argsort(much, kind="stable")], CLASSES)
        counts = np.concatenate([COUNTS * len(some) for some in classes])
        return cls(np.concatenate([covariances(some) for some in classes]), counts, SPENT * error)

    def divided(self, factors: NDArray[np.float64]) -> Details:
        """Those of bands whose values are divided by (bands,) factors."""
        return replace(self, covariances=self.covariances / np.outer(factors, factors))

    def bits(self, rows: NDArray[np.float64]) -> float:
        """The ideal bits of all that was measured, on these axes."""
        variances = ((rows @ self.covariances) * rows).sum(2)
        return float(self.counts @ ideal_bits(variances, self.error).sum(1))

    def principal(self) -> NDArray[np.float64]:
        """(bands, bands) the principal axes, where covariances count by their bits rather than by their energy."""
        usual = np.trace(self.covariances, axis1=1, axis2=2) / self.covariances.shape[1] + self.error**2
        return spectral_klt(np.tensordot(self.counts / usual, self.covariances, 1))

    def turned(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rows, turned about each other until the ideal bits are fewest."""
        own, most = rows @ self.covariances @ rows.T, math.pi / 4
        for _ in range(ROUNDS):
            angles = np.linspace(-most, most, ANGLES)
            for i, j in _pairs(len(rows)):
                best = angles[self._best(own[:, i, i], own[:, j, j], own[:, i, j], angles)]
                turn = np.eye(len(rows))
                turn[i, i] = turn[j, j] = np.cos(best)
                turn[i, j], turn[j, i] = np.sin(best), -np.sin(best)
                rows, own = turn @ rows, turn @ own @ turn.T
            most *= SMALLER
        return rows

    def _best(
        self,
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        both: NDArray[np.float64],
        angles: NDArray[np.float64],
    ) -> NDArray[np.intp]:
        """(pairs,) by which of the angles the first axis of each should be turned to the second.

        The other arguments are (n, pairs): variances on either axis, and their covariance. The angle in the middle, 0,
        stays if no other saves `LEAST_TURN` bits.
        """
        mean, half = (first + second) / 2, (first - second) / 2
        moved = half[..., None] * np.cos(2 * angles) + both[..., None] * np.sin(2 * angles)
        each = ideal_bits(np.stack([mean[..., None] + moved, mean[..., None] - moved]), self.error).sum(0)
        bits, middle = np.tensordot(self.counts, each, 1), len(angles) // 2
        pays = bits.min(1) < bits[:, middle] - LEAST_TURN
        return np.where(pays, bits.argmin(1), middle)


def _pairs(count: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """All pairs of so many axes, as in a tournament: those of each round have no axis in common."""
    places = np.arange(count + count % 2)
    for _ in range(len(places) - 1):
        one, other = places[: len(places) // 2], places[::-1][: len(places) // 2]
        real = (one < count) & (other < count)
        yield one[real], other[real]
        places = np.concatenate([places[:1], places[-1:], places[1:-1]])
