"""CompressAI's architectures with random weights: for time, memory and complexity, never for rate-distortion.

Random weights cost the same multiplications but not the same number of coded symbols, so a peer's times are a fair
measure of its networks and a rough one of its entropy coding.
"""

from __future__ import annotations

import importlib
import struct
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .codec import AnyArray, Codec

#: Architecture and the quality whose channel counts are used.
ARCHITECTURES = {"bmshj2018-hyperprior": 3, "mbt2018-mean": 3, "cheng2020-anchor": 3}


@lru_cache(maxsize=4)
def model(architecture: str) -> Any:
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compressai warns about its own deprecated calls, at import and construction
        zoo = importlib.import_module("compressai.zoo")
        network = zoo.image_models[architecture](quality=ARCHITECTURES[architecture], metric="mse", pretrained=False)
        network.eval().update(force=True)
    return network


class CompressAI(Codec):
    random_weights = True
    slow = True
    threaded = True

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self.name = f"compressai-{architecture}"  # type: ignore[misc]  # one class serves every architecture
        self.description = f"{architecture}, CompressAI, random weights"  # type: ignore[misc]  # the same

    def version(self) -> str:
        return f"compressai {importlib.import_module('compressai').__version__}"

    def accepts(self, dtype: npt.DTypeLike, bands: int) -> bool:
        return np.dtype(dtype) == np.uint8 and bands == 3

    def ladder(self, dtype: npt.DTypeLike, bands: int) -> tuple[float, ...]:
        return (float(ARCHITECTURES[self.architecture]),)

    def encode(self, image: AnyArray, setting: float, threads: int = 1) -> bytes:
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads)
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
        with torch.inference_mode():
            x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
            out = model(self.architecture).compress(x)
        y, z = out["strings"][0][0], out["strings"][1][0]
        return bytes(struct.pack("<IIHHI", height, width, *out["shape"], len(y)) + y + z)

    def decode(self, data: bytes, threads: int = 1) -> AnyArray:
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads)
        height, width, rows, columns, length = struct.unpack_from("<IIHHI", data)
        body = data[16:]
        with torch.inference_mode():
            out = model(self.architecture).decompress([[body[:length]], [body[length:]]], (rows, columns))
            pixels = (out["x_hat"][0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        return np.ascontiguousarray(pixels[:height, :width])


def codecs() -> list[Codec]:
    return [CompressAI(architecture) for architecture in ARCHITECTURES]
