"""Planes of pixels as the refinement takes them: patches of 4 x 4 pixels, one behind the other.

Four neighbouring pixels are moved at once, as one number: four floats as a complex one, which numpy copies fastest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import BLOCK, PATCH
from .engine import Array

PATCHES = (BLOCK // PATCH) ** 2
"""Patches of a block."""

_FOUR = {1: np.uint32, 4: np.complex128}
"""The type that holds four values of this many bytes."""


def to_patches(planes: Array) -> Array:
    """(bands, H, W), H and W multiples of 4 -> (H/4, W/4, bands * 16): each patch's pixels, band by band."""
    bands, height, width = planes.shape
    result = np.empty((height // PATCH, width // PATCH, bands * PATCH**2), np.float32)
    _in_fours(result, bands)[...] = _fours(planes if planes.strides[2] == 4 else planes.copy())
    return result


@lru_cache(maxsize=4)
def patch_numbers(height: int, width: int) -> Array:
    """(4 * height, 4 * width, PATCHES) for height x width blocks: 1 at each patch's number in its block, else 0.

    It is kept for the next call, so don't change it. (OpenVINO refuses arrays that can't be written.)
    """
    side = BLOCK // PATCH
    block = np.eye(PATCHES, dtype=np.float32).reshape(side, side, PATCHES)
    return np.tile(block, (height, width, 1))


def from_patches(patches: NDArray[Any], planes: NDArray[Any]) -> None:
    """Put (H/4, W/4, bands * 16) patches into (bands, H, W) planes, whose rows must be contiguous.

    Both are float32, or both bytes.
    """
    _fours(planes)[...] = _in_fours(patches, len(planes))


def _fours(planes: NDArray[Any]) -> NDArray[Any]:
    """(bands, H, W) with contiguous rows -> a view (bands, H/4, 4, W/4) of four pixels each."""
    bands, height, width = planes.shape
    return planes.view(_FOUR[planes.itemsize]).reshape(bands, height // PATCH, PATCH, width // PATCH)


def _in_fours(patches: NDArray[Any], bands: int) -> NDArray[Any]:
    """(H/4, W/4, bands * 16) -> a view (bands, H/4, 4, W/4) of four pixels each."""
    fours: NDArray[Any] = patches.view(_FOUR[patches.itemsize])
    return fours.reshape(*fours.shape[:2], bands, PATCH).transpose(2, 0, 3, 1)
