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

        A valid pixel that happens to have a fill's value is moved to the next that no fill has: it must not become
        nodata.
        """
        dtype = values.dtype
        fills = np.array(self.fills, dtype)
        taken = set(fills.tolist())
        for fill in fills:
            stray = values == fill
            if stray.any():
                values[stray] = _free(fill, taken)
        if side.plane is not None:
            values[:, side.plane == 0] = 0  # after the above: where 0 is nodata, it may well be so here
        if side.classes is not None:
            classes = np.broadcast_to(side.classes, values.shape)
            missing = classes != VALID
            values[missing] = fills[classes[missing]]

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


def _free(value: Any, taken: set[Any]) -> Any:
    """The nearest value of a NumPy scalar's dtype that isn't `taken`; upwards where there is one."""
    for upwards in (True, False):
        other = _next(value, upwards)
        while other is not None and other.item() in taken:
            other = _next(other, upwards)
        if other is not None:
            return other
    raise CorruptDataError("MASK makes no sense: it takes all values")


def _next(value: Any, upwards: bool) -> Any:
    """The next finite value of its dtype; None at the end."""
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            other = np.nextafter(value, value.dtype.type(np.inf if upwards else -np.inf))
        return other if np.isfinite(other) else None
    limits = np.iinfo(value.dtype)
    if value == (limits.max if upwards else limits.min):
        return None
    return value.dtype.type(int(value) + (1 if upwards else -1))
