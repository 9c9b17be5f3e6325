"""The integer entropy model: the same symbols under everything that changes how sums are computed."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec import selftest
from learned_codec.demo import landscape
from learned_codec.errors import WeightsError
from learned_codec.models import exact, registry
from learned_codec.models.engine import Engine, Input, Operations, Tensor, engine_for
from learned_codec.models.engine.openvino import OpenVino
from learned_codec.models.engine.probe import sums_are_exact
from learned_codec.models.exact import ExactEntropyModel
from learned_codec.models.integers import ACTIVATION_MAX, Layer, mantissas, significant
from learned_codec.models.model import Model

NAME = learned_codec.list_models()[-1].name


def torch_engine() -> Engine:
    from learned_codec.models.engine.torch import Torch

    return Torch("cpu")


TORCH = pytest.param(torch_engine, marks=pytest.mark.torch, id="torch")


COMPILED = pytest.param(partial(OpenVino, 1, uncompiled=0), id="compiled")
IN_FLOAT32 = pytest.param(partial(OpenVino, 1, uncompiled=0, short=False), id="compiled-float32")


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
    bounded = {name for name, _ in selftest.run_bounded()}  # these have vectors of their own
    assert not any(ok for name, ok in selftest.run() if name not in bounded)


@pytest.mark.parametrize(
    "other", [*(pytest.param(partial(engine_for, "cpu", n), id=f"{n}") for n in (1, 2, 3)), COMPILED, IN_FLOAT32, TORCH]
)
@pytest.mark.parametrize("step", [0, 333, 896])
def test_decoding_is_the_same_on_any_engine(
    model: Model, latents: np.ndarray, step: int, other: Callable[[], Engine]
) -> None:
    coded = model.code(latents, step)
    payload, size = coded.encoder.finish(), latents.shape[:2]
    decoded = Model(registry.weights_of(NAME), other()).decode(payload, step, *size)[0]
    assert np.array_equal(decoded, coded.decoded)


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 13), width=st.integers(1, 13), step=st.integers(0, 896))
def test_any_size_of_latents(height: int, width: int, step: int) -> None:
    model = registry.load(NAME)
    rng = np.random.default_rng(height * 100 + width)
    y = rng.standard_normal((height, width, model.config.latents), np.float32)
    coded = model.code(y, step)
    assert np.array_equal(model.decode(coded.encoder.finish(), step, height, width)[0], coded.decoded)


@pytest.mark.parametrize(("height", "width"), [(18, 21), (33, 5)])
def test_at_larger_sizes_networks_say_the_same(
    model: Model, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    latents = model.analyse(landscape(16 * height, 16 * width).transpose(2, 0, 1).astype(np.float32) / 255)
    found = model.code(latents, 500)
    monkeypatch.setattr(exact, "SMALL", 99)
    just = model.code(latents, 500)
    assert just.encoder.finish() == found.encoder.finish()
    assert np.array_equal(just.decoded, found.decoded)


def test_wild_latents_are_coded_too(model: Model) -> None:
    """Escapes and clipped activations: far outside of what the model was trained on."""
    y = np.random.default_rng(0).standard_normal((5, 7, model.config.latents), np.float32) * 1e4
    coded = model.code(y, 896)
    assert np.array_equal(model.decode(coded.encoder.finish(), 896, 5, 7)[0], coded.decoded)


@pytest.fixture(params=[pytest.param(lambda: engine_for("cpu"), id="numpy"), COMPILED, IN_FLOAT32, TORCH])
def engine(request: pytest.FixtureRequest) -> Engine:
    made: Engine = request.param()
    return made


def test_an_engine_is_exact(engine: Engine) -> None:
    assert sums_are_exact(engine.build_integers)


def test_sums_of_a_layer_are_those_of_integers(model: Model, engine: Engine) -> None:
    rng = np.random.default_rng(0)
    for name, layer in model.exact.layers.items():
        depthwise = layer.weight.ndim == 3
        inputs = len(layer.weight) if depthwise else layer.weight.shape[1]
        x = rng.integers(-ACTIVATION_MAX, ACTIVATION_MAX + 1, (inputs, 9, 11)).astype(np.float32)

        def network(ops: Operations, given: Sequence[Tensor], own: Layer = layer, dw: bool = depthwise) -> list[Tensor]:
            found = ops.round((ops.depthwise if dw else ops.pointwise)(given[0], own.weight, own.bias))
            return [ops.clip(found, -ACTIVATION_MAX, ACTIVATION_MAX) if dw else found]

        (found,) = engine.build_integers(network, [Input(inputs)])(x)
        found = found.transpose(2, 0, 1)
        weight = layer.weight.astype(np.float64)
        if depthwise:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1))).astype(np.float64)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
            sums = (windows * weight[:, None, None]).sum((3, 4))
        else:
            sums = np.tensordot(weight, x.astype(np.float64), 1)
        expected = np.rint(sums + layer.bias[:, None, None])
        assert np.array_equal(found, expected.clip(-ACTIVATION_MAX, ACTIVATION_MAX) if depthwise else expected), name


def test_the_bound_holds_and_is_checked_on_loading(model: Model) -> None:
    for layer in model.exact.layers.values():
        weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
        reach = np.abs(weight).reshape(len(weight), -1).sum(1) * ACTIVATION_MAX + np.abs(bias)
        assert (reach / layer.scale).max() < 2**24
    weight, bias, shift = np.full((2, 258), 255), np.zeros(2, int), np.ones(2, int)
    Layer.load(weight[:, :257], bias, shift, "fits")
    with pytest.raises(WeightsError, match="too-large.*2\\^24"):
        Layer.load(weight, bias + (1 << 23), shift, "too-large")
    with pytest.raises(WeightsError, match="shifts"):
        Layer.load(weight[:, :1], bias, shift - 2, "shifted up")


@given(value=st.integers(-(2**15) + 1, 2**15 - 1))
def test_numbers_have_eight_significant_bits(value: int) -> None:
    """As many as bf16 has: others are refused."""
    fits = value.bit_length() <= 8 or value % (1 << (value.bit_length() - 8)) == 0
    shift = np.zeros(1, int)
    for weight, bias in (([[value]], [1]), ([[1]], [value])):
        if fits:
            Layer.load(np.array(weight), np.array(bias), shift, "short")
        else:
            with pytest.raises(WeightsError, match=f"significant bits: {value}"):
                Layer.load(np.array(weight), np.array(bias), shift, "long")
    assert (significant(np.array([value]))[0] == value) == fits


def test_missing_tensors_are_named(model: Model) -> None:
    with pytest.raises(WeightsError, match="unit"):
        ExactEntropyModel(model.config, {}, engine_for("cpu"))


def test_mantissas_are_powers_of_two() -> None:
    assert mantissas()[0] == 1 << 15
    for i, value in enumerate(mantissas()):
        assert abs(value - 2 ** (15 + i / 256)) <= 0.5001


def test_the_card_says_what_exactness_costs() -> None:
    for card in learned_codec.list_models():
        assert card.card["exactness_cost"] <= 0.003
