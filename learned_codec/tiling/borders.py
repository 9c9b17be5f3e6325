"""Finds borders of one exact value, and decides whether it pays to keep them exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.constants import SIDE, Border, Constant
from learned_codec.values.mask import VALID, estimated_classes

from .grid import Window
from .masking import MaskedSource, Part
from .sampling import squares

LEAST_SHARE, MOST = 0.02, 4
"""A border's value is that of at least this share of the pixels along the image's edge. At most this many values are
tried."""

WINDOW, EVERY = 1024, 16
"""Pixels per side that are read at once. The first check takes only every 16th line."""

MASK_BYTES = 40
"""The bytes that a mask adds to a file, its planes not counted."""

FRAME_BITS = 8 * 100
"""What it may cost at most that lines of one value at the image's edge stay exactly as they are."""

LEAST_JUMP, MOST_JUMP = 2 / 255, 1 / 4
"""Steps between a border and the image, as shares of the range. If they are below the first one, values change
smoothly, as at a clipped sky or a night sky: that is not a border. Steps beyond the second one cost as much as that
one."""

BITS_PER_JUMP = 16.0
"""The bits saved if a step as large as the range isn't coded, for each pair of pixels, by training photographs with and
without frames."""


def border_constants(source: MaskedSource, widths: NDArray[np.float64]) -> list[Constant]:
    """The values of areas at the image's edge for which it is better to keep them exactly than to code them.

    `widths` (bands,) are those of the values' ranges.
    """
    choices = []
    for constant in _candidates(source):
        frame = _frame(source, constant)
        if frame is not None:
            choices.append((_saved(source.keeping([frame]), widths), frame))
        if _stands_out(source, constant, widths):
            areas = replace(constant, border=border_of(source, constant.fits))
            choices.append((_saved(source.keeping([areas]), widths), areas))
    choices.sort(key=lambda choice: -choice[0])
    found: list[Constant] = []
    best = _saved(source, widths) if choices else 0.0
    for saved, choice in choices:
        if any(choice.values is known.values for known in found):
            continue
        if found:  # a mask of several values takes many more bytes than one of a single value
            saved = _saved(source.keeping([*found, choice]), widths)
        # A frame that costs next to nothing is kept for its own sake.
        if saved > best - (FRAME_BITS if choice.inside is not None else 0):
            best, found = max(saved, best), [*found, choice]
    return found


