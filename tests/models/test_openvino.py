"""When OpenVINO compiles networks, and what each thread gets."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models.config import BLOCK
from learned_codec.models.engine import Input, Operations, Tensor, openvino
from learned_codec.models.engine.openvino import OpenVino
from learned_codec.models.model import Model

WEIGHTS = np.random.default_rng(3).integers(-255, 256, (16, 8)).astype(np.float32) / 8


def rounded(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
    return [ops.round(ops.pointwise(tensors[0], WEIGHTS))]


@settings(deadline=None, max_examples=12)
@given(uncompiled=st.integers(1, 2000), runs=st.integers(0, 2), expected=st.lists(st.integers(0, 3000), max_size=2))
def test_what_is_expected_to_be_much_is_compiled_at_once(uncompiled: int, runs: int, expected: list[int]) -> None:
    """NumPy and OpenVINO give the same."""
    engine, x = OpenVino(1, uncompiled), np.random.default_rng(1).integers(-255, 256, (30, 20, 8)).astype(np.float32)
    program: Any = engine.build_integers(rounded, [Input(8, channels_last=True)])
    left, ready = uncompiled, False
    for _ in range(runs):
        ready = left <= 0
        program(x)
        left -= 600
    for positions in expected:
        engine.expect([program], positions)
        left = 0 if positions > left else left
    assert program.is_ready(30, 20) == (left > 0 or ready)
    engine.prepare([program], 30, 20)
    assert program.is_ready(30, 20)
    np.testing.assert_array_equal(program(x)[0], np.rint(x @ WEIGHTS.T))


def test_threads_that_need_exact_arithmetic_try_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def slow(_: object) -> bool:
        tried.append(True)
        time.sleep(0.05)
        return True

    monkeypatch.setattr(openvino, "sums_are_exact", slow)
    engine = OpenVino(2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.compiled_integers(rounded, [Input(8)]), range(4)))
    assert len(tried) == 1


class Core:
    """OpenVINO's, but counts what it compiles, and each time seems to take some seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self._core, self._seconds, self.compiled, self._later = openvino._core(), seconds, 0, 0.0
        monkeypatch.setattr(openvino, "_core", lambda: self)
        monkeypatch.setattr(openvino, "time", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def monotonic(self) -> float:
        return time.monotonic() + self._later

    def compile_model(self, *given: Any) -> Any:
        found = self._core.compile_model(*given)
        self.compiled += 1
        self._later += self._seconds
        return found


@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_run_a_network_at_once_have_it_each(
    monkeypatch: pytest.MonkeyPatch, exact: bool, any_size: bool, threads: int
) -> None:
    """Compiled again, it gives the same."""
    monkeypatch.setattr(openvino, "cores", lambda: threads)
    core, inside, used = Core(monkeypatch, 0), threading.Barrier(threads, timeout=60), set[Any]()
    run = openvino._Runner.run

    def at_once(self: Any, arrays: Any) -> Any:
        inside.wait()
        used.add(self)
        return run(self, arrays)

    monkeypatch.setattr(openvino._Runner, "run", at_once)
    weights = np.random.default_rng(0).standard_normal((40, 40), np.float32)
    kernel = np.random.default_rng(1).standard_normal((40, 3, 3), np.float32)

    def network(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
        x = ops.leaky_relu(ops.pointwise(tensors[0], weights), 0.1)
        return [ops.add(ops.depthwise(x, kernel, weights[0].copy()), tensors[0])]

    program = OpenVino(1).build(network, [Input(40)], exact=exact, any_size=any_size)
    x = np.random.default_rng(2).standard_normal((40, 30, 20), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        first, *others = pool.map(lambda _: program(x)[0], range(threads))
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert len(used) == core.compiled == threads


@pytest.mark.parametrize("waits", [False, True])
def test_a_thread_rather_waits_for_another_than_compiles_for_longer(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setattr(openvino, "cores", lambda: 2)
    core, run = Core(monkeypatch, 60 if waits else 0), openvino._Runner.run
    begun, at_work, most = threading.Event(), [], 0

    def slow(self: Any, arrays: Any) -> Any:
        nonlocal most
        at_work.append(self)
        most = max(most, len(at_work))
        begun.set()
        time.sleep(0.2 if waits else 3)
        at_work.remove(self)
        return run(self, arrays)

    monkeypatch.setattr(openvino._Runner, "run", slow)
    program = OpenVino(1).build(rounded, [Input(8)], exact=True)
    x = np.ones((8, 30, 20), np.float32)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(program, x)
        begun.wait()
        np.testing.assert_array_equal(program(x)[0], first.result()[0])
    assert core.compiled == most == (1 if waits else 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_models_are_told_how_much_is_to_come(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    told: list[tuple[int, int]] = []
    expect = Model.expect

    def noted(self: Model, positions: int, factor: int = 1) -> None:
        told.append((positions, factor))
        expect(self, positions, factor)

    monkeypatch.setattr(Model, "expect", noted)
    image = landscape(300, 520)
    data = learned_codec.encode(image, quality=20, tile_size=256, threads=threads)
    whole = -(-300 // BLOCK) * -(-520 // BLOCK)
    assert told.pop() == (whole, 1)
    learned_codec.decode(data, threads=threads)
    assert told.pop() == (whole, 1)
    with learned_codec.open(data, threads=threads) as reader:
        reader.read(window=(0, 0, 100, 100))  # of one tile
    assert told.pop() == ((256 // BLOCK) ** 2, 1)
    assert not told
