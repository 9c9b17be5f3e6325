"""An LCI file that is read in windows: its head now, of its tiles only those that a window needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream, options
from learned_codec.bitstream.metadata import number_of_json
from learned_codec.errors import InvalidInputError
from learned_codec.limits import Limits
from learned_codec.models import registry
from learned_codec.models.device import checked_threads
from learned_codec.streams import Openable, opened
from learned_codec.tiling.decoder import Block, ImageDecoder
from learned_codec.tiling.progress import Progress
from learned_codec.values.mask import MaskSpec, holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from learned_codec.bitstream import Container

    WindowTuple = tuple[int, int, int, int]
    """Row, column, height and width, in pixels."""


class Reader:
    """An open file; see `learned_codec.open`. Also a context manager, which closes what it opened itself.

    Threads may share it: nothing is kept from call to call but which tiles were damaged.

    Attributes:
        height, width, bands, dtype: of the image.
        nodata: the value of pixels that have none, or None.
        metadata: what was kept beside the pixels.
        damaged: the tiles found damaged so far, with `lenient`.
    """

    def __init__(
        self,
        container: Container,
        *,
        file: Any = None,
        device: str = "cpu",
        threads: int | None = None,
        lenient: bool = False,
    ) -> None:
        header = container.header
        self.container, self._file, self._device, self._threads = container, file, device, threads
        self._card = registry.find(weights_id=header.weights_id)
        self._decoding = ImageDecoder(container, self._card, lenient=lenient)
        self.height, self.width, self.bands = header.height, header.width, header.bands
        self.dtype = np.dtype(header.dtype)
        self.metadata: dict[str, Any] = container.metadata
        layout = self._decoding.layout
        self.plane = None if layout is None else layout.plane
        self.nodata = nodata_of(layout.fills if layout else (), container.metadata, self.dtype)

    @property
    def damaged(self) -> tuple[int, ...]:
        """The tiles that were found damaged so far."""
        return tuple(sorted(self._decoding.damaged))

    def read(
        self,
        window: WindowTuple | None = None,
        bands: int | Sequence[int] | None = None,
        out_shape: tuple[int, int] | None = None,
        *,
        masked: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[Any]:
        """A window of the image; equal to the same window of the whole to within one level.

        Args:
            window: (row, column, height, width), in the image; by default all of it.
            bands: one band (counted from 1; the result has no axis of bands), or several; by default all.
            out_shape: (height, width) to reduce or enlarge the window to, by the nearest pixel.
            masked: return a masked array, as `decode` does.
            progress: called with (tiles done, tiles needed).

        Returns:
            In the layout that was encoded: (h, w), (h, w, bands) or (bands, h, w).
        """
        row, column, height, width = self.checked_window(window)
        chosen = self.checked_bands(bands)
        shape = None if out_shape is None else _checked_shape(out_shape)
        result = np.empty((len(chosen), height, width), self.dtype)
        plane = None if self.plane is None else np.empty((height, width), np.uint8)
        for part in self.parts((row, column, height, width), progress):
            there = (
                slice(part.rows.start - row, part.rows.stop - row),
                slice(part.columns.start - column, part.columns.stop - column),
            )
            result[:, there[0], there[1]] = part.values[chosen]
            if plane is not None and part.plane is not None:
                plane[there] = part.plane
        if masked:
            result = self._masked(result, plane)
        if shape is not None:
            result = _nearest(result, *shape)
        return self._in_layout(result, single=isinstance(bands, int | np.integer))

    def read_plane(self, window: WindowTuple | None = None) -> NDArray[np.uint8]:
        """(h, w) of the mask (0 or 255) or alpha channel beside the bands. Raises `InvalidInputError` without one."""
        if self.plane is None:
            raise InvalidInputError("the file has neither a mask nor an alpha channel")
        row, column, height, width = self.checked_window(window)
        plane = np.zeros((height, width), np.uint8)
        for rows, columns, part in self._decoding.planes((slice(row, row + height), slice(column, column + width))):
            plane[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column] = part
        return plane

    def parts(self, window: WindowTuple | None = None, progress: Progress | None = None) -> Iterator[Block]:
        """A window in rectangles of at most a few tiles, along rows: for images larger than memory. All bands."""
        row, column, height, width = self.checked_window(window)
        wanted = slice(row, row + height), slice(column, column + width)
        model = registry.load(self._card, self._device, checked_threads(self._threads))
        for block in self._decoding.blocks(model, wanted, progress):
            yield block.crop(*wanted)

    def close(self) -> None:
        """Close the file if this object opened it."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- arguments ----------------------------------------------------------------------------------------------------

    def checked_window(self, window: Any) -> WindowTuple:
        """(row, column, height, width) of a window in the image, None being all. Raises `InvalidInputError`."""
        if window is None:
            return 0, 0, self.height, self.width
        try:
            row, column, height, width = map(_whole, window)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"a window is (row, column, height, width), not {window!r}") from error
        inside = 0 <= row < row + height <= self.height and 0 <= column < column + width <= self.width
        if not inside:
            raise InvalidInputError(
                f"the window {(row, column, height, width)} isn't inside the image of {self.height} rows and "
                f"{self.width} columns"
            )
        return row, column, height, width

    def checked_bands(self, bands: Any) -> list[int]:
        """Bands counted from 1, or one, or None for all, as indices from 0. Raises `InvalidInputError`."""
        if bands is None:
            return list(range(self.bands))
        chosen = [bands] if isinstance(bands, int | np.integer) or not isinstance(bands, Iterable) else list(bands)
        if not chosen or any(not isinstance(b, int | np.integer) or not 1 <= b <= self.bands for b in chosen):
            raise InvalidInputError(f"bands are counted from 1 to {self.bands}, not {bands!r}")
        return [int(band) - 1 for band in chosen]

    def _masked(self, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> NDArray[Any]:
        layout = self._decoding.layout
        if layout is None and self.dtype.kind == "f":  # what was lost is NaN
            layout = MaskSpec((np.nan,))
        valid = None if layout is None else layout.valid(layout.classify(values, plane), len(values))
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
        return turned.copy() if isinstance(turned, np.ma.MaskedArray) else np.ascontiguousarray(turned)


def nodata_of(fills: Sequence[float], metadata: dict[str, Any], dtype: np.dtype[Any]) -> float | None:
    """The nodata value, by the metadata or else the first fill; None if there is none."""
    value = number_of_json(metadata.get("nodata"))
    if value is not None:
        return value if holds(dtype, value) else None
    return fills[0] if fills and np.isfinite(fills[0]) else None


def open(
    source: Openable,
    *,
    errors: options.Errors = "raise",
    limits: Limits | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Reader:
    """Open an LCI file to read windows of it. The head is read now; of the tiles, those that a window needs.

        with learned_codec.open("scene.lci") as scene:
            chip = scene.read(window=(2048, 4096, 512, 512), bands=[4, 3, 2])

    Args:
        source: a path, a URL (`s3://…`, `https://…`, by fsspec), bytes, or any object with `seek` and `read`; a remote
            file gets one request for the head and one for tiles that lie side by side. Of a pipe, all is read.
        errors: "raise" or "fill", as for `decode`.
        limits: as for `decode`.
        device: likewise.
        threads: likewise.

    Raises:
        FileError: there is no such file.
        As `decode`: everything about the head.
    """
    lenient = options.lenient(errors)
    found, file = opened(source)
    try:
        container = bitstream.read_head(found, limits=limits or Limits())
        return Reader(container, file=file, device=device, threads=threads, lenient=lenient)
    except BaseException:
        if file is not None:
            file.close()
        raise


def _whole(value: Any) -> int:
    """An integer, or a float that is one; anything else is a `TypeError`, `ValueError` or `OverflowError`."""
    if isinstance(value, str | bytes) or int(value) != value:
        raise ValueError(f"{value!r} isn't an integer")
    return int(value)


def _checked_shape(shape: Any) -> tuple[int, int]:
    try:
        height, width = map(_whole, shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"out_shape is (height, width), not {shape!r}") from error
    if height < 1 or width < 1:
        raise InvalidInputError(f"out_shape must be at least (1, 1), not {shape!r}")
    return height, width


def _nearest(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    rows = (np.arange(height) * values.shape[1] + values.shape[1] // 2) // height
    columns = (np.arange(width) * values.shape[2] + values.shape[2] // 2) // width
    reduced: NDArray[Any] = values[:, rows.clip(max=values.shape[1] - 1)][:, :, columns.clip(max=values.shape[2] - 1)]
    return reduced
