"""Finds bands whose values are repeated from coarser grids than the image's, so that they are coded as plateaus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.planes import pack_plane
from learned_codec.values.plateaus import ABOVE, LEFT, SQUARE, Grid, Plateaus, differences, pairs

from .masking import MaskedSource, Part
from .sampling import parts, thirds

SIDE = 4 * SQUARE
"""Pixels per side of each of up to four samples."""

LEAST = 0.4
"""The least number of neighbours, of the two on the left and above, to which a pixel of such a band is equal."""

BESIDE_HOLES = 3.0
"""How many times as many bits joins may take beside scattered holes, where they are less regular."""

USUAL = 0.1
"""About how many bits per pixel the joins of a grid take without holes."""

LONGEST = 12
"""The longest period that is looked for. Longer ones are found as plateaus of any shape."""

SURE = 0.99
"""The share of pixels that must be equal to their neighbours inside of plateaus of a period."""

ALIKE, ENOUGH = 0.8, 0.05
"""Bands have one grid if so many of their equal neighbours are the same ones, and if of so many of the neighbours of
which something is known it is known of both: holes may leave too few."""

LARGEST = 1e37
"""Bands with larger values are coded as others are."""


def most_bits(quality: float) -> float:
    """The most bits per pixel that a band's share of its grid's joins may take, at a quality.

    That is about a third of what a band takes. Training scenes with plateaus take 30 to 50 % fewer bytes with them.
    """
    return float(0.0175 * 2 ** ((quality - 20) / 14))


Sample = tuple[Part, tuple[int, int]]
"""A part of the image, and at which row and column it begins."""

Pairs = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""As joins, of a sample: which neighbours are equal, and of which that is known."""


def coarse_grids(source: MaskedSource, bands: Sequence[int], most: float, *, holes: bool = False) -> list[Grid]:
    """The grids of bands with plateaus, whose joins take at most `most` bits per pixel and band.

    `holes` says whether the source has scattered ones.
    """
    samples = _samples(source)
    regular: dict[tuple[int, tuple[int, int]], list[int]] = {}
    others: list[tuple[list[int], list[Pairs]]] = []
    for band in bands:
        if not _varies(band, samples):
            continue
        found = _pairs(band, samples)
        if _share(found) < LEAST:
            continue
        if period := _period(found, samples):
            regular.setdefault(period, []).append(band)
            continue
        for members, common in others:
            if _alike(common, found):
                members.append(band)
                common[:] = [_joined(one, other) for one, other in zip(common, found, strict=True)]
                break
        else:
            others.append(([band], found))
    found_grids = [Grid(tuple(members), *period) for period, members in regular.items()]
    found_grids += [Grid(tuple(members)) for members, _ in others]
    if holes:
        most *= BESIDE_HOLES
    return [grid for grid in found_grids if _pays(grid, samples, most * len(grid.bands))]


def cut_by_holes(source: MaskedSource, bands: Sequence[int], grids: Sequence[Grid], most: float) -> NDArray[np.float64]:
    """(all bands,) how many times as many plateaus the valid pixels of each band have because of its scattered holes.

    Bands with plateaus that have none of the `grids` count if they might have one without holes, when joins may take
    `most` bits per pixel and band.
    """
    found = np.ones(source.bands)
    samples = _samples(source)
    of_bands = {band: _pairs(band, samples) for band in bands if _varies(band, samples)}
    with_plateaus = {band: pairs for band, pairs in of_bands.items() if _share(pairs) >= LEAST}
    for band, own_pairs in with_plateaus.items():
        own = [grid for grid in grids if band in grid.bands]
        if own or most * len(with_plateaus) >= USUAL:
            found[band] = max(1.0, _size(own_pairs) / (_size_left(band, own[0], samples) if own else 1.0))
    return found


def _size(found: Sequence[Pairs]) -> float:
    """About how many pixels a plateau has without holes."""
    sides: list[float] = [SQUARE, SQUARE]
    for axis, bit in enumerate((LEFT, ABOVE)):
        known, equal = (sum(int((one[part] & bit > 0).sum()) for one in found) for part in (1, 0))
        sides[axis] = min(SQUARE, (known + 1) / (known - equal + 1))
    return float(np.prod(sides))


