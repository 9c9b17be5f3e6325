"""Checks of arguments that several public functions and the command line share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeGuard

import numpy as np

from learned_codec.errors import InvalidInputError, shown
from learned_codec.limits import Limits
from learned_codec.values.reduce import FACTORS

DEFAULT_QUALITY = 60.0

EFFORTS = range(4)

Errors = Literal["raise", "fill"]
"""What happens at a damaged tile: an error, or the tile is filled with nodata, or else NaN or 0."""


def one_rate(given: Mapping[str, object]) -> tuple[str, float]:
    """The one argument among `quality`, `bpp` and `psnr` that is given (not None), and its value.

    If none is given, the default quality. Raises `InvalidInputError`.
    """
    asked = {name: value for name, value in given.items() if value is not None} or {"quality": DEFAULT_QUALITY}
    if len(asked) > 1:
        raise InvalidInputError(f"exactly one of quality, bpp and psnr, not {' and '.join(asked)}")
    ((name, value),) = asked.items()
    if not _is_finite(value):
        raise InvalidInputError(f"{name} must be a number, not {shown(value)}")
    if name == "quality" and not 1 <= value <= 100:
        raise InvalidInputError(f"quality must be from 1 to 100, not {value}")
    if value <= 0:
        raise InvalidInputError(f"{name} must be above 0, not {value}")
    return name, float(value)


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number that a float can hold."""
    try:
        return (
            isinstance(value, int | float | np.integer | np.floating)
            and not isinstance(value, bool)
            and math.isfinite(value)
        )
    except OverflowError:  # an integer beyond all floats
        return False


def checked_bounds(max_error: object, bands: int, others: Mapping[str, object]) -> tuple[float, ...]:
    """The bound of each band, from one for all or one for each.

    Raises `InvalidInputError` unless it is that, and where one of the `others` is given, which choose a loss instead.
    """
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise InvalidInputError(
            f"max_error can't go with {' and '.join(given)}: no model takes part, so the bound alone says what is lost"
        )
    found = _one_by_one(max_error) or [max_error] * bands
    if len(found) != bands:
        raise InvalidInputError(f"max_error must be one number, or one for each of {bands} bands, not {len(found)}")
    for value in found:
        if not _is_finite(value) or value < 0:
            raise InvalidInputError(f"max_error must be a number of 0 or more, not {shown(value)}")
    return tuple(float(value) for value in found)


def is_exact(max_error: object) -> bool:
    """Whether a max_error, unchecked, asks for no loss."""
    return all(_is_finite(bound) and bound == 0 for bound in _one_by_one(max_error) or [max_error])


def _one_by_one(max_error: object) -> list[Any]:
    """The bounds in a list, a tuple or an array of one axis; none if it isn't one of these."""
    if isinstance(max_error, np.ndarray):
        return list(max_error) if max_error.ndim == 1 else []
    return list(max_error) if isinstance(max_error, Sequence) and not isinstance(max_error, str | bytes) else []


def checked_effort(effort: object) -> int:
    """Check an effort. Raises `InvalidInputError`."""
    if not isinstance(effort, int | float | np.number) or isinstance(effort, bool) or effort not in EFFORTS:
        raise InvalidInputError(f"effort must be an integer from {EFFORTS[0]} to {EFFORTS[-1]}, not {shown(effort)}")
    return EFFORTS.index(effort)  # type: ignore[arg-type]  # that it is one of these


def factor_of_scale(scale: object) -> int:
    """How many pixels per side become one at a scale. Raises `InvalidInputError` unless that is one of `FACTORS`."""
    if isinstance(scale, int | float | np.number):
        for factor in FACTORS:
            if scale == 1 / factor:
                return factor
    raise InvalidInputError(f"scale must be 1, 1/2, 1/4, 1/8 or 1/16, not {shown(scale)}")


def lenient(errors: object) -> bool:
    """Whether `errors` is "fill". Raises `InvalidInputError` unless it is "fill" or "raise"."""
    if not is_one_of(errors, ("raise", "fill")):
        raise InvalidInputError(f"errors must be 'raise' or 'fill', not {shown(errors)}")
    return errors == "fill"


def is_one_of(value: object, texts: Iterable[object]) -> bool:
    """Whether a value is one of these texts. Arrays and others can't be compared with a text."""
    return isinstance(value, str) and value in texts


def check_switches(**given: object) -> None:
    """Raise `InvalidInputError` unless all are True or False: a text such as "no" would count as True."""
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise InvalidInputError(f"{name} must be True or False, not {shown(value)}")


def checked_limits(limits: object) -> Limits:
    """The limits that a caller gives; None: the default ones. Raises `InvalidInputError`."""
    if limits is None:
        return Limits()
    if not isinstance(limits, Limits):
        raise InvalidInputError(f"limits must be a learned_codec.Limits, not {shown(limits)}")
    return limits
