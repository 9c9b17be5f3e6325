"""Draws pictures side by side, each under its label."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

LABEL_HEIGHT, GAP = 28, 6
"""Pixels for a label above a picture, and between two pictures."""


def side_by_side(panels: Sequence[tuple[str, Pixels]], *, columns: int | None = None, zoom: int = 1) -> Pixels:
    """One picture, (H, W) or (H, W, 3), of labels and pictures. All pictures have the same size.

    `columns` is how many are in a row, by default all. Pixels are enlarged `zoom` times.
    """
    columns = columns or len(panels)
    height, width = (zoom * length for length in panels[0][1].shape[:2])
    font = ImageFont.load_default(15)
    cell_width = max(width, *(math.ceil(font.getlength(label)) for label, _ in panels)) + GAP
    cell_height = height + LABEL_HEIGHT
    size = columns * cell_width - GAP, -(-len(panels) // columns) * cell_height
    sheet = Image.new("RGB" if any(pixels.ndim == 3 for _, pixels in panels) else "L", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (label, pixels) in enumerate(panels):
        x, y = index % columns * cell_width, index // columns * cell_height
        draw.text((x, y + 5), label, fill="black", font=font)
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y + LABEL_HEIGHT))
    return np.array(sheet)
