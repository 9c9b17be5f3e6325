"""META: a JSON object (RFC 8259, UTF-8), for what describes the picture but isn't needed to decode it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from learned_codec.errors import CorruptDataError, InvalidInputError


def encode(metadata: Mapping[str, Any]) -> bytes:
    """The payload of META. Raises `InvalidInputError` for what JSON doesn't have, as NaN and infinity."""
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the metadata can't be written as JSON: {error}") from error


def decode(payload: bytes) -> dict[str, Any]:
    """The object. Raises `CorruptDataError` for anything else."""
    try:
        value = json.loads(payload.decode(), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # nested too deeply; a number of too many digits is a ValueError
        raise CorruptDataError(f"META isn't JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptDataError("META isn't a JSON object")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} isn't JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large")
    return value
