"""Settings of all tests.

What needs torch is left out where it isn't installed: modules by their names here, else by the mark `torch`. Hypothesis
doesn't fail a test for its time: on a loaded machine, any step may take a second. It looks for new examples in every
run, but with the environment variable `CI` it has the same ones each time, so that a failure there can be repeated.
"""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("any machine")

TORCH = find_spec("torch") is not None

collect_ignore = (
    []
    if TORCH
    else [
        "training",
        "models/test_adaptation.py",
        "models/test_layers.py",
        "models/test_models.py",
        "models/test_shape_adaptive.py",
        "models/test_twins.py",
    ]
)


def pytest_configure() -> None:
    """With a process for each core, torch has one thread in each: they would spend their time waiting for others."""
    if TORCH and "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not TORCH and item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.skip(reason="needs torch"))


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Programs started in the test heed signals, also where this one was started to ignore them, as by `&` or nohup."""
    defaults = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    before = {
        number: signal.signal(number, default)
        for name, default in defaults.items()
        if signal.getsignal(number := getattr(signal, name)) is signal.SIG_IGN
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
