"""Array values <-> the model's domain: (bands, H, W) float32, about [0, 1].

Now: uint8 with the model's own number of bands, and one uint8 band through a three-band model. 16-bit, signed and
floating-point values, SAR in dB and the spectral transform for many bands get their codes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError, UnsupportedVersionError

if TYPE_CHECKING:
    from torch import Tensor

PLAIN = 0
"""Each band divided by 255."""

GREY = 1
"""One band, divided by 255, repeated for each band of the model; decoded as their mean."""


def choose(image_bands: int, model_bands: int) -> int:
    """The transform code for an image of so many bands. Raises `InvalidInputError` where there is none."""
    if image_bands == model_bands:
        return PLAIN
    if image_bands == 1:
        return GREY
    raise InvalidInputError(f"images of 1 or {model_bands} bands can be encoded so far, not of {image_bands}")


def check(transform: int, image_bands: int, model_bands: int, dtype: str) -> None:
    """Raise `UnsupportedVersionError` unless this version can undo what a header declares."""
    if transform not in (PLAIN, GREY) or dtype != "uint8":
        raise UnsupportedVersionError(f"value transform {transform} of {dtype} needs a later version of this library")
    if image_bands != (model_bands if transform == PLAIN else 1):
        raise UnsupportedVersionError(f"{image_bands} bands under value transform {transform} need a later version")


def to_model(planes: NDArray[np.uint8], transform: int, model_bands: int) -> Tensor:
    """(bands, H, W) uint8 -> (model_bands, H, W) float32 in [0, 1]."""
    import torch

    unit = torch.from_numpy(np.ascontiguousarray(planes)).float() / 255
    return unit.expand(model_bands, -1, -1) if transform == GREY else unit


def from_model(pixels: Tensor, transform: int) -> NDArray[np.uint8]:
    """(model_bands, H, W) float32 -> (bands, H, W) uint8, rounded and clipped."""
    if transform == GREY:
        pixels = pixels.mean(0, keepdim=True)
    import torch

    # Rounded by the conversion, which cuts off what follows the point.
    levels = pixels.mul(255).add_(0.5).clamp_(0, 255.5).to("cpu", torch.uint8)
    result: NDArray[np.uint8] = levels.numpy()
    return result
