"""Masks: which pixels have no value. They are kept exactly."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import CorruptDataError, UnsupportedVersionError

from .planes import estimated_size, pack_plane, unpack_plane
from .plateaus import ABOVE, LEFT, Plateaus, differences, of_differences
from .sources import Plane, PlaneKind

# -- kept exactly -----------------------------------------------------------------------------------------------------

VALID = 255
"""The class of a pixel that has a value."""

# The index is the code in the file. With "alpha" of 16 bits, two planes follow each other.
_PLANES: tuple[tuple[PlaneKind | None, int], ...] = ((None, 8), ("mask", 8), ("alpha", 8), ("alpha", 16))
_HAS_CONSTANTS, _HAS_GRIDS = 0x80, 0x40
_NO_CLASSES, _SHARED, _PER_BAND, _CHANGES = range(4)
_HAS_JOINS = 4


@dataclass(frozen=True)
class Side:
    """What a tile has beside its latents: its mask or plane.

    Attributes:
        classes: (1 or bands, h, w) uint8, an index into `MaskSpec.fills` or `VALID`; None: all are valid.
        plane: (h, w), a mask or an alpha channel; None: there is none.
        joins: (grids, h, w) uint8, which pixels are joined to plateaus; None: none is.
    """

    classes: NDArray[np.uint8] | None
    plane: Plane | None
    joins: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, classes: NDArray[np.uint8], plane: Plane | None) -> Side:
        """A `Side` of (bands, h, w) classes: one plane of them if all bands have the same, None if all are valid."""
        if (classes == VALID).all():
            return cls(None, plane)
        return cls(classes[:1] if (classes == classes[:1]).all() else classes, plane)

    def crop(self, rows: slice, columns: slice) -> Side:
        """The part inside a rectangle."""
        return Side(
            None if self.classes is None else self.classes[:, rows, columns],
            None if self.plane is None else self.plane[rows, columns],
            None if self.joins is None else self.joins[:, rows, columns],
        )

    def telling(self) -> Side:
        """The same side without planes that say nothing."""
        classes = None if self.classes is None or (self.classes == VALID).all() else self.classes
        return Side(classes, self.plane, None if self.joins is None or not self.joins.any() else self.joins)


@dataclass(frozen=True)
class MaskSpec:
    """What the masks of a file mean: the payload of MASK. Each tile then has a `Side`.

    Attributes:
        fills: the value of each class of pixels that have none: nodata, NaN, infinity.
        plane: what the plane beside the bands is; None: there is none.
        constants: the value of each further class of pixels, which keep it exactly. There are up to 254 classes in all.
        bits: how many a value of the plane has, 8 or 16.
        grids: the bands of each grid whose pixels are joined to plateaus.
    """

    fills: tuple[float, ...]
    plane: PlaneKind | None = None
    constants: tuple[float, ...] = ()
    bits: int = 8
    grids: tuple[tuple[int, ...], ...] = ()

    @property
    def plane_dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The dtype of the plane's values."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)

    @property
    def values(self) -> tuple[float, ...]:
        """The values of all classes."""
        return self.fills + self.constants

    def check_grids(self, bands: int) -> None:
        """Raise `CorruptDataError` if grids have bands that the image hasn't, or a band in common."""
        every = [band for grid in self.grids for band in grid]
        if len(set(every)) < len(every) or any(band >= bands for band in every):
            raise CorruptDataError(f"MASK is invalid: grids of the bands {every}, of {bands} bands")

    def check(self, dtype: np.dtype[Any]) -> None:
        """Raise `CorruptDataError` if the dtype can't hold the value of a class, or the plane has more bits."""
        if self.bits > 8 * dtype.itemsize or (self.bits == 16 and dtype != np.uint16):
            raise CorruptDataError(f"MASK is invalid: an opacity of {self.bits} bits beside {dtype}")
        for value in self.values:
            if not holds(dtype, value):
                raise CorruptDataError(f"MASK is invalid: {dtype} can't hold the value {value:g}")

    def classify(self, values: NDArray[Any], plane: Plane | None) -> Side:
        """The `Side` of (bands, h, w) values and the (h, w) plane. Only fills count, not constants."""
        return Side.of(self.classes(values), plane)

    def classes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The classes of (bands, h, w) values. Only fills count, not constants."""
        classes = np.full(values.shape, VALID, np.uint8)
        for number, value in enumerate(self.fills):
            classes[np.isnan(values) if np.isnan(value) else values == values.dtype.type(value)] = number
        return classes

    def with_fills_alone(self, side: Side) -> Side:
        """The side of the same values without constants."""
        if side.classes is None or not self.constants:
            return side
        return Side.of(np.where(side.classes < len(self.fills), side.classes, np.uint8(VALID)), side.plane)

    def constant(self, side: Side) -> NDArray[np.bool_] | None:
        """(1 or bands, h, w): which values are constants, also hidden ones. None: none."""
        if side.classes is None or not self.constants:
            return None
        found: NDArray[np.bool_] = (side.classes >= len(self.fills)) & (side.classes != VALID)
        return found

    def kept(self, side: Side, bands: int) -> int:
        """How many visible values are constants."""
        constant = self.constant(side)
        if constant is None:
            return 0
        if side.plane is not None:
            constant &= side.plane > 0
        return int(constant.sum()) * (bands // len(constant))

    @staticmethod
    def valid(side: Side, bands: int) -> NDArray[np.bool_] | None:
        """(bands, h, w): which values are valid: without a class, and not hidden by the plane. None: all."""
        if side.classes is None and (side.plane is None or side.plane.all()):
            return None
        parts = [] if side.classes is None else [side.classes == VALID]
        if side.plane is not None:
            parts.append(side.plane[None] > 0)
        return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*parts)), (bands, *parts[0].shape[1:]))

    def level(self, values: NDArray[Any], side: Side) -> None:
        """Give each plateau the mean of its (bands, h, w) decoded values, in place. These may be in any units."""
        if side.joins is None:
            return
        valid = self.valid(side, len(values))
        for bands, joins in zip(self.grids, side.joins, strict=True):
            if joins.any():
                for places, own in _alike(bands, valid):
                    plateaus = Plateaus(joins, own)
                    for band in places:
                        plateaus.level(values[band])

    def smoothed(self, values: NDArray[Any], side: Side) -> NDArray[Any]:
        """(bands, h, w) values to be coded in place of these: smooth ones whose plateaus have the same means."""
        if side.joins is None or not side.joins.any():
            return values
        valid, found = self.valid(side, len(values)), values.astype(np.float32)
        for bands, joins in zip(self.grids, side.joins, strict=True):
            if joins.any():
                for places, own in _alike(bands, valid):
                    plateaus = Plateaus(joins, own)
                    for band in places:
                        found[band] = plateaus.smoothed(values[band])
        return found

    def restore(self, values: NDArray[Any], side: Side) -> None:
        """Put fills and constants back into (bands, h, w) decoded values, in place. Hidden pixels become 0.

        A valid pixel must not become nodata: if its decoded value equals a fill, it gets the next other value.
        """
        dtype = values.dtype
        fills = np.array(self.fills, dtype)
        taken = set(fills.tolist())
        for fill in fills:
            stray = values == fill
            if stray.any():
                values[stray] = _free(fill, taken)
        if side.plane is not None:
            values[:, side.plane == 0] = 0  # even if 0 is nodata: these pixels are hidden
        if side.classes is not None:
            classes = np.broadcast_to(side.classes, values.shape)
            known = classes != VALID
            values[known] = np.array(self.values, dtype)[classes[known]]

    # -- in the file --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The payload of MASK."""
        kind, counts = _PLANES.index((self.plane, self.bits)), [len(self.fills)]
        if self.constants:
            kind, counts = kind | _HAS_CONSTANTS, [*counts, len(self.constants)]
        grids = b""
        if self.grids:
            kind |= _HAS_GRIDS
            grids = bytes([len(self.grids)]) + b"".join(bytes([len(bands) - 1, *bands]) for bands in self.grids)
        return bytes([kind, *counts]) + struct.pack(f"<{len(self.values)}d", *self.values) + grids

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskSpec:
        """The masks that the payload of MASK declares. Raises `CorruptDataError` or `UnsupportedVersionError`."""
        kind = data[0] & ~(_HAS_CONSTANTS | _HAS_GRIDS) if data else 0
        if kind >= len(_PLANES):
            raise UnsupportedVersionError(f"a mask of kind {kind} needs a later version of this library")
        at = 3 if data and data[0] & _HAS_CONSTANTS else 2
        counts = data[1:at]
        end = at + 8 * sum(counts)
        grids = _grids(data[end:]) if data and data[0] & _HAS_GRIDS else () if len(data) == end else None
        if len(counts) < at - 1 or len(data) < end or grids is None:
            raise CorruptDataError("MASK is invalid: its length is wrong")
        if sum(counts) >= VALID or not all(counts[1:]):
            raise CorruptDataError(f"MASK is invalid: {' and '.join(map(str, counts))} classes")
        values = struct.unpack(f"<{sum(counts)}d", data[at:end])
        plane, bits = _PLANES[kind]
        return cls(values[: counts[0]], plane, values[counts[0] :], bits, grids)

    def pack(self, side: Side) -> bytes:
        """A tile's `Side` as bytes; empty if everything is valid and there is no plane."""
        joined = side.joins is not None and bool(side.joins.any())
        if side.classes is None and self.plane is None and not joined:
            return b""
        kind, packed = packed_classes(side.classes)
        planes = [] if side.plane is None else _bytes_of(side.plane)
        if side.joins is not None and joined:
            kind |= _HAS_JOINS
            planes += map(differences, side.joins)
        return bytes([kind]) + packed + _packed(planes)

    def unpack(self, data: bytes, bands: int, height: int, width: int) -> Side:
        """The `Side` from a tile's bytes. Raises `CorruptDataError`. Takes no more memory than the tile's pixels."""
        if not data:
            data = bytes([_NO_CLASSES])
            if self.plane is not None:
                raise CorruptDataError("a tile lacks its mask")
        kind, joined = data[0] & ~_HAS_JOINS, data[0] & _HAS_JOINS > 0
        if kind > _CHANGES or (kind != _NO_CLASSES and not self.values) or (joined and not self.grids):
            raise CorruptDataError("a tile's mask is invalid")
        count, of_plane = (0, 1, bands, bands)[kind], 0 if self.plane is None else self.bits // 8
        at, planes = 1, []
        for _ in range(count + of_plane + (len(self.grids) if joined else 0)):
            plane, at = unpack_plane(data, at, height, width)
            planes.append(plane)
        if at != len(data):
            raise CorruptDataError("bytes follow a tile's mask")
        classes = np.stack(planes[:count]) if count else None
        if classes is not None and kind == _CHANGES:
            np.bitwise_xor.accumulate(classes, 0, out=classes)
        if classes is not None and ((classes >= len(self.values)) & (classes != VALID)).any():
            raise CorruptDataError("a tile's mask has a class that the file doesn't declare")
        joins = np.stack(planes[count + of_plane :]) if joined else None
        if joins is not None and (joins > LEFT | ABOVE).any():
            raise CorruptDataError("a tile joins pixels in a way that this library doesn't know")
        return Side(
            classes,
            _of_bytes(planes[count : count + of_plane]) if self.plane is not None else None,
            None if joins is None else np.stack([of_differences(plane) for plane in joins]),
        )


