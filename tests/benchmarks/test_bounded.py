"""Lossless and bounded: every codec is held to the bound, and the table says what each takes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks import bounded

pytest.importorskip("imagecodecs")

RNG = np.random.default_rng(1)
Y, X = np.mgrid[:40, :48]
PICTURE = (100 + 40 * np.sin(X / 9) + Y + RNG.normal(0, 3, (3, 40, 48))).clip(0, 255).astype(np.uint8)
RASTER = (PICTURE.astype(np.int16) * 90 - 9000).astype(np.int16)
CODERS = [getattr(bounded, f"_{name}") for name in ("ours", "png", "jpeg2000", "jpegxl", "jpegls", "lerc", "zstd")]


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.__name__[1:])
@pytest.mark.parametrize("values", [PICTURE, RASTER], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("bound", [0, 3])
def test_what_is_compared_keeps_the_bound(coder, values, bound) -> None:
    size, decoded = coder(values, bound)
    if coder is bounded._png and values.dtype == np.int16:
        values, decoded = values.view(np.uint16), decoded.view(np.uint16)
    assert 50 < size < values.nbytes * 1.2
    assert np.abs(decoded.astype(np.int64) - values.astype(np.int64)).max() <= bound


def test_a_codec_that_misses_the_bound_isnt_in_the_table() -> None:
    def wrong(values, _bound):
        return 5, values + 1

    with ThreadPoolExecutor() as pool:
        group = bounded._measure("a", [("x", PICTURE)], [0], {"ours": bounded._ours, "wrong": wrong}, None, pool)
    (row,) = group["rows"]
    assert set(row["codecs"]) == {"ours"}
    assert "| – |" in bounded.table({"groups": [group]})
