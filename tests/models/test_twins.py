"""What is written twice says the same: engines, networks in numpy and in torch, arithmetic in halves and whole."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.demo import landscape
from learned_codec.entropy import SCALE_BINS, Runs, gaussian_tables
from learned_codec.entropy.tables import MAX_REACH
from learned_codec.models import inference, rdoq, registry
from learned_codec.models.engine import Input, Operations, Tensor, engine_for, openvino
from learned_codec.models.engine import numpy as numpy_engine
from learned_codec.models.engine.openvino import MOST_SIZES, OpenVino
from learned_codec.models.engine.probe import sums_are_exact
from learned_codec.models.engine.torch import Torch, TorchOperations
from learned_codec.models.entropy_model import optimised
from learned_codec.models.integers import MU_MAX, PRODUCT_ROWS, power_of_two, product_rows, rounded_product
from learned_codec.models.layers import interpolate
from learned_codec.models.model import Model
from learned_codec.models.network import network_of_weights
from learned_codec.models.patches import from_patches, patch_numbers, to_patches
from learned_codec.models.shape_adaptive import Shape
from learned_codec.training.export import exactness_cost

OPERATIONS: dict[str, Callable[[Operations, Any, Any], Any]] = {
    "pointwise": lambda ops, x, _: ops.pointwise(x, WEIGHTS[:, :8], WEIGHTS[:, 0].copy()),
    "groups": lambda ops, x, _: ops.pointwise(x, WEIGHTS.reshape(4, 3, 8)[..., :2].copy()),
    "depthwise": lambda ops, x, _: ops.depthwise(x, WEIGHTS.reshape(-1)[:72].reshape(8, 3, 3), WEIGHTS[0]),
    "add": lambda ops, x, y: ops.add(x, y),
    "multiply": lambda ops, x, y: ops.multiply(x, y),
    "floor": lambda ops, x, _: ops.floor(x),
    "round": lambda ops, x, _: ops.round(ops.multiply(ops.floor(x), ops.constant(HALF))),  # ties
    "bytes": lambda ops, x, _: ops.bytes(ops.clip(ops.floor(ops.multiply(x, ops.constant(100 * HALF))), 0, 255)),
    "clip": lambda ops, x, _: ops.clip(x, -0.5, 0.25),
    "leaky_relu": lambda ops, x, _: ops.leaky_relu(x, 0.1),
    "space_to_depth": lambda ops, x, _: ops.space_to_depth(x, 2),
    "space_to_depth, places first": lambda ops, x, _: ops.space_to_depth(x, 2, places_first=True),
    "depth_to_space": lambda ops, x, _: ops.depth_to_space(x, 2),
    "depth_to_space, places first": lambda ops, x, _: ops.depth_to_space(x, 2, places_first=True),
    "enlarge": lambda ops, x, _: ops.enlarge(x, 2),
    "modulated": lambda ops, x, y: ops.modulated(ops.enlarge(x, 4), x, ops.add(x, y), 4),
    "bytes_of": lambda ops, x, _: ops.bytes_of(x, ops.constant(np.full((1, 1, 1), 0.3, np.float32)), x),
}
HALF = np.full((1, 1, 1), 0.5, np.float32)
WEIGHTS = np.random.default_rng(3).standard_normal((12, 8), np.float32)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(deadline=None, max_examples=4)
@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_engines_agree(name: str, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = rng.standard_normal((8, 2 * height, 2 * width), np.float32) * 3, rng.standard_normal((8, 1, 1), np.float32)

    def network(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [OPERATIONS[name](ops, *tensors)]

    inputs = [Input(8), Input(8, (1, 1))]
    engines = engine_for("cpu"), Torch("cpu")
    found = [engine.build(network, inputs, exact=True)(*arrays)[0] for engine in engines]
    np.testing.assert_allclose(found[0], found[1], atol=2e-6, rtol=1e-6)
    inputs[0] = Input(8, channels_last=True)
    turned = arrays[0].transpose(1, 2, 0), arrays[1]
    for engine in engines:
        (last,) = engine.build(network, inputs, exact=True, channels_last=True)(*turned)
        np.testing.assert_allclose(last.transpose(2, 0, 1), found[0], atol=2e-6, rtol=1e-6)
    (last,) = numpy_engine.build(network, inputs)(*turned)
    np.testing.assert_allclose(last.transpose(2, 0, 1), found[0], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
def test_beyond_the_first_sizes_one_graph_takes_all(name: str) -> None:
    rng = np.random.default_rng(0)

    def network(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [OPERATIONS[name](ops, *tensors)]

    inputs = [Input(8), Input(8, (1, 1))]
    first, second = (engine.build(network, inputs, exact=True) for engine in (engine_for("cpu"), Torch("cpu")))
    for height in range(2, 2 * MOST_SIZES + 6, 2):
        arrays = rng.standard_normal((8, height, 6), np.float32), rng.standard_normal((8, 1, 1), np.float32)
        np.testing.assert_allclose(first(*arrays)[0], second(*arrays)[0], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize(("outputs", "inputs", "positions"), [(1, 1, 5), (600, 700, 3), (128, 256, 37), (12, 128, 400)])
def test_products_on_numpy_are_whole(outputs: int, inputs: int, positions: int) -> None:
    """In however many parts they are computed."""
    rng = np.random.default_rng(positions)
    x, weight = (rng.integers(-9, 10, size).astype(np.float32) for size in ((inputs, positions, 1), (outputs, inputs)))
    program = numpy_engine.build(lambda ops, given: [ops.pointwise(given[0], weight)], [Input(inputs)])
    (found,) = program(x)
    np.testing.assert_array_equal(found[:, 0], x[:, :, 0].T @ weight.T)


def test_networks_of_integers_go_on_as_they_began() -> None:
    """First on NumPy, then compiled: only the time shows which of them it was."""
    x = np.random.default_rng(1).integers(-255, 256, (30, 20, 8)).astype(np.float32)
    weights = np.random.default_rng(0).integers(-255, 256, (16, 8)).astype(np.float32) / 8
    program = OpenVino(1, uncompiled=1200).build_integers(rounded(weights), [Input(8, channels_last=True)])
    ready = []
    for _ in range(4):
        ready.append(program.is_ready(30, 20))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(program(x)[0], np.rint(x @ weights.T))
    assert ready == [True, True, False, True]


def test_an_engine_that_rounds_never_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "sums_are_exact", lambda _: False)
    engine = OpenVino(1, uncompiled=1)
    monkeypatch.setattr(engine, "build", lambda *_, **__: pytest.fail("compiled"))
    program = engine.build_integers(rounded(np.ones((16, 8), np.float32)), [Input(8)])
    for _ in range(3):
        (found,) = program(np.ones((8, 5, 5), np.float32))
        assert (found == 8).all()
    assert program.is_ready(5, 5)  # type: ignore[attr-defined]


def test_where_short_products_round_float32_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([False, True])
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    monkeypatch.setattr(openvino, "sums_are_exact", lambda _: next(found))
    engine, kinds = OpenVino(1), []
    monkeypatch.setattr(engine, "build", lambda *_, exact, **__: kinds.append(exact))
    engine.compiled_integers(rounded(WEIGHTS[:, :8]), [Input(8)])
    assert kinds == [True]


def rounded(weights: np.ndarray) -> Callable[[Operations, Sequence[Tensor]], list[Tensor]]:
    return lambda ops, tensors: [ops.round(ops.pointwise(tensors[0], weights))]


def test_threads_that_run_a_network_at_once_do_not_disturb_each_other() -> None:
    def network(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [ops.pointwise(tensors[0], WEIGHTS[:, :8]), ops.floor(tensors[0])]

    program = engine_for("cpu").build(network, [Input(8)], exact=True)
    arrays = [np.random.default_rng(i).standard_normal((8, 40, 50), np.float32) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(program, arrays))
    for array, (product, below) in zip(arrays, found, strict=True):
        np.testing.assert_allclose(product, np.tensordot(WEIGHTS[:, :8], array, 1), atol=1e-5)
        np.testing.assert_array_equal(below, np.floor(array))


@settings(deadline=None, max_examples=40)
@given(log2=st.integers(-16 * 256, 12 * 256), bits=st.integers(-4, 0), seed=st.integers(0, 99))
def test_products_round_as_in_double_precision(log2: int, bits: int, seed: int) -> None:
    """In float32 by halves, for all that means are made of, ties included."""
    factors = np.full(1, log2)
    x = np.random.default_rng(seed).integers(-MU_MAX, MU_MAX + 1, (1, 40, 50)).astype(np.float32)
    x[0, 0, :4] = -MU_MAX, MU_MAX, 0, 1
    operations = TorchOperations("cpu", torch.float32)
    rows = [operations.constant(row[:, None, None]) for row in product_rows(factors, bits)]
    assert len(rows) == PRODUCT_ROWS
    found = rounded_product(operations, torch.from_numpy(x), rows).numpy()
    expected = np.floor(x.astype(np.float64) * power_of_two(factors, bits) + 0.5)
    some = np.abs(expected) < 2**22  # means are clipped there
    assert np.array_equal(found[some], expected[some])
    assert (np.abs(found[~some]) >= 2**22).all()


@pytest.mark.parametrize("bits", [6, 7, 8, 11])
def test_shortened_products_are_noticed(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """With operands cut to fewer significant bits than those of bf16, the probe fails."""

    def cut(x: torch.Tensor) -> torch.Tensor:
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent)

    product = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: product(cut(a), cut(b)))
    assert sums_are_exact(Torch("cpu").build_integers) == (bits >= 8)


@settings(deadline=None, max_examples=12)
@given(height=st.integers(1, 6), width=st.integers(1, 6), step=st.integers(0, 900))
@pytest.mark.parametrize("name", ["rgb-2", "mono-2"])
def test_transforms_are_those_that_were_trained(name: str, height: int, width: int, step: int) -> None:
    model = registry.load(name)
    network = network_of_weights(registry.weights_of(name)).float()
    pixels = landscape(16 * height, 16 * width).transpose(2, 0, 1)[: model.config.bands].astype(np.float32) / 255
    latents = model.analyse(pixels)
    with torch.no_grad():
        expected = network.analyse(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0)
        np.testing.assert_allclose(latents, expected, atol=2e-3)
        whole = network.transform.synthesise(expected.permute(2, 0, 1)[None])[0]
        np.testing.assert_allclose(model.linear(latents), whole, atol=1e-3)  # a quarter of a level
        level = torch.tensor([step / 128])
        decoded = np.round(latents / model.step_size(step))
        image = network.synthesise(torch.from_numpy(decoded).permute(2, 0, 1)[None], level)[0]
        np.testing.assert_allclose(model.synthesise(decoded, step, fine=True), image, atol=2e-4)
        found = model.synthesise(decoded, step)  # in bf16, if the processor has it
        np.testing.assert_allclose(found, image, atol=8e-3)  # two levels
        assert np.abs(found - image.numpy()).mean() < 1e-3
        gain = torch.exp2(interpolate(network.entropy.log2_gain, level))
        padded = np.pad(latents, ((0, -height % 4), (0, -width % 4), (0, 0)), mode="edge")
        hyper = network.entropy.hyper_latents(torch.from_numpy(padded).permute(2, 0, 1)[None] * gain, level)
        vectors = (
            np.exp2(model.at("log2_gain", step)),
            np.exp2(model.at("hyper_gain", step)),
            model.at("hyper_bias", step),
        )
        found = model._hyper_analysis(padded, *vectors)
        # In bf16, too. They are then rounded to integers: single ones may differ by a twentieth of that, few do.
        expected = hyper[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, expected, atol=0.05, rtol=0.02)
        assert np.abs(found - expected).mean() < 0.01


def test_the_refinement_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.load("rgb-2")
    planes = landscape(208, 96).transpose(2, 0, 1).astype(np.float32) / 255 - np.float32(0.5)
    bias = model.at("refinement_bias", 400)
    latents = np.random.default_rng(0).normal(0, 3, (13, 6, 768)).astype(np.float32)
    given = bias, -4.0, model._condition(latents, 400)
    whole = model.refinement.correction(planes, *given)
    for most in (1, 5, 7):
        monkeypatch.setattr(inference, "MOST_BLOCKS", most)
        np.testing.assert_allclose(model.refinement.correction(planes, *given), whole, atol=2e-3)
        part = slice(48, 160), slice(16, 50)
        found = model.refinement.correction(planes, *given, inner=part)
        np.testing.assert_allclose(found, whole[:, *part], atol=2e-3)
        for adaptation in ((), (3, -20)):  # of full range, as bytes: rounded alike but for a level
            shown = model.refinement.correction(planes * 1.5, *given, adaptation, part) + planes[:, *part] * 1.5 + 0.5
            levels = np.rint(shown.clip(0, 1) * 255)
            found_bytes = model.refinement.refined_bytes(planes * 1.5, *given, adaptation, part)
            assert found_bytes.dtype == np.uint8
            assert np.abs(found_bytes - levels).max() <= 1
            assert np.mean(found_bytes != levels) < 0.02


@settings(max_examples=8)
@given(height=st.integers(1, 5), width=st.integers(1, 5), step=st.integers(0, 1400), some=st.booleans())
@pytest.mark.parametrize("name", ["rgb-2", "mono-2"])
def test_slopes_are_those_of_torch(name: str, height: int, width: int, step: int, some: bool) -> None:
    """With hidden pixels, too: their errors don't count, and boundary blocks have transforms of their own."""
    model, network = Model(registry.weights_of(name), Torch("cpu")), network_of_weights(registry.weights_of(name))
    pixels = landscape(16 * height, 16 * width).transpose(2, 0, 1)[: model.config.bands].astype(np.float32) / 255
    visible, shape, counting = None, None, np.ones_like(pixels)
    if some:
        seen = np.add.outer(np.arange(16 * height), 2 * np.arange(16 * width)) > 8 * (height + width)
        shape = Shape.of(seen.reshape(height, 16, width, 16).swapaxes(1, 2))
        visible = counting = np.broadcast_to(seen, pixels.shape).astype(np.float32)
    scale = model.step_size(step)
    decoded = np.round(model.analyse(pixels, shape) / scale).astype(np.float32)
    if shape is not None:
        decoded *= shape.coded(model.positions)
    found = model.error_slope(pixels, decoded, step, visible, shape)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values))[:, None, None]

    latents = torch.from_numpy(decoded).permute(2, 0, 1)[None].requires_grad_()
    tables = {name: tensor(model.at(name, step))[None] for name in network.tables()}
    unit = np.exp2(model.at("log2_gain", step) + model.levels["log2_sigma"])
    image = network.pixels(latents * tensor(scale), latents / tensor(unit), tables, shape)[0]
    error = ((image - torch.from_numpy(pixels)) * torch.from_numpy(counting)).square().sum()
    (slope,) = torch.autograd.grad(error, latents)
    expected = slope[0].permute(1, 2, 0).numpy()
    if shape is None:
        # Where a leaky unit is given nearly 0, rounding decides which slope it has, so a few may differ.
        assert np.square(found - expected).sum() < 1e-4 * np.square(expected).sum()
        return
    # A shape-adaptive transform is only nearly orthonormal.
    difference = (found - expected) * shape.coded(model.positions)
    assert np.square(difference).sum() < 0.1 * np.square(expected).sum()


