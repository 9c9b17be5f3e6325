"""Converts rasters of other dtypes to one that the codec takes. A value that doesn't fit is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InputWarning, InvalidInputError, shown
from learned_codec.values import single
from learned_codec.values.arrays import BOUNDED_DTYPES, DTYPES
from learned_codec.values.mask import holds, rounded
from learned_codec.values.sources import OPACITY, PixelSource, Plane

WIDER = ("int8", "int32", "uint32", "int64", "uint64", "float64")
"""Dtypes that are converted to one of the codec's, if all values fit."""

_STRIP = 2**22  # samples

_STRIPS = 16
"""So many strips of float64 show whether float32 loses detail. Together they have at most `_STRIP` samples, or a row
each."""


class ConvertedSource:
    """A `PixelSource` that converts another one to `dtype`.

    Values must fit integers exactly. As floats they are rounded, with a warning if they were integers; with `exact`,
    those are refused. Hidden values that don't fit become 0.

    A nodata value that float32 can't hold, such as the lowest float64, becomes NaN.
    """

    def __init__(self, source: PixelSource, dtype: np.dtype[Any], name: str, *, exact: bool = False) -> None:
        self._source, self._name, self._exact, self._told = source, name, exact, False
        self.height, self.width, self.bands = source.height, source.width, source.bands
        self.plane, self.unit, self.metadata = source.plane, source.unit, source.metadata
        self.dtype = dtype
        self._outside: float | None = None
        self.nodata = source.nodata

    @property
    def nodata(self) -> float | None:
        """As for any `PixelSource`. Setting a value that float32 can't hold makes it NaN."""
        return self._nodata

    @nodata.setter
    def nodata(self, value: float | None) -> None:
        outside = value is not None and self.dtype.kind == "f" and not holds(self.dtype, value)
        self._outside = value if outside else None
        self._nodata = float("nan") if outside else value

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values.

        Raises:
            InvalidInputError: the dtype can't hold one of them.
        """
        values = self._source.read(rows, columns)
        if self._outside is not None:
            values = np.where(values == self._outside, np.nan, values)
        with np.errstate(all="ignore"):
            converted: NDArray[Any]
            if self.dtype.kind == "f":
                converted = rounded(values, self.dtype, self.nodata)
                lost = np.isfinite(values) & ~np.isfinite(converted)
                self._check_integers(values, converted)
            else:
                converted = values.astype(self.dtype)
                # numpy compares as the wider type. A float of 2^63 has become another integer, so it is found here.
                lost = (converted != values) | ~np.isfinite(values)
        if lost.any() and self.plane is not None:
            hidden = np.broadcast_to(self.read_plane(rows, columns) == 0, lost.shape)
            converted[lost & hidden & np.isfinite(values)] = 0
            lost &= ~hidden
        if lost.any():
            raise InvalidInputError(
                f"{self._name}: a value of {values[lost][0]:g} doesn't fit {self.dtype}"
                + (f", whose largest is {np.finfo(self.dtype).max:g}" if self.dtype.kind == "f" else "")
            )
        return converted

    def _check_integers(self, values: NDArray[Any], converted: NDArray[Any]) -> None:
        """Refuse or warn of integers that a float can't hold. All up to 2^24 fit float32."""
        if values.dtype.kind not in "iu" or values.dtype.itemsize < 4 or (self._told and not self._exact):
            return
        large = (values > 2**24) | (values < -(2**24))
        rounded_to = converted[large].astype(values.dtype)
        if (inexact := rounded_to != values[large]).any():
            found = int(values[large][inexact][0])
            text = f"{self._name}: {found} and other integers beyond ±16,777,216 don't fit {self.dtype} exactly"
            if self._exact:
                raise InvalidInputError(f"{text}, so max_error can't bound their error; leave out dtype")
            warnings.warn(f"{text}, and are rounded", InputWarning, stacklevel=4)
            self._told = True

    def read_plane(self, rows: slice, columns: slice) -> Plane:
        """(h, w) values of the plane."""
        return self._source.read_plane(rows, columns)


