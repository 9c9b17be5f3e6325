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
_HAS_CONSTANTS = 0x80
_NO_CLASSES, _SHARED, _PER_BAND = range(3)


@dataclass(frozen=True)
class Side:
    """What a tile has beside its latents.

    `classes` (1 or bands, h, w) uint8, the class of each pixel or `VALID`, None where all are valid; `plane` (h, w)
    uint8, a mask or an alpha channel.
    """

    classes: NDArray[np.uint8] | None
    plane: NDArray[np.uint8] | None

    @classmethod
    def of(cls, classes: NDArray[np.uint8], plane: NDArray[np.uint8] | None) -> Side:
        """Of (bands, h, w) classes, in their shortest form."""
        if (classes == VALID).all():
            return cls(None, plane)
        return cls(classes[:1] if (classes == classes[:1]).all() else classes, plane)

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
        fills: the value of each class of pixels that have none: nodata, NaN, infinity.
        plane: what the plane beside the bands is, if there is one.
        constants: the value of each further class of pixels: they have it exactly. All classes are up to 254.
    """

    fills: tuple[float, ...]
    plane: PlaneKind | None = None
    constants: tuple[float, ...] = ()

    @property
    def values(self) -> tuple[float, ...]:
        """The value of each class."""
        return self.fills + self.constants

    def check(self, dtype: np.dtype[Any]) -> None:
        """Raise `CorruptDataError` unless values of the dtype can be those of all classes."""
        for value in self.values:
            if not holds(dtype, value):
                raise CorruptDataError(f"MASK makes no sense: {value:g} isn't a value that {dtype} can have")

    def classify(self, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> Side:
        """The side of (bands, h, w) values and the (h, w) plane, with fills alone."""
        return Side.of(self.classes(values), plane)

    def classes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The class of each of (bands, h, w) values, with fills alone."""
        classes = np.full(values.shape, VALID, np.uint8)
        for number, value in enumerate(self.fills):
            classes[np.isnan(values) if np.isnan(value) else values == values.dtype.type(value)] = number
        return classes

    def kept(self, side: Side, bands: int) -> int:
        """How many visible values are constants."""
        if side.classes is None or not self.constants:
            return 0
        constant = (side.classes >= len(self.fills)) & (side.classes != VALID)
        if side.plane is not None:
            constant &= side.plane > 0
        return int(constant.sum()) * (bands // len(constant))

    @staticmethod
    def valid(side: Side, bands: int) -> NDArray[np.bool_] | None:
        """(bands, h, w): which values are real, visible, and no constants; None where all are."""
        if side.classes is None and (side.plane is None or side.plane.all()):
            return None
        parts = [] if side.classes is None else [side.classes == VALID]
        if side.plane is not None:
            parts.append(side.plane[None] > 0)
        return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*parts)), (bands, *parts[0].shape[1:]))

    def restore(self, values: NDArray[Any], side: Side) -> None:
        """Put back into (bands, h, w) decoded values, in place, fills and constants; hidden pixels become 0.

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
            known = classes != VALID
            values[known] = np.array(self.values, dtype)[classes[known]]

    # -- in the file --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The payload of MASK."""
        kind, counts = _PLANES.index(self.plane), [len(self.fills)]
        if self.constants:
            kind, counts = kind | _HAS_CONSTANTS, [*counts, len(self.constants)]
        return bytes([kind, *counts]) + struct.pack(f"<{len(self.values)}d", *self.values)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskSpec:
        """The layout in the payload of MASK. Raises `CorruptDataError` or `UnsupportedVersionError`."""
        if data and data[0] & ~_HAS_CONSTANTS >= len(_PLANES):
            raise UnsupportedVersionError(f"a mask of kind {data[0]} needs a later version of this library")
        at = 3 if data and data[0] & _HAS_CONSTANTS else 2
        counts = data[1:at]
        if len(counts) < at - 1 or len(data) != at + 8 * sum(counts):
            raise CorruptDataError("MASK makes no sense: its length is wrong")
        if sum(counts) >= VALID or not all(counts[1:]):
            raise CorruptDataError(f"MASK makes no sense: {' and '.join(map(str, counts))} classes")
        values = struct.unpack(f"<{sum(counts)}d", data[at:])
        return cls(values[: counts[0]], _PLANES[data[0] & ~_HAS_CONSTANTS], values[counts[0] :])

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
        if data[0] > _PER_BAND or (data[0] != _NO_CLASSES and not self.values):
            raise CorruptDataError("a tile's mask makes no sense")
        count = (0, 1, bands)[data[0]]
        at, planes = 1, []
        for _ in range(count + (self.plane is not None)):
            plane, at = unpack_plane(data, at, height, width)
            planes.append(plane)
        if at != len(data):
            raise CorruptDataError("bytes follow a tile's mask")
        classes = np.stack(planes[:count]) if count else None
        if classes is not None and ((classes >= len(self.values)) & (classes != VALID)).any():
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
