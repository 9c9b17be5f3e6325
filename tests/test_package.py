"""What importing and installing the package costs and gives."""

import ast
import os
import subprocess
import sys
import tomllib
from inspect import signature
from pathlib import Path

import pytest

import learned_codec

ROOT = Path(__file__).parent.parent
PACKAGE = Path(learned_codec.__file__).parent


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter, in which nothing has been imported yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def test_import_is_light() -> None:
    heavy = ("torch", "rasterio", "numpy", "PIL", "constriction", "click", "tqdm")
    loaded = run_python(f"import sys, learned_codec; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_import_is_fast() -> None:
    code = "import time; t = time.perf_counter(); import learned_codec; print(time.perf_counter() - t)"
    # One quiet moment of ten is enough: what other processes take of the machine is not this package's cost.
    assert any(float(run_python(code)) < 0.3 for _ in range(10))


def test_errors_and_limits_are_light() -> None:
    code = (
        "import sys, learned_codec; learned_codec.LearnedCodecError; learned_codec.Limits;"
        "print('torch' in sys.modules, 'rasterio' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False"]


def test_header_alone_needs_no_torch() -> None:
    """`inspect` and `check` are for servers and plug-ins that look at files without decoding them."""
    file = sorted((Path(__file__).parent / "golden" / "codec").glob("*.lci"))[0]
    code = (
        "import sys, learned_codec\n"
        f"data = open({str(file)!r}, 'rb').read()\n"
        "assert learned_codec.inspect(data).model\n"
        "assert learned_codec.check(data).ok\n"
        "print('torch' in sys.modules, 'rasterio' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False"]


def test_command_line_help_is_light() -> None:
    code = (
        "import sys; from learned_codec.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'rasterio' in sys.modules)"
    )
    assert run_python(code).split()[-2:] == ["False", "False"]


def test_no_network_and_no_processes_and_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """Nor of a dependency: importing OpenVINO reports that to its makers, unless it is hindered."""
    code = (
        "import sys, time\n"
        "watched = ('socket.connect', 'socket.getaddrinfo', 'os.fork', 'subprocess.Popen')\n"
        "sys.addaudithook(lambda event, _: event in watched and print(event))\n"
        "import numpy, learned_codec\n"
        "data = learned_codec.encode(numpy.arange(70 * 80).reshape(70, 80).astype('uint16'))\n"
        "learned_codec.decode_file(__import__('io').BytesIO(data), sys.argv[1] + '/a.tif')\n"
        "time.sleep(0.5)\n"
        "print('openvino_telemetry' in sys.modules)"
    )
    home = tmp_path / "home"
    home.mkdir()
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "CI"} | {"HOME": str(home)},
    )
    assert said.stdout.split() == ["False"]
    assert not any(home.iterdir())


def test_other_users_of_openvino_still_have_its_converter() -> None:
    code = (
        "import sys, learned_codec.models.engine.openvino, openvino\n"
        "print('openvino.tools.ovc' in sys.modules, callable(openvino.convert_model), hasattr(openvino, 'nothing'))"
    )
    assert run_python(code).split() == ["False", "True", "False"]