def packed_classes(classes: NDArray[np.uint8] | None) -> tuple[int, bytes]:
    """How (1 or bands, h, w) classes are coded, and their bytes. Bands often lack nearly the same pixels."""
    if classes is None:
        return _NO_CLASSES, b""
    packed = _packed(classes)
    if len(classes) == 1:
        return _SHARED, packed
    changes = _packed([classes[0], *(classes[1:] ^ classes[:-1])])
    return (_PER_BAND, packed) if len(packed) <= len(changes) else (_CHANGES, changes)


def estimated_classes(classes: NDArray[np.uint8]) -> int:
    """About how many bytes `packed_classes` takes."""
    return estimated_size(classes[0]) if len(classes) == 1 else len(packed_classes(classes)[1])


def _packed(planes: Iterable[NDArray[np.uint8]]) -> bytes:
    return b"".join(map(pack_plane, planes))


def _grids(data: bytes) -> tuple[tuple[int, ...], ...] | None:
    """The bands of each grid, from the end of MASK; None if its length is wrong."""
    found, at = [], 1
    for _ in range(data[0] if data else 0):
        stop = at + 2 + data[at] if at < len(data) else len(data) + 1
        found.append(tuple(data[at + 1 : stop]))
        at = stop
    return tuple(found) if found and at == len(data) else None


