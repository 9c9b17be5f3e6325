"""Where pixels come from and where they go: what the codec needs of an array, a picture file or a GeoTIFF.

The codec reads and writes rectangles, so that a file larger than memory is never in memory.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

PlaneKind = Literal["mask", "alpha"]
"""What a plane beside the bands means: 0 or 255 (pixel exists), or opacity 0 to 255. Both are kept exactly."""

Unit = Literal["power", "amplitude", "db"]
"""Of radar backscatter: linear power (sigma0, intensity), its square root (DN), or decibels."""


@runtime_checkable
class PixelSource(Protocol):
    """An image that can be read rectangle by rectangle.

    Attributes:
        height, width: pixels.
        bands: without an alpha band, which is the `plane`.
        dtype: of all bands.
        nodata: the value of pixels that don't exist, in any band; None if there is none.
        plane: what the plane beside the bands is; None if there is none.
        unit: of radar backscatter, where the file says that it is that; else None.
        metadata: everything else that belongs to the image, as JSON has it (no NaN or infinity).
    """

    height: int
    width: int
    bands: int
    dtype: np.dtype[Any]
    nodata: float | None
    plane: PlaneKind | None
    unit: Unit | None
    metadata: dict[str, Any]

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values; the slices have a start and a stop within the image, and no step."""

    def read_plane(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """(h, w) of the plane; only where `plane` isn't None."""


class PixelSink(Protocol):
    """Somewhere an image can be written rectangle by rectangle, from top to bottom."""

    def write(self, rows: slice, columns: slice, values: NDArray[Any], plane: NDArray[np.uint8] | None) -> None:
        """Take (bands, h, w) values, and (h, w) of the plane if there is one."""
