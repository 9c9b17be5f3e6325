"""A codec that needs no library."""

# ruff: noqa: ARG002
# It has a codec's signature.

import zlib
from typing import ClassVar

import numpy as np

from benchmarks.codec import Codec


class Toy(Codec):
    """Quantises and deflates. `calls` counts encodes, to see what the cache saves."""

    name = "toy"
    description = "quantise and deflate"
    calls: ClassVar[list] = []

    def __init__(self, name="toy", gain=1.0):
        self.name, self.gain, self.release = name, gain, "1"

    def version(self):
        return self.release

    def accepts(self, dtype, bands):
        return np.dtype(dtype) in (np.uint8, np.uint16)

    def ladder(self, dtype, bands):
        top = 64.0 if np.dtype(dtype) == np.uint8 else 8192.0
        return tuple(-top / 2**i for i in range(5))

    def encode(self, image, setting, threads=1):
        self.calls.append((self.name, setting))
        step = max(round(-setting * self.gain), 1)
        head = f"{image.dtype.str};{','.join(map(str, image.shape))};{step}\n".encode()
        return head + zlib.compress((image // step).tobytes(), 9)

    def decode(self, data, threads=1):
        head, _, body = data.partition(b"\n")
        dtype, shape, step = head.decode().split(";")
        values = np.frombuffer(zlib.decompress(body), dtype).reshape([int(n) for n in shape.split(",")])
        limit = np.iinfo(values.dtype).max
        return np.minimum(values.astype(np.int64) * int(step) + int(step) // 2, limit).astype(dtype)