def _size_left(band: int, grid: Grid, samples: Sequence[Sample]) -> float:
    """How many valid pixels of a band there are for each plateau of its grid."""
    pixels = count = 0.0
    for part, corner in samples:
        valid = None if part.valid is None else part.valid[band]
        plateaus = Plateaus(grid.joins(part.values, corner, part.valid), valid)
        own = part.values[band].size if valid is None else int(valid.sum())
        pixels, count = pixels + own, count + own / plateaus.size
    return pixels / count if count else 1.0


def _samples(source: MaskedSource) -> list[Sample]:
    windows = parts(
        source.height, source.width, (SIDE, SIDE), lambda length, _: [x // SQUARE * SQUARE for x in thirds(length)]
    )
    return [(source.read(rows, columns), (rows.start, columns.start)) for rows, columns in windows]


def _bits(joins: Iterable[NDArray[Any]]) -> int:
    return sum(int((found & LEFT > 0).sum()) + int((found & ABOVE > 0).sum()) for found in joins)


def _varies(band: int, samples: Sequence[Sample]) -> bool:
    """Whether a band has several values, none of them so large that sums of a few are beyond float32."""
    found = [part.values[band] if part.valid is None else part.values[band][part.valid[band]] for part, _ in samples]
    seen = [float(end) for values in found if values.size for end in (values.min(), values.max())]
    return bool(seen) and min(seen) < max(seen) and max(map(abs, seen)) < LARGEST


def _pairs(band: int, samples: Sequence[Sample]) -> list[Pairs]:
    """The pairs of one band."""
    only = slice(band, band + 1)
    return [pairs(part.values[only], None if part.valid is None else part.valid[only]) for part, _ in samples]


def _share(found: Sequence[Pairs]) -> float:
    """To how many of its two neighbours a pixel is equal, of those of which it is known."""
    return 2 * _bits(equal for equal, _ in found) / max(1, _bits(known for _, known in found))


def _alike(ones: Sequence[Pairs], others: Sequence[Pairs]) -> bool:
    """Whether nearly the same neighbours are equal, where that is known of both."""
    both = [known & known_too for (_, known), (_, known_too) in zip(ones, others, strict=True)]
    if _bits(both) < ENOUGH * max(_bits(known for _, known in found) for found in (ones, others)):
        return False
    one, other = ([equal & seen for (equal, _), seen in zip(found, both, strict=True)] for found in (ones, others))
    return _bits(x & y for x, y in zip(one, other, strict=True)) >= ALIKE * max(_bits(one), _bits(other))


def _joined(one: Pairs, other: Pairs) -> Pairs:
    """The pairs of the bands of both."""
    differ = (one[1] & ~one[0]) | (other[1] & ~other[0])
    known = one[1] | other[1]
    return known & ~differ, known


def _period(found: Sequence[Pairs], samples: Sequence[Sample]) -> tuple[int, tuple[int, int]] | None:
    """The period of a band's plateaus and its phases; None if there is none."""
    for period in range(LONGEST, 1, -1):
        phases = []
        for axis, bit in ((0, ABOVE), (1, LEFT)):
            equal, count = np.zeros(period), np.zeros(period)
            for of_sample, (_, corner) in zip(found, samples, strict=True):
                at = np.arange(of_sample[0].shape[axis]) + corner[axis]
                inside = at % SQUARE != 0
                for sums, values in zip((equal, count), of_sample, strict=True):
                    along = np.moveaxis(values & bit > 0, axis, 0).sum(1)
                    sums += np.bincount(at[inside] % period, along[inside], minlength=period)
            shares = equal / np.maximum(count, 1)
            phase = int(shares.argmin())
            if (np.delete(shares, phase) < SURE).any():
                break
            phases.append(phase)
        if len(phases) == 2:
            return period, (phases[0], phases[1])
    return None


def _pays(grid: Grid, samples: Sequence[Sample], most: float) -> bool:
    """Whether the joins of a grid take at most `most` bits per pixel, and are enough.

    Beside holes they may be fewer than the equal neighbours: those that seem equal by chance aren't joined.
    """
    joins = [grid.joins(part.values, corner, part.valid) for part, corner in samples]
    pixels = max(1, sum(x.size for x in joins))
    return _bits(joins) >= LEAST * pixels and 8 * sum(len(pack_plane(differences(x))) for x in joins) <= most * pixels
