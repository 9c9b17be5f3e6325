"""Tries on parts of an image how much finer its bands should be quantised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.models.block_transform import separable_basis
from learned_codec.models.config import BLOCK
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.axes import Spectrum
from learned_codec.values.balance import Balance, Trial, balanced
from learned_codec.values.choose import ROUNDING, alone_scales
from learned_codec.values.plateaus import Plateaus
from learned_codec.values.transform import ValueTransform

from .grid import Window, latents_along
from .masking import MaskedSource
from .sampling import parts, squares
from .scattered import ScatteredHoles
from .synthesis import visible_blocks, whole_blocks

if TYPE_CHECKING:
    from learned_codec.models.model import Model

SIDE, EVERY, MOST_PARTS = 128, 512, 4
"""Pixels per side of the parts, which are longer if the image is thinner; along each axis, there is one for so many
pixels, and at most so many."""

SCATTERED_SIDE = 96
"""The same beside scattered holes, which take time to be filled."""

SQUARE = 1024
"""Where a band has no values in these parts, the image is looked through in squares of so many pixels a side."""

MOST_VALUES = 2**21
"""The most values that are tried. If there are more, every n-th block is taken."""


def balance(
    source: MaskedSource,
    transform: ValueTransform,
    model: Model,
    step: int,
    cut: NDArray[np.float64] | None,
    holes: ScatteredHoles,
) -> Balance:
    """How much finer the bands of a transform should be quantised than usual at a quality step.

    `holes` are those of the source.
    """
    own, groups = np.array(transform.scales), np.array(transform.groups)
    scales = alone_scales(transform.widths, cut) / own
    scattered = holes.scatters
    windows = list(_windows(source, groups >= 0, SCATTERED_SIDE if scattered.any() else SIDE))
    nth = -(-source.bands * sum(_size(window) for window in windows) // MOST_VALUES)
    together, alone = [], []
    sides = np.ones(source.bands)
    for rows, columns in windows:
        read = source.read(rows, columns)
        values = read.values if source.mask_spec is None else source.mask_spec.smoothed(read.values, read.side)
        together.append(_Blocks.of(model, transform.units(values, read.valid), read.valid, nth))
        alone.append(together[-1])
        if read.valid is not None and (read.valid != read.valid[:1]).any():
            units = transform.units(values, read.valid, scales)
            bands = [slice(band, band + 1) for band in range(source.bands)]
            alone[-1] = _Blocks.joined([_Blocks.of(model, units[band], read.valid[band], nth) for band in bands], 0)
        if source.mask_spec is not None and read.side.joins is not None:
            for members, joins in zip(source.mask_spec.grids, read.side.joins, strict=True):
                sides[list(members)] = np.sqrt(Plateaus(joins).size)
    finer = {x: holes.finer_step(model, step, transform, x) for x in set(scattered.tolist())}
    sizes = np.stack([model.step_size(finer[x]) for x in scattered.tolist()])[:, None]
    return balanced(
        _Blocks.joined(together).trial(model, model.step_size(finer[scattered.max()])),
        _Blocks.joined(alone).trial(model, sizes),
        _shares(sides, model.positions),
        scales,
        groups,
        transform.spectrum or Spectrum(np.zeros((source.bands, source.bands))),
        ROUNDING / own if transform.dtype.kind != "f" else np.zeros(source.bands),
        sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in windows),
    )


@dataclass(frozen=True)
class _Blocks:
    """Blocks of an image as they are coded, boundary blocks, too.

    Attributes:
        latents: (bands, blocks, latents); those that aren't coded are 0.
        counts: (bands, blocks, pixels) how much the squared errors of pixels count. In a boundary block, which has
            errors in the coded pixels alone, all count alike.
        valid: (bands, blocks) how many pixels are valid.
    """

    latents: NDArray[np.float32]
    counts: NDArray[np.float32]
    valid: NDArray[np.float32]

    @classmethod
    def of(cls, model: Model, planes: NDArray[np.float32], valid: NDArray[np.bool_] | None, nth: int) -> _Blocks:
        """Every nth block of (bands, h, w) planes that are coded together."""
        size = planes.shape[1:]
        shape = Shape.of(visible_blocks(valid, *size))
        latents = np.stack([model.analyse(plane[None], shape) for plane in whole_blocks(planes)])
        bands, height, width = latents.shape[:3]
        seen = np.zeros((bands, height * BLOCK, width * BLOCK), np.float32)
        seen[:, : size[0], : size[1]] = 1 if valid is None else valid
        counts = seen.reshape(bands, height, BLOCK, width, BLOCK).swapaxes(2, 3).reshape(latents.shape)
        own = counts.sum(3)
        if shape is not None:
            coded = shape.coded(model.positions)
            latents *= coded
            counts[:, shape.boundary] = (own / np.maximum(coded.sum(2), 1))[:, shape.boundary, None]
        return cls(*(x.reshape(bands, height * width, -1)[:, ::nth] for x in (latents, counts, own)))

    @classmethod
    def joined(cls, parts: Sequence[_Blocks], axis: int = 1) -> _Blocks:
        """The blocks of several parts, or with the axis 0 those of more bands."""
        return cls(*(np.concatenate([getattr(part, x.name) for part in parts], axis) for x in fields(cls)))

    def trial(self, model: Model, sizes: NDArray[np.float32]) -> Trial:
        """A trial of these blocks with (latents,) or (bands, 1, latents) quantisation steps."""
        alike = bool((self.counts == self.counts[..., :1]).all())
        patterns = separable_basis(1)[model.positions].reshape(len(model.positions), -1).astype(np.float32)
        return Trial(
            self.latents,
            sizes,
            self.counts[..., :1] if alike else self.counts,
            patterns,
            self.valid.sum((1, 2), dtype=np.float64),
        )


def _shares(sides: NDArray[np.float64], positions: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """(bands, latents) how much of a latent's square is left after means over squares of `sides` pixels (bands,)."""
    frequencies = np.pi / 2 * np.stack(np.divmod(positions, BLOCK)) / BLOCK
    safe = np.maximum(frequencies, 1e-6)
    left = [np.sin(side * safe) / (side * np.sin(safe)) for side in np.minimum(sides, BLOCK)]
    found: NDArray[np.float32] = np.square(left).prod(1).astype(np.float32)
    return found


