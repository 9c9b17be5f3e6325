"""LCI files behind the interface of rasterio's datasets, so that scripts for rasters read them unchanged.

    from learned_codec.integrations.rasterio import open

    with open("scene.lci") as source:
        red = source.read(3, window=source.window(399960, 5790240, 405080, 5795360))

Arrays are (bands, h, w), as rasterio's are, whatever layout was encoded. What takes only GDAL's own datasets, such as
`WarpedVRT`, takes the one that `Dataset.gdal` gives.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import warp
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.rpc import RPC
from rasterio.transform import TransformMethodsMixin
from rasterio.windows import Window, WindowMethodsMixin, crop

import learned_codec
from learned_codec import windows
from learned_codec.errors import CorruptDataError, InvalidInputError, OutOfBoundsError, shown

RATIONAL, STRUCTURE = "RPC", "IMAGE_STRUCTURE"
"""Where GDAL has rational polynomials and the bits of samples, among the tags."""

OVERVIEWS = [2, 4, 8, 16]
"""Factors at which a window is read in less time than whole."""


class Dataset(TransformMethodsMixin, WindowMethodsMixin):  # type: ignore[misc]  # rasterio is not typed
    """An LCI file with the properties and methods of a rasterio dataset that is open for reading.

    Unlike rasterio's own, threads may share it.

    Attributes:
        reader: the `learned_codec.Reader` behind it.
    """

    driver, mode = "LCI", "r"

    def __init__(self, reader: learned_codec.Reader) -> None:
        self.reader = reader
        self.name, self.width, self.height, self.count = reader.name, reader.width, reader.height, reader.bands
        self.shape, self.indexes = (reader.height, reader.width), tuple(range(1, reader.bands + 1))
        self.nodata, self.descriptions = reader.nodata, reader.descriptions
        self.units, self.scales, self.offsets = reader.units, reader.scales, reader.offsets
        self._dtype = np.dtype(np.uint8) if reader.dtype.kind == "b" else reader.dtype

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The type of each band."""
        return (self._dtype.name,) * self.count

    @property
    def nodatavals(self) -> tuple[float | None, ...]:
        """The nodata value of each band."""
        return (self.nodata,) * self.count

    @property
    def crs(self) -> Any:
        """As `Reader.crs`."""
        return self.reader.crs

    @property
    def transform(self) -> Any:
        """As `Reader.transform`."""
        return self.reader.transform

    @property
    def bounds(self) -> Any:
        """As `Reader.bounds`."""
        return self.reader.bounds

    @property
    def res(self) -> tuple[float, float]:
        """The width and height of a pixel, in units of the reference system."""
        a, b, _, d, e, _ = self.transform[:6]
        return float(np.hypot(a, d)), float(np.hypot(b, e))

    @property
    def profile(self) -> rasterio.profiles.Profile:
        """What `rasterio.open(…, "w", **profile)` needs to write such an image as a GeoTIFF."""
        return rasterio.profiles.Profile(self.reader.profile, dtype=self._dtype.name)

    @property
    def meta(self) -> dict[str, Any]:
        """As `profile`."""
        return dict(self.profile)

    @property
    def block_shapes(self) -> list[tuple[int, int]]:
        """The tiles of each band, which are decoded one at a time."""
        return [self.reader.tile_shape] * self.count

    @property
    def colorinterp(self) -> tuple[ColorInterp, ...]:
        """What each band shows."""
        names = [self._said_of_band(band).get("color") for band in self.indexes]
        return tuple(ColorInterp[name] if name in ColorInterp.__members__ else ColorInterp.undefined for name in names)

    @property
    def mask_flag_enums(self) -> tuple[list[MaskFlags], ...]:
        """Why pixels of each band may have no value."""
        flags = [MaskFlags.all_valid] if self.nodata is None else [MaskFlags.nodata]
        if self.has_mask:
            flags = [MaskFlags.per_dataset] + [MaskFlags.alpha] * (self.reader.plane == "alpha")
        return (flags,) * self.count

    @property
    def has_mask(self) -> bool:
        """Whether a mask beside the bands tells what has no value: the file's, or one of tiles that may be damaged."""
        return self.reader.plane is not None or (self.reader.errors == "fill" and self.nodata is None)

    @property
    def gcps(self) -> tuple[list[Any], Any]:
        """Ground control points and their reference system; no points and None without any."""
        said = self.reader.metadata.get("gcps")
        if said is None:
            return [], None
        try:
            points = [GroundControlPoint(*map(float, point[:5]), *map(str, point[5:])) for point in said["points"]]
            return points, None if said["crs"] is None else CRS.from_wkt(said["crs"])
        except (TypeError, ValueError, KeyError, RasterioError) as error:
            raise CorruptDataError(f"metadata.gcps: {error}") from error

    @property
    def rpcs(self) -> RPC | None:
        """Rational polynomial coefficients; None without any."""
        said = self.reader.metadata.get("rpcs")
        try:
            return None if said is None else RPC.from_gdal(said)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CorruptDataError(f"metadata.rpcs: {error}") from error

    @property
    def is_tiled(self) -> bool:
        """Whether blocks are narrower than the image."""
        return self.block_shapes[0][1] < self.width

    def lnglat(self) -> tuple[float, float]:
        """Longitude and latitude of the image's middle."""
        left, bottom, right, top = self.bounds
        xs, ys = warp.transform(self.crs, "EPSG:4326", [(left + right) / 2], [(bottom + top) / 2])
        return xs[0], ys[0]

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self.reader.closed

    def block_windows(self, bidx: int = 0) -> Iterator[tuple[tuple[int, int], Window]]:  # noqa: ARG002 - rasterio's
        """The row and column of each tile among the tiles, and its window."""
        height, width = self.block_shapes[0]
        for i, row in enumerate(range(0, self.height, height)):
            for j, column in enumerate(range(0, self.width, width)):
                yield (i, j), crop(Window(column, row, width, height), self.height, self.width)

    def overviews(self, bidx: int) -> list[int]:
        """Factors at which `read` with a smaller `out_shape` takes less time. Raises `OutOfBoundsError`."""
        self._check_band(bidx)
        return [factor for factor in OVERVIEWS if factor < max(self.shape)]

    def tags(self, bidx: int = 0, ns: str | None = None) -> dict[str, str]:
        """The tags of the image, or of a band, counted from 1. Raises `OutOfBoundsError` if there is no such band."""
        found = self._said_of_band(bidx) if bidx else self.reader.metadata
        spaces = found.get("tags")
        tags = spaces.get(ns or "") if isinstance(spaces, dict) else None
        if ns == RATIONAL and not bidx:
            tags = found.get("rpcs")
        if ns == STRUCTURE and bidx:
            bits, stored = self.reader.metadata.get("bits"), self.reader.dtype
            fewer = isinstance(bits, int) and stored.kind == "u" and 0 < bits < 8 * stored.itemsize
            tags = {"NBITS": bits} if fewer else None
        return {str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {}

    def tag_namespaces(self, bidx: int = 0) -> list[str]:
        """The namespaces of tags but the default one. Raises `OutOfBoundsError` if there is no such band."""
        spaces = (self._said_of_band(bidx) if bidx else self.reader.metadata).get("tags")
        known = {name for name in (RATIONAL, STRUCTURE) if self.tags(bidx, name)}
        return sorted(known | {name for name in spaces if name} if isinstance(spaces, dict) else known)

    def colormap(self, bidx: int) -> dict[int, tuple[int, ...]]:
        """The red, green, blue and opacity of each class. Raises `InvalidInputError` if the image has no such table."""
        self._check_band(bidx)
        said = self.reader.metadata.get("colormap")
        if not isinstance(said, str):
            raise InvalidInputError("the image has no table of colours")
        try:
            table = np.frombuffer(base64.b64decode(said), np.uint8).reshape(-1, 4)
        except ValueError as error:
            raise CorruptDataError(f"metadata.colormap: {error}") from error
        return {index: tuple(colour) for index, colour in enumerate(table.tolist())}

    def read(
        self,
        indexes: int | Iterable[int] | None = None,
        out: NDArray[Any] | None = None,
        window: Any = None,
        masked: bool = False,
        out_shape: tuple[int, ...] | None = None,
        boundless: bool = False,
        resampling: Resampling = Resampling.nearest,
        out_dtype: Any = None,
        fill_value: float | None = None,
    ) -> NDArray[Any]:
        """Decode a window of some bands, with the arguments of rasterio's `read`.

        A window of fractions of pixels is rounded to whole ones. Values in another type, that of `out` or `out_dtype`,
        are GDAL's: rounded to integers, NaN as 0, and the nearest value of the type in place of one beyond its range.

        Returns:
            (bands, h, w), or (h, w) where `indexes` is one band. With `masked`, a masked array, which shares the memory
            of `out`; its fill value is `fill_value`.

        Raises the errors of `Reader.read`.
        """
        resampling, out_dtype = _checked_resampling(resampling), _checked_dtype(out_dtype)
        if out is not None:
            if out_shape is not None:
                raise InvalidInputError("out and out_shape can't be given together")
            out_shape = _checked_out(out).shape
        if out_shape is not None:
            _check_shape(out_shape)
        bands = _listed(indexes)
        pixels = self._whole(window, boundless=boundless)
        options: dict[str, Any] = {"masked": masked, "boundless": boundless, "fill_value": fill_value, "planar": True}
        wanted = len(self.reader.checked_bands(bands))
        if out_shape is not None and len(out_shape) > 2 and tuple(out_shape[:-2]) != (wanted,):
            raise InvalidInputError(f"the shape {tuple(out_shape)} is not that of {wanted} bands")
        shape = None if out_shape is None else (out_shape[-2], out_shape[-1])
        if resampling == Resampling.nearest or shape is None:
            values: NDArray[Any] = _as_numbers(self.reader.read(bands, pixels, shape, **options))
        else:
            values = self._resampled(self.reader.read(bands, pixels, **options | {"masked": True}), shape, resampling)
            values = values if masked else np.ma.getdata(values)
        if out is not None or out_dtype is not None:
            values = _converted(values, out_dtype if out is None else out.dtype)
        if isinstance(values, np.ma.MaskedArray) and fill_value is not None:
            values.fill_value = fill_value
        if out is None:
            return values
        out[...] = values
        if not isinstance(values, np.ma.MaskedArray):
            return out
        return np.ma.MaskedArray(out, np.ma.getmask(values), fill_value=values.fill_value)

    def read_masks(
        self,
        indexes: int | Iterable[int] | None = None,
        out: NDArray[np.uint8] | None = None,
        out_shape: tuple[int, ...] | None = None,
        window: Any = None,
        boundless: bool = False,
    ) -> NDArray[np.uint8]:
        """255 where a band has a value, else 0; the shape is that of `read`.

        With an alpha channel, it is the opacity where a band has a value: 0 to 255, of the nearest pixels.
        """
        found = self.read(indexes, window=window, masked=True, out_shape=out_shape, boundless=boundless)
        masks: NDArray[np.uint8] = np.where(np.ma.getmaskarray(found), 0, 255).astype(np.uint8)
        if self.reader.plane == "alpha":
            masks = np.minimum(masks, self._plane(window, masks.shape[-2:], boundless=boundless))
        if out is None:
            return masks
        if _checked_out(out).shape != masks.shape:
            raise InvalidInputError(f"out has the shape {out.shape}, and the masks {masks.shape}")
        out[...] = masks
        return out

    def dataset_mask(self, window: Any = None) -> NDArray[np.uint8]:
        """(h, w): the mask or the alpha channel; without one, 255 where any band has a value, else 0."""
        if self.reader.plane is not None:
            return self._plane(window)
        found: NDArray[np.uint8] = self.read_masks(window=window).max(0)
        return found

    def sample(self, xy: Iterable[tuple[float, float]], indexes: Any = None, masked: bool = False) -> Iterator[Any]:
        """For each place (x, y), the values of all bands, or of some, (bands,); outside the image, the fill value."""
        places: Any = xy
        for place in places if isinstance(places, Iterable) else [places]:
            try:
                x, y = place
                row, column = self.reader.index(x, y)
            except (TypeError, ValueError, OverflowError) as error:
                raise InvalidInputError(f"a place must be two numbers (x, y), not {shown(place)}") from error
            values = self.read(indexes, window=Window(column, row, 1, 1), masked=masked, boundless=True)
            yield values.reshape(-1)

    def gdal(self) -> AbstractContextManager[Any]:
        """A dataset of GDAL's own over the same file, for a `with` block.

            with open("scene.lci") as source, source.gdal() as raster, WarpedVRT(raster, crs="EPSG:3857") as warped:
                print(warped.read(1).shape)

        Its windows are decoded when they are needed. Only the thread that opened it can read it. Raises rasterio's
        errors.
        """
        from learned_codec.integrations import gdal

        return gdal.dataset(self)

    def close(self) -> None:
        """Close the file."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{'closed' if self.closed else 'open'} Dataset {self.reader!r}>"

    def _check_band(self, bidx: int) -> None:
        """Raise `OutOfBoundsError` unless there is such a band, counted from 1."""
        if bidx not in self.indexes:
            raise OutOfBoundsError(f"bands are counted from 1 to {self.count}; not {bidx!r}")

    def _said_of_band(self, bidx: int) -> dict[str, Any]:
        """What metadata say of a band. They list the alpha band, too. Raises as `_check_band`."""
        self._check_band(bidx)
        listed, alpha = (self.reader.metadata.get(name) for name in ("bands", "alpha"))
        said = [band for at, band in enumerate(listed) if at != alpha] if isinstance(listed, list) else []
        return said[bidx - 1] if bidx <= len(said) and isinstance(said[bidx - 1], dict) else {}

    def _whole(self, window: Any, *, boundless: bool) -> Any:
        """A window in whole pixels; without `boundless`, its part inside the image, as rasterio does it."""
        if window is None:
            return None
        try:
            if not isinstance(window, Window):
                rows, columns = window
                size = {"height": self.height, "width": self.width}
                window = Window.from_slices(rows, columns, boundless=boundless, **size)
            edges = window.col_off, window.row_off, window.width, window.height
            whole = Window(*(round(number) for number in edges))
            return whole if boundless else crop(whole, self.height, self.width)
        except (TypeError, ValueError, OverflowError, RasterioError) as error:
            raise InvalidInputError(
                f"window must be a rasterio Window or ((first row, last row + 1), (first column, last column + 1)), "
                f"not {shown(window)}"
            ) from error

    def _plane(
        self, window: Any, shape: tuple[int, ...] | None = None, *, boundless: bool = False
    ) -> NDArray[np.uint8]:
        """The mask or the alpha channel, (h, w), 0 beyond the image; with `shape`, the nearest pixels of it."""
        size = self.height, self.width
        row, column, height, width = windows.checked(
            self._whole(window, boundless=boundless), size, boundless=boundless
        )
        found = np.zeros((height, width), np.uint8)
        if (part := windows.inside((row, column, height, width), size)) is not None:
            plane = self.reader.read_plane(part)
            if plane.dtype == np.uint16:  # as GDAL does it: only what is hidden becomes 0
                plane = np.maximum(plane // 257, plane > 0)
            top, left = part[0] - row, part[1] - column
            found[top : top + part[2], left : left + part[3]] = plane
        if shape is not None:
            found = found[windows.nearest(0, height, shape[0], 1)][:, windows.nearest(0, width, shape[1], 1)]
        return found

    def _resampled(self, values: Any, shape: tuple[int, ...], resampling: Resampling) -> Any:
        """Masked (bands, h, w) or (h, w) values at another size (height, width), by GDAL.

        Pixels that nodata, a mask or an alpha channel hides don't count, as in GDAL.
        """
        planes = _as_numbers(values if values.ndim == 3 else values[None])
        size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2]}
        somewhere = rasterio.Affine.scale(2)  # rasterio warns of rasters that lie nowhere
        with MemoryFile() as memory, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with memory.open(
                driver="GTiff", dtype=planes.dtype, nodata=self.nodata, transform=somewhere, **size
            ) as raster:
                raster.write(np.ma.getdata(planes))
                # Without nodata, damaged tiles are masked all the same.
                if self.reader.plane is not None or (self.nodata is None and np.ma.is_masked(planes)):
                    raster.write_mask(~np.ma.getmaskarray(planes).all(0))
            with memory.open() as raster:
                found = raster.read(out_shape=(len(planes), *shape), resampling=resampling, masked=True)
        return found if values.ndim == 3 else found[0]


def _listed(value: Any) -> Any:
    """A list of several things; anything else as it is."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _check_shape(value: Any) -> None:
    """Raise `InvalidInputError` for what has neither two nor three elements."""
    if not (isinstance(value, Sequence) and len(value) in (2, 3)):
        raise InvalidInputError(f"out_shape must be (height, width) or (bands, height, width), not {shown(value)}")


def _checked_resampling(value: Any) -> Resampling:
    """One of those with which GDAL reads; also its number. Raises `InvalidInputError`."""
    try:
        found = Resampling(value)
    except ValueError:
        found = None
    if found is None or found > Resampling.gauss:
        names = ", ".join(method.name for method in Resampling if method <= Resampling.gauss)
        raise InvalidInputError(f"resampling must be one of rasterio's {names}, not {shown(value)}")
    return found


def _checked_dtype(value: Any) -> np.dtype[Any] | None:
    """A dtype of numbers; None for None. Raises `InvalidInputError`."""
    if value is None:
        return None
    try:
        found: np.dtype[Any] = np.dtype(value)
        numbers = found.kind in "biufc"
    except TypeError:
        numbers = False
    if not numbers:
        raise InvalidInputError(f"out_dtype must be a dtype of numbers, not {shown(value)}")
    return found


def _checked_out(value: Any) -> NDArray[Any]:
    """An array for values. Raises `InvalidInputError`."""
    if not isinstance(value, np.ndarray) or value.ndim not in (2, 3) or value.dtype.kind not in "biufc":
        said = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else shown(value)
        raise InvalidInputError(f"out must be an array of numbers, (bands, h, w) or (h, w), not {said}")
    return value


def _as_numbers(values: Any) -> Any:
    """Truth values as 0 and 1; GDAL has no type for them."""
    return values.view(np.uint8) if values.dtype.kind == "b" else values


def _converted(values: Any, dtype: np.dtype[Any]) -> Any:
    """An array or a masked array as another type, as GDAL converts it: NumPy would keep the lowest bits of a number."""
    if dtype == values.dtype:
        return values
    data = np.ma.getdata(values)
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        if data.dtype.kind == "f":
            wide = np.nan_to_num(data.astype(np.float64), nan=0, posinf=np.inf, neginf=-np.inf)
            low, high = wide <= float(ends.min), wide >= float(ends.max)
            inside = np.where(low | high, 0, np.trunc(wide + np.copysign(0.5, wide)))
            data = np.where(high, ends.max, np.where(low, ends.min, inside.astype(dtype)))
        else:
            own = np.iinfo(data.dtype)
            data = np.clip(data, max(own.min, ends.min), min(own.max, ends.max))
    with np.errstate(over="ignore"):  # to infinity
        data = data.astype(dtype)
    if not isinstance(values, np.ma.MaskedArray):
        return data
    fill = _converted(np.asarray(values.fill_value), dtype)
    same = np.isfinite(fill) == np.isfinite(values.fill_value) if dtype.kind == "f" else fill == values.fill_value
    return np.ma.MaskedArray(data, np.ma.getmask(values), fill_value=fill if same else None)


def open(
    source: Any,
    *,
    errors: Literal["raise", "fill"] = "raise",
    refine: bool = True,
    limits: learned_codec.Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Dataset:
    """Open a file for reading as a rasterio dataset.

    Args:
        source: a path, a URL, or anything else that `learned_codec.open` takes.
        errors: "raise" or "fill", as for `learned_codec.open`.
        refine: whether to refine decoded pixels, as for `learned_codec.open`.
        limits: the largest image to accept.
        device: where the networks run.
        threads: how many threads a call may use.

    Raises the errors of `learned_codec.open`.
    """
    reader = learned_codec.open(source, errors=errors, refine=refine, limits=limits, device=device, threads=threads)
    return Dataset(reader)
