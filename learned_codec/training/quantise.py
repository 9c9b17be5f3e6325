"""The entropy networks in integers: how precise each layer can be, and its tensors in a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_codec.errors import TrainingError
from learned_codec.models.config import MEANS
from learned_codec.models.entropy_model import EntropyModel
from learned_codec.models.integers import (
    ACTIVATION_MAX,
    EXACT_BITS,
    HYPER_INPUT_BITS,
    LATENT_BITS,
    LOG2_BITS,
    MU_BITS,
    significant,
)

MARGIN = 2.0
"""Activations beyond their largest magnitude in the calibration images, times this, are clipped."""

LEAST_RANGE = 1e-2
"""The least magnitude up to which an activation has a range."""


class Ranges:
    """The ranges of the entropy networks' activations, recorded by hooks while calibration images are coded.

    Each channel has its own.
    """

    def __init__(self, watched: Mapping[str, nn.Module], first: nn.Module) -> None:
        """Record what comes out of the modules `watched`, and as "input" what goes into the `first` one."""
        self.seen: dict[str, Tensor] = {}
        self.hooks = [m.register_forward_hook(self._record(n)) for n, m in watched.items()]
        self.hooks.append(first.register_forward_pre_hook(self._record_input))

    def _record(self, name: str) -> Any:
        positive = name.endswith((".expand", ".up2")) or (name.startswith("layers.") and name.endswith(".block"))

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._add(name, output.clamp(min=0) if positive else output)

        return hook

    def _record_input(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._add("input", inputs[0])

    def _add(self, name: str, values: Tensor) -> None:
        largest = values.detach().float().abs().amax((0, 2, 3))
        if name.endswith(".conv"):  # of a `PlainUp`: its four places of a channel become one
            largest = largest.reshape(-1, 4).amax(1)
        self.seen[name] = torch.maximum(self.seen.get(name, largest), largest)

    def bits(self, *names: str) -> Tensor:
        """(channels,) the log2 of the factors with which the activations of these layers fit into ACTIVATION_MAX."""
        largest = torch.stack([self.seen[name] for name in names]).amax(0).double()
        return torch.log2(ACTIVATION_MAX / (MARGIN * largest.clamp(min=LEAST_RANGE)))

    def close(self) -> None:
        """Stop recording."""
        for hook in self.hooks:
            hook.remove()


def quantise_layer(weight: Tensor, bias: Tensor, input_bits: Tensor, output_bits: Tensor) -> dict[str, Tensor]:
    """Integers for W * input + bias. Each output channel is as precise as the exactness bound allows.

    `weight` is (out, in) or (C, 1, 3, 3). `input_bits` (in,) and `output_bits` (out,) are the log2 of the factors by
    which inputs and outputs have become integers.
    """
    depthwise = weight.ndim == 4
    from_input = torch.exp2(-(input_bits[:, None] if depthwise else input_bits))
    scaled = weight.double().flatten(1) * from_input * torch.exp2(output_bits)[:, None]
    bias = bias.double() * torch.exp2(output_bits)
    best = torch.full((len(bias),), -1.0, dtype=torch.float64)
    for k in range(40):
        integers, added = (_significant(values * 2.0**k) for values in (scaled, bias))
        reach = integers.abs().sum(1) * ACTIVATION_MAX + added.abs()
        fits = (reach < 2**EXACT_BITS) & (integers.abs().amax(1) < 2**15)
        best = torch.where(fits, float(k), best)
    if (best < 0).any():
        raise TrainingError("a layer of the entropy networks cannot be made exact: its weights are too large")
    return {
        "weight": _significant(scaled * torch.exp2(best)[:, None]).reshape(weight.shape).to(torch.int16),
        "bias": _significant(bias * torch.exp2(best)).to(torch.int32),
        "shift": best.to(torch.int8),
    }


def _significant(values: Tensor) -> Tensor:
    """The nearest integers of 8 significant bits."""
    return torch.from_numpy(significant(np.rint(values.numpy())))


class ExactTensors:
    """Collects the `exact.*` tensors of a weights file, without that prefix. Raises `TrainingError`."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges, self.tensors = ranges, dict[str, Tensor]()

    def put(
        self, name: str, conv: nn.Conv2d, input_bits: Tensor, output_bits: Tensor, more: Tensor | None = None
    ) -> None:
        """A layer, with the bits of its inputs and outputs. `more` (out, in) are the weights of its last inputs."""
        if conv.bias is None:
            raise TrainingError(f"the layer {name} of the entropy networks has no bias")
        weight = conv.weight.detach()
        if weight.shape[2:] == (1, 1):
            weight = weight[:, :, 0, 0]
        if more is not None:
            weight = torch.cat([weight, more], 1)
        for key, value in quantise_layer(weight, conv.bias.detach(), input_bits, output_bits).items():
            self.tensors[f"{name}.{key}"] = value

    def put_block(self, name: str, module: Any, bits: Tensor) -> None:
        """A `ResidualBlock` with the `bits` of its input and output."""
        inner, wide = self.ranges.bits(f"{name}.depthwise"), self.ranges.bits(f"{name}.expand")
        self.put(f"{name}.depthwise", module.depthwise, bits, inner)
        self.put(f"{name}.expand", module.expand, inner, wide)
        self.put(f"{name}.project", module.project, wide, bits)

    def put_features(self, entropy: EntropyModel) -> Tensor:
        """The hyper-synthesis and the tables. Returns the bits of features."""
        ranges, hs = self.ranges, entropy.hyper_synthesis
        # The same for all sums of residual blocks, so that they need no rescaling.
        parts = ("up1", "up1.conv", "block", "block.project", "up2", "up2.conv")
        stream = ranges.bits("input", *(f"hyper_synthesis.{part}" for part in parts))
        features, four = ranges.bits("hyper_synthesis"), stream.repeat_interleave(4)
        self.put("hyper_synthesis.up1", hs.up1.conv, stream, four)
        self.put_block("hyper_synthesis.block", hs.block, stream)
        self.put("hyper_synthesis.up2", hs.up2.conv, stream, four)
        self.put("hyper_synthesis.leave", hs.leave, stream, features)
        tables = {
            "unit": (entropy.log2_gain + entropy.log2_sigma) * 2**LOG2_BITS,
            "hyper_log2_scale": entropy.hyper_log2_scale * 2**LOG2_BITS,
            "input_scale": entropy.hyper_input_scale * torch.exp2(stream + HYPER_INPUT_BITS),
            "input_bias": entropy.hyper_input_bias * torch.exp2(stream + HYPER_INPUT_BITS),
            "feature_bias": entropy.feature_bias * torch.exp2(features),
        }
        rounded = {f"tables.{k}": torch.round(v.detach().double()).to(torch.int32) for k, v in tables.items()}
        self.tensors.update(rounded)
        return features

    def put_pass(self, name: str, module: Any, features: Tensor, leave_bits: Tensor) -> None:
        """The networks of a pass. `features` are the bits of these."""
        bits = self.ranges.bits(*(f"{name}.{part}" for part in ("enter", "block.project", "block")))
        known = None
        if module.from_latents is not None:
            known = module.from_latents.weight.detach()[:, :, 0, 0]
            features = torch.cat([features, torch.full(known.shape[1:], LATENT_BITS)])
        self.put(f"{name}.enter", module.from_features, features, bits, known)
        self.put_block(f"{name}.block", module.block, bits)
        self.put(f"{name}.leave", module.leave, bits, leave_bits)


def quantised(entropy: EntropyModel, ranges: Ranges) -> dict[str, Tensor]:
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
