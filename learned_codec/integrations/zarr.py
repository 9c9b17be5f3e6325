"""A serializer for Zarr format 3: chunks of arrays, and inner chunks of shards, as LCI files.

    import zarr
    from learned_codec.integrations.zarr import LciCodec

    zarr.create_array("scene.zarr", shape=(4, 5000, 5000), chunks=(4, 1000, 1000), dtype="uint16",
                      serializer=LciCodec(quality=60), compressors=None)

To read such arrays, it is enough to install this package: Zarr finds the codec by its entry point, `learned_codec.lci`.
`docs/integrations.md` specifies the configuration.
"""

from __future__ import annotations

import asyncio
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import RangeByteRequest
from zarr.storage import StorePath

import learned_codec
from learned_codec.errors import CorruptDataError, InvalidInputError, declaring_by
from learned_codec.integrations.missing import missing
from learned_codec.integrations.settings import given

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "learned_codec.lci"

SMALL = 2**16
"""Chunks of up to this many bytes are read as a whole: a second request would take longer than reading them."""


@dataclass(frozen=True, kw_only=True)
class LciCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """A lossy codec for images: the last two dimensions of a chunk are rows and columns, all before them are bands.

    The settings are those of `learned_codec.encode`. They are stored with the array; decoding needs none of them. Each
    chunk becomes a file, so it should have at least 64 x 64 pixels. If a chunk has several tiles, only the tiles that a
    selection touches are read. Threads may share a codec.

    Attributes:
        quality: as for `encode`. At most one of this and the next three may be given.
        bpp: as for `encode`.
        psnr: as for `encode`.
        max_error: as for `encode`; 0 is lossless, and more dtypes can be coded.
        kind: "sar" for radar backscatter.
        unit: the unit of radar values.
        effort: 0 to 3.
        model: a model's name.
        keep_fill_value: the array's fill value counts as nodata: it comes back exactly, and no other value becomes it.
            In chunks without it, a lowest or highest value that lies apart from all others also comes back exactly,
            such as the `_FillValue` of xarray. (NaN and infinity come back exactly in any case.)
    """

    quality: float | None = None
    bpp: float | None = None
    psnr: float | None = None
    max_error: float | None = None
    kind: str | None = None
    unit: str | None = None
    effort: int = 0
    model: str | None = None
    keep_fill_value: bool = True

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec from an entry in `zarr.json`. Raises `InvalidInputError` for unknown settings."""
        settings = data.get("configuration", {})
        unknown = settings.keys() - {field.name for field in fields(cls)}
        if data.get("name") != NAME or unknown:
            raise InvalidInputError(f"{data.get('name')!r} with {sorted(unknown)} isn't a configuration of {NAME!r}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """The entry for `zarr.json`. Settings that were not given are left out."""
        return {"name": NAME, "configuration": given(asdict(self))}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:  # noqa: ARG002 - zarr's
        """Raise `InvalidInputError` for an array that can't be coded, when it is created."""
        kind = dtype.to_native_dtype()
        known = learned_codec.DTYPES if self.max_error is None else learned_codec.BOUNDED_DTYPES
        if kind.newbyteorder("=").name not in known:
            raise InvalidInputError(f"arrays of {', '.join(known)} can be encoded, not of {kind}")
        if len(shape) < 2:
            raise InvalidInputError(f"an array of shape {shape} has no rows and columns")

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """The same codec. Raises as `validate`, which Zarr before 3.4 doesn't call for the chunks of shards."""
        self.validate(shape=array_spec.shape, dtype=array_spec.dtype, chunk_grid=None)
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """The size is not known before a chunk is encoded."""
        raise NotImplementedError

    # -- chunks -------------------------------------------------------------------------------------------------------

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        data = await asyncio.to_thread(self._encode, chunk_data.as_numpy_array(), chunk_spec.fill_value)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        values = await asyncio.to_thread(learned_codec.decode, chunk_data.to_bytes())
        _check_chunk(values, chunk_spec)
        return _as_buffer(values.reshape(chunk_spec.shape), chunk_spec)

    async def _decode_partial_single(self, byte_getter: Any, selection: Any, chunk_spec: ArraySpec) -> NDBuffer | None:
        if isinstance(byte_getter, StorePath):
            try:
                size = await byte_getter.store.getsize(byte_getter.path)
            except FileNotFoundError:  # a chunk of nothing but the fill value
                return None
            if size > SMALL:
                loop = asyncio.get_running_loop()
                file = _StoredObject(byte_getter, size, chunk_spec.prototype, loop)
                # A thread of its own, as it waits for the store, and stores on disk use the loop's threads.
                with ThreadPoolExecutor(1) as pool:
                    part = await loop.run_in_executor(pool, _read_part, file, selection, chunk_spec)
                return _as_buffer(part, chunk_spec)
        found = await byte_getter.get(prototype=chunk_spec.prototype)
        if found is None:
            return None
        part = await asyncio.to_thread(_read_part, io.BytesIO(found.to_bytes()), selection, chunk_spec)
        return _as_buffer(part, chunk_spec)

    def _encode(self, chunk: NDArray[Any], fill_value: Any) -> bytes:
        chunk = chunk.astype(chunk.dtype.newbyteorder("="), copy=False)
        planes = np.ascontiguousarray(chunk.reshape(-1, *chunk.shape[-2:]) if chunk.ndim > 2 else chunk)
        settings = given(asdict(self))
        value = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
        if settings.pop("keep_fill_value") and chunk.dtype.kind != "b":
            # Where xarray wrote the array, another value stands for "missing", in an attribute.
            if value is not None and (planes == value).any():
                settings["nodata"] = value
            elif self.max_error != 0:  # which keeps it anyway
                settings["nodata"] = missing(planes)
                # A value of those around the fill value could become it.
                if (
                    settings["nodata"] is None
                    and value is not None
                    and (planes < value).any()
                    and (planes > value).any()
                ):
                    settings["nodata"] = value
        with declaring_by(partial(self._to_declare, value)):
            return learned_codec.encode(planes, planar=planes.ndim > 2, **settings)

    def _to_declare(self, fill_value: Any, value: float) -> str:
        """How to say that a value stands for missing pixels, which the array's fill value doesn't."""
        of_array = [] if value == fill_value else [f"fill_value={value:g} of the array"]
        return " and ".join(of_array + ([] if self.keep_fill_value else ["keep_fill_value=True of the codec"]))


