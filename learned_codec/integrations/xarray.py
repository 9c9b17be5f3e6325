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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, Self, TypeAlias, Unpack, cast

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

import learned_codec
from learned_codec.errors import InvalidInputError, MetadataLostWarning, MissingDependencyError
from learned_codec.integrations.dask import Computed

VARIABLE = "band_data"

Opened: TypeAlias = Callable[[], AbstractContextManager[learned_codec.Reader]]
"""Opens a file again, or gives the reader that is open, for a `with` block."""

AXES = (
    ("y", "x"),
    ("lat", "lon"),
    ("latitude", "longitude"),
    ("northing", "easting"),
    ("projection_y_coordinate", "projection_x_coordinate"),
    ("rlat", "rlon"),
    ("row", "col"),
    ("row", "column"),
)
"""Names of dimensions that are rows and columns, wherever they stand, in small letters."""

FEW_BANDS = 16
"""If the last dimension is this short and the others are longer, it is most likely that of bands."""

OF_BANDS = {"unit": ("units",), "scale": ("scale_factor", "scales"), "offset": ("add_offset", "offsets")}
"""What is kept of each band, and the attributes that say it."""

KEPT_ELSEWHERE = {"_FillValue", "missing_value", "grid_mapping", "long_name", *sum(OF_BANDS.values(), ())}
"""Attributes that don't become tags."""

EVEN = 0.01
"""How far coordinates may be from evenly spaced ones, in pixels. Those of float32 are not exact."""

DECODERS = ("decode_coords", "decode_times", "decode_timedelta", "use_cftime", "concat_characters")
"""Options of xarray for what LCI files don't have: times, texts as characters, and coordinates named by attributes."""

ROWS_TOGETHER = 1024
"""The most rows and columns of an array in memory that are written to the temporary file at once."""


