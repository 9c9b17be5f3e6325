"""Where tiles and the areas around them lie."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.models.config import HALO
from learned_codec.raster import tiles


@given(pixels=st.integers(1, 3000), tile=st.integers(1, 16), several=st.integers(1, 4))
def test_overlaps_put_an_area_together_from_its_tiles(pixels: int, tile: int, several: int) -> None:
    step = 64 * tile
    latents = np.arange(tiles.latents_along(pixels))
    parts = [latents[start : start + step // 16] for start in range(0, len(latents), step // 16)]
    covered = []
    for area in tiles.ranges(pixels, step * several):
        whole = np.full(area.outer_length, -1)
        for index, part, place in tiles.overlaps(area, step):
            assert (whole[place] == -1).all()
            whole[place] = parts[index][part]
        assert np.array_equal(whole, latents[max(0, area.start - HALO) : area.stop + HALO])
        covered.extend(whole[area.inner])
    assert covered == latents.tolist()
