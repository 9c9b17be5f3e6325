"""Where tiles and the areas around them lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.models.config import HALO
from learned_codec.tiling import grid


@given(pixels=st.integers(1, 3000), tile=st.integers(1, 16), several=st.integers(1, 4))
def test_overlaps_put_an_area_together_from_its_tiles(pixels: int, tile: int, several: int) -> None:
    step = 64 * tile
    latents = np.arange(grid.latents_along(pixels))
    parts = [latents[start : start + step // 16] for start in range(0, len(latents), step // 16)]
    covered = []
    for area in grid.ranges(pixels, step * several):
        whole = np.full(area.outer_length, -1)
        for index, part, place in grid.overlaps(area, step):
            assert (whole[place] == -1).all()
            whole[place] = parts[index][part]
        assert np.array_equal(whole, latents[max(0, area.start - HALO) : area.stop + HALO])
        covered.extend(whole[area.inner])
    assert covered == latents.tolist()


@given(
    pixels=st.integers(1, 3000), tile=st.integers(1, 16), window=st.tuples(st.integers(0, 2999), st.integers(1, 3000))
)
def test_the_ranges_of_a_window_are_its_blocks(pixels: int, tile: int, window: tuple[int, int]) -> None:
    start = window[0] % pixels
    stop = min(start + window[1], pixels)
    found = list(grid.ranges(pixels, 64 * tile, slice(start, stop)))
    covered = [position for area in found for position in range(area.start, area.stop)]
    assert covered == list(range(start // 16, -(-stop // 16)))
    for area in found:  # none crosses a tile's border, and each has its halo within the image
        assert area.start // (4 * tile) == (area.stop - 1) // (4 * tile)
        assert area.outer_start == max(0, area.start - HALO)
        assert area.outer_stop == min(grid.latents_along(pixels), area.stop + HALO)
    assert found[0].pixels(pixels).start <= start
    assert found[-1].pixels(pixels).stop >= stop


@pytest.mark.parametrize(("bands", "several"), [(1, 4), (3, 4), (4, 2), (9, 1), (64, 1), (200, 1)])
def test_spans_are_shorter_of_many_bands(bands: int, several: int) -> None:
    assert grid.span(10_980, 256, bands) == 256 * several
    assert grid.span(200, 256, bands) == 208  # one tile
