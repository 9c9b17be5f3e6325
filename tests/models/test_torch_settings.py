"""What a caller has set in torch, where it is installed, changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

import learned_codec
from learned_codec.models import registry

torch = pytest.importorskip("torch")


@contextmanager
def default_dtype(dtype: object) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A picture with whole blocks and with boundary blocks."""
    return np.random.default_rng(0).integers(60, 120, (48, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def coded(picture: np.ndarray) -> bytes:
    return learned_codec.encode(picture, effort=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_caller(picture: np.ndarray, coded: bytes, name: str) -> None:
    plain, decoded = learned_codec.encode(picture), learned_codec.decode(coded)
    with SETTINGS[name]():
        assert learned_codec.encode(picture, effort=1) == coded
        assert learned_codec.encode(picture) == plain
        np.testing.assert_array_equal(learned_codec.decode(coded), decoded)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_first_call(picture: np.ndarray, coded: bytes, name: str) -> None:
    """Models are kept for the next call, whatever was set when they were loaded."""
    registry.forget()
    with SETTINGS[name]():
        assert learned_codec.encode(picture, effort=1) == coded
    assert learned_codec.encode(picture, effort=1) == coded
