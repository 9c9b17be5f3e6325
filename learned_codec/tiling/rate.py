"""Finds the quality step that meets a bpp or a PSNR.

`Curves` estimates bits and errors at any step from the latents, without coding. `Search` tries a step, shifts the
estimate by the error found there, and tries again. Two codings are nearly always enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.config import BLOCK

if TYPE_CHECKING:
    from learned_codec.models.model import Model

    from .store import Tile

DEAD_ZONE = 0.7
"""Latents of less than this many quantisation steps usually become zero."""

BITS, BITS_PER_OCTAVE = 4.2, 0.5
"""The bits of a latent beyond the dead zone, and the additional bits for each octave further out. Fitted to 28 images
of all kinds, with both models, at 13 steps each. Estimates are within 8 % of an image's bits, and their error changes
by 6 % from one trained level to the next."""

ERROR = 0.09
"""The squared error of such a latent, in quantisation steps."""

REFINED = 0.8
"""The share of the squared error that the refinement leaves (fitted to the same images; within 0.5 dB at most
steps)."""

OCTAVES, BINS_PER_OCTAVE = range(-16, 16), 4
"""The range and resolution of the histograms of magnitudes."""

SAMPLES = 2**19
"""How many latents are counted, about. In a larger image, every n-th position of each tile is counted."""

MOST_PSNR = 300.0
"""The PSNR where there is no error, in dB."""


def decibels(mean_squared_error: float) -> float:
    """The PSNR in dB of a mean squared error, relative to the squared peak value."""
    return MOST_PSNR if mean_squared_error == 0 else min(MOST_PSNR, -10 * math.log10(mean_squared_error))


class Curves:
    """Estimates the bits and the error of tiles by quality step, from histograms of each channel's magnitudes.

    Attributes:
        visible: how many pixels of the tiles are visible.
    """

    def __init__(self, model: Model, tiles: Sequence[Tile], positions: int) -> None:
        """`positions`: about how many latent positions the tiles have, all components counted."""
        self._model, channels = model, model.config.latents
        every = math.ceil(math.sqrt(max(1.0, positions * channels / SAMPLES)))
        bins = (OCTAVES.stop - OCTAVES.start) * BINS_PER_OCTAVE
        counts, energies = np.zeros(channels * bins), np.zeros(channels * bins)
        self.visible, total, sampled = 0, 0, 0
        for tile in tiles:
            for latents in tile.optimised or tile.latents:
                magnitudes = np.abs(latents[::every, ::every])
                place = _place(np.log2(np.maximum(magnitudes, np.float32(2.0**OCTAVES.start)))).astype(np.int32)
                place = (place.clip(max=bins - 1) + bins * np.arange(channels, dtype=np.int32)).ravel()
                counts += np.bincount(place, minlength=len(counts))
                energies += np.bincount(place, np.square(magnitudes).ravel(), len(energies))
                total += latents.shape[0] * latents.shape[1]
                sampled += magnitudes.shape[0] * magnitudes.shape[1]
            if tile.latents:
                size = tile.latents[0].shape[:2]
                self.visible += math.prod(size) * BLOCK**2 if tile.visible is None else int(tile.visible.sum())
        self._weight = total / max(1, sampled)
        # Each (channels, bins + 1), at the edges of bins: the number of larger latents, the sum of octaves by which
        # they are larger, and the energy of the smaller ones.
        self._larger = _from_above(counts.reshape(channels, bins))
        self._octaves = _from_above((self._larger[:, 1:] + self._larger[:, :-1]) / (2 * BINS_PER_OCTAVE))
        self._energy = np.pad(np.cumsum(energies.reshape(channels, bins), 1), ((0, 0), (1, 0)))

    def bits(self, step: int) -> float:
        """The bits of all payloads."""
        edge = _place(math.log2(DEAD_ZONE) - np.log2(self._model.scales(step)[0]))
        return self._weight * (BITS * _at(self._larger, edge) + BITS_PER_OCTAVE * _at(self._octaves, edge))

    def error(self, step: int) -> float:
        """The squared error of all pixels together, in the values that the model codes."""
        gain, size = self._model.scales(step)
        edge = _place(math.log2(DEAD_ZONE) - np.log2(gain))
        rounded = _at(self._larger * np.square(size, dtype=np.float64)[:, None], edge)
        return REFINED * self._weight * (_at(self._energy, edge) + ERROR * rounded)


def _place(log2: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The place of a magnitude in a histogram, in bins."""
    return (log2 - OCTAVES.start) * BINS_PER_OCTAVE