@pytest.mark.parametrize("name", learned_codec.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(learned_codec, name) is not None
    assert name in dir(learned_codec)


def test_nothing_but_public_names_is_listed() -> None:
    listed = run_python("import learned_codec; learned_codec.inspect, learned_codec.codec; print(*dir(learned_codec))")
    assert listed.split() == sorted(learned_codec.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = learned_codec.no_such_name


def test_type_checkers_see_the_public_names() -> None:
    """The names under TYPE_CHECKING, the lazy ones and `__all__` are one list, kept thrice."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(learned_codec.__all__)
    assert set(learned_codec._HOME) | {"__version__", "errors"} == set(learned_codec.__all__)


def test_models_print_as_a_table() -> None:
    table = repr(learned_codec.list_models()).splitlines()
    assert table[0].split() == ["name", "bands", "weights", "id", "path"]
    assert [line.split()[0] for line in table[1:]] == [card.name for card in learned_codec.list_models()]


@pytest.mark.parametrize("name", ["encode", "decode", "encode_file", "decode_file", "open", "inspect", "check"])
def test_a_misspelt_option_is_seen_by_type_checkers(name: str) -> None:
    parameters = signature(getattr(learned_codec, name)).parameters.values()
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.annotation is not p.empty for p in parameters)


def test_files_are_encoded_as_arrays_are() -> None:
    """Whatever `encode` can be told, but what only an array needs, and so for decoding."""
    encode, encode_file = (set(signature(f).parameters) for f in (learned_codec.encode, learned_codec.encode_file))
    assert encode - encode_file == {"image", "planar", "mask", "metadata"}
    decode, decode_file = (set(signature(f).parameters) for f in (learned_codec.decode, learned_codec.decode_file))
    assert decode - decode_file == {"data", "masked"}


def test_typed_and_versioned() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert f"## {learned_codec.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {learned_codec.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_has_a_lower_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [entry for entries in project["optional-dependencies"].values() for entry in entries]
    others = [entry for entry in [*project["dependencies"], *extras] if not entry.startswith("learned-codec[")]
    assert [entry for entry in others if ">=" not in entry] == []
    # constriction's output is part of the format: its minor version is pinned.
    assert any(entry.startswith("constriction>=") and ",<" in entry for entry in project["dependencies"])


def test_all_extra_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = extras["all"][0].removeprefix("learned-codec[").removesuffix("]").split(",")
    assert set(named) == set(extras) - {"all"}


USES = {
    "bitstream": set(),
    "entropy": set(),
    "values": {"bitstream"},
    "raster": {"bitstream", "values"},
    "bounded": {"bitstream", "entropy", "values"},
    "models": {"bitstream", "entropy"},
    "tiling": {"bitstream", "bounded", "models", "values"},
    "training": {"entropy", "models", "values"},
}
"""The folders that each folder may import from, as in docs/architecture.md."""


@pytest.mark.parametrize("folder", USES)
def test_no_arrow_runs_back(folder: str) -> None:
    trees = [ast.parse(path.read_text()) for path in (PACKAGE / folder).rglob("*.py")]
    modules = [
        node.module
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module
    ]
    assert len(trees) > 1
    used = {name.split(".")[1] for name in modules if name.startswith("learned_codec.")}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert used & folders - {folder} <= USES[folder]


def test_no_two_classes_have_one_name() -> None:
    """A leading underscore doesn't make another name."""
    places: dict[str, list[str]] = {}
    for folder in ("learned_codec", "benchmarks", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name.lstrip("_"), []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_torch_above_the_trainer_unpickles() -> None:
    """Weights come from strangers and are safetensors; only the trainer's own checkpoints are torch files."""
    offenders = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "training" not in path.parts and ("torch.load(" in path.read_text() or "pickle" in path.read_text())
    ]
    assert offenders == []


def test_without_torch_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, learned_codec\n"
        "image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)\n"
        "assert learned_codec.decode(learned_codec.encode(image)).shape == (64, 64)\n"
        "assert learned_codec.decode(learned_codec.encode(image, effort=1)).shape == (64, 64)\n"
        "try:\n"
        "    learned_codec.encode(image, device='cuda')\n"
        "except learned_codec.errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 1
    assert "pip install 'learned-codec[torch]'" in lines[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("integrations/*.py")), ids=lambda path: path.stem)
def test_integrations_call_only_the_public_api(path: Path) -> None:
    public = {"learned_codec", "learned_codec.errors", "learned_codec.cli"}
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
        elif isinstance(node, ast.Import):
            modules.update(name.name for name in node.names)
    ours = {module for module in modules if module.split(".")[0] == "learned_codec"}
    assert {module for module in ours if not module.startswith("learned_codec.integrations")} <= public
