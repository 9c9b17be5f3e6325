"""The linear part of the codec: a lapped, separable DCT of 16 x 16 blocks on axes of colour, in numpy.

Its weights are those of `transforms.Analysis` and `transforms.Synthesis`: for each latent the component of the DCT that
it is, and a factor there and back. As two products of 16 x 16 matrices, along columns and rows, it takes a twentieth of
the arithmetic of the skeleton's dense one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import WeightsError

from .config import BLOCK
from .lapping import HALF, PART, dct, filter_boundaries, over_columns, over_rows
from .shape_adaptive import Shape

Array = NDArray[np.float32]

TOLERANCE = 0.01
"""How far, relative to its norm, a latent's weights may be from a component of the DCT; float16 takes 0.0005."""

STRIP = 2 * BLOCK
"""Rows that are transformed together."""

_COLOUR_AXES = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])


def colour_axes(bands: int) -> NDArray[np.float64]:
    """(bands, bands) orthonormal rows: of three, grey, red against blue, and green against both; else each band."""
    if bands != 3:
        return np.eye(bands)
    axes: NDArray[np.float64] = _COLOUR_AXES / np.linalg.norm(_COLOUR_AXES, axis=1, keepdims=True)
    return axes


def separable_basis(bands: int) -> NDArray[np.float64]:
    """(bands * 256, bands, 16, 16): the DCT of a block along columns and rows, times axes of colour. Orthonormal.

    On photographs these axes of colour beat the KLT of blocks of all bands by far: the KLT mixes components of like
    variance, horizontal with vertical ones and colours with greys, and what is sparse in each of them is so no longer
    in their mixtures.
    """
    basis: NDArray[np.float64] = np.einsum("cb,ui,vj->cuvbij", colour_axes(bands), dct(), dct())
    return basis.reshape(-1, bands, BLOCK, BLOCK)


