"""Which models there are: the package's, and a user's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import learned_codec
from learned_codec.cli import main
from learned_codec.demo import landscape
from learned_codec.errors import UnknownModelError, WeightsError
from learned_codec.models import registry, weights


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered before a test, and nothing after it."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.delenv(registry.VARIABLE, raising=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not of the package: one of its models, less what only training needs."""
    found = weights.read(registry.default(1).path)
    kept = {name: tensor for name, tensor in found.tensors.items() if not name.startswith("training.")}
    path = tmp_path_factory.mktemp("own") / "fields.safetensors"
    path.write_bytes(weights.to_bytes(found.config, kept))
    return path


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.ascontiguousarray(landscape(64, 64)[..., 1])


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_model_by_its_path(own: Path, grey: np.ndarray, as_path: type) -> None:
    data = learned_codec.encode(grey, model=as_path(own))
    found = weights.read(own).id.hex()
    info = learned_codec.inspect(data)
    assert (info.weights_id, info.model) == (found, None)
    with pytest.raises(UnknownModelError, match=f"{found}.*register_model.*{registry.VARIABLE}"):
        learned_codec.decode(data)
    card = learned_codec.register_model(own)
    assert (card.name, card.weights_id, card.bands) == ("fields", found, 1)
    assert np.array_equal(learned_codec.decode(data), learned_codec.decode(learned_codec.encode(grey)))
    assert learned_codec.inspect(data).model == "fields"
    assert learned_codec.encode(grey, model="fields") == data  # and by its name, once it is known
    assert learned_codec.register_model(own) == card
    assert [one.name for one in learned_codec.list_models()].count("fields") == 1


@pytest.mark.parametrize("entry", ["file", "folder"])
def test_models_of_the_environment(
    own: Path, grey: np.ndarray, entry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = own if entry == "file" else own.parent
    monkeypatch.setenv(registry.VARIABLE, f"{tmp_path}{os.pathsep}{listed}")
    assert "fields" in [card.name for card in learned_codec.list_models()]
    assert learned_codec.decode(learned_codec.encode(grey, model="fields")).shape == grey.shape


def test_a_broken_environment_hurts_only_what_needs_it(grey: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, "/absent/a.safetensors")
    assert learned_codec.decode(learned_codec.encode(grey)).shape == grey.shape
    with pytest.raises(WeightsError, match="/absent/a.safetensors"):
        learned_codec.encode(grey, model="fields")


def test_the_defaults_are_the_packages(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {bands: registry.default(bands) for bands in (1, 3)}
    learned_codec.register_model(own)
    monkeypatch.setenv(registry.VARIABLE, str(own.parent))
    assert {bands: registry.default(bands) for bands in (1, 3)} == before
    for bands, name in registry.DEFAULTS.items():
        assert (before[bands].name, before[bands].bands) == (name, bands)


def test_a_model_put_into_the_package_is_not_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "models" / "weights"
    package.mkdir(parents=True)
    for card in registry._cards():
        (package / f"{card.name}.json").write_text(json.dumps(card.to_dict()))
    newer = json.loads((package / "mono-2.json").read_text()) | {"weights_id": "00" * 8}
    (package / "mono-9.json").write_text(json.dumps(newer))
    monkeypatch.setattr(registry.resources, "files", lambda _: tmp_path)
    registry._cards.cache_clear()
    try:
        assert "mono-9" in [card.name for card in registry.list_models()]
        assert registry.default(1).name == "mono-2"
    finally:
        registry._cards.cache_clear()


def test_two_models_of_one_name(own: Path, tmp_path: Path) -> None:
    learned_codec.register_model(own)
    found = weights.read(own)
    other = tmp_path / own.name
    changed = dict(found.tensors) | {"training.note": np.zeros(1, np.float32)}
    other.write_bytes(weights.to_bytes(found.config, changed))
    with pytest.raises(WeightsError, match="another model of the name fields"):
        learned_codec.register_model(other)
    rgb = tmp_path / "rgb-2.safetensors"
    rgb.write_bytes(other.read_bytes())
    with pytest.raises(WeightsError, match="another model of the name rgb-2"):
        learned_codec.register_model(rgb)


def test_what_is_no_model(tmp_path: Path, grey: np.ndarray) -> None:
    broken = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="a.safetensors"):
        learned_codec.encode(grey, model=broken)
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="not a weights file"):
        learned_codec.register_model(broken)
    with pytest.raises(UnknownModelError, match="no model named fields.*rgb-2.*path"):
        learned_codec.encode(grey, model="fields")


def test_weights_that_change_on_disk_are_read_again(own: Path, tmp_path: Path, grey: np.ndarray) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(own.read_bytes())
    first = learned_codec.inspect(learned_codec.encode(grey, model=path)).weights_id
    found = weights.read(own)
    path.write_bytes(weights.to_bytes(found.config, dict(found.tensors) | {"training.note": np.zeros(3, np.float32)}))
    assert learned_codec.inspect(learned_codec.encode(grey, model=path)).weights_id not in {first}


def test_a_card_beside_the_weights_is_used_if_it_is_theirs(own: Path, tmp_path: Path) -> None:
    path, beside = tmp_path / "a.safetensors", tmp_path / "a.json"
    path.write_bytes(own.read_bytes())
    found = weights.read(own).id.hex()
    for text, data in (
        (json.dumps({"weights_id": found, "data": "my fields"}), "my fields"),
        (json.dumps({"weights_id": "00", "data": "others"}), None),
        ("[]", None),
        ("broken", None),
    ):
        beside.write_text(text)
        registry._read_card.cache_clear()
        assert registry.by_name(path).to_dict().get("data") == data


def test_the_command_line_takes_a_model_of_ones_own(own: Path, tmp_path: Path, grey: np.ndarray) -> None:
    Image.fromarray(grey).save(tmp_path / "a.png")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(arguments))
        registry._registered.clear()
        return result.exit_code, result.output

    source, coded, target = (str(tmp_path / name) for name in ("a.png", "a.lci", "b.png"))
    assert run("encode", source, coded, "--model", str(own))[0] == 0
    status, text = run("decode", coded, target)
    assert status == 3
    assert weights.read(own).id.hex() in text
    assert run("decode", coded, target, "--model", str(own))[0] == 0
    assert Path(target).exists()


def test_a_head_is_read_without_torch_whatever_is_registered(own: Path, tmp_path: Path, grey: np.ndarray) -> None:
    (tmp_path / "a.lci").write_bytes(learned_codec.encode(grey, model=own))
    program = (
        "import sys, learned_codec; from pathlib import Path; "
        "found = learned_codec.inspect(Path(sys.argv[1]).read_bytes()).model; "
        "assert found == 'fields', found; assert 'torch' not in sys.modules"
    )
    environment = os.environ | {registry.VARIABLE: str(own)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.lci")], check=True, env=environment)
