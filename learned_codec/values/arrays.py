"""Arrays as images: which shapes and dtypes are accepted."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import InputWarning, InvalidInputError, MetadataLostWarning

from . import single
from .attributes import coordinates_of, declared_nodata, scaling_of
from .mask import holds, rounded
from .sources import PlaneKind, Unit
from .transform import MAX_BANDS, MODELLED

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = MODELLED
"""Names of the dtypes that `encode` takes. float64 is not one of them: it becomes float32."""

BOUNDED_DTYPES = (*MODELLED, "int8", "bool", "uint32", "int32")
"""Names of the dtypes that `encode` takes with `max_error`."""

OPACITY_SHARE = 0.9
"""Opacity is 0 or 255 in at least this share of the pixels, as a rule; the rest are soft edges."""

FEW_BANDS = 16
"""If the first axis of an array is this short and the others are longer, it is most likely the axis of bands."""


class ArraySource:
    """A `PixelSource` over an array in memory.

    Args:
        image: (H, W), (H, W, C), or with `planar` (C, H, W): a numpy array, a masked array, or a torch tensor. float64
            becomes float32, with a warning.
        planar: whether a 3-D array is (C, H, W).
        mask: (H, W) bool or uint8, nonzero where a pixel exists. It is kept exactly.
        nodata: the value of pixels that don't exist. By default the attribute `_FillValue` of a zarr or xarray array,
            or its `missing_value`.
        bounded: it will be coded with a bounded error, as more dtypes can be, but not float64.

    Raises:
        InvalidInputError: such an array can't be encoded.
    """

    plane: PlaneKind | None
    unit: Unit | None = None

    def __init__(
        self,
        image: NDArray[Any] | Tensor,
        *,
        planar: bool = False,
        mask: NDArray[Any] | None = None,
        nodata: float | None = None,
        bounded: bool = False,
    ) -> None:
        array = _to_numpy(image)
        nodata = declared_nodata(image) if nodata is None else nodata
        if _is_masked(array):
            if mask is not None:
                raise InvalidInputError("a masked array has a mask of its own: `mask` can't be given as well")
            array, mask, nodata = _unmask(array, planar, nodata)
        if array.ndim not in (2, 3) or (planar and array.ndim != 3):
            wanted = "(C, H, W)" if planar else "(H, W) or (H, W, C)"
            raise InvalidInputError(f"the array must be {wanted}, not of shape {array.shape}")
        if 0 in array.shape:
            raise InvalidInputError(f"the array is empty: its shape is {array.shape}")
        self.layout = "HW" if array.ndim == 2 else "CHW" if planar else "HWC"
        self._mask = None if mask is None else _known_mask(mask, as_planes(array, self.layout).shape[1:])
        array, nodata = _known_dtype(array, nodata, layout=self.layout, mask=self._mask, bounded=bounded)
        if self.layout == "HWC":
            _check_axes(array.shape, bounded=bounded)
        self.planes = as_planes(array, self.layout)
        self.bands, self.height, self.width = self.planes.shape
        self.dtype = array.dtype
        self.nodata = nodata
        scaling = scaling_of(image)
        self.metadata: dict[str, Any] = {"bands": [dict(scaling) for _ in range(self.bands)]} if scaling else {}
        if lost := coordinates_of(image):
            text = f"not kept: the coordinates {', '.join(lost)}; learned_codec.integrations.xarray.to_lci keeps them"
            warnings.warn(text, MetadataLostWarning, stacklevel=3)
        self.plane = None if self._mask is None else "mask"
        if self._mask is None and self.dtype == np.uint8 and self.bands in (2, 4) and _seems_opacity(self.planes):
            _warn(
                f"band {self.bands} is 0 or 255 nearly everywhere, and is coded like the others. If it is a mask, give "
                "it as `mask`; if it is opacity, encode PIL.Image.fromarray(image). Both are kept exactly",
                2,
            )

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """As `PixelSource.read`; a view."""
        return self.planes[:, rows, columns]

    def read_plane(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """As `PixelSource.read_plane`; a view."""
        if self._mask is None:
            raise InvalidInputError("there is no mask")
        return self._mask[rows, columns]


def as_planes(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """An array of a layout, "HW", "HWC" or "CHW", as (bands, H, W); a view."""
    if values.ndim == 2:
        return values[None]
    return values if layout == "CHW" else values.transpose(2, 0, 1)


def _check_axes(shape: tuple[int, ...], *, bounded: bool) -> None:
    """Refuse, or warn of, an array (H, W, C) that is most likely (C, H, W)."""
    first, _, last = shape
    if first <= MAX_BANDS < last and not bounded:
        raise InvalidInputError(
            f"an array of shape {shape} has {last} bands, more than {MAX_BANDS}; if it is (C, H, W), pass planar=True"
        )
    if first <= FEW_BANDS < min(shape[1:]):
        text = f"an array of shape {shape} is read as {last} bands of {first} rows"
        _warn(f"{text}; if it is (C, H, W), pass planar=True", 3)


def _seems_opacity(planes: NDArray[np.uint8]) -> bool:
    """Whether the last band is 0 or 255 nearly everywhere, and the first one isn't."""
    first, last = (float(((band == 0) | (band == 255)).mean()) for band in planes[[0, -1]])
    constant = planes[-1].min() == planes[-1].max()
    return not constant and (last == 1 or (last >= OPACITY_SHARE and first < last / 2))


