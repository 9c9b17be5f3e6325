"""The shape-adaptive transform: as many coefficients as visible pixels, and an exact inverse."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.dct import dct
from learned_codec.models import registry
from learned_codec.models.config import BLOCK
from learned_codec.models.lapping import SUPPORT
from learned_codec.models.layers import Lapping
from learned_codec.models.model import Model
from learned_codec.models.shape_adaptive import Shape
from learned_codec.tiling.synthesis import visible_blocks
from learned_codec.training.lapping_design import pre_filter

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
POSITIONS = np.arange(256)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """(H, W) of what is visible, H and W multiples of 16: half planes, discs, noise and all of these together."""
    height, width = (16 * draw(st.integers(1, 4)) for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    y, x = np.mgrid[:height, :width]
    found = np.ones((height, width), bool)
    if draw(st.booleans()):
        angle = rng.uniform(0, 7)
        found &= np.cos(angle) * (x - width * rng.random()) + np.sin(angle) * (y - height * rng.random()) > 0
    if draw(st.booleans()):
        found &= np.hypot(x - width * rng.random(), y - height * rng.random()) > rng.uniform(2, 40)
    if draw(st.booleans()):
        found &= rng.random(found.shape) > rng.choice([0.01, 0.3, 0.7, 0.99])
    return found


@cache
def lapping_matrix() -> torch.Tensor:
    return pre_filter(0.95 ** torch.arange(SUPPORT))


def blocks_of(mask: np.ndarray) -> np.ndarray:
    found = visible_blocks(mask[None], *mask.shape)
    assert found is not None
    return found


@QUICK
@given(masks(), st.integers(1, 3))
def test_the_transform_is_undone(mask: np.ndarray, bands: int) -> None:
    shape = Shape.of(blocks_of(mask))
    if shape is None:
        return
    support = shape.support
    assert support[mask].all()
    x = np.random.default_rng(0).random((2, bands, *mask.shape), np.float32) - np.float32(0.5)
    again = shape.from_whole(shape.to_whole(x))
    np.testing.assert_allclose(again[..., support], x[..., support], atol=2e-5)
    # Blocks that aren't boundary blocks stay as they are, and nothing outside the support matters.
    whole = ~shape.boundary.repeat(16, 0).repeat(16, 1)
    np.testing.assert_array_equal(shape.to_whole(x)[..., whole], x[..., whole])
    other = np.where(shape.support, x, np.float32(9))
    np.testing.assert_array_equal(shape.to_whole(other), shape.to_whole(x))
    # Tensors come out as arrays do.
    for found in (shape.to_whole, shape.from_whole):
        np.testing.assert_allclose(found(torch.from_numpy(x)), found(x), atol=1e-6)


@QUICK
@given(masks())
def test_there_are_as_many_coefficients_as_pixels(mask: np.ndarray) -> None:
    blocks = blocks_of(mask)
    shape = Shape.of(blocks)
    if shape is None:
        return
    coded = shape.coded(POSITIONS)
    support = shape.support.reshape(coded.shape[0], 16, coded.shape[1], 16).swapaxes(1, 2)
    np.testing.assert_array_equal(coded.sum(2), support.sum((2, 3)))
    x = np.random.default_rng(1).random(mask.shape, np.float32)
    stand_ins = shape.to_whole(x).reshape(coded.shape[0], 16, coded.shape[1], 16).swapaxes(1, 2)
    coefficients = (dct(BLOCK) @ stand_ins @ dct(BLOCK).T).reshape(*shape.boundary.shape, 256)
    boundary = shape.boundary[..., None]
    assert np.abs(coefficients * (boundary & ~coded)).max() < 1e-5
    # A block's shape is its own matter: a region and a part of it agree.
    part = Shape.of(blocks[:1])
    np.testing.assert_array_equal(part.coded(POSITIONS) if part else np.ones(coded[:1].shape, bool), coded[:1])


@QUICK
@given(masks(), st.floats(-1, 1))
def test_an_even_block_has_one_coefficient(mask: np.ndarray, value: float) -> None:
    shape = Shape.of(blocks_of(mask))
    if shape is None:
        return
    x = np.full((1, 1, *mask.shape), value, np.float32)
    rows, columns = shape.boundary.shape
    found = shape.to_whole(x)[0, 0].reshape(rows, 16, columns, 16).swapaxes(1, 2)[shape.partial]
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1, :1], found.shape), atol=1e-5)


@QUICK
@given(masks())
def test_what_is_filtered_where_all_is_visible_is_undone(mask: np.ndarray) -> None:
    before, after = Lapping(), Lapping(columns_first=True)
    before.matrix = lapping_matrix()
    after.matrix = torch.linalg.inv(before.matrix)
    x = torch.rand(1, 2, *mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    support = torch.from_numpy(mask)
    filtered = before(x.clone(), support)
    np.testing.assert_array_equal(filtered[..., ~support], x[..., ~support])
    np.testing.assert_allclose(after(filtered, support), x, atol=1e-9)


def test_single_pixels_do_not_cut_a_block_and_edges_do() -> None:
    def is_boundary(mask: np.ndarray) -> bool:
        return Shape.of(blocks_of(mask)) is not None

    for hidden, expected in (((3, 5), False), ((slice(0, 1),), True), ((slice(4, 6), slice(0, 16)), True)):
        mask = np.ones((16, 16), bool)
        mask[hidden] = False
        assert is_boundary(mask) == expected
    assert is_boundary(np.zeros((16, 16), bool))


@pytest.fixture(params=["rgb-2", "mono-2"])
def model(request: pytest.FixtureRequest) -> Model:
    return registry.load(request.param)


def test_what_is_not_coded_costs_nothing_and_is_zero(model: Model) -> None:
    bands = model.config.bands
    x = np.random.default_rng(3).random((bands, 48, 64), np.float32)
    mask = np.add.outer(np.arange(48), np.arange(64)) > 40
    shape = Shape.of(blocks_of(mask))
    assert shape is not None
    coded = model.code(model.analyse(x, shape), 300, shape=shape)
    there = shape.coded(model.positions)
    assert (coded.decoded[~there] == 0).all()
    (decoded,) = model.decode(coded.encoder.finish(), 300, 3, 4, shape=shape)
    assert np.array_equal(decoded, coded.decoded)
    # What is hidden has no influence.
    other = np.where(shape.support, x, np.float32(0.3))
    assert model.code(model.analyse(other, shape), 300, shape=shape).encoder.finish() == coded.encoder.finish()


@pytest.mark.parametrize("effort", [0, 1])
@pytest.mark.parametrize(("size", "most"), [((81, 111), 1.06), ((9, 100), 1.4)])
def test_pixels_beyond_the_image_are_not_coded(size: tuple[int, int], most: float, effort: int) -> None:
    """Noise, of which every pixel costs the same, takes hardly more bytes a pixel than in whole blocks.

    With them there would be 1.2 and 2 times as many pixels.
    """
    rng = np.random.default_rng(0)
    rates = []
    for height, width in (size, [16 * -(-n // 16) for n in size]):
        image = rng.integers(0, 256, (height, width), np.uint8)
        data = learned_codec.encode(image, quality=60, effort=effort, tile_size=None)
        rates.append((len(data) - 60) / image.size)
    assert rates[0] < most * rates[1]
