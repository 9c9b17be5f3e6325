"""Tiles on threads: in order, a few ahead, and errors where their results would come."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.tiling.parallel import Workers, shared


@given(count=st.integers(1, 5), items=st.lists(st.integers(), max_size=30))
def test_results_come_in_order(count: int, items: list[int]) -> None:
    with Workers(count) as workers:
        assert list(workers.map(lambda x: -x, items)) == [-x for x in items]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_only_so_many_are_taken_ahead(count: int) -> None:
    taken = []

    def items() -> object:
        for i in range(20):
            taken.append(i)
            yield i

    with Workers(count) as workers:
        for done, _ in enumerate(workers.map(lambda x: x, items()), 1):
            assert len(taken) <= done + count


def test_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=60)
    with Workers(2) as workers:
        assert len(list(workers.map(lambda _: meeting.wait(), range(2)))) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_errors_arrive(count: int) -> None:
    with Workers(count) as workers, pytest.raises(ZeroDivisionError):
        list(workers.map(lambda x: 1 // x, [3, 2, 1, 0, 1]))


@given(threads=st.integers(1, 64), tiles=st.integers(1, 64))
def test_threads_are_shared(threads: int, tiles: int) -> None:
    workers, each = shared(threads, tiles)
    assert 1 <= workers <= tiles
    assert each >= 1
    assert workers * each <= threads
