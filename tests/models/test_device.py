"""Devices are those of this machine, and free memory goes back to the system where the C library can do that."""

import ctypes
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import InvalidInputError, MissingDependencyError
from learned_codec.models import device
from learned_codec.models.engine import openvino
from learned_codec.models.engine.interface import Input, Operations, Tensor

IMAGE = np.zeros((16, 16), np.uint8)
FILES = [learned_codec.encode(IMAGE, quality=50), learned_codec.encode(IMAGE, max_error=0)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.one_of(st.text(max_size=9), st.integers().map("cpu:{}".format), st.from_regex("[a-z]+:[^0-9]*", fullmatch=True))
)
@example("cpu:0")
@example("CPU")
@example("cuda:-1")
def test_what_is_no_name_of_a_device_is_refused(name: str) -> None:
    if name == "cpu" or (name.isascii() and name.isalpha() and name.islower()):
        return
    with pytest.raises(InvalidInputError) as told:
        device.checked_device(name)
    assert repr(name) in str(told.value)
    assert "'cpu'" in str(told.value)


@pytest.mark.parametrize("name", ["cpu:99", "", "cuda:99", "abacus"])
def test_a_device_that_is_not_here_is_refused_whether_it_is_needed_or_not(name: str) -> None:
    calls = [partial(learned_codec.encode, IMAGE), partial(learned_codec.encode, IMAGE, max_error=0)]
    calls += [partial(call, data) for call in (learned_codec.decode, learned_codec.open) for data in FILES]
    for call in calls:
        with pytest.raises((InvalidInputError, MissingDependencyError), match=f"device '{name}'"):
            call(device=name)


def test_devices_that_are_here_are_named() -> None:
    pytest.importorskip("torch")
    with pytest.raises(InvalidInputError, match="device 'cuda:99' can't be used; here are: cpu"):
        device.checked_device("cuda:99")


def test_libraries_that_keep_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    device._malloc_trim.cache_clear()
    try:
        device.trim()
    finally:
        device._malloc_trim.cache_clear()


def test_what_first_runs_leave_goes_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(openvino, "trim", lambda: calls.append("trim"))
    engine = openvino.OpenVino(1)

    def doubled(ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return [ops.add(inputs[0], inputs[0])]

    programs = [engine.build(doubled, [Input(4)], exact=True) for _ in range(3)]
    small = np.ones((4, 2, 2), np.float32)
    for _ in range(3):
        for program in programs:
            program(small)
    assert calls == ["trim"]
    programs[0](np.ones((4, 3, 2), np.float32))  # a graph of another size
    assert len(calls) == 1
    programs[0](small)
    assert len(calls) == 2
