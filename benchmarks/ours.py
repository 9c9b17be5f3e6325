"""This library as a codec of the benchmarks."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, Codec

#: Parts of the package that don't change the bytes of files.
_ASIDE = ("training", "integrations", "cli.py", "__main__.py", "demo.py", "selftest.py")


@lru_cache(maxsize=1)
def _build() -> str:
    """A digest of the code and weights that decide the bytes of files; cells are only good for this one."""
    spec = importlib.util.find_spec("learned_codec")
    if spec is None or spec.origin is None:
        raise ImportError("learned_codec is not installed")
    root = Path(spec.origin).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        part = path.relative_to(root)
        if path.suffix in (".py", ".safetensors") and part.parts[0] not in _ASIDE:
            digest.update(str(part).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:8]


class Ours(Codec):
    """`learned_codec.encode` / `decode`."""

    name = "ours"
    description = "learned_codec"
    note = "trained for PSNR; no other setting"
    threaded = True
    #: Options of `decode`.
    decoding: ClassVar[dict[str, Any]] = {}

    def version(self) -> str:
        module = importlib.import_module("learned_codec")
        if not module.list_models():
            raise ImportError("learned_codec has no model")
        return f"{module.__version__} (build {_build()})"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return self._takes(np.dtype(dtype).str, bands)

    @staticmethod
    @lru_cache(maxsize=64)
    def _takes(dtype: str, bands: int) -> bool:
        """Whether the library encodes a chip of zeros of this kind."""
        chip = np.zeros((16, 16) if bands == 1 else (16, 16, bands), dtype)
        try:
            importlib.import_module("learned_codec").encode(chip, quality=50.0)
        except (ValueError, LookupError):  # InvalidInputError: not such an array; UnknownModelError: no model for it
            return False
        return True

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (1, 10, 20, 35, 50, 65, 80, 90, 100)

    def _encode(self, image: AnyArray, valid: AnyArray | None = None, **options: Any) -> bytes:
        """The file; it has the mask `valid` if any pixel has no data."""
        if valid is not None and not valid.all():
            options["mask"] = valid
        return bytes(importlib.import_module("learned_codec").encode(image, **self.options, **options))

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        return self._encode(image, quality=float(setting), threads=threads)

    def encode_valid(self, image: AnyArray, setting: float, valid: AnyArray | None, threads: int = 1) -> bytes:
        return self._encode(image, valid, quality=float(setting), threads=threads)

    def within(self, image: AnyArray, nbytes: int, valid: AnyArray | None = None, *, sar: bool = False) -> bytes:
        """A file by the library's own rate control, which never exceeds the rate. `sar`: the values are in dB."""
        options: dict[str, Any] = {"threads": 1} | ({"kind": "sar", "unit": "db"} if sar else {})
        return self._encode(image, valid, bpp=8 * nbytes / (image.shape[0] * image.shape[1]), **options)

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        return np.asarray(importlib.import_module("learned_codec").decode(data, threads=threads, **self.decoding))

    def decode_valid(self, data: bytes) -> tuple[AnyArray, AnyArray | None]:
        image = importlib.import_module("learned_codec").decode(data, threads=1, masked=True, **self.decoding)
        invalid = np.ma.getmaskarray(image)
        valid = np.asarray(~(invalid if image.ndim == 2 else invalid.any(axis=2)))
        return np.ma.getdata(image), valid


class OursUnrefined(Ours):
    """The same files, decoded without the refinement."""

    name = "ours-unrefined"
    description = "learned_codec, decoded with refine=False"
    on_request = True
    decoding: ClassVar[dict[str, Any]] = {"refine": False}


class OursWithEffort(Ours):
    """The same, with the latents of each image optimised."""

    on_request = True

    def __init__(self, effort: int) -> None:
        self.name = f"ours-effort{effort}"  # type: ignore[misc]  # one class, a codec for each effort
        self.description = f"learned_codec, effort {effort}"  # type: ignore[misc]
        self.options = {"effort": effort}  # type: ignore[misc]

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (1, 20, 40, 60, 80, 100)
