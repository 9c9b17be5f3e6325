"""The whole codec as one trainable module: analysis, entropy model, synthesis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import rounding
from .config import BLOCK, CONTEXT_STEPS, ModelConfig
from .hyperprior import EntropyModel, interpolate
from .lapping import autocorrelation, pre_filter
from .resnet_lite import Analysis, Synthesis, frequencies, positions, separable_basis


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
    def initialise(self, images: Tensor) -> None:
        """Make the skeleton a lapped DCT, for (N, bands, H, W) images in [0, 1], H and W multiples of 16 from 48 on.

        Lapping, and which of the DCT's components become latents, are chosen for the images. The synthesis functions
        have unit norm: an error in a latent is about as large in the pixels.
        """
        with torch.enable_grad():
            matrix = pre_filter(autocorrelation(images - 0.5))
        self.analysis.pre_filter.matrix.copy_(matrix)
        self.synthesis.post_filter.matrix.copy_(torch.linalg.inv(matrix))
        basis = separable_basis(self.config.bands)
        norms = self.synthesis.post_filter(F.pad(basis, (BLOCK,) * 4)).flatten(1).norm(dim=1)
        forward = basis * norms[:, None, None, None]
        filtered = (self.analysis.pre_filter(part - 0.5) for part in torch.split(images, 64))
        # The outer blocks lack a filter on one side.
        energies = [F.conv2d(x[:, :, BLOCK:-BLOCK, BLOCK:-BLOCK], forward, stride=BLOCK).square() for x in filtered]
        variance = torch.cat([energy.mean((2, 3)) for energy in energies]).mean(0)
        order = torch.argsort(variance, descending=True)[: self.config.latents]
        # Dealt out in turn: every channel group has strong and weak components, so that in each step of the context the
        # groups known already tell of the others at the same position.
        order = order.reshape(-1, CONTEXT_STEPS).T.flatten()
        self.analysis.skeleton.weight.copy_(forward[order])
        self.synthesis.skeleton.weight.copy_(basis[order] / norms[order, None, None, None])
        self.entropy.log2_sigma.copy_(0.5 * torch.log2(variance[order].clamp(min=1e-6)))

    def lagrangian(self, level: Tensor) -> Tensor:
        """(B,) levels -> (B,) lambda."""
        c = self.config
        exponent: Tensor = level / (c.levels - 1)
        return c.lambda_min * (c.lambda_max / c.lambda_min) ** exponent

    def synthesise(self, decoded: Tensor, level: Tensor) -> Tensor:
        """(B, latents, h, w) decoded latents in quantisation steps and (B,) levels -> (B, bands, 16h, 16w)."""
        correction = interpolate(self.log2_inverse, level) - interpolate(self.entropy.log2_gain, level)
        latents = decoded * torch.exp2(correction)
        refinement = self.synthesis.refinement
        bias, scale = interpolate(refinement.level_bias, level), interpolate(refinement.level_scale, level)
        image: Tensor = self.synthesis(latents, bias, scale)
        return image

    def forward(self, x: Tensor, level: Tensor, *, optimise: bool = False) -> Output:
        """(B, bands, H, W) images in [0, 1], H and W multiples of 64, and (B,) levels.

        With `optimise`, latents are rounded as the encoder does it (`rounding`), else plainly.
        """
        y = self.analysis(x)
        cost = None
        if optimise:
            log2_size = interpolate(self.log2_inverse - self.entropy.log2_gain, level).detach()
            multiplier = self.lagrangian(level)[:, None, None, None]
            frequency = frequencies(positions(self.analysis.skeleton.weight))[:, None, None]
            cost = rounding.error_cost(multiplier, self.config.bands, log2_size, frequency)
        coded = self.entropy(y, level, cost)
        image = self.synthesise(coded.latents, level)
        return Output(image, coded.latent_bits.sum((1, 2, 3)), coded.hyper_bits.sum((1, 2, 3)))
