"""Memory that is free goes back to the system, where the C library can do that."""

import ctypes

import numpy as np
import pytest

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models import device
from learned_codec.tiling import decoder, encoder


def test_libraries_that_keep_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    device._malloc_trim.cache_clear()
    try:
        device.trim()
    finally:
        device._malloc_trim.cache_clear()


def test_it_goes_back_between_the_rows_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image: np.ndarray = landscape(192, 128)
    calls: list[str] = []
    monkeypatch.setattr(encoder, "trim", lambda: calls.append("encoded"))
    monkeypatch.setattr(decoder, "trim", lambda: calls.append("decoded"))
    learned_codec.decode(learned_codec.encode(image, tile_size=64))
    assert calls == ["encoded"] * 2 + ["decoded"] * 2
    learned_codec.decode(learned_codec.encode(image))
    assert len(calls) == 4
