"""Array values <-> the model's domain: (components, H, W) float32, about [0, 1].

    uint8 with the model's own number of bands      value / 255
    one uint8 band through a three-band model       the same, repeated
    everything else                                 (radar: decibels) -> scaled by a robust range -> outliers compressed
                                                    -> of several bands, their spectral components

Each component of the last kind goes through a one-band model by itself. All bands have one scale, so that the error is
uniform in the units of the data.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.errors import BitstreamError, CorruptDataError, UnsupportedVersionError

from .inpaint import fill
from .sources import Unit

if TYPE_CHECKING:
    from learned_codec.bitstream import Header


PLAIN = 0
"""Each band divided by 255."""

GREY = 1
"""One band, divided by 255, repeated for each band of the model; decoded as their mean."""

SCALED = 0x81
"""By parameters: see `ValueTransform`."""

MAX_BANDS = 256
"""The spectral transform takes time in proportion to the square of the bands."""

KNEE = 1.5
"""Distance from the middle of the range (in ranges) from where on values are compressed."""

MATRIX_ONE: dict[np.dtype[Any], int] = {np.dtype(np.int8): 127, np.dtype(np.int16): 1 << 14}
"""What 1 is in the spectral transform's coefficients, by their type."""

UNITS: tuple[Unit | None, ...] = (None, "power", "amplitude", "db")  # the index is the code in the file


