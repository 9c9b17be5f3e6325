"""Payloads into latents: model file, entropy coder, integer networks, as docs/format.md has them, and nothing else."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import Bytes, File, components, side

AnyArray = NDArray[Any]
SAFETENSORS = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I16": "<i2", "I8": "i1"}


def clip(x: AnyArray, most: int) -> AnyArray:
    """clip(x, a) of the document."""
    return np.clip(x, -most, most)


class EntropyDecoder:
    """ "The entropy coder"."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self.words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4)]
        self.state = 0
        for _ in range(2):
            if self.words:
                self.state = (self.state << 32) + self.words.pop()

    def read(self, boundaries: list[int]) -> int:
        q = self.state % 2**24
        k = bisect_right(boundaries, q) - 1
        self.state = (self.state >> 24) * (boundaries[k + 1] - boundaries[k]) + q - boundaries[k]
        if self.state < 2**32 and self.words:
            self.state = (self.state << 32) + self.words.pop()
        return k


class ModelFile:
    """A model file."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + length])
        said = json.loads(head.pop("__metadata__")["learned_codec"])
        assert said["format"] == "weights 1"
        self.config, self.tensors = said["config"], {}
        for name, entry in head.items():
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            found = np.frombuffer(data[start:stop], SAFETENSORS[entry["dtype"]])
            self.tensors[name] = found.reshape(entry["shape"])
        self.reaches = self.tensors["tables.reaches"].tolist()
        self.boundaries, at = [], 0
        for reach in self.reaches:
            n = 2 * reach + 2
            counts = self.tensors["tables.counts"][at : at + n].tolist()
            at += n
            below = [sum(counts[:k]) for k in range(n)] if n < 50 else np.cumsum([0, *counts[:-1]]).tolist()
            self.boundaries.append([(c * (2**24 - n) >> 18) + k for k, c in enumerate(below)] + [2**24])

    def table(self, name: str, step: int) -> AnyArray:
        """T(Q)."""
        table = self.tensors[f"exact.tables.{name}"].astype(np.int64)
        last = 128 * (self.config["levels"] - 1)
        e = max(0, step - last)
        i = min((step - e) // 128, self.config["levels"] - 2)
        f = step - e - 128 * i
        found = (table[i] * (128 - f) + table[i + 1] * f + 64) >> 7
        return found + (170 * e // 128 if name == "unit" else 0)

    # -- layers --

    def layer(self, name: str, x: AnyArray) -> AnyArray:
        """(h, w, in) -> (h, w, out)."""
        weight, bias, shift = (
            self.tensors[f"exact.{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift")
        )
        if weight.ndim == 2:
            # Sums stay below 2^24, so products of doubles are exact as well.
            sums = (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
        else:
            height, width, _ = x.shape
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            parts = [padded[i : i + height, j : j + width] * weight[:, 0, i, j] for i in range(3) for j in range(3)]
            sums = np.sum(parts, 0)
        return np.rint((sums + bias) * 2.0**-shift).astype(np.int64)

    def block(self, name: str, x: AnyArray) -> AnyArray:
        inner = clip(self.layer(f"{name}.depthwise", x), 255)
        inner = np.clip(self.layer(f"{name}.expand", inner), 0, 255)
        return clip(x + clip(self.layer(f"{name}.project", inner), 255), 255)

    def up(self, name: str, x: AnyArray) -> AnyArray:
        height, width, channels = x.shape
        y = clip(clip(self.layer(name, x), 255) + np.repeat(x, 4, 2), 255)
        result = np.zeros((2 * height, 2 * width, channels), np.int64)
        for i in range(2):
            for j in range(2):
                result[i::2, j::2] = y[..., 2 * i + j :: 4]
        return result

    # -- groups --

    def read(self, decoder: EntropyDecoder, bins: AnyArray, dependent: bool = False) -> AnyArray:
        """What the symbols of a group stand for, in 256ths of a quantisation step, in natural order, by their bins."""
        ascending = [i for i in np.argsort(bins, kind="stable").tolist() if bins[i] > 2]
        own = [i for i in ascending if bins[i] < 16 or not dependent]
        symbols = self.read_row(decoder, [(i, int(bins[i])) for i in own])
        found = {i: 256 * symbol for i, symbol in symbols.items()}
        rest = ascending[len(own) :]
        width = max(-(-len(rest) // 64), min(-(-len(rest) // 32), 64), 8)
        rows = [rest[start : start + width] for start in range(0, len(rest), width)]
        q: list[list[int]] = []
        for i, row in enumerate(rows):
            q.append([0] * len(row))
            for x in range(len(row) if i else 0):
                q[i][x] = (symbols[rows[i - 1][x]] + (q[i - 2][x] if i > 1 else 0)) % 2
            with_q = list(zip(row, q[i], strict=True))
            chosen = [(place, 93 + 93 * k + int(bins[place])) for k in (0, 1) for place, of in with_q if of == k]
            symbols |= self.read_row(decoder, chosen)
            for place, of in with_q:
                y = symbols[place]
                found[place] = 154 * (2 * y - of * ((y > 0) - (y < 0)))
        result = np.zeros(len(bins), np.int64)
        for i, value in found.items():
            result[i] = value
        return result

    def read_row(self, decoder: EntropyDecoder, places: list[tuple[int, int]]) -> dict[int, int]:
        """Symbols by place, each with its table, and then their escapes."""
        symbols, escapes = {}, []
        for i, table in places:
            letter = decoder.read(self.boundaries[table])
            symbols[i] = letter - self.reaches[table]
            if letter == 2 * self.reaches[table] + 1:
                escapes.append(i)
        for i in escapes:
            symbols[i] = decoder.read(ESCAPE) - 32767
        return symbols

    def latents(
        self,
        decoders: list[EntropyDecoder],
        step: int,
        height: int,
        width: int,
        coded: AnyArray,
        earlier: list[tuple[AnyArray, AnyArray]],
    ) -> tuple[AnyArray, AnyArray]:
        """(height, width, M) decoded latents of a component, in 256ths of a step, from the streams of its layers.

        Also g of the document: what later components are predicted from. `earlier` are both of the components before.
        """
        kind = int(self.read(decoders[0], np.array([3]))[0]) // 256
        assert -2 <= kind <= 1
        dependent, complete = kind >= 0, kind in (1, -2)
        z = self.hyper_latents(decoders[0], step, height, width)
        features = self.features(z, step)[:height, :width]
        B, unit = self.config["bands"], self.table("unit", step)
        ends = [0, 16 * B, 64 * B, 256 * B]
        decoded, told, entering, normalised, known = (
            np.zeros((height, width, self.channels), np.int64) for _ in range(5)
        )
        for layer, decoder in enumerate(decoders):
            passes, first, C = (4, 2, 1)[layer], ends[layer], ends[layer + 1] - ends[layer]
            q = ((0, 2, 3, 1), (0, 1, 1, 0), (0, 0, 0, 0))[layer]
            for t in range(passes):
                seen = [features]
                if layer == 0 and t > 0:
                    seen += [normalised[..., : 16 * B], abs(normalised[..., : 16 * B])]
                elif layer > 0:
                    seen += [abs(normalised[..., : 16 * B if (layer, t) == (1, 0) else 64 * B])]
                x = clip(self.layer(f"layers.{layer}.{t}.enter", np.concatenate(seen, 2)), 255)
                x = np.maximum(self.block(f"layers.{layer}.{t}.block", x), 0)
                left = self.layer(f"layers.{layer}.{t}.leave", x)
                mean = np.zeros((height, width, C), np.int64)
                if layer == 0:
                    mu = np.clip(left[..., :C], -(2**16), 2**16)
                    mean = clip(np.floor(mu * power(unit[:C]) / 8 + 0.5).astype(np.int64), 2**22)
                    left = left[..., C:]
                here = coded[..., first : first + C]
                mean = mean * here
                bins = scale_bins(unit[first : first + C] + np.clip(left, -3072, 1536))
                own = mean
                if earlier and (layer, t) != (0, 0):
                    weights, drop = self.crosswise(decoded, [d for d, _ in earlier[:3]], known)
                    there = [g[..., first : first + C] for _, g in earlier[:3]]
                    total = sum(w[..., None] * g for w, g in zip(weights, there, strict=True))
                    mean = clip(mean + ((total + 2**11) >> 12), 2**22) * here
                    bins = np.maximum(bins - drop[..., None], 0)
                if complete:
                    bins = np.maximum(bins, 3)
                bins = bins * here
                places = []
                for p in range(4):
                    g = (q[p] - t) % passes
                    channels = slice(g * C // passes, (g + 1) * C // passes)
                    places.append((slice(p // 2, None, 2), slice(p % 2, None, 2), channels))
                group = self.read(decoder, np.concatenate([bins[place].reshape(-1) for place in places]), dependent)
                at = 0
                for place in places:
                    size = mean[place].size
                    found = group[at : at + size].reshape(mean[place].shape) + mean[place]
                    decoded[..., first : first + C][place] = found
                    told[..., first : first + C][place] = found - own[place]
                    known[..., first : first + C][place] = layer < 2
                    entering[..., first : first + C][place] = found - (mean[place] if layer else 0)
                    at += size
                normalised = clip(np.rint(entering * power(-unit) / 4).astype(np.int64), 255)
        return decoded, told

    def crosswise(self, decoded: AnyArray, earlier: list[AnyArray], known: AnyArray) -> tuple[list[AnyArray], AnyArray]:
        """W of each earlier component and the drop, both (height, width), from all that is `known` (1, or 0)."""
        squares = np.array([v * v + u * u for v, u in self.positions])
        f = [clip((d + 8) >> 4, 2**15) * known for d in (*earlier, decoded)]

        def around(a: int, b: int) -> AnyArray:
            padded = np.pad((squares * f[a] * f[b]).sum(2), 1)
            height, width = padded.shape
            parts = [
                (4 if i == 1 else 1) * (4 if j == 1 else 1) * padded[i : height - 2 + i, j : width - 2 + j]
                for i in range(3)
                for j in range(3)
            ]
            return np.sum(parts, 0)

        n = len(earlier)
        A = [[around(i, j) + 2**16 * (i == j) for j in range(n)] for i in range(n)]
        told, own = [around(i, n) for i in range(n)], around(n, n)
        w, drop = np.zeros((n, *own.shape)), np.zeros(own.shape, np.int64)
        for place in np.ndindex(own.shape):
            a, b = [[float(x[place]) for x in row] for row in A], [float(x[place]) for x in told]
            for i in range(n):
                for j in range(i + 1, n):
                    r = a[j][i] / a[i][i]
                    for k in range(i + 1, n):
                        a[j][k] -= r * a[i][k]
                    b[j] -= r * b[i]
            for i in reversed(range(n)):
                for j in range(i + 1, n):
                    b[i] -= a[i][j] * b[j]
                b[i] /= a[i][i]
            w[:, *place] = b
            whole = left = float(own[place]) + 2560
            for i in range(n):
                left -= b[i] * float(told[i][place])
            drop[place] = sum(2**16 * left <= share * whole for share in SHARES)
        return [clip(np.floor(2**12 * x + 0.5).astype(np.int64), 2**15) for x in w], drop

    @property
    def channels(self) -> int:
        """M."""
        return 256 * self.config["bands"]

    def hyper_latents(self, decoder: EntropyDecoder, step: int, height: int, width: int) -> AnyArray:
        shape = -(-height // 4), -(-width // 4), self.config["hyper_latents"]
        bins = np.broadcast_to(scale_bins(self.table("hyper_log2_scale", step)), shape)
        return self.read(decoder, bins.reshape(-1)).reshape(shape) // 256

    def features(self, z: AnyArray, step: int) -> AnyArray:
        x = clip((z * self.table("input_scale", step) + self.table("input_bias", step) + 2**11) >> 12, 255)
        x = self.block("hyper_synthesis.block", self.up("hyper_synthesis.up1", x))
        x = np.maximum(self.up("hyper_synthesis.up2", x), 0)
        return clip(clip(self.layer("hyper_synthesis.leave", x), 255) + self.table("feature_bias", step), 255)

    # -- shapes --

    @cached_property
    def positions(self) -> list[tuple[int, int]]:
        """(v, u) of each latent: half waves down a column and along a row."""
        return [(int(at) // 16 % 16, int(at) % 16) for at in self.tensors["transforms.components"]]

    def coded(self, visible: AnyArray) -> AnyArray:
        """(h16, w16, M), 1 where a latent is coded; `visible` (height, width) pixels."""
        height, width = (-(-n // 16) for n in visible.shape)
        padded = np.zeros((16 * height, 16 * width), bool)
        padded[: visible.shape[0], : visible.shape[1]] = visible
        result = np.ones((height, width, self.channels), np.int64)
        for row in range(height):
            for column in range(width):
                block = padded[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                e = (block[1:] != block[:-1]).sum() + (block[:, 1:] != block[:, :-1]).sum()
                if 2 * (~block).sum() > e:
                    c = block.sum(0)
                    result[row, column] = [u < (c > v).sum() for v, u in self.positions]
        return result


SHARES = [58386, 46341, 36781, 29193, 23170, 18390, 14596, 11585, 9195, 7298, 5793, 4598, 3649, 2896, 2299, 1825]
ESCAPE = [k << 8 for k in range(2**16 + 1)]


def power(logarithm: AnyArray) -> AnyArray:
    """pow(l)."""
    mantissa = np.round(2.0 ** (15 + (logarithm % 256) / 256))
    return mantissa * 2.0 ** (logarithm // 256 - 15)


def scale_bins(logarithm: AnyArray) -> AnyArray:
    """The bins of logarithms of scales."""
    return np.clip((logarithm + 832 + 16) >> 5, 0, 92)


def decode(file: File, model: ModelFile) -> Iterable[list[AnyArray]]:
    """For each tile the decoded latents of its coded components."""
    for index in range(len(file.tiles)):
        valid, payload, shown = side(file, index)
        height, width = file.box(index)
        if not shown or not components(file):
            assert not payload
            yield []
            continue
        count = 1
        if file.transform == 130 and file.bands > 1:
            source = Bytes(payload)
            count = source.varint()
            assert count <= components(file)
            payload = payload[source.at :]
        source = Bytes(payload)
        first, second = source.varint(), source.varint()
        start = len(file.tiles[index]) - source.left
        assert file.fronts[index] in ([], [start + first, start + first + second])
        coded = model.coded(np.ones((height, width), bool) if valid is None else valid)
        yield decoded(payload, model, file.quality_step, (-(-height // 16), -(-width // 16)), coded, count)


def decoded(
    payload: bytes, model: ModelFile, step: int, size: tuple[int, int], coded: AnyArray, count: int
) -> list[AnyArray]:
    """The decoded latents of `count` components in a payload that has nothing else."""
    source = Bytes(payload)
    lengths = source.varint(), source.varint()
    decoders = [EntropyDecoder(part) for part in [*map(source.take, lengths), source.take(source.left)]]
    found: list[tuple[AnyArray, AnyArray]] = []
    for _ in range(count):
        found.append(model.latents(decoders, step, *size, coded, found))
    for decoder in decoders:
        assert decoder.state == 0
        assert not decoder.words
    return [latents for latents, _ in found]
