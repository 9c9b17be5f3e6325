"""The tensors of a trained network of the second generation."""

from __future__ import annotations

import torch
from torch import Tensor

from learned_codec.models.exact import LOG2_BITS, MU_BITS
from learned_codec.models.layered.config import MEANS
from learned_codec.models.layered.network import LayeredEntropy, LayeredNetwork
from learned_codec.models.weights import LAYERED_LEVEL_TABLES

from .quantise import ExactTensors, Ranges


def quantised(entropy: LayeredEntropy, ranges: Ranges) -> dict[str, Tensor]:
    """The `exact.*` tensors of a weights file, without that prefix. Raises `TrainingError`."""
    exact = ExactTensors(ranges)
    features = exact.put_features(entropy)
    for layer, _, name in entropy.config.passes():
        module = entropy.get_submodule(name)
        part = entropy.config.layers[layer]
        bits = torch.full((part.stop - part.start,), LOG2_BITS)
        if layer < MEANS:
            bits = torch.cat([torch.full_like(bits, MU_BITS), bits])
        exact.put_pass(name, module, features, bits)
    return exact.tensors


def layered_tensors(network: LayeredNetwork, ranges: Ranges) -> dict[str, Tensor]:
    """All tensors of a weights file but its scale tables."""
    state, transform = network.state_dict(), network.transform
    found = {f"levels.{table}": state.pop(key).float().contiguous() for table, key in LAYERED_LEVEL_TABLES.items()}
    for key, value in state.items():
        if key.startswith("entropy.hyper_analysis."):
            found[f"transforms.hyper_analysis.network.{key.removeprefix('entropy.hyper_analysis.')}"] = value.half()
        elif key.startswith("entropy."):
            found[f"training.{key.removeprefix('entropy.')}"] = value.half()
        elif key.startswith("refinement."):
            found[f"transforms.{key}"] = value.half()
    found |= {f"exact.{name}": tensor for name, tensor in quantised(network.entropy, ranges).items()}
    fixed = {
        "components": transform.components.to(torch.int16),
        "forward": transform.forward_factors,
        "inverse": transform.inverse_factors,
        "pre_filter": transform.pre_filter.matrix,
        "post_filter": transform.post_filter.matrix,
    }
    return found | {f"transforms.{name}": tensor for name, tensor in fixed.items()}
