"""How much more finely images with scattered holes are quantised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.values.transform import ValueTransform

from .masking import MaskedSource
from .proof import finer_step, usual_error
from .sampling import Differences, scatters

if TYPE_CHECKING:
    from learned_codec.models.model import Model

SCATTER_MOST, SCATTER_HALF, SCATTER_LEAST = 0.71, 4.8, 1 / 600
"""How much more finely an image with scattered holes is quantised. The third number is the least error for which this
is done, as a share of the range. The error falls by a share of the octaves between the usual error and the least one:
half of the first number if holes halve the valid pixels as often as the second one, at most the first. All of the error
lies in the few valid pixels, so it would be up to twice that in an image without holes. With 0.62 and 4.0, which are a
little less fine for many holes, it was at most 1.43 times that in 59 cases of three training scenes. With a first
number a fifth smaller it was up to 1.5 times, and files were 4 % smaller; with one a fifth larger, up to 1.38 times,
and files were 4 % larger."""

SMOOTH_MOST, SMOOTH_HALF = 0.8, 1.7
"""Of smooth images, whose errors without holes are smaller, that is done even more: by a power of how rough they are.
It is half of the first number if holes halve the valid pixels as often as the second one, at most the first."""


class ScatteredHoles:
    """How far the holes of an image lie scattered, and how rough it is, measured once where that is asked for.

    Attributes:
        source: the image, with all masks but plateaus, which change neither.
        transform: one in whose `linear` values the image is coded; its scales may be others.
    """

    def __init__(self, source: MaskedSource, transform: ValueTransform) -> None:
        self.source, self.transform = source, transform

    @cached_property
    def scatters(self) -> NDArray[np.float64]:
        """(bands,) as `sampling.scatters` has them."""
        return scatters(self.source)

    @cached_property
    def _differences(self) -> Differences:
        return Differences.of(self.source, self.transform)

    def finer_step(self, model: Model, step: int, transform: ValueTransform, scatter: float | None = None) -> int:
        """The quality step at which pixels between holes have about the error of `step` without holes.

        `transform` has the scales in which errors count. `scatter` is how far holes lie scattered; by default, as in
        the band that misses most.
        """
        halvings = -math.log2(1 - (float(self.scatters.max()) if scatter is None else scatter))
        if halvings == 0:
            return step
        usual = usual_error(model, step)
        share = min(1.0, SCATTER_LEAST / usual) ** (SCATTER_MOST * halvings / (SCATTER_HALF + halvings))
        smooth = SMOOTH_MOST * halvings**2 / (SMOOTH_HALF**2 + halvings**2)
        return finer_step(model, step, share * self._differences.roughness(transform) ** smooth)