def convert(source: PixelSource, dtype: Any, name: str, *, bounded: bool = False) -> PixelSource:
    """A source whose samples have a dtype of the codec: `dtype`, or by default one that holds all values.

    By default, float64 becomes float32. For other dtypes, all values are read first. A warning names the new dtype.
    With a `bounded` error more dtypes are kept, and float64 becomes float32 only if `dtype` says so.

    Raises:
        InvalidInputError: the codec has no such dtype, or it doesn't hold all values that were read.
    """
    known = BOUNDED_DTYPES if bounded else DTYPES
    if dtype is not None and not (isinstance(dtype, str | np.dtype) and dtype in known):
        raise InvalidInputError(f"dtype must be one of {', '.join(known)}, not {shown(dtype)}")
    if bounded and dtype is None and source.dtype == np.float64:
        raise InvalidInputError(
            f"{name}: float64 samples, which max_error can't bound; dtype='float32' (--dtype float32) rounds them first"
        )
    if dtype is None and source.dtype.name not in (*known, *WIDER):
        exactly = "; max_error=0 keeps it without loss" if source.dtype.name in BOUNDED_DTYPES else ""
        raise InvalidInputError(f"{name}: {', '.join(known)} can be encoded, not {source.dtype}{exactly}")
    other = source.dtype.name not in known and source.dtype.name in WIDER
    wanted = dtype or (_fitting(source, name, known) if other else source.dtype.name)
    if wanted == source.dtype.name:
        return source
    if source.plane == "alpha" and wanted not in OPACITY:
        raise InvalidInputError(f"{name}: {wanted} samples with an alpha band; uint8 and uint16 can have one")
    coarse = _lost_detail(source) if source.dtype == np.float64 and wanted == "float32" else ""
    converted = ConvertedSource(source, np.dtype(wanted), name, exact=bounded)
    if dtype is None or coarse:
        moved = source.nodata == source.nodata != converted.nodata
        other_nodata = f", and its nodata value {source.nodata:g} as NaN" if moved else ""
        warnings.warn(f"{source.dtype} is stored as {wanted}{other_nodata}{coarse}", InputWarning, stacklevel=3)
    if converted.nodata is not None and not holds(converted.dtype, converted.nodata):
        raise InvalidInputError(f"{name}: its nodata value {converted.nodata:g} doesn't fit {wanted}")
    return converted


def _lost_detail(source: PixelSource) -> str:
    """What to say of detail that float32 loses, by a few strips of the source."""
    rows = max(1, _STRIP // _STRIPS // (source.width * source.bands))
    found, valid = [], []
    for top in np.unique(np.linspace(0, max(0, source.height - rows), _STRIPS).astype(int)).tolist():
        strip = slice(top, min(top + rows, source.height)), slice(0, source.width)
        values = source.read(*strip)
        known = np.isfinite(values)
        if source.nodata is not None:
            known &= values != source.nodata
        if source.plane is not None:
            known &= source.read_plane(*strip) > 0
        found.append(values)
        valid.append(known)
    return single.said_of(np.concatenate(found, 1), np.concatenate(valid, 1))


def _fitting(source: PixelSource, name: str, known: tuple[str, ...]) -> str:
    if source.dtype == np.float64:
        return "float32"
    rows = max(1, _STRIP // (source.width * source.bands))
    low = high = None
    for top in range(0, source.height, rows):
        strip = slice(top, min(top + rows, source.height)), slice(0, source.width)
        values = source.read(*strip)
        if source.plane is not None:
            values = values[:, source.read_plane(*strip) > 0]
        if not values.size:
            continue
        least, most = int(values.min()), int(values.max())
        low, high = (least, most) if low is None or high is None else (min(low, least), max(high, most))
    needed = [v for v in (low, high, source.nodata) if v is not None]
    candidates = [k for k in ("int16", "uint16", "int32", "uint32") if k in known]
    fitting = next((k for k in candidates if all(holds(np.dtype(k), v) for v in needed)), None)
    if fitting is None:
        nodata = "" if source.nodata is None else f" and nodata {source.nodata:g}"
        raise InvalidInputError(
            f"{name}: a raster of {source.dtype} samples from {low} to {high}{nodata}, which fits none of "
            f"{', '.join(candidates)}; use dtype='float32' (--dtype float32) to store floating-point numbers"
        )
    return fitting
