"""Chooses the value transform for an image: its ranges, its unit, its spectral transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError
from learned_codec.forks import without_forks

from .axes import Details, Spectrum
from .balance import Balance
from .decibels import PER_DECADE, to_decibels
from .ranges import alike, robust_range
from .sources import Unit
from .spectral import coefficients, covariance, quiet_first
from .transform import GREY, MAX_BANDS, PLAIN, SCALED, ValueTransform, to_units

FINEST, LARGEST = 1e-37, float(np.finfo(np.float32).max)
"""The least and the largest scale. Both can divide a float32."""

CUT, WIDEST = 0.4, 2.8
"""The mean of a plateau has a smaller error than its pixels. If holes cut plateaus into more, the scale is smaller by a
power of how many times as many there are; ranges are at most so many scales wide, because values further out are
compressed."""

ROUNDING = 12**-0.5
"""The RMSE of rounding to integers."""


@dataclass(frozen=True)
class Samples:
    """Samples of an image's pixels, for the ranges of its bands and their covariance.

    `values` is (bands, P). `valid` (bands, P) is which of them are valid; None: all.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None

    def bands(self) -> list[NDArray[Any]]:
        """The valid values of each band."""
        if self.valid is None:
            return list(self.values)
        return [band[mask] for band, mask in zip(self.values, self.valid, strict=True)]

    def widths(self) -> NDArray[np.float64]:
        """(bands,) those of the ranges in which all but a few hundredths of the values lie."""
        ends = [np.percentile(band, [1, 99], method="nearest") if band.size else (0, 0) for band in self.bands()]
        return np.array([float(high) - float(low) for low, high in ends])


def choose(
    dtype: np.dtype[Any],
    bands: int,
    model_bands: int,
    unit: Unit | None,
    samples: Samples,
    pixels: int,
    error: float = 0.0,
    cut: NDArray[np.float64] | None = None,
    balance: Balance | None = None,
    blocks: NDArray[Any] | None = None,
) -> ValueTransform:
    """The transform for an image of `pixels` pixels, of which a band has the RMSE `error` as a share of its scale.

    `cut` (bands,) is how many times as many plateaus a band has because of holes (see `CUT`). `blocks` (blocks, bands,
    16, 16) show what several bands have in common; None: only the samples show it.

    Raises `InvalidInputError` if the model can't code such an image.
    """
    picture = dtype == np.uint8 and unit is None
    if picture and bands in (1, model_bands):
        return ValueTransform(PLAIN if bands == model_bands else GREY, dtype, bands, detail=error)
    if model_bands != 1:
        kind = f"{bands} bands of {dtype}" + (f" ({unit})" if unit else "")
        raise InvalidInputError(f"a model of {model_bands} bands codes uint8 of 1 or {model_bands} bands, not {kind}")
    if bands > MAX_BANDS:
        raise InvalidInputError(f"up to {MAX_BANDS} bands can be encoded, not {bands}")
    plain = ValueTransform(SCALED, dtype, bands, unit, floor=_floor(unit, dtype, samples), detail=error)
    linear = plain.linear(samples.values[..., None])[..., 0]
    if picture:
        widths = scales = np.full(bands, 255.0, np.float32)
        offsets = np.zeros(bands, np.float32)
        groups = np.zeros(bands, int)
    else:
        widths, scales, offsets, groups = _ranges(plain, linear, samples.valid, error, cut, balance)
    found = replace(
        plain,
        scales=tuple(scales.tolist()),
        offsets=tuple(offsets.tolist()),
        widths=tuple(widths.tolist()),
        groups=tuple(groups.tolist()),
    )
    return found if bands == 1 else _with_matrix(found, linear, samples.valid, pixels, balance, blocks)


def guess_unit(dtype: np.dtype[Any], samples: Samples) -> Unit:
    """Guess the unit of radar values.

    dB if a third of them are negative (power has some negative values where noise was subtracted). Else amplitude (DN)
    for integers, and power for floats.
    """
    bands = samples.bands()
    negative = sum(int((values < 0).sum()) for values in bands)
    if 3 * negative > sum(values.size for values in bands):
        return "db"
    return "power" if dtype.kind == "f" else "amplitude"


