"""Which value transform suits an image: its range, its unit, its spectral transform."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError

from .sources import Unit
from .transform import GREY, MATRIX_ONE, MAX_BANDS, PLAIN, SCALED, ValueTransform, to_units

if TYPE_CHECKING:
    pass


FINE_FROM = 2000
"""Pixels per band from which on coefficients of 16 bits pay: those of 8 bits cost about 0.15 % of the other bytes."""

NEGLIGIBLE = 1e-4
"""Components whose standard deviation is below this share of the range are left out: 80 dB down."""

FINEST, LARGEST = 1e-37, float(np.finfo(np.float32).max)
"""Bounds of the scale: float32 divides by both."""


# -- choosing the transform for an image ------------------------------------------------------------------------------


def choose(
    dtype: np.dtype[Any], bands: int, model_bands: int, unit: Unit | None, samples: Sequence[NDArray[Any]], pixels: int
) -> ValueTransform:
    """The transform for an image of so many pixels.

    `samples` are the valid values of each band (all of them, or enough to tell their range); of several bands the
    values at the same pixels where these are equally many, which the spectral transform is made for.

    Raises `InvalidInputError` where the model can't code such an image.
    """
    if model_bands != 1:
        if dtype == np.uint8 and unit is None and bands in (1, model_bands):
            return ValueTransform(PLAIN if bands == model_bands else GREY, dtype, bands)
        kind = f"{bands} bands of {dtype}" + (f" ({unit})" if unit else "")
        raise InvalidInputError(f"a model of {model_bands} bands codes uint8 of 1 or {model_bands} bands, not {kind}")
    if dtype == np.uint8 and unit is None and bands == 1:
        return ValueTransform(PLAIN, dtype, 1)
    if bands > MAX_BANDS:
        raise InvalidInputError(f"up to {MAX_BANDS} bands can be encoded, not {bands}")
    plain = ValueTransform(SCALED, dtype, bands, unit)
    floor = 0.0
    if plain.decibels:
        positive = [values[values > 0] for values in samples]
        lowest = [float(np.percentile(values, 0.01, method="lower")) for values in positive if values.size]
        floor = (10 if unit == "power" else 20) * math.log10(min(lowest, default=1e-10 if dtype.kind == "f" else 1))
    plain = ValueTransform(SCALED, dtype, bands, unit, floor=floor)
    linear = [plain.linear(values[None])[0] for values in samples]
    # Pixels without power tell nothing of the range of those that have some.
    telling = [values[values > floor] for values in linear] if plain.decibels else linear
    ranges = [robust_range(values) if values.size else (0.0, 1.0) for values in telling]
    if dtype == np.uint8 and unit is None:
        scale, offsets = 255.0, (0.0,) * bands
    else:
        widths = [high - low for low, high in ranges]
        integral = dtype.kind != "f" and not plain.decibels
        scale = max(*widths, 1.0 if integral else 1e-6 * max(abs(low) for low, _ in ranges), FINEST)
        scale = min(scale, LARGEST)
        offsets = tuple((low + high - scale) / 2 for low, high in ranges)
    scale, *rounded = struct.unpack(f"<{1 + bands}f", struct.pack(f"<{1 + bands}f", scale, *offsets))
    found = ValueTransform(SCALED, dtype, bands, unit, scale, tuple(rounded), floor)
    if bands == 1:
        return found
    units = np.zeros((bands, 1), np.float32)
    if len({values.size for values in samples}) == 1 and samples[0].size:
        units = to_units(np.stack(linear), np.array(rounded, np.float32)[:, None], scale)
    rows = spectral_klt(units)
    kept = _telling(rows, units)
    coarse, fine = (np.rint(rows * one).astype(kind) for kind, one in MATRIX_ONE.items())
    # Of bands that depend on each other, coarse coefficients would make components that tell nothing tell something.
    enough = (
        pixels <= FINE_FROM * bands and _telling(np.linalg.pinv(coarse.T / MATRIX_ONE[coarse.dtype]), units) == kept
    )
    # Components that are left out, here or in a tile, are 0.5 there: that should be their mean.
    means = rows[1:].T @ (rows[1:] @ (units.mean(1) - 0.5))
    moved = tuple(
        float(np.float32(np.clip(o + scale * m, -LARGEST, LARGEST))) for o, m in zip(rounded, means, strict=True)
    )
    matrix = (coarse if enough else fine)[:kept]
    return ValueTransform(SCALED, dtype, bands, unit, scale, moved, floor, matrix)


def _telling(rows: NDArray[np.floating[Any]], units: NDArray[np.float32]) -> int:
    """How many components, at least one, have a deviation that isn't negligible."""
    deviation = np.sqrt(np.maximum(np.square(rows @ (units - units.mean(1, keepdims=True))).mean(1), 0))
    return max(1, int((deviation > NEGLIGIBLE).sum()))


def guess_unit(dtype: np.dtype[Any], samples: Sequence[NDArray[Any]]) -> Unit:
    """The unit of radar values of which nothing is said.

    It is dB if a third of them is negative (power from which noise was subtracted has a few), else DN for integers,
    else power.
    """
    negative = sum(int((values < 0).sum()) for values in samples)
    if 3 * negative > sum(values.size for values in samples):
        return "db"
    return "power" if dtype.kind == "f" else "amplitude"


def robust_range(values: NDArray[Any]) -> tuple[float, float]:
    """The low and high end that become 0 and 1: the 0.1 and 99.9 percentile, unless a few outliers set them.

    Neither end is further from the 1st to 99th percentile than these are from each other, so that hot pixels cannot
    blow up the quantisation step. Where nearly all are one value, the others say what the range is, unless there are
    so few of them that they are outliers, too.
    """
    # Not between values: a difference may be more than their type holds.
    lowest, low, high, highest = np.percentile(values, [0.1, 1, 99, 99.9], method="nearest").astype(float)
    width = high - low
    if width > 0:
        return max(lowest, low - width), min(highest, high + width)
    others = values[values != low]
    if others.size > values.size / 1000:
        least, most = robust_range(others)
        return min(low, least), max(low, most)
    nearest = np.abs(others.astype(np.float64) - low).min(initial=0)
    return low, low + 1e-6 * nearest


def spectral_klt(samples: NDArray[Any]) -> NDArray[np.float64]:
    """(N, P) samples of N bands -> (N, N) orthonormal rows, the components of largest variance first.

    The Karhunen-Loeve transform over the bands; each row's largest element is positive.
    """
    centred = samples.astype(np.float64) - samples.mean(1, keepdims=True, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    rows = vectors.T[::-1]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    result: NDArray[np.float64] = rows * signs[:, None]
    return result
