"""What holds for a whole image when a model codes it, and is chosen before any tile is coded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InputWarning, to_declare
from learned_codec.models.config import quality_of_step, step_of_quality
from learned_codec.options import DEFAULT_QUALITY
from learned_codec.values.choose import Samples, choose, guess_unit
from learned_codec.values.constants import Constant
from learned_codec.values.decibels import PER_DECADE
from learned_codec.values.sources import Unit
from learned_codec.values.transform import ValueTransform
from learned_codec.values.voids import GREAT_SHARE, voids

from .balance import balance
from .blocks import some_blocks
from .borders import border_constants
from .coarse_grids import coarse_grids, cut_by_holes, most_bits
from .colours import ERROR
from .exact_bands import exact_bands
from .lapping import lapping
from .masking import MaskedSource
from .proof import finer_step, usual_error
from .rate import Goal
from .sampling import lies_in_areas, scatters
from .sampling import samples as take_samples
from .scattered import ScatteredHoles

if TYPE_CHECKING:
    from learned_codec.models.model import Model

Rate = tuple[str, float]
"""A "quality", "bpp" or "psnr", and how much."""

Radar = Unit | Literal["guess"]
"""The unit of radar values, which may have to be guessed."""


@dataclass(frozen=True)
class CodingPlan:
    """How a model codes an image.

    Attributes:
        source: the image with all that is kept exactly.
        transform: its value transform.
        goal: the quality step, or what one is searched for.
        lapping: how weak the lapped filters are, as in the header.
    """

    source: MaskedSource
    transform: ValueTransform
    goal: int | Goal
    lapping: int


def plan(
    source: MaskedSource,
    dtype: np.dtype[Any],
    radar: Radar | None,
    model: Model,
    rate: Rate,
    rotation: tuple[int, ...] = (),
    error: float | None = None,
) -> CodingPlan:
    """How `model` codes an image at a rate, as a file of `dtype`. It is warned of values that may mean something else.

    `rotation` is that of a picture's colours, if the model takes them all at once. `error` is the RMSE that a picture
    may have, as a share of the range, if no quality tells it. Raises `InvalidInputError` if the model can't code such
    an image.
    """
    if dtype == np.uint8 and radar is None and source.bands in (1, model.config.bands):
        return _of_picture(source, model, rate, rotation, error)
    return _of_numbers(source, dtype, radar, model, rate)


def _of_picture(
    source: MaskedSource, model: Model, rate: Rate, rotation: tuple[int, ...], error: float | None
) -> CodingPlan:
    """The plan for brightnesses that the model takes as they are, so there is little to choose."""
    if source.bands == 1:
        source, _ = _with_exact_bands(source, rate)
    source = source.keeping(border_constants(source, np.full(source.bands, 255.0)))
    step = step_of_quality(_near(rate), model.max_step)
    dtype, nothing = np.dtype(np.uint8), Samples(np.empty((source.bands, 0), np.uint8))
    pixels = source.height * source.width
    usual = usual_error(model, step)
    transform = choose(dtype, source.bands, model.config.bands, None, nothing, pixels, usual)
    transform = replace(transform, rotation=rotation)
    goal = _goal(rate, model, step, transform, ScatteredHoles(source, transform))
    return CodingPlan(source, transform, goal, lapping(source, transform, model, error / ERROR if error else usual))


def _of_numbers(
    source: MaskedSource, dtype: np.dtype[Any], radar: Radar | None, model: Model, rate: Rate
) -> CodingPlan:
    """The plan for all other images. Their ranges are chosen, how bands are mixed, and values that are kept exactly."""
    source, samples = _with_exact_bands(source, rate)
    whole = without_voids(source, samples, range(source.bands), stacklevel=7)
    grids = _CoarseGrids(whole) if radar is None else None
    source, cut = grids.kept(_near(rate)) if grids else (whole, None)
    borders = border_constants(source, samples.widths())
    source = source.keeping(borders)
    if source.constants:
        samples = take_samples(source)
    unit = guess_unit(dtype, samples) if radar == "guess" else radar
    step = step_of_quality(_near(rate), model.max_step)
    chosen = partial(choose, dtype, source.bands, model.config.bands, unit, samples, source.height * source.width)
    blocks = some_blocks(source) if source.bands > 1 else None
    transform = chosen(usual_error(model, step), cut, blocks=blocks)
    holes = ScatteredHoles(source, transform)
    if grids and dtype != np.uint8 and source.bands > 1:
        found = balance(source, transform, model, step, cut, holes)
        if rate[0] == "quality" and found.level < 1:
            step = finer_step(model, step, found.level)
            source, cut = grids.kept(quality_of_step(step, model.max_step))
            source = source.keeping(borders)
        transform = chosen(usual_error(model, step), cut, found, blocks)
    if unit in PER_DECADE:
        _tell_of_zeros(source, samples)
    goal = _goal(rate, model, step, transform, holes)
    return CodingPlan(source, transform, goal, lapping(source, transform, model, usual_error(model, step)))


def _near(rate: Rate) -> float:
    """A quality near that of the file. For a bpp or a PSNR, it is only found later."""
    return rate[1] if rate[0] == "quality" else DEFAULT_QUALITY


def _goal(rate: Rate, model: Model, step: int, transform: ValueTransform, holes: ScatteredHoles) -> int | Goal:
    """The goal of a plan. `step` is that of the quality without holes."""
    control, value = rate
    if control == "quality":
        return holes.finer_step(model, step, transform)
    return Goal.bpp(value) if control == "bpp" else Goal.psnr(value)


def _with_exact_bands(source: MaskedSource, rate: Rate) -> tuple[MaskedSource, Samples]:
    """The source with the bands of classes and the like, which are kept exactly, and samples of it.

    It is warned if the `bpp` is too low for that.
    """
    control, value = rate
    samples = take_samples(source)
    found, left = exact_bands(source, samples, value / 2 if control == "bpp" else None)
    if left:
        warnings.warn(
            f"band {left[0] + 1} has few values, as classes have, and {value:g} bpp isn't enough to keep them "
            "exactly: they change; a quality, or a higher bpp, keeps them",
            InputWarning,
            stacklevel=7,
        )
    if not found:
        return source, samples
    source = source.keeping(exact=found)
    return source, take_samples(source)


def without_voids(source: MaskedSource, samples: Samples, bands: Iterable[int], stacklevel: int) -> MaskedSource:
    """The source with the values in `bands` kept exactly that seem to mean "no value", so they harm no neighbours.

    It is warned of them, with a `stacklevel` as that of `warnings.warn`.
    """
    found = []
    values = samples.bands()
    for number in bands:
        band, only = values[number], np.arange(source.bands) == number
        for value, share in voids(band):
            if value == source.source.nodata:
                continue  # only a border of it is nodata, and the user knows of the others
            if share < GREAT_SHARE and not lies_in_areas(source, number, value):
                continue
            found.append(Constant(np.full(len(only), value, band.dtype), only))
            if len(found) == 1:
                warnings.warn(
                    f"{share:.1%} of band {number + 1} are {value:g}, apart from all others, and kept exactly: if that "
                    f"stands for pixels without a value, say {to_declare(value)}",
                    InputWarning,
                    stacklevel=stacklevel,
                )
    return source.keeping(found)


class _CoarseGrids:
    """The coarse grids of a source, whose plateaus it pays to keep."""

    def __init__(self, source: MaskedSource) -> None:
        exactly = {band.band for band in source.exact}
        self._source, self._holes = source, bool(scatters(source).any())
        self._bands = [band for band in range(source.bands) if band not in exactly]

    def kept(self, quality: float) -> tuple[MaskedSource, NDArray[np.float64]]:
        """The source with those that pay at a quality, and what `choose` calls `cut`."""
        source, bands, most = self._source, self._bands, most_bits(quality)
        grids = coarse_grids(source, bands, most, holes=self._holes)
        cut = cut_by_holes(source, bands, grids, most) if self._holes else np.ones(source.bands)
        return source.keeping(grids=grids), cut


def _tell_of_zeros(source: MaskedSource, samples: Samples) -> None:
    """Warn of radar values that have no decibels, in which they will be coded.

    Where something stands for "no value", a few don't count. In floats it is NaN, and zeros are left where noise was
    subtracted. Where nothing does, even a few zeros may do so.
    """
    declared = source.source.nodata is not None or source.source.plane is not None or source.dtype.kind == "f"
    values = [band for band in samples.bands() if band.size]
    count, total = sum(int((band <= 0).sum()) for band in values), sum(band.size for band in values)
    if count and count >= (GREAT_SHARE if declared else 0) * total:
        share = f"{count / total:.1%}" if count >= total / 1000 else f"{count:,} or more"
        warnings.warn(
            f"{share} of the values are 0 or negative, have no decibels, and become a small positive value: "
            f"{to_declare(0)} keeps zeros that stand for no value, and max_error keeps all values",
            InputWarning,
            stacklevel=7,
        )
