"""On what a call computes: which device, how many threads, and memory that is free."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

from learned_codec.errors import InvalidInputError, shown

MOST_THREADS = 1024
"""More threads than this aren't started, whatever is allowed."""


def cores() -> int:
    """How many cores of the processor this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def checked_threads(count: Any) -> int:
    """A number of threads from a user; None: as many as there are cores. Raises `InvalidInputError`."""
    if count is None:
        return cores()
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InvalidInputError(f"threads must be an integer of at least 1, not {shown(count)}")
    return min(count, MOST_THREADS)


def checked_device(device: Any) -> str:
    """A device of this machine by the name that a user gives: "cpu", or what torch calls another one.

    Raises `InvalidInputError`, and `MissingDependencyError` if it needs torch, which isn't installed.
    """
    if not isinstance(device, str):
        raise InvalidInputError(f"device must be a name such as 'cpu' or 'cuda', not {shown(device)}")
    if device != "cpu":
        from .engine import check_device  # not needed for most calls

        check_device(device)
    return device


def trim() -> None:
    """Give free memory back to the system, where the C library can: glibc."""
    if (release := _malloc_trim()) is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