def _alike(
    bands: Sequence[int], valid: NDArray[np.bool_] | None
) -> Iterator[tuple[list[int], NDArray[np.bool_] | None]]:
    """Bands of which the same pixels are valid, and these pixels (None: all)."""
    rest = list(bands)
    while rest:
        first = rest[0]
        own = None if valid is None else valid[first]
        same = rest if valid is None else [band for band in rest if (valid[band] == own).all()]
        yield same, own
        rest = [band for band in rest if band not in same]


def _bytes_of(plane: Plane) -> list[NDArray[np.uint8]]:
    """A plane as planes of bytes: of 16 bits, the high ones, and by which bits the low ones differ from them.

    So opacity that was made from 8 bits has nothing but zeros in the second.
    """
    if plane.dtype == np.uint8:
        return [plane.astype(np.uint8, copy=False)]
    high, low = (plane >> 8).astype(np.uint8), (plane & 255).astype(np.uint8)
    return [high, high ^ low]


def _of_bytes(planes: list[NDArray[np.uint8]]) -> Plane:
    """The inverse of `_bytes_of`."""
    if len(planes) == 1:
        return planes[0]
    high, differing = (part.astype(np.uint16) for part in planes)
    found: Plane = (high << 8 | (high ^ differing)).astype(np.uint16)
    return found


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether the dtype can hold this value. A floating-point dtype may round it, but not to 0, which means itself."""
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            near = dtype.type(value)
        return not np.isfinite(value) or bool(np.isfinite(near) and (near != 0 or value == 0))
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return float(value).is_integer() and bool(limits.min <= value <= limits.max)


def rounded(values: NDArray[Any], dtype: np.dtype[Any], nodata: float | None) -> NDArray[Any]:
    """Values as a floating-point dtype. No value becomes nodata by rounding; it becomes the next other one."""
    found: NDArray[Any] = values.astype(dtype)
    if nodata is None or np.isnan(nodata):
        return found
    near = dtype.type(nodata)
    moved = (found == near) & (values != nodata) & (values != float(near))
    if moved.any():
        below, above = _next(near, False), _next(near, True)
        below, above = (above if below is None else below), (below if above is None else above)
        found[moved] = np.where(values[moved] > float(near), above, below)
    return found


def _free(value: Any, taken: set[Any]) -> Any:
    """The next value above a NumPy scalar that isn't `taken`, or else the next below."""
    for upwards in (True, False):
        other = _next(value, upwards)
        while other is not None and other.item() in taken:
            other = _next(other, upwards)
        if other is not None:
            return other
    raise CorruptDataError("MASK is invalid: its fills are all values of the dtype")


def _next(value: Any, upwards: bool) -> Any:
    """The next finite value of the dtype; None at its end."""
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            other = np.nextafter(value, value.dtype.type(np.inf if upwards else -np.inf))
        return other if np.isfinite(other) else None
    limits = np.iinfo(value.dtype)
    if value == (limits.max if upwards else limits.min):
        return None
    return value.dtype.type(int(value) + (1 if upwards else -1))