@dataclass(frozen=True)
class ValueTransform:
    """How values became what the model codes.

    Attributes:
        code: `PLAIN`, `GREY` or `SCALED`; the others only matter for the last.
        dtype: of the array.
        bands: of the array.
        unit: of radar backscatter; `power` and `amplitude` are coded in dB.
        scale: what one unit of the model's domain is in values (or dB); above 0.
        offsets: (bands,) the values that become 0.
        floor: dB below which power and amplitude are not told apart, zero among them.
        matrix: (components, bands) int8 or int16, the spectral transform's rows times `MATRIX_ONE`; None for one band.
    """

    code: int
    dtype: np.dtype[Any]
    bands: int
    unit: Unit | None = None
    scale: float = 255.0
    offsets: tuple[float, ...] = ()
    floor: float = 0.0
    matrix: NDArray[np.int8] | NDArray[np.int16] | None = None

    @property
    def components(self) -> int:
        """How many planes the model sees, each of one band; 1 for `PLAIN` and `GREY`, whose bands it sees together."""
        return 1 if self.matrix is None else len(self.matrix)

    def first(self, components: int) -> ValueTransform:
        """The same with so many of the components, all the others 0.5."""
        return self if self.matrix is None else replace(self, matrix=self.matrix[:components])

    @property
    def decibels(self) -> bool:
        """Whether values are coded as decibels without being decibels."""
        return self.unit in ("power", "amplitude")

    @property
    def peak(self) -> float:
        """The peak of the PSNR: 255 or 65535 for integers, the robust range of floats and of radar."""
        if self.dtype.kind == "f" or self.unit is not None:
            return self.scale
        return float(2 ** (8 * self.dtype.itemsize) - 1)

    # -- forward ------------------------------------------------------------------------------------------------------

    def to_model(self, values: NDArray[Any], valid: NDArray[np.bool_] | None, model_bands: int) -> NDArray[np.float32]:
        """(bands, H, W) values -> (components * model_bands, H, W) float32.

        What lies outside `valid` (bands, H, W), None for everything, is filled smoothly.
        """
        if self.code == SCALED:
            return self._scaled(values, valid)
        unit: NDArray[np.float32] = np.divide(values, 255, dtype=np.float32)
        planes = unit if valid is None else _filled(unit, valid)
        return np.repeat(planes, model_bands, 0) if self.code == GREY else planes

    def _scaled(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        units = to_units(self.linear(values), self._offsets, self.scale)
        if valid is not None:
            units = _filled(units, valid)
        if self.matrix is None:
            return units
        centred = units - np.float32(0.5)
        components = np.tensordot(self._forward, centred, 1) + np.float32(0.5)
        return np.ascontiguousarray(components, np.float32)

    def linear(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(bands, H, W) values in the domain in which errors count: dB for radar, else the values; float32."""
        linear = values.astype(np.float32)
        if not self.decibels:
            return linear
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = (10 if self.unit == "power" else 20) * np.log10(linear)
        # NaN is masked; what isn't positive has the floor's power.
        floored: NDArray[np.float32] = np.fmax(decibels, np.float32(self.floor)).astype(np.float32)
        return floored

    # -- backward -----------------------------------------------------------------------------------------------------

    def from_model(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        """(components * model bands, H, W) float32 -> (bands, H, W) values, rounded and clipped to the dtype."""
        if self.code == SCALED:
            return self._unscaled(planes)
        levels = (planes.mean(0, keepdims=True) if self.code == GREY else planes) * np.float32(255)
        # Rounded by the conversion, which cuts off what follows the point.
        levels += np.float32(0.5)
        return np.clip(levels, 0, np.float32(255.5), out=levels).astype(np.uint8)

    def _unscaled(self, components: NDArray[np.float32]) -> NDArray[Any]:
        units = components
        if self.matrix is not None:
            back = self.matrix.T.astype(np.float32) / MATRIX_ONE[self.matrix.dtype]
            units = np.tensordot(back, components - np.float32(0.5), 1) + np.float32(0.5)
        values = _from_units(units, self._offsets, self.scale)
        if self.decibels:
            exponent = np.maximum(values, np.float32(self.floor)) / (10 if self.unit == "power" else 20)
            values = 10 ** np.minimum(exponent, np.float32(38.5))
        if self.dtype.kind == "f":
            most: Any = np.finfo(np.float32).max
            least = -most
        else:
            values, limits = np.rint(values), np.iinfo(self.dtype)
            least, most = limits.min, limits.max
        result: NDArray[Any] = np.clip(values, least, most).astype(self.dtype)
        return result

    @cached_property
    def _offsets(self) -> NDArray[np.float32]:
        return np.array(self.offsets, np.float32)[:, None, None]

    @cached_property
    def _forward(self) -> NDArray[np.float32]:
        """The inverse of what a decoder does with the rounded matrix."""
        matrix = np.asarray(self.matrix)
        back = matrix.T.astype(np.float64) / MATRIX_ONE[matrix.dtype]
        return np.linalg.pinv(back).astype(np.float32)

    # -- in the header ------------------------------------------------------------------------------------------------

    def parameters(self) -> bytes:
        """The parameters in HEAD; empty unless the code is `SCALED`."""
        if self.code != SCALED:
            return b""
        out = bytes([UNITS.index(self.unit)]) + struct.pack(f"<{1 + self.bands}f", self.scale, *self.offsets)
        if self.decibels:
            out += struct.pack("<f", self.floor)
        if self.matrix is not None:
            fine = self.matrix.dtype == np.int16
            out += varint.encode(2 * self.components + fine) + self.matrix.astype("<i2" if fine else "i1").tobytes()
        return out

    @classmethod
    def of_header(cls, header: Header, model_bands: int) -> ValueTransform:
        """The transform that a header declares.

        Raises:
            UnsupportedVersionError: this version can't undo it.
            CorruptDataError: its parameters make no sense.
        """
        dtype = np.dtype(header.dtype)
        if header.transform in (PLAIN, GREY):
            wanted = model_bands if header.transform == PLAIN else 1
            if header.dtype != "uint8" or header.bands != wanted:
                raise UnsupportedVersionError(
                    f"value transform {header.transform} of {header.bands} bands of {header.dtype} needs a later "
                    "version of this library"
                )
            return cls(header.transform, dtype, header.bands)
        if header.transform != SCALED or model_bands != 1 or header.bands > MAX_BANDS:
            raise UnsupportedVersionError(
                f"value transform {header.transform} of {header.bands} bands needs a later version of this library"
            )
        return cls._parse(header.parameters, dtype, header.bands)

    @classmethod
    def _parse(cls, data: bytes, dtype: np.dtype[Any], bands: int) -> ValueTransform:
        try:
            if data[0] >= len(UNITS):
                raise UnsupportedVersionError(f"unit {data[0]} of values needs a later version of this library")
            unit = UNITS[data[0]]
            scale, *offsets = struct.unpack_from(f"<{1 + bands}f", data, 1)
            at = 1 + 4 * (1 + bands)
            floor = 0.0
            if unit in ("power", "amplitude"):
                (floor,) = struct.unpack_from("<f", data, at)
                at += 4
            matrix = None
            if bands > 1:
                number, at = varint.decode(data, at)
                count, kind = number // 2, np.dtype(np.int16 if number % 2 else np.int8)
                if not 1 <= count <= bands:
                    raise CorruptDataError(f"{count} spectral components of {bands} bands")
                stored = np.frombuffer(data, kind.newbyteorder("<"), count * bands, at)
                matrix = stored.reshape(count, bands).astype(kind)
                at += matrix.nbytes
        except BitstreamError:
            raise
        except (IndexError, ValueError, struct.error) as error:
            raise CorruptDataError(f"the value transform's parameters make no sense: {error}") from error
        if at != len(data) or not (scale > 0 and all(map(math.isfinite, (scale, floor, *offsets)))):
            raise CorruptDataError("the value transform's parameters make no sense")
        return cls(SCALED, dtype, bands, unit, scale, tuple(offsets), floor, matrix)


def _filled(planes: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.stack([fill(plane, mask) for plane, mask in zip(planes, valid, strict=True)])


def to_units(linear: NDArray[np.float32], offsets: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Values to about [0, 1], far outside it by their logarithm: an outlier's error is in proportion to it.

    `offsets` broadcast against the values. No step grows with an outlier.
    """
    with np.errstate(over="ignore"):  # nodata is often -3.4e38
        units = (linear - offsets) / np.float32(scale)
        beyond = np.abs(units - np.float32(0.5)) > KNEE
    if beyond.any():
        # In double precision: a distance may be more ranges than float32 holds.
        distance = (linear[beyond].astype(np.float64) - np.broadcast_to(offsets, linear.shape)[beyond]) / scale - 0.5
        units[beyond] = np.copysign(KNEE + np.log1p(np.maximum(np.abs(distance) - KNEE, 0)), distance) + 0.5
    return units


def _from_units(units: NDArray[np.float32], offsets: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """The inverse of `to_units`; what no float32 is becomes infinite."""
    with np.errstate(over="ignore"):
        values = units * np.float32(scale) + offsets
        beyond = np.abs(units - np.float32(0.5)) > KNEE
        if beyond.any():
            distance = units[beyond].astype(np.float64) - 0.5
            far = np.copysign(KNEE + np.expm1(np.clip(np.abs(distance) - KNEE, 0, 600)), distance) + 0.5
            values[beyond] = (far * scale + np.broadcast_to(offsets, units.shape)[beyond]).astype(np.float32)
    return values
