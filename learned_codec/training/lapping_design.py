"""The search for the lapped filter: the pre-filter with the greatest coding gain in front of a DCT."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_codec.dct import dct
from learned_codec.models.block_transform import BlockTransform, separable_basis
from learned_codec.models.config import BLOCK, order_of_components
from learned_codec.models.lapping import SUPPORT
from learned_codec.models.layers import Lapping
from learned_codec.models.network import Network

_SEARCH_STEPS = 2000


def autocorrelation(images: Tensor) -> Tensor:
    """The autocorrelation of rows and columns of (N, bands, H, W) images around 0 at lags 0 … SUPPORT - 1, float64."""
    rows = torch.cat([images.mean(1).flatten(0, 1), images.mean(1).transpose(1, 2).flatten(0, 1)])
    windows = rows[:, : rows.shape[1] // SUPPORT * SUPPORT].reshape(-1, SUPPORT).double()
    covariance = windows.T @ windows / len(windows)
    return torch.stack([covariance.diagonal(lag).mean() for lag in range(SUPPORT)])


def pre_filter(correlation: Tensor) -> Tensor:
    """The (BLOCK, BLOCK) float64 pre-filter with the greatest coding gain in front of a DCT.

    `correlation` is a source's autocorrelation at lags 0 … SUPPORT - 1. The post-filter is the inverse.
    """
    lag = torch.arange(SUPPORT)
    source = correlation.double()[(lag[:, None] - lag).abs()]
    transform = torch.from_numpy(dct(BLOCK).copy())
    middle = torch.eye(BLOCK // 2, dtype=torch.float64, requires_grad=True)

    def cost() -> Tensor:
        """Mean log of (variance of a coefficient * energy of its synthesis function): minus the coding gain."""
        matrix = _butterflies(middle)
        analysis = transform @ _both_boundaries(matrix)[BLOCK : 2 * BLOCK]
        synthesis = _both_boundaries(torch.linalg.inv(matrix))[:, BLOCK : 2 * BLOCK] @ transform.T
        variance = ((analysis @ source) * analysis).sum(1)
        value: Tensor = (variance.log() + synthesis.square().sum(0).log()).mean()
        return value

    search = torch.optim.LBFGS([middle], max_iter=_SEARCH_STEPS, history_size=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        value = cost()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    return _butterflies(middle.detach())


def _butterflies(middle: Tensor) -> Tensor:
    """The filter: a butterfly of mirrored pixels, their differences times `middle`, and a butterfly again."""
    eye = torch.eye(len(middle), dtype=middle.dtype)
    flip = eye.flip(0)
    butterfly = torch.cat([torch.cat([eye, flip], 1), torch.cat([flip, -eye], 1)]) / 2**0.5
    return butterfly @ _block_diagonal(eye, middle) @ butterfly


def _both_boundaries(matrix: Tensor) -> Tensor:
    """(SUPPORT, SUPPORT): `matrix` across the two boundaries of the middle block of three."""
    ends = torch.eye(BLOCK // 2, dtype=matrix.dtype)
    return _block_diagonal(ends, matrix, matrix, ends)


def _block_diagonal(*blocks: Tensor) -> Tensor:
    result: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return result


@torch.no_grad()
def initialise(network: Network, images: Tensor) -> None:
    """Make the block transform a lapped DCT.

    `images` are (N, bands, H, W) in [0, 1], with H and W multiples of 16, at least 48.

    The lapped filter, and the order of the components in each layer, are chosen for the images. The synthesis
    functions have unit norm, so an error in a latent is about as large in the pixels.
    """
    with torch.enable_grad():
        matrix = pre_filter(autocorrelation(images - 0.5))
    before, after = Lapping(), Lapping(columns_first=True)
    before.matrix.copy_(matrix)
    after.matrix.copy_(torch.linalg.inv(matrix))
    basis = torch.from_numpy(separable_basis(network.config.bands)).float()
    norms = after(F.pad(basis, (BLOCK,) * 4)).flatten(1).norm(dim=1)
    forward = basis * norms[:, None, None, None]
    filtered = (before(part - 0.5) for part in torch.split(images, 64))
    # The outer blocks lack a filter on one side.
    energies = [F.conv2d(x[:, :, BLOCK:-BLOCK, BLOCK:-BLOCK], forward, stride=BLOCK).square() for x in filtered]
    variance = torch.cat([energy.mean((2, 3)) for energy in energies]).mean(0)
    order = torch.from_numpy(order_of_components(network.config.bands, variance.numpy()))
    factors = norms[order].numpy()
    filters = before.matrix.numpy(), after.matrix.numpy()
    network.transform.take(BlockTransform(network.config.bands, order.numpy(), factors, 1 / factors, *filters))
    network.entropy.log2_sigma.copy_(0.5 * torch.log2(variance[order].clamp(min=1e-6)))
