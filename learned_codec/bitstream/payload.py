"""The parts of a tile's payload, and the header's adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from learned_codec.errors import CorruptDataError

from . import varint


def join_payload(side: bytes, latents: bytes, shown: bool) -> bytes:
    """The payload of a tile in a file with masks, from its packed mask or plane and its coded latents.

    `shown`: whether any pixel of the tile is visible.
    """
    return varint.encode(2 * len(side) + shown) + side + latents


def split_payload(payload: bytes) -> tuple[bytes, bytes, bool]:
    """The inverse of `join_payload`. Raises `CorruptDataError`."""
    number, at = varint.decode(payload)
    end = at + number // 2
    if end > len(payload) or (number % 2 == 0 and end != len(payload)):
        raise CorruptDataError("a tile's mask doesn't end where it should")
    return payload[at:end], payload[end:], number % 2 == 1


def split_count(payload: bytes, most: int) -> tuple[int, bytes]:
    """The number of components in a tile's payload, and the rest of the payload. Raises `CorruptDataError`."""
    count, at = varint.decode(payload)
    if count > most:
        raise CorruptDataError(f"a tile has {count} components, but the image has {most}")
    return count, payload[at:]


def join_parts(parts: Sequence[bytes]) -> bytes:
    """A tile's layers: the lengths of all parts but the last, then the parts."""
    return b"".join([varint.encode(len(part)) for part in parts[:-1]] + list(parts))


def part_ends(payload: bytes, count: int, start: int = 0) -> list[int]:
    """Where all of `count` parts but the last end in a payload, whose layers begin at `start`."""
    lengths, at = _lengths(payload, count, start)
    return [at + end for end in accumulate(lengths)]


def split_parts(payload: bytes, count: int, wanted: int) -> list[bytes]:
    """The first `wanted` of the `count` parts of a payload. What follows them may be missing.

    Raises `CorruptDataError`.
    """
    lengths, at = _lengths(payload, count)
    parts = []
    for length in lengths[:wanted]:
        parts.append(payload[at : at + length])
        at += length
        if at > len(payload):
            raise CorruptDataError(f"a layer of {length} bytes reaches beyond the {len(payload)} bytes of its tile")
    return parts if wanted < count else [*parts, payload[at:]]


def _lengths(payload: bytes, count: int, at: int = 0) -> tuple[list[int], int]:
    """The lengths, listed from `at` on, of all of `count` parts but the last, and where the first part begins."""
    lengths = []
    for _ in range(count - 1):
        length, at = varint.decode(payload, at)
        lengths.append(length)
    return lengths, at


def join_adaptation(amounts: Sequence[Sequence[int]]) -> bytes:
    """The adaptation in a header: for each component, the number of its amounts and the amounts, signed bytes."""
    parts = [bytes([len(component)]) + np.array(component, np.int8).tobytes() for component in amounts]
    return b"".join(parts).rstrip(b"\0")  # components without amounts are left out at the end


def split_adaptation(data: bytes, most: int, components: int) -> list[list[int]]:
    """The inverse of `join_adaptation`.

    Raises `CorruptDataError` for more than `most` amounts, or too many components.
    """
    found: list[list[int]] = []
    at = 0
    while at < len(data) and len(found) <= components:
        start, at = at + 1, at + 1 + data[at]
        found.append(np.frombuffer(data[start:at], np.int8).tolist())
    if at != len(data) or len(found) > components or any(len(amounts) > most for amounts in found):
        raise CorruptDataError(
            f"an adaptation of {len(data)} bytes doesn't fit {components} components with up to {most} amounts each"
        )
    return found + [[] for _ in range(components - len(found))]
