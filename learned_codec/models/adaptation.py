"""The refinement's adaptation to one image. The encoder fits it; it takes a few bytes in the file.

A weights file has some changes to the refinement's last layer (`RefinementProgram.adaptations`): those that help most
on training images. How much of each suits an image is a linear least-squares problem. (On adapting decoders to images
in general: van Rozendaal et al., "Overfitting for fun and profit", 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import without_forks

from .config import PATCH, QUALITY_STEPS
from .model import Model
from .shape_adaptive import Shape

MOST = 127
"""The largest amount: amounts are signed bytes."""

PART = 64
"""Patches in one matrix product. BLAS libraries split larger ones over threads of their own."""

Floats = NDArray[np.float32]


@dataclass
class Moments:
    """The sums over an image's patches that determine the best change to the last layer.

    With x the layer's input times the refinement's scale, and e what its output lacks: `features` (width, width) is the
    sum of x x^T, `errors` (outputs, width) that of e x^T, and `energy` that of |e|^2.
    """

    features: NDArray[np.float64]
    errors: NDArray[np.float64]
    energy: float = 0.0

    @classmethod
    def none(cls, model: Model) -> Moments:
        """The moments of no pixels."""
        outputs, width = model.refinement.leave[0].shape
        return cls(np.zeros((width, width)), np.zeros((outputs, width)))

    def add(
        self,
        model: Model,
        latents: NDArray[np.float32],
        decoded: NDArray[np.float32],
        step: int,
        shape: Shape | None = None,
    ) -> None:
        """Add the patches of a region: (h, w, latents) latents, and the same as decoded, in quantisation steps.

        The original pixels are computed from the latents, not taken from the image: so both have the same error at the
        region's borders, where the lapped filter lacks the neighbours.
        """
        original, planes = model.linear(latents, shape), model.linear(decoded * model.step_size(step), shape)
        features = model.features(planes, decoded, step)
        x = (features * np.exp2(model.at("refinement_scale", step))).reshape(len(features), -1)
        weight, bias = model.refinement.leave
        self._sum(x, _patches(original - planes), weight, bias[:, None] * np.exp2(model.at("refinement_scale", step)))

    @without_forks
    def _sum(self, x: Floats, wanted: Floats, weight: Floats, bias: Floats) -> None:
        for start in range(0, x.shape[1], PART):
            own = x[:, start : start + PART]
            y = wanted[:, start : start + PART] - (weight @ own + bias)
            self.features += own @ own.T
            self.errors += y @ own.T
            self.energy += float(np.square(y).sum())

    @without_forks
    def fit(self, model: Model, step: int) -> list[int]:
        """The amounts of the first adaptations: as many as reduce the Lagrangian, their bytes counted."""
        changes = model.refinement.adaptations.astype(np.float64)
        flat = changes.reshape(len(changes), -1)
        products = (changes @ self.features).reshape(flat.shape) @ flat.T
        gains = np.einsum("aij,ij->a", changes, self.errors)
        bits_per_error = model.config.bits_per_error(step / QUALITY_STEPS)
        best: list[int] = []
        most = 0.0
        for count in range(1, len(changes) + 1):  # they are sorted by their use
            matrix = products[:count, :count]
            damped = matrix + 1e-6 * np.trace(matrix) * np.eye(count)  # the matrix may be singular
            amounts = np.linalg.lstsq(damped, gains[:count], rcond=None)[0].round().clip(-MOST, MOST)
            less_error = 2 * gains[:count] @ amounts - amounts @ matrix @ amounts
            saved = bits_per_error * float(less_error) - 8 * count
            if amounts[-1] and saved > most:
                most, best = saved, [int(amount) for amount in amounts]
        return best


def _patches(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(bands, H, W) -> (bands * 16, H/4 * W/4): the pixels of each patch, in the order of the last layer's outputs."""
    bands, height, width = planes.shape
    patches = planes.reshape(bands, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.transpose(0, 2, 4, 1, 3).reshape(bands * PATCH**2, -1)
