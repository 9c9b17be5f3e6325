"""What a tile's payload and the header's adaptation are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learned_codec.errors import CorruptDataError

from . import varint


def join_payload(side: bytes, latents: bytes, shown: bool) -> bytes:
    """The payload of a tile of a file with masks, from its side and its coded latents, if anything in it is `shown`."""
    return varint.encode(2 * len(side) + shown) + side + latents


def split_payload(payload: bytes) -> tuple[bytes, bytes, bool]:
    """The inverse of `join_payload`. Raises `CorruptDataError`."""
    number, at = varint.decode(payload)
    end = at + number // 2
    if end > len(payload) or (number % 2 == 0 and end != len(payload)):
        raise CorruptDataError("a tile's mask doesn't end where it should")
    return payload[at:end], payload[end:], number % 2 == 1


def split_count(payload: bytes, most: int) -> tuple[int, bytes]:
    """The number of components that a tile has, and what follows it. Raises `CorruptDataError`."""
    count, at = varint.decode(payload)
    if count > most:
        raise CorruptDataError(f"{count} components in a tile of an image of {most}")
    return count, payload[at:]


def join_adaptation(amounts: Sequence[Sequence[int]]) -> bytes:
    """The adaptation in a header, from the components' amounts: the number of them and signed bytes, for each."""
    parts = [bytes([len(component)]) + np.array(component, np.int8).tobytes() for component in amounts]
    return b"".join(parts).rstrip(b"\0")  # the last components may have none


def split_adaptation(data: bytes, most: int, components: int) -> list[list[int]]:
    """The inverse of `join_adaptation`. Raises `CorruptDataError` for more than `most` amounts or other components."""
    found: list[list[int]] = []
    at = 0
    while at < len(data) and len(found) <= components:
        start, at = at + 1, at + 1 + data[at]
        found.append(np.frombuffer(data[start:at], np.int8).tolist())
    if at != len(data) or len(found) > components or any(len(amounts) > most for amounts in found):
        raise CorruptDataError(f"an adaptation of {len(data)} bytes is not one of {components} times up to {most}")
    return found + [[] for _ in range(components - len(found))]
