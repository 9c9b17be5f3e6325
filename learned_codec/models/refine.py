"""Latents refined by gradient before they are coded: encoding time for bytes, at no cost to the decoder.

The analysis is one function for all images; for a single image, better latents can be found by descending the
Lagrangian itself, through the synthesis and the floating-point twin of the entropy model (Campos et al., "Content
adaptive optimization for neural image compression", 2019). Rounding passes gradients straight through, and the rates
are those of the symbols that the encoder would choose.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from . import rounding
from .config import BLOCK, HYPER_STRIDE, QUALITY_STEPS
from .hyperprior import interpolate
from .network import Network

STEPS = (0, 8, 24, 72)
"""Gradient steps at each effort."""

LEARNING_RATE = 0.06
"""Of Adam, in quantisation steps."""

PIECE = 32
"""Latent positions a side that are refined at a time, which bounds the memory: 512 pixels."""

MARGIN = HYPER_STRIDE
"""Positions around a piece that are seen but not changed: a whole hyper-latent."""


def refine(
    network: Network,
    pixels: Tensor,
    latents: Tensor,
    inner: tuple[slice, slice],
    step: int,
    effort: int,
    *,
    weight: Tensor,
    bf16: bool,
) -> Tensor:
    """Latents (h, w, latents) of an area with its `inner` rows and columns refined for a quality step.

    `pixels` are the area's (bands, 16h, 16w) in about [0, 1], `weight` (16h, 16w) says which of them count. `network`
    is on their device, its entropy model in training mode. `effort` 1 to 3 takes `STEPS` gradient steps. Random numbers
    are the same in every call, and the global generator is left as it was.
    """
    refined = latents.clone()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad():
        torch.manual_seed(0)
        for top in range(inner[0].start, inner[0].stop, PIECE):
            for left in range(inner[1].start, inner[1].stop, PIECE):
                piece = slice(top, min(top + PIECE, inner[0].stop)), slice(left, min(left + PIECE, inner[1].stop))
                rows, columns = (
                    slice(max(0, part.start - MARGIN), min(length, part.stop + MARGIN))
                    for part, length in zip(piece, latents.shape[:2], strict=True)
                )
                seen = (
                    slice(rows.start * BLOCK, rows.stop * BLOCK),
                    slice(columns.start * BLOCK, columns.stop * BLOCK),
                )
                # A latent shows half a block beyond its own, through the lapping.
                counted = weight[seen].clone()
                own = tuple(
                    slice(p.start - o.start, p.stop - o.start) for p, o in zip(piece, (rows, columns), strict=True)
                )
                near = torch.zeros_like(counted)
                near[tuple(slice(max(0, o.start * BLOCK - 8), o.stop * BLOCK + 8) for o in own)] = 1
                found = _descend(
                    network,
                    pixels[:, seen[0], seen[1]].clone(),
                    refined[rows, columns].clone(),
                    own,
                    step,
                    STEPS[effort],
                    counted * near,
                    bf16,
                )
                refined[piece] = found[own]
    return refined


def _descend(
    network: Network,
    pixels: Tensor,
    latents: Tensor,
    own: tuple[slice, ...],
    step: int,
    steps: int,
    weight: Tensor,
    bf16: bool,
) -> Tensor:
    """(h, w, latents) with the `own` positions refined."""
    entropy, level = network.entropy, torch.tensor([step / QUALITY_STEPS], device=latents.device)
    with torch.no_grad():
        gain = torch.exp2(interpolate(entropy.log2_gain, level))
        log2_size = interpolate(network.log2_inverse - entropy.log2_gain, level)
        multiplier = network.lagrangian(level)
        cost = rounding.error_cost(multiplier[:, None, None, None], network.config.bands, log2_size)
    height, width, _ = latents.shape
    padding = (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE)
    scaled = (latents.permute(2, 0, 1)[None].float() * gain).requires_grad_()
    fixed = torch.ones_like(scaled[:1, :1], dtype=torch.bool)
    fixed[:, :, own[0], own[1]] = False
    optimiser = torch.optim.Adam([scaled], LEARNING_RATE, betas=(0.9, 0.99))
    for index in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - index / steps)
        padded = functional.pad(scaled, padding, mode="replicate")
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=bf16):
            coded = entropy(padded / gain, level, cost)
            image = network.synthesise(coded.latents, level)[0, :, : pixels.shape[1], : pixels.shape[2]]
        distortion = ((image.float() - pixels).square().mean(0) * weight).sum()
        bits = coded.latent_bits[..., :height, :width].sum() + coded.hyper_bits.sum()
        loss = multiplier[0] * 255**2 * distortion + bits
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if scaled.grad is not None:
            scaled.grad.masked_fill_(fixed, 0)
        optimiser.step()
    result: Tensor = (scaled.detach() / gain)[0].permute(1, 2, 0)
    return result
