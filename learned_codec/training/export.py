"""From a checkpoint to a weights file: calibrate, quantise the entropy networks to integers, fit the scale tables.

Activation ranges and scale tables are measured on training images. The card beside the weights records how many more
bits the integers take than the floating-point networks, on held-out images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_codec.atomic import atomic_write
from learned_codec.entropy import ScaleTables, gaussian_tables
from learned_codec.entropy.tables import fitted_tables
from learned_codec.models import weights
from learned_codec.models.config import QUALITY_STEPS
from learned_codec.models.engine import engine_for
from learned_codec.models.integers import LOG2_BITS, to_bins
from learned_codec.models.model import Model
from learned_codec.models.network import Network
from learned_codec.models.weights import LEVEL_TABLES, Weights

from .adaptations import principal
from .quantise import Ranges, quantised

TABLE_FITS = 2
"""RDOQ depends on the tables, and the tables on its symbols, so they are fitted twice."""


@torch.inference_mode()
def ranges_of(network: Network, images: list[Tensor]) -> Ranges:
    """The ranges of the entropy networks' activations for (bands, H, W) images in [0, 1]."""
    entropy = network.entropy
    watched: dict[str, nn.Module] = {"hyper_synthesis": entropy.hyper_synthesis}
    watched |= {
        name: module
        for name, module in entropy.named_modules()
        if name.startswith(("hyper_synthesis.", "layers."))
        and not name.endswith(("from_latents", "from_features", "leave"))
    }
    ranges = Ranges(watched, entropy.hyper_synthesis.up1)
    for image in images:
        for level in np.linspace(0, network.config.levels - 1, 4):
            entropy(network.analyse(image[None]), torch.tensor([level], dtype=torch.float32))
    ranges.close()
    return ranges


def _tensors(network: Network, ranges: Ranges) -> dict[str, Tensor]:
    """All tensors of a weights file but its scale tables."""
    state, transform = network.state_dict(), network.transform
    found = {f"levels.{table}": state.pop(key).float().contiguous() for table, key in LEVEL_TABLES.items()}
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


@torch.inference_mode()
def build(network: Network, images: list[Tensor], tables: ScaleTables) -> bytes:
    """The weights file of a trained network, with activation ranges calibrated on (bands, H, W) images in [0, 1]."""
    network.eval()
    tensors = _tensors(network, ranges_of(network, images))
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    arrays |= {"tables.counts": tables.counts, "tables.reaches": tables.reaches}
    return weights.to_bytes(network.config, arrays)


def histograms(model: Model, images: Iterable[Tensor]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """How often each magnitude occurs in each table, over all levels (for `fitted_tables`)."""
    reaches = model.coder_models.reaches
    counts = [np.zeros(int(reach) + 2) for reach in reaches]
    for image in images:
        y = model.analyse(image.numpy())
        for step in range(0, model.max_step + 1, QUALITY_STEPS):
            groups = (model.code(y, step, dependent=dependent).encoder.groups for dependent in (False, True))
            for group in chain.from_iterable(groups):
                for number in np.unique(group.numbers).tolist():
                    mine, most = np.abs(group.symbols[group.numbers == number]), int(reaches[number]) + 1
                    counts[number] += np.bincount(np.minimum(mine, most), minlength=most + 1)
    return counts


@torch.inference_mode()
def exactness_cost(network: Network, exported: Weights, images: Iterable[Tensor]) -> float:
    """What the integers cost: the bits of the integer networks relative to those of the floating-point ones, minus one.

    Both code the same latents, rounded to the nearest, with the same scale tables, at all levels.
    """
    model, tables = Model(exported), exported.scale_tables()
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


def export(network: Network, images: list[Tensor], device: str = "cpu") -> Weights:
    """Calibrate and quantise a trained network on training images (sides multiples of 64)."""
    exported = weights.from_bytes(build(network, images, gaussian_tables()), "export")
    for _ in range(TABLE_FITS):
        fitted = fitted_tables(histograms(Model(exported, engine_for(device)), images))
        exported = weights.from_bytes(build(network, images, fitted), "export")
    return exported


def adapted(exported: Weights, views: Iterable[Tensor], device: str = "cpu") -> Weights:
    """The weights with the refinement's adaptations fitted to `views` (sides multiples of 16), if there are any."""
    changes = principal(Model(exported, engine_for(device)), views)
    if changes is None:
        return exported
    tensors = dict(exported.tensors) | {"transforms.refinement.adaptations": changes.half().numpy()}
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
