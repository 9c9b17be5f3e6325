"""The registry: every codec of the benchmarks by its name."""

from __future__ import annotations

from functools import lru_cache

from . import compressai_peers, geotiff, jpeg2000, ours, peers
from .codec import Codec


@lru_cache(maxsize=1)
def _build() -> dict[str, Codec]:
    codecs: list[Codec] = [
        ours.Ours(),
        ours.OursUnrefined(),
        *(ours.OursWithEffort(effort) for effort in (1, 2, 3)),
        jpeg2000.Jpeg2000(),
        jpeg2000.Jpeg2000Psnr(),
        jpeg2000.Jpeg2000Gdal(),
        jpeg2000.Jpeg2000Klt(),
        jpeg2000.Jpeg2000KltBands(),
        jpeg2000.Jpeg2000GdalKlt(),
        *peers.codecs(),
        *geotiff.codecs(),
        *compressai_peers.codecs(),
    ]
    return {codec.name: codec for codec in codecs}


def get(name: str) -> Codec:
    try:
        return _build()[name]
    except KeyError:
        raise KeyError(f"no codec {name!r}; there are: {', '.join(names())}") from None


def names(*, by_default: bool = False) -> list[str]:
    """All codecs, or those that a rate-distortion run measures if it isn't told which."""
    aside = [name for name, codec in _build().items() if codec.random_weights or codec.on_request]
    return [name for name in _build() if not (by_default and name in aside)]
