"""Progress of a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from learned_codec.errors import InvalidInputError, shown

Progress = Callable[[int, int], None]
"""A function that is called with how much is done and how much there is to do, in tiles. Both count searches; the first
rises with each call."""


def checked(progress: Any) -> Progress | None:
    """A callback from a user. Raises `InvalidInputError` unless it can be called, or is None."""
    if progress is not None and not callable(progress):
        raise InvalidInputError(f"progress must be a function of two integers, not {shown(progress)}")
    called: Progress | None = progress
    return called


class Telling:
    """A block in which a user's callback may raise anything; the exception leaves the block unchanged.

        with Telling(progress) as tell:
            ...

    Generators alone would turn `StopIteration` into `RuntimeError`. Raises as `checked`.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = checked(progress)

    def __enter__(self) -> Progress | None:
        return None if self._progress is None else partial(_tell, self._progress)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, _StoppedError):
            raise error.by from error.by.__cause__


def _tell(progress: Progress, done: int, planned: int) -> None:
    try:
        progress(done, planned)
    except StopIteration as error:
        raise _StoppedError(error) from error


class _StoppedError(BaseException):
    """Carries a callback's exception."""

    def __init__(self, by: StopIteration) -> None:
        self.by = by


class Counter:
    """Calls a `Progress` as work is done, out of a planned amount.

    If work takes longer than planned, progress stops just before the end; only `finish` reaches it.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._planned, self._done = progress, 0, 0

    def plan(self, amount: int) -> None:
        """There is at least this much work in all."""
        self._planned = max(self._planned, amount)

    def add(self, amount: int = 1) -> None:
        """An amount of work is done."""
        done = min(self._done + amount, self._planned - 1)
        if done > self._done:
            self._tell(done)

    def finish(self) -> None:
        """All is done."""
        self._tell(self._planned)

    def _tell(self, done: int) -> None:
        self._done = done
        if self._progress is not None:
            self._progress(done, self._planned)
