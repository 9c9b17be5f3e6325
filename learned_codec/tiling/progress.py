"""How far a call has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done and with all there is to do, in tiles; rising from call to call up to the end."""


class Counter:
    """Tells a `Progress` what is done of an amount that was planned.

    What takes longer than planned stands still just before the end, which `finish` alone reaches.
    """

    def __init__(self, progress: Progress | None, planned: int) -> None:
        self._progress, self._planned, self._done = progress, planned, 0

    def add(self, amount: int = 1) -> None:
        """So much more is done."""
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
