"""The adaptations of the refinement to single images: what images want of its last layer, by principal components.

For every training image, the best change of the layer is linear least squares. Of these changes, measured by what they
do to the error on average, the principal components become the weights file's `adaptations`: encoders choose how much
of each.
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
"""Of the features' mean energy, relative to the error's: what an image hardly tells is no reason to change anything."""

AMOUNT = 0.01
"""An amount of 1 changes an image by this part of its error, in amplitude: amounts are mostly below 10, and their
rounding costs less than 0.001 dB."""


def principal(model: Model, images: Iterable[Tensor], seed: int = 0) -> Tensor | None:
    """(adaptations, outputs, width) float32, most useful first, for (bands, H, W) images in [0, 1], sides of 16n.

    Each image is coded at one quality step, drawn by `seed`. None without an image.
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
    result = np.zeros((count, outputs, width))  # fewer images than adaptations leave some empty
    result[: len(directions)] = directions.reshape(-1, outputs, width) @ whitening * AMOUNT
    return result
