"""The models of the package and a user's own.

A model is a weights file `NAME.safetensors` with a card `NAME.json` beside it. Those of the package are in the folder
`weights`. A user's own are found by path, by `register_model`, or by the environment variable `LEARNED_CODEC_MODELS`;
they need no card.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from learned_codec.errors import InvalidInputError, LearnedCodecError, UnknownModelError, WeightsError, shown

if TYPE_CHECKING:
    from .model import Model
    from .weights import Weights

DEFAULTS = {1: "mono-2", 3: "rgb-2"}
"""The default model by number of bands. Files of a user never change it."""

VARIABLE = "LEARNED_CODEC_MODELS"
"""The environment variable that lists a user's models: weights files or folders of them, separated as in PATH."""

SUFFIX = ".safetensors"

ModelName: TypeAlias = str | os.PathLike[str]
"""A model's name, or the path of its weights file."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model without loading its weights; immutable.

    Attributes:
        name: its name; for the package's models, a frozen id.
        path: its weights file.
        weights_id: 16 hexadecimal digits, which bitstreams carry.
        bands: how many it codes together, 1 or 3.
        max_step: the quality step of quality 100; that of quality 1 is 0.
        adaptations: how many adaptations the refinement has.
        card: the whole card as JSON values: recipe, data, licences, measured rates and distortions.
    """

    name: str
    path: Path
    weights_id: str
    bands: int
    max_step: int
    adaptations: int
    card: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """A copy of the card, JSON-ready."""
        return dict(self.card)


_registered: dict[str, ModelCard] = {}
"""The models that this process registered, by weights id."""


def register_model(path: str | os.PathLike[str]) -> ModelCard:
    """Register a weights file in this process. Then it is found by name, and files made with it can be decoded.

    Registering a file again changes nothing. Threads may register models, list them and code at the same time.

    Args:
        path: the weights, `NAME.safetensors`. A card `NAME.json` beside it is read if there is one.

    Returns:
        The model's card.

    Raises:
        WeightsError: it can't be read, isn't a weights file, or another model has its name.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidInputError(f"the path of weights must be a str or a path, not {shown(path)}")
    card = _card_of(Path(path))
    for other in list_models():
        if other.name == card.name and other.weights_id != card.weights_id:
            raise WeightsError(f"{path}: there is another model of the name {card.name}, {other.path}; rename this one")
    return _registered.setdefault(card.weights_id, card)


class ModelList(list[ModelCard]):
    """A list of cards that prints as a table."""

    def __repr__(self) -> str:
        rows = [("name", "bands", "weights id", "path")]
        rows += [(card.name, str(card.bands), card.weights_id, str(card.path)) for card in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def list_models() -> ModelList:
    """The models of the package by name, then a user's own: registered, or found by `LEARNED_CODEC_MODELS`.

    No weights of the package's models are read. Threads may call it at the same time.

    Returns:
        A list of `ModelCard`s that prints as a table.

    Raises:
        WeightsError: a file that `LEARNED_CODEC_MODELS` names can't be read or isn't a weights file.
    """
    cards = {card.weights_id: card for card in [*_cards(), *_registered.values(), *_listed()]}
    return ModelList(cards.values())


def by_name(name: ModelName) -> ModelCard:
    """The card of the model with this name or path.

    Raises `UnknownModelError`, which lists the models there are, or `InvalidInputError` if `name` is neither a string
    nor a path.
    """
    if not isinstance(name, str | os.PathLike):
        raise InvalidInputError(f"model must be a name or a path, not {shown(name)}")
    found = _first(lambda card: card.name == name)
    if found is None and Path(name).suffix == SUFFIX:
        found = _card_of(Path(name))
    if found is None:
        raise UnknownModelError(f"no model named {name}; {_here()}; give your own by its path, NAME{SUFFIX}")
    return found


def by_id(weights_id: bytes) -> ModelCard:
    """The card of the model with a bitstream's weights id, 8 bytes. Raises `UnknownModelError`."""
    found = _first(lambda card: card.weights_id == weights_id.hex())
    if found is None:
        raise UnknownModelError(
            f"the file needs the model with the weights id {weights_id.hex()}, which is not here ({_here()}); "
            f"add it by learned_codec.register_model(PATH) or the environment variable {VARIABLE}"
        )
    return found


