"""The linear part of the codec in numpy: a lapped, separable DCT of 16 x 16 blocks on axes of colour.

Each latent is one component of the DCT times a factor. Its twin to differentiate is `transforms.LappedTransform`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.dct import dct
from learned_codec.errors import WeightsError

from .config import BLOCK
from .engine import Array
from .lapping import HALF, PART, over_columns, over_rows
from .shape_adaptive import Shape
from .weights import Parameters, Weights

STRIP = 2
"""Rows of blocks that are transformed together: few enough for a processor's cache."""

_COLOUR_AXES = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])


def colour_axes(bands: int) -> NDArray[np.float64]:
    """(bands, bands) orthonormal rows.

    For three bands: grey, red against blue, and green against both. Else the identity.
    """
    if bands != 3:
        return np.eye(bands)
    axes: NDArray[np.float64] = _COLOUR_AXES / np.linalg.norm(_COLOUR_AXES, axis=1, keepdims=True)
    return axes


def separable_basis(bands: int) -> NDArray[np.float64]:
    """(bands * 256, bands, 16, 16): the DCT of a block along columns and rows, times axes of colour. Orthonormal.

    On photographs this is much better than a KLT of blocks with all bands. The KLT mixes components of similar
    variance, such as horizontal with vertical ones or colours with greys. Each component alone is sparse; their
    mixtures are not.
    """
    basis: NDArray[np.float64] = np.einsum("cb,ui,vj->cuvbij", colour_axes(bands), dct(BLOCK), dct(BLOCK))
    return basis.reshape(-1, bands, BLOCK, BLOCK)