def _floor(unit: Unit | None, dtype: np.dtype[Any], samples: Samples) -> float:
    """Values below this many dB become equal: one value in ten thousand."""
    if unit not in PER_DECADE:
        return 0.0
    positive = (values[values > 0] for values in samples.bands())
    lowest = [float(np.percentile(values, 0.01, method="lower")) for values in positive if values.size]
    least = np.array(min(lowest, default=1e-10 if dtype.kind == "f" else 1))
    return float(to_decibels(least, unit).astype(np.float32))


def _ranges(
    transform: ValueTransform,
    linear: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    error: float,
    cut: NDArray[np.float64] | None,
    balance: Balance | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """(bands,) each: the width of each band's own range, its scale and its offset, and the number of its group.

    Bands with similar ranges share the widest one's scale. Constant bands don't count there. Beside wider bands, a band
    of few integers gets a scale at which the usual `error` (a share of the scale) is about that of rounding: a smaller
    one would cost bits, and rounding would hide it.
    """
    ranges = np.array([_range(transform, values) for values in Samples(linear, valid).bands()])
    low, high = ranges.T
    varies = high > low
    integers = transform.dtype.kind != "f" and not transform.decibels
    # To the next value. After the largest float there is none.
    steps = np.spacing(np.minimum(np.abs(low), LARGEST / 2).astype(np.float32))
    least = np.ones(len(low)) if integers else steps
    widths = np.clip(high - low, least, LARGEST)
    scales = np.full(len(low), (widths[varies] if varies.any() else widths).max())
    groups = np.full(len(low), -1)
    groups[varies] = alike(low[varies], high[varies])
    for group in np.unique(groups[varies]):
        members = groups == group
        scales[members] = widths[members].max()
    if cut is not None:
        scales = np.minimum(scales, np.maximum(scales / cut**CUT, widths / WIDEST))
    if integers and error:
        scales = np.maximum(scales, min(ROUNDING / error, scales.max()))
    if balance is not None:
        scales = scales * balance.factors
    scales = np.maximum(scales, FINEST)
    offsets = np.clip((low + high - scales) / 2, -LARGEST, LARGEST)
    return widths.astype(np.float32), scales.astype(np.float32), offsets.astype(np.float32), groups


def alone_scales(widths: Sequence[float], cut: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(bands,) the scales of bands of these `widths` if they were alone, without radar units."""
    own = np.array(widths, np.float64)
    return own if cut is None else np.maximum(own / cut**CUT, own / WIDEST)


def _range(transform: ValueTransform, linear: NDArray[np.float32]) -> tuple[float, float]:
    # Pixels without any power are left out: the range is that of the others.
    telling = linear[linear > transform.floor] if transform.decibels else linear
    return robust_range(telling) if telling.size else (transform.floor, transform.floor)


@without_forks
def _with_matrix(
    transform: ValueTransform,
    linear: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    pixels: int,
    balance: Balance | None,
    blocks: NDArray[Any] | None,
) -> ValueTransform:
    """Add the spectral transform to the transform of several bands."""
    scales, offsets = (np.array(values, np.float32) for values in (transform.scales, transform.offsets))
    real = linear if valid is None else np.where(valid, linear, offsets[:, None])
    units = to_units(real, offsets[:, None], scales[:, None])
    found = covariance(units, valid)
    details = None
    if blocks is not None:
        shown = to_units(transform.linear(blocks), offsets[:, None, None], scales[:, None, None])
        details = Details.of(shown, transform.detail)
    spectrum = Spectrum(found, details)
    rows = spectrum.axes()
    if balance is not None:
        rows = quiet_first(rows, found, balance.busy)
    # If bands miss values at different pixels, no component is negligible for certain.
    drop = valid is None or bool((valid.any(1) == valid.all(1)).all())
    matrix = coefficients(rows, found, pixels, drop=drop)
    # A component that is left out, here or in a tile, decodes as 0.5. So 0.5 should be its mean.
    means = np.array([values.mean() - 0.5 if values.size else 0 for values in Samples(units, valid).bands()])
    moved = np.clip(offsets + scales * (rows[1:].T @ (rows[1:] @ means)), -LARGEST, LARGEST).astype(np.float32)
    return replace(transform, offsets=tuple(moved.tolist()), matrix=matrix, spectrum=spectrum)
