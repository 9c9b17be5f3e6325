"""Give a trained model more latent channels.

What a model with few channels cannot represent sets a floor under its distortion, which shows at high rates. The new
channels are a transform code of the remainder: the best linear prediction, from a block, of what the model loses of it
without any quantisation, in its principal components. The networks' new weights are zero, so the grown model is the old
one plus that code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from learned_codec.errors import TrainingError
from learned_codec.models.config import BLOCK, CONTEXT_STEPS, ModelConfig
from learned_codec.models.hyperprior import interpolate
from learned_codec.models.network import Network


def grow(network: Network, latents: int, images: list[Tensor]) -> Network:
    """A network with `latents` channels made of one with fewer; `images` are batches (B, bands, H, W) in [0, 1].

    New channels go to the end of each channel group, so that every old one keeps its place in the coding order.
    """
    old = network.config
    if latents <= old.latents or latents % CONTEXT_STEPS:
        raise TrainingError(f"latents must be a multiple of {CONTEXT_STEPS} above {old.latents}, got {latents}")
    config = replace(old, latents=latents)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    share, old_share = latents // CONTEXT_STEPS, old.latents // CONTEXT_STEPS
    place = torch.cat([torch.arange(old_share) + g * share for g in range(CONTEXT_STEPS)])
    fresh = torch.tensor([i for i in range(latents) if i not in set(place.tolist())])
    # Components are dealt out in turn: every step of the coding order gets strong and weak ones.
    fresh = fresh.reshape(CONTEXT_STEPS, -1).T.reshape(-1)

    def widen(name: str, dim: int, new: Tensor | float) -> None:
        value = state[name]
        shape = list(value.shape)
        shape[dim] = latents
        wide = torch.zeros(shape, dtype=value.dtype)
        wide.index_copy_(dim, place, value)
        filler = new if isinstance(new, Tensor) else torch.full((*shape[:dim], len(fresh), *shape[dim + 1 :]), new)
        wide.index_copy_(dim, fresh, filler.to(value.dtype))
        state[name] = wide

    analysis, synthesis, sigma = _remainder(network.eval(), len(fresh), images)
    widen("analysis.skeleton.weight", 0, analysis)
    widen("synthesis.skeleton.weight", 0, synthesis)
    widen("entropy.log2_sigma", 0, torch.log2(sigma.clamp(min=1e-3)))
    widen("entropy.log2_gain", 1, state["entropy.log2_gain"].mean(1, keepdim=True).expand(-1, len(fresh)))
    widen("log2_inverse", 1, 0.0)
    last = max(int(name.split(".")[2]) for name in state if name.startswith("analysis.network."))
    for name, dim in (
        (f"analysis.network.{last}.weight", 0),
        (f"analysis.network.{last}.bias", 0),
        ("synthesis.enter.weight", 1),
        ("entropy.hyper_analysis.network.0.weight", 1),
        *((f"entropy.steps.{step}.from_latents.weight", 1) for step in range(1, CONTEXT_STEPS)),
    ):
        widen(name, dim, 0.0)
    for step in range(CONTEXT_STEPS):
        for part in ("weight", "bias"):
            name = f"entropy.steps.{step}.leave.{part}"
            halves = []
            for half in state[name].chunk(2):
                state[name] = half
                widen(name, 0, 0.0)
                halves.append(state[name])
            state[name] = torch.cat(halves)
    grown = Network(config)
    grown.load_state_dict(state)
    return grown


@torch.no_grad()
def _remainder(network: Network, count: int, images: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Analysis and synthesis blocks (count, bands, 16, 16) of what the model loses, and their latents' sigma."""
    size = network.config.bands * BLOCK**2
    xx, rx = (torch.zeros(size, size, dtype=torch.float64) for _ in range(2))
    blocks = 0
    for x in images:
        level = torch.full((len(x),), float(network.config.levels - 1))
        scaled = network.analysis(x) * torch.exp2(interpolate(network.entropy.log2_gain, level))
        left = _blocks(x - network.synthesise(scaled, level))
        rows = _blocks(x - 0.5)
        xx += rows.T @ rows
        rx += left.T @ rows
        blocks += len(rows)
    ridge = 1e-6 * xx.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    prediction = torch.linalg.solve(xx + ridge, rx.T).T
    values, vectors = torch.linalg.eigh(prediction @ xx @ prediction.T)
    basis = vectors[:, torch.argsort(values, descending=True)[:count]].T
    analysis = basis @ prediction
    sigma = ((analysis @ xx) * analysis).sum(1).div(blocks).sqrt()
    shape = (count, network.config.bands, BLOCK, BLOCK)
    return analysis.float().reshape(shape), basis.float().reshape(shape), sigma.float()


def _blocks(x: Tensor) -> Tensor:
    """(B, bands, H, W) -> (blocks, bands * 256) float64."""
    return (
        x.unfold(2, BLOCK, BLOCK)
        .unfold(3, BLOCK, BLOCK)
        .permute(0, 2, 3, 1, 4, 5)
        .reshape(-1, x.shape[1] * BLOCK**2)
        .double()
    )


def state_of(network: Network) -> dict[str, Any]:
    """A checkpoint to start a run from."""
    weights = network.state_dict()
    return {"network": weights, "average": weights, "model": ModelConfig.to_dict(network.config)}
