"""Layers of resolution: integers do what was trained, and a tile's first parts are enough for its first layers."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.bitstream.payload import split_parts
from learned_codec.entropy import SCALE_BINS, SKIPPED_BINS, CoderModels, gaussian_tables
from learned_codec.errors import CorruptDataError, WeightsError
from learned_codec.models import coding, inference, rdoq
from learned_codec.models.config import PASSES, ModelConfig, groups_of, order_of_components, top_step
from learned_codec.models.engine import engine_for
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.exact import ExactEntropyModel
from learned_codec.models.inference import RefinementProgram
from learned_codec.models.integers import LOG2_BITS, to_bins
from learned_codec.models.model import Model
from learned_codec.models.network import Network
from learned_codec.models.shape_adaptive import Shape
from learned_codec.models.transforms import LappedTransform, Refinement
from learned_codec.training.export import export
from learned_codec.training.lapping_design import initialise
from learned_codec.training.quantise import Ranges, quantised

SMALL = ModelConfig(bands=1, levels=3, hyper_latents=8, context_width=12, widths=(16, 12, 12))
MODELS = CoderModels(gaussian_tables())
COSTS = rdoq.SymbolCosts.of(MODELS.costs)


@pytest.fixture(scope="module")
def trained() -> EntropyModel:
    """Random networks whose scales differ."""
    torch.manual_seed(3)
    network = EntropyModel(SMALL).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if not name.startswith("log2_"):
            parameter.mul_(1.5)
    network.log2_gain.copy_((torch.arange(3.0)[:, None] + 1).expand(3, SMALL.latents))
    network.log2_sigma.copy_(-torch.linspace(0, 4, SMALL.latents))
    return network


@pytest.fixture(scope="module")
def tensors(trained: EntropyModel) -> dict[str, np.ndarray]:
    watched = {
        name: module for name, module in trained.named_modules() if name.startswith(("hyper_synthesis", "layers."))
    }
    ranges = Ranges(watched, trained.hyper_synthesis.up1)
    for seed in range(3):
        for level in (0.0, 1.0, 2.0):
            trained(latents(trained, 16, 16, seed)[None], torch.tensor([level]))
    ranges.close()
    return {name: tensor.numpy() for name, tensor in quantised(trained, ranges).items()}


@pytest.fixture(scope="module")
def model(tensors: dict[str, np.ndarray]) -> ExactEntropyModel:
    return ExactEntropyModel(SMALL, tensors, engine_for("cpu"))


def latents(network: EntropyModel, height: int, width: int, seed: int) -> torch.Tensor:
    """(latents, height, width) Laplacian, of the deviations that the network has for them."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.laplace(0, 0.7, (SMALL.latents, height, width))).float()
    return values * torch.exp2(network.log2_sigma)[:, None, None]


def scaled(network: EntropyModel, y: torch.Tensor, level: int) -> np.ndarray:
    """(h, w, latents) in quantisation steps."""
    return (y * torch.exp2(network.log2_gain[level])[:, None, None]).permute(1, 2, 0).numpy()


def hyper_of(network: EntropyModel, y: torch.Tensor, level: int, model: ExactEntropyModel) -> np.ndarray:
    gain = torch.exp2(network.log2_gain[level])[:, None, None]
    z = torch.round(network.hyper_latents((y * gain)[None], torch.tensor([float(level)])))[0]
    bins = model.level(128 * level).hyper_bins
    return z.permute(1, 2, 0).numpy().astype(np.int32) * (bins >= SKIPPED_BINS)


def code(model: ExactEntropyModel, *given: Any) -> tuple[coding.TileEncoder, np.ndarray]:
    encoder = coding.TileEncoder(MODELS)
    scaled, hyper, step, *optional = given
    return encoder, coding.code(model, encoder, scaled, hyper, step, COSTS, *optional)


