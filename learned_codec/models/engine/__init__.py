"""What the networks run on, behind a narrow interface.

The networks are written once, as functions of a few operations (`interface.Operations`). An engine builds them:
OpenVINO on CPUs, torch on other devices. They take and give numpy's arrays.
"""

from __future__ import annotations

from functools import lru_cache

from learned_codec.errors import InvalidInputError, MissingDependencyError, ModelError

from .interface import VECTOR, Array, Engine, Input, Network, Operations, Program, Tensor
from .probe import sums_are_exact

__all__ = ["VECTOR", "Array", "Engine", "Input", "Network", "Operations", "Program", "Tensor", "engine_for"]


@lru_cache(maxsize=8)
def engine_for(device: str, threads: int = 1) -> Engine:
    """The engine for "cpu", or for what torch calls another device; kept for the next call.

    `threads` share each product. Calls from several threads run beside each other in any case.

    Raises:
        InvalidInputError: there is no such device here.
        MissingDependencyError: it needs torch, which isn't installed.
        ModelError: sums that must be exact are not.
    """
    engine = _engine(device, threads)
    if not sums_are_exact(engine):
        raise ModelError(
            f"float32 products on {device} are shortened (to TF32, bf16 or the like). The entropy model needs them "
            "whole: files would not decode elsewhere"
        )
    return engine


def _engine(device: str, threads: int) -> Engine:
    if device == "cpu":
        from .openvino import OpenVino

        return OpenVino(threads)
    try:
        from .torch import Torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the device {device!r} needs torch: pip install 'learned-codec[torch]'"
        ) from error
    try:
        return Torch(device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InvalidInputError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
