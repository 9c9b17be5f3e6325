"""A model's weights file: safetensors with the configuration in its metadata.

    transforms.*   the block transform (int16 and float32); refinement and hyper-analysis (float16)
    levels.*       float32, tables by level that need not be exact
    exact.*        int16, int32 and int8, the integer entropy model (`exact.py`)
    tables.*       int32, the scale tables (`learned_codec.entropy`)
    training.*     float16, what `exact` was made from: to train further, not to code

A model's weights id is the first 8 bytes of the file's SHA-256. Every bitstream carries it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from learned_codec.entropy import ScaleTables
from learned_codec.errors import WeightsError

from .config import ModelConfig
from .engine import Array

KEY = "learned_codec"
FORMAT = "weights 1"

LEVEL_TABLES = {
    "log2_gain": "entropy.log2_gain",
    "log2_sigma": "entropy.log2_sigma",
    "log2_inverse": "log2_inverse",
    "hyper_gain": "entropy.hyper_gain",
    "hyper_bias": "entropy.hyper_bias",
    "refinement_bias": "refinement.level_bias",
    "refinement_scale": "refinement.level_scale",
    "refinement_condition": "refinement.cond_level",
}
"""The `levels` tables of a weights file, each with the parameter of `Network` that it is made of."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file in memory. `id` is its weights id, 8 bytes."""

    config: ModelConfig
    tensors: Mapping[str, NDArray[Any]]
    id: bytes

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The tensors whose names begin with `prefix` and a dot, by the rest of their names."""
        start = prefix + "."
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}

    def scale_tables(self) -> ScaleTables:
        """The tables of the scale bins. Raises `WeightsError`."""
        tables = self.part("tables")
        try:
            return ScaleTables(tables["counts"], tables["reaches"])
        except KeyError as error:
            raise WeightsError(f"the weights lack the table {error}") from error


class Parameters:
    """A part of a weights file in float32, by name. Raises `WeightsError` for missing tensors and wrong shapes."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def get(self, name: str, *shape: int) -> Array:
        """A tensor in this shape; the stored one may have another with as many values."""
        key = f"{self._prefix}.{name}"
        found = self._tensors.get(key)
        if found is None or found.size != np.prod(shape):
            raise WeightsError(f"the weights do not fit their configuration: {key} should be {shape}")
        return found.astype(np.float32).reshape(shape)

    def pointwise(self, name: str, outputs: int, inputs: int) -> tuple[Array, Array]:
        """Weight and bias of a 1x1 layer."""
        return self.get(f"{name}.weight", outputs, inputs), self.get(f"{name}.bias", outputs)

    def depthwise(self, name: str, channels: int) -> tuple[Array, Array]:
        """Weight and bias of a depthwise 3x3 layer."""
        return self.get(f"{name}.weight", channels, 3, 3), self.get(f"{name}.bias", channels)


def weights_id(data: bytes) -> bytes:
    """The weights id, 8 bytes, of a file with this content."""
    return hashlib.sha256(data).digest()[:8]


def to_bytes(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of a model's weights file."""
    # A single key: safetensors writes several keys in a random order, but the same model must give the same bytes.
    metadata = {KEY: json.dumps({"format": FORMAT, "config": config.to_dict()}, sort_keys=True)}
    return save({key: np.ascontiguousarray(value) for key, value in tensors.items()}, metadata)


def config_of(data: bytes, source: str) -> ModelConfig:
    """The configuration in a weights file; `source` names it in errors. Raises `WeightsError`."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][KEY])
        if metadata["format"] != FORMAT:
            raise WeightsError(f"{source}: weights of the format {metadata['format']!r}; this version reads {FORMAT!r}")
        return ModelConfig.from_dict(metadata["config"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{source} is not a weights file of learned_codec: {error}") from error


def from_bytes(data: bytes, source: str) -> Weights:
    """Parse a weights file; `source` names it in errors. Raises `WeightsError`."""
    config = config_of(data, source)
    try:
        return Weights(config, load(data), weights_id(data))
    except (ValueError, SafetensorError) as error:
        raise WeightsError(f"{source} is not a weights file of learned_codec: {error}") from error


def read(path: Path) -> Weights:
    """Read a weights file. Raises `WeightsError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error}") from error
    return from_bytes(data, str(path))
