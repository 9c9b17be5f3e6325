"""The floating-point network and a weights file: which parameter goes where, and back from file to network."""

from __future__ import annotations

from learned_codec.errors import WeightsError

from .network import Network
from .weights import Weights

LEVELS = {
    "entropy.log2_gain": "log2_gain",
    "entropy.log2_sigma": "log2_sigma",
    "log2_inverse": "log2_inverse",
    "entropy.hyper_gain": "hyper_gain",
    "entropy.hyper_bias": "hyper_bias",
    "synthesis.refinement.level_bias": "refinement_bias",
    "synthesis.refinement.level_scale": "refinement_scale",
}
"""The network's parameters that a weights file keeps in float32, and their names there."""


def transform_name(key: str) -> str | None:
    """A network parameter's name among the `transforms` of a weights file, or None if it is not there."""
    name = key.removeprefix("entropy.")
    kept = name.startswith(("analysis.", "synthesis.", "hyper_analysis.")) and key not in LEVELS
    return name if kept else None


def network_of_weights(source: Weights) -> Network:
    """The floating-point network behind a weights file (to float16), to train further or to optimise latents with.

    Raises `WeightsError` if the file lacks what it was made from.
    """
    network = Network(source.config)
    parts = {part: source.part(part) for part in ("transforms", "levels", "training")}
    state = {}
    for key, value in network.state_dict().items():
        name = transform_name(key)
        part, name = ("transforms", name) if name else ("levels", LEVELS[key]) if key in LEVELS else ("training", key)
        if name not in parts[part]:
            raise WeightsError(f"the weights lack {part}.{name}, which only training and encoder effort need")
        state[key] = parts[part][name].to(value.dtype)
    network.load_state_dict(state)
    return network.eval()
