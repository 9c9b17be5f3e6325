"""META: a JSON object (RFC 8259, UTF-8) that describes the image. Pixels are decoded without it."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from learned_codec.errors import CorruptDataError, InvalidInputError

MAX_DEPTH = 64
"""The most levels of nested arrays and objects. A CRS as PROJJSON has 10. 64 are safe for parsers that recurse."""

_SHOWN = 40
"""A message shows at most this many digits of a number."""


def encode(metadata: Mapping[str, Any]) -> bytes:
    """The payload of META. Raises `InvalidInputError` for what isn't JSON or `decode` refuses, such as NaN."""
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        payload = text.encode()
        _parse(payload)
        _check_names(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the metadata can't be written as JSON: {error}") from error
    return payload


def decode(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload. Raises `CorruptDataError` if it isn't one, or could harm a program that uses it.

    Harmful are numbers beyond the range of a float, halves of surrogate pairs, and more than `MAX_DEPTH` levels.
    """
    try:
        value = _parse(payload)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"META isn't JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptDataError("META isn't a JSON object")
    return value


def number_to_json(value: float) -> float | str:
    """A number for META. JSON has neither NaN nor infinity, so these become "nan", "inf" and "-inf"."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def number_of_json(value: object) -> float | None:
    """The inverse of `number_to_json`. None for anything but a number, or a number beyond the range of a float."""
    if isinstance(value, str):
        return float(value) if value in ("nan", "inf", "-inf") else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _parse(payload: bytes) -> Any:
    text = payload.decode()
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    _check_depth(value)
    if "\\u" in text:  # only an escape can write half of a surrogate pair
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair isn't text") from None
    return value


def _check_depth(value: Any) -> None:
    level, depth = _containers([value]), 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"arrays and objects are nested more than {MAX_DEPTH} levels deep")
        level = _containers(child for node in level for child in (node.values() if isinstance(node, dict) else node))


def _check_names(value: Any) -> None:
    """Raise `TypeError` for a name that isn't text, which `json` makes text of."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                raise TypeError(f"names must be texts, not {name!r}")
            _check_names(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_names(part)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def _refuse(name: str) -> float:
    raise ValueError(f"{name} isn't JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{_shown(digits)} is beyond the range of numbers")
    return value


def _whole(digits: str) -> int:
    _finite(digits)  # so that every program can read it, at least as a float
    return int(digits)


def _shown(digits: str) -> str:
    return digits if len(digits) <= _SHOWN else f"a number of {len(digits)} characters"


def of_classes(metadata: Mapping[str, Any]) -> bool:
    """Whether the image's numbers stand for classes or colours, whose means would be some other class.

    It has a colour table or names of categories, or says that its layer is thematic. Metadata need not be as
    documented.
    """
    bands = metadata.get("bands")
    for holder in (metadata, *(bands if isinstance(bands, list) else ())):
        if not isinstance(holder, Mapping):
            continue
        if holder.get("categories"):
            return True
        tags = holder.get("tags")
        plain = tags.get("") if isinstance(tags, Mapping) else None
        for key, value in plain.items() if isinstance(plain, Mapping) else ():
            if (str(key).upper(), str(value).lower()) == ("LAYER_TYPE", "thematic"):
                return True
    return "colormap" in metadata
