"""The networks, their configuration, their weights files and the models of the package."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import learned_codec
from learned_codec.demo import landscape
from learned_codec.errors import InvalidInputError, UnknownModelError, WeightsError
from learned_codec.models import complexity, registry, weights
from learned_codec.models.base import BaseModel
from learned_codec.models.build import model_of
from learned_codec.models.config import BLOCK, HALO, ModelConfig
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.lapping import SUPPORT, dct
from learned_codec.models.layers import Lapping
from learned_codec.models.network import Network
from learned_codec.models.transforms import Synthesis, separable_basis
from learned_codec.training.lapping_design import autocorrelation, initialise, pre_filter

SMALL = ModelConfig(
    latents=16,
    refinement_width=8,
    refinement_blocks=1,
    hyper_latents=8,
    context_width=8,
    levels=3,
)


def network() -> Network:
    torch.manual_seed(0)
    made = Network(SMALL)
    initialise(made, torch.rand(40, 3, 64, 64))
    return made.eval()


def test_at_first_the_codec_is_a_lapped_dct() -> None:
    made = network()
    x = torch.rand(1, 3, 64, 64)
    filtered = made.analysis.pre_filter(x - 0.5)
    blocks = filtered.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(3)
    forward, back = (part.skeleton.weight.flatten(1) for part in (made.analysis, made.synthesis))
    assert torch.allclose(made.analysis(x).permute(0, 2, 3, 1), blocks @ forward.T, atol=1e-4)
    assert torch.allclose(forward @ back.T, torch.eye(16), atol=1e-4)
    basis = separable_basis(3).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(768), atol=1e-5)
    directions = torch.nn.functional.normalize(back, dim=1)
    assert torch.allclose((directions @ basis.T).abs().amax(1), torch.ones(16), atol=1e-5)
    # An error in a latent is as large in the pixels.
    errors = torch.eye(16)[:, :, None, None] * torch.nn.functional.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1))
    planes = made.synthesis(errors, torch.zeros(16, 8, 1, 1), torch.zeros(16, 1, 1, 1)) - 0.5
    assert torch.allclose(planes.flatten(1).norm(dim=1), torch.ones(16), atol=1e-3)


@pytest.fixture(scope="module")
def lapping() -> tuple[Lapping, Lapping]:
    """A pre-filter and its post-filter, in double precision."""
    before, after = Lapping(), Lapping()
    before.matrix = pre_filter(0.95 ** torch.arange(SUPPORT))
    after.matrix = torch.linalg.inv(before.matrix)
    return before, after


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), bands=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_post_filter_undoes_the_pre_filter(
    lapping: tuple[Lapping, Lapping], rows: int, columns: int, bands: int, seed: int
) -> None:
    before, after = lapping
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, bands, 16 * rows, 16 * columns, dtype=torch.float64, generator=generator)
    filtered = before(x.clone())
    assert rows == columns == 1 or not torch.allclose(filtered, x)
    assert torch.allclose(after(filtered), x)


def test_lapping_gains_what_the_literature_says(lapping: tuple[Lapping, Lapping]) -> None:
    """Coding gain on the usual model of pixels, a first-order process with correlation 0.95."""
    source = 0.95 ** (torch.arange(SUPPORT)[:, None] - torch.arange(SUPPORT)).abs().double()
    transform = torch.from_numpy(dct().copy())

    def gain(boundary: torch.Tensor) -> float:
        ends = torch.eye(8, dtype=torch.float64)
        whole = torch.block_diag(ends, boundary, boundary, ends)
        analysis, synthesis = transform @ whole[16:32], torch.linalg.inv(whole)[:, 16:32] @ transform.T
        return float(-10 * torch.log10(((analysis @ source) * analysis).sum(1) * synthesis.square().sum(0)).mean())

    assert gain(torch.eye(16, dtype=torch.float64)) == pytest.approx(9.455, abs=0.01)  # the DCT's, in every textbook
    assert 9.8 < gain(lapping[0].matrix) < 10 * np.log10(1 / (1 - 0.95**2))  # the bound of any transform


def test_the_dct_of_a_cosine() -> None:
    n = np.arange(16)
    assert np.allclose(dct() @ np.cos(np.pi / 16 * (n + 0.5) * 3), 8**0.5 * (n == 3))


def test_the_channel_groups_share_the_strong_components() -> None:
    groups = network().entropy.log2_sigma.reshape(4, -1)
    assert (groups.diff(dim=1) <= 0).all()
    assert (groups[:-1, 1:] <= groups[1:, :-1]).all()


def test_the_autocorrelation_of_a_ramp() -> None:
    ramp = torch.arange(float(SUPPORT)).expand(1, 1, SUPPORT, SUPPORT)
    # Rows are the ramp itself, columns constants: at lag 1 the means of n(n+1) and of n^2.
    n = np.arange(SUPPORT)
    expected = (np.mean(n[:-1] * n[1:]) + np.mean(n**2)) / 2
    assert float(autocorrelation(ramp)[1]) == pytest.approx(expected)


def test_nothing_but_the_latents_passes_to_the_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network()
    level = torch.tensor([1.3])
    a, b = torch.rand(2, 1, 3, 64, 128).unbind()
    assert not torch.equal(made(a, level).image, made(b, level).image)
    fixed = made.analysis(a)
    monkeypatch.setattr(made.analysis, "forward", lambda _: fixed)
    assert torch.equal(made(a, level).image, made(b, level).image)


def test_every_parameter_learns() -> None:
    made = network().train()
    with torch.no_grad():  # leave the zeros of the start, which hold gradients back
        for parameter in made.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    output = made(torch.rand(4, 3, 64, 64), torch.tensor([0.0, 0.7, 1.5, 2.0]))
    (output.image.square().mean() + (output.latent_bits + output.hyper_bits).mean() / 64**2).backward()
    learning = {n: p for n, p in made.named_parameters() if p.requires_grad}
    without = [n for n, p in learning.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_each_latent_is_coded_in_exactly_one_step() -> None:
    like = torch.zeros(1, 16, 5, 6)
    masks = torch.cat([turn.mask(like) for turn in EntropyModel(replace(SMALL, latents=16)).passes()])
    assert (masks.sum(0) == 1).all()
    # In every step, each 2x2 neighbourhood codes a quarter of its latents.
    assert (masks[:, :, :4, :6].unfold(2, 2, 2).unfold(3, 2, 2).sum((1, 4, 5)) == 16).all()


def test_decoders_stay_within_the_budget() -> None:
    for card in learned_codec.list_models():
        assert complexity.decoder_kmac_per_pixel(card.name) <= 20
    counted = complexity.count(SMALL)
    by_hand = 16 * 768 / 256 + 2 * 16 * 3  # skeleton and post-filter
    by_hand += 48 * 8 / 16 + (9 * 8 + 2 * 8 * 16) / 16 + 8 * 48 / 16  # 1/4: enter, block, leave
    assert counted.synthesis == pytest.approx(by_hand / 1000)


def test_the_refinement_is_at_work() -> None:
    """A model whose network was cut off in training would be a linear transform, and nothing else would tell."""
    pixels = landscape(192, 256).transpose(2, 0, 1).astype(np.float32) / 255

    def error(model: BaseModel) -> float:
        own = pixels[: model.config.bands]
        decoded = model.code(model.analyse(own), 384).decoded
        return float(np.square(model.synthesise(decoded, 384) - own).mean())

    for card in learned_codec.list_models():
        whole = registry.weights_of(card)
        leave = {key: 0 * value for key, value in whole.tensors.items() if ".refinement.leave." in key}
        assert leave
        crippled = replace(whole, tensors=dict(whole.tensors) | leave)
        assert error(model_of(crippled)) > 1.01 * error(model_of(whole))


def test_the_halo_is_the_reach_of_the_synthesis() -> None:
    torch.manual_seed(1)
    config = replace(SMALL, refinement_blocks=10)
    synthesis = Synthesis(config)
    torch.nn.init.normal_(synthesis.refinement.leave.weight)
    synthesis.post_filter.matrix = pre_filter(0.95 ** torch.arange(SUPPORT)).float()
    latents, bias, scale = torch.randn(1, 16, 2 * HALO + 3, 3), torch.zeros(1, 8, 1, 1), torch.zeros(1, 1, 1, 1)
    with torch.no_grad():
        whole = synthesis(latents, bias, scale)
        cut = synthesis(latents[:, :, : 2 * HALO + 1], bias, scale)
        block = slice(HALO * BLOCK, (HALO + 1) * BLOCK)
        assert torch.allclose(whole[:, :, block], cut[:, :, block], atol=1e-5)
        less = synthesis(latents[:, :, : HALO + 2], bias, scale)
        assert not torch.allclose(whole[:, :, block], less[:, :, block], atol=1e-5)
    with pytest.raises(ValueError, match="at most 10"):
        replace(SMALL, refinement_blocks=11)


def test_configurations_round_trip_and_refuse_what_they_do_not_know() -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL
    with pytest.raises(ValueError, match="colour"):
        ModelConfig.from_dict({"colour": "red"})
    with pytest.raises(ValueError, match="multiple of 4"):
        ModelConfig(latents=10)


def test_weights_files_round_trip_to_the_same_bytes() -> None:
    tensors = {"transforms.a": np.arange(6, dtype=np.float16), "exact.b": np.arange(4, dtype=np.int16)}
    data = weights.to_bytes(SMALL, tensors)
    assert data == weights.to_bytes(SMALL, dict(reversed(tensors.items())))
    found = weights.from_bytes(data, "test")
    assert found.config == SMALL
    assert np.array_equal(found.part("exact")["b"], tensors["exact.b"])
    with pytest.raises(WeightsError, match="counts"):
        found.scale_tables()


@pytest.mark.parametrize("data", [b"", b"12345678", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_foreign_files_are_not_weights(data: bytes) -> None:
    with pytest.raises(WeightsError, match="somewhere"):
        weights.from_bytes(data, "somewhere")


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="absent"):
        weights.read(tmp_path / "absent")


def test_the_registry_knows_its_models() -> None:
    cards = learned_codec.list_models()
    for card in cards:
        assert registry.by_name(card.name) is card
        assert registry.by_id(bytes.fromhex(card.weights_id)) is card
        assert registry.load(card.name).id.hex() == card.weights_id
        figures = {"kodak"} if card.bands == 3 else {"sar_test", "optical_test"}
        assert {"recipe", "data", "steps", "hours", "machine", "date", "known_faults", *figures} <= set(card.to_dict())
    with pytest.raises(UnknownModelError, match=cards[0].name):
        registry.default(17)
    for name in (7, b"rgb-1", None):
        with pytest.raises(InvalidInputError, match="must be a name or a path"):
            registry.by_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("card", learned_codec.list_models(), ids=lambda card: card.name)
def test_flat_areas_show_no_pattern_of_blocks(card: registry.ModelCard) -> None:
    """Errors in the means of latents that are all too small to be coded would add up in the corners of blocks."""
    model = registry.load(card.name)
    y = model.analyse(np.full((card.bands, 160, 160), 0.3, np.float32))
    for step in (0, 128):
        pixels = model.synthesise(model.code(y, step).decoded, step)[:, 32:128, 32:128]
        phases = pixels.reshape(card.bands, 6, 16, 6, 16).mean((1, 3))
        assert np.abs(phases - phases.mean((1, 2), keepdims=True)).max() < 0.006  # 1.5 of 255 levels
