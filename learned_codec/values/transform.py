"""Array values <-> the model's domain: (components, H, W) float32, about in [0, 1].

    uint8 with as many bands as the model           value / 255; three bands may be rotated
    one uint8 band, a three-band model              value / 255, repeated
    everything else                                 radar as decibels; scaled by a robust range; outliers compressed;
                                                    several bands turned into spectral components

Each component of the last kind is coded by a one-band model. Bands with similar ranges have one scale, so they have the
same error in the units of the data; others have scales of their own.

Decoded values lie within each band's bounds, the lowest and highest valid values of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream import varint
from learned_codec.bitstream.header import HAS_PARAMETERS
from learned_codec.caching import cached_property
from learned_codec.errors import BitstreamError, CorruptDataError, UnsupportedVersionError
from learned_codec.forks import gate, without_forks

from .decibels import PER_DECADE, of_decibels, to_decibels
from .inpaint import fill_bands
from .rotation import matrix_of
from .sources import Unit
from .sparse import refine

if TYPE_CHECKING:
    from learned_codec.bitstream import Header

    from .axes import Spectrum


PLAIN = 0
"""Each band divided by 255."""

GREY = 1
"""One band, divided by 255, repeated for each band of the model; decoded as their mean."""

SCALED = 2
"""Scaled by parameters, see `ValueTransform`."""

ROTATED = 4
"""In headers: `PLAIN`, with a rotation."""

MAX_BANDS = 256
"""The most bands. The spectral transform's time grows with their square."""

MODELLED = ("uint8", "uint16", "int16", "float32")
"""The dtypes that models code."""

KNEE = 1.5
"""Values further than this from the middle of the range, in widths of the range, are compressed."""

MATRIX_ONE: dict[np.dtype[Any], int] = {np.dtype(np.int8): 127, np.dtype(np.int16): 1 << 14}
"""The integer that stands for 1 in the spectral transform's coefficients, by their dtype."""

UNITS: tuple[Unit | None, ...] = (None, "power", "amplitude", "db")  # the index is the code in the file
_UNIT, _OWN_SCALES = 0b011, 0b100  # bits of the parameters' first byte: the unit; whether each band has a scale

LIKE_COLOURS = 0.9
"""How red, green and blue are correlated, as a rule. Where one of them is missing, the others tell its detail."""

BEYOND, MOST_BEYOND = 0.5, 2.5 / 255
"""8-bit pixels of 0 and 255 are coded as if they lay beyond these values, by half of `detail`, and at most 1 % of the
range. Decoders clip to 0 and 255, so such pixels get smaller errors: bright clouds and lights, dark shadows."""

MOST_PRODUCTS = 1 << 18
"""The multiplications that turn the colours of some rows of pixels into bytes. These rows fit a processor's cache, and
BLAS libraries split larger products over threads of their own."""

NARROW = 224
"""8-bit pictures store bounds only if the values of a band span less than this. Others would gain nothing."""


