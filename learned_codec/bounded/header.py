"""The fields of HEAD for an image with a bounded error: a transform code of its own, and the bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learned_codec.bitstream import HAS_PARAMETERS, Header
from learned_codec.bitstream.header import WEIGHTS_ID_SIZE
from learned_codec.errors import CorruptDataError

TRANSFORM = 3 | HAS_PARAMETERS

NO_MODEL = bytes(WEIGHTS_ID_SIZE)
"""The weights id of such images, which have no model."""


def is_bounded(header: Header) -> bool:
    """Whether the image's tiles are those of this package."""
    return header.transform == TRANSFORM


def parameters_of(bounds: Sequence[float]) -> bytes:
    """The parameters in HEAD: the bounds, or a single one if all bands have the same."""
    return np.array(bounds[:1] if len(set(bounds)) == 1 else bounds, "<f8").tobytes()


def bounds_of(header: Header) -> tuple[float, ...]:
    """The bound of each band. Raises `CorruptDataError`."""
    if len(header.parameters) not in (8, 8 * header.bands):
        raise CorruptDataError(f"{len(header.parameters)} bytes can't be the bounds of {header.bands} bands")
    found = np.frombuffer(header.parameters, "<f8")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise CorruptDataError("a bound must be a number of 0 or more")
    if header.weights_id != NO_MODEL or header.quality_step or header.lapping or header.adaptation:
        raise CorruptDataError("an image with a bounded error has no model")
    if len(found) > 1 and len(set(found.tolist())) == 1:
        raise CorruptDataError("the bounds aren't in their shortest form")
    return tuple(found.tolist()) * (header.bands // len(found))


def in_words(bounds: Sequence[float]) -> str:
    """The bounds in words."""
    if not any(bounds):
        return "lossless"
    return f"max_error {bounds[0]:g}" if len(set(bounds)) == 1 else f"max_error {min(bounds):g} to {max(bounds):g}"
