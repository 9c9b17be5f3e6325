"""Compares what a decoder will give with the source, band by band, in a few small areas."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import Header
from learned_codec.models.config import BLOCK, top_step
from learned_codec.values.transform import KNEE, ValueTransform

from . import grid
from .grid import Window
from .masking import MaskedSource
from .synthesis import Decoded, synthesise

if TYPE_CHECKING:
    from learned_codec.models.model import Model

SIDE, MARGIN = 3, 1
"""Blocks along a side of an area, and blocks of margin around it inside its tile: the lapped filter reaches half a
block."""

PIXELS_PER_AREA, MOST_AREAS = 2**18, 16
"""The pixels of the image for each area, and the most areas: more would take too long."""

PROMISED = 0.35
"""The usual RMSE of one band, as a share of the root mean square of the step sizes: 0.31 to 0.45 by quality, measured
with noise."""

OUT_OF_PROPORTION, LOST = 4.0, 0.5
"""There is a warning if an error is more than 4 times the usual one, and more than half of the values' deviation."""

CENTRAL, NARROW, BURIED = (10, 90), 0.05, 4.0
"""There is one, too, if outliers set the range of a band: its values between these percentiles lie within a 20th of its
scale, and their error is more than 4 times their deviation."""


FINE = 1.2
"""If no band's error is more than this many times the usual one even before the refinement, nothing is compared after
it, which takes ten times as long. Parts of photographs had at most 1.15 times the usual error there."""


Pair = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""Of an area: (bands, h, w) original values, decoded values, and which are valid."""


@dataclass(frozen=True)
class Area:
    """A small part of a tile.

    Attributes:
        tile: the tile's index.
        latents: its latent positions in the tile, with a margin.
        pixels: its pixels in the image.
        inner: these pixels, counted from the first pixel of `latents`.
    """

    tile: int
    latents: Window
    pixels: Window
    inner: Window


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        worst: the largest RMSE of a band, as a multiple of what the quality usually gives.
        complaints: one sentence for each band whose error is out of all proportion.
    """

    worst: float
    complaints: list[str]


