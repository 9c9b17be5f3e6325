"""Tiles with a bounded error into numbers, as docs/format.md has them, pixel by pixel with Python's integers."""

from __future__ import annotations

import lzma
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import Bytes
from .latents import EntropyDecoder

NEAREST = {
    1: [(-1, -1), (1, 1), (-1, 1), (1, -1)],
    2: [(0, -1), (0, 1), (-1, 0), (1, 0)],
    3: [(-1, 0), (1, 0), (0, -1), (0, 1)],
}
SIDEWAYS = [(-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2)]
OTHERS = {
    1: [(-1, -3), (-1, 3), (1, -3), (1, 3), (-3, -1), (-3, 1), (3, -1), (3, 1)],
    2: [(0, -3), (0, 3), *SIDEWAYS],
    3: [(-1, -1), (-1, 1), (1, -1), (1, 1), *SIDEWAYS],
}
AROUND = [(-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]
PARITY = {1: (1, 1), 2: (0, 1), 3: (1, 0)}


@cache
def boundaries(shape: int, scale: int) -> list[int]:
    """ "Residuals": the letters of a table."""
    root = (65536, 77935, 92681, 110217)[scale % 4]
    s = 32 * root // 2 ** (16 - scale // 4)

    def p(size: int, x: int) -> list[int]:
        found = [2**x]
        for _ in range(400):
            found.append(found[-1] * size // (size + 2**16))
        return found

    def mixed(often: int, narrow: int, wide: int) -> list[int]:
        both = zip(p(narrow, 30), p(wide, 30), strict=True)
        return [often * a * 2**16 // (2 * narrow + 2**16) + b * 2**16 // (2 * wide + 2**16) for a, b in both]

    weights = (
        lambda: [x * 2**90 // (2**60 + x) ** 2 for x in p(s, 60)],
        lambda: p(s, 30),
        lambda: mixed(4, max(1, 3 * s // 4), 2 * s),
        lambda: mixed(15, max(1, s // 4), 4 * s),
    )[shape]()
    total = 2 * sum(weights) - weights[0]
    reach = next(r for r in range(1, 401) if r == 400 or 2**18 * 2 * sum(weights[r + 1 :]) < total)
    free = 2**18 - (2 * reach + 2)
    counts = [1 + weights[abs(k)] * free // total for k in range(-reach, reach + 1)]
    counts.append(1 + 2 * sum(weights[reach + 1 :]) * free // total)
    counts[reach] += 2**18 - sum(counts)
    n = len(counts)
    return [(sum(counts[:k]) * (2**24 - n) >> 18) + k for k in range(n)] + [2**24]


def limited(difference: int) -> int:
    return min(max(difference, -65535), 65535)


@cache
def equal(bits: int) -> list[int]:
    return [k << 24 - bits for k in range(2**bits + 1)]


def decode(payload: bytes, shape: tuple[int, int, int]) -> tuple[dict[int, NDArray[Any]], dict[int, tuple[int, float]]]:
    """Each band's numbers, and what these mean: bits 0 and 1 of its form, and the step."""
    source = Bytes(payload)
    head = Bytes(zlib.decompress(source.take(source.varint())))
    bands, numbers, meaning = [], {}, {}
    for _ in range(shape[0]):
        bands.append(BandDecoder(head, bands))
    assert head.left == 0
    for band in bands:
        band.decode(source.take(band.length), shape[1], shape[2])
        levels = band.levels or range(band.top + 1)
        flat = [band.lowest + levels[k] for row in band.numbers for k in row]
        numbers[band.number] = np.array(flat, np.int64).reshape(shape[1:])
        meaning[band.number] = band.form & 3, band.step
    assert source.left == 0
    return numbers, meaning


class BandDecoder:
    """A band's description, and then what it decodes to."""

    def __init__(self, head: Bytes, before: list[BandDecoder]) -> None:
        self.number, self.form = head.varint(), head.u8()
        self.step = float(head.array("<f8", 1)[0]) if self.form & 3 == 1 else 0.0
        folded = head.varint()
        self.lowest = -(folded + 1) // 2 if folded % 2 else folded // 2
        self.top = head.varint()
        self.levels = []
        if self.form & 8:
            self.levels = [0]
            for _ in range(self.top):
                self.levels.append(self.levels[-1] + head.varint())
        self.error = head.varint() if self.top else 0
        self.length = head.varint() if self.top else 0
        if self.form & 16:
            self.references = [before[head.varint()] for _ in range(head.u8())]
            self.first = head.varint()
            self.sets = [{k: self._pass(head, k) for k in (1, 2, 3)} for _ in range(head.u8())]

    def _pass(self, head: Bytes, k: int) -> Any:
        features = len(NEAREST[k]) + len(OTHERS[k]) + 1 + 10 * len(self.references)
        values = head.array("<i2", features).tolist()
        magnitudes = list(head.take(13 + 6 * len(self.references)))
        shades = head.array("<i1", 8).tolist()
        first, count = head.u8(), head.u8()
        tables = [list(head.take(count)) for _ in range(3)]
        return values, magnitudes, shades, {first + i: table for i, table in enumerate(zip(*tables, strict=True))}

    def decode(self, stream: bytes, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.numbers = [[0] * width for _ in range(height)]
        self.errors = [[0] * width for _ in range(height)]
        if self.form & 4:
            self._list(stream)
        elif self.form & 16:
            self.numbers[0][0] = self.first
            self.coder = EntropyDecoder(stream)
            known = {(0, 0)}
            levels = [k for k in range(40) if 2**k < max(height, width)]
            for level in reversed(levels):
                for k in (1, 2, 3):
                    self._decode_pass(level, k, known)
            assert (self.coder.state, self.coder.words) == (0, [])

    def _list(self, stream: bytes) -> None:
        step = 2 * self.error + 1
        bits, pixels = (self.top // step).bit_length(), self.height * self.width
        if stream[0] == 3:
            each = -(-pixels // 8)
            assert len(stream) == 1 + bits * each
            flat = [
                sum((stream[1 + k * each + i // 8] >> 7 - i % 8 & 1) << bits - 1 - k for k in range(bits))
                for i in range(pixels)
            ]
        else:
            chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**22}]
            data = lzma.decompress(stream[1:], lzma.FORMAT_RAW, filters=chain)
            size = -(-bits // 8)
            assert len(data) == size * pixels
            flat = [int.from_bytes(data[i::pixels], "big") for i in range(pixels)]
            for i in range(pixels):
                if stream[0] == 1 and i % self.width:
                    flat[i] = (flat[i] + flat[i - 1]) % 256**size
                if stream[0] == 2 and i >= self.width:
                    flat[i] = (flat[i] + flat[i - self.width]) % 256**size
        for i, k in enumerate(flat):
            self.numbers[i // self.width][i % self.width] = min(k * step + self.error, self.top)

    def _place(self, level: int, y: int, x: int) -> tuple[int, int]:
        """The nearest row and column of the level with the parities of (y, x); of even ones if there are none."""
        found = []
        rows, columns = -(-self.height // 2**level), -(-self.width // 2**level)
        odd = y % 2, x % 2
        if (odd[0] and rows < 2) or (odd[1] and columns < 2):
            y, x, odd = y - odd[0], x - odd[1], (0, 0)
        for at, length, parity_ in ((y, rows, odd[0]), (x, columns, odd[1])):
            last = length - 1 if (length - 1) % 2 == parity_ else length - 2
            found.append(min(max(at, parity_), last) * 2**level)
        return found[0], found[1]

    def _decode_pass(self, level: int, k: int, known: set[tuple[int, int]]) -> None:
        values, magnitudes, shades, tables = self.sets[min(level, len(self.sets) - 1)][k]
        parity, step = PARITY[k], 2 * self.error + 1
        pixels = []
        for y in range(parity[0], -(-self.height // 2**level), 2):
            for x in range(parity[1], -(-self.width // 2**level), 2):
                own = [self._place(level, y + dy, x + dx) for dy, dx in NEAREST[k] + OTHERS[k]]
                assert all(place in known for place in own)
                near = [self.numbers[r][c] for r, c in own]
                b = sum(near[:4]) // 4
                features = [value - b for value in near]
                activities = [abs(f) for f in features[:8]] + [self.errors[r][c] for r, c in own[:4]]
                activities.append(2 * step)
                n0, n1, n2, n3 = near = [limited(f) for f in features[:4]]
                one, other = abs(n0 - n1), abs(n2 - n3)
                features.append(2 * (n0 + n1 - n2 - n3) * (other - one) // (one + other + 2))
                for reference in self.references:
                    around = [(0, 0), *NEAREST[k], *(offset for offset in AROUND if offset not in NEAREST[k])]
                    places = [self._place(level, y + dy, x + dx) for dy, dx in around]
                    there = [reference.numbers[r][c] for r, c in places]
                    middle = sum(there[1:5]) // 4
                    told = [value - middle for value in there]
                    told0, *nearest = [limited(f) for f in told[:5]]
                    both = sum(a * b for a, b in zip(near, nearest, strict=True))
                    alike = 4 * both * told0 // (sum(a * a for a in nearest) + 2 * limited(step) ** 2)
                    features += [*told, min(max(alike, -4 * self.top), 4 * self.top)]
                    activities += [abs(f) for f in told[:5]]
                    activities.append(reference.errors[places[0][0]][places[0][1]])
                said = b + (sum(w * f for w, f in zip(values, features, strict=True)) + 128) // 256
                s = sum(v * a for v, a in zip(magnitudes, activities, strict=True))
                p = min(max(said, 0), self.top)
                eighths = 8 * (s.bit_length() - 1) + 8 * s // 2 ** (s.bit_length() - 1) - 8 if s else -(10**9)
                context = max(0, eighths + shades[8 * p // (self.top + 1)] + 8) // 4
                pixels.append((context, y << level, x << level, p))
        residuals = self._residuals(sorted(pixels), tables)
        for (_, y, x, p), r in zip(sorted(pixels), residuals, strict=True):
            self.numbers[y][x] = min(max(p + step * r, 0), self.top)
            self.errors[y][x] = abs(self.numbers[y][x] - p)
            known.add((y, x))

    def _residuals(self, pixels: list[Any], tables: dict[int, Any]) -> list[int]:
        found, escapes = [], []
        for i, (context, *_) in enumerate(pixels):
            letters = boundaries(*tables[context][:2])
            reach = len(letters) // 2 - 1
            letter = self.coder.read(letters)
            found.append(letter - reach)
            if letter == 2 * reach + 1:
                escapes.append(i)
        folded = [self.coder.read(equal(18)) for _ in escapes]
        folded = [low + 2**18 * self.coder.read(equal(18)) for low in folded]
        for i, x in zip(escapes, folded, strict=True):
            found[i] = -(x + 1) // 2 if x % 2 else x // 2
        for context in sorted({context for context, *_ in pixels}):
            shift = tables[context][2]
            mine = [i for i, pixel in enumerate(pixels) if pixel[0] == context]
            for i in mine:
                found[i] <<= shift
            for start in range(0, shift, 16):
                for i in mine:
                    found[i] += self.coder.read(equal(min(16, shift - start))) << start
        return found
