"""docs/format.md is enough to read a payload: an entropy decoder written from its words alone."""

import numpy as np
import pytest

from learned_codec.entropy import SKIPPED_BINS, CoderModels, Encoder, gaussian_tables

TABLES = gaussian_tables()


class PlainDecoder:
    """ "The entropy coder", in integers."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + b"\0" * (-len(payload) % 4)
        self.words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4)]
        self.state = 0
        for _ in range(2):
            if self.words:
                self.state = (self.state << 32) + self.words.pop()

    def read(self, boundaries: list[int]) -> int:
        q = self.state % 2**24
        k = next(k for k in range(len(boundaries) - 1) if boundaries[k] <= q < boundaries[k + 1])
        self.state = (self.state >> 24) * (boundaries[k + 1] - boundaries[k]) + q - boundaries[k]
        if self.state < 2**32 and self.words:
            self.state = (self.state << 32) + self.words.pop()
        return k


def boundaries(scale_bin: int) -> list[int]:
    """ "Scale bins": L_k from the counts."""
    counts = TABLES.table(scale_bin).tolist()
    n, found, below = len(counts), [], 0
    for k, count in enumerate(counts):
        found.append((below * (2**24 - n) >> 18) + k)
        below += count
    return [*found, 2**24]


@pytest.mark.parametrize("seed", range(4))
def test_a_decoder_written_from_the_document_reads_a_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 70, 800).astype(np.uint8)
    symbols = np.round(rng.normal(0, 2 ** (-3.25 + bins / 8))).astype(np.int32)
    symbols[rng.integers(0, 800, 5)] = rng.integers(-30000, 30000, 5)  # some escapes
    symbols[bins < SKIPPED_BINS] = 0
    encoder = Encoder(CoderModels(TABLES))
    encoder.push(symbols, bins)

    decoder, found, escapes = PlainDecoder(encoder.finish()), np.zeros(800, int), []
    for i in sorted(range(800), key=lambda i: bins[i]):
        if bins[i] >= SKIPPED_BINS:
            reach = int(TABLES.reaches[bins[i]])
            letter = decoder.read(boundaries(bins[i]))
            found[i] = letter - reach
            if letter == 2 * reach + 1:
                escapes.append(i)
    for i in escapes:
        found[i] = decoder.read([k << 8 for k in range(2**16 + 1)]) - 32767
    assert (found == symbols).all()
    assert decoder.state == 0
    assert decoder.words == []