@dataclass(frozen=True)
class BlockTransform:
    """Pixels to latents and back.

    `components` (latents,): which one of the `separable_basis` each latent is, and so its position in a block;
    `forward` and `inverse` (latents,): the factors. `pre_filter` and `post_filter` (16, 16) go over block boundaries.
    """

    bands: int
    components: NDArray[np.intp]
    forward: Array
    inverse: Array
    pre_filter: Array
    post_filter: Array

    @classmethod
    def of(
        cls,
        analysis: NDArray[np.floating],
        synthesis: NDArray[np.floating],
        pre_filter: NDArray[np.floating],
        post_filter: NDArray[np.floating],
    ) -> BlockTransform:
        """From the (latents, bands, 16, 16) skeletons. Raises `WeightsError` where these are no DCT."""
        bands = analysis.shape[1]
        components = np.abs(_in_basis(synthesis)).argmax(1)
        forward, inverse = (_factors(_in_basis(skeleton), components) for skeleton in (analysis, synthesis))
        return cls(bands, components, forward, inverse, pre_filter.astype(np.float32), post_filter.astype(np.float32))

    @property
    def positions(self) -> NDArray[np.intp]:
        """(latents,) positions in a block: 16 * v + u for v and u half waves along columns and rows."""
        return self.components % BLOCK**2

    def analyse(self, pixels: Array, shape: Shape | None = None) -> Array:
        """(bands, 16h, 16w) pixels in [0, 1] -> (h, w, latents); with `shape`, of the pixels in its support alone."""
        _, height, width = pixels.shape
        latents = np.empty((height // BLOCK, width // BLOCK, len(self.components)), np.float32)
        if shape is not None:
            planes = _mixed(pixels - np.float32(0.5), colour_axes(self.bands))
            filter_boundaries(planes, self.pre_filter, shape.support)
            self._to_latents(shape.to_whole(planes), latents)
            return _with_unit_norm(latents, self.forward, shape)
        for rows in _strips(height):
            # The boundaries above and below the strip are filtered with it.
            outer = slice(max(0, rows.start - HALF), min(height, rows.stop + HALF))
            planes = _mixed(pixels[:, outer] - np.float32(0.5), colour_axes(self.bands))
            first = HALF if outer.start == 0 else 0
            over_rows(planes[:, first : first + (outer.stop - outer.start - first) // BLOCK * BLOCK], self.pre_filter)
            planes = planes[:, rows.start - outer.start : rows.stop - outer.start]
            over_columns(planes, self.pre_filter)
            self._to_latents(planes, latents[rows.start // BLOCK : rows.stop // BLOCK])
        return latents

    def synthesise(self, latents: Array, shape: Shape | None = None) -> Array:
        """(h, w, latents) -> (bands, 16h, 16w) pixels around zero."""
        height, width, _ = latents.shape
        planes = np.empty((self.bands, height * BLOCK, width * BLOCK), np.float32)
        if shape is not None:
            self._to_pixels(_with_unit_norm(latents, self.inverse, shape), planes)
            planes = shape.from_whole(planes)
            filter_boundaries(planes, self.post_filter, shape.support, columns_first=True)
            return _mixed(planes, colour_axes(self.bands).T)
        for rows in _strips(height * BLOCK):
            part = planes[:, rows]
            self._to_pixels(latents[rows.start // BLOCK : rows.stop // BLOCK], part)
            over_columns(part, self.post_filter)
        for rows in _strips(height * BLOCK - BLOCK):
            over_rows(planes[:, rows.start + HALF : rows.stop + HALF], self.post_filter)
        return _mixed(planes, colour_axes(self.bands).T)

    def _to_latents(self, planes: Array, latents: Array) -> None:
        """The DCT of blocks, into (h, w, latents)."""
        height, width, _ = latents.shape
        basis = dct().astype(np.float32)
        rows = _along_columns(basis, planes)
        blocks = np.matmul(rows.reshape(self.bands, height * BLOCK, width, BLOCK), basis.T)
        turned = blocks.reshape(self.bands, height, BLOCK, width, BLOCK).transpose(1, 3, 0, 2, 4)
        np.take(turned.reshape(height, width, -1), self.components, axis=2, out=latents, mode="clip")
        latents *= self.forward

    def _to_pixels(self, latents: Array, planes: Array) -> None:
        """The inverse of `_to_latents`, into planes."""
        height, width, _ = latents.shape
        # Components that no latent is get one's value times zero.
        source, factor = self._sources
        blocks = latents.take(source, axis=2)
        blocks *= factor
        turned = blocks.reshape(height, width, self.bands, BLOCK, BLOCK).transpose(2, 0, 3, 1, 4)
        basis = dct().astype(np.float32)
        rows = np.matmul(turned.reshape(self.bands, height * BLOCK, width, BLOCK), basis)
        planes[...] = _along_columns(basis.T, rows.reshape(planes.shape))

    @cached_property
    def _sources(self) -> tuple[NDArray[np.intp], Array]:
        """For each component the latent that it is and the latent's factor; 0 for those that none is."""
        source = np.zeros(self.bands * BLOCK**2, np.intp)
        factor = np.zeros(len(source), np.float32)
        source[self.components] = np.arange(len(self.components))
        factor[self.components] = self.inverse
        return source, factor


def _in_basis(skeleton: NDArray[np.floating]) -> NDArray[np.float64]:
    """(latents, bands, 16, 16) -> (latents, components) how much of each component a latent's weights have."""
    blocks = dct() @ skeleton.astype(np.float64) @ dct().T
    mixed: NDArray[np.float64] = np.tensordot(blocks, colour_axes(skeleton.shape[1]), (1, 1))
    return np.moveaxis(mixed, 3, 1).reshape(len(skeleton), -1)


def _factors(found: NDArray[np.float64], components: NDArray[np.intp]) -> Array:
    """(latents,) what latents are times their components. Raises `WeightsError` if they are anything else."""
    factors = np.take_along_axis(found, components[:, None], 1)[:, 0]
    off = np.square(found).sum(1) - np.square(factors)
    if (off > np.square(TOLERANCE * factors)).any():
        raise WeightsError("the weights' block transform is not a separable DCT")
    result: Array = factors.astype(np.float32)
    return result


def _strips(height: int) -> Iterator[slice]:
    """Rows by whole blocks, so few that a processor's cache holds them."""
    for top in range(0, height, STRIP):
        yield slice(top, min(top + STRIP, height))


def _along_columns(matrix: Array, planes: Array) -> Array:
    """(bands, 16h, W) planes, each 16 rows times a (16, 16) matrix."""
    bands, height, width = planes.shape
    strips = planes.reshape(bands, -1, BLOCK, width)
    result = np.empty_like(strips)
    for left in range(0, width, PART):
        part = ..., slice(left, left + PART)
        np.matmul(matrix, strips[part], out=result[part])
    return result.reshape(bands, height, width)


def _mixed(planes: Array, axes: NDArray[np.float64]) -> Array:
    """Planes on other axes of colour."""
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
    """The latents of blocks that are cut as if the functions with these factors had unit norm.

    They have other norms to make up for those of the filters, which are not applied there: the same error in a latent
    would be a larger one in the pixels.
    """
    return np.where(shape.cut[..., None], latents / factors, latents)
