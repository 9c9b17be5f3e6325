"""Encode a picture at several rates, and print what each costs and loses.

python examples/encode_decode.py [PICTURE]
"""

import sys

import numpy as np

import learned_codec
from learned_codec.demo import landscape
from learned_codec.raster.pictures import read_image


def main(path: str | None = None) -> list[tuple[float, float, float]]:
    """Return (quality, bits per pixel, PSNR in dB) of each rate."""
    image = landscape(256, 384) if path is None else read_image(path)
    rows = []
    for quality in (5, 30, 60, 90):
        data = learned_codec.encode(image, quality=quality)
        error = np.mean((image.astype(float) - learned_codec.decode(data)) ** 2)
        rows.append((quality, learned_codec.inspect(data).bpp, float(10 * np.log10(255**2 / error))))
        print("quality {:3}: {:.3f} bpp, {:.2f} dB".format(*rows[-1]))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:2])