class LciBackend(BackendEntrypoint):
    """The engine "lci" of `xarray.open_dataset`."""

    description = "Images coded by learned_codec (.lci)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "masked", "mask_and_scale", "refine")

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
        refine: bool = True,
        **others: Any,
    ) -> xarray.Dataset:
        """Open a file as a dataset. Its windows are decoded when they are needed. Threads and processes may share it.

        Args:
            filename_or_obj: a path, or anything else that `learned_codec.open` takes.
            drop_variables: names of variables to leave out.
            masked: pixels without a value become NaN; integers become float32.
            mask_and_scale: `masked`, and values are multiplied by the scale of their band, and its offset is added.
            refine: whether to refine decoded pixels, as for `learned_codec.open`.
            others: xarray's other decoders (`decode_coords` …) make no difference: there is nothing for them to decode.

        Raises the errors of `learned_codec.open`, and `InvalidInputError` for unknown options, such as a group.
        """
        if unknown := sorted(name for name, value in others.items() if name not in DECODERS and value is not None):
            raise InvalidInputError(f"an LCI file is opened without the options {', '.join(unknown)}: it has one array")
        reader = learned_codec.open(filename_or_obj, refine=refine)
        # A local file is opened again for each window, as a process can have only a limited number
        # open. A remote one isn't, as that would take further requests.
        remote = isinstance(filename_or_obj, str) and "://" in filename_or_obj
        with nullcontext() if remote else reader:
            shape, metadata = (reader.bands, reader.height, reader.width), reader.metadata
            windows = _Windows(
                cast("Opened", partial(nullcontext, reader) if remote else reader.__reduce__()[0]),
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

    `opened` opens it, for a `with` block. `scaling` is the scale and the offset of each band, or None.
    """

    def __init__(
        self,
        opened: Opened,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        masked: bool,
        scaling: tuple[Sequence[float], Sequence[float]] | None,
    ) -> None:
        self.opened, self.shape, self.dtype, self.masked, self.scaling = opened, shape, dtype, masked, scaling

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read the window of a key of integers and slices."""
        spans = [np.atleast_1d(np.arange(length)[part]) for part, length in zip(key, self.shape, strict=True)]
        kept = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)  # an integer drops its dimension
        if not all(span.size for span in spans):
            return np.empty([span.size for span in spans], self.dtype)[kept]
        bands, rows, columns = spans
        top, left = int(rows.min()), int(columns.min())
        window = top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1
        with self.opened() as reader:
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
        else:  # tells where a part of the array lies
            found["column"] = ("x", np.arange(reader.width) + 0.5)
            found["row"] = ("y", np.arange(reader.height) + 0.5)
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
    texts or moments in time, these become the bands' names; and so do numbers other than 1, 2, 3 …, such as
    "wavelength 443.0". Other attributes, and coordinates of one value, become tags, as text: attributes when read.

    Args:
        array: of a dtype that `learned_codec.encode` takes. Its rows and columns are the dimensions `y` and `x`, or
            those of other usual names, such as `lat` and `lon` (see `AXES`), or whose coordinates have the attribute
            `axis`; without these, the last two. There may be one other. If that seems to be the last one, as it is
            short, the array is refused unless it is called `band`.
        path: the destination.
        options: those of `learned_codec.encode_file`.

    Raises the errors of `encode_file`, `InvalidInputError` for what isn't such an array, and `FileError` if the
    temporary file can't be written.

    Warns:
        MetadataLostWarning: coordinates that aren't evenly spaced, a reference system that isn't known, or other
            coordinates and attributes aren't kept; it names them.
    """
    with _DataArraySource(array) as source:
        for lost in source.lost:
            warnings.warn(lost, MetadataLostWarning, stacklevel=2)
        return learned_codec.encode_file(source, path, **options)


class _DataArraySource:
    """A `PixelSource` over a `DataArray`. `lost` says what of its metadata isn't kept."""

    plane: Literal["mask", "alpha"] | None = None
    unit: Literal["power", "amplitude", "db"] | None = None

    def __init__(self, array: Any) -> None:
        if not isinstance(array, xarray.DataArray):
            kind = type(array).__name__
            raise InvalidInputError(f"a DataArray is needed, such as dataset[{VARIABLE!r}], not a {kind}")
        if array.ndim not in (2, 3):
            raise InvalidInputError(f"an array of dimensions {array.dims} isn't (y, x) or (band, y, x)")
        array = _in_order(array)
        # An encoder reads its source several times, and each time xarray would read the file behind the array again.
        self._of_file = not getattr(array, "_in_memory", True) and find_spec("dask") is not None
        self._array = array if array.ndim == 3 else array.expand_dims("band")
        self._computed: Computed | None = None
        self.bands, self.height, self.width = self._array.shape
        self.dtype = np.dtype(array.dtype)
        self.nodata = _fill_value(array)
        self.lost: list[str] = []
        if others := _other_fill_values(array, self.nodata):
            several = ", ".join(f"{value:g}" for value in others)
            self.lost.append(
                f"missing_value {several} is not kept beside _FillValue {self.nodata:g}, and these pixels may change; "
                f"array.where(array != {others[0]:g}, {self.nodata:g}) makes one value of both"
            )
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
        names, used = self._names()
        if bands := self._stated_of_bands(names):
            found["bands"] = bands
        mapping = str(array.encoding.get("grid_mapping", array.attrs.get("grid_mapping", "spatial_ref")))
        spatial = array.coords[mapping].attrs if mapping in array.coords else {}
        if wkt := spatial.get("crs_wkt", spatial.get("spatial_ref")):
            from rasterio.crs import CRS
            from rasterio.errors import CRSError

            try:
                CRS.from_wkt(wkt)
                found["crs"] = wkt
            except CRSError as error:
                self.lost.append(f"the reference system is not kept: {error}")
        elif "grid_mapping_name" in spatial:  # CF's own terms
            name = spatial["grid_mapping_name"]
            self.lost.append(
                f"the reference system is not kept: {mapping} says {name!r} without a crs_wkt; with rioxarray, "
                "array.rio.write_crs(array.rio.crs) adds it"
            )
        if transform := self._transform(spatial.get("GeoTransform")):
            found["transform"] = transform
        kept = {*array.dims[1:], *used, mapping, "row", "column"}
        if tags := self._tags([name for name in array.coords if name not in kept], long_name="long_name" not in used):
            found["tags"] = {"": tags}
        return found

    def _tags(self, coordinates: Sequence[Any], *, long_name: bool) -> dict[str, str]:
        """The other attributes, and coordinates of one value, as text. Statistics may be those of a larger array."""
        said = {name: array.values for name in coordinates if (array := self._array.coords[name]).size == 1}
        for name, value in self._array.attrs.items():
            kept = name in KEPT_ELSEWHERE and not (name == "long_name" and long_name)
            if not kept and not str(name).startswith("STATISTICS_"):
                said[name] = np.asarray(value)
        found = {str(name): str(value.reshape(())) for name, value in said.items() if value.size == 1}
        if lost := [str(name) for name in (*coordinates, *said) if str(name) not in found]:
            self.lost.append(f"coordinates and attributes of several values are not kept: {', '.join(lost)}")
        return found

    def _names(self) -> tuple[Any, set[Any]]:
        """The names of bands, for `_of_bands`, and what coordinates or attributes they are from."""
        dimension, coordinates = self._array.dims[0], self._array.coords
        numbers = coordinates[dimension].values if dimension in coordinates else None
        counted = numbers is None or (numbers.dtype.kind in "iu" and dimension == "band")
        if "band_name" in coordinates:
            return _texts(coordinates["band_name"].values), {"band_name"} | ({dimension} if counted else set())
        if numbers is None or np.array_equal(numbers, np.arange(1, self.bands + 1)):
            return self._of_bands("long_name"), {"long_name", dimension}
        if numbers.dtype.kind in "iuf":
            # Where a part of the bands was taken, its own names say more than the numbers.
            if counted and any(names := self._of_bands("long_name")):
                return names, {"long_name", dimension}
            return [f"{dimension} {number}" for number in numbers], {dimension}
        return _texts(numbers), {dimension}

    def _stated_of_bands(self, names: list[Any]) -> list[dict[str, Any]]:
        """The name, unit, scale and offset of each band; nothing at all if none has any."""
        found = {"description": names} | {key: self._of_bands(*said) for key, said in OF_BANDS.items()}
        usual = {"description": "", "unit": "", "scale": 1, "offset": 0}
        bands = [
            {key: values[band] for key, values in found.items() if values[band] not in (None, usual[key])}
            for band in range(self.bands)
        ]
        return bands if any(bands) else []

    def _of_bands(self, *attributes: str) -> list[Any]:
        """What the first of these attributes says of each band: one value for all, or one for each.

        Values for each band stay as they were where bands are taken from an array; the numbers of the bands, counted
        from 1, tell whose they are.
        """
        name = next((name for name in attributes if name in self._array.attrs), None)
        several = None if name is None else np.asarray(self._array.attrs[name]).tolist()
        if not isinstance(several, list):
            return [several] * self.bands
        band = self._array.coords.get("band") if self._array.dims[0] == "band" else None
        numbers = [] if band is None or band.dtype.kind not in "iu" else band.values.tolist()
        if len(set(numbers)) == self.bands and min(numbers) >= 1 and max(numbers) <= len(several):
            return [several[number - 1] for number in numbers]
        if len(several) == self.bands:
            return several
        self.lost.append(f"{name} is not kept: it has {len(several)} values for {self.bands} bands")
        return [None] * self.bands

    def _transform(self, geotransform: Any) -> list[float] | None:
        """The transform, from the coordinates of the pixels' centres.

        Where these don't tell, as for a single pixel or a rotation, it is the attribute `GeoTransform`.
        """
        try:
            stored = [float(number) for number in str(geotransform or "").split()]
        except ValueError:
            stored = []
        coordinates, (y, x) = self._array.coords, self._array.dims[1:]
        if x not in coordinates and y not in coordinates:
            if len(stored) != 6:
                return None
            c, a, b, f, d, e = stored
            lines = [(self._line(name, 1.0) if name in coordinates else (1.0, 0.0)) for name in ("column", "row")]
        else:
            c, a, b, f, d, e = 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
            sizes = (stored[1], stored[5]) if len(stored) == 6 else (None, None)
            lines = [self._line(name, size) for name, size in zip((x, y), sizes, strict=True)]
        across, down = lines
        if across is None or down is None:
            names = ", ".join(str(name) for name, line in ((x, across), (y, down)) if line is None)
            self.lost.append(f"the coordinates {names} aren't evenly spaced, so the place of pixels is not kept")
            return None
        (dx, left), (dy, top) = across, down
        return [a * dx, b * dy, a * left + b * top + c, d * dx, e * dy, d * left + e * top + f]

    def _line(self, name: Any, size: float | None) -> tuple[float, float] | None:
        """The step of a coordinate, and where the first pixel begins; `size` is the step for a single pixel."""
        if name not in self._array.coords or self._array.coords[name].dtype.kind not in "iuf":
            return None
        centres = self._array.coords[name].values.astype(float)
        step = size if len(centres) == 1 else float(centres[-1] - centres[0]) / (len(centres) - 1)
        if not step or not np.isfinite(centres).all():
            return None
        off = centres - (centres[0] + step * np.arange(len(centres)))
        return (step, float(centres[0]) - step / 2) if np.abs(off).max() <= EVEN * abs(step) else None


