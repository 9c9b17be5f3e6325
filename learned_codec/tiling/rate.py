"""Which quality step meets a bpp or a PSNR: guessed from the latents, corrected by what coding really gave.

`Curves` estimates bits and errors at any step without coding anything. What a file of one step really has moves the
curve, and the next guess is nearly always met: so two codings do.
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
"""Quantisation steps below which a latent becomes zero, as a rule."""

BITS, BITS_PER_OCTAVE = 4.2, 0.5
"""What a latent beyond the dead zone takes, and for each octave that it is further out. Fitted to 28 images of all
kinds and both models at 13 steps each: an image's bits come out to within 8 %, and by how much they are off changes by
6 % from one trained level to the next."""

ERROR = 0.09
"""The squared error of such a latent, in quantisation steps."""

REFINED = 0.8
"""What the refinement leaves of the squared error, as a rule (the same images; within 0.5 dB at most steps)."""

OCTAVES, BINS_PER_OCTAVE = range(-16, 16), 4
"""Of histograms of magnitudes."""

SAMPLES = 2**19
"""About as many latents are looked at; of a larger image, every n-th position of each tile."""

MOST_PSNR = 300.0
"""The PSNR of what has no error."""


def decibels(mean_squared_error: float) -> float:
    """The PSNR of an error that is a share of the peak."""
    return MOST_PSNR if mean_squared_error == 0 else min(MOST_PSNR, -10 * math.log10(mean_squared_error))


class Curves:
    """Estimates of bits and errors of some tiles, by quality step: from histograms of each channel's magnitudes.

    Attributes:
        visible: how many pixels of the tiles are.
    """

    def __init__(self, model: Model, tiles: Sequence[Tile], positions: int) -> None:
        """`positions`: about how many positions the tiles' latents have, those of all components together."""
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
        # (channels, bins + 1), at the edges of bins: how many latents are larger, by how many octaves, and what energy
        # the others have.
        self._larger = _from_above(counts.reshape(channels, bins))
        self._octaves = _from_above((self._larger[:, 1:] + self._larger[:, :-1]) / (2 * BINS_PER_OCTAVE))
        self._energy = np.pad(np.cumsum(energies.reshape(channels, bins), 1), ((0, 0), (1, 0)))

    def bits(self, step: int) -> float:
        """Of all payloads."""
        edge = _place(math.log2(DEAD_ZONE) - np.log2(self._model.scales(step)[0]))
        return self._weight * (BITS * _at(self._larger, edge) + BITS_PER_OCTAVE * _at(self._octaves, edge))

    def error(self, step: int) -> float:
        """The squared error of all pixels, in the model's domain."""
        gain, size = self._model.scales(step)
        edge = _place(math.log2(DEAD_ZONE) - np.log2(gain))
        rounded = _at(self._larger * np.square(size, dtype=np.float64)[:, None], edge)
        return REFINED * self._weight * (_at(self._energy, edge) + ERROR * rounded)


def _place(log2: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Where in a histogram a magnitude lies, in bins."""
    return (log2 - OCTAVES.start) * BINS_PER_OCTAVE


def _from_above(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(channels, bins) -> (channels, bins + 1), the sums of what is above each edge."""
    return np.pad(np.cumsum(bins[:, ::-1], 1)[:, ::-1], ((0, 0), (0, 1)))


def _at(edges: NDArray[np.float64], place: NDArray[np.floating[Any]]) -> float:
    """The sum over channels of values at edges, each at its own place, linear between edges."""
    place = place.clip(0, edges.shape[1] - 1)
    lower = np.minimum(place.astype(np.intp), edges.shape[1] - 2)
    channels, part = np.arange(len(edges)), place - lower
    return float((edges[channels, lower] * (1 - part) + edges[channels, lower + 1] * part).sum())


@dataclass(frozen=True)
class Goal:
    """A rate to meet, and what of a file is compared with it, which rises with the quality step.

    Attributes:
        asked: the bpp or the PSNR.
        least, most: what meets it.
        aim: what to try for.
        at_least: whether a file is better above `most` than below `least`.
    """

    asked: float
    least: float
    most: float
    aim: float
    at_least: bool

    @classmethod
    def bpp(cls, asked: float) -> Goal:
        """By the log2 of bits/pixel: up to 3 % less, no more."""
        return cls(asked, math.log2(0.97 * asked), math.log2(asked), math.log2(0.988 * asked), at_least=False)

    @classmethod
    def psnr(cls, asked: float) -> Goal:
        """In dB: up to 0.1 more, no less."""
        return cls(asked, asked, asked + 0.1, asked + 0.045, at_least=True)

    def best(self, values: Iterable[float]) -> float | None:
        """That of some files that comes nearest on the side that counts; None if none is there."""
        if self.at_least:
            return min((value for value in values if value >= self.least), default=None)
        return max((value for value in values if value <= self.most), default=None)


@dataclass
class Search:
    """The steps to try until a goal is met.

        while (step := search.next()) is not None:
            search.note(step, …)

    `curve` estimates what a file of a step has; `start` is the first step to try, by default the curve's.
    """

    goal: Goal
    curve: Callable[[int], float]
    steps: range
    start: int | None = None
    found: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._below, self._above = self.steps[0] - 1, self.steps[-1] + 1  # as far as is known
        self._met = False

    @property
    def beyond(self) -> int | None:
        """The end of the steps beyond which the goal lies, if it does."""
        if self._above == self.steps[0]:
            return self._above
        return self._below if self._below == self.steps[-1] else None

    def next(self) -> int | None:
        """The step to try now; None where the goal is met, or can't be met any better."""
        if self._met or self._above - self._below <= 1:
            return None
        if not self.found and self.start is not None:
            return self.start
        low, high = self._below, self._above
        if len(self.found) > 3 and len(self.found) % 2:  # far from any estimate: halve what is left
            return (low + high) // 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._estimate(middle) < self.goal.aim:
                low = middle
            else:
                high = middle
        return min(max(high, self._below + 1), self._above - 1)

    def note(self, step: int, value: float) -> None:
        """What a file of a step really has."""
        self.found[step] = value
        if value < self.goal.least:
            self._below = step
        elif value > self.goal.most:
            self._above = step
        else:
            self._met = True

    def _estimate(self, step: int) -> float:
        """The curve, off by as much as at the steps tried: on both sides of the goal, else those nearest to it."""
        known = [s for s in (self._below, self._above) if s in self.found]
        if len(known) < 2:
            known = sorted(self.found, key=lambda s: abs(self.found[s] - self.goal.aim))[:2]
            if len(known) == 2 and abs(known[0] - known[1]) < 8:  # to go on from there, their difference is noise
                known.pop()
        if not known:
            return self.curve(step)
        off = [self.found[s] - self.curve(s) for s in known]
        slope = (off[1] - off[0]) / (known[1] - known[0]) if len(known) == 2 else 0.0
        return self.curve(step) + off[0] + slope * (step - known[0])
