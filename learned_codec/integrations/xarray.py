"""LCI files as xarray datasets, and arrays as LCI files.

    import xarray
    from learned_codec.integrations.xarray import to_lci

    scene = xarray.open_dataset("scene.lci", chunks={})  # finds the engine; with chunks={}, chunks are the file's tiles
    to_lci(scene["band_data"] * 2, "again.lci", quality=60)

A dataset has one variable, `band_data` (band, y, x). Windows of it are decoded when they are needed. Coordinates, the
reference system and attributes have rioxarray's names (`x`, `y`, `spatial_ref`, `scale_factor`, `units` …), so
`scene.rio` works.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Literal, Self, Unpack

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

import learned_codec
from learned_codec.errors import InvalidInputError, MetadataLostWarning, MissingDependencyError
from learned_codec.integrations.dask import Computed

VARIABLE = "band_data"

AXES = (("y", "x"), ("lat", "lon"), ("latitude", "longitude"))
"""Names of dimensions that are rows and columns, wherever they stand."""


ROWS_TOGETHER = 1024
"""The most rows and columns of an array in memory that are written to the temporary file at once."""


class LciBackend(BackendEntrypoint):
    """The engine "lci" of `xarray.open_dataset`."""

    description = "Images coded by learned_codec (.lci)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "masked", "mask_and_scale")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is a path, or a URL, that ends in .lci."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(filename_or_obj).lower().endswith(".lci")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        masked: bool = False,
        mask_and_scale: bool = False,
    ) -> xarray.Dataset:
        """Open a file as a dataset. Its windows are decoded when they are needed. Threads and processes may share it.

        Args:
            filename_or_obj: a path, or anything else that `learned_codec.open` takes.
            drop_variables: names of variables to leave out.
            masked: pixels without a value become NaN; integers become float32.
            mask_and_scale: `masked`, and values are multiplied by the scale of their band, and its offset is added.

        Raises the errors of `learned_codec.open`.
        """
        reader = learned_codec.open(filename_or_obj)
        # A local file is opened again for each window, as a process can have only a limited number
        # open. A remote one isn't, as that would take further requests.
        remote = isinstance(filename_or_obj, str) and "://" in filename_or_obj
        with nullcontext() if remote else reader:
            shape, metadata = (reader.bands, reader.height, reader.width), reader.metadata
            windows = _Windows(
                reader if remote else filename_or_obj,
                shape,
                _dtype(reader.dtype, masked=masked or mask_and_scale),
                masked or mask_and_scale,
                (reader.scales, reader.offsets) if mask_and_scale else None,
            )
            tags = metadata.get("tags")
            attributes: dict[str, Any] = dict(tags.get("", {})) if isinstance(tags, dict) else {}
            attributes |= _attributes(reader, scaled=mask_and_scale)
            chunks = dict(zip(("band", "y", "x"), (shape[0], *reader.tile_shape), strict=True))
            encoding: dict[str, Any] = {"dtype": str(windows.dtype), "preferred_chunks": chunks}
            if reader.nodata is not None:
                (encoding if windows.masked else attributes)["_FillValue"] = reader.dtype.type(reader.nodata)
            coordinates = _coordinates(reader)
        lazy = indexing.LazilyIndexedArray(windows)
        variable = xarray.Variable(("band", "y", "x"), lazy, attributes, encoding)
        dataset = xarray.Dataset({VARIABLE: variable}, coordinates)
        dataset.set_close(reader.close)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")


def _dtype(dtype: np.dtype[Any], *, masked: bool) -> np.dtype[Any]:
    """A type for the values of a file; if they are masked, one that has all of them and NaN."""
    if not masked or dtype.kind == "f":
        return dtype
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


class _Windows(BackendArray):
    """The (bands, height, width) values of a file, which threads and processes may share.

    `scaling` is the scale and the offset of each band, or None.
    """

    def __init__(
        self,
        source: Any,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        masked: bool,
        scaling: tuple[Sequence[float], Sequence[float]] | None,
    ) -> None:
        self.source, self.shape, self.dtype, self.masked, self.scaling = source, shape, dtype, masked, scaling

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _open(self) -> AbstractContextManager[learned_codec.Reader]:
        if isinstance(self.source, learned_codec.Reader):
            return nullcontext(self.source)
        return learned_codec.open(self.source)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read the window of a key of integers and slices."""
        spans = [np.atleast_1d(np.arange(length)[part]) for part, length in zip(key, self.shape, strict=True)]
        kept = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)  # an integer drops its dimension
        if not all(span.size for span in spans):
            return np.empty([span.size for span in spans], self.dtype)[kept]
        bands, rows, columns = spans
        top, left = int(rows.min()), int(columns.min())
        window = top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1
        with self._open() as reader:
            values = reader.read([int(band) + 1 for band in bands], window, masked=self.masked, planar=True)
        if self.masked:
            values = np.ma.filled(values.astype(self.dtype), np.nan)
        values = values[:, rows - top][:, :, columns - left]
        if self.scaling is not None:
            scales, offsets = (np.array(numbers)[bands, None, None] for numbers in self.scaling)
            values = (values * scales + offsets).astype(self.dtype)
        return values[kept]


