"""The networks, their configuration, their weights files and the models of the package."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import learned_codec
from learned_codec.dct import dct
from learned_codec.demo import landscape
from learned_codec.errors import InvalidInputError, UnknownModelError, WeightsError
from learned_codec.models import complexity, registry, weights
from learned_codec.models.block_transform import separable_basis
from learned_codec.models.config import BLOCK, HALO, PASSES, ModelConfig
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.lapping import SUPPORT
from learned_codec.models.layers import Lapping
from learned_codec.models.model import Model
from learned_codec.models.network import Network
from learned_codec.training.lapping_design import autocorrelation, initialise, pre_filter

SMALL = ModelConfig(
    levels=3,
    hyper_latents=8,
    context_width=8,
    widths=(16, 8, 8),
    refinement_width=8,
    refinement_blocks=1,
    refinement_inner=12,
    condition_width=4,
    adaptations=2,
)


def network() -> Network:
    torch.manual_seed(0)
    made = Network(SMALL)
    initialise(made, torch.rand(40, 3, 64, 64))
    return made.eval()


def test_at_first_the_codec_is_a_lapped_dct() -> None:
    made = network()
    transform = made.transform
    x = torch.rand(1, 3, 64, 64)
    filtered = transform.pre_filter(x - 0.5)
    blocks = filtered.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(3)
    basis = torch.from_numpy(separable_basis(3)).float().flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(768), atol=1e-5)
    forward = basis[transform.components] * transform.forward_factors[:, None]
    latents = made.analyse(x)
    assert torch.allclose(latents.permute(0, 2, 3, 1), blocks @ forward.T, atol=1e-4)
    assert torch.allclose(transform.forward_factors * transform.inverse_factors, torch.ones(768), atol=1e-5)
    decoded = made.synthesise(latents * torch.exp2(made.entropy.log2_gain[0])[:, None, None], torch.zeros(1))
    assert torch.allclose(decoded, x, atol=1e-4)
    # An error in a latent is as large in the pixels.
    errors = torch.zeros(16, 768, 3, 3)
    errors[torch.arange(16), torch.arange(0, 768, 48), 1, 1] = 1
    assert torch.allclose(transform.synthesise(errors).flatten(1).norm(dim=1), torch.ones(16), atol=1e-3)


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
    transform = torch.from_numpy(dct(BLOCK).copy())

    def gain(boundary: torch.Tensor) -> float:
        ends = torch.eye(8, dtype=torch.float64)
        whole = torch.block_diag(ends, boundary, boundary, ends)
        analysis, synthesis = transform @ whole[16:32], torch.linalg.inv(whole)[:, 16:32] @ transform.T
        return float(-10 * torch.log10(((analysis @ source) * analysis).sum(1) * synthesis.square().sum(0)).mean())

    assert gain(torch.eye(16, dtype=torch.float64)) == pytest.approx(9.455, abs=0.01)  # the DCT's, in every textbook
    assert 9.8 < gain(lapping[0].matrix) < 10 * np.log10(1 / (1 - 0.95**2))  # the bound of any transform


def test_the_dct_of_a_cosine() -> None:
    n = np.arange(16)
    assert np.allclose(dct(BLOCK) @ np.cos(np.pi / 16 * (n + 0.5) * 3), 8**0.5 * (n == 3))


def test_the_channel_groups_share_the_strong_components() -> None:
    made = network()
    for part, passes in zip(SMALL.layers, PASSES, strict=True):
        groups = made.entropy.log2_sigma[part].reshape(passes, -1)
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
    fixed = made.analyse(a)
    monkeypatch.setattr(made, "analyse", lambda _: fixed)
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


def test_each_latent_is_coded_in_exactly_one_pass() -> None:
    like = torch.zeros(1, SMALL.latents, 5, 6)
    turns = EntropyModel(SMALL).passes()
    masks = [turn.mask(like) for turn in turns]
    assert (torch.cat([turn.placed(mask, like) for turn, mask in zip(turns, masks, strict=True)]).sum(0) == 1).all()
    # In every pass, each 2x2 neighbourhood codes the same share of its latents.
    for (layer, _, _), mask in zip(SMALL.passes(), masks, strict=True):
        found = mask[:, :, :4, :6].unfold(2, 2, 2).unfold(3, 2, 2).sum((1, 4, 5))
        assert (found == 4 * mask.shape[1] / PASSES[layer]).all()


def test_decoders_stay_within_the_budget() -> None:
    for card in learned_codec.list_models():
        assert complexity.decoder_kmac_per_pixel(card.name) <= 8


def test_multiplications_are_those_of_the_layers() -> None:
    """Those of the network's convolutions, counted while it runs."""
    made, size, counted = network(), 128, dict[str, float]()

    def counting(name: str) -> Any:
        def hook(module: torch.nn.Conv2d, _: Any, output: torch.Tensor) -> None:
            share = 1.0
            if (found := re.fullmatch(r"entropy\.layers\.(\d)\.\d\.leave", name)) is not None:
                share = 1 / PASSES[int(found[1])]  # coding computes only the channels of each position
            counted[name] = output.numel() * module.weight[0].numel() * share / size**2 / 1000

        return hook

    for name, module in made.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(counting(name))
    with torch.inference_mode():
        made(torch.zeros(1, 3, size, size), torch.zeros(1))

    def total(*prefixes: str) -> float:
        return sum(value for name, value in counted.items() if name.startswith(prefixes))

    said = complexity.count(SMALL)
    assert said.hyper_analysis == pytest.approx(total("entropy.hyper_analysis."))
    assert said.entropy_parameters == pytest.approx(total("entropy.hyper_synthesis.", "entropy.layers."))
    modulation = 3 * SMALL.refinement_width * SMALL.refinement_blocks / 16
    assert said.synthesis - said.analysis == pytest.approx(total("refinement."), abs=modulation / 1000)
    assert said.analysis == pytest.approx(3 * (2 * 16 + 2 * 16 + 3) / 1000)  # DCT, lapped filter, axes of colour


