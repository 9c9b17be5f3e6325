"""A model of one band out of a model of three, so that its training need not begin at nothing.

The grey components of the three-band skeleton become the one-band skeleton, with every weight that belongs to them;
what the networks learned of structure, scale and context stays. On grey images the two then nearly agree.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learned_codec.errors import TrainingError
from learned_codec.models.config import BLOCK, CONTEXT_STEPS, ModelConfig
from learned_codec.models.network import Network
from learned_codec.models.resnet_lite import separable_basis


@torch.no_grad()
def to_one_band(source: Network, target: Network) -> None:
    """Fill `target`, an initialised one-band network, from `source`, a three-band one of the same widths.

    `target` may have more quality levels at the upper end, their Lagrangian multipliers in the same ratio; it must have
    all 256 components of the block as latents.
    """
    config = target.config
    if (source.config.bands, config.bands, config.latents) != (3, 1, BLOCK * BLOCK):
        raise TrainingError("only a model of three bands can become one of one band with 256 latents")
    _check_levels(source.config, config)
    grey, chosen = _components(source)
    # `chosen[i]` is the source's latent for latent i of the target, -1 where it has none.
    state, old = target.state_dict(), source.state_dict()
    per_latent = _Channels(chosen, source.config.latents)
    for name, value in old.items():
        new = state[name]
        if name.startswith(("analysis.network.1.", "analysis.skeleton", "synthesis.skeleton")):
            continue
        value = _levels(value, len(new)) if value.ndim == 2 and len(value) == source.config.levels else value
        for axis in range(value.ndim):
            value = per_latent.take(value, axis, new, name)
        if name.startswith(f"synthesis.network.{len(source.synthesis.network) - 2}."):
            value = value.reshape(3, -1, *value.shape[1:]).mean(0)  # depth-to-space: bands are outermost
        if value.shape != new.shape:
            raise TrainingError(f"{name} of shape {tuple(value.shape)} does not fit {tuple(new.shape)}")
        state[name] = value
    for key in ("weight", "bias"):
        value = old[f"analysis.network.1.{key}"]
        if key == "weight":  # three equal bands go in
            value = value.reshape(len(value), 3, -1, 1, 1).sum(1)
        state[f"analysis.network.1.{key}"] = value
    state["analysis.skeleton.weight"], state["synthesis.skeleton.weight"] = grey
    _rescale(state, len(source.analysis.network) - 1)
    target.load_state_dict(state)


def _rescale(state: dict[str, Tensor], last: int) -> None:
    """Latents to the scale of an orthonormal transform of one band: three equal bands have 1.73 times its norm."""
    norm = 3**0.5
    for name in ("analysis.skeleton.weight", f"analysis.network.{last}.weight", f"analysis.network.{last}.bias"):
        state[name] = state[name] / norm
    state["synthesis.skeleton.weight"] = state["synthesis.skeleton.weight"] * norm
    sigma = torch.exp2(state["entropy.log2_sigma"])
    # The synthesis network sees latents / max(sigma, 0.05).
    ratio = (sigma / norm).clamp(min=0.05) / sigma.clamp(min=0.05) * norm
    state["synthesis.enter.weight"] = state["synthesis.enter.weight"] * ratio[None, :, None, None]
    state["entropy.log2_sigma"] = state["entropy.log2_sigma"] - math.log2(norm)
    state["entropy.log2_gain"] = state["entropy.log2_gain"] + math.log2(norm)


def _check_levels(source: ModelConfig, target: ModelConfig) -> None:
    ratio = [config.lagrangian(1) / config.lagrangian(0) for config in (source, target)]
    if source.lambda_min != target.lambda_min or abs(ratio[0] / ratio[1] - 1) > 1e-3:
        raise TrainingError(f"the quality levels' multipliers differ: {ratio[0]:.4f} and {ratio[1]:.4f} a level")


def _levels(table: Tensor, count: int) -> Tensor:
    """A table by level, continued in a straight line."""
    further = torch.arange(1, count - len(table) + 1, device=table.device)[:, None]
    return torch.cat([table, table[-1] + further * (table[-1] - table[-2])])


class _Channels:
    """Picks the target's latents from any axis of the source's tensors that runs over latents, once or twice."""

    def __init__(self, chosen: Tensor, latents: int) -> None:
        self.chosen, self.latents = chosen, latents

    def take(self, value: Tensor, axis: int, like: Tensor, name: str) -> Tensor:
        times = value.shape[axis] // self.latents
        if value.shape[axis] not in (self.latents, 2 * self.latents) or like.shape[axis] != times * len(self.chosen):
            return value
        index = torch.cat([self.chosen.clamp(min=0) + part * self.latents for part in range(times)])
        missing = (self.chosen < 0).repeat(times)
        taken = value.index_select(axis, index)
        # Latents that the source has not: what the rest of its kind have on average, or no influence.
        shape = [1] * value.ndim
        shape[axis] = -1
        gaps = missing.reshape(shape)
        if value.ndim == 2 or name.endswith("log2_sigma"):
            known = value.index_select(axis, index[~missing])
            filler = known.amin(axis, keepdim=True) if name.endswith("log2_sigma") else known.mean(axis, keepdim=True)
            return torch.where(gaps, filler, taken)
        return torch.where(gaps, torch.zeros_like(taken), taken)


def _components(source: Network) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The one-band skeleton, (forward, inverse), each (256, 1, 16, 16), and the source's latent for each component.

    Channel groups keep their members, and are filled up with the components that the source has not.
    """
    basis = separable_basis(1).flatten(1)
    forward = source.analysis.skeleton.weight.sum(1)  # what it makes of three equal bands
    inverse = source.synthesis.skeleton.weight.mean(1)
    likeness = torch.nn.functional.normalize(forward.flatten(1), dim=1) @ basis.T
    is_grey = source.analysis.skeleton.weight.flatten(1).norm(dim=1) * 3**0.5 < forward.flatten(1).norm(dim=1) * 1.1
    owner = torch.full((len(basis),), -1)
    for latent in torch.nonzero(is_grey)[:, 0].tolist():
        component = int(likeness[latent].abs().argmax())
        if abs(float(likeness[latent, component])) > 0.9 and owner[component] < 0:
            owner[component] = latent
    groups: list[list[tuple[int, int]]] = [[] for _ in range(CONTEXT_STEPS)]
    for component, latent in enumerate(owner.tolist()):
        if latent >= 0:
            groups[latent * CONTEXT_STEPS // len(forward)].append((latent, component))
    size = len(basis) // CONTEXT_STEPS
    spare = [component for component, latent in enumerate(owner.tolist()) if latent < 0]
    sigma = source.entropy.log2_sigma
    surplus = []
    for group in groups:  # the weakest of a group that is too large move to another, and learn anew when they are coded
        group.sort(key=lambda member: -float(sigma[member[0]]))
        surplus += group[size:]
        del group[size:]
    for group in groups:
        while surplus and len(group) < size:
            group.append(surplus.pop())
    chosen, order = [], []
    for group in groups:
        members = sorted(group)
        members += [(-1, spare.pop()) for _ in range(size - len(members))]
        chosen += [latent for latent, _ in members]
        order += [component for _, component in members]
    index = torch.tensor(chosen)
    known = index[:, None, None] >= 0
    # Three equal bands have 1.73 times the norm of one: grey in the source is that much larger.
    norm = 3**0.5
    fresh = basis[torch.tensor(order)].reshape(-1, BLOCK, BLOCK)
    taken = index.clamp(min=0)
    return (
        torch.where(known, forward[taken], fresh * norm)[:, None],
        torch.where(known, inverse[taken], fresh / norm)[:, None],
    ), index