def _attributes(reader: learned_codec.Reader, *, scaled: bool) -> dict[str, Any]:
    """Scales, offsets and units of bands under rioxarray's names; those without an effect are left out."""
    found: dict[str, Any] = {}
    if not scaled:
        for one, several, values, usual in (
            ("scale_factor", "scales", reader.scales, 1),
            ("add_offset", "offsets", reader.offsets, 0),
        ):
            if set(values) != {usual}:
                found |= {one: values[0]} if len(set(values)) == 1 else {several: values}
    if any(reader.units):
        units = [unit or "" for unit in reader.units]
        found["units"] = units[0] if len(set(units)) == 1 else tuple(units)
    return found


def _coordinates(reader: learned_codec.Reader) -> dict[str, Any]:
    found: dict[str, Any] = {"band": np.arange(1, reader.bands + 1)}
    if any(reader.descriptions):
        found["band_name"] = ("band", [name or "" for name in reader.descriptions])
    spatial: dict[str, Any] = {}
    if "transform" in reader.metadata:
        a, b, c, d, e, f = reader.transform[:6]
        spatial["GeoTransform"] = " ".join(repr(float(x)) for x in (c, a, b, f, d, e))
        if b == d == 0:  # in a rotated grid, x depends on the row as well
            found["x"] = c + a * (np.arange(reader.width) + 0.5)
            found["y"] = f + e * (np.arange(reader.height) + 0.5)
    if reader.crs is not None:
        spatial |= {"crs_wkt": reader.metadata["crs"], "spatial_ref": reader.metadata["crs"]}
    if spatial:
        found["spatial_ref"] = xarray.Variable((), 0, spatial)
    return found


# -- writing ----------------------------------------------------------------------------------------------------------


def to_lci(
    array: xarray.DataArray, path: str | os.PathLike[str], **options: Unpack[learned_codec.EncodeFileOptions]
) -> learned_codec.Info:
    """Write an array (y, x) or (band, y, x) to an LCI file.

    A dask array may be larger than memory: each of its chunks is computed once, by dask's scheduler or a cluster, into
    a temporary file as large as the array. With an `executor`, its processes read that file. An array that xarray has
    not read from its file yet is treated as a dask array if dask is installed.

    The reference system, the coordinates, `_FillValue`, `units`, `scale_factor`, `add_offset`, `long_name` and names of
    bands are kept, if they are stored as rioxarray does it. If the coordinate of the first of three dimensions has
    texts or moments in time, these become the bands' names.

    Args:
        array: of a dtype that `learned_codec.encode` takes. Its rows and columns are the dimensions `y` and `x`, or
            `lat` and `lon`, or `latitude` and `longitude`; without these, the last two. There may be one other.
        path: the destination.
        options: those of `learned_codec.encode_file`.

    Raises the errors of `encode_file`, `InvalidInputError` for what isn't such an array, and `FileError` if the
    temporary file can't be written.

    Warns:
        MetadataLostWarning: the coordinates aren't evenly spaced, so they are not kept.
    """
    with _DataArraySource(array) as source:
        return learned_codec.encode_file(source, path, **options)