def test_the_refinement_is_at_work() -> None:
    """A model whose network was cut off in training would be a linear transform, and nothing else would tell."""
    pixels = landscape(192, 256).transpose(2, 0, 1).astype(np.float32) / 255

    def error(model: Model) -> float:
        own = pixels[: model.config.bands]
        decoded = model.code(model.analyse(own), 384).decoded
        return float(np.square(model.synthesise(decoded, 384) - own).mean())

    for card in learned_codec.list_models():
        whole = registry.weights_of(card)
        leave = {key: 0 * value for key, value in whole.tensors.items() if "refinement.leave." in key}
        assert leave
        crippled = replace(whole, tensors=dict(whole.tensors) | leave)
        assert error(Model(crippled)) > 1.01 * error(Model(whole))


def test_the_halo_is_the_reach_of_the_synthesis() -> None:
    torch.manual_seed(1)
    made = Network(replace(SMALL, refinement_blocks=9)).eval()
    for layer in (made.refinement.leave, made.refinement.cond_leave):
        torch.nn.init.normal_(layer.weight)
    made.transform.post_filter.matrix = pre_filter(0.95 ** torch.arange(SUPPORT)).float()
    latents = torch.randn(1, SMALL.latents, 2 * HALO + 3, 3)

    def block(first_other: int) -> torch.Tensor:
        """What becomes of the block in the middle if all rows from one on are others."""
        given = latents.clone()
        given[:, :, first_other:] *= -2
        with torch.no_grad():
            return made.synthesise(given, torch.zeros(1))[:, :, HALO * BLOCK : (HALO + 1) * BLOCK]

    assert torch.equal(block(2 * HALO + 1), block(2 * HALO + 3))
    assert not torch.equal(block(2 * HALO), block(2 * HALO + 3))
    with pytest.raises(ValueError, match="at most 9"):
        replace(SMALL, refinement_blocks=10)


def test_configurations_round_trip_and_refuse_what_they_do_not_know() -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL
    with pytest.raises(ValueError, match="colour"):
        ModelConfig.from_dict({"colour": "red"})
    with pytest.raises(ValueError, match="2 quality levels"):
        ModelConfig(levels=1)
    with pytest.raises(ValueError, match="3 widths"):
        ModelConfig.from_dict({"widths": [8, 8]})


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
    for name in (7, b"rgb-2", None):
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
