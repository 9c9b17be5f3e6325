"""How the colours of an 8-bit picture are coded: on which axes, and by which model.

The RGB model was trained on photographs, where green tells most of red and blue. Other pictures, such as infrared shown
as red or hazy satellite images, take fewer bytes if their colours are rotated, so that they have the most energy where
photographs have it. Some, such as composites of radar polarisations, take fewer still as spectral components, which the
one-band model codes one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import without_forks
from learned_codec.models.block_transform import colour_axes
from learned_codec.models.config import BLOCK
from learned_codec.values.rings import BY_RING, COUNTS, RING_STARTS, coefficients, covariances, ideal_bits
from learned_codec.values.rotation import matrix_of, vector_of

from .blocks import without_holes
from .masking import MaskedSource
from .sampling import few_windows

MOST_BLOCKS, LEAST_BLOCKS = 512, 8
"""At most so many blocks without holes show the colours. With fewer than the second number, they aren't known."""

LOG_BYTES, PER_RATIO, PER_SHARE = 0.078, -3.93, -0.362
"""The log of the bytes that the one-band model takes, as a share of the RGB model's at equal PSNR, if that has rotated
colours: a constant, and what the two numbers of `_compared` add to it. Fitted to 59 training images (infrared shown as
red, satellite images in true and false colours, radar composites) at three qualities; 0.045 off in the root mean
square."""

LEAST_SAVED, MORE_BYTES = 0.08, 40
"""The share of the bytes that must be saved, as decoding takes more than twice as long; and how many more bytes three
components take than one."""

LOG_BITS, PER_LOG_BITS = -1.28, 1.4
"""The log of the bits per pixel that are really used, from that of ideal ones; fitted to the same images."""

ERROR = 0.6
"""A picture's RMSE, as a share of the usual error of its quality: 0.5 to 0.8."""

DETAIL, MUCH = 4, 0.4
"""The rings of details begin with this one; and the share of the colours' energy that is much for them."""

SOME_BLOCKS = 128
"""So many blocks tell whether a rotation pays."""

SPENT = 3**0.5
"""What multiplies the error in the ideal bits that rotations are compared by. With it, they tell best what real files
save: for 92 training images at four qualities, the correlation is 0.92."""

LEAST_GAIN, GAIN_PER_ERROR, ROTATION_BYTES = 0.003, 0.17, 4
"""The share of the ideal bits that a rotation must save: the first number, and the second one times the error, because
at low rates the model is used to photographs most. And the bytes that it takes."""

FIRST_ANGLE, LAST_ANGLE = 0.3, 0.01
"""Between these angles, in radians, the best rotation is searched for."""

