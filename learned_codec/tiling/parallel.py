"""Several tiles at once, a thread for each: this keeps more cores busy than several threads for each product."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A pool of `count` threads, a context manager. With a count of 1, the caller's thread does the work."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Apply a function to items and yield the results in order. At most `count` items are taken ahead."""
        if self._pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def begin(self, function: Callable[[], object]) -> None:
        """Let all threads of the pool call a function before anything else, and don't wait for it.

        It should only prepare what other calls would do themselves: its errors are lost. Without a pool, nothing is
        done.
        """
        if self._pool is not None:
            for _ in range(self._count):
                self._pool.submit(function)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def shared(threads: int, tiles: int) -> tuple[int, int]:
    """Divide threads: how many tiles at once, and how many threads for each product."""
    workers = max(1, min(threads, tiles))
    return workers, threads // workers
