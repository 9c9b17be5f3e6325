"""Runs a function for many arguments in several processes.

If a process is killed, only its current argument is lost. When the calling process ends, however that happens, all
others end as well and clean up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from learned_codec.errors import LearnedCodecError, ProcessLostError

PATIENCE = 6.0
"""Seconds that processes get to clean up: on a loaded machine, a long product of matrices alone may take some."""

_SPAWN = multiprocessing.get_context("spawn")
"""Processes are spawned: a fork would copy locks of other libraries' threads while they are held."""

_T = TypeVar("_T")


def each(function: Callable[[_T], Any], arguments: Sequence[_T], jobs: int) -> Iterator[tuple[_T, Any]]:
    """Yield each argument with its result or its `LearnedCodecError`, in the order in which they finish.

    A new process must be able to import `function`. Other exceptions are turned into a `LearnedCodecError` that names
    them.
    """
    waiting = list(reversed(arguments))
    busy: dict[Any, tuple[_Worker, _T]] = {}
    idle: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _Worker(function)
                busy[worker.connection] = worker, waiting.pop()
                worker.begin(busy[worker.connection][1])
            for connection in wait(list(busy)):
                worker, argument = busy.pop(connection)
                result = worker.result()
                if isinstance(result, ProcessLostError):
                    worker.end()
                else:
                    idle.append(worker)
                yield argument, result
    finally:
        workers = [*idle, *(worker for worker, _ in busy.values())]
        for worker in workers:
            worker.process.terminate()
        until = time.monotonic() + PATIENCE
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))


def attempt(function: Callable[[_T], Any], argument: _T) -> Any:
    """The result or the `LearnedCodecError` of a call.

    Other exceptions are turned into one, so that other arguments go on.
    """
    try:
        return function(argument)
    except LearnedCodecError as error:
        return error
    except MemoryError as error:
        return LearnedCodecError(f"not enough memory: {error}".removesuffix(": "))
    except Exception as error:  # noqa: BLE001 - a bug must not stop the other files
        return LearnedCodecError(f"unexpected {type(error).__name__}: {error}")


class _Worker:
    """A process that works on one argument after another."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.connection, its = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(function, its), daemon=True)
        _start_the_tracker()
        with _without_signals(signal.SIGINT):  # Ctrl-C goes only to the calling process, which ends the others
            self.process.start()
        its.close()  # so that reading ends when the process does

    def begin(self, argument: Any) -> None:
        with suppress(OSError):  # it has ended; `result` says so
            self.connection.send(argument)

    def result(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            code = self.process.exitcode
            how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
            why = ", perhaps for want of memory" if code == -9 else ""
            return ProcessLostError(f"the process that worked on it was {how}{why}")

    def end(self, patience: float = PATIENCE) -> None:
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        self.process.close()


def _start_the_tracker() -> None:
    """Start the process that multiprocessing starts beside the first one.

    That unblocks SIGINT. So it must come first, or the first worker would end with a traceback on Ctrl-C.
    """
    if sys.platform != "win32":
        resource_tracker.ensure_running()


@contextmanager
def _without_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Processes and threads started inside the block don't get these signals; by default none at all."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers or signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """The loop of a process: work on one argument after another, until the connection ends."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _without_signals():  # signals go only to the main thread
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
    while True:
        try:
            argument = connection.recv()
        except EOFError:
            return
        connection.send(attempt(function, argument))


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
