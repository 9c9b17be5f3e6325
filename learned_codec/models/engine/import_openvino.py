"""Imports OpenVINO without its telemetry and its converter, which takes longer to import than everything else.

When OpenVINO is imported, it reports that over the network, from a process that it forks in a thread. This library
never uses a network. Without the package `openvino_telemetry`, OpenVINO reports nothing.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_TELEMETRY, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Inside the block, a module can't be imported, unless it was imported before."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes imports of it fail
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


with _hidden(_TELEMETRY), _hidden(_CONVERTER):
    import openvino
    from openvino import opset13


def _imported_late(name: str) -> Any:
    """For other users of OpenVINO in this process: import what was hidden when they ask for it."""
    if name == "convert_model":
        return import_module(_CONVERTER).convert_model
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


openvino.__getattr__ = _imported_late  # as the module itself might have

__all__ = ["openvino", "opset13"]