def _size(window: Window) -> int:
    """How many pixels the blocks of a window have."""
    rows, columns = (latents_along(part.stop - part.start) for part in window)
    return rows * columns * BLOCK**2


def _windows(source: MaskedSource, varies: NDArray[np.bool_], side: int) -> Iterator[Window]:
    """The whole image if it is small, else parts spread evenly over it. All bands that vary have values in some."""
    seen = ~varies
    down, across = (max(side, side**2 // (BLOCK * latents_along(n))) for n in (source.width, source.height))
    for window in parts(source.height, source.width, (down, across), _starts):
        seen |= _valid(source, window).any((1, 2))
        yield window
    for rows, columns in () if seen.all() else squares(source.height, source.width, SQUARE):
        valid = _valid(source, (rows, columns))
        for band in np.flatnonzero(~seen & valid.any((1, 2))).tolist():
            places = np.argwhere(valid[band])
            top, left = (places[len(places) // 2] // BLOCK * BLOCK + (rows.start, columns.start)).tolist()
            yield slice(top, min(top + SIDE, source.height)), slice(left, min(left + SIDE, source.width))
            seen[band] = True


def _valid(source: MaskedSource, window: Window) -> NDArray[np.bool_]:
    """(bands, h, w) which pixels of a window are valid."""
    valid = None if source.mask_spec is None else source.read(*window).valid
    return np.ones((source.bands, 1, 1), bool) if valid is None else valid


def _starts(length: int, side: int) -> list[int]:
    """Where the parts of an axis begin."""
    count = int(np.clip(length // EVERY, 2, MOST_PARTS))
    starts: list[int] = np.linspace(0, length - side, count + 2)[1:-1].astype(int).tolist()
    return starts
