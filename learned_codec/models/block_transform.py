"""The linear part of the codec in numpy: a lapped, separable DCT of 16 x 16 blocks on axes of colour.

Each latent is one component of the DCT times a factor. Its twin to differentiate is `transforms.LappedTransform`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.dct import dct
from learned_codec.errors import WeightsError
from learned_codec.forks import without_forks

from .config import BLOCK
from .engine import Array
from .lapping import HALF, PART, SUPPORT, has_powers, norms, over_columns, over_rows, weakened
from .shape_adaptive import Shape
from .weights import Parameters, Weights

STRIP, STRIP_BLOCKS = 2, 128
"""Rows of blocks that are transformed together: few enough for a processor's cache. More rows if that makes no more
blocks than the second: with fewer calls, small images take less time."""

_COLOUR_AXES = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])

_BASIS = dct(BLOCK).astype(np.float32)


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
        filters = {name: parameters.get(name, BLOCK, BLOCK) for name in ("pre_filter", "post_filter")}
        for name, matrix in filters.items():
            if not has_powers(matrix):
                raise WeightsError(f"transforms.{name} has an eigenvalue of 0 or less, so it can't be weakened")
        return cls(bands, components, *factors, *filters.values())

    @property
    def positions(self) -> NDArray[np.intp]:
        """(latents,) positions in a block: 16 * v + u for v half waves down a column and u half waves along a row."""
        return self.components % BLOCK**2

    def analyse(self, pixels: Array, shape: Shape | None = None) -> Array:
        """(bands, 16h, 16w) pixels in [0, 1] -> (h, w, latents). With `shape`, only the pixels in its support count."""
        _, height, width = pixels.shape
        latents = np.empty((height // BLOCK, width // BLOCK, len(self.components)), np.float32)
        for start, stop in _strips(height // BLOCK, width // BLOCK, shape):
            # The boundaries above and below the strip are filtered with it.
            top, bottom = max(0, BLOCK * start - HALF), min(height, BLOCK * stop + HALF)
            planes, found = _on_axes(pixels[:, top:bottom]), latents[start:stop]
            if shape is None or not shape.boundary[max(0, start - 1) : stop + 1].any():
                above, below = BLOCK * start - top, bottom - BLOCK * stop
                columns = _lapped_columns(self.pre_filter, planes, above, below)
                self._along_rows(_filtered(columns, self.pre_filter, np.empty_like(columns)), found)
                continue
            support = shape.support[top:bottom]
            first = HALF if top == 0 else 0
            across = slice(first, first + (bottom - top - first) // BLOCK * BLOCK)
            over_rows(planes[:, across], self.pre_filter, support[across])
            own = slice(BLOCK * start - top, BLOCK * stop - top)
            planes, strip = planes[:, own], shape.strip(start, stop)
            over_columns(planes, self.pre_filter, support[own])
            self._along_rows(_columns(_BASIS, planes if strip is None else strip.to_whole(planes)), found)
            if strip is not None:
                found[...] = _with_unit_norm(found, self.forward, strip)
        return latents

    def analyse_middle(self, pixels: Array) -> Array:
        """(…, bands, 48, 48) pixels -> (…, bands, 16, 16) components of the middle blocks, on the axes of colour.

        Those of the mean aren't around zero, as the latents of `analyse` are.
        """
        found: Array = self._middle @ (pixels @ np.ascontiguousarray(self._middle.T))
        if self.bands == 3:
            found = np.einsum("cb,...bij->...cij", colour_axes(3).astype(np.float32), found)
        return found

    def synthesise(self, latents: Array, shape: Shape | None = None, scale: Array | None = None) -> Array:
        """(h, w, latents) -> (bands, 16h, 16w) pixels around zero. `scale` (latents,) multiplies the latents first."""
        height, width, _ = latents.shape
        planes = np.empty((self.bands, height * BLOCK, width * BLOCK), np.float32)
        factors = self.inverse if scale is None else self.inverse * scale
        # Rows of pixels whose columns are still coefficients: those of the block row above a strip, then the strip's.
        strips = _strips(height, width, shape)
        waiting = np.empty((self.bands, (strips[0][1] + 1) * BLOCK, width * BLOCK), np.float32)
        above = False  # whether there are some above
        unfiltered: set[int] = set()  # rows of blocks whose upper boundary is yet to be filtered
        for start, stop in strips:
            here, found = latents[start:stop], planes[:, BLOCK * start : BLOCK * stop]
            strip = None if shape is None else shape.strip(start, stop)
            if strip is not None:  # here, the order of filters matters
                if above:
                    _to_pixels(_BASIS.T[HALF:], waiting[:, :BLOCK], planes[:, BLOCK * start - HALF : BLOCK * start])
                scaled = here if scale is None else here * scale
                rows = self._from_latents(_with_unit_norm(scaled, self.inverse, strip), self.inverse)
                _to_colours(_columns(_BASIS.T, rows), found)
                found[...] = strip.from_whole(found)
                over_columns(found, self.post_filter, strip.support)
                unfiltered.update(range(start, stop + 1))
                above = False
                continue
            rows = waiting[:, BLOCK : BLOCK + found.shape[1]]
            _filtered(self._from_latents(here, factors), self.post_filter, rows)
            if not above:
                _to_pixels(_BASIS.T[:HALF], rows[:, :BLOCK], found[:, :HALF])
            for row in range(start if above else start + 1, stop):
                top = BLOCK * (row - start)
                lapped = planes[:, BLOCK * row - HALF : BLOCK * row + HALF]
                _to_pixels(self._lapped, waiting[:, top : top + 2 * BLOCK], lapped)
            waiting[:, :BLOCK] = rows[:, -BLOCK:]
            above = True
        if above:
            _to_pixels(_BASIS.T[HALF:], waiting[:, :BLOCK], planes[:, -HALF:])
        for row in unfiltered - {0, height}:
            across = slice(BLOCK * row - HALF, BLOCK * row + HALF)
            over_rows(planes[:, across], self.post_filter, None if shape is None else shape.support[across])
        return planes

    @without_forks
    def lapped(self, lapping: int) -> BlockTransform:
        """This transform with weaker lapped filters: those of a header's `lapping`, 0 to 3."""
        if not lapping:
            return self
        filters = weakened(self.pre_filter, lapping), weakened(self.post_filter, lapping)
        along = norms(filters[1])
        factors = np.outer(along, along).reshape(-1)[self.positions]
        both = factors.astype(np.float32), (1 / factors).astype(np.float32)
        return BlockTransform(self.bands, self.components, *both, *filters)

    @cached_property
    def transposed(self) -> BlockTransform:
        """The transform whose analysis is the transposed synthesis: of slopes by pixels, it makes slopes by latents.

        The analysis subtracts 0.5 from pixels.
        """
        filters = (np.ascontiguousarray(matrix.T) for matrix in (self.post_filter, self.pre_filter))
        return BlockTransform(self.bands, self.components, self.inverse, self.forward, *filters)

    def _along_rows(self, columns: Array, latents: Array) -> None:
        """The DCT along rows of (bands, 16h, 16w) planes, whose columns are coefficients: into (h, w, latents)."""
        height, width, count = latents.shape
        blocks = np.empty((height, width, self.bands, BLOCK, BLOCK), np.float32)
        turned = columns.reshape(self.bands, height, BLOCK, width, BLOCK).transpose(1, 0, 2, 3, 4)
        np.matmul(turned, _BASIS.T, out=blocks.transpose(0, 2, 3, 1, 4))
        np.take(blocks.reshape(height, width, count), self.components, axis=2, out=latents, mode="clip")
        latents *= self._forward

    def _from_latents(self, latents: Array, factors: Array) -> Array:
        """(h, w, latents) times factors, with their DCT along rows undone: (bands, 16h, 16w)."""
        height, width, _ = latents.shape
        blocks = latents.take(self._source, axis=2)
        blocks *= factors[self._source] * np.repeat(_lengths(self.bands), BLOCK**2)
        turned = blocks.reshape(height, width, self.bands, BLOCK, BLOCK).transpose(0, 2, 3, 1, 4)
        rows = np.empty((self.bands, height, BLOCK, width, BLOCK), np.float32)
        np.matmul(turned, _BASIS, out=rows.transpose(1, 0, 2, 3, 4))
        return rows.reshape(self.bands, height * BLOCK, width * BLOCK)

    @cached_property
    def _middle(self) -> Array:
        """(16, 48): from pixels in a row to the middle block's coefficients, of synthesis functions with norm 1."""
        filtered = np.eye(SUPPORT, dtype=np.float32)
        over_rows(filtered[None, HALF:-HALF], self.pre_filter)
        scaled: Array = norms(self.post_filter)[:, None].astype(np.float32) * _BASIS
        return scaled @ filtered[BLOCK : 2 * BLOCK]

    @cached_property
    def _source(self) -> NDArray[np.intp]:
        """For each component its latent."""
        return np.argsort(self.components)

    @cached_property
    def _forward(self) -> Array:
        """(latents,) what the analysis multiplies the components along the axes of `_on_axes` by."""
        return self.forward * _lengths(self.bands)[self.components // BLOCK**2]

    @cached_property
    def _lapped(self) -> Array:
        """(16, 32): from the coefficients of two blocks to the filtered pixels across the boundary between them."""
        halves = np.zeros((BLOCK, 2 * BLOCK), np.float32)
        halves[:HALF, :BLOCK], halves[HALF:, BLOCK:] = _BASIS.T[HALF:], _BASIS.T[:HALF]
        return self.post_filter @ halves


def _strips(height: int, width: int, shape: Shape | None) -> list[tuple[int, int]]:
    """The first row of blocks of each strip, and the one after its last.

    Where a strip touches the border of a `shape`, all of it takes more steps, so there they are never higher.
    """
    step = STRIP if shape is not None else max(STRIP, STRIP_BLOCKS // width)
    return [(start, min(start + step, height)) for start in range(0, height, step)]


def _columns(matrix: Array, planes: Array) -> Array:
    """Multiply each 16 rows of (bands, 16h, W) planes by a (16, 16) matrix."""
    bands, height, width = planes.shape
    strips = planes.reshape(bands, -1, BLOCK, width)
    return _product(matrix, strips).reshape(bands, height, width)


def _lapped_columns(pre_filter: Array, planes: Array, above: int, below: int) -> Array:
    """The lapped transform along columns of planes.

    `above` and `below` are how many rows of other blocks there are: half a block each, or none at the image's border.
    """
    bands, height, width = planes.shape
    found = np.empty((bands, height - above - below, width), np.float32)
    for top in range(0, found.shape[1], BLOCK):
        first, last = max(0, above + top - HALF), min(height, above + top + BLOCK + HALF)
        filtered = np.zeros((BLOCK, last - first), np.float32)
        if above + top:
            filtered[:HALF, :BLOCK] = pre_filter[HALF:]
        else:
            filtered[:HALF, :HALF] = np.eye(HALF)
        if last > above + top + BLOCK:
            filtered[HALF:, -BLOCK:] = pre_filter[:HALF]
        else:
            filtered[HALF:, -HALF:] = np.eye(HALF)
        _product(_BASIS @ filtered, planes[:, first:last], found[:, top : top + BLOCK])
    return found


def _filtered(rows: Array, matrix: Array, found: Array) -> Array:
    """`over_columns` without a support, into another array, which is returned: numpy copies less."""
    bands, height, width = rows.shape
    for edge in (slice(0, HALF), slice(width - HALF, width)):
        found[..., edge] = rows[..., edge]
    blocks = bands, height, width // BLOCK - 1, BLOCK
    inner = ..., slice(HALF, width - HALF)
    np.matmul(rows[inner].reshape(blocks), matrix.T, out=found[inner].reshape(blocks))
    return found


def _to_pixels(matrix: Array, rows: Array, found: Array) -> None:
    """Multiply the columns of rows by a matrix, and turn the result to colours."""
    _to_colours(_product(matrix, rows), found)


def _product(matrix: Array, rows: Array, found: Array | None = None) -> Array:
    """The product with (…, n, W) rows. No product of a BLAS library has more than `PART` columns."""
    if found is None:
        found = np.empty((*rows.shape[:-2], len(matrix), rows.shape[-1]), np.float32)
    for left in range(0, rows.shape[-1], PART):
        part = ..., slice(left, left + PART)
        np.matmul(matrix, rows[part], out=found[part])
    return found


def _lengths(bands: int) -> Array:
    """(bands,) 1 / the lengths of the axes of `_on_axes` and `_to_colours`."""
    if bands != 3:
        return np.ones(bands, np.float32)
    lengths: Array = np.linalg.norm(_COLOUR_AXES, axis=1).astype(np.float32)
    return np.reciprocal(lengths)


def _on_axes(pixels: Array) -> Array:
    """Pixels in [0, 1] -> around zero; three bands along `_COLOUR_AXES`, which need few operations."""
    if len(pixels) != 3:
        return pixels - np.float32(0.5)
    planes = np.empty(pixels.shape, np.float32)  # each plane by itself, which `pixels` often are not
    red, green, blue = pixels
    grey, red_or_blue, greenness = planes
    np.add(red, blue, out=grey)
    np.multiply(grey, np.float32(-0.5), out=greenness)
    greenness += green
    np.subtract(red, blue, out=red_or_blue)
    grey += green
    grey -= np.float32(1.5)
    return planes


def _to_colours(values: Array, planes: Array) -> None:
    """The inverse of `_on_axes` but for the axes' lengths: values along `_COLOUR_AXES` into planes."""
    if len(values) != 3:
        planes[...] = values
        return
    grey, red_or_blue, greenness = values
    red, green, blue = planes
    np.add(grey, greenness, out=green)
    greenness *= np.float32(0.5)
    np.subtract(grey, greenness, out=red)
    np.subtract(red, red_or_blue, out=blue)
    red += red_or_blue


def _with_unit_norm(latents: Array, factors: Array, shape: Shape) -> Array:
    """Latents, in boundary blocks divided by the factors.

    The factors make up for the lapped filter's gain. Boundary blocks are not filtered, so there the factors must be 1,
    or an error in a latent would become a larger error in the pixels.
    """
    return np.where(shape.boundary[..., None], latents / factors, latents)
