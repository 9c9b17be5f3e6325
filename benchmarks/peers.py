"""The formats of photographs, each with the settings that are its best for the metric of a table.

What an adapter wraps is imported when it is used, so a missing package makes only one codec unavailable.
"""

from __future__ import annotations

import importlib
import io
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, Codec


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

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        pil = importlib.import_module("PIL.Image")
        buffer = io.BytesIO()
        options = {**self.options, **self._threads(threads)}
        pil.fromarray(image).save(buffer, self.format, quality=round(setting), **options)
        return buffer.getvalue()

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
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
    note = "method 6 is its slowest; it always halves the colour resolution (4:2:0); sharp YUV is off, as it costs bits"
    format = "WEBP"
    feature = "webp"
    options: ClassVar[dict[str, Any]] = {"method": 6}


class Avif(_Pillow):
    """AVIF through libavif and libaom. Its default, `tune=iq`, trades PSNR for structure."""

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
    threaded = True
    slow = True

    def __init__(self, name: str, effort: int, note: str) -> None:
        self.name = name  # type: ignore[misc]  # one class, a codec for each effort
        self.description = f"JPEG XL, VarDCT, effort {effort}"  # type: ignore[misc]
        self.note = note  # type: ignore[misc]
        self.options = {"effort": effort}  # type: ignore[misc]

    def version(self) -> str:
        imagecodecs = importlib.import_module("imagecodecs")
        if not imagecodecs.JPEGXL.available:
            raise ImportError("this imagecodecs was built without JPEG XL")
        return f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in (np.uint8, np.uint16) and bands in (1, 3)

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        # the setting is minus the Butteraugli distance, so that rates rise along the ladder
        if self.options["effort"] > 7:
            return (-14, -5, -1.7, -0.6)
        return (-20, -14, -10, -7, -5, -3.5, -2.5, -1.7, -1.0, -0.6, -0.3)

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        imagecodecs = importlib.import_module("imagecodecs")
        return bytes(imagecodecs.jpegxl_encode(image, distance=-setting, numthreads=threads, **self.options))

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        return np.asarray(importlib.import_module("imagecodecs").jpegxl_decode(data, numthreads=threads))


class Heic(Codec):
    """HEVC intra through pillow-heif; the wheels of imagecodecs have no encoder for it."""

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

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        module = importlib.import_module("pillow_heif")
        buffer = io.BytesIO()
        heif = module.from_pillow(importlib.import_module("PIL.Image").fromarray(image))
        heif.save(buffer, quality=round(setting), enc_params=dict(self.options))
        return buffer.getvalue()

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        module = importlib.import_module("pillow_heif")
        return np.asarray(module.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False))


def codecs() -> list[Codec]:
    """The peers. JPEG, AVIF and HEIC occur twice: at their best for PSNR, and for MS-SSIM."""
    note = "the slowest bearable speed: speed 0 takes three times as long and gains 0.06 dB"
    slowest = Avif("avif-slow", "psnr", 1, ("psnr",), note)
    more_effort = JpegXL("jpegxl-slow", 9, "0.5 % less than effort 7, by PSNR and by MS-SSIM")
    slowest.on_request = more_effort.on_request = True  # type: ignore[misc]
    by_psnr, by_structure = ("psnr",), ("ms-ssim",)
    return [
        Jpeg("jpeg", "4:2:0", by_psnr, "best by PSNR, except at the highest rates: half the resolution in colours"),
        Jpeg("jpeg-444", "4:4:4", by_structure, "best by MS-SSIM: the full resolution in colours"),
        WebP(),
        Avif("avif", "psnr", 4, by_psnr, "the default, tune=iq, has a lower PSNR; slower: see avif-slow"),
        slowest,
        Avif("avif-iq", "iq", 4, by_structure, "the default, tuned for eyes; better by MS-SSIM than tune=ssim"),
        JpegXL("jpegxl", 7, "effort 9 saves 0.5 % in 20 times the time; its tuning for eyes can't be changed"),
        more_effort,
        Heic("heic", "psnr", by_psnr, "the default, tune=ssim, has a lower PSNR; slower presets gain nothing"),
        Heic("heic-ssim", "ssim", by_structure, "the default"),
    ]
