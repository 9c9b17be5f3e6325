"""The refinement's adaptation to one image: fitted by the encoder, a few bytes in the file.

A weights file has a few changes to the last layer of the refinement (`Refinement.adaptations`), those that images want
most. How much of each an image wants is linear least squares: of its error, by what the changes would add.
(Adapting a decoder to an image in general: van Rozendaal et al., "Overfitting for fun and profit", 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import PATCH, QUALITY_STEPS
from .model import Model
from .shape_adaptive import Shape

MOST = 127
"""An amount is a signed byte."""


@dataclass
class Moments:
    """What the best change to the last layer depends on, summed over an image's patches.

    `features` (width, width) of what the layer sees, times the refinement's scale, with itself; `errors` (outputs,
    width) of what it should have added with it; `energy`, the squared error.
    """

    features: NDArray[np.float64]
    errors: NDArray[np.float64]
    energy: float = 0.0

    @classmethod
    def none(cls, model: Model) -> Moments:
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
        """An area's (h, w, latents) analysed latents, and as decoded (in quantisation steps), both of a `shape`.

        The pixels are those of the latents, not the image's own: so the area's borders are the same on both sides.
        Else they differ only by the components that are never coded.
        """
        original, planes = model.linear(latents, shape), model.linear(decoded * model.step_size(step), shape)
        features = model.refinement.features(planes, model.at("refinement_bias", step))
        x = (features * np.exp2(model.at("refinement_scale", step))).reshape(len(features), -1)
        weight, bias = model.refinement.leave
        y = _patches(original - planes) - (weight @ x + bias[:, None] * np.exp2(model.at("refinement_scale", step)))
        self.features += x @ x.T
        self.errors += y @ x.T
        self.energy += float(np.square(y).sum())

    def fit(self, model: Model, step: int) -> list[int]:
        """The amounts of the model's adaptations that pay for their bytes in the Lagrangian: none to all of them."""
        changes = model.refinement.adaptations.astype(np.float64)
        products = np.einsum("aij,jk,bik->ab", changes, self.features, changes)
        gains = np.einsum("aij,ij->a", changes, self.errors)
        bits_per_error = model.config.bits_per_error(step / QUALITY_STEPS)
        best: list[int] = []
        most = 0.0
        for count in range(1, len(changes) + 1):  # the first ones are the most useful
            matrix = products[:count, :count]
            damped = matrix + 1e-6 * np.trace(matrix) * np.eye(count)  # of a blank image, all is zero
            amounts = np.linalg.lstsq(damped, gains[:count], rcond=None)[0].round().clip(-MOST, MOST)
            less_error = 2 * gains[:count] @ amounts - amounts @ matrix @ amounts
            saved = bits_per_error * float(less_error) - 8 * count
            if amounts[-1] and saved > most:
                most, best = saved, [int(amount) for amount in amounts]
        return best


def _patches(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(bands, H, W) -> (bands * 16, H/4 * W/4): the pixels of each patch, as the refinement's last layer has them."""
    bands, height, width = planes.shape
    patches = planes.reshape(bands, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.transpose(0, 2, 4, 1, 3).reshape(bands * PATCH**2, -1)
