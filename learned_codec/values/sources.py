"""Sources and sinks of pixels: what the codec needs of an array, a picture file or a GeoTIFF.

The codec reads and writes rectangles, so files larger than memory are never in memory as a whole.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

PlaneKind = Literal["mask", "alpha"]
"""What a plane beside the bands is: a mask, 255 where a pixel exists and else 0, or opacity 0 to 255, or to 65535 if it
is uint16. Both are kept exactly."""

OPACITY = ("uint8", "uint16")
"""The dtypes of images beside which opacity can be kept exactly."""

Plane = NDArray[np.unsignedinteger[Any]]
"""(h, w) values of a plane beside the bands: uint8, or uint16 for an opacity of 16 bits."""

Unit = Literal["power", "amplitude", "db"]
"""The unit of radar backscatter: linear power (sigma0, intensity), amplitude (its square root, DN), or decibels."""


@runtime_checkable
class PixelSource(Protocol):
    """An image that can be read rectangle by rectangle.

    An encoder reads it several times, always from the thread that called it.

    Attributes:
        height: in pixels.
        width: in pixels.
        bands: their number, not counting an alpha band, which is the `plane`.
        dtype: that of all bands.
        nodata: the value of pixels that don't exist, the same in all bands; None if there is none.
        plane: what the plane beside the bands is; None if there is none.
        unit: the unit of radar backscatter, if the image is known to be that; else None.
        metadata: everything else that belongs to the image, as JSON values (no NaN or infinity).
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
        """(bands, h, w) values. The slices have a start and a stop inside the image, and no step."""

    def read_plane(self, rows: slice, columns: slice) -> Plane:
        """(h, w) values of the plane. Only for sources whose `plane` isn't None."""


class PixelSink(Protocol):
    """A place to which an image is written rectangle by rectangle, from top to bottom."""

    def write(self, rows: slice, columns: slice, values: NDArray[Any], plane: Plane | None) -> None:
        """Write (bands, h, w) values, and (h, w) values of the plane if there is one."""
