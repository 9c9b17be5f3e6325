"""A weights file into a model of its generation."""

from __future__ import annotations

from .base import BaseModel
from .engine import Engine
from .layered.config import LayeredConfig
from .layered.model import LayeredModel
from .model import Model
from .weights import Weights


def model_of(weights: Weights, engine: Engine | None = None) -> BaseModel:
    """The model of a weights file. `engine` runs its networks, by default on the CPU. Raises `WeightsError`."""
    return LayeredModel(weights, engine) if isinstance(weights.config, LayeredConfig) else Model(weights, engine)
