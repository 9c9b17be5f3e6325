"""Inference engines behind one narrow interface.

Networks are written once, as functions of a few operations (`interface.Operations`). An engine builds programs from
them: OpenVINO for CPUs, torch for other devices. Programs take and return numpy arrays.
"""

from __future__ import annotations

import re
from functools import lru_cache

from learned_codec.errors import MOST_SHOWN, InvalidInputError, MissingDependencyError, ModelError, shown

from .interface import VECTOR, Array, Engine, Input, NetworkFunction, Operations, Program, Tensor
from .probe import sums_are_exact

__all__ = [
    "VECTOR",
    "Array",
    "Engine",
    "Input",
    "NetworkFunction",
    "Operations",
    "Program",
    "Tensor",
    "check_device",
    "engine_for",
]


# A kind of device, and perhaps its number. Torch takes any number for the one CPU.
_OTHER = re.compile(r"(?!cpu\b)[a-z]+(:(0|[1-9][0-9]*))?")


def check_device(device: str) -> None:
    """Refuse what isn't a device of this machine. Raises what `engine_for` raises for it."""
    if device != "cpu":
        _torch(device)


@lru_cache(maxsize=8)
def engine_for(device: str, threads: int = 1) -> Engine:
    """The engine for "cpu" or for a device by its name in torch. It is kept for the next call.

    `threads` is how many work on each matrix product. Several threads may use an engine at once.

    Raises:
        InvalidInputError: there is no such device here. MissingDependencyError: it needs torch, which isn't installed.
        ModelError: sums that must be exact are not exact here.
    """
    engine = _engine(device, threads)
    if not sums_are_exact(engine.build_integers):
        raise ModelError(
            f"float32 products on {device} are not exact (they may be TF32 or bf16). The entropy model needs exact "
            "ones, or files would not decode on other machines"
        )
    return engine


def _engine(device: str, threads: int) -> Engine:
    if device == "cpu":
        from .openvino import OpenVino

        return OpenVino(threads)
    return _torch(device)


def _torch(device: str) -> Engine:
    if not _OTHER.fullmatch(device):
        raise InvalidInputError(f"device {shown(device)} isn't one: known are 'cpu', and with torch names as 'cuda:1'")
    try:
        from .torch import Torch, names
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the device {device!r} needs torch: pip install 'learned-codec[torch]'"
        ) from error
    try:
        return Torch(device)
    except Exception as error:  # torch raises half a dozen kinds
        said = str(error).split(". ")[0].split("\n")[0][:MOST_SHOWN]
        raise InvalidInputError(
            f"device {shown(device)} can't be used; here are: {', '.join(['cpu', *names()])} ({said})"
        ) from error
