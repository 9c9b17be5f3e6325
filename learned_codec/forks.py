"""Forks of a process that has used the codec, as by multiprocessing pools on Linux before Python 3.14.

A fork copies only the thread that calls it. Locks that other threads held stay held for ever. So a fork waits until no
engine is working. In the new process, an engine uses one thread for each product: it would wait for its other threads,
which weren't copied.

A fork also ends the threads of OpenBLAS, the library of NumPy's products. A large product is divided among them, and
if they end before their part is done, it never ends. So a fork waits for large products, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 1.0
"""Seconds to wait at most for the end of threads: the system may have given the number of one to another."""


class _Gate:
    """Counts the blocks of code that no fork may interrupt, and lets none begin during a fork."""

    def __init__(self) -> None:
        self.in_child = False
        """Whether this process was forked after an engine was used."""
        self._renew()

    def _renew(self) -> None:
        self._condition, self._closing = threading.Condition(threading.Lock()), False
        self._working = 0
        self._inside = threading.local()  # whether the thread is inside such a block
        self._threads: set[threading.Thread] = set()  # that were inside one

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block during which no other thread forks the process. Such blocks may be nested."""
        if getattr(self._inside, "now", False):
            yield
            return
        condition, inside = self._condition, self._inside
        with condition:
            condition.wait_for(lambda: not self._closing)
            self._working += 1
            if threading.current_thread() not in self._threads:
                self._threads = {thread for thread in self._threads if thread.is_alive() or _is_ending(thread)}
                self._threads.add(threading.current_thread())
        inside.now = True
        try:
            yield
        finally:
            inside.now = False
            with condition:
                self._working -= 1
                condition.notify_all()

    def close(self) -> None:
        """Wait until no block is at work, and let none begin."""
        self._condition.acquire()
        self._closing = True
        self._condition.wait_for(lambda: not self._working)
        # At its end a thread frees what the engine keeps for it, and locks the engine. Python doesn't wait for that.
        ended = {thread for thread in self._threads if not thread.is_alive()}
        until = time.monotonic() + PATIENCE
        while any(map(_is_ending, ended)) and time.monotonic() < until:
            time.sleep(0.001)
        self._threads -= ended

    def open(self) -> None:
        """Let blocks begin again."""
        self._closing = False
        self._condition.notify_all()
        self._condition.release()

    def open_in_child(self) -> None:
        """Start afresh in the new process."""
        self.in_child = True
        self._renew()


def without_forks(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function one block of the gate: for functions with large products of NumPy."""

    @wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> T:
        with gate().working():
            return function(*args, **kwargs)

    return found


def _is_ending(thread: threading.Thread) -> bool:
    """Whether the system still has a thread that Python has no more."""
    return Path(f"/proc/self/task/{thread.native_id}").exists()


@cache
def gate() -> _Gate:
    """The gate of this process."""
    found = _Gate()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=found.close, after_in_parent=found.open, after_in_child=found.open_in_child)
    return found
