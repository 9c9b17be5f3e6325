"""One small adapter per codec: from an array to bytes and back, at a setting of its ladder, nothing converted silently.

To add a codec, subclass `Codec` and add an instance to `_build`. Adapters import what they wrap lazily: a missing
package makes one codec unavailable, with the reason, and leaves the others alone.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def bands_of(image: Array) -> int:
    return 1 if image.ndim == 2 else int(image.shape[2])


def fill_with_mean(image: Array, valid: Array | None) -> Array:
    """The image with each band's mean of the valid pixels in place of the others."""
    if valid is None or valid.all():
        return image
    mean = image[valid].astype(np.float64).mean(axis=0)
    filled = image.copy()
    filled[~valid] = mean if image.dtype.kind == "f" else np.rint(mean).astype(image.dtype)
    return filled


class Codec(ABC):
    """A codec with its fixed options; `setting` is the one number that moves along its ladder."""

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    #: Fixed options, part of the cache key: a change of them invalidates this codec's cells only.
    options: ClassVar[dict[str, Any]] = {}
    #: Whether `threads` reaches the codec; if not, it runs on one and the tables say so.
    threaded: ClassVar[bool] = False
    #: Random weights: fit for speed and complexity, refused by every rate-distortion run.
    random_weights: ClassVar[bool] = False
    #: Slow: runs only where it is named.
    on_request: ClassVar[bool] = False

    @abstractmethod
    def version(self) -> str:
        """The version of what does the work. Raises ImportError, with the reason, if it cannot run here."""

    @abstractmethod
    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        """Whether it codes such an image as it is, without conversion."""

    @abstractmethod
    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        """Settings from low to high rate."""

    @abstractmethod
    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes: ...

    @abstractmethod
    def decode(self, data: bytes, threads: int = 1) -> Array: ...

    def encode_valid(self, image: Array, setting: float, valid: Array | None, threads: int = 1) -> bytes:
        """Encodes an image of which only the pixels that `valid` marks count.

        A codec without masks gets the others as the mean of each band, which costs it next to nothing, and isn't
        charged for a mask.
        """
        return self.encode(fill_with_mean(image, valid), setting, threads)

    def within(self, image: Array, nbytes: int, valid: Array | None = None, *, sar: bool = False) -> bytes:
        """At most about `nbytes` bytes, by bisection over real encodes. Raises ValueError if that is too few."""
        return setting_for_bytes(self, fill_with_mean(image, valid), nbytes, tolerance=0.005, max_trials=16)[1]

    def unavailable(self) -> str | None:
        """Why it cannot run here; None if it can."""
        try:
            self.version()
        except Exception as error:  # noqa: BLE001  # a half-installed package raises anything at import
            return f"{type(error).__name__}: {error}"
        return None

    def key(self) -> str:
        """Name, version and options: what a cached cell depends on besides setting and image."""
        return json.dumps([self.name, self.version(), self.options], sort_keys=True)


class Ours(Codec):
    """`learned_codec.encode` / `decode`."""

    name = "ours"
    description = "learned_codec"
    threaded = True

    @staticmethod
    @lru_cache(maxsize=1)
    def _build() -> str:
        """A digest of the code and weights that make the bytes, so that no cell outlives either."""
        spec = importlib.util.find_spec("learned_codec")
        if spec is None or spec.origin is None:
            raise ImportError("learned_codec is not installed")
        root = Path(spec.origin).parent
        digest = hashlib.sha256()
        for path in sorted(root.rglob("*")):
            part = path.relative_to(root)
            aside = part.parts[0] in ("training", "integrations", "cli.py", "__main__.py")
            if path.suffix in (".py", ".safetensors") and not aside:
                digest.update(str(part).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:8]

    def version(self) -> str:
        module = importlib.import_module("learned_codec")
        if not callable(getattr(module, "encode", None)):
            raise ImportError("learned_codec has no encode()")
        if not module.list_models():
            raise ImportError("learned_codec has no model")
        return f"{module.__version__} (build {self._build()})"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return self._takes(np.dtype(dtype).str, bands)

    @staticmethod
    @lru_cache(maxsize=64)
    def _takes(dtype: str, bands: int) -> bool:
        """Asks the library itself, with a chip of zeros: what it codes grows with its models."""
        chip = np.zeros((16, 16) if bands == 1 else (16, 16, bands), dtype)
        try:
            importlib.import_module("learned_codec").encode(chip, quality=50.0)
        except (ValueError, LookupError):  # InvalidInputError: not such an array; UnknownModelError: no model for it
            return False
        return True

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def takes_masks(self) -> bool:
        """Whether this version of the library has them; without, it is fed as every other codec is."""
        return "mask" in inspect.signature(importlib.import_module("learned_codec").encode).parameters

    def _masked(self, image: Array, valid: Array | None) -> tuple[Array, dict[str, Any]]:
        """The array and arguments for an image that isn't all valid. `mask` is True where there is data."""
        if valid is None or valid.all():
            return image, dict(self.options)
        if self.takes_masks():
            return image, {"mask": valid, **self.options}
        return fill_with_mean(image, valid), dict(self.options)

    def encode_valid(self, image: Array, setting: float, valid: Array | None, threads: int = 1) -> bytes:
        """With the mask in the file, and so in the rate."""
        module = importlib.import_module("learned_codec")
        image, options = self._masked(image, valid)
        return bytes(self._call(module.encode, image, quality=float(setting), threads=threads, **options))

    def within(self, image: Array, nbytes: int, valid: Array | None = None, *, sar: bool = False) -> bytes:
        """By the library's own rate control, which meets a rate from below; at best quality if that takes less.

        `sar`: the values are backscatter, linear in dB.
        """
        module = importlib.import_module("learned_codec")
        image, options = self._masked(image, valid)
        known = inspect.signature(module.encode).parameters
        if sar:
            options |= {key: value for key, value in (("kind", "sar"), ("unit", "db")) if key in known}
        bpp = 8 * nbytes / (image.shape[0] * image.shape[1])
        try:
            return bytes(self._call(module.encode, image, bpp=bpp, threads=1, **options))
        except ValueError:  # out of reach: more than its best quality takes, or less than its worst
            best = bytes(self._call(module.encode, image, quality=100.0, threads=1, **options))
            if len(best) <= nbytes:
                return best
            raise

    def _call(self, function: Callable[..., Any], *args: Any, threads: int, **kwargs: Any) -> Any:
        if "threads" in inspect.signature(function).parameters:
            kwargs["threads"] = threads
        else:
            importlib.import_module("torch").set_num_threads(threads)
        return function(*args, **kwargs)

    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes:
        module = importlib.import_module("learned_codec")
        return bytes(self._call(module.encode, image, quality=float(setting), threads=threads, **self.options))

    def decode(self, data: bytes, threads: int = 1) -> Array:
        module = importlib.import_module("learned_codec")
        return np.asarray(self._call(module.decode, data, threads=threads))


