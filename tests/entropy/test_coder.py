"""Scale tables and the ANS coder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.entropy import (
    SCALE_BINS,
    SKIPPED_BINS,
    CoderModels,
    Decoder,
    Encoder,
    Runs,
    ScaleTables,
    gaussian_tables,
)
from learned_codec.entropy.tables import MAX_SYMBOL, TOTAL, fitted_tables
from learned_codec.entropy.tables import TABLES as TABLES_OF_A_MODEL
from learned_codec.errors import CorruptDataError, WeightsError

TABLES = gaussian_tables()
MODELS = CoderModels(TABLES)


def draw(rng: np.random.Generator, count: int, wild: bool) -> tuple[np.ndarray, np.ndarray]:
    """Symbols that fit their bins' scales, or with `wild` any at all."""
    bins = rng.integers(0, SCALE_BINS, count).astype(np.uint8)
    scale = 2 ** (-3.25 + bins / 8)
    symbols = np.round(rng.normal(0, scale)).astype(np.int32)
    if wild:
        symbols = rng.integers(-MAX_SYMBOL, MAX_SYMBOL + 1, count).astype(np.int32)
    symbols[bins < SKIPPED_BINS] = 0
    return symbols, bins


def push(encoder: Encoder, symbols: np.ndarray, bins: np.ndarray, dependent: bool = False) -> None:
    runs = Runs.of(bins)
    encoder.push(symbols[runs.order], runs.counts, dependent=dependent)


def pop(decoder: Decoder, bins: np.ndarray, dependent: bool = False) -> np.ndarray:
    runs, symbols = Runs.of(bins), np.zeros(len(bins), np.int32)
    symbols[runs.order] = decoder.pop(runs.counts, dependent=dependent)
    return symbols


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.tuples(st.integers(0, 400) | st.integers(1000, 3000), st.booleans()), max_size=5),
    wild=st.booleans(),
)
def test_symbols_come_back(seed: int, sizes: list[tuple[int, bool]], wild: bool) -> None:
    rng = np.random.default_rng(seed)
    groups = [(*draw(rng, size, wild), dependent) for size, dependent in sizes]
    encoder = Encoder(MODELS)
    for symbols, bins, dependent in groups:
        push(encoder, symbols, bins, dependent)
    payload = encoder.finish()
    decoder = Decoder(MODELS, payload)
    for symbols, bins, dependent in groups:
        assert (pop(decoder, bins, dependent) == symbols).all()
    decoder.finish()
    assert encoder.bits * 0.999 - 40 <= 8 * len(payload) <= encoder.bits * 1.001 + 48


def test_bits_are_the_entropy() -> None:
    symbols, bins = draw(np.random.default_rng(1), 200_000, False)
    scale = 2 ** (-3.25 + bins / 8)
    wide = scale > 2  # there, a rounded Gaussian has log2(scale * sqrt(2 pi e)) bits
    expected = np.log2(scale[wide] * np.sqrt(2 * np.pi * np.e)).sum()
    assert TABLES.bits(symbols[wide], bins[wide]) == pytest.approx(expected, rel=0.005)


def test_nothing_costs_nothing() -> None:
    encoder = Encoder(MODELS)
    push(encoder, np.zeros(1000, np.int32), np.zeros(1000, np.uint8))
    assert encoder.finish() == b""
    assert (pop(Decoder(MODELS, b""), np.zeros(1000, np.uint8)) == 0).all()


@settings(deadline=None, max_examples=60)
@given(payload=st.binary(max_size=64), seed=st.integers(0, 1000), dependent=st.booleans())
def test_any_payload_decodes_or_says_that_it_does_not(payload: bytes, seed: int, dependent: bool) -> None:
    _, bins = draw(np.random.default_rng(seed), 100, False)
    try:
        decoder = Decoder(MODELS, payload)
        assert pop(decoder, bins, dependent).shape == (100,)
        decoder.finish()
    except CorruptDataError:
        pass


def test_a_symbol_above_the_largest_is_refused() -> None:
    encoder, bins = Encoder(MODELS), np.array([20, 40], np.uint8)
    push(encoder, np.array([-MAX_SYMBOL, MAX_SYMBOL + 1], np.int32), bins)
    with pytest.raises(CorruptDataError, match=f"above {MAX_SYMBOL}"):
        pop(Decoder(MODELS, encoder.finish()), bins)


def test_a_payload_must_be_used_up() -> None:
    symbols, bins = draw(np.random.default_rng(2), 300, False)
    encoder = Encoder(MODELS)
    push(encoder, symbols, bins)
    decoder = Decoder(MODELS, encoder.finish())
    pop(decoder, bins[:200])
    with pytest.raises(CorruptDataError):
        decoder.finish()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_fitted_tables_are_tables(seed: int) -> None:
    rng = np.random.default_rng(seed)
    histograms = [rng.integers(0, 10 ** rng.integers(1, 8), int(r) + 2).astype(float) for r in TABLES.reaches]
    fitted = fitted_tables(histograms)
    for number in range(TABLES_OF_A_MODEL):
        table = fitted.table(number)
        assert table.sum() == TOTAL
        assert table.min() >= 1
        assert (table[:-1] == table[:-1][::-1]).all() or np.abs(table[:-1] - table[:-1][::-1]).max() <= 1


def test_fitting_to_laplacian_symbols_beats_the_gaussian() -> None:
    rng = np.random.default_rng(0)
    symbols = np.round(rng.laplace(0, 1, 100_000)).astype(np.int32)
    bins = np.full(len(symbols), 34, np.uint8)
    histograms = [np.zeros(int(r) + 2) for r in TABLES.reaches]
    reach = int(TABLES.reaches[34])
    histograms[34] += np.bincount(np.minimum(np.abs(symbols), reach + 1), minlength=reach + 2)
    assert fitted_tables(histograms).bits(symbols, bins) < 0.99 * TABLES.bits(symbols, bins)


def test_the_cost_matrix_is_the_tables() -> None:
    costs = TABLES.cost_matrix(15)
    for b in (SKIPPED_BINS, 20, 40, SCALE_BINS - 1):
        for magnitude in (0, 1, 2):
            one = TABLES.bits(np.array([magnitude], np.int32), np.array([b], np.uint8))
            assert costs[b, magnitude] == pytest.approx(one, rel=1e-5)


def test_wrong_tables_are_refused() -> None:
    counts = TABLES.counts.copy()
    counts[5] += 1
    with pytest.raises(WeightsError, match="sum"):
        ScaleTables(counts, TABLES.reaches)
    with pytest.raises(WeightsError, match="missing"):
        ScaleTables(TABLES.counts[:-1], TABLES.reaches)
    with pytest.raises(WeightsError, match="reaches"):
        ScaleTables(TABLES.counts, TABLES.reaches[:-1])
