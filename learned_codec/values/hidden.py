"""Whether pixels that a mask or an opacity of 0 hides show something: their values aren't kept."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .mask import VALID, Side
from .sources import PlaneKind

DETAIL = 0.1
"""Hidden pixels show something if more than this share of them differ from the hidden pixel to their left. Measured
values nearly all do. Black or white behind a cut-out doesn't, nor does the noise that JPEG leaves along its edge."""


class Hidden:
    """Collects, rectangle by rectangle, how many hidden pixels there are, and how many differ from their neighbours."""

    def __init__(self) -> None:
        self._pairs = self._unlike = 0

    def add(self, values: NDArray[Any], side: Side) -> None:
        """Take (bands, h, w) values. Hidden values of a class, such as nodata, are kept and don't count."""
        if side.plane is None or side.plane.all():
            return
        lost = (side.plane == 0)[None] if side.classes is None else (side.plane == 0) & (side.classes == VALID)
        pairs = lost[..., 1:] & lost[..., :-1]
        self._pairs += int(pairs.any(0).sum())
        self._unlike += int((pairs & (values[..., 1:] != values[..., :-1])).any(0).sum())

    def join(self, other: Hidden) -> None:
        """Take the pixels that another collection has taken."""
        self._pairs += other._pairs
        self._unlike += other._unlike

    @property
    def show_something(self) -> bool:
        """Whether they aren't just a background."""
        return self._unlike > DETAIL * self._pairs


def lost(plane: PlaneKind | None) -> str:
    """What to tell of hidden pixels with values."""
    what, parts = ("pixels of opacity 0", "opacity") if plane == "alpha" else ("pixels that the mask hides", "mask")
    return (
        f"{what} have values, which aren't kept: they come back as 0. If you need them, encode the bands and the "
        f"{parts} as two files"
    )