def test_every_latent_is_coded_once() -> None:
    for bands in (1, 3):
        config = ModelConfig(bands=bands)
        order = order_of_components(bands, np.random.default_rng(0).random(config.latents))
        np.testing.assert_array_equal(np.sort(order), np.arange(config.latents))
        for layer, part in enumerate(config.layers):
            v, u = np.divmod(order[part] % 256, 16)
            assert np.maximum(u, v).max() < (4, 8, 16)[layer]
            size = part.stop - part.start
            times = np.zeros((4, size), int)
            for number in range(PASSES[layer]):
                for position, group in enumerate(groups_of(layer, number, size)):
                    times[position, group] += 1
            assert (times == 1).all()


def test_integers_say_what_was_trained(trained: EntropyModel, model: ExactEntropyModel) -> None:
    tables = MODELS.tables
    for level in range(3):
        y = latents(trained, 16, 20, 40 + level)
        hyper = hyper_of(trained, y, level, model)
        encoder, decoded = code(model, scaled(trained, y, level), hyper, 128 * level)
        said = trained(y[None], torch.tensor([float(level)]))
        floating = 0.0
        for symbols, log2_scale in (said.residual, said.log2_scale), (said.hyper, said.hyper_log2_scale):
            bins = to_bins(torch.round(log2_scale * 2**LOG2_BITS).numpy()).ravel()
            floating += tables.bits(symbols.to(torch.int32).numpy().ravel() * (bins >= SKIPPED_BINS), bins)
        assert floating > 1000
        assert encoder.bits == pytest.approx(floating, rel=0.01)
        symbols = decoded[..., SMALL.layers[2]]
        same = symbols == said.residual[0, SMALL.layers[2]].permute(1, 2, 0).numpy()
        assert same.mean() > 0.99  # the others are in bins at the edge of those that are skipped


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    step=st.integers(0, 3 * 128),
    optimised=st.booleans(),
    shaped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_layers_come_back(
    trained: EntropyModel,
    model: ExactEntropyModel,
    size: tuple[int, int],
    step: int,
    optimised: bool,
    shaped: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    y = scaled(trained, latents(trained, *size, seed), 2)
    cost = np.full(SMALL.latents, 4.0, np.float32) if optimised else None
    there = rng.random((*size, SMALL.latents)) < 0.8 if shaped else None
    bins = model.level(step).hyper_bins
    hyper = rng.integers(-4, 5, (-(-size[0] // 4), -(-size[1] // 4), 8), np.int32) * (bins >= SKIPPED_BINS)
    encoder, decoded = code(model, y, hyper, step, cost, there)
    start = encoder.mark()
    bits = encoder.bits
    coding.code(model, encoder, y[::-1], hyper, step, COSTS, cost, there)
    assert encoder.bits == pytest.approx(bits + encoder.bits_from(start))
    both = encoder.finish()
    encoder.cut(start)
    assert encoder.bits == bits
    payload = encoder.finish()
    if there is not None:
        assert not decoded[~there].any()
    for layers in range(1, 4):
        expected = decoded.copy()
        expected[..., SMALL.layers[layers - 1].stop :] = 0
        front = payload[: sum(map(len, split_parts(payload, 3, layers))) + 2 * 9] if layers < 3 else payload
        (found,) = coding.decode(model, MODELS, front, step, size, 1, there, layers)
        np.testing.assert_array_equal(found, expected)
        found, _ = coding.decode(model, MODELS, both, step, size, 2, there, layers)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(CorruptDataError):
        coding.decode(model, MODELS, payload + b"\1\2\3\4", step, size, 1, there)


@pytest.mark.parametrize("share", [0, 0.01, 1])
def test_latents_that_nobody_expects_are_coded_where_that_pays(model: ExactEntropyModel, share: float) -> None:
    rng = np.random.default_rng(5)
    y = np.zeros((8, 8, SMALL.latents), np.float32)
    odd = rng.random(y.shape) < share
    odd[..., : SMALL.layers[2].start] = False
    y[odd] = rng.choice([-7, 5], odd.sum())
    hyper, cost = np.zeros((2, 2, 8), np.int32), np.full(SMALL.latents, 9.0, np.float32)
    _, plain = code(model, y, hyper, 0)
    encoder, decoded = code(model, y, hyper, 0, cost)
    (found,) = coding.decode(model, MODELS, encoder.finish(), 0, (8, 8))
    np.testing.assert_array_equal(found, decoded)
    assert (np.abs(plain - y).max() > rdoq.MOST_LEFT) == (share > 0)
    assert np.abs(decoded - y).max() <= rdoq.MOST_LEFT


def test_a_component_is_of_a_known_kind(model: ExactEntropyModel) -> None:
    for said in (-3, 2):
        encoder = coding.TileEncoder(MODELS)
        encoder.layers[0].push(np.array([said], np.int32), np.bincount([SKIPPED_BINS], minlength=SCALE_BINS))
        with pytest.raises(CorruptDataError, match=f"kind .* not {said}"):
            coding.decode(model, MODELS, encoder.finish(), 0, (4, 4))


def test_other_engines_agree(trained: EntropyModel, tensors: dict[str, np.ndarray], model: ExactEntropyModel) -> None:
    from learned_codec.models.engine.torch import Torch

    other = ExactEntropyModel(SMALL, tensors, Torch("cpu"))
    y = latents(trained, 13, 8, 7)
    hyper = hyper_of(trained, torch.nn.functional.pad(y, (0, 0, 0, 3)), 1, model)
    ours, theirs = (code(m, scaled(trained, y, 1), hyper, 128)[0].finish() for m in (model, other))
    assert ours == theirs


def test_sums_beyond_the_bound_are_refused(tensors: dict[str, np.ndarray]) -> None:
    for name in ("layers.0.1.enter", "layers.1.0.block.expand", "layers.2.0.leave", "hyper_synthesis.up1"):
        weight = np.full_like(tensors[f"{name}.weight"], 32767)
        with pytest.raises(WeightsError, match=name):
            ExactEntropyModel(SMALL, tensors | {f"{name}.weight": weight}, engine_for("cpu"))
    missing = {key: value for key, value in tensors.items() if not key.startswith("layers.2.0.leave")}
    with pytest.raises(WeightsError, match=r"lack .*layers\.2\.0\.leave"):
        ExactEntropyModel(SMALL, missing, engine_for("cpu"))
    short = tensors["layers.1.0.leave.weight"][:-1]
    with pytest.raises(WeightsError, match=r"layers\.1\.0\.leave should have"):
        ExactEntropyModel(SMALL, tensors | {"layers.1.0.leave.weight": short}, engine_for("cpu"))


@pytest.mark.parametrize("size", [(2, 3), (49, 5)])
def test_the_refinement_does_what_was_trained(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(inference, "MOST_BLOCKS", 20)  # so that the larger image is taken in parts
    torch.manual_seed(1)
    config = ModelConfig(
        bands=1, levels=3, refinement_width=8, refinement_blocks=3, refinement_inner=6, condition_width=4, adaptations=0
    )
    network = Refinement(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    network.level_scale.fill_(0.2)
    tensors = {f"refinement.{name}": tensor.numpy() for name, tensor in network.state_dict().items()}
    planes = torch.randn(1, 1, 16 * size[0], 16 * size[1]) * 0.3
    normalised = torch.randn(1, 256, *size) * 3
    expected = network(planes, normalised, torch.tensor([1.0]))[0].numpy()
    program = RefinementProgram(config, tensors, engine_for("cpu"))
    given = program.condition.values(normalised[0].permute(1, 2, 0).numpy(), network.cond_level[1].numpy())
    level = network.level_bias[1].numpy(), float(network.level_scale[1, 0])
    assert np.square(expected).mean() > 0.001
    for fine, tolerance in ((False, 0.02), (True, 1e-4)):  # not fine: bf16 where the processor has it
        found = program.correction(planes[0].numpy(), *level, given, fine=fine)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    inner = slice(16, 20), slice(8, 41)
    found = program.correction(planes[0].numpy(), *level, given, (), inner, fine=True)
    np.testing.assert_allclose(found, expected[:, *inner], atol=1e-4 * np.abs(expected).max())


def test_images_come_back_in_layers() -> None:
    """Networks that aren't trained still code images: better with every layer, and as in floating point."""
    torch.manual_seed(5)
    config = dataclasses.replace(SMALL, refinement_width=8, refinement_blocks=2, refinement_inner=6, condition_width=4)
    network = Network(config).eval().requires_grad_(False)
    y, x = np.mgrid[:96, :80].astype(np.float32)
    image = (0.5 + 0.2 * np.sin(x / 7 + y / 11) + 0.2 * np.cos(x * y / 150))[None]
    initialise(network, torch.from_numpy(image[None, :, :80]))
    for parameter in network.refinement.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    network.refinement.level_scale.fill_(-6)
    model = Model(export(network, [torch.from_numpy(image[:, :64, :64])]))
    found = model.analyse(image)
    np.testing.assert_allclose(network.analyse(torch.from_numpy(image)[None])[0].permute(1, 2, 0), found, atol=1e-5)
    finest = model.code(found, top_step(model.max_step))
    errors = []
    for factor in (4, 2, 1):
        (decoded,) = model.decode(finest.encoder.finish(), top_step(model.max_step), 6, 5, factor=factor)
        errors.append(np.square(model.synthesise(decoded, top_step(model.max_step), refined=False) - image).mean())
    np.testing.assert_array_equal(decoded, finest.decoded)
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2]
    decoded = model.code(found, 256).decoded
    expected = network.synthesise(torch.from_numpy(decoded).permute(2, 0, 1)[None], torch.tensor([2.0]))[0].numpy()
    assert np.abs(expected - model.synthesise(decoded, 256, refined=False)).max() > 0.001
    np.testing.assert_allclose(model.synthesise(decoded, 256, fine=True), expected, atol=1e-4)


def test_shapes_are_those_of_the_codec() -> None:
    """Where pixels are missing, the synthesis that is differentiated is still that of decoders."""
    rng = np.random.default_rng(2)
    transform = LappedTransform(3)
    shape = Shape.of(np.add.outer(np.arange(48), np.arange(64)).reshape(3, 16, 4, 16).transpose(0, 2, 1, 3) < 70)
    latents = rng.normal(size=(3, 4, 768)).astype(np.float32)
    found = transform.synthesise(torch.from_numpy(latents).permute(2, 0, 1)[None], shape)[0].numpy()
    np.testing.assert_allclose(found, transform.given().synthesise(latents, shape), atol=1e-4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_the_transform_is_that_of_training_wherever_pixels_are_missing(data: st.DataObject) -> None:
    bands, height, width = (data.draw(st.sampled_from(n)) for n in ((1, 3), range(1, 10), range(1, 6)))
    visible = np.ones((16 * height, 16 * width), bool)
    edges = [sorted(data.draw(st.lists(st.integers(0, 16 * n), min_size=2, max_size=2))) for n in (height, width)]
    visible[slice(*edges[0]), slice(*edges[1])] = False
    shape = Shape.of(visible.reshape(height, 16, width, 16).transpose(0, 2, 1, 3))
    trained = LappedTransform(bands)
    rng = np.random.default_rng(height)
    latents = rng.normal(size=(height, width, 256 * bands)).astype(np.float32)
    expected = trained.synthesise(torch.from_numpy(latents).permute(2, 0, 1)[None], shape)[0].detach().numpy()
    pixels = trained.given().synthesise(latents, shape)
    np.testing.assert_allclose(pixels, expected, atol=1e-4)
    seen = slice(None) if shape is None else shape.support
    back = trained.given().synthesise(trained.given().analyse(pixels + 0.5, shape), shape)
    np.testing.assert_allclose(back[:, seen], pixels[:, seen], atol=1e-4)
    if shape is None:
        analysed = trained.analyse(torch.from_numpy(pixels + 0.5)[None])[0].detach().permute(1, 2, 0)
        np.testing.assert_allclose(trained.given().analyse(pixels + 0.5), analysed, atol=1e-4)
