"""Axes on which the details of several bands take the fewest bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from learned_codec.values.axes import LEAST_BLOCKS, LEAST_SAVED, MOST_BANDS, Details, Spectrum
from learned_codec.values.rings import COUNTS, SIDE, coefficients, covariances, ideal_bits
from learned_codec.values.spectral import spectral_klt

Rows = NDArray[np.float64]
ERROR = 0.01
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def orthonormal(bands: int, seed: int) -> Rows:
    found: Rows = np.linalg.qr(np.random.default_rng(seed).normal(size=(bands, bands)))[0]
    return found


def two_kinds(bands: int, seed: int, size: int = 400) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """The axes of means and those of details, and (blocks, bands, 16, 16) in which they differ."""
    rng = np.random.default_rng(seed)
    of_means, of_details = orthonormal(bands, seed + 1), orthonormal(bands, seed + 2)
    energy = 0.4 * 0.4 ** np.arange(bands)
    means = rng.normal(size=(size, bands)) * energy @ of_means
    details = np.einsum("nkyx,kb->nbyx", rng.normal(size=(size, bands, SIDE, SIDE)) * energy[:, None, None], of_details)
    return of_means, of_details, (2 * means[..., None, None] + 0.3 * details).astype(np.float32)


def spectrum(blocks: NDArray[np.float32], error: float = ERROR) -> Spectrum:
    values = blocks.swapaxes(0, 1).reshape(blocks.shape[1], -1)
    return Spectrum(np.cov(values), Details.of(blocks, error))


def bits(rows: Rows, blocks: NDArray[np.float32], error: float) -> float:
    rings = covariances(coefficients(blocks))
    return float(COUNTS @ ideal_bits(((rows @ rings) * rows).sum(2), error).sum(1))


def test_coefficients_keep_the_energy_of_details() -> None:
    blocks = np.random.default_rng(0).normal(3, 1, (5, 2, SIDE, SIDE)).astype(np.float32)
    details = blocks - blocks.mean((2, 3), keepdims=True)
    found = coefficients(blocks)
    np.testing.assert_allclose(np.square(found).sum(2), np.square(details).sum((2, 3)), rtol=1e-5)
    total = np.tensordot(COUNTS, covariances(found), 1)
    np.testing.assert_allclose(total, np.einsum("nbyx,ncyx->bc", details, details) / len(blocks), rtol=1e-4, atol=1e-3)


def test_details_that_vary_along_either_side_are_alike() -> None:
    blocks = np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    turned = coefficients(np.ascontiguousarray(blocks.swapaxes(2, 3)))
    np.testing.assert_allclose(covariances(turned), covariances(coefficients(blocks)), rtol=1e-4, atol=1e-5)


@FEW
@given(bands=st.integers(2, 13), seed=st.integers(0, 99), error=st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0]))
def test_axes_are_orthonormal_and_in_order(bands: int, seed: int, error: float) -> None:
    found = spectrum(two_kinds(bands, seed)[2], error)
    rows = found.axes()
    np.testing.assert_allclose(rows @ rows.T, np.eye(bands), atol=1e-10)
    variances = np.diagonal(rows @ found.covariance @ rows.T)
    assert (np.diff(variances) <= 1e-9 * variances[0]).all()
    assert (rows[np.arange(bands), np.abs(rows).argmax(1)] > 0).all()


@FEW
@given(bands=st.integers(2, 8), seed=st.integers(0, 99))
def test_they_are_those_of_details_where_these_differ(bands: int, seed: int) -> None:
    _, of_details, blocks = two_kinds(bands, seed)
    found = spectrum(blocks)
    most = np.abs(found.axes() @ of_details.T).max(1)
    assert most.min() > 0.99, most
    assert bits(found.axes(), blocks, ERROR) <= bits(spectral_klt(found.covariance), blocks, ERROR)


@FEW
@given(bands=st.integers(2, 9), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_they_take_clearly_fewer_bits_or_are_the_principal_ones(bands: int, seed: int, share: float) -> None:
    blocks = two_kinds(bands, seed)[2]
    blocks[: int(share * len(blocks))] = two_kinds(bands, seed + 7)[2][: int(share * len(blocks))]
    found = spectrum(blocks)
    rows, usual = found.axes(), spectral_klt(found.covariance)
    if not np.array_equal(rows, usual):
        assert found.details is not None
        assert found.details.bits(rows) < (1 - LEAST_SAVED) * found.details.bits(usual)


@FEW
@given(bands=st.integers(2, 6), seed=st.integers(0, 99))
def test_bands_with_nothing_in_common_stay_alone(bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(324, bands, SIDE, SIDE)) * rng.uniform(0.02, 0.3, bands)[:, None, None]
    assert np.count_nonzero(spectrum(noise.astype(np.float32)).axes()) == bands


@FEW
@given(bands=st.integers(2, 6), seed=st.integers(0, 99), empty=st.sets(st.integers(0, 5), min_size=1))
def test_bands_without_details_stay_alone(bands: int, seed: int, empty: set[int]) -> None:
    blocks = two_kinds(bands, seed)[2]
    alone = [band for band in empty if band < bands]
    blocks[:, alone] = 0
    rows = spectrum(blocks).axes()
    assert (np.count_nonzero(np.abs(rows) > 1e-9, axis=0)[alone] == 1).all()


@FEW
@given(bands=st.integers(2, 6), seed=st.integers(0, 99))
def test_divided_values_have_the_axes_of_divided_blocks(bands: int, seed: int) -> None:
    blocks = two_kinds(bands, seed)[2]
    factors = np.random.default_rng(seed).uniform(0.5, 1, bands)
    before = spectrum(blocks).divided(factors)
    after = spectrum((blocks / factors[:, None, None]).astype(np.float32))
    np.testing.assert_allclose(before.covariance, after.covariance, rtol=1e-4, atol=1e-7)
    # Which blocks have much detail may differ.
    assert before.details is not None
    assert before.details.bits(after.axes()) < 1.01 * before.details.bits(before.axes())


def test_few_blocks_or_no_error_tell_nothing() -> None:
    blocks = two_kinds(3, 0)[2]
    for found in (spectrum(blocks, 0), spectrum(blocks[: LEAST_BLOCKS - 1])):
        assert found.details is None
        np.testing.assert_array_equal(found.axes(), spectral_klt(found.covariance))


def test_the_most_bands_are_turned_too() -> None:
    assert spectrum(two_kinds(MOST_BANDS, 0)[2]).axes().shape == (MOST_BANDS, MOST_BANDS)
