"""From a checkpoint to a weights file: calibrate, quantise the entropy networks to integers, fit the scale tables.

Activation ranges and scale tables are measured on training images. The card beside the weights records how many more
bits the integers take than the floating-point networks, on held-out images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_codec.atomic import atomic_write
from learned_codec.entropy import ScaleTables, gaussian_tables
from learned_codec.entropy.tables import fitted_tables
from learned_codec.errors import TrainingError
from learned_codec.models import weights
from learned_codec.models.config import QUALITY_STEPS
from learned_codec.models.engine import engine_for
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.exact import (
    ACTIVATION_MAX,
    EXACT_BITS,
    HYPER_INPUT_BITS,
    LATENT_BITS,
    LOG2_BITS,
    MU_BITS,
    to_bins,
)
from learned_codec.models.model import Model
from learned_codec.models.network import Network, transform_name
from learned_codec.models.weights import LEVEL_TABLES, Weights

from .adaptations import principal

CLIP_QUANTILE = 0.9999
"""Activations beyond this quantile of the calibration images (and a margin of 1.25) are clipped."""


TABLE_FITS = 2
"""RDOQ depends on the tables, and the tables on its symbols, so they are fitted twice."""


class Ranges:
    """The ranges of the entropy networks' activations, recorded by hooks while calibration images are coded."""

    def __init__(self, watched: Mapping[str, nn.Module], first: nn.Module) -> None:
        """Of what comes out of these modules, and, as "input", of what goes into the first one."""
        self.seen: dict[str, list[float]] = {}
        self.hooks = [m.register_forward_hook(self._record(n)) for n, m in watched.items()]
        self.hooks.append(first.register_forward_pre_hook(self._record_input))

    @classmethod
    def of(cls, entropy: EntropyModel) -> Ranges:
        """Those of the first generation's entropy model."""
        watched: dict[str, nn.Module] = {"hyper_synthesis": entropy.hyper_synthesis}
        watched |= {
            name: module
            for name, module in entropy.named_modules()
            if name.startswith(("hyper_synthesis.", "steps.")) and not name.endswith(("from_latents", "leave"))
        }
        return cls(watched, entropy.hyper_synthesis.up1)

    def _record(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._add(name, (output[0] if isinstance(output, tuple) else output).float())

        return hook

    def _record_input(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._add("input", inputs[0].float())

    def _add(self, name: str, values: Tensor) -> None:
        flat = values.detach().abs().flatten()
        rank = max(1, math.ceil((1 - CLIP_QUANTILE) * flat.numel()))
        self.seen.setdefault(name, []).append(flat.topk(rank).values[-1].item())

    def bits(self, name: str) -> int:
        """The fractional bits with which activations of a layer fit into ACTIVATION_MAX."""
        return math.floor(math.log2(ACTIVATION_MAX / (1.25 * max(*self.seen[name], 1e-3))))

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def quantise_layer(parts: list[tuple[Tensor, int]], bias: Tensor, output_bits: Tensor) -> dict[str, Tensor]:
    """Integers for sum_i(weight_i * input_i) + bias. Each output channel is as precise as the exactness bound allows.

    `parts` are (weight, fractional bits of its input); weights are (out, in) or (C, 1, 3, 3). `output_bits` (out,) are
    the fractional bits of each output.
    """
    shapes = [w.shape[1:] for w, _ in parts]
    scaled = torch.cat([w.double().flatten(1) * 2.0**-bits for w, bits in parts], 1)
    bias = bias.double()
    best = torch.full((len(bias),), -1.0, dtype=torch.float64)
    for k in range(40):
        integers = torch.round(scaled * 2.0**k)
        shift = k - output_bits
        reach = integers.abs().sum(1) * ACTIVATION_MAX + (
            torch.round(bias * 2.0**k).abs() + torch.exp2(shift.double() - 1)
        )
        fits = (reach < 2**EXACT_BITS) & (integers.abs().amax(1) < 2**15) & (shift >= 1)
        best = torch.where(fits, float(k), best)
    if (best < 0).any():
        raise TrainingError("a layer of the entropy networks cannot be made exact: its weights are too large")
    integers = torch.round(scaled * torch.exp2(best)[:, None])
    shape = shapes[0] if len(parts) == 1 else (integers.shape[1],)
    weight = integers.reshape(len(bias), *shape)
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    return {
        "weight": weight.to(torch.int16),
        "bias": torch.round(bias * torch.exp2(best)).to(torch.int32),
        "shift": (best - output_bits).to(torch.int8),
    }


def quantise_entropy(entropy: EntropyModel, ranges: Ranges) -> dict[str, Tensor]:
    """The `exact.*` tensors of a weights file."""
    tensors: dict[str, Tensor] = {}

    def put(name: str, parts: list[tuple[nn.Conv2d, int]], output_bits: int | Tensor) -> None:
        first = parts[0][0]
        if first.bias is None:
            raise TrainingError(f"the layer {name} of the entropy networks has no bias")
        bits = output_bits if isinstance(output_bits, Tensor) else torch.full((len(first.bias),), output_bits)
        if len(parts) == 1:
            weights_in = [(first.weight, parts[0][1])]
        else:
            weights_in = [(conv.weight.flatten(1), b) for conv, b in parts]
        for key, value in quantise_layer(weights_in, first.bias, bits).items():
            tensors[f"{name}.{key}"] = value

    def put_block(name: str, module: Any, bits: int) -> None:
        """A ResidualBlock whose input and output have `bits` fractional bits."""
        inner, wide = ranges.bits(f"{name}.depthwise"), ranges.bits(f"{name}.expand")
        put(f"{name}.depthwise", [(module.depthwise, bits)], inner)
        put(f"{name}.expand", [(module.expand, inner)], wide)
        put(f"{name}.project", [(module.project, wide)], bits)

    hs = entropy.hyper_synthesis
    # One number of fractional bits for all sums of residual blocks, so that they need no rescaling.
    stream = min(ranges.bits(n) for n in ("input", *(f"hyper_synthesis.{m}" for m in ("up1", "block", "up2"))))
    feature_bits = ranges.bits("hyper_synthesis")
    put("hyper_synthesis.up1", [(hs.up1.conv, stream)], stream)
    put_block("hyper_synthesis.block", hs.block, stream)
    put("hyper_synthesis.up2", [(hs.up2.conv, stream)], stream)
    put("hyper_synthesis.leave", [(hs.leave, stream)], feature_bits)
    latents = entropy.config.latents
    leave_bits = torch.cat([torch.full((latents,), MU_BITS), torch.full((latents,), LOG2_BITS)])
    for index, step in enumerate(entropy.steps):
        name = f"steps.{index}"
        bits = min(ranges.bits(f"{name}.enter"), ranges.bits(f"{name}.block"))
        enter: list[tuple[nn.Conv2d, int]] = [(step.from_features, feature_bits)]  # type: ignore[list-item]
        if step.from_latents is not None:
            enter.append((step.from_latents, LATENT_BITS))  # type: ignore[arg-type]
        put(f"{name}.enter", enter, bits)
        put_block(f"{name}.block", step.block, bits)
        put(f"{name}.leave", [(step.leave, bits)], leave_bits)  # type: ignore[list-item]

    unit = entropy.log2_gain + entropy.log2_sigma
    tables = {
        "unit": unit * 2**LOG2_BITS,
        "hyper_log2_scale": entropy.hyper_log2_scale * 2**LOG2_BITS,
        "input_scale": entropy.hyper_input_scale * 2.0 ** (stream + HYPER_INPUT_BITS),
        "input_bias": entropy.hyper_input_bias * 2.0 ** (stream + HYPER_INPUT_BITS),
        "feature_bias": entropy.feature_bias * 2.0**feature_bits,
    }
    tensors |= {f"tables.{k}": torch.round(v.double()).to(torch.int32) for k, v in tables.items()}
    return tensors


@torch.inference_mode()
def build(network: Network, images: list[Tensor], tables: ScaleTables) -> bytes:
    """The weights file of a trained network, with activation ranges calibrated on (bands, H, W) images in [0, 1]."""
    network.eval()
    ranges = Ranges.of(network.entropy)
    for image in images:
        for level in np.linspace(0, network.config.levels - 1, 4):
            network(image[None], torch.tensor([level], dtype=torch.float32))
    ranges.close()
    state = network.state_dict()
    transforms = {name: state.pop(key).half() for key in list(state) if (name := transform_name(key))}
    levels = {name: state.pop(key).float() for name, key in LEVEL_TABLES.items()}
    exact = quantise_entropy(network.entropy, ranges)
    return weights.to_bytes(
        network.config,
        {f"transforms.{k}": v.numpy() for k, v in transforms.items()}
        | {f"levels.{k}": v.numpy() for k, v in levels.items()}
        | {f"training.{k}": v.half().numpy() for k, v in state.items()}
        | {f"exact.{k}": v.numpy() for k, v in exact.items()}
        | {"tables.counts": tables.counts, "tables.reaches": tables.reaches},
    )


def histograms(model: Model, images: Iterable[Tensor]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
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
    tensors = dict(exported.tensors) | {"transforms.synthesis.refinement.adaptations": changes.half().numpy()}
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
