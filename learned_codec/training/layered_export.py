"""A model of the second generation from trained networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learned_codec.entropy import ScaleTables
from learned_codec.errors import TrainingError
from learned_codec.models.block_transform import BlockTransform
from learned_codec.models.exact import HYPER_INPUT_BITS, LATENT_BITS, LOG2_BITS, MU_BITS
from learned_codec.models.layered.config import MEANS
from learned_codec.models.layered.network import TABLES, ConditionedRefinement, LayeredEntropy, Pass

from .export import Ranges, quantise_layer


@torch.inference_mode()
def calibrated(entropy: LayeredEntropy, latents: Iterable[Tensor], levels: Iterable[float]) -> Ranges:
    """The ranges of the activations for (latents, h, w) analysed latents at some levels."""
    watched: dict[str, nn.Module] = {"hyper_synthesis": entropy.hyper_synthesis}
    watched |= {
        name: module
        for name, module in entropy.named_modules()
        if name.startswith(("hyper_synthesis.", "layers."))
        and not isinstance(module, Pass)
        and not name.endswith(("from_latents", "from_features", "leave"))
    }
    ranges = Ranges(watched, entropy.hyper_synthesis.up1)
    chosen = list(levels)
    for y in latents:
        for level in chosen:
            entropy(y[None], torch.tensor([level]))
    ranges.close()
    return ranges


def quantised(entropy: LayeredEntropy, ranges: Ranges) -> dict[str, Tensor]:
    """The `exact.*` tensors of a weights file, without that prefix. Raises `TrainingError`."""
    tensors: dict[str, Tensor] = {}

    def put(name: str, parts: list[tuple[Any, int]], output_bits: int | Tensor) -> None:
        bias = parts[0][0].bias
        if bias is None:
            raise TrainingError(f"the layer {name} of the entropy networks has no bias")
        bits = output_bits if isinstance(output_bits, Tensor) else torch.full((len(bias),), output_bits)
        weights = [(conv.weight if len(parts) == 1 else conv.weight.flatten(1), own) for conv, own in parts]
        for key, value in quantise_layer(weights, bias, bits).items():
            tensors[f"{name}.{key}"] = value

    def put_block(name: str, module: Any, bits: int) -> None:
        inner, wide = ranges.bits(f"{name}.depthwise"), ranges.bits(f"{name}.expand")
        put(f"{name}.depthwise", [(module.depthwise, bits)], inner)
        put(f"{name}.expand", [(module.expand, inner)], wide)
        put(f"{name}.project", [(module.project, wide)], bits)

    hs = entropy.hyper_synthesis
    stream = min(ranges.bits(n) for n in ("input", *(f"hyper_synthesis.{m}" for m in ("up1", "block", "up2"))))
    feature_bits = ranges.bits("hyper_synthesis")
    put("hyper_synthesis.up1", [(hs.up1.conv, stream)], stream)
    put_block("hyper_synthesis.block", hs.block, stream)
    put("hyper_synthesis.up2", [(hs.up2.conv, stream)], stream)
    put("hyper_synthesis.leave", [(hs.leave, stream)], feature_bits)
    for layer, _, name in entropy.config.passes():
        module: Any = entropy.get_submodule(name)
        bits = min(ranges.bits(f"{name}.enter"), ranges.bits(f"{name}.block"))
        enter = [(module.from_features, feature_bits)]
        if module.from_latents is not None:
            enter.append((module.from_latents, LATENT_BITS))
        put(f"{name}.enter", enter, bits)
        put_block(f"{name}.block", module.block, bits)
        leave_bits = torch.full((len(module.leave.bias),), LOG2_BITS)
        if layer < MEANS:
            leave_bits[: len(leave_bits) // 2] = MU_BITS
        put(f"{name}.leave", [(module.leave, bits)], leave_bits)

    unit = entropy.log2_gain + entropy.log2_sigma
    tables = {
        "unit": unit * 2**LOG2_BITS,
        "hyper_log2_scale": entropy.hyper_log2_scale * 2**LOG2_BITS,
        "input_scale": entropy.hyper_input_scale * 2.0 ** (stream + HYPER_INPUT_BITS),
        "input_bias": entropy.hyper_input_bias * 2.0 ** (stream + HYPER_INPUT_BITS),
        "feature_bias": entropy.feature_bias * 2.0**feature_bits,
    }
    tensors |= {f"tables.{k}": torch.round(v.detach().double()).to(torch.int32) for k, v in tables.items()}
    return tensors


def weights_of(
    entropy: LayeredEntropy,
    refinement: ConditionedRefinement,
    log2_inverse: Tensor,
    transform: BlockTransform,
    ranges: Ranges,
    tables: ScaleTables,
) -> dict[str, NDArray[Any]]:
    """All tensors of a weights file, which `LayeredModel` takes."""
    networks = {f"refinement.{name}": tensor for name, tensor in refinement.state_dict().items()}
    networks |= {f"hyper_analysis.network.{name}": x for name, x in entropy.hyper_analysis.state_dict().items()}
    kept = ("hyper_analysis.", *(key.removeprefix("entropy.") for key in TABLES.values()))
    training = {name: x for name, x in entropy.state_dict().items() if not name.startswith(kept)}
    levels = {
        "log2_gain": entropy.log2_gain,
        "log2_sigma": entropy.log2_sigma,
        "log2_inverse": log2_inverse,
        "hyper_gain": entropy.hyper_gain,
        "hyper_bias": entropy.hyper_bias,
        "refinement_bias": networks.pop("refinement.level_bias"),
        "refinement_scale": networks.pop("refinement.level_scale"),
        "refinement_condition": networks.pop("refinement.cond_level"),
    }
    found = {f"transforms.{name}": tensor.half().numpy() for name, tensor in networks.items()}
    found |= {f"training.{name}": tensor.half().numpy() for name, tensor in training.items()}
    found |= {f"levels.{name}": tensor.detach().float().contiguous().numpy() for name, tensor in levels.items()}
    found |= {f"exact.{name}": tensor.numpy() for name, tensor in quantised(entropy, ranges).items()}
    found |= {f"transforms.{name}": getattr(transform, name).astype(np.float32)
              for name in ("forward", "inverse", "pre_filter", "post_filter")}  # fmt: skip
    outputs, width = refinement.leave.weight.shape[:2]
    found["transforms.refinement.adaptations"] = np.zeros((refinement.config.adaptations, outputs, width), np.float16)
    found["transforms.components"] = transform.components.astype(np.int16)
    return found | {"tables.counts": tables.counts, "tables.reaches": tables.reaches}
