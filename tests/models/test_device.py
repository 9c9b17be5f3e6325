"""Memory that is free goes back to the system, where the C library can do that."""

import ctypes
from collections.abc import Sequence

import numpy as np
import pytest

from learned_codec.models import device
from learned_codec.models.engine import openvino
from learned_codec.models.engine.interface import Input, Operations, Tensor


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
