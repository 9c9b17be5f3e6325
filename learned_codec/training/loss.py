"""The rate-distortion Lagrangian."""

from __future__ import annotations

import torch
from torch import Tensor

from learned_codec.errors import MissingDependencyError
from learned_codec.models.network import Output

from .recipe import Loss


def lagrangian(output: Output, target: Tensor, multiplier: Tensor, settings: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """The mean over the batch of (lambda*distortion + bits/pixel), balanced over rates.

    Also returns each image's bits per pixel and MSE, (B,) each, detached. `target` is (B, bands, H, W) in [0, 1];
    `multiplier` (B,) is lambda.

    All of this is float32, whatever the network's precision: at high rates, errors are smaller than a step of bf16.
    """
    pixels = target.shape[2] * target.shape[3]
    rate = (output.latent_bits + output.hyper_bits).float() / pixels
    mse = (output.image.float() - target).square().mean((1, 2, 3))
    distortion = settings.mse * 255**2 * mse
    if settings.ms_ssim:
        distortion = distortion + settings.ms_ssim * settings.ms_ssim_scale * (
            1 - ms_ssim(output.image.float(), target)
        )
    per_image = (multiplier * distortion + rate) * (multiplier / 0.01) ** -settings.balance
    return per_image.mean(), rate.detach(), mse.detach()


def ms_ssim(image: Tensor, target: Tensor) -> Tensor:
    """(B,) multi-scale SSIM (Wang et al. 2003), with a window that fits crops from 128 pixels."""
    try:
        from pytorch_msssim import ms_ssim as compute
    except ImportError as error:
        raise MissingDependencyError(
            "the MS-SSIM loss needs pytorch-msssim: pip install 'learned-codec[train]'"
        ) from error
    window = 11 if min(target.shape[2:]) > 160 else 7
    result: Tensor = compute(image.clamp(0, 1), target, data_range=1.0, size_average=False, win_size=window)
    return torch.nan_to_num(result, nan=0.0)
