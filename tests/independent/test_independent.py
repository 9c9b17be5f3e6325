"""The second decoder reads what the first wrote: the golden files, their symbols and latents exactly."""

import base64
import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learned_codec
from learned_codec import bitstream, selftest
from learned_codec.codec import encode_source
from learned_codec.models.model import Model
from learned_codec.values.arrays import ArraySource
from tests.independent.container import Bytes, components, crc32c, parse, plane, side
from tests.independent.latents import ModelFile, decode, decoded

GOLDEN = Path(__file__).parents[1] / "golden"
WEIGHTS = resources.files("learned_codec") / "models" / "weights"


@pytest.fixture(scope="module")
def models() -> dict[bytes, ModelFile]:
    """By weights id, from the files of the package."""
    found = [path.read_bytes() for path in WEIGHTS.iterdir() if path.name.endswith(".safetensors")]
    return {hashlib.sha256(data).digest()[:8]: ModelFile(data) for data in found}


def test_crc() -> None:
    assert crc32c(b"123456789") == 0xE3069283


Compare = Callable[[bytes], None]


@pytest.fixture
def compare(models: dict[bytes, ModelFile], monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Checks that both decoders find the same latents in a file."""
    theirs: list[list[np.ndarray]] = []

    def recorded(self: Model, *arguments: Any) -> list[np.ndarray]:
        found = method(self, *arguments)
        theirs.append([np.round(256 * np.asarray(latents)).astype(int) for latents in found])
        return found

    def run(data: bytes) -> None:
        theirs.clear()
        learned_codec.decode(data, threads=1)  # one tile after the other
        file = parse(data)
        ours = [tile for tile in decode(file, models[file.weights]) if tile]
        for one, other in zip(ours, [tile for tile in theirs if tile], strict=True):
            assert len(one) == len(other) <= components(file)
            for latents, expected in zip(one, other, strict=True):
                np.testing.assert_array_equal(latents, expected)

    method = Model.decode
    monkeypatch.setattr(Model, "decode", recorded)
    return run


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("codec/*.lci")), ids=lambda path: path.stem)
def test_golden_files(path: Path, compare: Compare) -> None:
    compare(path.read_bytes())


def test_value_transforms(compare: Compare) -> None:
    """Constant images, bands of unlike range, radar with holes of each band's own."""
    y, x = np.mgrid[:48, :80]
    texture = np.random.default_rng(0).random((48, 80)) + (x + y) / 40
    radar = np.stack([texture, texture / 9], 2).astype(np.float32)
    radar[:20, :30, 1] = np.nan
    radar[30:, 40:] = np.nan
    for image, options in (
        (np.full((20, 30, 3), 7, np.uint8), {}),
        (np.full((20, 30, 2), 700, np.uint16), {"tile_size": 64}),
        (np.stack([texture, 5000 * texture], 2).astype(np.float32), {}),
        (radar, {"kind": "sar", "unit": "power", "tile_size": 64}),
    ):
        compare(learned_codec.encode(image, quality=30, **options))


def test_fronts(compare: Compare) -> None:
    """A long tile has fronts, a short one none, also behind a mask and with several components."""
    rng = np.random.default_rng(0)
    for bands in (3, 2):
        image = rng.integers(1, 255, (140, 128, bands)).astype(np.uint8)
        image[:40, :30] = 0
        data = learned_codec.encode(image, quality=95, tile_size=128, nodata=0)
        assert list(map(len, parse(data).fronts)) == [2, 0]
        compare(data)


def test_golden_vectors(models: dict[bytes, ModelFile]) -> None:
    for vector in selftest.vectors():
        model = models[bytes.fromhex(vector["weights_id"])]
        coded = np.ones((vector["height"], vector["width"], model.channels), int)
        payload = base64.b64decode(vector["payload"])
        (found,) = decoded(payload, model, vector["step"], (vector["height"], vector["width"]), coded, 1)
        assert hashlib.sha256(found.astype("<i4").tobytes()).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("container/[!b]*.lci")), ids=lambda path: path.stem)
def test_golden_containers(path: Path) -> None:
    data = path.read_bytes()
    file, theirs = parse(data), bitstream.read(data)
    assert file.tiles == [bytes(theirs.tile(i)) for i in range(len(theirs.tiles))]
    assert (file.metadata, file.mask) == (theirs.metadata, theirs.mask)
    header = theirs.header
    numbers = "width", "height", "bands", "quality_step", "lapping", "transform"
    for name in (*numbers, "dtype", "parameters", "adaptation"):
        assert getattr(file, name) == getattr(header, name)
    assert (file.tile, file.weights) == (header.tile_code, header.weights_id)
    assert [file.box(i) for i in range(len(file.tiles))] == [header.tile_box(i)[2:] for i in range(len(file.tiles))]


@pytest.mark.parametrize("seed", range(12))
def test_planes(seed: int) -> None:
    from learned_codec.values.planes import pack_plane

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:37, :51]
    bits = (y * rng.normal() + x * rng.normal() + 3 * np.sin(y / 3) > 5) ^ (rng.random(x.shape) < 0.02 * (seed % 3))
    layers = np.where(x < 3, 1, np.where(y > 30, 0, np.where(bits, 255, 7)))
    random = rng.integers(0, 2, x.shape)
    classes = np.tile(rng.integers(0, 9, (5, 17)), (8, 3))[: len(x)]
    values = [np.where(bits, 255, 7), (2 * x + y) % 256, np.full(x.shape, seed), random, layers, classes][seed % 6]
    packed = Bytes(pack_plane(values.astype(np.uint8)))
    np.testing.assert_array_equal(plane(packed, *x.shape), values)
    assert packed.left == 0


@pytest.mark.filterwarnings("ignore:.* have values, which aren't kept:learned_codec.errors.InputWarning")
def test_opacity_of_16_bits() -> None:
    """Two planes; a pixel is hidden if both of its bytes are 0."""
    opacity = np.random.default_rng(0).choice(np.array([0, 1, 255, 256, 257, 65535], np.uint16), (37, 51))

    class WithOpacity(ArraySource):
        def read_plane(self, rows: slice, columns: slice) -> Any:
            return opacity[rows, columns]

    source = WithOpacity(np.full((37, 51), 9, np.uint16) + opacity)
    source.plane = "alpha"
    valid, _, _ = side(parse(encode_source(source, max_error=0)), 0)
    np.testing.assert_array_equal(valid, opacity > 0)


def test_sides() -> None:
    """Masks of every kind, beside the codec's own."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 100, (70, 50, 3)).astype(np.float32)
    image[:30, :, 0] = np.nan
    image[20:40, :25] = -9999
    mask = np.ones((70, 50), np.uint8)
    mask[:, 40:] = 0
    file = parse(learned_codec.encode(image, nodata=-9999, mask=mask, quality=1, tile_size=64))
    expected = (np.isfinite(image) & (image != -9999)).any(2) & (mask > 0)
    for index, rows in enumerate((slice(0, 64), slice(64, 70))):
        valid, _, _ = side(file, index)
        assert valid is not None
        np.testing.assert_array_equal(valid, expected[rows])
