"""JPEG 2000: the anchor, as GDAL writes it, and after a spectral KLT.

The anchor is OpenJPEG through glymur with the 9/7 wavelet, six resolutions, one tile and a rate target, as a .jp2 file.
The 85 bytes of its container count, as those of all codecs do. Its setting is the target in bits per pixel, over all
bands.
"""

from __future__ import annotations

import importlib
import os
import struct
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, Codec, bands_of
from .metrics import PEAK_PERCENTILES
from .openjpeg import load_glymur, openjpeg_version

#: Rates of an RGB image, bit/pixel. Other band counts scale it.
RGB_LADDER = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
GRAY_LADDER = (0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)


#: Rates of one band of 16-bit data, whose noise takes more bits than photographs do.
DEEP_LADDER = (0.03, 0.06, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5, 2.0, 3.0, 4.0)


def rate_ladder(dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
    """Targets in bits per pixel, over all bands."""
    if np.dtype(dtype) != np.uint8:
        return tuple(round(rate * bands, 6) for rate in DEEP_LADDER)
    return GRAY_LADDER if bands == 1 else tuple(round(rate * bands / 3, 6) for rate in RGB_LADDER)


def _scratch() -> str | None:
    """A folder in memory if there is one: glymur only takes files, and timings shouldn't measure a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK) else None


def write_jpeg2000(image: AnyArray, threads: int = 1, *, container: str = "jp2", **options: Any) -> bytes:
    """A .jp2 file or, `container="j2k"`, a bare codestream."""
    glymur = load_glymur()
    glymur.set_option("lib.num_threads", threads)
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        path = Path(folder) / f"image.{container}"
        glymur.Jp2k(path, data=np.ascontiguousarray(image), **options)
        return path.read_bytes()


def read_jpeg2000(data: bytes, threads: int = 1, *, container: str = "jp2") -> AnyArray:
    glymur = load_glymur()
    glymur.set_option("lib.num_threads", threads)
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        path = Path(folder) / f"image.{container}"
        path.write_bytes(data)
        return np.asarray(glymur.Jp2k(path)[:])


class _Glymur(Codec):
    """OpenJPEG through glymur, which only writes unsigned samples.

    2^15 is added to signed samples, and the file is marked. JPEG 2000 subtracts 2^15 from unsigned samples, so its
    wavelet gets the same values.
    """

    threaded = True
    _SIGNED = b"i16"
    options: ClassVar[dict[str, Any]] = {"irreversible": True, "numres": 6, "container": "jp2"}

    def version(self) -> str:
        return f"OpenJPEG {openjpeg_version()}, glymur {load_glymur().__version__}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in (np.uint8, np.uint16, np.int16)

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return rate_ladder(dtype, bands)

    def _write(self, image: AnyArray, threads: int, **options: Any) -> bytes:
        options = {"irreversible": True, "numres": self._resolutions(image), **options}
        if image.dtype != np.int16:
            return write_jpeg2000(image, threads, **options)
        return self._SIGNED + write_jpeg2000((image.astype(np.int32) + 2**15).astype(np.uint16), threads, **options)

    def _resolutions(self, image: AnyArray) -> int:
        # a small chip has no room for six
        return max(1, min(int(self.options["numres"]), int(np.log2(min(image.shape[:2]))) + 1))

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        if not data.startswith(self._SIGNED):
            return read_jpeg2000(data, threads)
        raised = read_jpeg2000(data[len(self._SIGNED) :], threads)
        return (raised.astype(np.int32) - 2**15).astype(np.int16)


class Jpeg2000(_Glymur):
    name = "jpeg2000"
    by_rate = True
    description = "JPEG 2000 (the anchor: 9/7, one tile, rate target)"
    note = "the strongest plain settings found; with a PSNR target it takes more bytes"

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        ratio = bands_of(image) * image.dtype.itemsize * 8 / setting
        return self._write(image, threads, cratios=[max(ratio, 1.0)])


class Jpeg2000Psnr(_Glymur):
    """OpenJPEG with a PSNR as its target, relative to the peak of 8 or 16 bits."""

    name = "jpeg2000-psnr"
    description = "JPEG 2000, PSNR target"

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        if np.dtype(dtype) == np.uint8:
            return (26, 28, 30, 32, 34, 36, 38, 40, 42, 44)
        return (
            38,
            42,
            46,
            50,
            54,
            58,
            62,
            66,
            70,
            74,
        )  # many sensors use only a part of the 16 bits, so useful PSNRs differ much

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        return self._write(image, threads, psnr=[setting])


@contextmanager
def gdal(threads: int) -> Iterator[None]:
    """GDAL with a number of threads, and without warnings about arrays without a georeference."""
    rasterio = importlib.import_module("rasterio")
    unplaced = importlib.import_module("rasterio.errors").NotGeoreferencedWarning
    with warnings.catch_warnings(), rasterio.Env(GDAL_NUM_THREADS=str(threads)):
        warnings.simplefilter("ignore", unplaced)
        yield


_GDAL = {"REVERSIBLE": "NO", "BLOCKXSIZE": "1024", "BLOCKYSIZE": "1024"}


def write_gdal(image: AnyArray, rate: float, threads: int, **options: str) -> bytes:
    """A .jp2 file by GDAL, at `rate` bits per pixel over all bands."""
    memory = importlib.import_module("rasterio.io").MemoryFile
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    quality = 100 * rate / (planes.shape[0] * image.dtype.itemsize * 8)
    size = {"count": planes.shape[0], "height": planes.shape[1], "width": planes.shape[2]}
    options = {**_GDAL, **options, "QUALITY": f"{quality:.6f}"}
    with gdal(threads), memory(ext=".jp2") as file:
        with file.open(driver="JP2OpenJPEG", dtype=image.dtype, **size, **options) as dataset:
            dataset.write(planes)
        return bytes(file.read())


def read_gdal(data: bytes, extension: str, threads: int) -> AnyArray:
    """The image, (H, W) or (H, W, bands), of a file that GDAL reads."""
    memory = importlib.import_module("rasterio.io").MemoryFile
    with gdal(threads), memory(data, ext=extension) as file, file.open() as dataset:
        planes: AnyArray = dataset.read()
    return planes[0] if planes.shape[0] == 1 else np.moveaxis(planes, 0, 2)


class Jpeg2000Gdal(Codec):
    """What `gdal_translate -of JP2OpenJPEG` writes, through rasterio."""

    name = "jpeg2000-gdal"
    by_rate = True
    description = "JPEG 2000 as GDAL writes it (JP2OpenJPEG defaults, 1024 tiles)"
    options: ClassVar[dict[str, Any]] = _GDAL
    threaded = True

    def version(self) -> str:
        rasterio = importlib.import_module("rasterio")
        with rasterio.Env() as env:
            if "JP2OpenJPEG" not in env.drivers():
                raise ImportError("this GDAL has no JP2OpenJPEG driver")
        return f"GDAL {rasterio.__gdal_version__}, rasterio {rasterio.__version__}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in (np.uint8, np.uint16, np.int16)

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return rate_ladder(dtype, bands)

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        return write_gdal(image, setting, threads)

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        return read_gdal(data, ".jp2", threads)


class Jpeg2000Klt(_Glymur):
    """An orthonormal spectral KLT before JPEG 2000, which allocates the rate over all components.

    One scale for all components keeps the error uniform in the units of the data, so OpenJPEG's allocation (equal
    slope over all components, no colour transform of its own) minimises the mean squared error of the bands. Mean,
    matrix and scale travel in front of the codestream and count. Penna et al., "Transform Coding Techniques for Lossy
    Hyperspectral Data Compression", IEEE TGRS 45(5), 2007.
    """

    name = "jpeg2000-klt"
    by_rate = True
    options: ClassVar[dict[str, Any]] = {"irreversible": True, "numres": 6, "container": "mean, matrix, scale + j2k"}
    description = "JPEG 2000 after a spectral KLT"
    note = "best where bands are alike: one rate allocation over all components"
    _HEAD = struct.Struct("<HBf")
    _DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16))

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) in self._DTYPES and bands >= 2

    def _ranges(self, pixels: AnyArray) -> AnyArray:
        """(bands,) what each band is divided by before the KLT."""
        return np.ones(pixels.shape[1])

    def _write_components(self, components: AnyArray, rate: float, threads: int) -> bytes:
        ratio = max(16 * components.shape[2] / rate, 1.0)
        return write_jpeg2000(
            components, threads, container="j2k", irreversible=True, numres=self._resolutions(components), mct=False,
            cratios=[ratio],
        )  # fmt: skip

    def _read_components(self, data: bytes, threads: int) -> AnyArray:
        return read_jpeg2000(data, threads, container="j2k")

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        pixels = image.reshape(-1, image.shape[2]).astype(np.float64)
        bands = pixels.shape[1]
        mean, ranges = pixels.mean(axis=0).astype("<f4"), self._ranges(pixels)
        centred = (pixels - mean) / ranges
        basis = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].astype("<f4")
        coefficients = centred @ basis
        scale = np.float32(32767 / max(float(np.abs(coefficients).max()), 1e-6))
        scaled = np.clip(np.rint(coefficients * scale) + 32768, 0, 65535).astype(np.uint16)
        matrix = (ranges[:, None] * basis).astype("<f4")
        head = self._HEAD.pack(bands, self._DTYPES.index(image.dtype), scale) + mean.tobytes() + matrix.tobytes()
        budget = max(setting - 8 * len(head) / (image.shape[0] * image.shape[1]), 0.25 * setting)
        return bytes(head + self._write_components(scaled.reshape(image.shape), budget, threads))

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        bands, kind, scale = self._HEAD.unpack_from(data)
        at = self._HEAD.size
        mean = np.frombuffer(data, "<f4", bands, at)
        matrix = np.frombuffer(data, "<f4", bands * bands, at + 4 * bands).reshape(bands, bands)
        body = self._read_components(data[at + 4 * bands * (bands + 1) :], threads)
        values = ((body.astype(np.float64) - 32768) / scale) @ matrix.T + mean
        limits = np.iinfo(self._DTYPES[kind])
        return np.asarray(np.clip(np.rint(values), limits.min, limits.max).astype(self._DTYPES[kind]))


class Jpeg2000KltBands(Jpeg2000Klt):
    """The same of bands that are divided by their ranges, so that errors are uniform relative to these."""

    name = "jpeg2000-klt-bands"
    metrics = ("psnr-bands",)
    description = "JPEG 2000 after a spectral KLT of bands that are divided by their ranges"
    note = "best for errors relative to each band's range"

    def _ranges(self, pixels: AnyArray) -> AnyArray:
        low, high = np.percentile(pixels, PEAK_PERCENTILES, axis=0)
        return np.where(high > low, high - low, np.maximum(np.ptp(pixels, axis=0), 1))


class Jpeg2000GdalKlt(Jpeg2000Klt):
    """The same components in the .jp2 file that GDAL writes."""

    name = "jpeg2000-gdal-klt"
    description = "JPEG 2000 after a spectral KLT, as GDAL writes it (1024 tiles)"
    options: ClassVar[dict[str, Any]] = {**_GDAL, "YCC": "NO", "container": "mean, matrix, scale + jp2"}

    def version(self) -> str:
        return Jpeg2000Gdal().version()

    def _write_components(self, components: AnyArray, rate: float, threads: int) -> bytes:
        # without YCC, which would mix the first three components
        return write_gdal(components, rate, threads, YCC="NO")

    def _read_components(self, data: bytes, threads: int) -> AnyArray:
        return read_gdal(data, ".jp2", threads)
