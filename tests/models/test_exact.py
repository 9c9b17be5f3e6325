"""The integer entropy model: the same symbols under everything that changes how sums are computed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec import selftest
from learned_codec.demo import landscape
from learned_codec.errors import WeightsError
from learned_codec.models import registry
from learned_codec.models.engine import Engine, Input, Operations, Tensor, engine_for
from learned_codec.models.engine.probe import sums_are_exact
from learned_codec.models.engine.torch import Torch, TorchOperations
from learned_codec.models.exact import (
    ACTIVATION_MAX,
    MU_MAX,
    PRODUCT_ROWS,
    ExactEntropyModel,
    Layer,
    mantissas,
    power_of_two,
    product_rows,
    rounded_product,
)
from learned_codec.models.model import Model

NAME = learned_codec.list_models()[-1].name


@pytest.fixture(scope="module")
def model() -> Model:
    return registry.load(NAME)


@pytest.fixture(scope="module")
def latents(model: Model) -> np.ndarray:
    return model.analyse(landscape(144, 208).transpose(2, 0, 1)[: model.config.bands].astype(np.float32) / 255)


def test_golden_vectors_decode_under_every_setting() -> None:
    results = selftest.run()
    assert len(results) >= 12
    assert [name for name, ok in results if not ok] == []


def test_a_wrong_golden_vector_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [dict(v, sha256="0" * 64) for v in selftest.vectors()[:1]]
    monkeypatch.setattr(selftest, "vectors", lambda: wrong)
    assert not any(ok for _, ok in selftest.run())


@pytest.mark.parametrize("step", [0, 333, 896])
def test_decoding_is_the_same_on_any_engine(model: Model, latents: np.ndarray, step: int) -> None:
    coded = model.code(latents, step)
    payload, size = coded.encoder.finish(), latents.shape[:2]
    for engine in (engine_for("cpu", 1), engine_for("cpu", 2), engine_for("cpu", 3), Torch("cpu")):
        other = Model(registry.weights_of(NAME), engine)
        assert np.array_equal(other.decode(payload, step, *size)[0], coded.decoded)


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 13), width=st.integers(1, 13), step=st.integers(0, 896))
def test_any_size_of_latents(height: int, width: int, step: int) -> None:
    model = registry.load(NAME)
    rng = np.random.default_rng(height * 100 + width)
    y = rng.standard_normal((height, width, model.config.latents), np.float32)
    coded = model.code(y, step)
    assert np.array_equal(model.decode(coded.encoder.finish(), step, height, width)[0], coded.decoded)


def test_wild_latents_are_coded_too(model: Model) -> None:
    """Escapes and clipped activations: far outside of what the model was trained on."""
    y = np.random.default_rng(0).standard_normal((5, 7, model.config.latents), np.float32) * 1e4
    coded = model.code(y, 896)
    assert np.array_equal(model.decode(coded.encoder.finish(), 896, 5, 7)[0], coded.decoded)


@pytest.fixture(params=["openvino", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_for("cpu") if request.param == "openvino" else Torch("cpu")


def test_an_engine_is_exact(engine: Engine) -> None:
    assert sums_are_exact(engine)


def test_sums_of_a_layer_are_those_of_integers(model: Model, engine: Engine) -> None:
    rng = np.random.default_rng(0)
    for name, layer in model.exact.layers.items():
        depthwise = layer.weight.ndim == 3
        inputs = len(layer.weight) if depthwise else layer.weight.shape[1]
        x = rng.integers(-ACTIVATION_MAX, ACTIVATION_MAX + 1, (inputs, 9, 11)).astype(np.float32)

        def network(ops: Operations, given: Sequence[Tensor], own: Layer = layer, dw: bool = depthwise) -> list[Tensor]:
            return [(ops.depthwise if dw else ops.pointwise)(given[0], own.weight, own.bias)]

        (found,) = engine.build(network, [Input(inputs)], exact=True)(x)
        weight = layer.weight.astype(np.float64)
        if depthwise:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1))).astype(np.float64)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
            sums = (windows * weight[:, None, None]).sum((3, 4))
        else:
            sums = np.tensordot(weight, x.astype(np.float64), 1)
        assert np.array_equal(found, sums + layer.bias[:, None, None]), name


OPERATIONS: dict[str, Callable[[Operations, Any, Any], Any]] = {
    "pointwise": lambda ops, x, _: ops.pointwise(x, WEIGHTS[:, :8], WEIGHTS[:, 0].copy()),
    "groups": lambda ops, x, _: ops.pointwise(x, WEIGHTS.reshape(4, 3, 8)[..., :2].copy()),
    "depthwise": lambda ops, x, _: ops.depthwise(x, WEIGHTS.reshape(-1)[:72].reshape(8, 3, 3), WEIGHTS[0]),
    "add": lambda ops, x, y: ops.add(x, y),
    "multiply": lambda ops, x, y: ops.multiply(x, y),
    "floor": lambda ops, x, _: ops.floor(x),
    "clip": lambda ops, x, _: ops.clip(x, -0.5, 0.25),
    "magnitude": lambda ops, x, _: ops.magnitude(x),
    "leaky_relu": lambda ops, x, _: ops.leaky_relu(x, 0.1),
    "space_to_depth": lambda ops, x, _: ops.space_to_depth(x, 2),
    "space_to_depth, places first": lambda ops, x, _: ops.space_to_depth(x, 2, places_first=True),
    "depth_to_space": lambda ops, x, _: ops.depth_to_space(x, 2),
    "depth_to_space, places first": lambda ops, x, _: ops.depth_to_space(x, 2, places_first=True),
    "enlarge": lambda ops, x, _: ops.enlarge(x),
}
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


def test_the_bound_holds_and_is_checked_on_loading(model: Model) -> None:
    for layer in model.exact.layers.values():
        weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
        reach = np.abs(weight).reshape(len(weight), -1).sum(1) * ACTIVATION_MAX + np.abs(bias)
        assert (reach / layer.scale).max() < 2**24
    weight, bias, shift = np.full((2, 40), 411), np.zeros(2, int), np.ones(2, int)
    Layer.load(weight - 1, bias, shift, "fits")
    with pytest.raises(WeightsError, match="too-large.*2\\^24"):
        Layer.load(weight, bias, shift, "too-large")
    with pytest.raises(WeightsError, match="shifts"):
        Layer.load(weight - 1, bias, shift - 1, "unshifted")


def test_missing_tensors_are_named(model: Model) -> None:
    with pytest.raises(WeightsError, match="unit"):
        ExactEntropyModel(model.config, {}, engine_for("cpu"))


def test_mantissas_are_powers_of_two() -> None:
    assert mantissas()[0] == 1 << 15
    for i, value in enumerate(mantissas()):
        assert abs(value - 2 ** (15 + i / 256)) <= 0.5001


@pytest.mark.parametrize("bits", [8, 11, 16])
def test_shortened_products_are_noticed(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """With operands cut to the significant bits of bf16, TF32 or a little more, the probe fails."""

    def cut(x: torch.Tensor) -> torch.Tensor:
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent)

    product = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: product(cut(a), cut(b)))
    assert sums_are_exact(Torch("cpu")) == (bits >= 15)


def test_the_card_says_what_exactness_costs() -> None:
    for card in learned_codec.list_models():
        assert card.card["exactness_cost"] <= 0.003
