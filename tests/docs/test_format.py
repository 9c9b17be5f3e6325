"""docs/format.md says what is so: its examples come out as they say, and its tables list all there is."""

import re
import zlib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from learned_codec.bitstream import varint
from learned_codec.entropy import SKIPPED_BINS, CoderModels, Encoder, Runs, gaussian_tables
from learned_codec.models import weights
from learned_codec.models.config import ModelConfig
from learned_codec.models.layered.config import LayeredConfig
from learned_codec.raster import metadata
from tests.independent.container import Bytes, plane
from tests.independent.latents import ESCAPE, EntropyDecoder

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
TABLES = gaussian_tables()


def example(name: str) -> str:
    return TEXT.split(f"<!-- {name} -->")[1].split("```")[1].strip()


def boundaries(scale_bin: int) -> list[int]:
    """ "Scale bins": L_k from the counts."""
    counts = TABLES.table(scale_bin).tolist()
    n, found, below = len(counts), [], 0
    for k, count in enumerate(counts):
        found.append((below * (2**24 - n) >> 18) + k)
        below += count
    return [*found, 2**24]


@pytest.mark.parametrize("seed", range(4))
def test_a_decoder_written_from_the_document_reads_a_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 70, 800).astype(np.uint8)
    symbols = np.round(rng.normal(0, 2 ** (-3.25 + bins / 8))).astype(np.int32)
    symbols[rng.integers(0, 800, 5)] = rng.integers(-30000, 30000, 5)  # some escapes
    symbols[bins < SKIPPED_BINS] = 0
    encoder = Encoder(CoderModels(TABLES))
    runs = Runs.of(bins)
    encoder.push(symbols[runs.order], runs.counts)

    decoder, found, escapes = EntropyDecoder(encoder.finish()), np.zeros(800, int), []
    for i in sorted(range(800), key=lambda i: bins[i]):
        if bins[i] >= SKIPPED_BINS:
            reach = int(TABLES.reaches[bins[i]])
            letter = decoder.read(boundaries(bins[i]))
            found[i] = letter - reach
            if letter == 2 * reach + 1:
                escapes.append(i)
    for i in escapes:
        found[i] = decoder.read(ESCAPE) - 32767
    assert (found == symbols).all()
    assert decoder.state == 0
    assert decoder.words == []


def test_the_example_of_a_payload() -> None:
    *lines, last = [line.split() for line in example("payload").splitlines()[1:]]
    decoder = EntropyDecoder(bytes.fromhex("00 00 60 d4 16"))
    for state, q, letter in lines:
        assert (decoder.state, decoder.state % 2**24) == (int(state, 16), int(q, 16))
        assert decoder.read([0, 6 << 20, 14 << 20, 15 << 20, 1 << 24]) == int(letter)
    assert (decoder.state, decoder.words, last) == (0, [], ["0"])


def test_the_example_of_a_mask() -> None:
    rows = example("mask").splitlines()
    expected = np.array([[255 if character == "#" else 0 for character in row] for row in rows])
    numbers = b"".join(varint.encode(int(number)) for number in example("regions").split())
    stream = zlib.compress(numbers)
    data = bytes([3, 0, 255]) + bytes.fromhex(example("specks")) + varint.encode(len(stream)) + stream
    np.testing.assert_array_equal(plane(Bytes(data), *expected.shape), expected)


def table_after(sentence: str) -> list[list[str]]:
    """The cells of the table behind a sentence."""
    assert sentence in TEXT
    lines = TEXT.split(sentence)[1].lstrip().splitlines()
    lines = [line for line in lines if line.strip()]
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:end]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_setting_of_a_model_is_listed() -> None:
    rows = table_after("and `config`, which has all of these:")
    assert sorted(name for row in rows for name in names(row[0])) == sorted(f.name for f in fields(ModelConfig))


def test_every_setting_of_a_model_in_layers_is_listed() -> None:
    first = table_after("and `config`, which has all of these:")
    rows = table_after("Their `config` has, in place of `latents`,")
    listed = {name for row in [*first, *rows] for name in names(row[0])} - {"latents"}
    assert listed == {f.name for f in fields(LayeredConfig)}


