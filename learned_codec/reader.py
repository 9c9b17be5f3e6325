"""An LCI file that is read in windows. The head is read at once; a tile is read when a window needs it."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream, options, windows
from learned_codec.bitstream.metadata import number_of_json
from learned_codec.bounded.header import in_words, is_bounded
from learned_codec.errors import FileError, InvalidInputError, shown
from learned_codec.limits import Limits
from learned_codec.models import registry
from learned_codec.models.config import HALO
from learned_codec.models.device import checked_device, checked_threads
from learned_codec.streams import Openable, again_from, name_of, opened
from learned_codec.tiling.decoder import Block, ImageDecoder
from learned_codec.tiling.grid import Window, tiles_of
from learned_codec.tiling.parallel import shared
from learned_codec.tiling.progress import Progress, Telling
from learned_codec.tiling.progress import checked as checked_progress
from learned_codec.values.mask import holds
from learned_codec.values.reduce import cells, reduced_plane, reducing_factor
from learned_codec.values.sources import Plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from learned_codec.bitstream import Container
    from learned_codec.tiling.bounded import BoundedDecoder
    from learned_codec.windows import WindowLike, WindowTuple

    Bands = int | str | Sequence[int | str]
    """Counted from 1, or by name."""


PREVIEWED = 1024
"""Pixels a side that are decoded for the preview in notebooks."""


class Reader:
    """An open file; see `learned_codec.open`. Also a context manager, which closes what it opened itself.

    It can be subscripted like the array that `decode` returns: `reader[:512, :512]` decodes only what it needs. Threads
    may share it: from call to call it only remembers which tiles were damaged. It can be sent to another process, or
    forked with it; that process opens the path or the bytes again, and raises `FileError` if the path has another file
    by then.

    Attributes:
        height: in pixels.
        width: in pixels.
        bands: how many the image has; a mask or an alpha channel isn't counted.
        dtype: the numpy dtype of the image.
        shape: the shape of the array that `decode` returns; `ndim` is its length.
        tile_shape: (height, width) of a tile that the image's edge doesn't cut, at most the image's own.
        descriptions: the name of each band; None for a band without one.
        units: the unit of each band; None for a band without one.
        scales: the scale of each band; a measured value is scale x value + offset.
        offsets: the offset of each band.
        nodata: the value of pixels that have none; None if no value stands for that.
        plane: the kind of plane beside the bands, "mask" or "alpha"; None without one.
        metadata: what was kept beside the pixels.
        errors: "raise" or "fill", as it was opened.
        refine: whether decoded pixels are refined, as it was opened.
        damaged: indices of the tiles found damaged so far, if the file was opened with `errors="fill"`.
    """

    def __init__(
        self,
        container: Container,
        *,
        file: Any = None,
        device: str = "cpu",
        threads: int | None = None,
        lenient: bool = False,
        refine: bool = True,
        reopen: partial[Reader] | None = None,
        name: str = "",
    ) -> None:
        header = container.header
        self.container, self._file, self._device, self._threads = container, file, checked_device(device), threads
        self._reopen, self.name, self._process = reopen, name, os.getpid()
        self.errors: options.Errors = "fill" if lenient else "raise"
        options.check_switches(refine=refine)
        self.refine = bool(refine)
        self._decoding: BoundedDecoder | ImageDecoder
        if is_bounded(header):
            from learned_codec.tiling.bounded import BoundedDecoder  # not needed for most files

            self._decoding = BoundedDecoder(container, lenient=lenient)
        else:
            card = registry.by_id(header.weights_id)
            self._decoding = ImageDecoder(container, card, lenient=lenient, refined=self.refine)
        self.height, self.width, self.bands = header.height, header.width, header.bands
        self.dtype = np.dtype(header.dtype)
        size = header.height, header.width
        shapes = {"HW": size, "HWC": (*size, header.bands), "CHW": (header.bands, *size)}
        self.shape: tuple[int, ...] = shapes[header.layout]
        self.tile_shape = min(header.tile_size[0], header.height), min(header.tile_size[1], header.width)
        stated = _stated_of_bands(container.metadata, header.bands)
        self.descriptions = tuple(_text(band.get("description")) for band in stated)
        self.units = tuple(_text(band.get("unit")) for band in stated)
        self.scales = tuple(_number(band.get("scale"), 1.0) for band in stated)
        self.offsets = tuple(_number(band.get("offset"), 0.0) for band in stated)
        self.metadata: dict[str, Any] = container.metadata
        mask_spec = self._decoding.mask_spec
        self.plane = None if mask_spec is None else mask_spec.plane
        self._plane_dtype = None if mask_spec is None else mask_spec.plane_dtype
        self.nodata = nodata_of(mask_spec.fills if mask_spec else (), container.metadata, self.dtype)

    @property
    def closed(self) -> bool:
        """Whether this reader opened a file that is closed now. Then nothing more can be read."""
        return self._file is not None and bool(self._file.closed)

    @property
    def damaged(self) -> tuple[int, ...]:
        """Indices of the tiles that were found damaged so far, in ascending order."""
        return tuple(sorted(self._decoding.damaged))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    # -- as rasterio's datasets have it --------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """The number of bands."""
        return self.bands

    @property
    def crs(self) -> Any:
        """The reference system, a rasterio `CRS`; None without one. Raises `CorruptDataError`."""
        from learned_codec.raster.geotags import read_crs

        said = self.metadata.get("crs")
        return None if said is None else read_crs(said, "metadata.crs")

    @property
    def transform(self) -> Any:
        """The `Affine` from (column, row) to coordinates; the identity without one. Raises `CorruptDataError`."""
        from affine import Affine

        from learned_codec.raster.geotags import read_transform

        said = self.metadata.get("transform")
        return Affine.identity() if said is None else read_transform(said, "metadata.transform")

    @property
    def bounds(self) -> Any:
        """Left, bottom, right and top, a rasterio `BoundingBox`. Raises `CorruptDataError`."""
        from rasterio.coords import BoundingBox
        from rasterio.transform import array_bounds

        return BoundingBox(*array_bounds(self.height, self.width, self.transform))

    @property
    def profile(self) -> dict[str, Any]:
        """What `rasterio.open(…, "w", **profile)` needs to write such an image as a GeoTIFF."""
        size = {"width": self.width, "height": self.height, "count": self.bands, "dtype": self.dtype.name}
        return {"driver": "GTiff", **size, "nodata": self.nodata, "crs": self.crs, "transform": self.transform}

    def index(self, x: float, y: float) -> tuple[int, int]:
        """The row and column of the pixel at a place."""
        from rasterio.transform import rowcol

        row, column = rowcol(self.transform, x, y)
        return int(row), int(column)

    # -- pixels --------------------------------------------------------------------------------------------------------

    def read(
        self,
        bands: Bands | None = None,
        window: WindowLike | None = None,
        out_shape: tuple[int, ...] | None = None,
        *,
        scale: float = 1,
        masked: bool = False,
        boundless: bool = False,
        fill_value: float | None = None,
        planar: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[Any]:
        """Decode a window of the image. It equals the same window of the whole image to within one grey level.

        Args:
            bands: one band, counted from 1 or by name, or several; by default all. For one band, the result has no
                axis of bands.
            window: (row, column, height, width) in pixels; by default the whole image. Also ((first row, last row + 1),
                (first column, last column + 1)), or a rasterio `Window`.
            out_shape: (height, width) of the result, or (bands, height, width) as in rasterio: the window is reduced or
                enlarged to it by the nearest pixel. If it is at most half as large as the window, pixels are those of
                the smallest reduced image (see `scale`) that is large enough.
            scale: 1, or 1/2, 1/4, 1/8 or 1/16 to read the reduced image, as `decode` does. The result has all of its
                pixels that the window touches.
            masked: return a masked array, as `decode` does.
            boundless: let the window reach beyond the image. Pixels out there have the fill value, and are masked in
                a masked array.
            fill_value: the value of pixels beyond the image: by default nodata if the image has it, else NaN for
                floats, else 0.
            planar: return (bands, h, w), whatever layout was encoded. For one band, (h, w) as always.
            progress: called with (done, all), in tiles that the window needs.

        Returns:
            An array of the image's dtype in the layout that was encoded: (h, w), (h, w, bands) or (bands, h, w).

        Raises:
            InvalidInputError: an argument is not one of the above.
            FileError: the reader is closed, or the file can't be read.
            BitstreamError: a tile that the window needs is damaged (not with `errors="fill"`).
            WeightsError: the model's weights can't be read.
        """
        options.check_switches(masked=masked, boundless=boundless, planar=planar)
        pixels = windows.checked(window, (self.height, self.width), boundless=boundless)
        chosen = self.checked_bands(bands)
        shape = None if out_shape is None else windows.checked_shape(out_shape, len(chosen))
        factor = options.factor_of_scale(scale)
        if shape is not None:
            if factor > 1:
                raise InvalidInputError("a scale and an out_shape can't be given together")
            factor = reducing_factor(pixels[2:], shape)
        row, column, height, width = wanted = windows.reduced(pixels, factor)
        single = isinstance(bands, int | np.integer | str)
        interleaved = self.container.header.layout == "HWC" and not (planar or single)
        result = _planes(len(chosen), height, width, self.dtype, interleaved=interleaved)
        plane = None if self.plane is None else np.empty((height, width), self._plane_dtype)
        inside = windows.inside(pixels, (self.height, self.width))
        there = None if inside is None else windows.reduced(inside, factor)
        if there != wanted:
            result[...] = self._checked_fill(fill_value)
        lost: list[Window] = []
        with Telling(progress) as tell:
            for part in () if inside is None else self._blocks(inside, tell, factor):
                place = (
                    slice(part.rows.start - row, part.rows.stop - row),
                    slice(part.columns.start - column, part.columns.stop - column),
                )
                for found, band in zip(result, chosen, strict=True):  # numpy takes longer for all at once
                    found[place] = part.values[band]
                if plane is not None and part.plane is not None:
                    plane[place] = part.plane
                top, left = (span.start for span in place)
                lost += [(_moved(rows, top), _moved(columns, left)) for rows, columns in part.lost]
        if masked:
            result = self._masked(result, plane)
            for rectangle in lost:
                result[:, *rectangle] = np.ma.masked
            if there != wanted:
                beyond = np.ones((height, width), bool)
                if there is not None:
                    beyond[_within(there, wanted)] = False
                result[:, beyond] = np.ma.masked
        if shape is not None:
            rows, columns = (
                windows.nearest(first, length, count, factor)
                for first, length, count in zip(pixels[:2], pixels[2:], shape, strict=True)
            )
            result = result[:, rows][:, :, columns]
        return result if planar and not single else self._in_layout(result, single=single)

    def __getitem__(self, key: Any) -> Any:
        """A part of the array that `decode` returns. The window around that part is decoded.

        A key may have integers, slices with any step, "..." and, along one axis, a list of integers. Raises
        `OutOfBoundsError` (an `IndexError`) beyond the image, `InvalidInputError` for other keys, and the errors of
        `read`.
        """
        axes = windows.subscripts(key, self.shape)
        if sum(isinstance(axis, list) for axis in axes) > 1:
            raise InvalidInputError(f"lists of integers along one axis are understood, not {shown(key)}")
        several = [[axis] if isinstance(axis, int) else axis for axis in axes]
        kinds = self.container.header.layout
        if not all(len(axis) for axis in several):
            values = np.empty([len(axis) for axis in several], self.dtype)
        else:
            rows, columns = (several[kinds.index(kind)] for kind in "HW")
            bands = None if kinds == "HW" else [band + 1 for band in several[kinds.index("C")]]
            top, left = min(rows), min(columns)
            values = self.read(bands, (top, left, max(rows) + 1 - top, max(columns) + 1 - left))
            for number, (kind, axis) in enumerate(zip(kinds, several, strict=True)):
                if kind != "C":
                    values = values.take([index - min(axis) for index in axis], number)
        return values[tuple(0 if isinstance(axis, int) else slice(None) for axis in axes)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole image, for numpy, as `decode` returns it."""
        if copy is False:
            raise InvalidInputError("decoding makes a new array: copy can't be False")
        return self.read().astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        state = " (closed)" if self.closed else ""
        named = f"{self.name}{state}: " if self.name else ""
        return (
            f"<{named}{self.width} × {self.height} pixels, {self.bands} × {self.dtype}, "
            f"{self.container.size:,} bytes, {self._how()}>"
        )

    def _how(self) -> str:
        """How the image was coded."""
        if isinstance(self._decoding, ImageDecoder):
            return f"model {self._decoding.card.name}"
        return in_words(self._decoding.bounds)

    def _repr_html_(self) -> str:
        """For notebooks: the line of `repr` and a picture of the image, or of the middle of a large image."""
        rate = f"{8 * self.container.size / (self.height * self.width):.3f} bits per pixel"
        said = html.escape(f"{repr(self)[1:-1]}, {rate}")
        preview = base64.b64encode(self._preview()).decode("ascii")
        return f'<div>{said}<br><img src="data:image/png;base64,{preview}"></div>'

    def _preview(self) -> bytes:
        """A PNG of at most 256 x 256 pixels: three bands or one, each from its 2nd to its 98th percentile.

        The bands are those called red, green and blue, or as Sentinel-2's are, else the first ones. Classes have their
        own colours.
        """
        from PIL import Image

        height, width = min(self.height, PREVIEWED), min(self.width, PREVIEWED)
        step = -(-max(height, width) // 256)
        middle = (self.height - height) // 2, (self.width - width) // 2, height, width
        bands = self._shown()
        shape = -(-height // step), -(-width // step)
        values = self.read(bands, middle, shape, masked=True, planar=True)
        planes = []
        for plane in np.ma.filled(values.astype(np.float32), np.nan):
            known = plane[np.isfinite(plane)]
            low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
            planes.append(np.nan_to_num((plane - low) / max(high - low, 1e-12)).clip(0, 1) * 255)
        levels = np.rint(planes).astype(np.uint8)
        colours = self._colours()
        if colours is None:
            picture = Image.fromarray(levels[0] if len(bands) == 1 else levels.transpose(1, 2, 0))
        else:
            picture = Image.fromarray(colours[np.ma.getdata(values)[0]])
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def _shown(self) -> list[int]:
        """The bands that a preview shows as red, green and blue, or as grey."""
        names = [(name or "").lower() for name in self.descriptions]
        for wanted in (("red", "green", "blue"), ("b04", "b03", "b02"), ("b4", "b3", "b2")):
            if set(wanted) <= set(names):
                return [names.index(name) + 1 for name in wanted]
        return [1, 2, 3] if self.bands >= 3 else [1]

    def _colours(self) -> NDArray[np.uint8] | None:
        """(256, 4): the colours of classes of one byte; None for what has none, or for metadata that are wrong."""
        said = self.metadata.get("colormap")
        if not isinstance(said, str) or self.dtype != np.uint8 or self.bands != 1:
            return None
        try:
            table = np.frombuffer(base64.b64decode(said), np.uint8).reshape(-1, 4)[:256]
        except ValueError:
            return None
        found = np.zeros((256, 4), np.uint8)
        found[: len(table)] = table
        return found

    def __reduce__(self) -> tuple[Callable[[], Reader], tuple[()]]:
        if self._reopen is None:
            raise InvalidInputError("this reader wasn't made by learned_codec.open, so it can't be made once more")
        source, *_ = self._reopen.args
        reopen = self._reopen
        if isinstance(source, memoryview):  # which can't be sent
            reopen = partial(open, bytes(source), **self._reopen.keywords)
        self._check_open()
        return partial(_opened_again, reopen, self.container.identity()), ()

    def read_plane(self, window: WindowLike | None = None, *, scale: float = 1) -> Plane:
        """The mask (0 or 255) or the alpha channel beside the bands, in a window: (h, w) uint8.

        An opacity of 16 bits is uint16, and 65535 is opaque.

        `scale` is that of `read`. Then a pixel of a mask exists if any pixel in its square does, and a pixel of an
        alpha channel is their mean, rounded up. Raises `InvalidInputError` if the file has neither, and the errors of
        `read`.
        """
        if self.plane is None:
            raise InvalidInputError("the file has neither a mask nor an alpha channel")
        factor = options.factor_of_scale(scale)
        row, column, height, width = windows.reduced(self.checked_window(window), factor)
        self._check_open()
        plane = np.zeros((height, width), self._plane_dtype)
        ends = min((row + height) * factor, self.height), min((column + width) * factor, self.width)
        touched = slice(row * factor, ends[0]), slice(column * factor, ends[1])
        for rows, columns, part in self._decoding.planes(touched, factor):
            place = cells(rows, factor), cells(columns, factor)
            values = reduced_plane(part, self.plane, factor)
            plane[place[0].start - row : place[0].stop - row, place[1].start - column : place[1].stop - column] = values
        return plane

    def parts(
        self, window: WindowLike | None = None, progress: Progress | None = None, *, scale: float = 1
    ) -> Iterator[Block]:
        """All bands of a window, in rectangles of at most a few tiles, along rows: for images larger than memory.

        Each `Block` has its `rows` and `columns` in the image, `values` (bands, h, w) of the image's dtype, and `plane`
        (h, w) as `read_plane` gives it, or None. `scale` is that of `read`; then rows and columns are those of the
        reduced image. Raises the errors of `read`.
        """
        yield from self._blocks(self.checked_window(window), progress, options.factor_of_scale(scale))

    def _blocks(self, window: WindowTuple, progress: Progress | None, factor: int = 1) -> Iterator[Block]:
        """The blocks of the image, reduced by `factor`, that a window of the full image touches."""
        row, column, height, width = window
        self._check_open()
        checked_progress(progress)
        wanted = slice(row, row + height), slice(column, column + width)
        threads = checked_threads(self._threads)
        blocks: Iterator[Block]
        if isinstance(self._decoding, ImageDecoder):
            workers, each = shared(threads, len(tiles_of(self.container.header, wanted, HALO)))
            model = registry.load(self._decoding.card, self._device, each)
            blocks = self._decoding.blocks(model, wanted, progress, workers, factor)
        else:
            blocks = self._decoding.blocks(wanted, progress, threads, factor)
        for block in blocks:
            yield block.crop(*(cells(part, factor) for part in wanted))

    def close(self) -> None:
        """Close the file if this object opened it."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise FileError(f"{self.name}: closed")
        if self._process != os.getpid() and self._reopen is not None:
            # A forked process shares the position in the file with its parent, and both would move it.
            reader = self._reopen()
            same = reader.container.header == self.container.header and reader.container.size == self.container.size
            if not (same and _same_file(self._file, reader._file)):
                raise reader._in_its_place()
            vars(self).update(vars(reader))

    def _in_its_place(self) -> FileError:
        """Close this reader, which opened another file under the same name, and return the error that says so."""
        self.close()
        return FileError(f"{self.name}: another file has taken the place of the one that was opened")

    # -- arguments ----------------------------------------------------------------------------------------------------

    def checked_window(self, window: Any) -> WindowTuple:
        """The (row, column, height, width) of a window; None means the whole image. Raises `InvalidInputError`."""
        return windows.checked(window, (self.height, self.width))

    def checked_bands(self, bands: Any) -> list[int]:
        """The indices, from 0, of bands by number (from 1) or name; None means all. Raises `InvalidInputError`."""
        if bands is None:
            return list(range(self.bands))
        one = isinstance(bands, str) or not isinstance(bands, Iterable) or getattr(bands, "ndim", 1) == 0
        chosen = [self._band(band) for band in ([bands] if one else bands)]
        if not chosen or None in chosen:
            named = [name for name in self.descriptions if name]
            names = f", or called {', '.join(named)}" if named else ""
            window = "" if one or len(chosen) not in (2, 4) else f"; a window is given as window={shown(bands)}"
            raise InvalidInputError(f"bands are counted from 1 to {self.bands}{names}; not {shown(bands)}{window}")
        return [band for band in chosen if band is not None]

    def _band(self, band: Any) -> int | None:
        """A band's index; None if there is none."""
        if isinstance(band, str) and self.descriptions.count(band) == 1:
            return self.descriptions.index(band)
        if isinstance(band, int | np.integer) and not isinstance(band, bool) and 1 <= band <= self.bands:
            return int(band) - 1
        return None

    def _checked_fill(self, value: Any) -> Any:
        if value is None:
            return self._decoding.fill_value
        known = isinstance(value, int | float | np.number) and (self.dtype.kind == "b" or not isinstance(value, bool))
        if not known or not holds(self.dtype, float(value)):
            raise InvalidInputError(f"fill_value must be a value that {self.dtype} can have, not {shown(value)}")
        return value

    def _masked(self, values: NDArray[Any], plane: Plane | None) -> NDArray[Any]:
        mask_spec = self._decoding.mask_spec
        valid = None if mask_spec is None else mask_spec.valid(mask_spec.classify(values, plane), len(values))
        mask: Any = np.ma.nomask if valid is None else ~valid
        result: NDArray[Any] = np.ma.MaskedArray(values, mask, fill_value=self.nodata)
        return result

    def _in_layout(self, values: NDArray[Any], *, single: bool) -> NDArray[Any]:
        if single or self.container.header.layout == "HW":
            band: NDArray[Any] = values[0]
            return band
        if self.container.header.layout == "CHW":
            return values
        turned: NDArray[Any] = values.transpose(1, 2, 0)
        return np.ascontiguousarray(turned) if type(turned) is np.ndarray else turned.copy()  # a masked array


def _planes(bands: int, height: int, width: int, dtype: np.dtype[Any], *, interleaved: bool) -> NDArray[Any]:
    """An empty (bands, height, width) array. If `interleaved`, memory has all bands of a pixel side by side."""
    if not interleaved:
        return np.empty((bands, height, width), dtype)
    return np.empty((height, width, bands), dtype).transpose(2, 0, 1)


def _opened_again(reopen: partial[Reader], identity: bytes) -> Reader:
    """A reader of the same file. Raises `FileError` if another one has taken its place."""
    reader = reopen()
    if reader.container.identity() != identity:
        raise reader._in_its_place()
    return reader


def _same_file(one: Any, other: Any) -> bool:
    """Whether two open files of a path are the same; True for what are none, such as bytes and remote files."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (AttributeError, OSError, ValueError):
        return True


def _stated_of_bands(metadata: dict[str, Any], bands: int) -> list[dict[str, Any]]:
    """The metadata of each band but an alpha band, from metadata that may be wrong."""
    listed = metadata.get("bands")
    stated = list(listed) if isinstance(listed, list) else []
    alpha = metadata.get("alpha")
    if isinstance(alpha, int) and 0 <= alpha < len(stated):
        del stated[alpha]
    found = [band if isinstance(band, dict) else {} for band in stated[:bands]]
    return found + [{} for _ in range(bands - len(found))]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any, usual: float) -> float:
    found = number_of_json(value)
    return usual if found is None else found


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _within(part: WindowTuple, window: WindowTuple) -> tuple[slice, slice]:
    """Rows and columns of a part of a window, counted from the window's corner."""
    row, column = part[0] - window[0], part[1] - window[1]
    return slice(row, row + part[2]), slice(column, column + part[3])


def nodata_of(fills: Sequence[float], metadata: dict[str, Any], dtype: np.dtype[Any]) -> float | None:
    """The nodata value: the metadata's, else the first fill; None if there is neither."""
    value = number_of_json(metadata.get("nodata"))
    if value is not None:
        return value if holds(dtype, value) else None
    return fills[0] if fills and np.isfinite(fills[0]) else None


def open(
    source: Openable,
    *,
    errors: options.Errors = "raise",
    refine: bool = True,
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Reader:
    """Open an LCI file to read windows of it. The head is read now; a tile is read when a window needs it.

    Threads may open files at the same time, and share what they opened.

        with learned_codec.open("scene.lci") as scene:
            chip = scene.read(window=(2048, 4096, 512, 512), bands=[4, 3, 2])

    Args:
        source: a path, a URL (`s3://…`, `https://…`, by fsspec), bytes, or any object with `seek` and `read`. A remote
            file gets one request for the head, and one for tiles that lie close together. A reduced image takes
            only the first bytes of long tiles. A pipe is read to its end.
        errors: "raise" or "fill", as for `decode`.
        refine: whether to refine decoded pixels, as for `decode`.
        limits: the largest image to accept (`Limits()` by default).
        device: where the networks run, as for `decode`.
        threads: how many threads a call may use, as for `decode`.

    Returns:
        A `Reader`, which threads may share. Close it, or use it in a `with` block.

    Raises:
        InvalidInputError: an argument is not one of the above.
        FileError: there is no such file, or it can't be read.
        BitstreamError: the head is damaged, or isn't that of an LCI file.
        LimitError: the image is larger than `limits`.
        UnknownModelError: the file was made with a model that isn't installed here.
    """
    lenient = options.lenient(errors)
    found, file = opened(source)
    try:
        container = bitstream.read_head(found, limits=options.checked_limits(limits))
        again = found if isinstance(found, bytes | bytearray | memoryview) else again_from(source)
        return Reader(
            container,
            file=file,
            device=device,
            threads=threads,
            lenient=lenient,
            refine=refine,
            reopen=partial(open, again, errors=errors, refine=refine, limits=limits, device=device, threads=threads),
            name=name_of(source, ""),
        )
    except BaseException:
        if file is not None:
            file.close()
        raise
