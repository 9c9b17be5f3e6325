"""Whether the colours of an 8-bit picture are unlike those of photographs.

The RGB model was trained on photographs, where green tells most of red and blue. Infrared shown as red, a composite of
radar polarisations or hazy satellite images have bands that differ more, or otherwise. They take fewer bytes as
spectral components of their own, which the one-band model codes one after another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.dct import dct
from learned_codec.models.block_transform import colour_axes
from learned_codec.models.config import BLOCK

from .masking import MaskedSource
from .sampling import few_windows

MOST_BLOCKS, LEAST_BLOCKS = 512, 8
"""At most so many blocks without holes show the colours. With fewer than the second number, they aren't known."""

LOG_BYTES, PER_RATIO, PER_SHARE = 0.15, 1.03, -0.44
"""The log of the bytes that the one-band model takes, as a share of the RGB model's at equal PSNR: a constant, and what
the two numbers of `_compared` add to it. Fitted to 73 training images (photographs, aerial and satellite images in
colours true and false, radar composites) at seven qualities; 0.07 off in the root mean square."""

LEAST_SAVED, MORE_BYTES = 0.08, 40
"""The share of the bytes that must be saved, as decoding takes more than twice as long; and how many more bytes three
components take than one."""

LOG_BITS, PER_LOG_BITS = -1.28, 1.4
"""The log of the bits per pixel that are really used, from that of ideal ones; fitted to the same images."""

ERROR = 0.6
"""A picture's RMSE, as a share of the usual error of its quality: 0.5 to 0.8."""

DETAIL, MUCH = 4, 0.4
"""The rings of details begin with this one; and the share of the colours' energy that is much for them."""

_U, _V = np.indices((BLOCK, BLOCK))
_RING = (np.maximum(_U, _V) // 2).reshape(-1)
_COUNTS = np.bincount(_RING) - (np.arange(BLOCK // 2) == 0)
"""The coefficients of a block in rings of like frequencies, and how many each has. The mean isn't among them."""


class Colours:
    """The colours of a source of three bands of uint8.

    Attributes:
        covariances: (rings, 3, 3) of the coefficients of blocks on the axes of the RGB model; None if they aren't
            known, because nearly all blocks have holes.
    """

    def __init__(self, source: MaskedSource) -> None:
        self._pixels = source.height * source.width
        windows = few_windows(source.height, source.width)
        blocks = np.concatenate([_blocks(source, *window, MOST_BLOCKS // len(windows)) for window in windows])
        self.covariances = _covariances(blocks) if len(blocks) >= LEAST_BLOCKS else None

    def are_unlike(self, error: float) -> bool:
        """Whether the one-band model takes clearly fewer bytes, for an RMSE of `error`, a share of the range."""
        if self.covariances is None:
            return False
        bits, ratio, share = _compared(self.covariances, error)
        found = LOG_BYTES + PER_RATIO * math.log(ratio) + PER_SHARE * share
        size = self._pixels / 8 * self._real(bits)
        return found + MORE_BYTES / size < -LEAST_SAVED

    def have_much_detail(self, error: float) -> bool:
        """Whether colours have more details, as noise has, than the RGB model can code with an RMSE of `error`."""
        if self.covariances is None:
            return False
        energy = (np.trace(self.covariances[:, 1:, 1:], axis1=1, axis2=2) * _COUNTS) / (3 * BLOCK * BLOCK)
        details = float(energy[DETAIL:].sum())
        return details > MUCH * float(energy.sum()) and details > (error / ERROR) ** 2

    def error_of(self, bpp: float) -> float:
        """The RMSE that this rate may give, as a share of the range."""
        if self.covariances is None:
            return 1.0
        errors = np.geomspace(0.001, 1.0, 64)
        rates = [self._real(_compared(self.covariances, error)[0]) for error in errors.tolist()]
        return float(errors[np.argmin(np.abs(np.array(rates) - bpp))])

    @staticmethod
    def _real(bits: float) -> float:
        return math.exp(LOG_BITS + PER_LOG_BITS * math.log(bits))


def _blocks(source: MaskedSource, rows: slice, columns: slice, most: int) -> NDArray[np.float32]:
    """(blocks, 3, 256) the coefficients [v, u] of some blocks of a window without holes, on the RGB model's axes."""
    read = source.read(rows, columns)
    values = _in_blocks(read.values)
    whole = np.ones(values.shape[:2], bool) if read.valid is None else _in_blocks(read.valid).all((2, 3, 4))
    places = np.argwhere(whole)
    places = places[:: max(1, -(-len(places) // most))]
    units = np.divide(values[places[:, 0], places[:, 1]], 255, dtype=np.float32)
    basis, axes = dct(BLOCK).astype(np.float32).T, colour_axes(3).astype(np.float32)
    along = (units.reshape(-1, BLOCK) @ basis).reshape(units.shape)
    both = np.ascontiguousarray(along.swapaxes(2, 3)).reshape(-1, BLOCK) @ basis
    found: NDArray[np.float32] = axes @ both.reshape(-1, 3, BLOCK * BLOCK)
    return found


def _in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """(bands, h, w) -> a view of the whole blocks: (rows, columns, bands, 16, 16)."""
    bands, height, width = len(values), values.shape[-2] // BLOCK, values.shape[-1] // BLOCK
    blocks = values[:, : height * BLOCK, : width * BLOCK].reshape(bands, height, BLOCK, width, BLOCK)
    return blocks.transpose(1, 3, 0, 2, 4)


def _covariances(blocks: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rings, 3, 3) of (blocks, 3, 256) coefficients."""
    blocks[..., 0] = 0
    products = (blocks.transpose(2, 1, 0) @ blocks.transpose(2, 0, 1)).reshape(-1, 9).astype(np.float64)
    sums = np.stack([np.bincount(_RING, product) for product in products.T], 1)
    found: NDArray[np.float64] = np.divide(sums, (_COUNTS * len(blocks))[:, None]).reshape(-1, 3, 3)
    return found


def _compared(covariances: NDArray[np.float64], error: float) -> tuple[float, float, float]:
    """The ideal bits per pixel on the RGB model's axes; how many times as many on each ring's own; the colours' share.

    An ideal code of Gaussian values takes log2(1 + variance / error^2) / 2 bits for each.
    """

    def bits(variances: NDArray[Any]) -> NDArray[np.float64]:
        each = np.log2(1 + np.maximum(variances, 0) / error**2) / 2
        total: NDArray[np.float64] = (each * _COUNTS[:, None]).sum(0) / (BLOCK * BLOCK)
        return total

    own, theirs = bits(np.diagonal(covariances, axis1=1, axis2=2)), bits(np.linalg.eigvalsh(covariances))
    least = 1e-9  # an even picture needs no bits
    total = float(own.sum()) + least
    return total, (float(theirs.sum()) + least) / total, float(own[1:].sum()) / total
