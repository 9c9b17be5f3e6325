"""A decoder written from docs/format.md alone finds the values that the encoder promised."""

from __future__ import annotations

import numpy as np
import pytest

import learned_codec
from learned_codec import bitstream

from .bounded import decode

RNG = np.random.default_rng(3)
Y, X = np.mgrid[:37, :45]
SMOOTH = 90 + 60 * np.sin(X / 8) + Y
COLOUR = np.stack([SMOOTH, SMOOTH * 0.8 + 20, 255 - SMOOTH]) + RNG.normal(0, 4, (3, 37, 45))
IMAGES = {
    "colour": (COLOUR.clip(0, 255).astype(np.uint8), 0),
    "bounded": (COLOUR.clip(0, 255).astype(np.uint8), 2),
    "large": ((np.tile(COLOUR[:1], (1, 2, 2)) * 200).astype(np.int16), 0),
    "classes": ((COLOUR[:1] // 60).clip(0, 5).repeat(4, 1).repeat(4, 2).astype(np.uint8), 0),
    "repeated": (np.tile(RNG.normal(size=(1, 4, 45)), (1, 9, 1)).astype(np.float32), 0),
    "wide": ((np.stack([SMOOTH * 1e6, SMOOTH**2 * 1e3]) + RNG.normal(0, 3e5, (2, 37, 45))).astype(np.int32), 5),
    "unsure": (RNG.integers(0, 2**16, (1, 20, 33)).astype(np.uint16), 7),
    "wild": (RNG.integers(-(2**31), 2**31, (1, 20, 33)).astype(np.int32), 0),
    "outliers": (np.where(RNG.random((1, 37, 45)) < 0.02, 60000, SMOOTH).astype(np.uint16), 0),
    "grid": ((COLOUR[:2] * 0.37).astype(np.float32), 0.05),
    "floats": ((COLOUR[:1] * 0.37).astype(np.float32), 0),
    "levels": ((COLOUR[:1].clip(0, 255) // 3 * 700).astype(np.uint16), 0),
    "row": (COLOUR[:, :1].clip(0, 255).astype(np.uint8), 0),
    "column": (COLOUR[:, :, :1].clip(0, 255).astype(np.uint8), 1),
    "pixel": (np.full((2, 1, 1), 7, np.uint8), 0),
}


@pytest.mark.parametrize("name", IMAGES)
def test_it_decodes_the_same(name: str) -> None:
    image, bound = IMAGES[name]
    data = learned_codec.encode(image, planar=True, max_error=bound)
    container = bitstream.read(data)
    numbers, meaning = decode(bytes(container.tile(0)), image.shape)
    decoded = learned_codec.decode(data)
    assert np.abs(decoded.astype(float) - image).max() <= bound
    for band in range(len(image)):
        kind, step = meaning[band]
        values = numbers[band]
        if kind == 1:
            np.testing.assert_array_equal((values * step).astype(np.float32), decoded[band])
        elif kind == 2:
            bits = np.where(values < 0, values ^ 0x7FFFFFFF, values).astype(np.int32)
            np.testing.assert_array_equal(bits.view(np.float32), decoded[band])
        else:
            np.testing.assert_array_equal(values, decoded[band].astype(np.int64))
