"""Processes that are forked after an engine was used, as pools on Linux are before Python 3.14.

A fork copies one thread of many, and what the others were at as they left it. So a fork waits until no engine is at
work; and in the new process an engine keeps to one thread for each product, as it would wait for others that weren't
copied. Torch, with which latents are optimised (`effort`), can't be waited for: that would take seconds.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


class _Gate:
    """Counts who is at work, and lets nobody begin while a process is forked."""

    def __init__(self) -> None:
        self.in_child = False
        """Whether this process was forked after an engine was used."""
        self._renew()

    def _renew(self) -> None:
        self._condition, self._working, self._closing = threading.Condition(threading.Lock()), 0, False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside the block, no process is forked. Blocks of one thread must not be within each other."""
        condition = self._condition
        with condition:
            condition.wait_for(lambda: not self._closing)
            self._working += 1
        try:
            yield
        finally:
            with condition:
                self._working -= 1
                condition.notify_all()

    def close(self) -> None:
        """Wait until nobody is at work, and let nobody begin."""
        self._condition.acquire()
        self._closing = True
        self._condition.wait_for(lambda: not self._working)

    def open(self) -> None:
        """Let all go on."""
        self._closing = False
        self._condition.notify_all()
        self._condition.release()

    def open_in_child(self) -> None:
        """Begin anew, in the new process."""
        self._renew()
        self.in_child = True
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)


@cache
def gate() -> _Gate:
    """The one of this process."""
    found = _Gate()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=found.close, after_in_parent=found.open, after_in_child=found.open_in_child)
    return found