@dataclass(frozen=True)
class ValueTransform:
    """The mapping between array values and the values that the model codes.

    Attributes:
        code: `PLAIN`, `GREY` or `SCALED`. Only `SCALED` uses the attributes below, but for `rotation` and `bounds`.
        dtype: the array's.
        bands: the array's.
        unit: the unit of radar backscatter. `power` and `amplitude` are coded in dB.
        scales: (bands,) the step in values (or dB) that is 1 in the model's domain; above 0.
        offsets: (bands,) the values (or dB) that become 0.
        floor: all power or amplitude below this many dB, zero included, becomes this.
        matrix: (components, bands) int8 or int16, the spectral transform's rows times `MATRIX_ONE`; None for one band.
        rotation: of three bands in the model's domain, around their middle, by `rotation.py`; empty if there is none.
            Only `PLAIN` may have one.
        bounds: (2, bands) in the dtype, the lowest and the highest value of each band; decoded values are clipped to
            them. None: the limits of the dtype.
        spectrum: what several bands have in common. Only encoders have it.
        detail: the least coefficient that is worth coding, in the model's domain, to fill holes; 0 if it isn't known.
            Only encoders have it.
        widths: (bands,) the widths of the bands' own ranges. Only encoders have them.
        groups: (bands,) numbers of groups of bands with similar ranges. Only encoders have them.
    """

    code: int
    dtype: np.dtype[Any]
    bands: int
    unit: Unit | None = None
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    floor: float = 0.0
    matrix: NDArray[np.int8] | NDArray[np.int16] | None = None
    rotation: tuple[int, ...] = ()
    bounds: NDArray[Any] | None = None
    spectrum: Spectrum | None = None
    detail: float = 0.0
    widths: tuple[float, ...] = ()
    groups: tuple[int, ...] = ()

    @property
    def components(self) -> int:
        """How many components are coded one by one. 1 for `PLAIN` and `GREY`, whose bands are coded together."""
        return 1 if self.matrix is None else len(self.matrix)

    def first(self, components: int) -> ValueTransform:
        """The transform with only the first components; the others are 0.5."""
        return self if self.matrix is None else replace(self, matrix=self.matrix[:components])

    def within(self, bounds: NDArray[Any]) -> ValueTransform:
        """The transform with bounds, if they are worth their bytes."""
        found = replace(self, bounds=bounds.astype(self.dtype))
        if found.constant:
            return replace(found, rotation=())
        if self.code != SCALED and np.ptp(bounds.astype(int), axis=0).min() >= NARROW:
            return self
        return found

    @property
    def constant(self) -> bool:
        """Whether each band has only one value by its bounds. Then nothing needs to be coded."""
        return self.bounds is not None and bool((self.bounds[0] == self.bounds[1]).all())

    @property
    def decibels(self) -> bool:
        """Whether values are converted to decibels to be coded."""
        return self.unit in PER_DECADE

    @property
    def picture(self) -> bool:
        """Whether values are 8-bit brightnesses, with one scale of 255 for all bands."""
        return self.dtype == np.uint8 and self.unit is None

    def error(self, original: NDArray[Any], decoded: NDArray[Any]) -> NDArray[np.float64]:
        """The error of (bands, H, W) values, relative to the peak value of PSNR.

        The peak is 255 or 65535 for integers, and each band's scale for floats and radar.
        """
        difference = self.linear(decoded).astype(np.float64) - self.linear(original)
        return difference / self._peaks[:, None, None]

    @property
    def linear_range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(bands, 1, 1) each: the middle and the width of the range, in the values of `linear`."""
        if self.code != SCALED:
            return np.full((self.bands, 1, 1), 127.5), np.full((self.bands, 1, 1), 255.0)
        scales, offsets = (np.array(x, np.float64)[:, None, None] for x in (self.scales, self.offsets))
        return offsets + scales / 2, scales

    @property
    def gain(self) -> float:
        """The mean square of `error` for a mean squared error of 1 in the model's domain."""
        return 1.0 if self.code != SCALED else float(np.square(np.array(self.scales) / self._peaks).mean())

    @property
    def rounding(self) -> float:
        """The mean square of `error` due to rounding to integers."""
        integers = self.dtype.kind != "f" and not self.decibels
        return float(np.square(1 / self._peaks).mean()) / 12 if integers else 0.0

    @property
    def _peaks(self) -> NDArray[np.float64]:
        """(bands,) the peak value of each band for PSNR."""
        if self.dtype.kind == "f" or self.unit is not None:
            return np.array(self.scales)
        return np.full(self.bands, 2.0 ** (8 * self.dtype.itemsize) - 1)

    # -- forward ------------------------------------------------------------------------------------------------------

    def to_model(self, values: NDArray[Any], valid: NDArray[np.bool_] | None, model_bands: int) -> NDArray[np.float32]:
        """(bands, H, W) values -> (components * model_bands, H, W) float32.

        Values outside `valid` (bands, H, W) are filled smoothly. None: all are valid.
        """
        if self.code == SCALED:
            return self._scaled(values, valid)
        unit: NDArray[np.float32] = np.divide(values, 255, dtype=np.float32)
        self._move_ends(unit, values)
        like = LIKE_COLOURS + (1 - LIKE_COLOURS) * np.eye(len(unit))
        planes = unit if valid is None else self._filled(unit, valid, like)
        if self.rotation:
            return _around_middle(matrix_of(self.rotation), planes)
        return np.repeat(planes, model_bands, 0) if self.code == GREY else planes

    def _scaled(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        units = self.units(values, valid)
        return units if self.matrix is None else _around_middle(self._forward, units)

    def units(
        self, values: NDArray[Any], valid: NDArray[np.bool_] | None, alone: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """What `to_model` gives, but in the bands' scales, before the spectral transform. Only for `SCALED`.

        With `alone`, each band is filled as if it were alone, with a scale (bands,) so many times its own.
        """
        linear = self.linear(values)
        if valid is not None:  # outliers take time, and nodata often is one
            linear = np.where(valid, linear, self._offsets)
        units = to_units(linear, self._offsets, self._scales)
        if self.picture:
            self._move_ends(units, values)
        if valid is None:
            return units
        if alone is not None:
            return self._filled(units, valid, None, self.detail * alone[:, None, None])
        return self._filled(units, valid, None if self.spectrum is None else self.spectrum.covariance)

    def _move_ends(self, units: NDArray[np.float32], values: NDArray[np.uint8]) -> None:
        """Move the pixels of 0 and 255 in (bands, H, W) beyond these values, in place; see `BEYOND`."""
        step = np.float32(min(BEYOND * self.detail, MOST_BEYOND))
        for value, moved in ((0, -step), (255, step)):
            there = values == value
            if step and there.any():
                np.add(units, moved, out=units, where=there)  # indices would take three times as long

    def _filled(
        self,
        units: NDArray[np.float32],
        valid: NDArray[np.bool_],
        covariance: NDArray[np.float64] | None,
        detail: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        if covariance is not None:
            there = valid.any((1, 2)) | (np.diagonal(covariance) > 0)
            if not there.all():  # bands without a value in the whole image need no filling
                found = np.full_like(units, 0.5)
                if there.any():
                    found[there] = self._filled(units[there], valid[there], covariance[np.ix_(there, there)])
                return found
        if valid.all():
            return units
        filled = fill_bands(units, valid, covariance)
        least = self.detail if detail is None else detail
        return refine(filled, valid, covariance, least) if self.detail else filled

    def linear(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(bands, H, W) values as float32 in the units in which errors count: dB for radar, else unchanged."""
        linear = values.astype(np.float32)
        if not self.decibels:
            return linear
        # NaN is masked. Values that aren't positive become the floor.
        floored: NDArray[np.float32] = np.fmax(to_decibels(linear, self.unit), np.float32(self.floor))
        return floored

    # -- backward -----------------------------------------------------------------------------------------------------

    def from_model(self, planes: NDArray[Any]) -> NDArray[Any]:
        """(components * model bands, H, W) float32 -> (bands, H, W) values, rounded and within the bounds.

        With `PLAIN`, planes may also be bytes: the rounded values.
        """
        if self.code == SCALED:
            return self._unscaled(planes)
        if planes.dtype == np.uint8:
            return self._bounded(planes)
        units = planes.mean(0, keepdims=True) if self.code == GREY else planes
        matrix = (255 * (matrix_of(self.rotation).T if self.rotation else np.eye(len(units)))).astype(np.float32)
        # The middle stays. The conversion to integers truncates, so adding a half rounds.
        shift = np.float32(128) - matrix.sum(1)[:, None, None] / 2
        values = np.empty(units.shape, np.uint8)
        step = max(1, MOST_PRODUCTS // (matrix.size * units.shape[2]))
        for top in range(0, units.shape[1], step):
            rows = slice(top, top + step)
            levels = np.tensordot(matrix, units[:, rows], 1)
            levels += shift
            values[:, rows] = np.clip(levels, 0, np.float32(255.5), out=levels)
        return self._bounded(values)

    def _bounded(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return values if self.bounds is None else np.clip(values, *self.bounds[:, :, None, None])

    def constants(self, height: int, width: int) -> NDArray[Any]:
        """(bands, height, width) values of a `constant` transform."""
        assert self.bounds is not None  # noqa: S101 - see `constant`
        return np.tile(self.bounds[0][:, None, None], (1, height, width))

    def _unscaled(self, components: NDArray[np.float32]) -> NDArray[Any]:
        units = components
        if self.matrix is not None:
            back = self.matrix.T.astype(np.float32) / MATRIX_ONE[self.matrix.dtype]
            units = _around_middle(back, components)
        values = _from_units(units, self._offsets, self._scales)
        if self.decibels:
            values = of_decibels(np.maximum(values, np.float32(self.floor)), self.unit)
        if self.dtype.kind != "f":
            values = np.rint(values)
        result: NDArray[Any] = np.clip(values, *self._limits[:, :, None, None]).astype(self.dtype)
        return result

    @cached_property
    def _limits(self) -> NDArray[np.float32]:
        """(2, bands): the bounds. float32 holds them exactly."""
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
        """The inverse of what decoders do with the rounded matrix."""
        matrix = np.asarray(self.matrix)
        back = matrix.T.astype(np.float64) / MATRIX_ONE[matrix.dtype]
        with gate().working():
            return np.linalg.pinv(back).astype(np.float32)

    # -- in the header ------------------------------------------------------------------------------------------------

    def in_header(self) -> tuple[int, bytes]:
        """The fields `transform` and `parameters` of HEAD."""
        if self.code != SCALED:
            parameters = b"" if self.bounds is None else self._bounds_bytes()
            if self.rotation:
                return ROTATED | HAS_PARAMETERS, np.array(self.rotation, np.int8).tobytes() + parameters
            return (self.code | HAS_PARAMETERS if parameters else self.code), parameters
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
            UnsupportedVersionError: this version doesn't know the transform.
            CorruptDataError: its parameters are invalid.
        """
        code, dtype = header.transform & ~HAS_PARAMETERS, np.dtype(header.dtype)
        fits = {
            PLAIN: header.dtype == "uint8" and header.bands == model_bands,
            GREY: header.dtype == "uint8" and header.bands == 1 < model_bands,
            SCALED: header.transform != SCALED
            and header.bands <= MAX_BANDS
            and model_bands == 1
            and header.dtype in MODELLED,
            ROTATED: header.transform != ROTATED and header.dtype == "uint8" and header.bands == model_bands == 3,
        }
        if not fits.get(code, False):
            raise UnsupportedVersionError(
                f"value transform {header.transform} of {header.bands} bands of {header.dtype} needs a later "
                "version of this library"
            )
        plain = cls(PLAIN if code == ROTATED else code, dtype, header.bands)
        if not header.transform & HAS_PARAMETERS:
            return plain
        return plain._with(_ParameterReader(header.parameters), rotated=code == ROTATED)

    def _with(self, data: _ParameterReader, *, rotated: bool) -> ValueTransform:
        """The transform with the parameters of HEAD."""
        try:
            if self.code == SCALED:
                found = self._scaled_with(data)
            elif rotated:
                found = replace(self, rotation=data.rotation(), bounds=data.bounds(self) if data.left else None)
            else:
                found = replace(self, bounds=data.bounds(self))
            data.finish()
        except BitstreamError:
            raise
        except (IndexError, ValueError) as error:
            raise CorruptDataError(f"the value transform's parameters are invalid: {error}") from error
        return found

    def _scaled_with(self, data: _ParameterReader) -> ValueTransform:
        first = int(data.array("u1", 1)[0])
        if first & ~(_UNIT | _OWN_SCALES):
            raise UnsupportedVersionError(f"value transform parameters of kind {first} need a later version")
        found = replace(self, unit=UNITS[first & _UNIT], bounds=data.bounds(self))
        if found.constant:
            return replace(found, scales=(1.0,) * self.bands, offsets=(0.0,) * self.bands)
        scales = data.floats(self.bands if first & _OWN_SCALES else 1)
        if min(scales) <= 0:
            raise CorruptDataError(f"the value transform's parameters are invalid: a scale of {min(scales):g}")
        offsets = data.floats(self.bands)
        return replace(
            found,
            scales=scales if first & _OWN_SCALES else scales * self.bands,
            offsets=offsets,
            floor=data.floats(1)[0] if found.decibels else 0.0,
            matrix=data.matrix(self.bands) if self.bands > 1 else None,
        )


class _ParameterReader:
    """Reads the transform's parameters in HEAD, in order. Raises `CorruptDataError` or `ValueError`."""

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
            raise CorruptDataError("the value transform's parameters are invalid: not finite")
        return tuple(found.tolist())

    def bounds(self, transform: ValueTransform) -> NDArray[Any]:
        found = self.array(transform.dtype, 2 * transform.bands).reshape(2, transform.bands)
        if not (np.isfinite(found).all() and (found[0] <= found[1]).all()):
            raise CorruptDataError("the value transform's parameters are invalid: a lower bound above the upper one")
        return found

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def rotation(self) -> tuple[int, ...]:
        found: tuple[int, ...] = tuple(self.array("i1", 3).tolist())
        matrix_of(found)
        return found

    def matrix(self, bands: int) -> NDArray[Any]:
        number, self._at = varint.decode(self._data, self._at)
        count = number // 2
        if not 1 <= count <= bands:
            raise CorruptDataError(f"{count} spectral components of {bands} bands")
        return self.array("i2" if number % 2 else "i1", count * bands).reshape(count, bands)

    def finish(self) -> None:
        if self.left:
            raise CorruptDataError("the value transform's parameters are invalid: bytes follow them")


def unit_in(header: Header) -> Unit | None:
    """The unit of radar backscatter in a header, for any model; None if there is none."""
    scaled = header.transform == SCALED | HAS_PARAMETERS and header.parameters
    return UNITS[header.parameters[0] & _UNIT] if scaled else None


def _floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def to_units(
    linear: NDArray[np.float32], offsets: NDArray[np.float32], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scale values to about [0, 1]. Outliers are compressed by a logarithm: their error is in proportion to them.

    `offsets` and `scales` broadcast against the values. So outliers don't make the scale larger.
    """
    with np.errstate(over="ignore"):  # nodata is often -3.4e38
        units = (linear - offsets) / scales
        beyond = np.abs(units - np.float32(0.5)) > KNEE
    if beyond.any():
        # In double precision: float32 may not hold the distance.
        offset, scale = (np.broadcast_to(x, linear.shape)[beyond] for x in (offsets, scales))
        distance = (linear[beyond].astype(np.float64) - offset) / scale - 0.5
        far = np.copysign(KNEE + np.log1p(np.maximum(np.abs(distance) - KNEE, 0)), distance)
        # Some values only seemed far, because float32 couldn't hold their difference to the offset.
        units[beyond] = np.where(np.abs(distance) > KNEE, far, distance) + 0.5
    return units


@without_forks
def _around_middle(matrix: NDArray[np.floating[Any]], planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K) times (K, H, W) -> (N, H, W), where 0.5 stands for zero."""
    found: NDArray[np.float32] = np.tensordot(matrix.astype(np.float32), planes - np.float32(0.5), 1)
    found += np.float32(0.5)
    return found


def _from_units(
    units: NDArray[np.float32], offsets: NDArray[np.float32], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The inverse of `to_units`. Values beyond float32 become infinite."""
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
