"""The spectral transform: covariance of bands, Karhunen-Loeve transform, and its integer coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.forks import without_forks

from .transform import MATRIX_ONE

FINE_FROM = 2000
"""From this many pixels per band on, coefficients have 16 bits. With coefficients of 8 bits, the other bytes grow by
about 0.15 %."""

NEGLIGIBLE = 1e-4
"""Components with a standard deviation below this share of the range are left out (80 dB down)."""

LOOSE = 0.2
"""A band whose correlation with each other band is at most this stays a component of its own. Mixed with a component of
like variance, noise would be in both, and cost more than the correlation saves."""

FEW = 4
"""If two bands have only this many valid pixels in common, their covariance counts half. With 1 or 16, errors of
six training scenes with 80 to 99.5 % missing are 2 % smaller or larger, and files 2 % larger or smaller."""


@without_forks
def covariance(units: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """The (N, N) covariance of (N, P) values. Each pair of bands counts the pixels where both are valid; None: all.

    The fewer pixels two bands have in common, the smaller the estimate, down to 0.
    """
    if valid is None and not units.size:
        return np.zeros((len(units), len(units)))
    if valid is None:
        centred = units.astype(np.float64) - units.mean(1, keepdims=True, dtype=np.float64)
        whole: NDArray[np.float64] = centred @ centred.T / units.shape[1]
        return whole
    counts = valid.sum(1, dtype=np.float64)
    means = np.where(valid, units, 0).sum(1, dtype=np.float64) / np.maximum(counts, 1)
    centred = np.where(valid, units - means[:, None], 0)
    shared = valid.astype(np.float32) @ valid.T.astype(np.float32)
    found: NDArray[np.float64] = centred @ centred.T / np.maximum(shared, 1)
    found *= np.where(np.eye(len(units)) > 0, 1, shared / (shared + FEW))
    return found


@without_forks
def spectral_klt(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) covariance -> (N, N) orthonormal rows, one for each component, in order of falling variance.

    This is the Karhunen-Loeve transform over the bands. Each row's largest element is positive.
    """
    deviations = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    others = np.abs(covariance) * (1 - np.eye(len(covariance)))
    alone: NDArray[np.bool_] = np.all(others <= LOOSE * np.outer(deviations, deviations), axis=1)
    kept = covariance * ~(alone[:, None] | alone) + np.diag(np.diagonal(covariance) * alone)
    _, vectors = np.linalg.eigh(kept)
    return _positive(vectors.T[::-1])


def ordered(rows: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows in the order and with the signs of `spectral_klt`."""
    return _positive(rows[np.argsort(-_variances(rows, covariance), kind="stable")])


def _positive(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows with such signs that the largest element of each is positive."""
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    found: NDArray[np.float64] = rows * signs[:, None]
    return found


def _variances(rows: NDArray[np.floating[Any]], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(components,) the variances of components."""
    found: NDArray[np.float64] = np.einsum("kb,bc,kc->k", rows, covariance, rows)
    return found


def quiet_first(
    rows: NDArray[np.float64], covariance: NDArray[np.float64], busy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows in order of falling variance in another one, if some bands are components of their own.

    The first components predict later ones. If they have much noise, and nothing in common with a smooth band, their
    noise would get into it by chance. So bands that are less `busy` (bands,) come first, then what is negligible. Bands
    that are mixed stay together.
    """
    there = np.abs(rows) > 1e-9
    own = there.sum(1) == 1
    if not own.any():
        return rows
    mixed = there[~own].any(0)
    keys = np.where(own, busy[np.abs(rows).argmax(1)], busy[mixed].max(initial=0))
    variances = _variances(rows, covariance)
    order = np.lexsort((-variances, keys, variances <= NEGLIGIBLE**2))
    found: NDArray[np.float64] = rows[order]
    return found


@without_forks
def coefficients(
    rows: NDArray[np.float64], covariance: NDArray[np.float64], pixels: int, *, drop: bool
) -> NDArray[np.int8] | NDArray[np.int16]:
    """A spectral transform's rows as int8 or int16, whichever is worth it.

    With `drop`, negligible components are left out.
    """
    coarse, fine = (np.rint(rows * one).astype(kind) for kind, one in MATRIX_ONE.items())
    if not drop:
        return coarse if pixels <= FINE_FROM * len(rows) else fine
    kept = _telling(rows, covariance)
    # With strongly correlated bands, coarse coefficients may put some variance into negligible components.
    stored = np.linalg.pinv(coarse.T / MATRIX_ONE[coarse.dtype])
    enough = pixels <= FINE_FROM * len(rows) and _telling(stored, covariance) == kept
    return (coarse if enough else fine)[:kept]


def _telling(rows: NDArray[np.floating[Any]], covariance: NDArray[np.float64]) -> int:
    """How many components are not negligible; at least one."""
    return max(1, int((_variances(rows, covariance) > NEGLIGIBLE**2).sum()))