def border_of(
    source: MaskedSource, fits: Callable[[NDArray[Any], NDArray[np.bool_] | None], NDArray[np.bool_]]
) -> Border:
    """Where the border is.

    `fits` takes (bands, h, w) values, and which of them are valid. It returns the pixels that may belong to the border,
    (1 or bands, h, w).
    """
    rows = []
    for top in range(0, source.height, WINDOW):
        row = []
        for left in range(0, source.width, WINDOW):
            window = (slice(top, min(top + WINDOW, source.height)), slice(left, min(left + WINDOW, source.width)))
            part = source.read(*window)
            there = fits(part.values, part.valid)
            height, width = there.shape[1:]
            whole = np.pad(there, ((0, 0), (0, -height % SIDE), (0, -width % SIDE)), constant_values=True)
            row.append(whole.reshape(len(whole), -(-height // SIDE), SIDE, -1, SIDE).all((2, 4)))
        rows.append(np.concatenate(row, 2))
    return Border.of(np.concatenate(rows, 1))


def _candidates(source: MaskedSource) -> list[Constant]:
    """The most frequent values of the pixels along the edge, each in the bands in which these pixels are coded."""
    height, width = source.height, source.width
    lines = [_line(source, (slice(at, at + 1), slice(0, width))) for at in {0, height - 1}]
    lines += [_line(source, (slice(0, height), slice(at, at + 1))) for at in {0, width - 1}]
    values, valid = (np.concatenate(parts, 1).T for parts in zip(*lines, strict=True))
    pixels = np.concatenate([np.ascontiguousarray(x).view(np.uint8) for x in (values, valid)], 1)
    _, first, counts = np.unique(pixels.view(f"V{pixels.shape[1]}")[:, 0], return_index=True, return_counts=True)
    common = [k for k in np.argsort(-counts)[:MOST].tolist() if counts[k] > max(SIDE, LEAST_SHARE * len(pixels))]
    return [Constant(values[first[k]], valid[first[k]]) for k in common]


def _line(source: MaskedSource, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The (bands, n) values of the pixels of a line that are coded in some band, 0 in others, and which are coded."""
    read = source.read(*window)
    values = read.values.reshape(source.bands, -1)
    valid = np.ones(values.shape, bool) if read.valid is None else read.valid.reshape(values.shape)
    some = valid.any(0)
    return np.where(valid, values, np.zeros((), values.dtype))[:, some], valid[:, some]


def _parts(source: MaskedSource) -> Iterator[Part]:
    for window in squares(source.height, source.width, WINDOW):
        yield source.read(*window)


def _stands_out(source: MaskedSource, constant: Constant, widths: NDArray[np.float64]) -> bool:
    """Whether there are steps at the ends of long runs of the constant, along some lines, and not smooth changes."""
    count, total = 0, 0.0
    for part in _parts(source):
        (fits,), (equal,) = constant.fits(part.values, part.valid), constant.equal(part.values, part.valid)
        planes = fits, equal, part.values
        for lines in ([x[..., ::EVERY, :] for x in planes], [x[..., ::EVERY].swapaxes(-2, -1) for x in planes]):
            if not lines[1].any():
                continue
            for run, last, values in (lines, [x[..., ::-1] for x in lines]):
                # The pixels in front of a line are mostly beyond the image, and don't end a run.
                run = np.pad(run, ((0, 0), (SIDE - 1, 0)), constant_values=True)
                rows, columns = np.nonzero(_runs(run)[:, :-1] & last[:, :-1] & ~run[:, SIDE:])
                jumps = _jumps(values[:, rows, columns], values[:, rows, columns + 1], widths)
                count, total = count + len(jumps), total + float(jumps.sum())
    return total > LEAST_JUMP * count


def _runs(bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where `SIDE` of (h, w) bits that are set lie side by side: (h, w - SIDE + 1)."""
    found: NDArray[np.bool_] = np.logical_and.reduce([bits[:, k : bits.shape[1] - SIDE + 1 + k] for k in range(SIDE)])
    return found


def _saved(source: MaskedSource, widths: NDArray[np.float64]) -> float:
    """The bits saved by steps that needn't be coded, minus those of the mask; 0 without one."""
    saved, size, fills = 0.0, 0, len(source.mask_spec.fills) if source.mask_spec is not None else 0
    for part in _parts(source):
        if part.side.classes is None:
            continue
        coded = (part.side.classes == VALID).any(0)
        kept = (part.side.classes >= fills).any(0) & ~coded
        size = (size or MASK_BYTES) + estimated_classes(part.side.classes)
        for one, other, values in ((kept, coded, part.values), (kept.T, coded.T, part.values.swapaxes(1, 2))):
            rows, columns = np.nonzero((one[:, 1:] & other[:, :-1]) | (other[:, 1:] & one[:, :-1]))
            jumps = _jumps(values[:, rows, columns], values[:, rows, columns + 1], widths)
            saved += BITS_PER_JUMP * float(jumps.sum())
    return saved - 8 * size


def _frame(source: MaskedSource, constant: Constant) -> Constant | None:
    """The constant as a frame: the lines along the image's edge that have no other value; None if there are none."""
    rows, columns = _within(source, constant, 0), _within(source, constant, 1)
    if rows.start >= rows.stop or (rows, columns) == (slice(0, source.height), slice(0, source.width)):
        return None  # nothing else is in the image, or no line is whole
    return replace(constant, inside=(rows, columns))


def _within(source: MaskedSource, constant: Constant, axis: int) -> slice:
    """Along an axis, the range from the first to the last line of pixels that has another value than the constant."""
    length = (source.height, source.width)[axis]

    def whole(line: int) -> bool:
        window = [slice(0, source.height), slice(0, source.width)]
        window[axis] = slice(line, line + 1)
        part = source.read(*window)
        return bool(constant.fits(part.values, part.valid).all())

    start = next((line for line in range(length) if not whole(line)), length)
    stop = next((line + 1 for line in range(length - 1, start, -1) if not whole(line)), start)
    return slice(start, stop)


def _jumps(one: NDArray[Any], other: NDArray[Any], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the largest step of any band between (bands, n) values, as a share of the range."""
    steps = np.abs(one.astype(np.float64) - other) / np.maximum(widths, 1e-30)[:, None]
    found: NDArray[np.float64] = np.minimum(np.nan_to_num(steps), MOST_JUMP).max(0)
    return found
