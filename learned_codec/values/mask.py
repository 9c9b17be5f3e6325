"""Pixels that don't exist: how masks are told apart from values, and kept exactly."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError, UnsupportedVersionError

from .planes import pack_plane, unpack_plane
from .sources import PlaneKind

# -- kept exactly -----------------------------------------------------------------------------------------------------

VALID = 255
"""In a plane of classes: the pixel has a value."""

_PLANES: tuple[PlaneKind | None, ...] = (None, "mask", "alpha")  # the index is the code in the file
_NO_CLASSES, _SHARED, _PER_BAND = range(3)


@dataclass(frozen=True)
class Side:
    """What a tile has beside its latents.

    `classes` (1 or bands, h, w) uint8, the class of each pixel or `VALID`, None where all are valid; `plane` (h, w)
    uint8, a mask or an alpha channel.
    """

    classes: NDArray[np.uint8] | None
    plane: NDArray[np.uint8] | None

    def crop(self, rows: slice, columns: slice) -> Side:
        """The same of a rectangle."""
        return Side(
            None if self.classes is None else self.classes[:, rows, columns],
            None if self.plane is None else self.plane[rows, columns],
        )


@dataclass(frozen=True)
class MaskSpec:
    """What a file's masks mean: the payload of MASK. Each tile has a `Side` of this layout.

    Attributes:
        fills: the value of each class of pixels that have none: nodata, NaN, infinity; up to 255.
        plane: what the plane beside the bands is, if there is one.
    """

    fills: tuple[float, ...]
    plane: PlaneKind | None = None

    def check(self, dtype: np.dtype[Any]) -> None:
        """Raise `CorruptDataError` unless values of the dtype can be all of `fills`."""
        for value in self.fills:
            if not holds(dtype, value):
                raise CorruptDataError(f"MASK makes no sense: {value:g} isn't a value that {dtype} can have")

    def classify(self, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> Side:
        """The side of (bands, h, w) values and the (h, w) plane."""
        classes = np.full(values.shape, VALID, np.uint8)
        for number, value in enumerate(self.fills):
            classes[np.isnan(values) if np.isnan(value) else values == values.dtype.type(value)] = number
        if (classes == VALID).all():
            return Side(None, plane)
        shared = bool((classes == classes[:1]).all())
        return Side(classes[:1] if shared else classes, plane)

    @staticmethod
    def valid(side: Side, bands: int) -> NDArray[np.bool_] | None:
        """(bands, h, w): which values are real and visible; None where all are."""
        if side.classes is None and (side.plane is None or side.plane.all()):
            return None
        parts = [] if side.classes is None else [side.classes == VALID]
        if side.plane is not None:
            parts.append(side.plane[None] > 0)
        return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*parts)), (bands, *parts[0].shape[1:]))

    def restore(self, values: NDArray[Any], side: Side) -> None:
        """Put back into (bands, h, w) decoded values, in place, what has no value; hidden pixels become 0.

        A valid pixel that happens to have a fill's value is moved to the next one: it must not become nodata.
        """
        for value in self.fills:
            if not np.isnan(value):
                stray = values == values.dtype.type(value)
                if stray.any():
                    values[stray] = _next(values.dtype, value)
        if side.plane is not None:
            values[:, side.plane == 0] = 0  # after the above: where 0 is nodata, it may well be so here
        if side.classes is not None:
            classes = np.broadcast_to(side.classes, values.shape)
            for number, value in enumerate(self.fills):
                values[classes == number] = value

    # -- in the file --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The payload of MASK."""
        return bytes([_PLANES.index(self.plane), len(self.fills)]) + struct.pack(f"<{len(self.fills)}d", *self.fills)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskSpec:
        """The layout in the payload of MASK. Raises `CorruptDataError` or `UnsupportedVersionError`."""
        if len(data) < 2 or len(data) != 2 + 8 * data[1] or data[1] == VALID:
            raise CorruptDataError("MASK makes no sense: its length is wrong")
        if data[0] >= len(_PLANES):
            raise UnsupportedVersionError(f"a mask of kind {data[0]} needs a later version of this library")
        return cls(struct.unpack(f"<{data[1]}d", data[2:]), _PLANES[data[0]])

    def pack(self, side: Side) -> bytes:
        """A tile's side in bytes; empty where everything is valid and there is no plane."""
        if side.classes is None and self.plane is None:
            return b""
        planes = [] if side.classes is None else list(side.classes)
        kind = _NO_CLASSES if side.classes is None else _SHARED if len(planes) == 1 else _PER_BAND
        if side.plane is not None:
            planes.append(side.plane)
        return bytes([kind]) + b"".join(map(pack_plane, planes))

    def unpack(self, data: bytes, bands: int, height: int, width: int) -> Side:
        """The side in a tile's bytes. Raises `CorruptDataError`; takes no more memory than the tile's pixels."""
        if not data:
            data = bytes([_NO_CLASSES])
            if self.plane is not None:
                raise CorruptDataError("a tile lacks its mask")
        if data[0] > _PER_BAND or (data[0] != _NO_CLASSES and not self.fills):
            raise CorruptDataError("a tile's mask makes no sense")
        count = (0, 1, bands)[data[0]]
        at, planes = 1, []
        for _ in range(count + (self.plane is not None)):
            plane, at = unpack_plane(data, at, height, width)
            planes.append(plane)
        if at != len(data):
            raise CorruptDataError("bytes follow a tile's mask")
        classes = np.stack(planes[:count]) if count else None
        if classes is not None and ((classes >= len(self.fills)) & (classes != VALID)).any():
            raise CorruptDataError("a tile's mask has a class that the file doesn't declare")
        return Side(classes, planes[count] if self.plane is not None else None)


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an array of the dtype can have this value, rounded if it is floating-point."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return not np.isfinite(value) or bool(np.isfinite(dtype.type(value)))
    limits = np.iinfo(dtype)
    return float(value).is_integer() and bool(limits.min <= value <= limits.max)


def _next(dtype: np.dtype[Any], value: float) -> Any:
    """The nearest other value of a dtype; upwards where there is one."""
    if dtype.kind == "f":
        return np.nextafter(dtype.type(value), dtype.type(np.inf if value < np.finfo(dtype).max else -np.inf))
    return value + 1 if value < np.iinfo(dtype).max else value - 1
