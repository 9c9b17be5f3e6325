"""The entropy networks in integers: how precise each layer can be, and its tensors in a weights file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

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
)

CLIP_QUANTILE = 0.9999
"""Activations beyond this quantile of the calibration images (and a margin of 1.25) are clipped."""


class Ranges:
    """The ranges of the entropy networks' activations, recorded by hooks while calibration images are coded."""

    def __init__(self, watched: Mapping[str, nn.Module], first: nn.Module) -> None:
        """Record what comes out of the modules `watched`, and as "input" what goes into the `first` one."""
        self.seen: dict[str, list[float]] = {}
        self.hooks = [m.register_forward_hook(self._record(n)) for n, m in watched.items()]
        self.hooks.append(first.register_forward_pre_hook(self._record_input))

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
        """Stop recording."""
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


class ExactTensors:
    """Collects the `exact.*` tensors of a weights file, without that prefix. Raises `TrainingError`."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges, self.tensors = ranges, dict[str, Tensor]()

    def put(self, name: str, parts: list[tuple[Any, int]], output_bits: int | Tensor) -> None:
        """A layer: the sum of some, each with the fractional bits of its input. The first one has the bias."""
        bias = parts[0][0].bias
        if bias is None:
            raise TrainingError(f"the layer {name} of the entropy networks has no bias")
        bits = output_bits if isinstance(output_bits, Tensor) else torch.full((len(bias),), output_bits)
        weights = [(conv.weight if len(parts) == 1 else conv.weight.flatten(1), own) for conv, own in parts]
        for key, value in quantise_layer(weights, bias, bits).items():
            self.tensors[f"{name}.{key}"] = value

    def put_block(self, name: str, module: Any, bits: int) -> None:
        """A `ResidualBlock` whose input and output have `bits` fractional bits."""
        inner, wide = self.ranges.bits(f"{name}.depthwise"), self.ranges.bits(f"{name}.expand")
        self.put(f"{name}.depthwise", [(module.depthwise, bits)], inner)
        self.put(f"{name}.expand", [(module.expand, inner)], wide)
        self.put(f"{name}.project", [(module.project, wide)], bits)

    def put_features(self, entropy: EntropyModel) -> int:
        """The hyper-synthesis and the tables. Returns the fractional bits of features."""
        ranges, hs = self.ranges, entropy.hyper_synthesis
        # One number of fractional bits for all sums of residual blocks, so that they need no rescaling.
        stream = min(ranges.bits(n) for n in ("input", *(f"hyper_synthesis.{m}" for m in ("up1", "block", "up2"))))
        features = ranges.bits("hyper_synthesis")
        self.put("hyper_synthesis.up1", [(hs.up1.conv, stream)], stream)
        self.put_block("hyper_synthesis.block", hs.block, stream)
        self.put("hyper_synthesis.up2", [(hs.up2.conv, stream)], stream)
        self.put("hyper_synthesis.leave", [(hs.leave, stream)], features)
        tables = {
            "unit": (entropy.log2_gain + entropy.log2_sigma) * 2**LOG2_BITS,
            "hyper_log2_scale": entropy.hyper_log2_scale * 2**LOG2_BITS,
            "input_scale": entropy.hyper_input_scale * 2.0 ** (stream + HYPER_INPUT_BITS),
            "input_bias": entropy.hyper_input_bias * 2.0 ** (stream + HYPER_INPUT_BITS),
            "feature_bias": entropy.feature_bias * 2.0**features,
        }
        rounded = {f"tables.{k}": torch.round(v.detach().double()).to(torch.int32) for k, v in tables.items()}
        self.tensors.update(rounded)
        return features

    def put_pass(self, name: str, module: Any, features: int, leave_bits: Tensor) -> None:
        """The networks of a pass. `features` are the fractional bits of these."""
        bits = min(self.ranges.bits(f"{name}.enter"), self.ranges.bits(f"{name}.block"))
        enter = [(module.from_features, features)]
        if module.from_latents is not None:
            enter.append((module.from_latents, LATENT_BITS))
        self.put(f"{name}.enter", enter, bits)
        self.put_block(f"{name}.block", module.block, bits)
        self.put(f"{name}.leave", [(module.leave, bits)], leave_bits)


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
