"""Starts a model from another one: a one-band model from a three-band one, or a larger model from a smaller.

For one band, the grey components of the three-band block transform become the block transform, with all weights that
belong to them. The networks keep what they learned of structure, scale and context, and on grey images the two models
nearly agree. A larger model codes more components or has more levels; it codes what the smaller one codes in the same
way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learned_codec.errors import TrainingError
from learned_codec.models.config import BLOCK, CONTEXT_STAGES, ModelConfig
from learned_codec.models.network import Network
from learned_codec.models.transforms import separable_basis


@torch.no_grad()
def to_one_band(source: Network, target: Network) -> None:
    """Fill `target`, an initialised one-band network, from `source`, a three-band one of the same widths.

    `target` may have more levels at the upper end, with Lagrangian multipliers in the same ratio. It must have all 256
    components of a block as latents. Raises `TrainingError`.
    """
    config = target.config
    if (source.config.bands, config.bands, config.latents) != (3, 1, BLOCK * BLOCK):
        raise TrainingError("only a model of three bands can become one of one band with 256 latents")
    _check_levels(source.config, config)
    grey, chosen = _components(source)
    enter, leave = ("synthesis.refinement.enter.weight", "synthesis.refinement.leave.")
    old = source.state_dict()
    apart = ("analysis.skeleton", "synthesis.skeleton", enter, leave, "synthesis.refinement.adaptations")
    state = _transferred(source, target, chosen, apart)
    # Space-to-depth and its inverse: bands are outermost. Three equal bands go in, and the mean comes out.
    state[enter] = old[enter].reshape(len(old[enter]), 3, -1, 1, 1).sum(1)
    for key in ("weight", "bias"):
        value = old[leave + key]
        state[leave + key] = value.reshape(3, -1, *value.shape[1:]).mean(0)
    state["analysis.skeleton.weight"], state["synthesis.skeleton.weight"] = grey
    _rescale(state)
    target.load_state_dict(state)


@torch.no_grad()
def grow(source: Network, target: Network) -> None:
    """Fill `target`, an initialised network, from `source`, which has the same bands and widths.

    `target` may code more components (those of greatest variance that the source leaves out), and have more levels at
    the upper end, with Lagrangian multipliers in the same ratio. Raises `TrainingError`.
    """
    config = target.config
    if source.config.bands != config.bands or source.config.latents > config.latents:
        raise TrainingError(
            f"a model of {source.config.bands} bands and {source.config.latents} latents cannot become one of "
            f"{config.bands} and {config.latents}"
        )
    _check_levels(source.config, config)
    known = set(_likeness(source).argmax(1).tolist())
    components = _likeness(target).argmax(1).tolist()
    by_variance = torch.argsort(target.entropy.log2_sigma, descending=True).tolist()
    # In a trained block transform, two latents may be most like the same component. Then more components are left over
    # than needed.
    spare = iter([latent for latent in by_variance if components[latent] not in known])
    size, old_size = config.latents // CONTEXT_STAGES, source.config.latents // CONTEXT_STAGES
    chosen, fresh = torch.full((config.latents,), -1), torch.zeros(config.latents, dtype=torch.long)
    for place in range(size):  # dealt out in turn, as at the beginning
        for group in range(CONTEXT_STAGES):
            latent = group * size + place
            if place < old_size:
                chosen[latent] = group * old_size + place
            else:
                fresh[latent] = next(spare)
    state, own = _transferred(source, target, chosen, ()), target.state_dict()
    for name in ("analysis.skeleton.weight", "synthesis.skeleton.weight", "entropy.log2_sigma"):
        value, old = own[name][fresh], chosen < 0
        state[name][old] = value[old]
    target.load_state_dict(state)


def _transferred(source: Network, target: Network, chosen: Tensor, apart: tuple[str, ...]) -> dict[str, Tensor]:
    """The target's state, with the source's for `chosen` latents. Names that begin with one of `apart` are left out."""
    state = target.state_dict()
    per_latent = _Channels(chosen, source.config.latents)
    for name, value in source.state_dict().items():
        new = state[name]
        if name.startswith(apart):
            continue
        value = _levels(value, len(new)) if value.ndim == 2 and len(value) == source.config.levels else value
        for axis in range(value.ndim):
            value = per_latent.take(value, axis, new, name)
        if value.shape != new.shape:
            raise TrainingError(f"{name} of shape {tuple(value.shape)} does not fit {tuple(new.shape)}")
        state[name] = value.clone()
    return state


def _likeness(network: Network) -> Tensor:
    """(latents, components): how similar each latent's weights are to each component of the DCT."""
    forward = network.analysis.skeleton.weight.flatten(1)
    return (torch.nn.functional.normalize(forward, dim=1) @ separable_basis(network.config.bands).flatten(1).T).abs()