_TURNS = [(i, j, sign) for i, j in ((0, 1), (0, 2), (1, 2)) for sign in (1, -1)]


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
        self.covariances = covariances(blocks) if len(blocks) >= LEAST_BLOCKS else None
        self._some = blocks[:: max(1, -(-len(blocks) // SOME_BLOCKS))]

    def are_unlike(self, error: float, rotation: Sequence[int]) -> bool:
        """Whether the one-band model takes clearly fewer bytes than the RGB model with colours of this rotation.

        `error` is the RMSE that the picture will have, as a share of the range.
        """
        if self.covariances is None:
            return False
        rotated = _on(self.covariances, rotation)
        bits, ratio, share = _compared(rotated, error)
        found = LOG_BYTES + PER_RATIO * math.log(ratio) + PER_SHARE * share
        size = self._pixels / 8 * self._real(bits)
        return found + MORE_BYTES / size < -LEAST_SAVED

    @without_forks
    def rotation(self, error: float) -> tuple[int, ...]:
        """The rotation of the colours with which the RGB model takes fewer bytes, for an RMSE of `error`.

        Empty if none takes clearly fewer.
        """
        if self.covariances is None:
            return ()
        error *= SPENT
        axes = colour_axes(3)
        vector = vector_of(axes.T @ _best_axes(self.covariances, error) @ axes)
        both = np.stack([np.eye(3), _rotated_axes(vector)])
        before, after = _bits(_of_each(self._some), both, error).tolist()
        least = (LEAST_GAIN + GAIN_PER_ERROR * error) * before + 8 * ROTATION_BYTES / self._pixels
        return vector if before - after > least else ()

    def have_much_detail(self, error: float) -> bool:
        """Whether colours have more details, as noise has, than the RGB model can code with an RMSE of `error`."""
        if self.covariances is None:
            return False
        energy = (np.trace(self.covariances[:, 1:, 1:], axis1=1, axis2=2) * COUNTS) / (3 * BLOCK * BLOCK)
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
    """(blocks, 3, 256) the coefficients of some blocks of a window without holes, on the RGB model's axes."""
    read = source.read(rows, columns)
    units = np.divide(without_holes(read.values, read.valid, most), 255, dtype=np.float32)
    found: NDArray[np.float32] = colour_axes(3).astype(np.float32) @ coefficients(units)
    return found


def _best_axes(covariances: NDArray[np.float64], error: float) -> NDArray[np.float64]:
    """(3, 3) the axes, as rows on those of the RGB model, for which the ideal bits are fewest.

    The search begins with those of all coefficients, by their energy or by their bits, in the order that the model is
    used to: the first axis has the most energy. Then it turns them about each other, by smaller and smaller angles.
    """
    energy = covariances * COUNTS[:, None, None]
    usual = np.trace(covariances, axis1=1, axis2=2) / 3 + error**2
    starts = [np.eye(3), *(_sorted_axes(sums.sum(0)) for sums in (energy, energy / usual[:, None, None]))]
    axes = np.stack(starts)
    bits = _bits(covariances, axes, error)
    found, least, angle = axes[bits.argmin()], bits.min(), FIRST_ANGLE
    while angle > LAST_ANGLE:
        tried = _small_turns(angle) @ found
        bits = _bits(covariances, tried, error)
        if bits.min() < least:
            found, least = tried[bits.argmin()], bits.min()
        else:
            angle /= 2
    result: NDArray[np.float64] = found
    return result


def _sorted_axes(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) the principal axes as rows, from the most energy to the least: a rotation, and the smallest."""
    axes: NDArray[np.float64] = np.linalg.eigh(covariance)[1].T[::-1]
    own = np.diagonal(axes)
    axes = np.where(own < 0, -1.0, 1.0)[:, None] * axes
    if np.linalg.det(axes) < 0:
        axes[np.abs(own).argmin()] *= -1
    return axes


def _of_each(blocks: NDArray[np.float32]) -> NDArray[np.float64]:
    """(blocks, rings, 3, 3) the covariances of each of (blocks, 3, 256)."""
    some = blocks[..., BY_RING]
    found = np.empty((len(blocks), len(COUNTS), 3, 3))
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        sums = np.add.reduceat(some[:, i] * some[:, j], RING_STARTS, 1) / COUNTS
        found[:, :, i, j] = found[:, :, j, i] = sums
    return found


def _rotated_axes(rotation: Sequence[int]) -> NDArray[np.float64]:
    """(3, 3) where the axes of the RGB model lie in rotated colours: as rows, on those axes without a rotation."""
    axes = colour_axes(3)
    found: NDArray[np.float64] = axes @ matrix_of(rotation) @ axes.T
    return found


def _on(covariances: NDArray[np.float64], rotation: Sequence[int]) -> NDArray[np.float64]:
    """The covariances of rotated colours."""
    if not rotation:
        return covariances
    axes = _rotated_axes(rotation)
    found: NDArray[np.float64] = axes @ covariances @ axes.T
    return found


def _small_turns(angle: float) -> NDArray[np.float64]:
    """(6, 3, 3) about each axis, to both sides."""
    found = np.tile(np.eye(3), (6, 1, 1))
    for turn, (i, j, sign) in zip(found, _TURNS, strict=True):
        turn[[i, j], [i, j]] = math.cos(angle)
        turn[i, j], turn[j, i] = sign * math.sin(angle), -sign * math.sin(angle)
    return found


def _bits(covariances: NDArray[np.float64], axes: NDArray[np.float64], error: float) -> NDArray[np.float64]:
    """(N,) the ideal bits per pixel on each of (N, 3, 3) axes.

    `covariances` are (rings, 3, 3), or (blocks, rings, 3, 3): then the mean of the blocks' bits counts. Most colours
    are in few places, so these bits are fewer than those of the mean.
    """
    rings = covariances.reshape(-1, len(COUNTS), 3, 3)
    axes = axes[:, None, None]
    bits = ideal_bits((axes @ rings * axes).sum(4), error).sum((1, 3)) @ COUNTS
    found: NDArray[np.float64] = bits / (BLOCK * BLOCK * len(rings))
    return found


def _compared(covariances: NDArray[np.float64], error: float) -> tuple[float, float, float]:
    """The ideal bits per pixel on the model's axes; how many times as many on each ring's own; the colours' share."""
    variances = np.diagonal(covariances, axis1=1, axis2=2), np.linalg.eigvalsh(covariances)
    own, theirs = (COUNTS @ ideal_bits(found, error) / (BLOCK * BLOCK) for found in variances)
    least = 1e-9  # an even picture needs no bits
    total = float(own.sum()) + least
    return total, (float(theirs.sum()) + least) / total, float(own[1:].sum()) / total