def test_slopes_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.load("mono-2")
    pixels = landscape(272, 208)[None, ..., 1].astype(np.float32) / 255
    decoded = np.round(model.analyse(pixels) / model.step_size(500)).astype(np.float32)
    whole = model.error_slope(pixels, decoded, 500)
    monkeypatch.setattr(inference, "MOST_SLOPE_BLOCKS", 10)
    np.testing.assert_allclose(model.error_slope(pixels, decoded, 500), whole, atol=2e-2 * np.abs(whole).max())


@pytest.mark.parametrize("bands", [1, 3])
def test_patches_are_those_of_training(bands: int) -> None:
    planes = np.random.default_rng(1).standard_normal((bands, 32, 48), np.float32)
    pixels, numbers = to_patches(planes), patch_numbers(2, 3)
    expected = torch.nn.functional.pixel_unshuffle(torch.from_numpy(planes), 4).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, expected)
    block = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(numbers.argmax(2), np.tile(block, (2, 3)))
    np.testing.assert_array_equal(numbers.sum(2), 1)
    turned = np.ascontiguousarray(planes.transpose(0, 2, 1)).transpose(0, 2, 1)
    np.testing.assert_array_equal(to_patches(turned), pixels)
    back = np.zeros((bands, 32, 60), np.float32)
    from_patches(pixels, back[:, :, 8:56])
    np.testing.assert_array_equal(back[:, :, 8:56], planes)
    assert not back[:, :, :8].any()
    as_bytes = np.zeros(back.shape, np.uint8)
    from_patches((pixels * 9).astype(np.int8).view(np.uint8), as_bytes[:, :, 8:56])
    np.testing.assert_array_equal(as_bytes[:, :, 8:56], (planes * 9).astype(np.int8).view(np.uint8))


