"""A codec for numcodecs: chunks of Zarr arrays (format 2) and of whatever else takes numcodecs, as LCI files.

    import zarr
    from .numcodecs import Lci

    zarr.create_array("scene.zarr", shape=(4, 5000, 5000), chunks=(4, 1000, 1000), dtype="uint16", zarr_format=2,
                      compressors=Lci(quality=60))

To read them, only this package must be installed: numcodecs finds the codec by its entry point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray

import learned_codec
from learned_codec.errors import InvalidInputError


class Lci(Codec):  # type: ignore[misc]  # numcodecs is not typed
    """Lossy, so for images: the last two dimensions of a chunk are rows and columns, all those before them bands.

    The settings are those of `learned_codec.encode`, and are stored with the array; none is needed to decode. NaN needs
    no `nodata`. A chunk should have at least 64 x 64 pixels: for each there is a file of its own.
    """

    codec_id = "lci"

    def __init__(
        self,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        psnr: float | None = None,
        nodata: float | None = None,
        kind: str | None = None,
        unit: str | None = None,
        effort: int = 0,
        model: str | None = None,
    ) -> None:
        self.quality, self.bpp, self.psnr = quality, bpp, psnr
        self.nodata, self.kind, self.unit = nodata, kind, unit
        self.effort, self.model = effort, model

    def encode(self, buf: Any) -> bytes:
        """A chunk, (…, H, W) with up to 256 bands, of a dtype that `learned_codec.encode` takes.

        Raises what that raises, and `InvalidInputError` for a chunk of less than two dimensions.
        """
        chunk = ensure_ndarray(buf)
        if chunk.ndim < 2:
            raise InvalidInputError(f"a chunk of shape {chunk.shape} has no rows and columns")
        if chunk.ndim > 2:
            chunk = chunk.reshape(-1, *chunk.shape[-2:])
        return learned_codec.encode(np.ascontiguousarray(chunk), planar=chunk.ndim > 2, **self._settings())

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk, (H, W) or (bands, H, W); into `out`, of any shape of as many values, if it is given."""
        chunk = learned_codec.decode(ensure_bytes(buf))
        if out is None:
            return chunk
        into = ensure_ndarray(out)
        into[...] = chunk.reshape(into.shape)
        return out

    def get_config(self) -> dict[str, Any]:
        """What `numcodecs.get_codec` makes the same codec of; settings that were not given are left out."""
        return {"id": self.codec_id} | self._settings()

    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}
