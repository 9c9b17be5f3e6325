"""What a zarr, xarray or HDF5 array says of its values by attributes, as the conventions of NetCDF (CF) have it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from learned_codec.errors import InvalidInputError


def declared_nodata(image: Any) -> float | None:
    """The value of pixels that have none: `_FillValue`, else `missing_value`; None without them.

    Raises `InvalidInputError` for anything but one number.
    """
    found = _attributes(image)
    for name in ("_FillValue", "missing_value"):
        if found.get(name) is not None:
            return _number(found[name], name)
    # xarray's, in format 2 of Zarr
    value = getattr(image, "fill_value", None) if found.get("_ARRAY_DIMENSIONS") is not None else None
    return None if value is None else _number(value, "fill_value")


def scaling_of(image: Any) -> dict[str, float]:
    """The scale and the offset that turn the values into measured ones, under the names that META has for them.

    Raises `InvalidInputError` for anything but one number.
    """
    found = _attributes(image)
    names = (("scale", "scale_factor", 1), ("offset", "add_offset", 0))
    given = {key: (_number(found[name], name), usual) for key, name, usual in names if found.get(name) is not None}
    return {key: value for key, (value, usual) in given.items() if value != usual and np.isfinite(value)}


def coordinates_of(image: Any) -> list[str]:
    """The names of the coordinates of an xarray array, but for the numbers of its bands."""
    found = getattr(image, "coords", None) if hasattr(image, "dims") else None
    return [str(name) for name in found if name != "band"] if isinstance(found, Mapping) else []


def _attributes(image: Any) -> Any:
    attributes: Any = getattr(image, "attrs", None)
    return attributes if hasattr(attributes, "get") else {}


def _number(value: Any, name: str) -> float:
    """A number, or the only one of an array, as HDF5 has them, or in a text, as Zarr has them."""
    one = np.asarray(value).reshape(-1).tolist() if np.ndim(value) else [value]
    try:
        (found,) = one
        if not isinstance(found, str):
            return float(found)
        try:  # xarray's, in format 3 of Zarr
            (number,) = struct.unpack("<d", base64.b64decode(found, validate=True))
            return float(number)
        except (ValueError, struct.error):
            return float(found)
    except (TypeError, ValueError):
        raise InvalidInputError(f"the attribute {name} must be one number, not {value!r}") from None