def _check_chunk(found: NDArray[Any] | learned_codec.Reader, chunk_spec: ArraySpec) -> None:
    """Raise `CorruptDataError` if a file isn't that of such a chunk."""
    shape, dtype = chunk_spec.shape, chunk_spec.dtype.to_native_dtype().newbyteorder("=")
    same = found.shape[-2:] == shape[-2:] and math.prod(found.shape) == math.prod(shape) and found.dtype == dtype
    if not same:
        raise CorruptDataError(f"a file of {found.dtype}, {found.shape}, for a chunk of {dtype}, {shape}")


def _as_buffer(values: NDArray[Any], chunk_spec: ArraySpec) -> NDBuffer:
    dtype = chunk_spec.dtype.to_native_dtype()
    return chunk_spec.prototype.nd_buffer.from_numpy_array(np.asarray(values, dtype, order="C"))


def _read_part(file: Any, selection: Any, chunk_spec: ArraySpec) -> NDArray[Any]:
    """Read a selection of a chunk, by decoding the smallest window around it. Raises as `_check_chunk`."""
    shape = chunk_spec.shape
    selection = selection if isinstance(selection, tuple) else (selection,)
    if len(selection) != len(shape) or any(not isinstance(s, slice | int | np.ndarray | np.integer) for s in selection):
        values = learned_codec.decode(file.read(-1))
        _check_chunk(values, chunk_spec)
        return np.asarray(values.reshape(shape)[selection])
    spans = [_span(part, length) for part, length in zip(selection[-2:], shape[-2:], strict=True)]
    (top, height), (left, width) = spans
    if not height or not width:
        nothing: NDArray[Any] = np.empty(shape, np.uint8)[selection]
        return nothing
    with learned_codec.open(file) as reader:
        _check_chunk(reader, chunk_spec)
        values = reader.read(window=(top, left, height, width)).reshape(*shape[:-2], height, width)
    moved = tuple(_moved(part, start) for part, (start, _) in zip(selection[-2:], spans, strict=True))
    part: NDArray[Any] = values[(*selection[:-2], *moved)]
    return part


def _span(part: Any, length: int) -> tuple[int, int]:
    """The first index of a selection along one axis, and the length from it to the last."""
    chosen = np.arange(length)[part]
    return (int(chosen.min()), int(np.ptp(chosen)) + 1) if chosen.size else (0, 0)


def _moved(part: Any, start: int) -> Any:
    if not isinstance(part, slice):
        return part - start
    if part.step is not None and part.step < 0:
        raise InvalidInputError(f"a step of {part.step}: chunks are read forwards")
    first, last = (None if end is None else end - start for end in (part.start, part.stop))
    return slice(first, last, part.step)


class _StoredObject(io.RawIOBase):
    """An object in a store as a file, for another thread than the event loop's, in which requests run."""

    def __init__(self, path: StorePath, size: int, prototype: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._path, self._size, self._prototype, self._loop = path, size, prototype, loop
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        wanted = self._path.get(self._prototype, byte_range=RangeByteRequest(self._at, end))
        found = asyncio.run_coroutine_threadsafe(wanted, self._loop).result()
        data = b"" if found is None else found.to_bytes()
        self._at += len(data)
        return data
