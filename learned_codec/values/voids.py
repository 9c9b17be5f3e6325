"""Finds undeclared nodata values: -9999, -32768, 3.4e38, a border of zeros."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InvalidInputError

FAR = 3.0
"""A value is suspicious if it lies outside the range of the others by more than this many times the range's width."""

NEAR, GREAT_SHARE = 0.05, 0.01
"""Zero, or an end of the dtype, needs to lie outside by only 0.05 widths if at least 0.01 of all pixels have it."""

FEW = 8
"""If fewer pixels than this have a value, they are taken for hot pixels."""


def voids(values: NDArray[Any], *, few: int = FEW, near: bool = True) -> list[tuple[float, float]]:
    """The values of a band that look like nodata, at most two, and the share of pixels of each.

    `values` has any shape, and no NaN. At least `few` pixels must have the value. Without `near`, zero and the ends of
    the dtype have no rule of their own (for files that declare a nodata value).
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
    if width == 0:  # nearly all others have one value, such as the sea around islands
        return False
    gap = max(low - float(value), float(value) - high)
    if gap > FAR * width:
        return True
    ends = (0, np.iinfo(others.dtype).min, np.iinfo(others.dtype).max) if others.dtype.kind != "f" else (0,)
    return gap > NEAR * width and share >= GREAT_SHARE and value in ends


def declared(image: Any) -> float | None:
    """The nodata value in the attributes of a zarr or xarray array; None if there is none."""
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
