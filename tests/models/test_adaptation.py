"""The refinement's adaptation to one image: fitted with effort, a few bytes of HEAD, the pixels that it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream.payload import join_adaptation, split_adaptation
from learned_codec.demo import landscape
from learned_codec.errors import CorruptDataError
from learned_codec.models import registry
from learned_codec.models.adaptation import MOST, Moments
from learned_codec.models.config import ModelConfig
from learned_codec.models.model import Model
from learned_codec.models.network import Network
from learned_codec.training import adaptations, export
from learned_codec.training.lapping_design import initialise


def with_adaptation(data: bytes, adaptation: bytes) -> bytes:
    """The same file with another adaptation in its head."""
    container = bitstream.read(data)
    tiles = [bytes(container.tile(i)) for i in range(len(container.tiles))]
    header = replace(container.header, adaptation=adaptation)
    return bitstream.write(header, tiles, metadata=container.metadata, mask=container.mask)


def error(image: np.ndarray, data: bytes) -> float:
    return float(np.square(image.astype(float) - learned_codec.decode(data)).mean())


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return landscape(320, 416, seed=5)


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}])
def test_it_pays_for_its_bytes(picture: np.ndarray, options: dict[str, int]) -> None:
    data = learned_codec.encode(picture, quality=60, effort=1, **options)
    adaptation = bitstream.read(data).header.adaptation
    assert 1 < len(adaptation) <= 17
    assert adaptation[0] == len(adaptation) - 1
    plain = with_adaptation(data, b"")
    assert 0 < len(data) - len(plain) == len(adaptation) + 1
    config = registry.load("rgb-2").config
    worth = config.lagrangian(59 / 99 * (config.levels - 1)) * picture[..., 0].size
    saved = worth * (error(picture, plain) - error(picture, data))
    assert saved > 8 * adaptation[0]
    # No other amounts are much better: half of all, or twice as much, is worse.
    for factor in (0.5, 2):
        amounts = np.frombuffer(adaptation[1:], np.int8) * factor
        other = join_adaptation([np.trim_zeros(amounts.round().astype(int), "b").tolist()])
        assert error(picture, with_adaptation(data, other)) > error(picture, data)


def test_a_single_pass_has_none(picture: np.ndarray) -> None:
    assert bitstream.read(learned_codec.encode(picture, quality=60)).header.adaptation == b""


def test_each_component_has_its_own() -> None:
    image = landscape(96, 96)[..., [0, 1, 2, 0]].astype(np.uint16) * 64
    image[..., 3] = image[::-1, :, 1]
    data = learned_codec.encode(image, quality=60)
    amounts = [[], [20, -30], [], [40]]
    header = replace(bitstream.read(data).header, adaptation=join_adaptation(amounts))
    assert header.adaptation == b"\0\2\x14\xe2\0\1\x28"
    plain, both, first = (
        learned_codec.decode(with_adaptation(data, join_adaptation(found))).astype(int)
        for found in ([], amounts, amounts[:2])
    )
    assert not np.array_equal(plain, first)
    assert not np.array_equal(first, both)


def test_windows_see_it(picture: np.ndarray) -> None:
    data = learned_codec.encode(picture, quality=60, effort=1, tile_size=128)
    whole = learned_codec.decode(data).astype(int)
    with learned_codec.open(data) as reader:
        part = reader.read(window=(100, 90, 150, 210)).astype(int)
    assert np.abs(part - whole[100:250, 90:300]).max() <= 1
    assert not np.array_equal(learned_codec.decode(with_adaptation(data, b"")), whole)


@pytest.mark.parametrize("adaptation", [b"\x11" + b"\1" * 17, b"\2\1", b"\1\1\1\1"])
def test_wrong_adaptations_are_corrupt(picture: np.ndarray, adaptation: bytes) -> None:
    data = with_adaptation(learned_codec.encode(picture[:64, :64], quality=60), adaptation)
    with pytest.raises(CorruptDataError, match=f"an adaptation of {len(adaptation)} bytes doesn.t fit 1 components"):
        learned_codec.decode(data)


@given(st.integers(1, 5), st.integers(1, 20), st.data())
def test_bytes_of_a_header(components: int, most: int, data: st.DataObject) -> None:
    each = st.lists(st.integers(-MOST, MOST), max_size=most).filter(lambda amounts: not amounts or amounts[-1] != 0)
    amounts = data.draw(st.lists(each, min_size=components, max_size=components))
    joined = join_adaptation(amounts)
    assert not joined.endswith(b"\0")
    assert split_adaptation(joined, most, components) == amounts


@given(st.binary(max_size=60), st.integers(1, 20), st.integers(1, 5))
def test_any_bytes_are_an_adaptation_or_our_error(data: bytes, most: int, components: int) -> None:
    try:
        found = split_adaptation(data, most, components)
    except CorruptDataError:
        return
    assert len(found) == components
    assert max(map(len, found)) <= most


def small_model() -> tuple[Network, list[torch.Tensor]]:
    """A small network whose refinement says something, and pictures."""
    torch.manual_seed(0)
    config = ModelConfig(
        levels=3,
        hyper_latents=8,
        context_width=8,
        widths=(16, 8, 8),
        refinement_width=8,
        refinement_blocks=1,
        condition_width=8,
        adaptations=4,
    )
    network = Network(config)
    pictures = [torch.from_numpy(landscape(128, 128, seed=i).copy()).permute(2, 0, 1) / 255 for i in range(24)]
    initialise(network, torch.stack(pictures))
    torch.nn.init.normal_(network.refinement.leave.weight, std=0.02)
    return network.eval(), pictures


def test_principal_adaptations_are_what_images_want() -> None:
    network, pictures = small_model()
    exported = export.adapted(export.export(network, pictures[:2]), pictures)
    model = Model(exported)
    changes = model.refinement.adaptations
    assert changes.shape == (4, 48, 8)

    def gain(model: Model) -> float:
        """How much less error the amounts of each picture leave, relative to none."""
        left = []
        for picture in pictures[:6]:
            latents = model.analyse(picture.numpy())
            decoded = model.code(latents, 200).decoded
            moments = Moments.none(model)
            moments.add(model, latents, decoded, 200)
            amounts = moments.fit(model, 200)
            original = model.linear(latents) + 0.5
            errors = [np.square(original - model.synthesise(decoded, 200, a)).sum() for a in ([], amounts)]
            assert errors[0] == pytest.approx(moments.energy, rel=1e-3)
            left.append(errors[1] / errors[0])
        return 1 - float(np.mean(left))

    found = gain(model)
    assert found > 0.01
    changes[:] = np.random.default_rng(1).standard_normal(changes.shape) * changes.std()
    assert gain(model) < found


def test_nothing_to_adapt() -> None:
    network, pictures = small_model()
    model = Model(export.export(network, pictures[:2]))  # its adaptations are all zero
    latents = model.analyse(pictures[0].numpy())
    moments = Moments.none(model)
    assert moments.fit(model, 0) == []
    moments.add(model, latents, model.code(latents, 0).decoded, 0)
    assert moments.fit(model, 0) == []
    assert adaptations.principal(model, []) is None
    flat = np.full((64, 64, 3), 99, np.uint8)
    assert bitstream.read(learned_codec.encode(flat, quality=30, effort=1)).header.adaptation == b""
