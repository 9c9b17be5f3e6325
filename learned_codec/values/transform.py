"""Array values <-> the model's domain: (components, H, W) float32, about [0, 1].

    uint8 with the model's own number of bands      value / 255
    one uint8 band through a three-band model       the same, repeated
    everything else                                 (radar: decibels) -> scaled by a robust range -> outliers compressed
                                                    -> of several bands, their spectral components

Each component of the last kind goes through a one-band model by itself. Bands of like range have one scale, so that the
error is uniform in the units of the data; others have scales of their own.

What comes back lies within each band's bounds, the lowest and highest valid value of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.bitstream.header import HAS_PARAMETERS
from learned_codec.errors import BitstreamError, CorruptDataError, UnsupportedVersionError

from .decibels import PER_DECADE, of_decibels, to_decibels
from .inpaint import fill_bands
from .sources import Unit

if TYPE_CHECKING:
    from learned_codec.bitstream import Header


PLAIN = 0
"""Each band divided by 255."""

GREY = 1
"""One band, divided by 255, repeated for each band of the model; decoded as their mean."""

SCALED = 2
"""By parameters: see `ValueTransform`."""

MAX_BANDS = 256
"""The spectral transform takes time in proportion to the square of the bands."""

KNEE = 1.5
"""Distance from the middle of the range (in ranges) from where on values are compressed."""

MATRIX_ONE: dict[np.dtype[Any], int] = {np.dtype(np.int8): 127, np.dtype(np.int16): 1 << 14}
"""What 1 is in the spectral transform's coefficients, by their type."""

UNITS: tuple[Unit | None, ...] = (None, "power", "amplitude", "db")  # the index is the code in the file
_UNIT, _OWN_SCALES = 0b011, 0b100  # of the first byte of the parameters: the unit, and whether each band has a scale

NARROW = 32
"""Pictures of 8 bits get bounds if each band's values span less than this; others would gain nothing by theirs."""