def default(bands: int) -> ModelCard:
    """The card of the default model for a number of bands. Raises `UnknownModelError`."""
    if bands not in DEFAULTS:
        raise UnknownModelError(f"no model for {bands} bands; {_here()}")
    return by_name(DEFAULTS[bands])


def _first(wanted: Callable[[ModelCard], bool]) -> ModelCard | None:
    # lists one after the other: a user's broken file must not stop the package's models
    for cards in (_cards, lambda: tuple(_registered.values()), _listed):  # a copy: other threads may register models
        for card in cards():
            if wanted(card):
                return card
    return None


def _here() -> str:
    return f"here are: {', '.join(card.name for card in list_models()) or 'none'}"


def load(model: ModelName | ModelCard, device: str = "cpu", threads: int = 1) -> Model:
    """A model ready for use, with `threads` for each matrix product. Models are immutable and kept for the next call.

    Raises `WeightsError`, `UnknownModelError`, and the errors of `engine_for`.
    """
    card = model if isinstance(model, ModelCard) else by_name(model)
    return _loaded(card.path, card.weights_id, device, threads)


def weights_of(model: ModelName | ModelCard) -> Weights:
    """The weights of a model. Raises the errors of `by_name`, and `WeightsError`."""
    card = model if isinstance(model, ModelCard) else by_name(model)
    return _weights(card.path, card.weights_id)


def forget() -> None:
    """Free the models that are kept for the next call."""
    from .engine import engine_for

    engine_for.cache_clear()
    _loaded.cache_clear()


@lru_cache(maxsize=6)  # the package's models, each for two numbers of threads
def _loaded(path: Path, weights_id: str, device: str, threads: int) -> Model:
    from .engine import engine_for
    from .model import Model

    return Model(_weights(path, weights_id), engine_for(device, threads))


def _weights(path: Path, weights_id: str) -> Weights:
    from . import weights

    found = weights.read(path)
    if found.id.hex() != weights_id:
        raise WeightsError(f"the weights {path} are damaged: their id is {found.id.hex()}, not {weights_id}")
    return found


# -- cards -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _cards() -> tuple[ModelCard, ...]:
    """The cards of the package's models. Their weights are not read."""
    folder = Path(str(resources.files("learned_codec"))) / "models" / "weights"
    cards = []
    for path in sorted(folder.glob("*.json"), key=_version):
        card = json.loads(path.read_text("utf-8"))
        try:
            numbers = card["bands"], card["max_step"], card["adaptations"]
            cards.append(ModelCard(path.stem, path.with_suffix(SUFFIX), card["weights_id"], *numbers, card))
        except KeyError as error:
            raise WeightsError(f"the model card {path.name} lacks {error}") from error
    return tuple(cards)


def _version(path: Path) -> tuple[str, int]:
    """NAME-12 -> (NAME, 12): version 12 comes after version 2."""
    family, _, number = path.stem.rpartition("-")
    return family, int(number) if number.isdigit() else 0


def _listed() -> list[ModelCard]:
    """The cards of the models in the environment variable."""
    entries = [Path(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    paths = [path for entry in entries for path in (sorted(entry.glob(f"*{SUFFIX}")) if entry.is_dir() else [entry])]
    return [_card_of(path) for path in paths]


def _card_of(path: Path) -> ModelCard:
    """The card of a user's weights file, made from its content."""
    path = path.absolute()
    try:
        state = path.stat()
        return _read_card(path, state.st_mtime_ns, state.st_size)
    except LearnedCodecError:
        raise
    except (OSError, ValueError) as error:  # also a name that the file system can't have
        raise WeightsError(f"cannot read the weights {path}: {error}") from error


@lru_cache(maxsize=64)
def _read_card(path: Path, _time: int, _size: int) -> ModelCard:
    from . import weights

    data = path.read_bytes()
    config, found = weights.config_of(data, str(path)), weights.weights_id(data).hex()
    beside = path.with_suffix(".json")
    card = {"name": path.stem, "weights_id": found, "bands": config.bands, "max_step": config.max_step}
    try:
        known = json.loads(beside.read_text("utf-8"))
        card = known if known["weights_id"] == found else card
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a card only says where the weights come from; coding doesn't need it
    return ModelCard(path.stem, path, found, config.bands, config.max_step, config.adaptations, card)
