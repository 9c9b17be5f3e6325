"""The search for dependent symbols: none is better, and errors are small."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.entropy import SCALE_BINS, gaussian_tables
from learned_codec.entropy.dependent import DELTA, columns, quantisers, values
from learned_codec.entropy.tables import MAX_REACH
from learned_codec.models import rdoq, trellis

OF_TABLES = gaussian_tables().cost_matrix(MAX_REACH + 1)
COSTS = rdoq.SymbolCosts.of(OF_TABLES)
BITS = OF_TABLES.reshape(-1, SCALE_BINS, MAX_REACH + 2)[1:].swapaxes(0, 1)
"""By bin, quantiser and magnitude."""


def lagrangian(symbols: np.ndarray, residual: np.ndarray, bins: np.ndarray, cost: np.ndarray) -> float:
    own = quantisers(symbols)
    bits = BITS[bins, own, np.minimum(np.abs(symbols), BITS.shape[2] - 1)]
    return float((bits + cost * np.square(residual - values(symbols, own))).sum())


def drawn(seed: int, count: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bins = np.sort(rng.integers(16, SCALE_BINS, count))
    residual = rng.normal(0, spread * 2 ** (-3.25 + bins / 8)).astype(np.float32)
    return residual, bins, rng.uniform(1, 8, count).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_no_path_is_better(seed: int) -> None:
    residual, bins, cost = drawn(seed, 8 * 4, 1)
    assert columns(len(residual)) == 8
    found = trellis.searched(residual, bins, cost, COSTS.dependent)
    for column in range(8):
        own = [x[column::8] for x in (residual, bins, cost)]
        around = [sorted({0, *(s + int(np.rint(x / DELTA / 2)) for s in (-1, 0, 1))}) for x in own[0]]
        ours = lagrangian_of_column(found[column::8], *own)
        paths = (np.array(path, np.int32) for path in product(*around))
        best = min(lagrangian_of_column(path, *own) for path in paths if near(path, own[0]))
        assert ours <= best * (1 + 1e-5)


def near(symbols: np.ndarray, residual: np.ndarray) -> bool:
    """Whether a column has only symbols that are searched: within two DELTA, or zero for a small value."""
    error = np.abs(residual - values(symbols, of_column(symbols)))
    return bool(((error < 2 * DELTA) | ((symbols == 0) & (error <= trellis.MOST_LEFT))).all())


def of_column(symbols: np.ndarray) -> np.ndarray:
    """The quantisers of a single column, one of eight."""
    alone = np.zeros((len(symbols), 8), np.int32)
    alone[:, 0] = symbols
    return quantisers(alone.reshape(-1)).reshape(-1, 8)[:, 0]


def lagrangian_of_column(symbols: np.ndarray, residual: np.ndarray, bins: np.ndarray, cost: np.ndarray) -> float:
    """That of a single column, one of eight."""
    own = of_column(symbols)
    bits = BITS[bins, own, np.minimum(np.abs(symbols), BITS.shape[2] - 1)]
    return float((bits + cost * np.square(residual - values(symbols, own))).sum())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 3000), spread=st.sampled_from([0.1, 1.0, 30.0, 1e6]))
def test_errors_are_small_at_any_scale(seed: int, count: int, spread: float) -> None:
    residual, bins, cost = drawn(seed, count, spread)
    symbols = trellis.searched(residual, bins, cost, COSTS.dependent)
    assert symbols.shape == (count,)
    assert symbols.dtype == np.int32
    reachable = np.abs(residual) < 30000
    error = np.abs(residual - values(symbols, quantisers(symbols)))
    assert (error[reachable] <= trellis.MOST_LEFT + 1e-2).all()


def test_two_quantisers_beat_one() -> None:
    """For a Gaussian of a deviation of 4 steps, each with its own tables: bits and error by more than 2 %."""
    rng = np.random.default_rng(0)
    bins = np.full(20_000, 42)
    residual = rng.normal(0, 2 ** (-3.25 + bins / 8)).astype(np.float32)
    cost = np.full(len(residual), 6 / np.log(2), np.float32)  # at this cost, a step of 1 is the best one
    one = rdoq.rounded(residual, np.bincount(bins, minlength=SCALE_BINS), cost, COSTS)
    bits = gaussian_tables().cost_matrix(63)[42, np.abs(one)]
    of_one = float((bits + cost * np.square(residual - one)).sum())
    assert lagrangian(trellis.searched(residual, bins, cost, COSTS.dependent), residual, bins, cost) < 0.98 * of_one


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1023, 1024, 1025])
def test_strips_change_nothing(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(3, count, 1)
    whole = trellis.searched(*given, COSTS.dependent)
    monkeypatch.setattr(trellis, "STRIP", 3)
    np.testing.assert_array_equal(trellis.searched(*given, COSTS.dependent), whole)
