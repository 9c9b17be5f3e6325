"""From a checkpoint to a weights file: calibrate, quantise the entropy networks to integers, fit the scale tables.

Activation ranges and scale tables are measured on training images. The card beside the weights records how many more
bits the integers take than the floating-point networks, on held-out images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_codec.atomic import atomic_write
from learned_codec.entropy import ScaleTables, gaussian_tables
from learned_codec.entropy.tables import fitted_tables
from learned_codec.models import weights
from learned_codec.models.base import BaseModel
from learned_codec.models.build import model_of
from learned_codec.models.config import QUALITY_STEPS
from learned_codec.models.engine import engine_for
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.exact import LOG2_BITS, MU_BITS, to_bins
from learned_codec.models.layered.network import LayeredNetwork
from learned_codec.models.network import BaseNetwork, Network, transform_name
from learned_codec.models.weights import LEVEL_TABLES, Weights

from .adaptations import principal
from .layered_export import layered_tensors
from .quantise import ExactTensors, Ranges

TABLE_FITS = 2
"""RDOQ depends on the tables, and the tables on its symbols, so they are fitted twice."""


@torch.inference_mode()
def ranges_of(network: BaseNetwork, images: list[Tensor]) -> Ranges:
    """The ranges of the entropy networks' activations for (bands, H, W) images in [0, 1]."""
    entropy = network.entropy
    watched: dict[str, nn.Module] = {"hyper_synthesis": entropy.hyper_synthesis}
    watched |= {
        name: module
        for name, module in entropy.named_modules()
        if name.startswith(("hyper_synthesis.", "steps.", "layers."))
        and not name.endswith(("from_latents", "from_features", "leave"))
    }
    ranges = Ranges(watched, entropy.hyper_synthesis.up1)
    for image in images:
        for level in np.linspace(0, network.config.levels - 1, 4):
            entropy(network.analyse(image[None]), torch.tensor([level], dtype=torch.float32))
    ranges.close()
    return ranges


def quantise_entropy(entropy: EntropyModel, ranges: Ranges) -> dict[str, Tensor]:
    """The `exact.*` tensors of a weights file."""
    exact = ExactTensors(ranges)
    features = exact.put_features(entropy)
    latents = entropy.config.latents
    leave_bits = torch.cat([torch.full((latents,), MU_BITS), torch.full((latents,), LOG2_BITS)])
    for index, step in enumerate(entropy.steps):
        exact.put_pass(f"steps.{index}", step, features, leave_bits)
    return exact.tensors


def _first_tensors(network: Network, ranges: Ranges) -> dict[str, Tensor]:
    state = network.state_dict()
    transforms = {name: state.pop(key).half() for key in list(state) if (name := transform_name(key))}
    levels = {name: state.pop(key).float() for name, key in LEVEL_TABLES.items()}
    exact = quantise_entropy(network.entropy, ranges)
    parts = {"transforms": transforms, "levels": levels, "exact": exact}
    parts["training"] = {key: value.half() for key, value in state.items()}
    return {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}


@torch.inference_mode()
def build(network: BaseNetwork, images: list[Tensor], tables: ScaleTables) -> bytes:
    """The weights file of a trained network, with activation ranges calibrated on (bands, H, W) images in [0, 1]."""
    network.eval()
    ranges = ranges_of(network, images)
    if isinstance(network, LayeredNetwork):
        tensors = layered_tensors(network, ranges)
    else:
        assert isinstance(network, Network)  # noqa: S101 - there are two generations
        tensors = _first_tensors(network, ranges)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    arrays |= {"tables.counts": tables.counts, "tables.reaches": tables.reaches}
    return weights.to_bytes(network.config, arrays)


def histograms(model: BaseModel, images: Iterable[Tensor]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """How often each magnitude occurs in each scale bin, over all levels (for `fitted_tables`)."""
    reaches = model.coder_models.reaches
    counts = [np.zeros(int(reach) + 2) for reach in reaches]
    for image in images:
        y = model.analyse(image.numpy())
        for step in range(0, model.max_step + 1, QUALITY_STEPS):
            for symbols, sizes in model.code(y, step).encoder.groups:
                for b, mine in enumerate(np.split(np.abs(symbols), np.cumsum(sizes)[:-1])):
                    counts[b] += np.bincount(np.minimum(mine, reaches[b] + 1), minlength=int(reaches[b]) + 2)
    return counts


@torch.inference_mode()
def exactness_cost(network: BaseNetwork, exported: Weights, images: Iterable[Tensor]) -> float:
    """What the integers cost: the bits of the integer networks relative to those of the floating-point ones, minus one.

    Both code the same latents, rounded to the nearest, with the same scale tables, at all levels.
    """
    model, tables = model_of(exported), exported.scale_tables()
    exact = floating = 0.0
    for image in images:
        y = model.analyse(image.numpy())
        for level in range(network.config.levels):
            exact += model.code(y, level * QUALITY_STEPS, plain=True).encoder.bits
            coded = network.entropy(torch.from_numpy(y).permute(2, 0, 1)[None], torch.tensor([float(level)]))
            for symbols, log2_scale in ((coded.residual, coded.log2_scale), (coded.hyper, coded.hyper_log2_scale)):
                bins = to_bins(torch.round(log2_scale * 2**LOG2_BITS).numpy())
                floating += tables.bits(symbols.to(torch.int32).numpy().ravel(), bins.ravel())
    return exact / floating - 1


def export(network: BaseNetwork, images: list[Tensor], device: str = "cpu") -> Weights:
    """Calibrate and quantise a trained network on training images (sides multiples of 64)."""
    exported = weights.from_bytes(build(network, images, gaussian_tables()), "export")
    for _ in range(TABLE_FITS):
        fitted = fitted_tables(histograms(model_of(exported, engine_for(device)), images))
        exported = weights.from_bytes(build(network, images, fitted), "export")
    return exported


def adapted(exported: Weights, views: Iterable[Tensor], device: str = "cpu") -> Weights:
    """The weights with the refinement's adaptations fitted to `views` (sides multiples of 16), if there are any."""
    changes = principal(model_of(exported, engine_for(device)), views)
    if changes is None:
        return exported
    (key,) = (name for name in exported.tensors if name.endswith("refinement.adaptations"))
    tensors = dict(exported.tensors) | {key: changes.half().numpy()}
    return weights.from_bytes(weights.to_bytes(exported.config, tensors), "export")


def write(exported: Weights, folder: Path, name: str, facts: dict[str, Any]) -> Path:
    """Write a model to `folder/name.safetensors`, with `facts` in its card `folder/name.json`.

    Replaces existing files.
    """
    data = weights.to_bytes(exported.config, exported.tensors)
    path = folder / f"{name}.safetensors"
    card = {
        "name": name,
        "weights_id": weights.weights_id(data).hex(),
        "bands": exported.config.bands,
        "max_step": exported.config.max_step,
        "adaptations": exported.config.adaptations,
        **facts,
    }
    with atomic_write(path, overwrite=True) as stream:
        stream.write(data)
    with atomic_write(path.with_suffix(".json"), overwrite=True) as stream:
        stream.write(json.dumps(card, indent=2).encode() + b"\n")
    return path