class _DataArraySource:
    """A `PixelSource` over a `DataArray`."""

    plane: Literal["mask", "alpha"] | None = None
    unit: Literal["power", "amplitude", "db"] | None = None

    def __init__(self, array: Any) -> None:
        if not isinstance(array, xarray.DataArray):
            kind = type(array).__name__
            raise InvalidInputError(f"a DataArray is needed, such as dataset[{VARIABLE!r}], not a {kind}")
        if array.ndim not in (2, 3):
            raise InvalidInputError(f"an array of dimensions {array.dims} isn't (y, x) or (band, y, x)")
        for axes in AXES:
            if set(axes) <= set(array.dims):
                array = array.transpose(..., *axes)
        # An encoder reads its source several times, and each time xarray would read the file behind the array again.
        self._of_file = not getattr(array, "_in_memory", True) and find_spec("dask") is not None
        self._array = array if array.ndim == 3 else array.expand_dims("band")
        self._computed: Computed | None = None
        self.bands, self.height, self.width = self._array.shape
        self.dtype = np.dtype(array.dtype)
        self.nodata = _fill_value(array)
        self.metadata = self._metadata()

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values. For the first ones, all chunks of an array that isn't in memory are computed."""
        if self._computed is None and self._array.chunks is None and not self._of_file:
            return np.asarray(self._array[:, rows, columns].values)
        return self._all().read(rows, columns)

    def _all(self) -> Computed:
        if self._computed is None:
            try:
                self._computed = Computed(self._array.chunk({} if self._array.chunks else ROWS_TOGETHER).data)
            except ImportError as error:
                raise MissingDependencyError("an executor needs dask: pip install learned-codec[dask]") from error
        return self._computed

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which read the temporary file; an array in memory is written there, too."""
        self._all()
        return vars(self) | {"_array": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._computed is not None:
            self._computed.close()

    def read_plane(self, rows: slice, columns: slice) -> NDArray[np.uint8]:  # noqa: ARG002 - there is none
        """Raise `InvalidInputError`: there is no plane."""
        raise InvalidInputError("there is no mask")

    def _metadata(self) -> dict[str, Any]:
        array, found = self._array, dict[str, Any]()
        if bands := self._stated_of_bands():
            found["bands"] = bands
        spatial = array.coords["spatial_ref"].attrs if "spatial_ref" in array.coords else {}
        if wkt := spatial.get("crs_wkt", spatial.get("spatial_ref")):
            found["crs"] = wkt
        if transform := self._transform(spatial.get("GeoTransform")):
            found["transform"] = transform
        return found

    def _stated_of_bands(self) -> list[dict[str, Any]]:
        """The name, unit, scale and offset of each band; nothing at all if none has any."""
        attributes = self._array.attrs
        names = attributes.get("long_name")
        labels = self._array.coords.get("band_name", self._array.coords.get(self._array.dims[0]))
        if labels is not None and labels.dtype.kind in "UTO":  # other libraries name bands in their own coordinate
            names = labels.values.astype(str)
        elif labels is not None and labels.dtype.kind == "M":
            names = np.datetime_as_string(labels.values, unit="auto")
        found = {
            "description": self._of_bands(names),
            "unit": self._of_bands(attributes.get("units")),
            "scale": self._of_bands(attributes.get("scale_factor", attributes.get("scales"))),
            "offset": self._of_bands(attributes.get("add_offset", attributes.get("offsets"))),
        }
        usual = {"description": "", "unit": "", "scale": 1, "offset": 0}
        bands = [
            {key: values[band] for key, values in found.items() if values[band] not in (None, usual[key])}
            for band in range(self.bands)
        ]
        return bands if any(bands) else []

    def _of_bands(self, value: Any) -> list[Any]:
        """The value of an attribute for each band, from one value for all, or one for each."""
        several = np.asarray(value).tolist()
        if not isinstance(several, list):
            return [several] * self.bands
        return several if len(several) == self.bands else [None] * self.bands

    def _transform(self, geotransform: Any) -> list[float] | None:
        """The transform, from the coordinates of the pixels' centres.

        Where these don't tell, as for a single pixel or a rotation, it is the attribute `GeoTransform`.
        """
        stored = [float(number) for number in str(geotransform or "").split()]
        found = []
        for name, side in zip(self._array.dims[:0:-1], (1, 5), strict=True):  # x, then y
            if name not in self._array.coords or self._array.coords[name].dtype.kind not in "iuf":
                continue
            centres = self._array.coords[name].values.astype(float)
            steps = np.diff(centres) if len(centres) > 1 else np.array(stored[side : side + 1])
            if not len(steps):
                return None
            step = float(steps.mean())
            if np.abs(steps - step).max() > 1e-3 * abs(step):
                warnings.warn(
                    f"the coordinates {name} aren't evenly spaced, so the place of pixels is not kept",
                    MetadataLostWarning,
                    stacklevel=5,
                )
                return None
            found.append((step, float(centres[0]) - step / 2))
        if len(found) == 2:
            (dx, x), (dy, y) = found
            return [dx, 0.0, x, 0.0, dy, y]
        if found or len(stored) != 6:
            return None
        c, a, b, f, d, e = stored
        return [a, b, c, d, e, f]


def _fill_value(array: xarray.DataArray) -> float | None:
    """The value of pixels without one."""
    if array.dtype.kind == "b":  # has no value to spare
        return None
    fill = array.attrs.get("_FillValue", array.attrs.get("missing_value"))
    if fill is None and (stored := array.encoding.get("_FillValue", array.encoding.get("missing_value"))) is not None:
        # That is the value in the file. In memory it is NaN, where there is NaN.
        fill = np.nan if array.dtype.kind == "f" else stored
    return None if fill is None else float(fill)