@dataclass(frozen=True)
class BlockTransform:
    """Pixels to latents and back. Immutable; threads may share it.

    Attributes:
        bands: bands of the image.
        components: (latents,) which row of `separable_basis` each latent is; each row occurs once.
        forward: (latents,) what the analysis multiplies each component by.
        inverse: (latents,) what the synthesis multiplies each latent by.
        pre_filter: (16, 16) the lapped filter before the analysis.
        post_filter: (16, 16) the lapped filter after the synthesis.
    """

    bands: int
    components: NDArray[np.intp]
    forward: Array
    inverse: Array
    pre_filter: Array
    post_filter: Array

    @classmethod
    def of(cls, weights: Weights) -> BlockTransform:
        """The transform of a weights file. Raises `WeightsError` if a part is missing or a shape is wrong."""
        bands, latents = weights.config.bands, weights.config.latents
        parameters = Parameters(weights.tensors, "transforms")
        components = parameters.get("components", latents).astype(np.intp)
        if not np.array_equal(np.sort(components), np.arange(latents)):
            raise WeightsError("transforms.components do not have each component of the DCT once")
        factors = (parameters.get(name, latents) for name in ("forward", "inverse"))
        filters = (parameters.get(name, BLOCK, BLOCK) for name in ("pre_filter", "post_filter"))
        return cls(bands, components, *factors, *filters)

    @property
    def positions(self) -> NDArray[np.intp]:
        """(latents,) positions in a block: 16 * v + u for v half waves down a column and u half waves along a row."""
        return self.components % BLOCK**2

    def analyse(self, pixels: Array, shape: Shape | None = None) -> Array:
        """(bands, 16h, 16w) pixels in [0, 1] -> (h, w, latents). With `shape`, only the pixels in its support count."""
        _, height, width = pixels.shape
        latents = np.empty((height // BLOCK, width // BLOCK, len(self.components)), np.float32)
        for start, stop in _strips(height // BLOCK):
            # The boundaries above and below the strip are filtered with it.
            top, bottom = max(0, BLOCK * start - HALF), min(height, BLOCK * stop + HALF)
            planes = _mixed(pixels[:, top:bottom] - np.float32(0.5), colour_axes(self.bands))
            support = None if shape is None else shape.support[top:bottom]
            first = HALF if top == 0 else 0
            across = slice(first, first + (bottom - top - first) // BLOCK * BLOCK)
            over_rows(planes[:, across], self.pre_filter, None if support is None else support[across])
            own = slice(BLOCK * start - top, BLOCK * stop - top)
            planes, found = planes[:, own], latents[start:stop]
            over_columns(planes, self.pre_filter, None if support is None else support[own])
            strip = None if shape is None else shape.strip(start, stop)
            self._to_latents(planes if strip is None else strip.to_whole(planes), found)
            if strip is not None:
                found[...] = _with_unit_norm(found, self.forward, strip)
        return latents

    def synthesise(self, latents: Array, shape: Shape | None = None, scale: Array | None = None) -> Array:
        """(h, w, latents) -> (bands, 16h, 16w) pixels around zero. `scale` (latents,) multiplies the latents first."""
        height, width, _ = latents.shape
        planes = np.empty((self.bands, height * BLOCK, width * BLOCK), np.float32)
        for start, stop in _strips(height):
            here, found = latents[start:stop], planes[:, BLOCK * start : BLOCK * stop]
            strip = None if shape is None else shape.strip(start, stop)
            if strip is None:
                self._to_pixels(here, scale, found)
            else:
                scaled = here if scale is None else here * scale
                self._to_pixels(_with_unit_norm(scaled, self.inverse, strip), None, found)
                found[...] = strip.from_whole(found)
            over_columns(found, self.post_filter, None if strip is None else strip.support)
        for start, stop in _strips(height - 1):
            across = slice(BLOCK * start + HALF, BLOCK * stop + HALF)
            over_rows(planes[:, across], self.post_filter, None if shape is None else shape.support[across])
        return planes

    def _to_latents(self, planes: Array, latents: Array) -> None:
        """The DCT of blocks, into (h, w, latents)."""
        height, width, _ = latents.shape
        basis = dct(BLOCK).astype(np.float32)
        rows = _along_columns(basis, planes)
        blocks = np.matmul(rows.reshape(self.bands, height * BLOCK, width, BLOCK), basis.T)
        turned = blocks.reshape(self.bands, height, BLOCK, width, BLOCK).transpose(1, 3, 0, 2, 4)
        np.take(turned.reshape(height, width, -1), self.components, axis=2, out=latents, mode="clip")
        latents *= self.forward

    def _to_pixels(self, latents: Array, scale: Array | None, planes: Array) -> None:
        """The inverse of `_to_latents` with the axes of colour turned back, into planes."""
        height, width, _ = latents.shape
        blocks = latents.take(self._source, axis=2)
        blocks *= (self.inverse if scale is None else self.inverse * scale)[self._source]
        turned = blocks.reshape(height, width, self.bands, BLOCK, BLOCK).transpose(2, 0, 3, 1, 4)
        basis = dct(BLOCK).astype(np.float32)
        rows = np.matmul(turned.reshape(self.bands, height * BLOCK, width, BLOCK), basis)
        planes[...] = _mixed(_along_columns(basis.T, rows.reshape(planes.shape)), colour_axes(self.bands).T)

    @cached_property
    def _source(self) -> NDArray[np.intp]:
        """For each component its latent."""
        return np.argsort(self.components)


def _strips(height: int) -> Iterator[tuple[int, int]]:
    """The first row of blocks of each strip, and the one after its last."""
    for start in range(0, height, STRIP):
        yield start, min(start + STRIP, height)


def _along_columns(matrix: Array, planes: Array) -> Array:
    """Multiply each 16 rows of (bands, 16h, W) planes by a (16, 16) matrix."""
    bands, height, width = planes.shape
    strips = planes.reshape(bands, -1, BLOCK, width)
    result = np.empty_like(strips)
    for left in range(0, width, PART):
        part = ..., slice(left, left + PART)
        np.matmul(matrix, strips[part], out=result[part])
    return result.reshape(bands, height, width)


def _mixed(planes: Array, axes: NDArray[np.float64]) -> Array:
    """Planes turned to other axes of colour."""
    if len(axes) == 1:
        return planes
    mixed = np.empty_like(planes)
    for plane, weights in zip(mixed, axes.astype(np.float32), strict=True):
        np.multiply(planes[0], weights[0], out=plane)
        for other, weight in zip(planes[1:], weights[1:], strict=True):
            if weight:
                plane += other * weight
    return mixed


def _with_unit_norm(latents: Array, factors: Array, shape: Shape) -> Array:
    """Latents, in boundary blocks divided by the factors.

    The factors make up for the lapped filter's gain. Boundary blocks are not filtered, so there the factors must be 1,
    or an error in a latent would become a larger error in the pixels.
    """
    return np.where(shape.boundary[..., None], latents / factors, latents)
