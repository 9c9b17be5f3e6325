"""The integer entropy model: the same symbols under everything that changes how sums are computed."""

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
from learned_codec.models.device import threads
from learned_codec.models.exact import (
    ACTIVATION_MAX,
    ExactEntropyModel,
    Layer,
    arithmetic_is_exact,
    convolved,
    mantissas,
    shifted,
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
def test_decoding_is_the_same_with_any_threads_and_without_onednn(model: Model, latents: np.ndarray, step: int) -> None:
    with threads(2):
        coded = model.code(latents, step)
    payload, size = coded.encoder.finish(), latents.shape[:2]
    for count in (1, 2, 3):
        with threads(count):
            assert np.array_equal(model.decode(payload, step, *size)[0], coded.decoded)
            assert model.code(latents, step).encoder.finish() == payload
    with selftest.without_onednn():
        assert np.array_equal(model.decode(payload, step, *size)[0], coded.decoded)


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


def test_sums_of_a_layer_do_not_depend_on_layout_batch_or_order(model: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, layer in model.exact.layers.items():
        inputs = layer.weight.shape[0] if layer.weight.ndim == 4 else layer.weight.shape[1]
        x = torch.randint(-ACTIVATION_MAX, ACTIVATION_MAX + 1, (9, 11, inputs), generator=generator).float()
        if layer.weight.ndim == 4:
            plain = convolved(x, layer.weight)
            planar = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # the same values, laid out as planes
            assert torch.equal(convolved(planar, layer.weight), plain), name
            assert torch.equal(shifted(x, layer.weight), plain), name
            assert torch.equal(convolved(x.double(), layer.weight.double()), plain.double()), name
        else:
            plain = x @ layer.weight.T
            single = torch.stack([row @ layer.weight.T for row in x.reshape(-1, inputs)]).reshape(plain.shape)
            assert torch.equal(single, plain), name
            order = torch.randperm(inputs, generator=generator)
            assert torch.equal(x[..., order] @ layer.weight[:, order].T, plain), name
            assert torch.equal(x.double() @ layer.weight.double().T, plain.double()), name


def test_the_bound_holds_and_is_checked_on_loading(model: Model) -> None:
    for layer in model.exact.layers.values():
        reach = layer.weight.double().abs().flatten(1).sum(1) * ACTIVATION_MAX + layer.bias.double().abs()
        assert (reach / layer.scale).max() < 2**24
    weight, bias, shift = torch.full((2, 40), 411.0), torch.zeros(2), torch.ones(2)
    Layer.load(weight - 1, bias, shift, "fits")
    with pytest.raises(WeightsError, match="too-large.*2\\^24"):
        Layer.load(weight, bias, shift, "too-large")
    with pytest.raises(WeightsError, match="shifts"):
        Layer.load(weight - 1, bias, shift - 1, "unshifted")


def test_missing_tensors_are_named(model: Model) -> None:
    with pytest.raises(WeightsError, match="unit"):
        ExactEntropyModel(model.config, {})


def test_mantissas_are_powers_of_two() -> None:
    assert mantissas()[0] == 1 << 15
    for i, value in enumerate(mantissas()):
        assert abs(value - 2 ** (15 + i / 256)) <= 0.5001


@pytest.mark.parametrize("bits", [8, 11, 16])
def test_shortened_products_are_noticed(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """With operands cut to the significant bits of bf16, TF32 or a little more, the probe fails."""
    assert arithmetic_is_exact("cpu")

    def cut(x: torch.Tensor) -> torch.Tensor:
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent)

    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: product(cut(a), cut(b)))
    assert arithmetic_is_exact("cpu") == (bits >= 15)


def test_the_card_says_what_exactness_costs() -> None:
    for card in learned_codec.list_models():
        assert card.card["exactness_cost"] <= 0.003
