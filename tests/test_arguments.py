"""Arguments of wrong kinds: every public function refuses them by an error of this library, in short words."""

import inspect
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec.errors import InvalidInputError, LearnedCodecError, WeightsError

IMAGE = np.zeros((16, 16, 3), np.uint8)
DATA = learned_codec.encode(IMAGE)


class Unequal:
    """Can neither be compared nor printed, and is neither true nor false."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("arguments")
    Image.fromarray(IMAGE).save(found / "a.png")
    (found / "a.lci").write_bytes(DATA)
    return found


def calls(folder: Path) -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Each public function, and a call of it that works."""
    into: dict[str, Any] = {"overwrite": True}
    return {
        "encode": (learned_codec.encode, lambda **k: learned_codec.encode(**{"image": IMAGE} | k)),
        "decode": (learned_codec.decode, lambda **k: learned_codec.decode(**{"data": DATA} | k)),
        "open": (learned_codec.open, lambda **k: learned_codec.open(**{"source": DATA} | k)),
        "inspect": (learned_codec.inspect, lambda **k: learned_codec.inspect(**{"data": DATA} | k)),
        "check": (learned_codec.check, lambda **k: learned_codec.check(**{"data": DATA} | k)),
        "encode_file": (
            learned_codec.encode_file,
            lambda **k: learned_codec.encode_file(**{"src": folder / "a.png", "dst": folder / "b.lci"} | into | k),
        ),
        "decode_file": (
            learned_codec.decode_file,
            lambda **k: learned_codec.decode_file(**{"src": folder / "a.lci", "dst": folder / "b.png"} | into | k),
        ),
        "read": (learned_codec.Reader.read, lambda **k: learned_codec.open(DATA).read(**k)),
        "read_plane": (learned_codec.Reader.read_plane, lambda **k: learned_codec.open(DATA).read_plane(**k)),
        "parts": (learned_codec.Reader.parts, lambda **k: list(learned_codec.open(DATA).parts(**k))),
        "register_model": (learned_codec.register_model, learned_codec.register_model),
    }


WRONG = [
    Unequal(),
    object(),
    int,
    {"a": 1},
    {1},
    [[1, [2, 3]]],
    np.array(3),
    np.array("x"),
    np.array([1, 2, 3]),
    np.array([None, 1], object),
    np.ma.masked,
    np.datetime64("2020"),
    Decimal("NaN"),
    10**5000,
    1j,
    b"x",
    "",
    "a\0b",
    "\ud800",
    [],
    slice(1, 2),
    ...,
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(choice=st.integers(0, 2**20), number=st.integers(0, len(WRONG) - 1))
def test_nothing_but_our_errors(folder: Path, choice: int, number: int) -> None:
    """A value may be fine for an argument, such as 3 for a psnr."""
    every = [
        (call, name)
        for function, call in calls(folder).values()
        for name in inspect.signature(function).parameters
        if name != "self" and not (name == "progress" and callable(WRONG[number]))  # whose own errors come out
    ]
    call, name = every[choice % len(every)]
    said = ""
    try:
        call(**{name: WRONG[number]})
    except LearnedCodecError as error:
        said = str(error)
    assert len(said) < 1000
    assert {path.name for path in folder.iterdir()} <= {"a.png", "a.lci", "b.lci", "b.png"}


@pytest.mark.parametrize("value", ["no", "False", 0, 1, 1.0, None, [], [True], np.array([True, False]), Unequal()])
@pytest.mark.parametrize(
    "name",
    [
        "encode planar",
        "decode masked",
        "read masked",
        "read boundless",
        "read planar",
        "encode_file overwrite",
        "encode_file force",
        "decode_file overwrite",
        "decode_file overviews",
    ],
)
def test_a_switch_is_true_or_false(folder: Path, name: str, value: object) -> None:
    """`overwrite="no"` must not replace a file."""
    function, argument = name.split()
    with pytest.raises(InvalidInputError, match=f"^{argument} must be True or False, not"):
        calls(folder)[function][1](**{argument: value})


def test_switches_of_numpy() -> None:
    assert np.ma.isMaskedArray(learned_codec.decode(DATA, masked=np.bool_(True)))  # type: ignore[arg-type]
    assert learned_codec.open(DATA).read(planar=np.any([True])).shape == (3, 16, 16)


@pytest.mark.parametrize("key", [[[1, [2, 3]]], int, Unequal(), "x", 1.0, (0, [[1], [2, 3]])], ids=type)
def test_wrong_subscripts(key: Any) -> None:
    with pytest.raises(InvalidInputError):
        learned_codec.open(DATA)[key]


@pytest.mark.parametrize("path", ["", ".", "absent.safetensors", "a\0b.safetensors", "\ud800.safetensors"])
def test_paths_that_are_no_weights(path: str) -> None:
    with pytest.raises(WeightsError):
        learned_codec.register_model(path)
