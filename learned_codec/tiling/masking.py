"""A source with its masks: which values are coded, and which are kept exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.constants import MARGIN, Border, Constant, ExactBand
from learned_codec.values.mask import VALID, MaskSpec, Side
from learned_codec.values.plateaus import Grid
from learned_codec.values.sources import PixelSource, Plane


@dataclass(frozen=True)
class Part:
    """A rectangle of a source.

    Attributes:
        values: (bands, h, w).
        side: its masks and plane, as stored in a file.
        valid: (bands, h, w), which values are coded; None for all.
    """

    values: NDArray[Any]
    side: Side
    valid: NDArray[np.bool_] | None


class MaskedSource:
    """A source with the pixels that have no value and the values that are kept exactly.

    Attributes:
        mask_spec: what masks there may be; None for none.
    """

    def __init__(
        self,
        source: PixelSource,
        mask_spec: MaskSpec | None = None,
        constants: Sequence[Constant] = (),
        exact: Sequence[ExactBand] = (),
        grids: Sequence[Grid] = (),
        *,
        border: Border | None = None,
    ) -> None:
        """With a `border`, the first fill counts only there. Plateaus of the `grids` are coded as such."""
        self.source, self.height, self.width, self.bands = source, source.height, source.width, source.bands
        self.dtype, self.constants, self.exact, self._border = source.dtype, tuple(constants), tuple(exact), border
        kept = [constant.values[constant.bands] for constant in constants] + [band.values for band in exact]
        found = sorted({float(value) for values in kept for value in values})
        self.mask_spec = replace(mask_spec or MaskSpec(()), constants=tuple(found)) if found else mask_spec
        self._grids = tuple(grids)
        if grids:
            self.mask_spec = replace(self.mask_spec or MaskSpec(()), grids=tuple(grid.bands for grid in grids))
        self._margin = MARGIN if border or any(constant.border for constant in constants) else 0

    def keeping(
        self, constants: Sequence[Constant] = (), exact: Sequence[ExactBand] = (), grids: Sequence[Grid] = ()
    ) -> MaskedSource:
        """The source with further constants, exact bands and grids."""
        every = (*self.constants, *constants), (*self.exact, *exact), (*self._grids, *grids)
        return MaskedSource(self.source, self.mask_spec, *every, border=self._border)

    def over(self) -> Callable[[PixelSource], MaskedSource]:
        """A function that puts the same masks over a source of the same pixels, also in another process."""
        return partial(
            MaskedSource,
            mask_spec=self.mask_spec,
            constants=self.constants,
            exact=self.exact,
            grids=self._grids,
            border=self._border,
        )

    def read(self, rows: slice, columns: slice) -> Part:
        """The part of the image in `rows` and `columns`, which have a start and a stop."""
        if self.mask_spec is None:
            return Part(self.source.read(rows, columns), Side(None, None), None)
        wide = self._widened(rows, self.height), self._widened(columns, self.width)
        around, plane = self.source.read(*wide), self.source.read_plane(*wide) if self.source.plane else None
        if not self._margin and not self.constants and not self.exact:
            values, side = around, self.mask_spec.classify(around, plane)
        else:
            inner = tuple(
                slice(x.start - w.start, x.stop - w.start) for x, w in zip((rows, columns), wide, strict=True)
            )
            values, classes = (x[:, *inner] for x in (around, self._classes(around, plane, wide)))
            side = Side.of(classes, None if plane is None else plane[inner])
        valid = self.mask_spec.valid(side, self.bands)
        if self._grids:
            corner = rows.start, columns.start
            side = replace(side, joins=np.stack([grid.joins(values, corner, valid) for grid in self._grids]))
        return Part(values, side, valid)

    def _widened(self, part: slice, length: int) -> slice:
        return slice(max(0, part.start - self._margin), min(length, part.stop + self._margin))

    def _classes(self, values: NDArray[Any], plane: Plane | None, window: tuple[slice, slice]) -> NDArray[np.uint8]:
        """(bands, h, w) classes of the values in a window. `plane` (h, w) hides pixels, which become 0."""
        assert self.mask_spec is not None  # noqa: S101 - or nothing has a class
        rows, columns = window
        corner = rows.start, columns.start
        ends = rows.start == 0, rows.stop == self.height, columns.start == 0, columns.stop == self.width
        classes = self.mask_spec.classes(values)
        if self._border is not None:
            there = classes == 0
            classes[there & ~self._border.places(there, corner, ends)] = VALID
        seen = classes == VALID
        if plane is not None:
            seen &= plane > 0
        for constant in self.constants:
            places = constant.places(values, seen, corner, ends) & seen & (classes == VALID)
            for band in np.flatnonzero(constant.bands & places.any((1, 2))).tolist():
                classes[band][places[band]] = self.mask_spec.values.index(float(constant.values[band]))
        for exact in self.exact:
            own = np.array([self.mask_spec.values.index(float(value)) for value in exact.values], np.uint8)
            rest = seen[exact.band] & (classes[exact.band] == VALID)
            classes[exact.band][rest] = own[np.searchsorted(exact.values, values[exact.band][rest])]
        return classes
