"""A codec for numcodecs: chunks of Zarr arrays (format 2), and of other users of numcodecs, as LCI files.

    import zarr
    from learned_codec.integrations.numcodecs import Lci

    zarr.create_array("scene.zarr", shape=(4, 5000, 5000), chunks=(4, 1000, 1000), dtype="uint16", zarr_format=2,
                      compressors=Lci(quality=60))

To read such arrays, it is enough to install this package: numcodecs finds the codec by its entry point.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray
from numpy.typing import NDArray

import learned_codec
from learned_codec.errors import CorruptDataError, InvalidInputError
from learned_codec.integrations.missing import missing
from learned_codec.integrations.settings import given


class Lci(Codec):  # type: ignore[misc]  # numcodecs is not typed
    """A lossy codec for images: the last two dimensions of a chunk are rows and columns, all before them are bands.

    The settings are those of `learned_codec.encode`. They are stored with the array; decoding needs none of them. NaN
    needs no `nodata`. Each chunk becomes a file, so it should have at least 64 x 64 pixels. Threads may
    share a codec.
    """

    codec_id = "lci"

    def __init__(
        self,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        psnr: float | None = None,
        max_error: float | None = None,
        nodata: float | None = None,
        kind: str | None = None,
        unit: str | None = None,
        effort: int = 0,
        model: str | None = None,
    ) -> None:
        self.quality, self.bpp, self.psnr, self.max_error = quality, bpp, psnr, max_error
        self.nodata, self.kind, self.unit = nodata, kind, unit
        self.effort, self.model = effort, model

    def encode(self, buf: Any) -> bytes:
        """Encode a chunk, (…, H, W) with up to 256 bands.

        Without `nodata`, a lowest or highest value that lies apart from all others (-9999, the end of a dtype …) is
        kept exactly: numcodecs doesn't tell codecs the array's fill value.

        Raises the errors of `learned_codec.encode`, and `InvalidInputError` for a chunk of fewer than two dimensions,
        or with masked values, whose mask a chunk can't keep.
        """
        if np.ma.is_masked(buf):
            raise InvalidInputError("a chunk can't keep a mask: fill it with a value, and give that as nodata")
        chunk = ensure_ndarray(buf)
        if chunk.ndim < 2 or not chunk.size:
            raise InvalidInputError(f"a chunk of shape {chunk.shape} has no rows and columns")
        planes = np.ascontiguousarray(chunk.reshape(-1, *chunk.shape[-2:]))
        bounded = self.max_error is not None
        # Without loss, such a value is kept anyway.
        found = planes.dtype.kind in "iuf" and self.nodata is None and self.max_error != 0
        nodata = missing(planes) if found else self.nodata
        planar = chunk.ndim > 2
        order = "F" if chunk.flags.f_contiguous and not chunk.flags.c_contiguous else "C"
        beside: dict[str, Any] = {}
        if order == "F" or not chunk.dtype.isnative or (chunk.dtype == np.float64 and not bounded):
            beside["chunk"] = {"dtype": chunk.dtype.str, "order": order, "shape": list(chunk.shape)}
        settings = given(vars(self)) | {"nodata": nodata, "metadata": beside}
        return learned_codec.encode(planes if planar else planes[0], planar=planar, **settings)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk, (H, W) or (bands, H, W); into `out`, if given, of any shape with as many values.

        `out` can be written, and has the chunk's dtype, or is a buffer of as many bytes. A chunk that wasn't in C order
        or in the machine's byte order gets its own shape and dtype back. Raises the errors of `learned_codec.decode`,
        and `InvalidInputError` for another `out`.
        """
        data = ensure_bytes(buf)
        chunk = _as_it_was(learned_codec.decode(data), learned_codec.inspect(data).metadata.get("chunk"))
        if out is None:
            return chunk
        into = ensure_ndarray(out)
        if not into.flags.writeable:
            raise InvalidInputError("out is read-only")
        if into.size == chunk.size and into.dtype.newbyteorder("=") == chunk.dtype.newbyteorder("="):
            into[...] = chunk.reshape(into.shape)
        elif into.ndim == into.itemsize == 1 and into.size == chunk.nbytes:
            into.view(np.uint8)[...] = np.frombuffer(chunk.tobytes(), np.uint8)
        else:
            raise InvalidInputError(
                f"a chunk of {chunk.dtype}, {chunk.shape}, doesn't go into {into.dtype}, {into.shape}"
            )
        return out

    def get_config(self) -> dict[str, Any]:
        """The configuration for `numcodecs.get_codec`. Settings that were not given are left out."""
        return {"id": self.codec_id} | given(vars(self))


def _as_it_was(chunk: NDArray[Any], form: Any) -> NDArray[Any]:
    """A decoded chunk in its original shape, order and dtype. Raises `CorruptDataError`."""
    if form is None:
        return chunk
    try:
        dtype, order, shape = np.dtype(form["dtype"]), form["order"], tuple(map(int, form["shape"]))
        if dtype.kind not in "uifb" or dtype.itemsize > 8 or math.prod(shape) != chunk.size or min(shape) < 1:
            raise ValueError("it isn't that of the pixels")
        return np.asarray(chunk.reshape(shape).astype(dtype), order=order)
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptDataError(f"a chunk's stored shape or dtype is invalid: {error}") from error