@pytest.mark.torch
def test_every_tensor_of_a_model_in_layers_is_listed() -> None:
    """By name, those that its decoder takes beside the ones that all models have."""
    from learned_codec.models.layered.network import ConditionedRefinement

    rows = table_after("and they have these tensors in place of the exact `steps` and of all `transforms`:")
    said = " ".join(row[0] for row in rows)
    config = LayeredConfig()
    for name in config.exact_layers():
        part = re.sub(r"layers\.\d\.\d", "layers.L.t", name)
        if part.startswith("layers."):
            assert part in said or f".{part.rpartition('.')[2]}.weight" in said, name
    for name in ConditionedRefinement(config).state_dict():
        stem = re.sub(r"blocks\.\d+", "blocks.N", name).removesuffix(".weight").removesuffix(".bias")
        if stem not in ("level_bias", "level_scale", "cond_level"):  # tables of `levels`
            head, _, last = stem.rpartition(".")
            apart = f"{head}.NAME` for" in said and f"`{last}`" in said
            assert f"`{stem}`" in said or f"{stem}.weight" in said or apart, name


def test_every_name_of_metadata_is_listed() -> None:
    rows = table_after("All of these may be missing:")
    listed = {name for row in rows for name in names(row[0])}
    known = {
        name
        for line in re.findall(r"^    ([a-z_][a-z_, ]*?)  +\S", metadata.__doc__ or "", re.M)
        for name in line.split(", ")
    }
    assert known >= {"crs", "gcps", "colormap"}
    assert listed == known | {"nodata", "chunk"}  # which the codec and an integration add


@pytest.mark.parametrize("name", ["rgb-1", "mono-1"])
def test_every_tensor_is_listed_with_its_type_and_shape(name: str) -> None:
    data = (resources.files("learned_codec") / "models" / "weights" / f"{name}.safetensors").read_bytes()
    found = weights.from_bytes(data, name)
    c = found.config
    sizes = {"M": c.latents, "Z": c.hyper_latents, "h": c.context_width, "R": c.refinement_width, "B": c.bands}
    sizes |= {"A": c.adaptations, "levels": c.levels}

    def size(text: str) -> int:
        if text == "(h + 2M)":
            return c.context_width + 2 * c.latents
        factor, letters = re.fullmatch(r"(\d*)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
        return int(factor or 1) * (sizes[letters] if letters else 1)

    layers = {}
    for row in table_after("The exact layers are these, where T is 0 to 3:"):
        for layer, shape in zip(names(row[0]), (row[1].split(", ") * 2), strict=False):
            layers[layer] = tuple(size(part) for part in shape.split(" × "))
    patterns: dict[str, tuple[str, tuple[int, ...] | None]] = {}
    for row in table_after("Tensors are little-endian and in C order. A decoder needs these:"):
        listed = names(row[0])
        types, shapes = row[1].split(", "), row[2].split(", ")
        for number, tensor in enumerate(listed):
            tensor = listed[0].removesuffix("weight") + "bias" if tensor == ".bias" else tensor
            dtype, shape = types[min(number, len(types) - 1)], shapes[min(number, len(shapes) - 1)]
            known = not re.search(r"below|outputs|Σ|93", shape)
            patterns[tensor] = dtype, tuple(size(part) for part in shape.split(" × ")) if known else None
    encoders = r"transforms\.(hyper_)?analysis\..*|levels\.(log2_sigma|hyper_gain|hyper_bias)|training\..*"
    seen = set()
    for tensor, values in found.tensors.items():
        if re.fullmatch(encoders, tensor):
            continue
        if tensor.startswith("exact.") and not tensor.startswith("exact.tables"):
            layer, part = tensor.removeprefix("exact.").rsplit(".", 1)
            if layer not in layers:
                layer = re.sub(r"steps\.\d", "steps.T", layer)
            expected = layers[layer] if part == "weight" else layers[layer][:1]
            dtype = patterns[f"exact.LAYER.{part}"][0]
            seen |= {f"exact.LAYER.{part}", layer}
        else:
            pattern = re.sub(r"blocks\.\d+", "blocks.N", tensor)
            dtype, expected = patterns[pattern]  # type: ignore[assignment]
            seen.add(pattern)
        assert values.dtype.name == dtype, tensor
        assert expected is None or values.shape == expected, tensor
    assert seen == patterns.keys() | layers.keys()
