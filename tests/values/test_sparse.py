"""Scattered holes are filled by what the fewest coefficients describe."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.values.inpaint import fill_bands
from learned_codec.values.sparse import SIDE, refine

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SIZES = st.integers(1, 60)


def waves(seed: int, bands: int, height: int, width: int) -> np.ndarray:
    """(bands, height, width) float32: waves that all bands share, each in another strength."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    common = np.stack([np.sin(rng.uniform(0.05, 0.4) * x + rng.uniform(0.05, 0.4) * y + k) for k in range(3)])
    return (0.5 + np.tensordot(rng.uniform(-0.2, 0.2, (bands, 3)), common, 1)).astype(np.float32)


@QUICK
@given(bands=st.integers(1, 5), height=SIZES, width=SIZES, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_valid_values_stay_and_so_do_whole_blocks_and_empty_ones(
    bands: int, height: int, width: int, share: float, seed: int
) -> None:
    planes = waves(seed, bands, height, width)
    valid = np.random.default_rng(seed).random(planes.shape) < share
    covariance = np.cov(planes.reshape(bands, -1)).reshape(bands, bands) if planes[0].size > 1 else None
    found = refine(planes, valid, covariance, 0.02)
    assert (found.shape, found.dtype) == (planes.shape, np.float32)
    assert np.isfinite(found).all()
    assert (found[valid] == planes[valid]).all()
    for all_or_none in (np.zeros_like, np.ones_like):
        assert (refine(planes, all_or_none(valid), covariance, 0.02) == planes)[:, : height // SIDE * SIDE].all()


@QUICK
@given(bands=st.integers(1, 6), missing=st.floats(0.3, 0.85), together=st.booleans(), seed=st.integers(0, 99))
def test_holes_come_nearer_to_what_was_there(bands: int, missing: float, together: bool, seed: int) -> None:
    planes = waves(seed, bands, 64, 80)
    valid = np.random.default_rng(seed).random(planes.shape) >= missing
    if together:
        valid[:] = valid[:1]
    covariance = np.cov(planes.reshape(bands, -1)).reshape(bands, bands)
    filled = fill_bands(planes, valid, covariance)

    def error(found: np.ndarray) -> float:
        return float(np.sqrt(np.square(found - planes)[~valid].mean()))

    assert error(refine(filled, valid, covariance, 0.02)) < error(filled)
