"""The whole codec as one trainable module: analysis, entropy model, synthesis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import rounding
from .config import BLOCK, ModelConfig
from .hyperprior import EntropyModel, interpolate
from .resnet_lite import Analysis, Synthesis


@dataclass(frozen=True, slots=True)
class Output:
    """Reconstruction (B, bands, H, W) around [0, 1], not clipped, and bits per image, (B,) each."""

    image: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class Network(nn.Module):
    """ResNet-Lite codec in floating point, with continuous quality levels in [0, levels - 1]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.entropy = EntropyModel(config)
        self.synthesis = Synthesis(config)
        self.log2_inverse = nn.Parameter(torch.zeros(config.levels, config.latents))

    @torch.no_grad()
    def initialise(self, patches: Tensor) -> None:
        """Make the skeleton the KLT of (N, bands, 16, 16) patches in [0, 1]."""
        rows = (patches - 0.5).flatten(1).double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        order = torch.argsort(values, descending=True)[: self.config.latents]
        basis = vectors[:, order].T.float().reshape(len(order), self.config.bands, BLOCK, BLOCK)
        self.analysis.skeleton.weight.copy_(basis)
        self.synthesis.skeleton.weight.copy_(basis)
        self.entropy.log2_sigma.copy_(0.5 * torch.log2(values[order].float().clamp(min=1e-6)))

    def lagrangian(self, level: Tensor) -> Tensor:
        """(B,) levels -> (B,) lambda."""
        c = self.config
        exponent: Tensor = level / (c.levels - 1)
        return c.lambda_min * (c.lambda_max / c.lambda_min) ** exponent

    def synthesise(self, decoded: Tensor, level: Tensor) -> Tensor:
        """(B, latents, h, w) decoded latents in quantisation steps and (B,) levels -> (B, bands, 16h, 16w)."""
        correction = interpolate(self.log2_inverse, level) - interpolate(self.entropy.log2_gain, level)
        latents = decoded * torch.exp2(correction)
        sigma = torch.exp2(self.entropy.log2_sigma)[None, :, None, None]
        # Half a sigma is about what a leaky ReLU network likes to see; tiny sigmas must not amplify noise.
        normalised = latents / sigma.clamp(min=0.05) * 0.5
        image: Tensor = self.synthesis(latents, normalised, interpolate(self.synthesis.level_bias, level))
        return image

    def forward(self, x: Tensor, level: Tensor, *, optimise: bool = False) -> Output:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 64, and (B,) levels.

        With `optimise`, latents are rounded as the encoder does it (`rounding`), else plainly.
        """
        y = self.analysis(x)
        cost = None
        if optimise:
            log2_size = interpolate(self.log2_inverse - self.entropy.log2_gain, level).detach()
            cost = rounding.error_cost(self.lagrangian(level)[:, None, None, None], self.config.bands, log2_size)
        coded = self.entropy(y, level, cost)
        image = self.synthesise(coded.latents, level)
        return Output(image, coded.latent_bits.sum((1, 2, 3)), coded.hyper_bits.sum((1, 2, 3)))