class Proof:
    """Areas of an image: spread evenly, and chosen so that every band has values in some of them."""

    def __init__(self, source: MaskedSource, header: Header) -> None:
        self._source, mask_spec = source, source.mask_spec
        count = int(np.clip(header.pixels // PIXELS_PER_AREA, 1, MOST_AREAS))
        candidates = list(_areas(header, count if mask_spec is None else 4 * count))
        if mask_spec is not None and candidates:
            candidates = _covering([(area, self._valid(area)) for area in candidates], count)
        self.areas = candidates

    def _valid(self, area: Area) -> NDArray[np.bool_]:
        """(bands, h, w): which values in an area are coded."""
        read = self._source.read(*area.pixels)
        return np.ones(read.values.shape, bool) if read.valid is None else read.valid

    def crops(self, tile: int, decoded: Decoded) -> list[tuple[Area, Decoded]]:
        """The areas in a tile, each with its part of the decoded tile."""
        found = []
        for area in self.areas:
            if area.tile == tile:
                visible = None if decoded.visible is None else decoded.visible[area.latents]
                found.append(
                    (
                        area,
                        Decoded([[x[area.latents].copy() for x in arrays] for arrays in decoded.components], visible),
                    )
                )
        return found

    def verdict(
        self,
        model: Model,
        header: Header,
        crops: Sequence[tuple[Area, Decoded]],
        adaptations: Sequence[Sequence[int]],
        widths: NDArray[np.float64],
    ) -> Verdict:
        """The warnings for a file with this header, one sentence for each band with too large an error.

        `widths` (bands,) are the ranges of the bands. Coded alone, a band would have an error in proportion to its
        range.
        """
        transform = ValueTransform.of_header(header, model.config.bands)
        if transform.constant:
            return Verdict(0.0, [])
        for refined in (False, True):
            pairs = list(self._pairs(model, header, transform, crops, adaptations, refined=refined))
            found = self._verdict_on(pairs, model, header, transform, widths)
            if found.worst <= FINE and not found.complaints:
                break
        return found

    @staticmethod
    def _verdict_on(
        pairs: Sequence[Pair], model: Model, header: Header, transform: ValueTransform, widths: NDArray[np.float64]
    ) -> Verdict:
        errors, deviations = _errors(pairs, transform)
        promised = usual_error(model, header.quality_step) * widths
        advice = "encode it by itself" if transform.components > 1 else "take a model of one band"
        poor = (errors > OUT_OF_PROPORTION * promised) & (errors > LOST * deviations)
        complaints = [
            f"band {band + 1} comes back with an error (RMSE) of {errors[band]:.3g}, while its values have a deviation "
            f"of {deviations[band]:.3g}; at this quality an error of about {promised[band]:.2g} is usual; ask for a "
            f"higher quality, or {advice}"
            for band in np.flatnonzero(poor)
        ]
        if pairs and not complaints and not transform.picture:  # whose range no outlier sets
            complaints = _buried(pairs, transform)
        return Verdict(float((errors / promised).max()), complaints)

    def _pairs(
        self,
        model: Model,
        header: Header,
        transform: ValueTransform,
        crops: Sequence[tuple[Area, Decoded]],
        adaptations: Sequence[Sequence[int]],
        *,
        refined: bool,
    ) -> Iterator[Pair]:
        for area, decoded in crops:
            rows, columns = (BLOCK * (part.stop - part.start) for part in area.latents)
            small = replace(header, height=rows, width=columns, tile_code=0)
            (_, _, found) = next(synthesise(model, small, transform, [decoded], adaptations, refined=refined))
            read = self._source.read(*area.pixels)
            inner = found[:, area.inner[0], area.inner[1]]
            if self._source.mask_spec is not None:
                self._source.mask_spec.level(inner, read.side)
            yield transform.linear(read.values), transform.linear(inner), self._valid(area)


def usual_error(model: Model, step: int) -> float:
    """The RMSE that a quality step usually gives one band, as a share of its scale."""
    return PROMISED * float(np.sqrt(np.mean(np.square(model.step_size(step)))))


def finer_step(model: Model, step: int, share: float) -> int:
    """The quality step at which errors are usually this share of those of `step`, or the finest one."""
    wanted = share * usual_error(model, step)
    steps = range(step, top_step(model.max_step))
    first = step + bisect_left(steps, -wanted, key=lambda other: -usual_error(model, other))
    return min((max(first - 1, step), first), key=lambda other: abs(usual_error(model, other) - wanted))


def _errors(pairs: Iterable[Pair], transform: ValueTransform) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bands,) each: the RMSE, and the deviation of the values. Outliers don't count; without values, both are 0."""
    count, squares, sums, sums_of_squares = np.zeros((4, transform.bands))
    for original, decoded, valid in pairs:
        middle, reach = transform.linear_range
        values = original.astype(np.float64) - middle
        with np.errstate(invalid="ignore"):
            usual = valid & (np.abs(values) <= KNEE * reach)
        values = np.where(usual, values, 0)
        error = np.where(usual, decoded.astype(np.float64) - middle - values, 0)
        count += usual.sum((1, 2))
        squares += np.square(error).sum((1, 2))
        sums += values.sum((1, 2))
        sums_of_squares += np.square(values).sum((1, 2))
    count = np.maximum(count, 1)
    variances = np.maximum(sums_of_squares / count - np.square(sums / count), 0)
    return np.sqrt(squares / count), np.sqrt(variances)


def _buried(pairs: Sequence[Pair], transform: ValueTransform) -> list[str]:
    """A sentence for each band of which most values are lost because a few others are far away."""
    found = []
    for band, scale in enumerate(transform.scales):
        original = np.concatenate([values[band][valid[band]] for values, _, valid in pairs]).astype(np.float64)
        decoded = np.concatenate([values[band][valid[band]] for _, values, valid in pairs]).astype(np.float64)
        if not original.size:
            continue
        low, high = np.percentile(original, CENTRAL, method="nearest")
        most = (original >= low) & (original <= high)
        deviation = float(original[most].std())
        error = float(np.sqrt(np.square(decoded[most] - original[most]).mean()))
        varied = (original[most] == np.median(original[most])).mean() < 0.5
        if varied and high - low <= NARROW * scale and error > BURIED * deviation:
            found.append(
                f"most values of band {band + 1} lie between {low:.4g} and {high:.4g}, but its range is {scale:.2g} "
                f"because of others far away; most come back with an error (RMSE) of {error:.2g}, more than their "
                f"deviation of {deviation:.2g}; mask what is far away, limit it, or ask for a higher quality"
            )
    return found


def _areas(header: Header, count: int) -> Iterator[Area]:
    """Areas at places of the R2 sequence, which spreads any number of points evenly."""
    height, width = (grid.latents_along(n) for n in (header.height, header.width))
    side_y, side_x = (step // BLOCK for step in grid.steps(header))
    for k in range(count):
        row, column = int((0.5 + k * 0.7548776662) % 1 * height), int((0.5 + k * 0.5698402910) % 1 * width)
        tile = row // side_y * header.tile_grid[1] + column // side_x
        box = header.tile_box(tile)
        rows, outer_rows, inner_rows = _along(row - box.row // BLOCK, box.row, box.height, header.height)
        columns, outer_columns, inner_columns = _along(column - box.col // BLOCK, box.col, box.width, header.width)
        if rows.start < rows.stop and columns.start < columns.stop:
            yield Area(tile, (outer_rows, outer_columns), (rows, columns), (inner_rows, inner_columns))


def _along(place: int, start: int, length: int, whole: int) -> tuple[slice, slice, slice]:
    """An area at block `place` of a tile, along one axis: its `pixels`, `latents` and `inner` (see `Area`)."""
    blocks = grid.latents_along(length)
    first = max(0, min(place - SIDE // 2, blocks - SIDE))
    last = min(first + SIDE, blocks)
    left = max(0, min(first - MARGIN, blocks - (SIDE + 2 * MARGIN)))  # of one size if possible: each is compiled
    outer = slice(left, min(blocks, left + SIDE + 2 * MARGIN))
    # The lapped filter at a tile's edge needs the neighbouring tile, which is not known here.
    top = max(first * BLOCK, BLOCK // 2 if start else 0)
    bottom = min(last * BLOCK, length if start + length == whole else length - BLOCK // 2)
    pixels = slice(top, max(top, bottom))
    inner = slice(pixels.start - outer.start * BLOCK, pixels.stop - outer.start * BLOCK)
    return slice(start + pixels.start, start + pixels.stop), outer, inner


def _covering(candidates: list[tuple[Area, NDArray[np.bool_]]], count: int) -> list[Area]:
    """Choose areas so that every band has as many valid values as possible in some of them."""
    counts = [valid.sum((1, 2)) for _, valid in candidates]
    seen = np.zeros(len(candidates[0][1]))
    chosen: list[int] = []
    while len(chosen) < min(count, len(candidates)):
        gains = [-1.0 if k in chosen else float((found / (1 + seen)).sum()) for k, found in enumerate(counts)]
        chosen.append(int(np.argmax(gains)))
        seen += counts[chosen[-1]]
    return [candidates[k][0] for k in chosen]
