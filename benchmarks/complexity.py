"""Multiply-accumulates (MACs) per pixel: ours, CompressAI's architectures with random weights, and published figures.

Convolutions, transposed convolutions and matrix products are counted while they run, by hooks on the modules.
Activations, norms and the entropy coder aren't counted. A MAC is a multiplication and an addition.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from . import compressai_peers, environment, markdown

#: Parts of CompressAI's models that only encoders run.
_ENCODER_ONLY = ("g_a", "h_a")
_SIZE = 512


def module_macs(module: Any, inputs: Any, output: Any) -> int:
    """The MACs of one call of a module without children; 0 if it has no weights to multiply with."""
    torch = importlib.import_module("torch")
    nn = torch.nn
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        # every input sample is multiplied with all taps of all output channels of its group
        taps = module.weight[0].numel()
        return int(inputs[0].numel() * taps)
    if isinstance(module, nn.modules.conv._ConvNd):
        taps = module.weight[0].numel()
        return int(output.numel() * taps)
    if isinstance(module, nn.Linear):
        return int(output.numel() * module.in_features)
    return 0


def count(model: Any, *inputs: Any) -> dict[str, int]:
    """The MACs of each direct child of a model in one call of `model(*inputs)`."""
    totals: dict[str, int] = {}
    handles = []
    for name, child in model.named_children():
        totals[name] = 0
        for leaf in child.modules():

            def add(module: Any, given: Any, output: Any, name: str = name) -> None:
                totals[name] += module_macs(module, given, output)

            handles.append(leaf.register_forward_hook(add))
    try:
        with importlib.import_module("torch").inference_mode():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return totals


def ours() -> list[dict[str, Any]]:
    """The MACs of our models, by `learned_codec.models.complexity`. Raises ImportError if that is missing."""
    package = importlib.import_module("learned_codec")
    module = importlib.import_module("learned_codec.models.complexity")
    rows = []
    for card in package.list_models():
        name = str(getattr(card, "id", getattr(card, "name", card)))
        row = {"name": name, "source": "learned_codec.models.complexity", "random_weights": False}
        row["decoder_kmac_per_pixel"] = float(module.decoder_kmac_per_pixel(name))
        encoder = getattr(module, "encoder_kmac_per_pixel", None)
        row["encoder_kmac_per_pixel"] = float(encoder(name)) if encoder else None
        rows.append(row)
    return rows


def compressai() -> list[dict[str, Any]]:
    """The MACs of CompressAI's architectures with random weights. Raises ImportError if compressai is missing."""
    importlib.import_module("compressai")
    torch = importlib.import_module("torch")
    rows = []
    for architecture in compressai_peers.ARCHITECTURES:
        parts = count(compressai_peers.model(architecture), torch.rand(1, 3, _SIZE, _SIZE))
        pixels = _SIZE * _SIZE * 1000
        rows.append(
            {
                "name": architecture,
                "source": "counted here on CompressAI's architecture with random weights",
                "random_weights": True,
                "decoder_kmac_per_pixel": sum(n for p, n in parts.items() if p not in _ENCODER_ONLY) / pixels,
                "encoder_kmac_per_pixel": sum(n for p, n in parts.items() if p != "g_s") / pixels,
            }
        )
    return rows


def published() -> list[dict[str, Any]]:
    """The figures in `published/`, with their sources."""
    rows = []
    for path in sorted((Path(__file__).parent / "published").glob("*.json")):
        point = json.loads(path.read_text())
        if point["decoder_kmac_per_pixel"] is not None:
            rows.append(
                {
                    "name": point["name"],
                    "source": f"published: {point['decoder_kmac_source']}",
                    "random_weights": False,
                    "decoder_kmac_per_pixel": point["decoder_kmac_per_pixel"],
                    "encoder_kmac_per_pixel": None,
                }
            )
    return rows


def run(command: str = "") -> dict[str, Any]:
    rows, skipped = [], []
    for name, source in (("ours", ours), ("compressai", compressai)):
        try:
            rows += source()
        except (ImportError, AttributeError, TypeError) as error:
            skipped.append({"codec": name, "reason": f"{type(error).__name__}: {error}"})
    rows += published()
    rows.sort(key=lambda row: float(row["decoder_kmac_per_pixel"]))
    return {"command": command, "environment": environment.describe(), "rows": rows, "skipped": skipped}


def table(result: dict[str, Any]) -> str:
    lines = markdown.head("model", "decoder kMAC/px", "encoder kMAC/px", "source")
    for row in result["rows"]:
        counts = (markdown.number(row[f"{side}_kmac_per_pixel"], 1) for side in ("decoder", "encoder"))
        lines.append(markdown.row(row["name"], *counts, row["source"]))
    lines += ["", *(f"left out: {s['codec']} ({s['reason']})" for s in result["skipped"])]
    return "\n".join(lines).rstrip()
