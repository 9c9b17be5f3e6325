"""Dependent quantisation: the quantisers of symbols, and what symbols stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.entropy import FIRST_BIN, SCALE_BINS, dequantised
from learned_codec.entropy.dependent import DELTA, LEAST_COLUMNS, MOST_ROWS, SHORT_ROW, columns, quantisers, values
from learned_codec.entropy.tables import MAX_SYMBOL
from learned_codec.models.config import GRAIN

STATES = [(0, 2), (2, 0), (1, 3), (3, 1)]
"""VVC's: the next state by the parity of the symbol. States 2 and 3 have the second quantiser."""


@given(seed=st.integers(0, 2**32), count=st.integers(0, 4000))
def test_quantisers_are_those_of_the_four_states(seed: int, count: int) -> None:
    symbols = np.random.default_rng(seed).integers(-MAX_SYMBOL, MAX_SYMBOL + 1, count).astype(np.int32)
    found, width = quantisers(symbols), columns(count)
    for column in range(min(width, count)):
        state = 0
        for place in range(column, count, width):
            assert found[place] == state // 2
            state = STATES[state][symbols[place] % 2]


@given(st.integers(1, 10**7))
def test_columns(count: int) -> None:
    width = columns(count)
    rows = -(-count // width)
    assert width >= LEAST_COLUMNS
    assert rows <= (MOST_ROWS if width >= SHORT_ROW else MOST_ROWS // 2)
    assert width <= SHORT_ROW or (MOST_ROWS - 1) * (width - 1) < count


@pytest.mark.parametrize(
    ("count", "width"), [(1, 8), (256, 8), (257, 9), (2048, 64), (2049, 64), (4096, 64), (4097, 65), (64000, 1000)]
)
def test_columns_by_count(count: int, width: int) -> None:
    assert columns(count) == width


def test_values_are_exact_multiples() -> None:
    symbols = np.array([0, 1, -1, 2, -2, MAX_SYMBOL, -MAX_SYMBOL], np.int32)
    for quantiser in (0, 1):
        found = values(symbols, np.full(7, quantiser, np.uint8))
        multiples = [0, *(s * (2 * k - quantiser) for k in (1, 2, MAX_SYMBOL) for s in (1, -1))]
        assert found.tolist() == [multiple * DELTA for multiple in multiples]
        assert (found % GRAIN == 0).all()


def test_symbols_in_lower_bins_have_a_step_of_their_own() -> None:
    counts = np.zeros(SCALE_BINS, np.intp)
    counts[[FIRST_BIN - 1, FIRST_BIN]] = 3, 2
    symbols = np.array([5, -1, 0, 5, -1], np.int32)
    assert dequantised(symbols, counts).tolist() == [5, -1, 0, 10 * DELTA, -2 * DELTA]