def _warn(text: str, stacklevel: int) -> None:
    """Warn the caller of `encode`, which is `stacklevel` calls above the caller of this function."""
    warnings.warn(text, InputWarning, stacklevel=stacklevel + 2)


def _to_numpy(image: Any) -> NDArray[Any]:
    """A numpy array or a masked array as it is; a torch tensor, or anything else that numpy takes, as a numpy array."""
    if hasattr(image, "__dask_graph__"):
        image = image.compute()  # NumPy would drop the masks of its parts
    try:
        if isinstance(image, list | tuple) and any(hasattr(part, "getbands") for part in image):
            raise TypeError("Pillow images are encoded one by one")
        if isinstance(image, list | tuple) and any(map(_is_masked, image)):
            stacked: NDArray[Any] = np.ma.stack(image)
            return stacked
        whole = np.asanyarray(image.detach().cpu() if hasattr(image, "detach") and hasattr(image, "cpu") else image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{type(image).__name__} is not an array: {error}") from error
    if whole.dtype.kind in "OSUV":  # a path, a file, an open dataset, bytes: numpy makes an array of anything
        raise InvalidInputError(f"{type(image).__name__} is not an array of numbers; encode_file takes files")
    if _is_masked(whole):
        return whole
    for masked in (image, whole):  # NumPy would drop the mask of other libraries' arrays
        hidden = getattr(masked, "mask", None)
        if isinstance(hidden, np.ndarray | np.bool_ | bool) and np.any(hidden):
            raise InvalidInputError(
                f"{type(masked).__name__} has a mask of a kind that isn't read; numpy.ma.masked_array makes one that is"
            )
    return np.asarray(whole)


def _is_masked(array: Any) -> TypeGuard[np.ma.MaskedArray[Any, Any]]:
    if type(array) is np.ndarray:
        return False  # and numpy.ma, which takes long to import, isn't needed
    return isinstance(array, np.ma.MaskedArray)


def _known_dtype(
    array: NDArray[Any], nodata: float | None, *, layout: str, mask: NDArray[np.uint8] | None, bounded: bool
) -> tuple[NDArray[Any], float | None]:
    """The array and its nodata as a dtype that can be coded."""
    native = array.dtype.newbyteorder("=")
    if native.name in (BOUNDED_DTYPES if bounded else DTYPES):
        return array.astype(native, copy=False), nodata
    if bounded:
        raise InvalidInputError(f"{', '.join(BOUNDED_DTYPES)} can be encoded with max_error, not {array.dtype}")
    if native == np.float64:
        return _as_float32(array, nodata, layout, mask)
    exactly = f"; max_error=0 encodes {native.name} without loss" if native.name in BOUNDED_DTYPES else ""
    raise InvalidInputError(f"{', '.join(DTYPES)} (and float64 as float32) can be encoded, not {array.dtype}{exactly}")


def _as_float32(
    array: NDArray[Any], nodata: float | None, layout: str, mask: NDArray[np.uint8] | None
) -> tuple[NDArray[Any], float | None]:
    """A float64 array and its nodata as float32. Nodata that float32 can't hold becomes NaN.

    What the (H, W) `mask` hides doesn't count. If float32 can't hold it, it becomes 0.
    """
    dtype = np.dtype(np.float32)
    known = nodata if is_number(nodata) else None  # anything else is refused later
    if known is not None:
        array = np.where(array == known, np.nan if not holds(dtype, known) else dtype.type(known), array)
        known = known if holds(dtype, known) else np.nan
    planes = as_planes(array, layout)
    seen = np.broadcast_to(np.True_ if mask is None else mask != 0, planes.shape)
    real = np.isfinite(planes) & (planes != (np.nan if known is None else known))
    large = real & (np.abs(planes) > single.LARGEST)
    if (large & ~seen).any():
        planes = planes.copy()
        planes[large & ~seen] = 0
        array = planes[0] if layout == "HW" else planes if layout == "CHW" else planes.transpose(1, 2, 0)
    if (large & seen).any():
        raise InvalidInputError("float64 is stored as float32, which ends at 3.4e38; the array has larger values")
    valid = real & seen
    most = np.abs(planes[valid]).max(initial=0)
    if 0 < most < single.LEAST:
        raise InvalidInputError(
            f"float64 is stored as float32, which begins at {single.LEAST:.2g}; the array has only smaller values"
        )
    warnings.warn(f"float64 is stored as float32{single.said_of(planes, valid)}", InputWarning, stacklevel=5)
    return rounded(array, dtype, known), nodata if known is None else known


def _unmask(
    array: np.ma.MaskedArray[Any, Any], planar: bool, nodata: float | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, float | None]:
    """The data of a masked array, (H, W) which pixels exist, and nodata.

    If bands mask different pixels, there is no such mask, and masked values are nodata, or NaN.
    """
    hidden: NDArray[np.bool_] = np.ma.getmaskarray(array)
    if hidden.ndim == 3:
        axis = 0 if planar else 2
        in_all: NDArray[np.bool_] = np.asarray(hidden.all(axis))
        if not np.array_equal(in_all, hidden.any(axis)):
            if array.dtype.kind not in "biuf":
                return array.data, None, nodata  # which is refused
            nodata = _unused_value(array, hidden) if nodata is None else nodata
            value = np.nan if nodata is None else nodata
            fits = is_number(value) and holds(array.dtype, float(value))  # else it is refused
            return np.where(hidden, array.dtype.type(value), array.data) if fits else array.data, None, nodata
        hidden = in_all
    return array.data, ~hidden, nodata


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number. Truth values aren't."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _unused_value(array: np.ma.MaskedArray[Any, Any], hidden: NDArray[np.bool_]) -> float | None:
    """A value for the `hidden` ones that no other has, the array's fill value if possible. None: NaN."""
    dtype = array.dtype
    stored = np.dtype(np.float32) if dtype.kind == "f" else dtype
    others = array.data[~hidden].astype(stored)
    given: float = array.fill_value.item()
    chosen = [given] if given != np.ma.default_fill_value(dtype) and holds(stored, given) else []
    if dtype.kind == "f":
        return next((value for value in chosen if not (others == stored.type(value)).any()), None)
    if dtype.kind in "iu":
        for value in (*chosen, 0, np.iinfo(dtype).max, np.iinfo(dtype).min):
            if not (others == value).any():
                return float(value)
        values = np.unique(others).astype(object)
        gaps = values[:-1][np.diff(values) > 1]
        if gaps.size:
            return float(gaps[0]) + 1
    raise InvalidInputError(
        f"bands mask different pixels, and every value that {dtype} can have is that of another pixel, so none can "
        "stand for masked ones; encode the bands one by one, or as a dtype with more values"
    )


def _known_mask(mask: Any, shape: tuple[int, int]) -> NDArray[np.uint8]:
    found = _to_numpy(mask)
    if found.shape != shape or found.dtype not in (np.bool_, np.uint8):
        raise InvalidInputError(
            f"the mask must be bool or uint8 of shape {shape}, not {found.dtype} of shape {found.shape}"
        )
    if _is_masked(found) and np.any(np.ma.getmaskarray(found)):
        raise InvalidInputError("the mask is itself masked, so some of its values are unknown")
    return np.where(np.asarray(found) != 0, np.uint8(255), np.uint8(0))
