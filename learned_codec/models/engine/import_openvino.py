"""Imports OpenVINO without its telemetry.

On import, OpenVINO tells its makers that it was imported: over the network, from a process that it forks in a thread.
Nothing of this library uses a network. Without the package `openvino_telemetry`, OpenVINO is silent.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TELEMETRY = "openvino_telemetry"


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Inside the block a module seems not to be installed, unless it was imported already."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


with _hidden(_TELEMETRY):
    import openvino
    from openvino import opset13

__all__ = ["openvino", "opset13"]
