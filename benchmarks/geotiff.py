"""The codecs of GeoTIFF itself: lossless ZSTD and DEFLATE with a predictor, and LERC with a bounded error."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, Codec
from .jpeg2000 import gdal, read_gdal


class GeoTiff(Codec):
    """GDAL's GTiff driver at its smallest: 512 tiles, the predictor for the type, the slowest level of each codec."""

    on_request = True
    threaded = True
    tiles: ClassVar[dict[str, Any]] = {"tiled": True, "blockxsize": 512, "blockysize": 512}

    def __init__(self, name: str, description: str, **options: Any) -> None:
        self.name, self.description = name, description  # type: ignore[misc]  # one class, a codec for each option
        self.options = {**self.tiles, **options}  # type: ignore[misc]

    def version(self) -> str:
        rasterio = importlib.import_module("rasterio")
        return f"GDAL {rasterio.__gdal_version__}, rasterio {rasterio.__version__}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in (np.uint8, np.uint16, np.int16, np.float32)

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (0.0,)

    def _more(self, image: AnyArray, setting: float) -> dict[str, Any]:
        return {"predictor": 3 if image.dtype.kind == "f" else 2}

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        memory = importlib.import_module("rasterio.io").MemoryFile
        planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
        size = {"count": planes.shape[0], "height": planes.shape[1], "width": planes.shape[2]}
        options = {"interleave": "pixel", **self.options, **self._more(image, setting)}
        with gdal(threads), memory(ext=".tif") as file:
            with file.open(driver="GTiff", dtype=image.dtype, **size, **options) as dataset:
                dataset.write(planes)
            return bytes(file.read())

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        return read_gdal(data, ".tif", threads)


class Lerc(GeoTiff):
    """The setting is minus the largest error that a pixel may have, in units of the data."""

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (-64.0, -32.0, -16.0, -8.0, -4.0, -2.0, -1.0)

    def _more(self, image: AnyArray, setting: float) -> dict[str, Any]:
        return {"max_z_error": -setting, "interleave": "band"}


def codecs() -> list[Codec]:
    return [
        GeoTiff("zstd", "GeoTIFF, ZSTD level 22 with predictor", compress="ZSTD", zstd_level=22),
        GeoTiff("deflate", "GeoTIFF, DEFLATE level 9 with predictor", compress="DEFLATE", zlevel=9),
        Lerc("lerc", "GeoTIFF, LERC with ZSTD", compress="LERC_ZSTD", zstd_level=22),
    ]
