"""Crops side by side at equal bytes: the original, ours and JPEG 2000, with their sizes and PSNR."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from learned_codec.comparison import side_by_side as sheet

from . import codecs, datasets, metrics
from .codec import setting_for_bytes
from .storage import write_atomically


def side_by_side(
    item: datasets.Item, bpp: float, out: Path, *, box: tuple[int, int, int, int] | None = None, zoom: int = 1
) -> list[str]:
    """Write the picture and return a line per panel.

    The whole image is coded, ours at `bpp` and JPEG 2000 at as many bytes as that took; `box` (row, column, height,
    width) of it is shown, each pixel `zoom` times.
    """
    image = datasets.load(item).image
    target = bpp * image.shape[0] * image.shape[1] / 8
    ours, rival = codecs.get("ours"), codecs.get("jpeg2000")
    _, data = setting_for_bytes(ours, image, target)
    _, rival_data = setting_for_bytes(rival, image, len(data), tolerance=0.003, max_trials=20)
    panels = [("original", image)]
    for name, codec, coded in (("learned_codec", ours, data), ("JPEG 2000", rival, rival_data)):
        decoded = codec.decode(coded)
        quality = metrics.psnr(image, decoded, 255)
        panels.append((f"{name}: {len(coded):,} bytes, {quality:.2f} dB", decoded))
    row, column, height, width = box or (0, 0, *image.shape[:2])
    crops = [(title, pixels[row : row + height, column : column + width]) for title, pixels in panels]
    stream = io.BytesIO()
    Image.fromarray(sheet(crops, zoom=zoom)).save(stream, "png", optimize=True)
    write_atomically(out, stream.getvalue())
    return [title for title, _ in panels]
