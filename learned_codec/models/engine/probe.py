"""A test whether an engine's sums are exact. Global settings, instructions or algorithms may round its products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from learned_codec.forks import gate

from .interface import Array, Input, NetworkFunction, Operations, Program, Tensor

SIZE, CHANNELS = 12, 192
"""Sizes as in real use, so that the engine chooses the same algorithms."""

LARGE = 16411.0
"""A number of 15 bits: every format shorter than float32 rounds it."""


def sums_are_exact(build: Callable[[NetworkFunction, Sequence[Input]], Program]) -> bool:
    """Whether pointwise and depthwise sums of up to 24 bits are exact in networks built by `build`.

    That is an engine's `build_integers`.
    """
    rng = np.random.default_rng(0)
    small = rng.integers(0, 2, (CHANNELS, CHANNELS)).astype(np.float32)
    weights: list[Array] = [
        small * np.float32(LARGE / 4),
        small * np.float32(63),
        rng.integers(-8, 9, (CHANNELS, 3, 3)).astype(np.float32) * 203,
    ]
    none = np.zeros(CHANNELS, np.float32)

    def network(ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        one, many = inputs
        return [
            ops.pointwise(one, weights[0], none),
            ops.pointwise(many, weights[1], none),
            ops.depthwise(many, weights[2], none),
        ]

    ones = rng.integers(0, 2, (CHANNELS, SIZE, SIZE)).astype(np.float32)
    many = rng.integers(-1023, 1024, (CHANNELS, SIZE, SIZE)).astype(np.float32)
    found = build(network, [Input(CHANNELS), Input(CHANNELS)])(ones, many)
    padded = np.pad(many.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    with gate().working():
        expected = [
            np.tensordot(weights[0].astype(np.float64), ones.astype(np.float64), 1),
            np.tensordot(weights[1].astype(np.float64), many.astype(np.float64), 1),
            (windows * weights[2][:, None, None]).sum((3, 4)),
        ]
    return all(np.array_equal(a.transpose(2, 0, 1), b) for a, b in zip(found, expected, strict=True))
