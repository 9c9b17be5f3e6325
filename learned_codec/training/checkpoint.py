"""Checkpoints of the trainer: tensors and plain values, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from learned_codec.atomic import atomic_path
from learned_codec.errors import TrainingError
from learned_codec.models.config import ModelConfig
from learned_codec.models.network import Network


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a run killed at any moment leaves the last whole one."""
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint (only tensors and plain values are accepted)."""
    if not path.exists():
        raise TrainingError(f"there is no checkpoint {path} to start from")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        state["network"], state["average"], state["model"]
    except Exception as error:  # damaged bytes make torch raise anything
        raise TrainingError(f"{path} is not a checkpoint of this trainer: {error}") from error
    return state


def network_of(path: Path) -> Network:
    """The network of a checkpoint, with its averaged weights, in evaluation mode."""
    state = load_checkpoint(path)
    network = Network(ModelConfig.from_dict(state["model"]))
    network.load_state_dict(state["average"])
    return network.eval()
