"""What an image file that is to be written must hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from learned_codec.values.sources import PlaneKind


@dataclass(frozen=True, kw_only=True)
class SinkSpec:
    """The image that a `PixelSink` will be given, and how it is to be written.

    Attributes:
        height: in pixels.
        width: in pixels.
        bands: their number, not counting an alpha band, which is the plane.
        dtype: that of the samples.
        nodata: the value of pixels that don't exist.
        plane: what the plane beside the bands is. Formats without masks write a mask as alpha.
        metadata: as `learned_codec.raster.metadata` describes it; not trusted.
        overviews: build the overviews that `metadata` lists, in a GeoTIFF.
        sidecar: the caller writes the file beside a GeoTIFF that it may need, see `sidecar.py`.
        name: the file's name in messages, by default that of its path.
    """

    height: int
    width: int
    bands: int
    dtype: Any
    nodata: float | None = None
    plane: PlaneKind | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    overviews: bool = False
    sidecar: bool = False
    name: str | None = None