def _rescale(state: dict[str, Tensor]) -> None:
    """Scale latents to an orthonormal transform of one band: three equal bands have sqrt(3) times its norm."""
    norm = 3**0.5
    state["analysis.skeleton.weight"] = state["analysis.skeleton.weight"] / norm
    state["synthesis.skeleton.weight"] = state["synthesis.skeleton.weight"] * norm
    state["entropy.log2_sigma"] = state["entropy.log2_sigma"] - math.log2(norm)
    state["entropy.log2_gain"] = state["entropy.log2_gain"] + math.log2(norm)


def _check_levels(source: ModelConfig, target: ModelConfig) -> None:
    ratio = [config.lagrangian(1) / config.lagrangian(0) for config in (source, target)]
    if source.lambda_min != target.lambda_min or abs(ratio[0] / ratio[1] - 1) > 1e-3:
        raise TrainingError(f"the quality levels' multipliers differ: {ratio[0]:.4f} and {ratio[1]:.4f} a level")


def _levels(table: Tensor, count: int) -> Tensor:
    """A table by level, extrapolated linearly to more levels."""
    further = torch.arange(1, count - len(table) + 1, device=table.device)[:, None]
    return torch.cat([table, table[-1] + further * (table[-1] - table[-2])])


class _Channels:
    """Picks the target's latents along axes of the source's tensors that have latents, once or twice."""

    def __init__(self, chosen: Tensor, latents: int) -> None:
        self.chosen, self.latents = chosen, latents

    def take(self, value: Tensor, axis: int, like: Tensor, name: str) -> Tensor:
        times = value.shape[axis] // self.latents
        if value.shape[axis] not in (self.latents, 2 * self.latents) or like.shape[axis] != times * len(self.chosen):
            return value
        index = torch.cat([self.chosen.clamp(min=0) + part * self.latents for part in range(times)])
        missing = (self.chosen < 0).repeat(times)
        taken = value.index_select(axis, index)
        # Latents that the source doesn't have get the mean of the others, or no influence.
        shape = [1] * value.ndim
        shape[axis] = -1
        gaps = missing.reshape(shape)
        if value.ndim == 2 or name.endswith("log2_sigma"):
            known = value.index_select(axis, index[~missing])
            filler = known.amin(axis, keepdim=True) if name.endswith("log2_sigma") else known.mean(axis, keepdim=True)
            return torch.where(gaps, filler, taken)
        return torch.where(gaps, torch.zeros_like(taken), taken)


def _components(source: Network) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The one-band block transform, forward and inverse (256, 1, 16, 16), and the source's latent of each component.

    Channel groups keep their members, and are filled up with components that the source lacks.
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
    groups: list[list[tuple[int, int]]] = [[] for _ in range(CONTEXT_STAGES)]
    for component, latent in enumerate(owner.tolist()):
        if latent >= 0:
            groups[latent * CONTEXT_STAGES // len(forward)].append((latent, component))
    size = len(basis) // CONTEXT_STAGES
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
