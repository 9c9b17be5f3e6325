"""The base class of the benchmarks' codecs: an array to bytes and back at a setting, without silent conversions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
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
    #: Why these settings are its best for what they are measured by; shown beside its rows.
    note: ClassVar[str] = ""
    #: The metrics whose tables it stands in: a codec with several tunings is shown with the one made for the metric.
    metrics: ClassVar[tuple[str, ...]] = ("psnr", "ms-ssim")
    #: Fixed options, part of the cache key: a change of them invalidates this codec's cells only.
    options: ClassVar[dict[str, Any]] = {}
    #: Whether `threads` reaches the codec; if not, it runs on one and the tables say so.
    threaded: ClassVar[bool] = False
    #: Whether its setting is a rate in bits per pixel.
    by_rate: ClassVar[bool] = False
    #: Random weights: fit for speed and complexity, refused by every rate-distortion run.
    random_weights: ClassVar[bool] = False
    #: Encodes at a few tenths of a megapixel per second: timed on a smaller image.
    slow: ClassVar[bool] = False
    #: Runs only where it is named.
    on_request: ClassVar[bool] = False

    @abstractmethod
    def version(self) -> str:
        """The version of the underlying library. Raises ImportError, with the reason, if it cannot run here."""

    @abstractmethod
    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        """Whether it codes images of this dtype and number of bands without conversion."""

    @abstractmethod
    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        """Settings from low to high rate."""

    @abstractmethod
    def encode(self, image: Array, setting: float, threads: int = 1) -> bytes: ...

    @abstractmethod
    def decode(self, data: bytes, threads: int = 1) -> Array: ...

    def decode_valid(self, data: bytes) -> tuple[Array, Array | None]:
        """The image, and which of its pixels are valid; None if the file has no mask."""
        return self.decode(data), None

    def encode_valid(self, image: Array, setting: float, valid: Array | None, threads: int = 1) -> bytes:
        """Encodes an image in which only the pixels of `valid` count.

        For a codec without masks, the other pixels become the mean of each band, which costs next to nothing; no mask
        is counted in its bytes.
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
