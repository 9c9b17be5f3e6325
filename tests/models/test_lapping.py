"""Weaker lapped filters: powers of those of the model."""

import dataclasses

import numpy as np
import pytest

from learned_codec.bitstream.header import LAPPINGS
from learned_codec.demo import landscape
from learned_codec.errors import WeightsError
from learned_codec.models import registry
from learned_codec.models.block_transform import BlockTransform
from learned_codec.models.config import BLOCK
from learned_codec.models.lapping import weakened
from learned_codec.models.shape_adaptive import Shape

MODELS = ("rgb-2", "mono-2")


@pytest.mark.parametrize("name", MODELS)
def test_weaker_filters_are_powers(name: str) -> None:
    transform = registry.load(name).transform
    for matrix in (transform.pre_filter, transform.post_filter):
        powers = [weakened(matrix, lapping) for lapping in range(LAPPINGS)]
        np.testing.assert_allclose(powers[0], matrix, atol=1e-6)
        np.testing.assert_allclose(powers[1] @ powers[3], matrix, atol=1e-5)
        np.testing.assert_allclose(powers[2] @ powers[2], matrix, atol=1e-5)
        distances = [np.abs(power - np.eye(BLOCK)).sum() for power in powers]
        assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lapping", range(LAPPINGS))
@pytest.mark.parametrize("holes", [False, True])
def test_the_synthesis_undoes_the_analysis(name: str, lapping: int, holes: bool) -> None:
    model = registry.load(name).lapped(lapping)
    pixels = landscape(64, 80).transpose(2, 0, 1)[: model.config.bands].astype(np.float32) / 255
    seen, shape = np.ones((64, 80), bool), None
    if holes:
        seen = np.add.outer(np.arange(64), np.arange(80)) > 70
        shape = Shape.of(seen.reshape(4, 16, 5, 16).swapaxes(1, 2))
    found = model.linear(model.analyse(pixels, shape), shape) + 0.5
    np.testing.assert_allclose(found[:, seen], pixels[:, seen], atol=2e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lapping", range(LAPPINGS))
def test_synthesis_functions_have_norm_1(name: str, lapping: int) -> None:
    model = registry.load(name).lapped(lapping)
    for latent in (0, 5, 100, model.config.latents - 1):
        latents = np.zeros((3, 3, model.config.latents), np.float32)
        latents[1, 1, latent] = 1
        assert np.linalg.norm(model.linear(latents)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lapping", range(LAPPINGS))
def test_middle_blocks_are_those_of_the_analysis(name: str, lapping: int) -> None:
    transform = registry.load(name).lapped(lapping).transform
    pixels = np.random.default_rng(0).random((2, transform.bands, 48, 48), np.float32)
    for own, found in zip(pixels, transform.analyse_middle(pixels - np.float32(0.5)), strict=True):
        np.testing.assert_allclose(found.reshape(-1)[transform.components], transform.analyse(own)[1, 1], atol=1e-5)


def test_a_filter_without_powers_is_refused() -> None:
    weights = registry.weights_of("mono-2")
    flipped = -weights.tensors["transforms.post_filter"]
    with pytest.raises(WeightsError, match="post_filter"):
        BlockTransform.of(dataclasses.replace(weights, tensors={**weights.tensors, "transforms.post_filter": flipped}))
