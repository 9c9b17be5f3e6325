"""Values that most likely stand for none, though nobody says so: -9999, -32768, 3.4e38, a border of zeros."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError

FAR = 3.0
"""A value that is further from the others than this many of their widths doesn't measure what they measure."""

NEAR, GREAT_SHARE = 0.05, 0.01
"""Zero, or the end of a type, need only be so many widths away if so many pixels have it."""

FEW = 8
"""Fewer pixels than this are hot pixels."""


def voids(values: NDArray[Any], *, few: int = FEW, near: bool = True) -> list[tuple[float, float]]:
    """The values of a band (any shape, without NaN) that look like none, at most two, and the share of each.

    `few` pixels at least must have it. Without `near`, as where nodata is declared, zeros and ends of types must be as
    far from the others as all else.
    """
    found: list[tuple[float, float]] = []
    total, rest = values.size, values.reshape(-1)
    while len(found) < 2 and rest.size and rest.dtype != np.uint8:
        low, high = rest.min(), rest.max()
        for value in (low, high):
            there = rest == value
            if few <= there.sum() < rest.size and _is_outside(value, rest[~there], there.sum() / total if near else 0):
                found.append((float(value), float(there.sum() / total)))
                rest = rest[~there]
                break
        else:
            break
    return found


def _is_outside(value: Any, others: NDArray[Any], share: float) -> bool:
    low, high = np.percentile(others, [1, 99], method="nearest").astype(float)
    width = high - low
    if width == 0:  # nearly all others are one value: islands in the sea
        return False
    gap = max(low - float(value), float(value) - high)
    if gap > FAR * width:
        return True
    ends = (0, np.iinfo(others.dtype).min, np.iinfo(others.dtype).max) if others.dtype.kind != "f" else (0,)
    return gap > NEAR * width and share >= GREAT_SHARE and value in ends


def declared(image: Any) -> float | None:
    """The value that stands for none by the attributes of an array of zarr or xarray; None if they don't say."""
    attributes: Any = getattr(image, "attrs", None)
    if not hasattr(attributes, "get"):
        return None
    value = attributes.get("_FillValue")
    if value is None and attributes.get("_ARRAY_DIMENSIONS") is not None:  # xarray's, in format 2
        value = getattr(image, "fill_value", None)
    if isinstance(value, str):  # xarray's, in format 3
        try:
            (value,) = struct.unpack("<d", base64.b64decode(value, validate=True))
        except (ValueError, struct.error):
            try:
                value = float(value)
            except ValueError:
                raise InvalidInputError(f"the attribute _FillValue must be a number, not {value!r}") from None
    return None if value is None or np.ndim(value) else float(value)
