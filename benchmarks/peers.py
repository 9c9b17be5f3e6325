"""The formats of photographs, each at the settings that are its best for what a table measures.

Adapters import what they wrap lazily: a missing package makes one codec unavailable, with the reason.
"""

from __future__ import annotations

import importlib
import io
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .codec import Array, Codec


class _Pillow(Codec):
    """A format that Pillow writes at a `quality`."""

    format: ClassVar[str] = ""
    feature: ClassVar[str] = ""
    bands: ClassVar[tuple[int, ...]] = (3,)

    def version(self) -> str:
        pil = importlib.import_module("PIL")
        features = importlib.import_module("PIL.features")
        if not features.check(self.feature):
            raise ImportError(f"this Pillow was built without {self.format}")
        return f"Pillow {pil.__version__}, {self._library(features)}"

    def _library(self, features: Any) -> str:
        return f"{self.feature} {features.version(self.feature)}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) == np.uint8 and bands in self.bands

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)

    def _threads(self, threads: int) -> dict[str, int]:
        return {}

    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes:
        pil = importlib.import_module("PIL.Image")
        buffer = io.BytesIO()
        options = {**self.options, **self._threads(threads)}
        pil.fromarray(image).save(buffer, self.format, quality=round(setting), **options)
        return buffer.getvalue()

    def decode(self, data: bytes, threads: int = 1) -> Array:
        pil = importlib.import_module("PIL.Image")
        with pil.open(io.BytesIO(data)) as image:
            return np.asarray(image)


class Jpeg(_Pillow):
    format = "JPEG"
    feature = "jpg"
    bands = (1, 3)

    def __init__(self, name: str, chroma: str, metrics: tuple[str, ...], note: str) -> None:
        self.name = name  # type: ignore[misc]  # one class, a codec for each sampling of colour
        self.description = f"JPEG {chroma}, progressive, optimised Huffman tables"  # type: ignore[misc]
        self.metrics, self.note = metrics, note  # type: ignore[misc]
        self.options = {"subsampling": chroma, "optimize": True, "progressive": True}  # type: ignore[misc]

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (5, 12, 30, 55, 78, 92)

    def _library(self, features: Any) -> str:
        turbo = features.version("libjpeg_turbo")
        return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"


class WebP(_Pillow):
    name = "webp"
    description = "WebP lossy, 4:2:0, method 6"
    note = "method 6 is its slowest; its colour is always halved (4:2:0), and sharp YUV, which costs bits, is off"
    format = "WEBP"
    feature = "webp"
    options: ClassVar[dict[str, Any]] = {"method": 6}


class Avif(_Pillow):
    """AVIF through libavif and libaom. `tune=iq`, its default, gives PSNR away for structure."""

    format = "AVIF"
    feature = "avif"
    threaded = True
    slow = True

    def __init__(self, name: str, tune: str, speed: int, metrics: tuple[str, ...], note: str) -> None:
        self.name = name  # type: ignore[misc]  # one class, a codec for each tuning
        self.description = f"AVIF 4:4:4, tune={tune}, speed {speed}"  # type: ignore[misc]
        self.metrics, self.note = metrics, note  # type: ignore[misc]
        self.options = {"subsampling": "4:4:4", "speed": speed, "advanced": {"tune": tune}}  # type: ignore[misc]

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        if self.options["advanced"]["tune"] != "psnr":
            return super().ladder(dtype, bands)
        return (5, 22, 40, 58, 75, 90) if self.options["speed"] >= 4 else (8, 36, 62, 88)

    def _threads(self, threads: int) -> dict[str, int]:
        return {"max_threads": threads}


class JpegXL(Codec):
    name = "jpegxl"
    description = "JPEG XL, VarDCT, effort 7"
    note = "effort 9 takes 1 % more bytes at equal PSNR, and the same by MS-SSIM; it is tuned for eyes, and stays so"
    options: ClassVar[dict[str, Any]] = {"effort": 7}
    threaded = True
    slow = True

    def version(self) -> str:
        imagecodecs = importlib.import_module("imagecodecs")
        if not imagecodecs.JPEGXL.available:
            raise ImportError("this imagecodecs was built without JPEG XL")
        return f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in (np.uint8, np.uint16) and bands in (1, 3)

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        # the setting is minus the Butteraugli distance, so that the ladder climbs like everyone else's
        return (-20, -14, -10, -7, -5, -3.5, -2.5, -1.7, -1.0, -0.6, -0.3)

    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes:
        imagecodecs = importlib.import_module("imagecodecs")
        return bytes(imagecodecs.jpegxl_encode(image, distance=-setting, numthreads=threads, **self.options))

    def decode(self, data: bytes, threads: int = 1) -> Array:
        return np.asarray(importlib.import_module("imagecodecs").jpegxl_decode(data, numthreads=threads))


class Heic(Codec):
    """HEVC intra through pillow-heif; imagecodecs' wheels carry no encoder for it."""

    slow = True

    def __init__(self, name: str, tune: str, metrics: tuple[str, ...], note: str) -> None:
        self.name = name  # type: ignore[misc]  # one class, a codec for each tuning
        self.description = f"HEIC 4:4:4, x265, tune={tune}"  # type: ignore[misc]
        self.metrics, self.note = metrics, note  # type: ignore[misc]
        self.options = {"chroma": 444, "tune": tune}  # type: ignore[misc]

    def version(self) -> str:
        module = importlib.import_module("pillow_heif")
        x265 = module.libheif_info()["encoders"].get("x265")
        if x265 is None:
            raise ImportError("this pillow-heif was built without x265")
        return f"pillow-heif {module.__version__}, libheif {module.libheif_version()}, {x265}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) == np.uint8 and bands == 3

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        if self.options["tune"] != "psnr":
            return (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
        return (3, 20, 38, 56, 74, 90)

    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes:
        module = importlib.import_module("pillow_heif")
        buffer = io.BytesIO()
        heif = module.from_pillow(importlib.import_module("PIL.Image").fromarray(image))
        heif.save(buffer, quality=round(setting), enc_params=dict(self.options))
        return buffer.getvalue()

    def decode(self, data: bytes, threads: int = 1) -> Array:
        module = importlib.import_module("pillow_heif")
        return np.asarray(module.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False))


def codecs() -> list[Codec]:
    """The peers; JPEG, AVIF and HEIC once at their best for PSNR and once for MS-SSIM."""
    slow = Avif(
        "avif-slow", "psnr", 1, ("psnr",), "the slowest bearable speed: 0 takes three times as long for 0.06 dB"
    )
    slow.on_request = True  # type: ignore[misc]
    return [
        Jpeg(
            "jpeg", "4:2:0", ("psnr",), "progressive, and halved colour, is its best by PSNR but at the highest rates"
        ),
        Jpeg("jpeg-444", "4:4:4", ("ms-ssim",), "progressive, and whole colour, is its best by MS-SSIM"),
        WebP(),
        Avif("avif", "psnr", 4, ("psnr",), "tune=psnr, because the default, tune=iq, gives PSNR away"),
        slow,
        Avif("avif-iq", "iq", 4, ("ms-ssim",), "the default, made for eyes; by MS-SSIM it beats tune=ssim"),
        JpegXL(),
        Heic(
            "heic",
            "psnr",
            ("psnr",),
            "tune=psnr, as the default, tune=ssim, gives PSNR away; slower presets gain nothing",
        ),
        Heic("heic-ssim", "ssim", ("ms-ssim",), "tune=ssim, the default"),
    ]
