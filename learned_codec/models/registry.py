"""The models that come with the package: `weights/NAME.safetensors`, each with its card, `weights/NAME.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learned_codec.errors import UnknownModelError, WeightsError

from .config import EXTRA_STEPS

if TYPE_CHECKING:
    from .effort import Optimiser
    from .model import Model
    from .weights import Weights


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model without loading it.

    Its `name` (its frozen id), the hexadecimal `weights_id` that bitstreams carry, its `bands`, the quality step of
    quality 100, how many adaptations to an image it has, and the whole card as JSON values: recipe, data, licences,
    measured rates and distortions.
    """

    name: str
    weights_id: str
    bands: int
    max_step: int
    adaptations: int
    card: dict[str, Any]

    @property
    def top_step(self) -> int:
        """The highest quality step, which a bpp or psnr may ask for."""
        return self.max_step + EXTRA_STEPS

    def to_dict(self) -> dict[str, Any]:
        return dict(self.card)


def _folder() -> Path:
    return Path(str(resources.files("learned_codec"))) / "models" / "weights"


def _version(path: Path) -> tuple[str, int]:
    """NAME-12 -> (NAME, 12): version 12 is newer than version 2."""
    family, _, number = path.stem.rpartition("-")
    return family, int(number) if number.isdigit() else 0


@lru_cache(maxsize=1)
def _cards() -> tuple[ModelCard, ...]:
    cards = []
    for path in sorted(_folder().glob("*.json"), key=_version):
        card = json.loads(path.read_text("utf-8"))
        try:
            numbers = card["bands"], card["max_step"], card["adaptations"]
            cards.append(ModelCard(path.stem, card["weights_id"], *numbers, card))
        except KeyError as error:
            raise WeightsError(f"the model card {path.name} lacks {error}") from error
    return tuple(cards)


def list_models() -> list[ModelCard]:
    """The models in this installation, by name."""
    return list(_cards())


def find(*, name: str | None = None, weights_id: bytes | None = None, bands: int | None = None) -> ModelCard:
    """The card of a model by its name, by the id in a bitstream, or the current default for a number of bands.

    Raises `UnknownModelError`, which lists what there is.
    """
    cards = list_models()
    for card in cards:
        if name == card.name or (weights_id is not None and weights_id.hex() == card.weights_id):
            return card
    if bands is not None:
        # By family and version, so the last one is the newest.
        fitting = [card for card in cards if card.bands == bands]
        if fitting:
            return fitting[-1]
    wanted = name or (f"weights id {weights_id.hex()}" if weights_id else f"{bands} bands")
    raise UnknownModelError(f"no model for {wanted}; here are: {', '.join(c.name for c in cards) or 'none'}")


@lru_cache(maxsize=4)
def load(name: str, device: str = "cpu") -> Model:
    """A model ready for use, kept for the next call (it is immutable). Raises `WeightsError`, `UnknownModelError`."""
    import torch

    from .device import check_device
    from .model import Model

    check_device(device)
    with torch.inference_mode(False):  # whatever the caller's mode: `Optimiser` differentiates it
        return Model(_weights(name), device)


@lru_cache(maxsize=4)
def optimiser(name: str, device: str, effort: int) -> Optimiser:
    """What optimises latents for a model, kept like it. `effort` is 1, 2 or 3."""
    import torch

    from .effort import PASSES, Optimiser
    from .network import network_of_weights

    model = load(name, device)
    with torch.inference_mode(False):
        return Optimiser(model, network_of_weights(_weights(name)).entropy, PASSES[effort])


def _weights(name: str) -> Weights:
    from . import weights

    card = find(name=name)
    found = weights.read(_folder() / f"{name}.safetensors")
    if found.id.hex() != card.weights_id:
        raise WeightsError(f"the weights of {name} are damaged: their id is {found.id.hex()}, not {card.weights_id}")
    return found
