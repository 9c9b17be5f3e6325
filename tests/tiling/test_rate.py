"""The search for a quality step: on curves of its own, and what it looks at."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models import registry
from learned_codec.tiling import store
from learned_codec.tiling.progress import Counter
from learned_codec.tiling.rate import Curves, Goal, Search, decibels
from learned_codec.tiling.store import Store, Tile

STEPS = range(1400)


def curves() -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """What files have by step, in dB, and a poor estimate of it."""

    def of(slopes: list[float], offset: float, tilt: float) -> tuple[list[float], list[float]]:
        knots = np.concatenate([[20.0], 20 + np.cumsum(slopes)])
        true = np.interp(STEPS, np.linspace(0, STEPS[-1], len(knots)), knots)
        return true.tolist(), (true + offset + tilt * np.arange(len(true)) / len(true)).tolist()

    return st.builds(of, st.lists(st.floats(0.5, 8), min_size=4, max_size=8), st.floats(-3, 3), st.floats(-6, 6))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(drawn=curves(), asked=st.floats(5, 100), at_least=st.booleans())
def test_a_search_ends_with_the_best_there_is(
    drawn: tuple[list[float], list[float]], asked: float, at_least: bool
) -> None:
    true, estimated = drawn
    goal = Goal(asked, asked, asked + 0.1, asked + 0.045, at_least=at_least)
    search = Search(goal, estimated.__getitem__, STEPS)
    while (step := search.next()) is not None:
        assert step in STEPS
        assert step not in search.found
        search.note(step, true[step])
    assert len(search.found) <= 12
    met = [value for value in true if goal.least <= value <= goal.most]
    best = goal.best(search.found.values())
    if met:
        assert best in met
    else:
        assert best == goal.best(true)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(drawn=curves(), asked=st.floats(25, 35))
def test_an_estimate_that_is_off_everywhere_by_the_same_takes_two(
    drawn: tuple[list[float], list[float]], asked: float
) -> None:
    true, _ = drawn
    search = Search(Goal.psnr(asked), lambda step: true[step] + 1.5, STEPS)
    while (step := search.next()) is not None:
        search.note(step, true[step])
    if true[0] < asked < true[-1] and max(b - a for a, b in pairwise(true)) < 0.04:
        assert len(search.found) <= 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=300), asked=st.floats(1, 99))
def test_a_search_ends_on_any_curve(values: list[float], asked: float) -> None:
    """Even where files of higher steps are worse."""
    search = Search(Goal.psnr(asked), lambda _: 40.0, range(len(values)))
    while (step := search.next()) is not None:
        search.note(step, values[step])
    assert 1 <= len(search.found) <= len(values)


def test_goals() -> None:
    most, least = Goal.bpp(2), Goal.psnr(30)
    assert most.best(map(math.log2, (1.5, 1.95, 2.1))) == math.log2(1.95)
    assert most.best([math.log2(2.1)]) is None
    assert least.best([29.9, 30.3, 41]) == 30.3
    assert least.best([29.9]) is None
    assert decibels(0) == 300
    assert decibels(0.01) == pytest.approx(20)


@pytest.mark.parametrize("bands", [1, 3])
def test_estimates_are_near(bands: int) -> None:
    """Bits within a sixth, errors within 1.2 dB: a first guess."""
    model = registry.load(registry.default(bands))
    pixels = np.ascontiguousarray(landscape(128, 192).transpose(2, 0, 1)[:bands] / np.float32(255), np.float32)
    latents = model.analyse(pixels)
    found = Curves(model, [Tile(b"", [latents], [], None)], latents.shape[0] * latents.shape[1])
    assert found.visible == 128 * 192
    for step in range(200, model.max_step, 200):
        coded = model.code(latents, step)
        assert found.bits(step) == pytest.approx(8 * len(coded.encoder.finish()), rel=1 / 6)
        error = np.square(model.synthesise(coded.decoded, step) - pixels).sum()
        assert abs(10 * math.log10(found.error(step) / error)) < 1.2


@given(planned=st.integers(1, 30), amounts=st.lists(st.integers(1, 7), max_size=30), times=st.integers(1, 3))
def test_progress_rises_to_its_end(planned: int, amounts: list[int], times: int) -> None:
    """Also where a model falls short and the next one starts."""
    calls: list[tuple[int, int]] = []
    counter = Counter(lambda *call: calls.append(call))
    for _ in range(times):
        counter.plan(planned)
        for amount in amounts:
            counter.add(amount)
    assert not calls or calls[-1][0] < planned
    counter.finish()
    assert calls[-1] == (planned, planned)
    done = [call[0] for call in calls]
    assert done == sorted(set(done))


@pytest.mark.parametrize("options", [{"bpp": 0.9}, {"psnr": 33.0}], ids=str)
def test_what_does_not_fit_into_memory(options: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    image = landscape(128, 192)
    image[30:50, 40:100] = 0
    expected = learned_codec.encode(image, nodata=0, tile_size=64, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    assert learned_codec.encode(image, nodata=0, tile_size=64, **options) == expected  # type: ignore[arg-type]


def test_arrays_come_back_from_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", 1000)
    arrays = [
        np.arange(n).astype(dtype).reshape(-1, 2) for n, dtype in ((50, "f4"), (300, "f4"), (600, "?"), (8, "u2"))
    ]
    with Store() as kept:
        places = [kept.keep(array) for array in arrays]
        for array, place in reversed(list(zip(arrays, places, strict=True))):
            found = kept.load(place)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
