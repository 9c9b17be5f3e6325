"""Fits the adaptations of the refinement: the principal components of the best changes to its last layer.

For each training image, the best change to the layer is a linear least-squares problem. The principal components of
these changes, measured by their mean effect on the error, become the weights file's `adaptations`. Encoders choose how
much of each to add.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from learned_codec.models.adaptation import Moments
from learned_codec.models.model import Model

DAMPING = 1.0
"""The damping of the least squares, relative to the error's energy: directions about which an image tells little stay
unchanged."""

AMOUNT = 0.01
"""An amount of 1 changes an image by this share of its error, in amplitude. Then amounts are mostly below 10, and
rounding them costs less than 0.001 dB."""


def principal(model: Model, images: Iterable[Tensor], seed: int = 0) -> Tensor | None:
    """(adaptations, outputs, width) float32, most useful first.

    `images` are (bands, H, W) in [0, 1], with sides that are multiples of 16.

    Each image is coded at one random quality step; `seed` fixes them. None if there are no images.
    """
    rng = np.random.default_rng(seed)
    found = []
    for image in tqdm(images, desc="adaptations", unit="image", leave=False):
        step = int(rng.integers(model.max_step + 1))
        latents = model.analyse(image.numpy())
        moments = Moments.none(model)
        moments.add(model, latents, model.code(latents, step).decoded, step)
        if moments.energy > 0:
            found.append(moments)
    return torch.from_numpy(_components(found, model.config.adaptations)).float() if found else None


def _components(found: list[Moments], count: int) -> NDArray[np.float64]:
    outputs, width = found[0].errors.shape
    mean = sum((m.features / m.energy for m in found), start=np.zeros((width, width))) / len(found)
    mean += 1e-6 * np.trace(mean) / width * np.eye(width)
    whitening = np.linalg.inv(np.linalg.cholesky(mean))
    changes = []
    for m in found:
        features = whitening @ m.features @ whitening.T + DAMPING * m.energy * np.eye(width)
        changes.append(np.linalg.solve(features, whitening @ m.errors.T).T.ravel())
    directions = np.linalg.svd(np.stack(changes), full_matrices=False)[2][:count]
    result = np.zeros((count, outputs, width))  # with fewer images than adaptations, the last ones are zero
    result[: len(directions)] = directions.reshape(-1, outputs, width) @ whitening * AMOUNT
    return result
