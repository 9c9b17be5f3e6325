"""LCI files as xarray datasets, and arrays as LCI files.

    import xarray
    from learned_codec.integrations.xarray import to_lci

    scene = xarray.open_dataset("scene.lci", chunks={})  # finds the engine; with chunks={}, chunks are the file's tiles
    to_lci(scene["band_data"] * 2, "again.lci", quality=60)

A dataset has one variable, `band_data` (band, y, x). Windows of it are decoded when they are needed. Coordinates and
the reference system have rioxarray's names (`x`, `y`, `spatial_ref`), so `scene.rio` works.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

import learned_codec
from learned_codec.errors import InvalidInputError
from learned_codec.values.arrays import as_planes

VARIABLE = "band_data"


class LciBackend(BackendEntrypoint):
    """The engine "lci" of `xarray.open_dataset`."""

    description = "Images coded by learned_codec (.lci)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "masked")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is a path, or a URL, that ends in .lci."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(filename_or_obj).lower().endswith(".lci")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, masked: bool = False
    ) -> xarray.Dataset:
        """Open a file as a dataset. Its windows are decoded when they are needed.

        Args:
            filename_or_obj: a path, or anything else that `learned_codec.open` takes.
            drop_variables: names of variables to leave out.
            masked: pixels without a value become NaN; integers become float32.

        Raises the errors of `learned_codec.open`.
        """
        with learned_codec.open(filename_or_obj) as reader:
            tile = learned_codec.inspect(filename_or_obj).tile_size
            shape, dtype = (reader.bands, reader.height, reader.width), reader.dtype
            metadata, nodata = reader.metadata, reader.nodata
        if masked and dtype.kind != "f":
            dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)  # which hold all of its values
        lazy = indexing.LazilyIndexedArray(_Windows(filename_or_obj, shape, dtype, masked))
        attributes: dict[str, Any] = dict(metadata.get("tags", {}).get("", {}))
        encoding: dict[str, Any] = {"dtype": str(dtype)}
        if nodata is not None and not masked:
            attributes["_FillValue"] = dtype.type(nodata)
        elif nodata is not None:
            encoding["_FillValue"] = nodata
        encoding["preferred_chunks"] = {"band": shape[0], "y": tile or shape[1], "x": tile or shape[2]}
        variable = xarray.Variable(("band", "y", "x"), lazy, attributes, encoding)
        dataset = xarray.Dataset({VARIABLE: variable}, _coordinates(metadata, shape))
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")


class _Windows(BackendArray):
    """The (bands, height, width) values of a file.

    It is opened for each window, so threads and processes may share this.
    """

    def __init__(self, source: Any, shape: tuple[int, int, int], dtype: np.dtype[Any], masked: bool) -> None:
        self.source, self.shape, self.dtype, self.masked = source, shape, dtype, masked

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
        with learned_codec.open(self.source) as reader:
            values = reader.read(window, [int(band) + 1 for band in bands], masked=self.masked)
            values = as_planes(values, reader.container.header.layout)
        if self.masked:
            values = np.ma.filled(values.astype(self.dtype), np.nan)
        values = values[:, rows - top][:, :, columns - left]
        return values[kept]


def _coordinates(metadata: dict[str, Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    bands = metadata.get("bands", [])
    bands = [band for index, band in enumerate(bands) if index != metadata.get("alpha")]
    found: dict[str, Any] = {"band": np.arange(1, shape[0] + 1)}
    names = [band.get("description", "") for band in bands]
    if any(names):
        found["band_name"] = ("band", names)
    transform = metadata.get("transform")
    spatial: dict[str, Any] = {}
    if transform is not None:
        a, b, c, d, e, f = transform
        spatial["GeoTransform"] = " ".join(repr(float(x)) for x in (c, a, b, f, d, e))
        if b == d == 0:  # in a rotated grid, x depends on the row as well
            found["x"] = c + a * (np.arange(shape[2]) + 0.5)
            found["y"] = f + e * (np.arange(shape[1]) + 0.5)
    if "crs" in metadata:
        spatial |= {"crs_wkt": metadata["crs"], "spatial_ref": metadata["crs"]}
    if spatial:
        found["spatial_ref"] = xarray.Variable((), 0, spatial)
    return found


# -- writing ----------------------------------------------------------------------------------------------------------


def to_lci(array: xarray.DataArray, path: str | os.PathLike[str], **options: Any) -> learned_codec.Info:
    """Write an array (y, x) or (band, y, x) to an LCI file. A dask array is computed region by region.

    The reference system, the coordinates, `_FillValue`, `units`, `long_name` and names of bands are kept, if they are
    stored as rioxarray does it.

    Args:
        array: of a dtype that `learned_codec.encode` takes; its last two dimensions are rows and columns.
        path: the destination.
        options: those of `learned_codec.encode_file`.

    Raises the errors of `encode_file`, and `InvalidInputError` for an array of other dimensions.
    """
    return learned_codec.encode_file(_ArraySource(array), path, **options)


class _ArraySource:
    """A `PixelSource` over a `DataArray`."""

    plane: Literal["mask", "alpha"] | None = None
    unit: Literal["power", "amplitude", "db"] | None = None

    def __init__(self, array: xarray.DataArray) -> None:
        if array.ndim not in (2, 3):
            raise InvalidInputError(f"an array of dimensions {array.dims} isn't (y, x) or (band, y, x)")
        self._array = array if array.ndim == 3 else array.expand_dims("band")
        self.bands, self.height, self.width = self._array.shape
        self.dtype = np.dtype(array.dtype)
        found = {**array.encoding, **array.attrs}
        fill = found.get("_FillValue", found.get("missing_value"))
        self.nodata = None if fill is None else float(fill)
        self.metadata = self._metadata()

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values."""
        return np.asarray(self._array[:, rows, columns].values)

    def read_plane(self, rows: slice, columns: slice) -> NDArray[np.uint8]:  # noqa: ARG002 - there is none
        """Raise `InvalidInputError`: there is no plane."""
        raise InvalidInputError("there is no mask")

    def _metadata(self) -> dict[str, Any]:
        array, (_, y, x) = self._array, self._array.dims
        spatial = array.coords["spatial_ref"].attrs if "spatial_ref" in array.coords else {}
        names = (
            array.coords["band_name"].values.tolist() if "band_name" in array.coords else array.attrs.get("long_name")
        )
        names = [names] * self.bands if isinstance(names, str) else list(names or [""] * self.bands)
        unit = array.attrs.get("units", "")
        found: dict[str, Any] = {
            "bands": [{"description": str(name)} | ({"unit": str(unit)} if unit else {}) for name in names]
        }
        if len(names) != self.bands or not (any(names) or unit):
            del found["bands"]
        if wkt := spatial.get("crs_wkt", spatial.get("spatial_ref")):
            found["crs"] = wkt
        if y in array.coords and x in array.coords and min(self.height, self.width) > 1:
            ys, xs = (array.coords[axis].values.astype(float) for axis in (y, x))
            dx, dy = (xs[-1] - xs[0]) / (len(xs) - 1), (ys[-1] - ys[0]) / (len(ys) - 1)
            found["transform"] = [dx, 0.0, xs[0] - dx / 2, 0.0, dy, ys[0] - dy / 2]
        elif "GeoTransform" in spatial:
            c, a, b, f, d, e = map(float, str(spatial["GeoTransform"]).split())
            found["transform"] = [a, b, c, d, e, f]
        return found