@dataclass(frozen=True)
class ValueTransform:
    """How values became what the model codes.

    Attributes:
        code: `PLAIN`, `GREY` or `SCALED`; what isn't said to matter for all only matters for the last.
        dtype: of the array; for all.
        bands: of the array; for all.
        unit: of radar backscatter; `power` and `amplitude` are coded in dB.
        scales: (bands,) what one unit of the model's domain is in values (or dB); above 0.
        offsets: (bands,) the values that become 0.
        floor: dB below which power and amplitude are not told apart, zero among them.
        matrix: (components, bands) int8 or int16, the spectral transform's rows times `MATRIX_ONE`; None for one band.
        bounds: (2, bands) of the dtype, the lowest and the highest value of each band that may come back; for all. None
            for the dtype's own.
        covariance: (bands, bands) in the model's domain, where an encoder knows it: with it holes are filled.
        widths: (bands,) of each band's own range, where an encoder knows them.
    """

    code: int
    dtype: np.dtype[Any]
    bands: int
    unit: Unit | None = None
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    floor: float = 0.0
    matrix: NDArray[np.int8] | NDArray[np.int16] | None = None
    bounds: NDArray[Any] | None = None
    covariance: NDArray[np.float64] | None = None
    widths: tuple[float, ...] = ()

    @property
    def components(self) -> int:
        """How many planes the model sees, each of one band; 1 for `PLAIN` and `GREY`, whose bands it sees together."""
        return 1 if self.matrix is None else len(self.matrix)

    def first(self, components: int) -> ValueTransform:
        """The same with so many of the components, all the others 0.5."""
        return self if self.matrix is None else replace(self, matrix=self.matrix[:components])

    def within(self, bounds: NDArray[Any]) -> ValueTransform:
        """The same with bounds, as far as they are worth their bytes."""
        found = replace(self, bounds=bounds.astype(self.dtype))
        if self.code != SCALED and not found.constant and np.ptp(bounds.astype(int), axis=0).max() >= NARROW:
            return self
        return found

    @property
    def constant(self) -> bool:
        """Whether the bounds leave no choice: each band has one value, and nothing needs to be coded."""
        return self.bounds is not None and bool((self.bounds[0] == self.bounds[1]).all())

    @property
    def decibels(self) -> bool:
        """Whether values are coded as decibels without being decibels."""
        return self.unit in PER_DECADE

    def error(self, original: NDArray[Any], decoded: NDArray[Any]) -> NDArray[np.float64]:
        """The error of (bands, H, W) values as a share of the PSNR's peak.

        That is 255 or 65535 for integers, and for floats and radar each band's scale.
        """
        difference = self.linear(decoded).astype(np.float64) - self.linear(original)
        return difference / self._peaks[:, None, None]

    @property
    def linear_range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(bands, 1, 1) each: the middle of the range, and its width, in the domain of `linear`."""
        if self.code != SCALED:
            return np.full((self.bands, 1, 1), 127.5), np.full((self.bands, 1, 1), 255.0)
        scales, offsets = (np.array(x, np.float64)[:, None, None] for x in (self.scales, self.offsets))
        return offsets + scales / 2, scales

    @property
    def gain(self) -> float:
        """The mean square of `error` that a mean squared error of 1 in the model's domain makes."""
        return 1.0 if self.code != SCALED else float(np.square(np.array(self.scales) / self._peaks).mean())

    @property
    def rounding(self) -> float:
        """The mean square of `error` that rounding to integers makes."""
        integers = self.dtype.kind != "f" and not self.decibels
        return float(np.square(1 / self._peaks).mean()) / 12 if integers else 0.0

    @property
    def _peaks(self) -> NDArray[np.float64]:
        """(bands,)."""
        if self.dtype.kind == "f" or self.unit is not None:
            return np.array(self.scales)
        return np.full(self.bands, 2.0 ** (8 * self.dtype.itemsize) - 1)

    # -- forward ------------------------------------------------------------------------------------------------------

    def to_model(self, values: NDArray[Any], valid: NDArray[np.bool_] | None, model_bands: int) -> NDArray[np.float32]:
        """(bands, H, W) values -> (components * model_bands, H, W) float32.

        What lies outside `valid` (bands, H, W), None for everything, is filled smoothly.
        """
        if self.code == SCALED:
            return self._scaled(values, valid)
        unit: NDArray[np.float32] = np.divide(values, 255, dtype=np.float32)
        planes = unit if valid is None else fill_bands(unit, valid, None)
        return np.repeat(planes, model_bands, 0) if self.code == GREY else planes

    def _scaled(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        units = to_units(self.linear(values), self._offsets, self._scales)
        if valid is not None:
            units = fill_bands(units, valid, self.covariance)
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
        # NaN is masked; what isn't positive has the floor's power.
        floored: NDArray[np.float32] = np.fmax(to_decibels(linear, self.unit), np.float32(self.floor))
        return floored

    # -- backward -----------------------------------------------------------------------------------------------------

    def from_model(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        """(components * model bands, H, W) float32 -> (bands, H, W) values, rounded and within the bounds."""
        if self.code == SCALED:
            return self._unscaled(planes)
        levels = (planes.mean(0, keepdims=True) if self.code == GREY else planes) * np.float32(255)
        # Rounded by the conversion, which cuts off what follows the point.
        levels += np.float32(0.5)
        values: NDArray[Any] = np.clip(levels, 0, np.float32(255.5), out=levels).astype(np.uint8)
        return values if self.bounds is None else np.clip(values, *self.bounds[:, :, None, None])

    def constants(self, height: int, width: int) -> NDArray[Any]:
        """(bands, height, width) of the only values that the bounds allow."""
        assert self.bounds is not None  # noqa: S101 - see `constant`
        return np.tile(self.bounds[0][:, None, None], (1, height, width))

    def _unscaled(self, components: NDArray[np.float32]) -> NDArray[Any]:
        units = components
        if self.matrix is not None:
            back = self.matrix.T.astype(np.float32) / MATRIX_ONE[self.matrix.dtype]
            units = np.tensordot(back, components - np.float32(0.5), 1) + np.float32(0.5)
        values = _from_units(units, self._offsets, self._scales)
        if self.decibels:
            values = of_decibels(np.maximum(values, np.float32(self.floor)), self.unit)
        if self.dtype.kind != "f":
            values = np.rint(values)
        result: NDArray[Any] = np.clip(values, *self._limits[:, :, None, None]).astype(self.dtype)
        return result

    @cached_property
    def _limits(self) -> NDArray[np.float32]:
        """(2, bands): the bounds, which float32 holds exactly."""
        if self.bounds is not None:
            return self.bounds.astype(np.float32)
        limits = np.finfo(np.float32) if self.dtype.kind == "f" else np.iinfo(self.dtype)
        return np.array([[limits.min], [limits.max]], np.float32).repeat(self.bands, 1)

    @cached_property
    def _scales(self) -> NDArray[np.float32]:
        return np.array(self.scales, np.float32)[:, None, None]

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

    def in_header(self) -> tuple[int, bytes]:
        """The fields `transform` and `parameters` of HEAD."""
        if self.code != SCALED:
            return (self.code, b"") if self.bounds is None else (self.code | HAS_PARAMETERS, self._bounds_bytes())
        own_scales = len(set(self.scales)) > 1 and not self.constant
        out = bytes([UNITS.index(self.unit) | (_OWN_SCALES if own_scales else 0)]) + self._bounds_bytes()
        if self.constant:
            return SCALED | HAS_PARAMETERS, out
        out += _floats(*(self.scales if own_scales else self.scales[:1]), *self.offsets)
        if self.decibels:
            out += _floats(self.floor)
        if self.matrix is not None:
            fine = self.matrix.dtype == np.int16
            out += varint.encode(2 * self.components + fine) + self.matrix.astype("<i2" if fine else "i1").tobytes()
        return SCALED | HAS_PARAMETERS, out

    def _bounds_bytes(self) -> bytes:
        return self._limits.astype(self.dtype.newbyteorder("<")).tobytes()

    @classmethod
    def of_header(cls, header: Header, model_bands: int) -> ValueTransform:
        """The transform that a header declares.

        Raises:
            UnsupportedVersionError: this version can't undo it.
            CorruptDataError: its parameters make no sense.
        """
        code, dtype = header.transform & ~HAS_PARAMETERS, np.dtype(header.dtype)
        fits = {
            PLAIN: header.dtype == "uint8" and header.bands == model_bands,
            GREY: header.dtype == "uint8" and header.bands == 1 < model_bands,
            SCALED: header.transform != SCALED and header.bands <= MAX_BANDS and model_bands == 1,
        }
        if not fits.get(code, False):
            raise UnsupportedVersionError(
                f"value transform {header.transform} of {header.bands} bands of {header.dtype} needs a later "
                "version of this library"
            )
        plain = cls(code, dtype, header.bands)
        return plain._with(_Parameters(header.parameters)) if header.transform & HAS_PARAMETERS else plain

    def _with(self, data: _Parameters) -> ValueTransform:
        """The same with the parameters of HEAD."""
        try:
            found = self._scaled_with(data) if self.code == SCALED else replace(self, bounds=data.bounds(self))
            data.finish()
        except BitstreamError:
            raise
        except (IndexError, ValueError) as error:
            raise CorruptDataError(f"the value transform's parameters make no sense: {error}") from error
        return found

    def _scaled_with(self, data: _Parameters) -> ValueTransform:
        first = int(data.array("u1", 1)[0])
        if first & ~(_UNIT | _OWN_SCALES):
            raise UnsupportedVersionError(f"values of the kind {first} need a later version of this library")
        found = replace(self, unit=UNITS[first & _UNIT], bounds=data.bounds(self))
        if found.constant:
            return replace(found, scales=(1.0,) * self.bands, offsets=(0.0,) * self.bands)
        scales = data.floats(self.bands if first & _OWN_SCALES else 1)
        if min(scales) <= 0:
            raise CorruptDataError(f"the value transform's parameters make no sense: a scale of {min(scales):g}")
        offsets = data.floats(self.bands)
        return replace(
            found,
            scales=scales if first & _OWN_SCALES else scales * self.bands,
            offsets=offsets,
            floor=data.floats(1)[0] if found.decibels else 0.0,
            matrix=data.matrix(self.bands) if self.bands > 1 else None,
        )


class _Parameters:
    """The transform's parameters in HEAD, read from the first to the last. Raises `CorruptDataError`, `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def array(self, dtype: str | np.dtype[Any], count: int) -> NDArray[Any]:
        kind = np.dtype(dtype).newbyteorder("<")
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found.astype(kind.newbyteorder("="))

    def floats(self, count: int) -> tuple[float, ...]:
        found = self.array("f4", count)
        if not np.isfinite(found).all():
            raise CorruptDataError("the value transform's parameters make no sense: they aren't finite")
        return tuple(found.tolist())

    def bounds(self, transform: ValueTransform) -> NDArray[Any]:
        found = self.array(transform.dtype, 2 * transform.bands).reshape(2, transform.bands)
        if not (np.isfinite(found).all() and (found[0] <= found[1]).all()):
            raise CorruptDataError("the value transform's parameters make no sense: its bounds are in no order")
        return found

    def matrix(self, bands: int) -> NDArray[Any]:
        number, self._at = varint.decode(self._data, self._at)
        count = number // 2
        if not 1 <= count <= bands:
            raise CorruptDataError(f"{count} spectral components of {bands} bands")
        return self.array("i2" if number % 2 else "i1", count * bands).reshape(count, bands)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise CorruptDataError("the value transform's parameters make no sense: bytes follow them")


def unit_in(header: Header) -> Unit | None:
    """The unit of radar backscatter that a header says, whichever model it is for; None if it says none."""
    scaled = header.transform == SCALED | HAS_PARAMETERS and header.parameters
    return UNITS[header.parameters[0] & _UNIT] if scaled else None


def _floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def to_units(
    linear: NDArray[np.float32], offsets: NDArray[np.float32], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values to about [0, 1], far outside it by their logarithm: an outlier's error is in proportion to it.

    `offsets` and `scales` broadcast against the values. No step grows with an outlier.
    """
    with np.errstate(over="ignore"):  # nodata is often -3.4e38
        units = (linear - offsets) / scales
        beyond = np.abs(units - np.float32(0.5)) > KNEE
    if beyond.any():
        # In double precision: a distance may be more ranges than float32 holds.
        offset, scale = (np.broadcast_to(x, linear.shape)[beyond] for x in (offsets, scales))
        distance = (linear[beyond].astype(np.float64) - offset) / scale - 0.5
        far = np.copysign(KNEE + np.log1p(np.maximum(np.abs(distance) - KNEE, 0)), distance)
        # What only looks far has a difference to its offset that float32 doesn't hold.
        units[beyond] = np.where(np.abs(distance) > KNEE, far, distance) + 0.5
    return units


def _from_units(
    units: NDArray[np.float32], offsets: NDArray[np.float32], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The inverse of `to_units`; what no float32 is becomes infinite."""
    with np.errstate(over="ignore"):
        values = units * scales + offsets
        beyond = (np.abs(units - np.float32(0.5)) > KNEE) | ~np.isfinite(values)
        if beyond.any():
            offset, scale = (np.broadcast_to(x, units.shape)[beyond] for x in (offsets, scales))
            distance = units[beyond].astype(np.float64) - 0.5
            far = np.copysign(KNEE + np.expm1(np.clip(np.abs(distance) - KNEE, 0, 600)), distance)
            linear = np.where(np.abs(distance) > KNEE, far, distance) + 0.5
            values[beyond] = (linear * scale + offset).astype(np.float32)
    return values