def _in_order(array: xarray.DataArray) -> xarray.DataArray:
    """The array with rows and columns last, where their names or CF's attribute `axis` tell which they are.

    Raises `InvalidInputError` if nothing tells, and the last dimension seems to be that of bands.
    """
    dims = {str(dim).lower(): dim for dim in array.dims}
    for dim in array.dims:
        axis = array.coords[dim].attrs.get("axis") if dim in array.coords else None
        if axis in ("X", "Y"):
            dims[axis.lower()] = dim
    for y, x in AXES:
        if y in dims and x in dims:
            return array.transpose(..., dims[y], dims[x])
    if array.ndim == 3 and "band" in dims:
        return array.transpose(dims["band"], ...)
    if array.ndim == 3 and array.shape[2] <= FEW_BANDS < min(array.shape[:2]):
        first, second, last = array.dims
        raise InvalidInputError(
            f"which dimension of {dict(array.sizes)} has the bands? If it is the last one, pass "
            f"array.rename({{{first!r}: 'y', {second!r}: 'x'}}); if it is the first one, "
            f"array.rename({{{second!r}: 'y', {last!r}: 'x'}})"
        )
    return array


def _texts(labels: NDArray[Any]) -> list[str]:
    """Labels of bands as texts."""
    labels = np.atleast_1d(labels)
    return [
        str(label) for label in (np.datetime_as_string(labels, unit="auto") if labels.dtype.kind == "M" else labels)
    ]


def _fill_value(array: xarray.DataArray) -> float | None:
    """The value of pixels without one."""
    if array.dtype.kind == "b":  # has no value to spare
        return None
    fill = array.attrs.get("_FillValue", array.attrs.get("missing_value"))
    if fill is None and (stored := array.encoding.get("_FillValue", array.encoding.get("missing_value"))) is not None:
        # That is the value in the file. In memory it is NaN, where there is NaN.
        fill = np.nan if array.dtype.kind == "f" else stored
    try:
        return None if fill is None else float(np.asarray(fill).reshape(()))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"_FillValue must be a number, not {fill!r:.80}") from error


def _other_fill_values(array: xarray.DataArray, fill: float | None) -> list[float]:
    """The values that CF's `missing_value` names beside the one of `_FillValue`, in an array that still has them."""
    said = array.attrs.get("missing_value", None if array.dtype.kind == "f" else array.encoding.get("missing_value"))
    if fill is None or said is None or np.asarray(said).dtype.kind not in "iuf":
        return []
    return [float(value) for value in np.asarray(said).reshape(-1) if not np.array_equal(value, fill, equal_nan=True)]