def _from_above(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(channels, bins) -> (channels, bins + 1): the sums of the bins above each edge."""
    return np.pad(np.cumsum(bins[:, ::-1], 1)[:, ::-1], ((0, 0), (0, 1)))


def _at(edges: NDArray[np.float64], place: NDArray[np.floating[Any]]) -> float:
    """The sum over channels of values at edges, interpolated at each channel's own place."""
    place = place.clip(0, edges.shape[1] - 1)
    lower = np.minimum(place.astype(np.intp), edges.shape[1] - 2)
    channels, part = np.arange(len(edges)), place - lower
    return float((edges[channels, lower] * (1 - part) + edges[channels, lower + 1] * part).sum())


@dataclass(frozen=True)
class Goal:
    """The bpp or PSNR to meet.

    It is compared with a value of each file: log2 of bpp, or PSNR. Both rise with the quality step.

    Attributes:
        asked: the bpp or the PSNR, as the user gave it.
        least, most: a file with a value between these meets the goal.
        aim: the value to try for.
        at_least: whether a value above `most` is better than one below `least`.
    """

    asked: float
    least: float
    most: float
    aim: float
    at_least: bool

    @classmethod
    def bpp(cls, asked: float) -> Goal:
        """A goal in bits/pixel, by its log2: up to 3 % less, never more."""
        return cls(asked, math.log2(0.97 * asked), math.log2(asked), math.log2(0.988 * asked), at_least=False)

    @classmethod
    def psnr(cls, asked: float) -> Goal:
        """A goal in dB: up to 0.1 dB more, never less."""
        return cls(asked, asked, asked + 0.1, asked + 0.045, at_least=True)

    def best(self, values: Iterable[float]) -> float | None:
        """The value nearest to the goal on its good side (`at_least` or at most); None if there is none."""
        if self.at_least:
            return min((value for value in values if value >= self.least), default=None)
        return max((value for value in values if value <= self.most), default=None)


@dataclass
class Search:
    """A search for the quality step that meets a goal.

        while (step := search.next()) is not None:
            search.note(step, …)

    `curve` estimates the value of a step's file. `start` is the first step to try, by default the one that the curve
    suggests.
    """

    goal: Goal
    curve: Callable[[int], float]
    steps: range
    start: int | None = None
    found: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._below, self._above = self.steps[0] - 1, self.steps[-1] + 1  # the goal lies between, as far as is known
        self._met = False

    @property
    def beyond(self) -> int | None:
        """The first or the last step, if the goal lies beyond it; else None."""
        if self._above == self.steps[0]:
            return self._above
        return self._below if self._below == self.steps[-1] else None

    def next(self) -> int | None:
        """The step to try now; None when the goal is met, or can't be met any better."""
        if self._met or self._above - self._below <= 1:
            return None
        if not self.found and self.start is not None:
            return self.start
        low, high = self._below, self._above
        if len(self.found) > 3 and len(self.found) % 2:  # the estimate is poor: halve the range
            return (low + high) // 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._estimate(middle) < self.goal.aim:
                low = middle
            else:
                high = middle
        return min(max(high, self._below + 1), self._above - 1)

    def note(self, step: int, value: float) -> None:
        """Note the value that the file of a step really has."""
        self.found[step] = value
        if value < self.goal.least:
            self._below = step
        elif value > self.goal.most:
            self._above = step
        else:
            self._met = True

    def _estimate(self, step: int) -> float:
        """The curve, corrected by its errors at two tried steps: those on both sides of the goal, or the nearest."""
        known = [s for s in (self._below, self._above) if s in self.found]
        if len(known) < 2:
            known = sorted(self.found, key=lambda s: abs(self.found[s] - self.goal.aim))[:2]
            if len(known) == 2 and abs(known[0] - known[1]) < 8:  # too close to extrapolate from: noise
                known.pop()
        if not known:
            return self.curve(step)
        off = [self.found[s] - self.curve(s) for s in known]
        slope = (off[1] - off[0]) / (known[1] - known[0]) if len(known) == 2 else 0.0
        return self.curve(step) + off[0] + slope * (step - known[0])
