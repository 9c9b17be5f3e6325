"""docs/format.md says what is so: its examples come out as they say, and its tables list all there is."""

import math
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


@pytest.mark.parametrize("name", ["rgb-2", "mono-2"])
def test_every_tensor_is_listed_with_its_type_and_shape(name: str) -> None:
    data = (resources.files("learned_codec") / "models" / "weights" / f"{name}.safetensors").read_bytes()
    found = weights.from_bytes(data, name)
    c = found.config
    sizes = {"M": c.latents, "Z": c.hyper_latents, "h": c.context_width, "R": c.refinement_width, "B": c.bands}
    sizes |= {"A": c.adaptations, "levels": c.levels, "I": c.refinement_inner, "k": c.condition_width}
    sizes |= {"N": c.refinement_blocks}

    def size(text: str) -> int:
        factors = [re.fullmatch(r"(\d*)([A-Za-z]*)", factor) for factor in text.split(" · ")]
        return math.prod(int(f[1] or 1) * (sizes[f[2]] if f[2] else 1) for f in factors if f is not None)

    def shape_of(text: str) -> tuple[int, ...]:
        return tuple(size(part) for part in text.split(" × "))

    patterns: dict[str, tuple[str, tuple[int, ...] | None]] = {}
    for row in table_after("Tensors are little-endian and in C order. A decoder needs these:"):
        listed = names(row[0])
        types, shapes = row[1].split(", "), row[2].split(", ")
        for number, tensor in enumerate(listed):
            tensor = listed[0].removesuffix("weight") + "bias" if tensor == ".bias" else tensor
            dtype, shape = types[min(number, len(types) - 1)], shapes[min(number, len(shapes) - 1)]
            known = not re.search(r"below|outputs|Σ|93", shape)
            patterns[tensor] = dtype, shape_of(shape) if known else None
    layers: dict[str, str] = {}
    for row in table_after("The exact layers are these, where L.t is each layer and pass:"):
        layers |= dict(zip(names(row[0]), row[1].split(", ") * 2, strict=False))
    known = {(0, 0): 0, (0, 1): 32, (0, 2): 32, (0, 3): 32, (1, 0): 16, (1, 1): 64, (2, 0): 64}
    encoders = r"transforms\.(forward|pre_filter|hyper_analysis\..*)|levels\.(hyper_gain|hyper_bias)|training\..*"
    seen = set()
    for tensor, values in found.tensors.items():
        if re.fullmatch(encoders, tensor):
            continue
        if tensor.startswith("exact.") and not tensor.startswith("exact.tables"):
            layer, part = tensor.removeprefix("exact.").rsplit(".", 1)
            if (turn := re.match(r"layers\.(\d)\.(\d)", layer)) is not None:
                number = int(turn[1])
                sizes["w"], sizes["C"] = c.widths[number], (16 * c.bands, 48 * c.bands, 192 * c.bands)[number]
                sizes["K"] = known[number, int(turn[2])] * c.bands
                sizes["S"] = sizes["C"] * (2 if number == 0 else 1)
                layer = re.sub(r"layers\.\d\.\d", "layers.L.t", layer)
            text = layers[layer].replace("(h + K)", str(sizes["h"] + sizes.get("K", 0)))
            expected: tuple[int, ...] | None = shape_of(text)
            expected = expected if part == "weight" else expected[:1] if expected else None
            dtype = patterns[f"exact.LAYER.{part}"][0]
            seen |= {f"exact.LAYER.{part}", layer}
        else:
            pattern = re.sub(r"blocks\.\d+", "blocks.N", tensor)
            dtype, expected = patterns[pattern]
            seen.add(pattern)
        assert values.dtype.name == dtype, tensor
        assert expected is None or values.shape == expected, tensor
    assert seen == patterns.keys() | layers.keys()
