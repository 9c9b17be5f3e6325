"""Components predicted from earlier ones: they come back, from any of their layers, and take fewer bits if alike."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.models import crosswise, registry
from learned_codec.models.config import top_step
from learned_codec.models.crosswise import Crosswise
from learned_codec.models.model import Model
from learned_codec.models.shape_adaptive import Shape


@cache
def model() -> Model:
    return registry.load(registry.default(1).name)


def textures(count: int, height: int, width: int, common: float, seed: int) -> list[np.ndarray]:
    """(1, H, W) components which share a texture that is turned around in some places."""
    rng = np.random.default_rng(seed)
    size = 16 * height, 16 * width
    shared = rng.normal(0, 0.1, size).cumsum(1)
    shared -= shared.mean(1, keepdims=True)
    signs = np.where(rng.random((-(-height // 2), -(-width // 2))) < 0.5, -1, 1)
    where = np.kron(signs, np.ones((32, 32)))[: size[0], : size[1]]
    return [
        (0.5 + (common * shared * (where if k else 1) + (1 - common) * rng.normal(0, 0.05, size))[None]).astype(
            np.float32
        )
        for k in range(count)
    ]


def coded(components: list[np.ndarray], step: int, shape: Shape | None = None) -> tuple[bytes, list[np.ndarray]]:
    encoder = model().encoder(len(components))
    found = [model().code(model().analyse(x, shape), step, encoder=encoder, shape=shape).decoded for x in components]
    return encoder.finish(), found


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    count=st.integers(1, 6),
    step=st.integers(0, top_step(9 * 128)),
    common=st.sampled_from([0.0, 0.5, 1.0]),
    shaped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_components_come_back(
    size: tuple[int, int], count: int, step: int, common: float, shaped: bool, seed: int
) -> None:
    """All of them, with a mask too, and the first layers alone."""
    shape = None
    if shaped:
        y, x = np.mgrid[: 16 * size[0], : 16 * size[1]]
        visible = (y - 20) ** 2 + (x - 9) ** 2 > 99
        shape = Shape.of(visible.reshape(size[0], 16, size[1], 16).swapaxes(1, 2))
    payload, expected = coded(textures(count, *size, common, seed), step, shape)
    for factor, stop in ((4, 16), (2, 64), (1, 256)):
        found = model().decode(payload, step, *size, count, shape, factor)
        for ours, latents in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours[..., :stop], latents[..., :stop])
            assert not ours[..., stop:].any()


@pytest.mark.parametrize("step", [400, 800])
def test_components_that_are_alike_take_fewer_bits(step: int) -> None:
    for common, least, most in ((1.0, 0.3, 0.8), (0.0, 0.98, 1.005)):
        components = textures(3, 16, 16, common, 1)
        alone = sum(len(coded([x], step)[0]) for x in components)
        assert least * alone < len(coded(components, step)[0]) < most * alone


def test_wild_components_are_coded_too() -> None:
    """Far outside of what the sums and weights are made for."""
    rng = np.random.default_rng(0)
    components = [(rng.standard_normal((1, 48, 64)) * size).astype(np.float32) for size in (1e3, 1e5, 1, 1e5)]
    components.append(components[0] * 100)
    payload, expected = coded(components, 1000)
    for ours, latents in zip(model().decode(payload, 1000, 3, 4, 5), expected, strict=True):
        np.testing.assert_array_equal(ours, latents)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(size=st.tuples(st.integers(1, 5), st.integers(1, 5)), extreme=st.booleans(), seed=st.integers(0, 99))
def test_sums_are_those_of_integers(size: tuple[int, int], extreme: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config, positions = model().config, model().positions
    every, stop = slice(None), config.layers[1].stop
    across, given = Crosswise(config, positions), []
    for _ in range(3):
        latents = rng.integers(-(2**24) + 1, 2**24, (*size, config.latents)).astype(np.float32) / 256
        given.append(np.abs(latents) + 2**15 if extreme else latents)
        component = across.begin(given[-1])
        component.fit()
        component.predict(
            (every, every, slice(0, stop)), np.zeros((*size, stop), np.float32), np.zeros((*size, stop), np.uint8)
        )
        component.note((every, every, slice(0, stop)))
        component.fit()
        across.keep()
    v, u = (x.astype(object) for x in np.divmod(positions[:stop], 16))
    fine = [
        np.clip(np.floor(x[..., :stop].astype(float) * 16 + 0.5), -(2**15), 2**15).astype(int).astype(object)
        for x in given
    ]
    for other, found in zip(fine, component.smoothed[-1], strict=True):
        padded = np.pad(((v**2 + u**2) * other * fine[2]).sum(2), 1)
        expected = sum(
            (1, 4, 1)[i] * (1, 4, 1)[j] * padded[i : i + size[0], j : j + size[1]] for i in range(3) for j in range(3)
        )
        assert (found.astype(int).astype(object) == expected).all()
        assert abs(expected).max() < 2**53


@settings(deadline=None, max_examples=50, derandomize=True)
@given(count=st.integers(1, crosswise.MOST), scale=st.floats(1, 2**40), seed=st.integers(0, 99))
def test_weights_solve_the_equations(count: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, scale**0.5, (2, 3, count, 20))
    gram = np.einsum("hwin,hwjn->ijhw", values, values)
    target = rng.normal(0, scale, (count, 2, 3))
    found = crosswise._solved([list(row[: i + 1]) for i, row in enumerate(gram)], list(target))
    matrix = gram.transpose(2, 3, 0, 1) + crosswise.RIDGE * np.eye(count)
    expected = np.linalg.solve(matrix, target.transpose(1, 2, 0)[..., None])[..., 0]
    np.testing.assert_allclose(np.stack(found, -1), expected, rtol=1e-6, atol=1e-9)


def test_what_is_only_predicted_tells_the_refinement_nothing() -> None:
    """It was trained with latents that are zero or not; small ones would look like detail everywhere."""
    plain = np.zeros((4, 4, model().config.latents), np.float32)
    plain[1, 2, [3, 20, 70]] = 3
    predicted = plain.copy()
    predicted[..., 16:64] += np.where(plain[..., 16:64] == 0, np.float32(100 / 256), 0)
    for ours, expected in zip(model()._condition(predicted, 500), model()._condition(plain, 500), strict=True):
        np.testing.assert_array_equal(ours, expected)