class OursWithEffort(Ours):
    """The same, with the latents of each image optimised."""

    on_request = True

    def __init__(self, effort: int) -> None:
        self.name = f"ours-effort{effort}"  # type: ignore[misc]  # one class, a codec for each effort
        self.description = f"learned_codec, effort {effort}"  # type: ignore[misc]
        self.options = {"effort": effort}  # type: ignore[misc]

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (1, 20, 40, 60, 80, 100)


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
    name = "jpeg"
    description = "JPEG 4:4:4, optimised Huffman tables"
    format = "JPEG"
    feature = "jpg"
    bands = (1, 3)
    options: ClassVar[dict[str, Any]] = {"subsampling": 0, "optimize": True}

    def _library(self, features: Any) -> str:
        turbo = features.version("libjpeg_turbo")
        return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"


class WebP(_Pillow):
    name = "webp"
    description = "WebP lossy (always 4:2:0), method 6"
    format = "WEBP"
    feature = "webp"
    options: ClassVar[dict[str, Any]] = {"method": 6}


class Avif(_Pillow):
    name = "avif"
    description = "AVIF 4:4:4, speed 4"
    format = "AVIF"
    feature = "avif"
    threaded = True
    options: ClassVar[dict[str, Any]] = {"subsampling": "4:4:4", "speed": 4}

    def _threads(self, threads: int) -> dict[str, int]:
        return {"max_threads": threads}


class JpegXL(Codec):
    name = "jpegxl"
    description = "JPEG XL, VarDCT, effort 7"
    options: ClassVar[dict[str, Any]] = {"effort": 7}
    threaded = True

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

    name = "heic"
    description = "HEIC 4:4:4 (x265)"
    options: ClassVar[dict[str, Any]] = {"chroma": 444}

    def version(self) -> str:
        module = importlib.import_module("pillow_heif")
        return f"pillow-heif {module.__version__}, libheif {module.libheif_version()}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) == np.uint8 and bands == 3

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)

    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes:
        module = importlib.import_module("pillow_heif")
        buffer = io.BytesIO()
        heif = module.from_pillow(importlib.import_module("PIL.Image").fromarray(image))
        heif.save(buffer, quality=round(setting), **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes, threads: int = 1) -> Array:
        module = importlib.import_module("pillow_heif")
        return np.asarray(module.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False))


@lru_cache(maxsize=1)
def _build() -> dict[str, Codec]:
    from . import compressai_peers, jpeg2000

    codecs: list[Codec] = [
        Ours(),
        *(OursWithEffort(effort) for effort in (1, 2, 3)),
        jpeg2000.Jpeg2000(),
        jpeg2000.Jpeg2000Psnr(),
        jpeg2000.Jpeg2000Gdal(),
        jpeg2000.Jpeg2000Klt(),
        Jpeg(),
        WebP(),
        Avif(),
        JpegXL(),
        Heic(),
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


def setting_for_bytes(
    codec: Codec, image: Array, target: float, *, tolerance: float = 0.01, max_trials: int = 12, threads: int = 1
) -> tuple[float, bytes]:
    """The highest setting whose bytes do not pass `target` by more than `tolerance`: bisection on real encodes.

    Raises ValueError if even the lowest setting of the ladder is larger.
    """
    ladder: Sequence[float] = codec.ladder(image.dtype, bands_of(image))
    limit = target * (1 + tolerance)
    low, high = ladder[0], ladder[-1]
    best = codec.encode(image, low, threads)
    if len(best) > limit:
        raise ValueError(f"{codec.name}: lowest setting {low} takes {len(best)} bytes, more than {target:.0f}")
    top = codec.encode(image, high, threads)
    if len(top) <= limit:
        return high, top
    for _ in range(max_trials):
        if len(best) >= target * (1 - tolerance):
            break
        middle = (low + high) / 2
        data = codec.encode(image, middle, threads)
        if len(data) <= limit:
            low, best = middle, data
        else:
            high = middle
    return low, best
