"""Planes of pixels as the refinement takes them: patches of 4 x 4 pixels, one behind the other.

Four neighbouring pixels are moved at once: as one complex number of the same 16 bytes, which numpy copies fastest.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .config import BLOCK, PATCH
from .engine import Array

PATCHES = (BLOCK // PATCH) ** 2
"""Patches of a block."""


def to_patches(planes: Array) -> Array:
    """(bands, H, W), H and W multiples of 16 -> (H/4, W/4, bands * 16 + PATCHES): each patch's pixels, band by band.

    Behind these is 1 at the number of the patch in its block, and 0 at the others.
    """
    bands, height, width = planes.shape
    rows, columns, pixels = height // PATCH, width // PATCH, bands * PATCH**2
    result = np.empty((rows, columns, pixels + PATCHES), np.float32)
    _in_fours(result[..., :pixels], bands)[...] = _fours(planes if planes.strides[2] == 4 else planes.copy())
    side = BLOCK // PATCH
    result.reshape(height // BLOCK, side, width // BLOCK, side, -1)[..., pixels:] = _numbers()[:, None]
    return result


def from_patches(patches: Array, planes: Array) -> None:
    """Put (H/4, W/4, bands * 16) patches into (bands, H, W) planes, whose rows must be contiguous."""
    _fours(planes)[...] = _in_fours(patches, len(planes))


def _fours(planes: Array) -> NDArray[np.complex128]:
    """(bands, H, W) with contiguous rows -> a view (bands, H/4, 4, W/4) of four pixels each."""
    bands, height, width = planes.shape
    return planes.view(np.complex128).reshape(bands, height // PATCH, PATCH, width // PATCH)


def _in_fours(patches: Array, bands: int) -> NDArray[np.complex128]:
    """(H/4, W/4, bands * 16) -> a view (bands, H/4, 4, W/4) of four pixels each."""
    fours = patches.view(np.complex128)
    return fours.reshape(*fours.shape[:2], bands, PATCH).transpose(2, 0, 3, 1)


@cache
def _numbers() -> Array:
    """(4, 4, PATCHES): 1 at the number of each patch in a block."""
    return np.eye(PATCHES, dtype=np.float32).reshape(BLOCK // PATCH, BLOCK // PATCH, PATCHES)