@settings(deadline=None)
@given(length=st.integers(1, 200), start=st.integers(0, 199), stop=st.integers(1, 200))
def test_parts_of_an_axis_show_all_that_a_network_sees(length: int, start: int, stop: int) -> None:
    start, halo = min(start, length - 1), 2
    wanted = slice(start, min(max(stop, start + 1), length))
    done, sizes = 0, set()
    for place, outer, inner in inference.parts_of(length, wanted, halo):
        assert place.start == done
        assert place.stop > done
        first, last = outer.start + inner.start, outer.start + inner.stop  # the same blocks of the axis
        assert (first - wanted.start, last - wanted.start) == (place.start, place.stop)
        assert outer.start == 0 or first - outer.start >= halo
        assert outer.stop == length or outer.stop - last >= halo
        sizes.add(outer.stop - outer.start)
        done = place.stop
    assert done == wanted.stop - wanted.start
    assert len(sizes) == 1
    assert max(sizes) <= inference.MOST_BLOCKS


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), count=st.integers(0, 400))
def test_latents_are_rounded_as_in_training(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    bins = np.sort(rng.integers(3, SCALE_BINS, count).astype(np.uint8))
    residual = (rng.standard_normal(count) * 2 ** (bins / 8 - 3.25)).astype(np.float32)
    cost = rng.uniform(0, 8, count).astype(np.float32)
    tables = gaussian_tables()
    found = rdoq.rounded(residual, Runs.of(bins).counts, cost, rdoq.SymbolCosts.of(tables.cost_matrix(MAX_REACH + 1)))
    bits = torch.from_numpy(tables.cost_matrix(rdoq.REACH)).reshape(-1)
    expected = optimised(torch.from_numpy(residual), torch.from_numpy(bins).long(), torch.from_numpy(cost), bits)
    assert np.array_equal(found, expected)


def odd_images(bands: int) -> dict[str, np.ndarray]:
    """Images unlike those by which the integers' ranges were chosen."""
    rng, side = np.random.default_rng(0), 128
    lines = np.ones((side, side), np.float32)
    for top in range(0, side, 12):
        lines[top : top + 7] = rng.random((7, side)) > 0.45
    squares = (rng.random((side // 4, side // 4)) < 0.3).repeat(4, 0).repeat(4, 1).astype(np.float32)
    return {
        "noise": rng.random((bands, side, side), np.float32),
        "text": np.stack([lines] * bands),
        "squares": np.stack([squares] * bands),
    }


@pytest.mark.parametrize("name", ["rgb-2", "mono-2"])
def test_in_integers_odd_images_cost_no_more(name: str) -> None:
    weights = registry.weights_of(name)
    network = network_of_weights(weights).float()
    for kind, image in odd_images(weights.config.bands).items():
        assert exactness_cost(network, weights, [torch.from_numpy(image)]) < 0.01, kind
