"""Floating-point networks of both generations."""

from __future__ import annotations

from .config import ModelConfig
from .layered.config import LayeredConfig
from .layered.network import LayeredNetwork, layered_of_weights
from .network import BaseNetwork, Network, first_of_weights
from .weights import Weights


def network_for(config: ModelConfig | LayeredConfig) -> BaseNetwork:
    """An untrained network."""
    return LayeredNetwork(config) if isinstance(config, LayeredConfig) else Network(config)


def network_of_weights(source: Weights) -> BaseNetwork:
    """The floating-point network of a weights file, to train it further or to optimise latents.

    Weights were rounded to float16.

    Raises `WeightsError` if the file lacks the `training` part, which coding doesn't need.
    """
    layered = isinstance(source.config, LayeredConfig)
    return layered_of_weights(source) if layered else first_of_weights(source)
