"""Latent optimisation, `effort` 1 to 3: latents are optimised for one image by gradients. Decoders stay the same.

RDOQ (`rdoq.py`) compares a symbol's own bits with its squared error in the linear part of the synthesis. It ignores the
effect of a decoded latent on the refinement's output. Here this is linearised. A pass codes the latents and
differentiates the ignored part by each decoded latent. Then it moves the latents to be rounded next, so that their
squared error has this slope as well. (Campos et al., "Content adaptive optimization for neural image compression",
2019, and Yang et al., "Improving inference for neural image compression", 2020, do gradient descent on a relaxation of
the rounding. Zeros, the most frequent symbols, have hardly any gradient there.)

RDOQ also ignores the bits of the latents that have a symbol in their context. Their slopes would save hardly anything:
all of these bits change at once, so what one latent would gain, others have often gained already.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .config import QUALITY_STEPS
from .model import Model
from .rdoq import OPTIMISED
from .shape_adaptive import Shape

Floats = NDArray[np.float32]

PASSES = (0, 2, 8, 24)
"""How many passes efforts 0, 1, 2 and 3 take."""

FIRST_MOVE, LEAST_MOVE = 0.4, 0.02
"""How far latents move in the first pass, and at least in any pass, relative to the linearisation's optimum. It is less
than 1 because all latents move at once and their effects add up."""

ONWARD, BACK = 1.2, 0.75
"""The factors by which a latent's rate changes from pass to pass: where its direction stays, and where it reverses (as
in Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", 1993)."""

LEAST_SHARE = 0.1
"""The least share of a pass in the mean of slopes, for dependent quantisers: there, a change of a symbol decides on all
that follow, so each pass has other errors of rounding."""

MAX_MOVE = 4.0
"""Quantisation steps that a latent may move: further away, the linearisation is no longer valid."""

DEAD_BITS = 3.0
"""For the first pass, latents aren't coded but guessed: a symbol other than zero is taken to cost this many bits."""


class Optimiser:
    """Optimises latents for a model."""

    def __init__(self, model: Model, passes: int) -> None:
        self.model, self.passes = model, passes

    def optimise(
        self,
        pixels: Floats,
        latents: Floats,
        step: int,
        visible: NDArray[np.bool_] | None,
        distortion_weight: float,
        shape: Shape | None,
    ) -> Floats:
        """The latents that `Model.code` is to round in place of `latents`, (h, w, latents).

        `pixels` (bands, 16h, 16w) are what `latents` (h, w, latents) were analysed from; `step` is the quality step.
        Only errors of `visible` pixels (h, w, 16, 16) count; None: all. `distortion_weight` and `shape` are those of
        `Model.code`.
        """
        model, dependent = self.model, self.model.dependent(step, optimised=True)
        gain, size = model.scales(step)
        scaled = latents * gain
        cost = np.float32(distortion_weight) * model.error_cost(step, OPTIMISED)
        # In radar, where errors count twice, moves of half the optimum save more.
        moves = _Moves(scaled, 2 * size * size, model.config.bits_per_error(step / QUALITY_STEPS) / (2 * cost))
        counting = None
        if visible is not None:
            within = visible.swapaxes(1, 2).reshape(pixels.shape[1:])
            counting = np.broadcast_to(within, pixels.shape).astype(np.float32)
        decoded, hyper = _guessed(scaled, cost), model.hyper_latents(latents, step)
        for turn in range(self.passes):
            if turn:
                target = moves.moved() / gain
                decoded = model.code(
                    latents, step, hyper=hyper, distortion_weight=distortion_weight, optimised=target, shape=shape
                ).decoded
            slope = model.error_slope(pixels, decoded, step, counting, shape)
            moves.follow(slope, decoded, max(LEAST_SHARE, 1 / turn) if dependent and turn else 1.0, first=turn == 0)
        return moves.moved() / gain


class _Moves:
    """How far latents are moved, from pass to pass. Arrays are (h, w, latents), in quantisation steps."""

    def __init__(self, scaled: Floats, own: Floats, worth: Floats) -> None:
        """`scaled` are the latents as analysed.

        RDOQ counts the slope of a latent's own squared error, `own` (latents,) times the error. The optimum of the
        linearisation is `worth` (latents,) times the rest of the slope away.
        """
        self._scaled, self._own, self._worth = scaled, own, worth.astype(np.float32)
        self._moves, self._mean, self._ahead = np.zeros((3, *scaled.shape), np.float32)
        self._rates = np.full(scaled.shape, FIRST_MOVE, np.float32)

    def moved(self) -> Floats:
        """The latents where they are now."""
        found: Floats = self._scaled + self._moves
        return found

    def follow(self, slope: Floats, decoded: Floats, share: float, *, first: bool) -> None:
        """Move on by a slope of squared errors at `decoded` latents, which counts with its share in a mean of all."""
        arrays = slope, decoded, self._scaled, self._mean, self._moves, self._rates, self._ahead
        for steep, found, scaled, mean, move, rate, before in zip(*arrays, strict=True):  # a row fits a cache
            other = (found - scaled) * -self._own
            other += steep
            other -= mean
            other *= np.float32(share)
            mean += other
            ahead = mean * -self._worth
            np.clip(ahead, -MAX_MOVE, MAX_MOVE, out=ahead)
            ahead -= move
            if not first:
                before *= ahead
                rate *= np.where(before > 0, np.float32(ONWARD), np.float32(BACK))
                np.clip(rate, LEAST_MOVE, 1, out=rate)
            before[...] = ahead
            ahead *= rate
            move += ahead


def _guessed(scaled: Floats, cost: Floats) -> Floats:
    """About what latents in quantisation steps are decoded as. `cost` is what a squared error costs in bits.

    A zero saves bits, and costs 2 |x| - 1 squared steps more than a one.
    """
    result, least = np.empty_like(scaled), np.minimum(0.5 + DEAD_BITS / (2 * cost), 1.5)
    for row, found in zip(scaled, result, strict=True):  # a row fits a cache
        magnitude = np.abs(row)
        symbols = np.rint(magnitude - np.float32(0.1))
        np.maximum(symbols, 1, out=symbols)
        symbols *= magnitude >= least
        np.copysign(symbols, row, out=found)
    return result
