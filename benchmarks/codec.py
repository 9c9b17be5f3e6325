"""The base class of the benchmarks' codecs: from an array to bytes and back, without silent conversions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
"""An image or a mask of any dtype."""


def bands_of(image: AnyArray) -> int:
    return 1 if image.ndim == 2 else int(image.shape[2])


def fill_with_mean(image: AnyArray, valid: AnyArray | None) -> AnyArray:
    """The image with invalid pixels replaced by the mean of the valid ones, in each band."""
    if valid is None or valid.all():
        return image
    mean = image[valid].astype(np.float64).mean(axis=0)
    filled = image.copy()
    filled[~valid] = mean if image.dtype.kind == "f" else np.rint(mean).astype(image.dtype)
    return filled


class Codec(ABC):
    """A codec with fixed options. `setting` is the number that changes its rate; `ladder` lists those to measure."""

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    #: Why these options are its best for its metrics; shown in tables.
    note: ClassVar[str] = ""
    #: The metrics whose tables it appears in: each tuning of a codec appears in those that it is made for.
    metrics: ClassVar[tuple[str, ...]] = ("psnr", "psnr-bands", "ms-ssim")
    #: Fixed options. They are part of the cache key: a change invalidates the cells of this codec only.
    options: ClassVar[dict[str, Any]] = {}
    #: Whether the codec can use `threads`; if not, it runs on one, which the tables show.
    threaded: ClassVar[bool] = False
    #: Whether its setting is a rate in bits per pixel.
    by_rate: ClassVar[bool] = False
    #: Whether its weights are random: then only speed and complexity are measured.
    random_weights: ClassVar[bool] = False
    #: Whether it encodes so slowly that a smaller image is timed.
    slow: ClassVar[bool] = False
    #: Whether it runs only if it is named.
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
    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes: ...

    @abstractmethod
    def decode(self, data: bytes, threads: int = 1) -> AnyArray: ...

    def decode_valid(self, data: bytes) -> tuple[AnyArray, AnyArray | None]:
        """The image, and which of its pixels are valid; None if the file has no mask."""
        return self.decode(data), None

    def encode_valid(self, image: AnyArray, setting: float, valid: AnyArray | None, threads: int = 1) -> bytes:
        """Encode an image in which only the pixels of `valid` count.

        For a codec without masks, the others become the mean of each band, which takes hardly any bytes. No mask counts
        in its bytes.
        """
        return self.encode(fill_with_mean(image, valid), setting, threads)

    def within(self, image: AnyArray, nbytes: int, valid: AnyArray | None = None, *, sar: bool = False) -> bytes:
        """A file of at most about `nbytes`, by bisection over real files. Raises ValueError if that is too few."""
        return setting_for_bytes(self, fill_with_mean(image, valid), nbytes, tolerance=0.005, max_trials=16)[1]

    def unavailable(self) -> str | None:
        """Why it cannot run here; None if it can."""
        try:
            self.version()
        except Exception as error:  # noqa: BLE001  # a half-installed package may raise anything at import
            return f"{type(error).__name__}: {error}"
        return None

    def key(self) -> str:
        """What a cached cell depends on besides setting and image: name, version and options."""
        return json.dumps([self.name, self.version(), self.options], sort_keys=True)


def setting_for_bytes(
    codec: Codec, image: AnyArray, target: float, *, tolerance: float = 0.01, max_trials: int = 12, threads: int = 1
) -> tuple[float, bytes]:
    """The highest setting whose file isn't larger than `target` by more than `tolerance`, and the file, by bisection.

    Raises ValueError if even the lowest setting of the ladder gives a larger file.
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
