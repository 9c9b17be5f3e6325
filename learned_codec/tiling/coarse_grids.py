"""Finds bands whose values are repeated from coarser grids than the image's, so that they are coded as plateaus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.planes import pack_plane
from learned_codec.values.plateaus import ABOVE, LEFT, SQUARE, Grid, differences

from .masking import MaskedSource, Part
from .sampling import four_parts

SIDE = 4 * SQUARE
"""Pixels per side of each of up to four samples."""

LEAST = 0.4
"""The least number of neighbours, of the two on the left and above, to which a pixel of such a band is equal."""

LONGEST = 12
"""The longest period that is looked for. Longer ones are found as plateaus of any shape."""

SURE = 0.99
"""The share of pixels that must be equal to their neighbours inside of plateaus of a period."""

ALIKE = 0.8
"""Bands have one grid if so many of their equal neighbours are the same ones."""

LARGEST = 1e37
"""Bands with larger values are coded as others are."""


def most_bits(quality: float) -> float:
    """The most bits per pixel that a band's share of its grid's joins may take, at a quality.

    That is about a third of what a band takes. Training scenes with plateaus take 30 to 50 % fewer bytes with them.
    """
    return float(0.0175 * 2 ** ((quality - 20) / 14))


def coarse_grids(source: MaskedSource, bands: Sequence[int], most: float) -> list[Grid]:
    """The grids of bands with plateaus, whose joins take at most `most` bits per pixel and band."""
    windows = four_parts(source.height, source.width, SIDE, lambda third: third // SQUARE * SQUARE)
    samples = [(source.read(rows, columns), (rows.start, columns.start)) for rows, columns in windows]
    regular: dict[tuple[int, tuple[int, int]], list[int]] = {}
    others: list[tuple[list[int], list[NDArray[np.uint8]]]] = []
    for band in bands:
        if not _varies(band, samples):
            continue
        joins = [Grid((band,)).joins(part.values, corner) for part, corner in samples]
        for found, (part, _) in zip(joins, samples, strict=True):
            found &= _pairs(part, band)
        if _share(joins, band, samples) < LEAST:
            continue
        if period := _period(joins, band, samples):
            regular.setdefault(period, []).append(band)
            continue
        for members, common in others:
            both = [one & other for one, other in zip(common, joins, strict=True)]
            if _bits(both) >= ALIKE * max(_bits(common), _bits(joins)):
                members.append(band)
                common[:] = both
                break
        else:
            others.append(([band], joins))
    found_grids = [Grid(tuple(members), *period) for period, members in regular.items()]
    found_grids += [Grid(tuple(members)) for members, _ in others]
    return [grid for grid in found_grids if _cost(grid, samples) <= most * len(grid.bands)]


Sample = tuple[Part, tuple[int, int]]
"""A part of the image, and at which row and column it begins."""


def _bits(joins: Sequence[NDArray[np.uint8]]) -> int:
    return sum(int((found & LEFT > 0).sum()) + int((found & ABOVE > 0).sum()) for found in joins)


def _varies(band: int, samples: Sequence[Sample]) -> bool:
    """Whether a band has several values, none of them so large that sums of a few are beyond float32."""
    found = [part.values[band] if part.valid is None else part.values[band][part.valid[band]] for part, _ in samples]
    seen = [float(end) for values in found if values.size for end in (values.min(), values.max())]
    return bool(seen) and min(seen) < max(seen) and max(map(abs, seen)) < LARGEST


def _pairs(part: Part, band: int) -> NDArray[np.uint8]:
    """(h, w) as joins: of which neighbours both are valid. What is beyond an edge counts as valid."""
    if part.valid is None:
        return np.full(part.values.shape[1:], LEFT + ABOVE, np.uint8)
    left = part.valid[band].copy()
    above = left.copy()
    left[:, 1:] &= part.valid[band][:, :-1]
    above[1:] &= part.valid[band][:-1]
    found: NDArray[np.uint8] = np.where(left, LEFT, 0).astype(np.uint8) + np.where(above, np.uint8(ABOVE), np.uint8(0))
    return found


def _share(joins: Sequence[NDArray[np.uint8]], band: int, samples: Sequence[Sample]) -> float:
    """To how many of its two neighbours a pixel is equal, of those that are valid."""
    return 2 * _bits(joins) / max(1, _bits([_pairs(part, band) for part, _ in samples]))


def _period(
    joins: Sequence[NDArray[np.uint8]], band: int, samples: Sequence[Sample]
) -> tuple[int, tuple[int, int]] | None:
    """The period of a band's plateaus and its phases; None if there is none."""
    for period in range(LONGEST, 1, -1):
        phases = []
        for axis, bit in ((0, ABOVE), (1, LEFT)):
            equal, count = np.zeros(period), np.zeros(period)
            for found, (part, corner) in zip(joins, samples, strict=True):
                at = np.arange(found.shape[axis]) + corner[axis]
                inside = at % SQUARE != 0
                for sums, values in ((equal, found & bit > 0), (count, _pairs(part, band) & bit > 0)):
                    along = np.moveaxis(values, axis, 0).sum(1)
                    sums += np.bincount(at[inside] % period, along[inside], minlength=period)
            shares = equal / np.maximum(count, 1)
            phase = int(shares.argmin())
            if (np.delete(shares, phase) < SURE).any():
                break
            phases.append(phase)
        if len(phases) == 2:
            return period, (phases[0], phases[1])
    return None


def _cost(grid: Grid, samples: Sequence[Sample]) -> float:
    """How many bits per pixel the joins of a grid take."""
    joins = [grid.joins(part.values, corner, part.valid) for part, corner in samples]
    return 8 * sum(len(pack_plane(differences(x))) for x in joins) / max(1, sum(x.size for x in joins))
