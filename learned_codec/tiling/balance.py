"""Tries on parts of an image how much finer its bands should be quantised."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import gate
from learned_codec.models.config import BLOCK
from learned_codec.values.balance import Balance, balanced
from learned_codec.values.choose import ROUNDING, alone_scales
from learned_codec.values.inpaint import fill_bands
from learned_codec.values.plateaus import Plateaus
from learned_codec.values.transform import ValueTransform, to_units

from .grid import Window
from .masking import MaskedSource
from .sampling import scatter

if TYPE_CHECKING:
    from learned_codec.models.model import Model

SIDE, EVERY, MOST_PARTS = 128, 512, 4
"""Pixels per side of the parts; along each axis, there is one for so many pixels, and at most so many."""

MOST_VALUES = 2**21
"""The most values that are tried. If there are more, every n-th block is taken."""

LIKE_MOST = 64
"""Beside scattered holes, so many made-up blocks are tried."""


def balance(
    source: MaskedSource, transform: ValueTransform, model: Model, step: int, cut: NDArray[np.float64] | None
) -> Balance:
    """How much finer the bands of a transform should be quantised than usual at a quality step."""
    scales, offsets = (np.array(values, np.float32)[:, None, None] for values in (transform.scales, transform.offsets))
    coefficients, weights = [], []
    sides = np.ones(source.bands)
    for rows, columns in _windows(source.height, source.width):
        read = source.read(rows, columns)
        smooth = read.values if source.mask_spec is None else source.mask_spec.smoothed(read.values, read.side)
        linear = transform.linear(smooth)
        valid = np.ones(linear.shape, bool) if read.valid is None else read.valid
        units = to_units(np.where(valid, linear, offsets), offsets, scales)
        padding = (0, 0), (0, -units.shape[1] % BLOCK), (0, -units.shape[2] % BLOCK)
        whole = np.pad(fill_bands(units, valid, transform.covariance), padding, mode="edge")
        found = np.stack([model.analyse(plane[None]) for plane in whole])
        if source.mask_spec is not None and read.side.joins is not None:
            for members, joins in zip(source.mask_spec.grids, read.side.joins, strict=True):
                sides[list(members)] = np.sqrt(Plateaus(joins).size)
        coefficients.append(found.reshape(source.bands, -1, found.shape[3]))
        seen = np.pad(valid.astype(np.float32), padding)
        blocks = seen.reshape(source.bands, found.shape[1], BLOCK, found.shape[2], BLOCK)
        weights.append(blocks.mean((2, 4)).reshape(source.bands, -1))
    covariance = np.zeros((source.bands, source.bands)) if transform.covariance is None else transform.covariance
    every, counted = np.concatenate(coefficients, 1), np.concatenate(weights, 1)
    if scatter(source):
        every, counted = _like_most(covariance, model.positions), np.ones((source.bands, LIKE_MOST), np.float32)
    nth = -(-every.size // MOST_VALUES)
    own = np.array(transform.scales)
    return balanced(
        every[:, ::nth],
        counted[:, ::nth],
        _shares(sides, model.positions),
        model.step_size(step),
        alone_scales(transform.widths, cut) / own,
        np.array(transform.groups),
        covariance,
        ROUNDING / own if transform.dtype.kind != "f" else np.zeros(source.bands),
    )


def _like_most(covariance: NDArray[np.float64], positions: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """(bands, blocks, latents) of bands of a covariance, with the frequencies that most images have.

    What fills scattered holes is smoother than the image, so it doesn't tell.
    """
    variances = 1 / (0.5 + np.hypot(*np.divmod(positions, BLOCK))) ** 2
    variances *= len(variances) / variances.sum()
    noise = np.random.default_rng(0).normal(size=(len(covariance), LIKE_MOST, len(variances))) * np.sqrt(variances)
    with gate().working():
        values, vectors = np.linalg.eigh(covariance)
        return np.tensordot(vectors * np.sqrt(np.maximum(values, 0)), noise, 1).astype(np.float32)


def _shares(sides: NDArray[np.float64], positions: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """(bands, latents) how much of a latent's square is left after means over squares of `sides` pixels (bands,)."""
    frequencies = np.pi / 2 * np.stack(np.divmod(positions, BLOCK)) / BLOCK
    safe = np.maximum(frequencies, 1e-6)
    left = [np.sin(side * safe) / (side * np.sin(safe)) for side in np.minimum(sides, BLOCK)]
    found: NDArray[np.float32] = np.square(left).prod(1).astype(np.float32)
    return found


def _windows(height: int, width: int) -> Iterator[Window]:
    """The whole image if it is small, else parts spread evenly over it."""

    def along(length: int) -> list[slice]:
        if length <= 2 * SIDE:
            return [slice(0, length)]
        count = int(np.clip(length // EVERY, 2, MOST_PARTS))
        starts = np.linspace(0, length - SIDE, count + 2)[1:-1].astype(int).tolist()
        return [slice(start, start + SIDE) for start in starts]

    return product(along(height), along(width))
