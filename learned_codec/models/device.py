"""What a device can do, and how many threads torch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from learned_codec.errors import InvalidInputError


def has_bf16(device: str) -> bool:
    """Whether bf16 is a gain on `device`: emulated bf16 is slower than float32."""
    if device.startswith("cuda"):
        supported: bool = torch.cuda.is_bf16_supported()
        return supported
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device == "cpu" and any(probe is not None and probe() for probe in probes)


def check_device(device: str) -> None:
    """Raise `InvalidInputError` unless this torch can compute on `device` with what the codec needs."""
    try:
        (torch.zeros(1, device=device).double() + 1).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InvalidInputError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error


@contextmanager
def threads(count: Any) -> Iterator[None]:
    """Let torch use `count` threads (None: as many as it does) inside the block, and as many as before after it.

    torch counts threads for the whole process: calls that overlap in time should not ask for different numbers.
    """
    if count is None:
        yield
        return
    if not isinstance(count, int) or count < 1:
        raise InvalidInputError(f"threads must be an integer of at least 1, not {count!r}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
