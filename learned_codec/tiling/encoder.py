"""Pixels into payloads, tile by tile, and the search for a rate or a quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream
from learned_codec.bitstream import Header, varint
from learned_codec.bitstream.payload import join_adaptation, join_payload
from learned_codec.errors import RateError
from learned_codec.models.config import BLOCK
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.mask import VALID, MaskSpec, Side
from learned_codec.values.sources import PixelSource
from learned_codec.values.transform import ValueTransform

from . import grid
from .decoder import Progress
from .store import Store, Tile
from .synthesis import Decoded, synthesise, visible_blocks

if TYPE_CHECKING:
    from learned_codec.entropy import Encoder
    from learned_codec.models.adaptation import Moments
    from learned_codec.models.effort import Optimiser
    from learned_codec.models.model import Model


BPP_TOLERANCE = 0.03
PSNR_TOLERANCE = 0.1

SPECKLE_DISTORTION_WEIGHT = 2.0
"""How much more errors count in radar images. On even ground speckle is all there is, and the first that optimised
rounding takes away: at 2 bits/pixel the equivalent number of looks would rise by 19 %, and so rises by 8 %, at a loss
of 0.05 dB (training scenes)."""

NEAR = 64
"""Quality steps around the one for which latents were optimised, at which they may be coded: half a level. What effort
saves is a fifth of that. Further away, what was moved for coarse steps would be coded by fine ones."""


class ImageEncoder:
    """One image on its way into bytes.

    `header` is complete but for the level; `layout` says what masks there may be, None for none; `optimiser` what
    optimises the latents, None for a single pass, which does not adapt the model to the image either.
    """

    def __init__(
        self,
        source: PixelSource,
        header: Header,
        transform: ValueTransform,
        layout: MaskSpec | None,
        model: Model,
        optimiser: Optimiser | None,
        progress: Progress | None,
    ) -> None:
        self.source, self.header, self.transform, self.layout = source, header, transform, layout
        self.model, self.optimiser, self.progress = model, optimiser, progress
        self.distortion_weight = 1.0 if transform.unit is None else SPECKLE_DISTORTION_WEIGHT

    def run(self, control: str, value: float, metadata: dict[str, Any]) -> bytes:
        """The file, at a `quality`, or searched for a `bpp` or `psnr`."""
        self.metadata = metadata
        if control == "quality":
            step = round((value - 1) / 99 * self.model.max_step)
            # Tile by tile: neither latents nor symbols of the whole image are ever in memory.
            return self._write(step, self._tiles(step))
        search = self._to_bpp if control == "bpp" else self._to_psnr
        with Store(self._tiles()) as stored:
            if not stored.visible:  # whatever is asked for
                return self._write(0, stored)
            step = search(stored, value, range(self.model.top_step + 1))
            if self.optimiser is None:
                return self._write(step, stored)
        near = range(max(0, step - NEAR), min(self.model.top_step, step + NEAR) + 1)
        with Store(self._tiles(step)) as stored:
            try:
                return self._write(search(stored, value, near), stored)
            except RateError:  # at the ends of the scale, optimised latents may just miss what others reach
                return self._write(step, self._tiles())

    # -- analysis -----------------------------------------------------------------------------------------------------

    def _tiles(self, step: int | None = None) -> Iterator[Tile]:
        """Every tile, analysed, in the order of tiles; its latents optimised for a quality step, if that is known."""
        height, width = self.header.height, self.header.width
        step_y, step_x = grid.steps(self.header)
        for rows in grid.ranges(height, step_y):
            for columns in grid.ranges(width, grid.span(width, step_x, self.header.bands)):
                yield from self._span(rows, columns, step_x, step)

    def _span(self, rows: grid.Range, columns: grid.Range, step_x: int, step: int | None) -> Iterator[Tile]:
        """The tiles of one stretch of a row of tiles."""
        outer = rows.outer_pixels(self.header.height), columns.outer_pixels(self.header.width)
        values = self.source.read(*outer)
        side, valid = Side(None, None), None
        if self.layout is not None:
            side = self.layout.classify(values, self.source.read_plane(*outer) if self.source.plane else None)
            valid = self.layout.valid(side, self.header.bands)
        visible = visible_blocks(valid, *values.shape[1:])
        shape = Shape.of(visible)
        planes: Sequence[NDArray[np.float32]] = ()
        if visible is None or visible.any():
            whole = _whole_blocks(self.transform.to_model(values, valid, self.model.config.bands))
            planes = np.split(whole, len(whole) // self.model.config.bands)
        analysed, optimised = [], []
        for pixels in planes:
            analysed.append(self.model.analyse(pixels, shape))
            if self.optimiser is not None and step is not None:
                optimised.append(
                    self.optimiser.optimise(pixels, analysed[-1], step, visible, self.distortion_weight, shape)
                )
        inner = [r.inner_pixels(n) for r, n in ((rows, self.header.height), (columns, self.header.width))]
        for start in range(columns.inner.start, columns.inner.stop, step_x // BLOCK):
            place = rows.inner, slice(start, min(start + step_x // BLOCK, columns.inner.stop))
            left = inner[1].start + (start - columns.inner.start) * BLOCK
            part = side.crop(inner[0], slice(left, min(left + step_x, inner[1].stop)))
            if part.classes is not None and (part.classes == VALID).all():
                part = Side(None, part.plane)
            packed = self.layout.pack(part) if self.layout is not None else b""
            seen = None if visible is None or visible[place].all() else visible[place]
            if seen is not None and not seen.any():
                yield Tile(packed, (), (), seen)
                continue
            latents, targets = ([x[place] for x in found] for found in (analysed, optimised))
            yield Tile(packed, latents, targets, seen)

    # -- coding -------------------------------------------------------------------------------------------------------

    def _coded(self, tile: Tile, step: int) -> tuple[Encoder | None, list[NDArray[np.float32]]]:
        """A tile's encoder (None if nothing in it is visible), and its latents as a decoder will see them.

        The last of several components are left out where they aren't worth their bits.
        """
        encoder, decoded = None, []
        ends, costs = [0], [0.0]  # groups of symbols up to each component, and what it costs with those before it
        for latents, optimised in zip_longest(tile.latents, tile.optimised):
            coded = self.model.code(
                latents,
                step,
                encoder=encoder,
                distortion_weight=self.distortion_weight,
                optimised=optimised,
                shape=tile.shape,
            )
            encoder = coded.encoder
            decoded.append(coded.decoded)
            if self.transform.matrix is not None:
                saved = self.distortion_weight * self.model.saved(latents, coded.decoded, step)
                costs.append(costs[-1] + encoder.bits_from(ends[-1]) - saved)
                ends.append(len(encoder.groups))
        if encoder is not None and self.transform.matrix is not None:
            kept = int(np.argmin(costs))
            del encoder.groups[ends[kept] :], decoded[kept:]
        return encoder, decoded

    def _moments(self) -> list[Moments]:
        """For each component, what its adaptation is fitted to; none where latents aren't optimised."""
        if self.optimiser is None:
            return []
        from learned_codec.models.adaptation import Moments

        return [Moments.none(self.model) for _ in range(self.transform.components)]

    def _note(self, moments: list[Moments], tile: Tile, decoded: list[NDArray[np.float32]], step: int) -> None:
        for found, latents, as_decoded in zip(moments, tile.latents, decoded, strict=False):  # the last may be left out
            found.add(self.model, latents, as_decoded, step, tile.shape)

    def _adaptations(self, moments: list[Moments], step: int) -> list[list[int]]:
        """For each component, by what `_note` noted of all tiles."""
        return [found.fit(self.model, step) for found in moments] or [[] for _ in range(self.transform.components)]

    def _write(self, step: int, found: Iterable[Tile]) -> bytes:
        sides, payloads, shown, components = [], [], [], 1
        moments = self._moments()
        for tile in found:
            encoder, decoded = self._coded(tile, step)
            self._note(moments, tile, decoded, step)
            sides.append(tile.side)
            payload = b"" if encoder is None else encoder.finish()
            if encoder is not None and self.transform.matrix is not None:
                payload = varint.encode(len(decoded)) + payload
            payloads.append(payload)
            shown.append(encoder is not None)
            components = max(components, len(decoded))
            if self.progress is not None:
                self.progress(len(payloads), self.header.tile_count)
        adaptation = join_adaptation(self._adaptations(moments, step)[:components])
        parameters = self.transform.first(components).parameters()
        header = replace(self.header, quality_step=step, parameters=parameters, adaptation=adaptation)
        # Without a nodata value to avoid, and with nothing masked, nobody needs to know what might have been.
        if self.layout is None or not (self.source.nodata is not None or self.layout.plane or any(sides)):
            return bitstream.write(header, payloads, metadata=self.metadata)
        both = [join_payload(*parts) for parts in zip(sides, payloads, shown, strict=True)]
        return bitstream.write(header, both, metadata=self.metadata, mask=self.layout.to_bytes())

    # -- rate control -------------------------------------------------------------------------------------------------

    def _to_bpp(self, stored: Sequence[Tile], target: float, steps: range) -> int:
        """The highest of some steps whose file is not above `target` bits per pixel."""
        pixels = self.header.pixels

        def rate(step: int) -> float:
            # 32 bits a tile for the coder's state and 40 bytes of container: an estimate to search with.
            encoders = (self._coded(tile, step)[0] for tile in stored)
            bits = sum(encoder.bits + 32 for encoder in encoders if encoder is not None)
            return (bits + 8 * sum(len(tile.side) for tile in stored) + 320) / pixels

        @cache
        def real(step: int) -> float:
            return 8 * len(self._write(step, stored)) / pixels

        low, top = steps[0], steps[-1]
        step = _search(rate, target, steps, np.log)
        while step > low and real(step) > target:  # the estimate may be a little low, or high
            step -= 1
        while step < top and real(step + 1) <= target:
            step += 1
        if real(step) > target or (step == top and real(step) < target * (1 - BPP_TOLERANCE)):
            raise RateError(
                f"{target:g} bpp is out of reach: on this image the model spans {real(low):.4f} to {real(top):.4f} bpp"
            )
        return step

    def _to_psnr(self, stored: Sequence[Tile], target: float, steps: range) -> int:
        """The lowest of some steps whose decoded image has at least `target` dB."""

        @cache
        def psnr(step: int) -> float:
            return self._psnr(stored, step)

        low, top = steps[0], steps[-1]
        step = min(_search(psnr, target, steps, lambda x: x) + 1, top)
        while step > low and psnr(step - 1) >= target:
            step -= 1
        while step < top and psnr(step) < target:
            step += 1
        reached = psnr(step)
        if reached < target or (step == low and reached > target + PSNR_TOLERANCE):
            raise RateError(
                f"{target:g} dB is out of reach: on this image the model spans {psnr(low):.2f} to {psnr(top):.2f} dB"
            )
        return step

    def _psnr(self, stored: Sequence[Tile], step: int) -> float:
        """Of the valid pixels, decoded at a step; peak and domain are `ValueTransform`'s."""
        moments = self._moments()
        if moments:
            for tile in stored:
                self._note(moments, tile, self._coded(tile, step)[1], step)
        header, adaptations = replace(self.header, quality_step=step), self._adaptations(moments, step)
        total, count = 0.0, 0

        def source(index: int) -> Decoded:
            tile = stored[index]
            return Decoded(self._coded(tile, step)[1], tile.visible)

        blocks = synthesise(self.model, header, self.transform, source, adaptations)
        for rows, columns, decoded in blocks:
            original = self.source.read(rows, columns)
            error = self.transform.linear(original).astype(np.float64) - self.transform.linear(decoded)
            if self.layout is not None:
                plane = self.source.read_plane(rows, columns) if self.source.plane else None
                valid = self.layout.valid(self.layout.classify(original, plane), header.bands)
                error = error if valid is None else error[valid]
            total += float(np.square(error).sum())
            count += error.size
        if total == 0:
            return 300.0
        return 10 * math.log10(self.transform.peak**2 * count / total)


def _whole_blocks(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) with the last row and column repeated up to whole blocks: that costs the fewest bits."""
    height, width = planes.shape[1:]
    padding = (0, 0), (0, -height % BLOCK), (0, -width % BLOCK)
    return np.pad(planes, padding, mode="edge") if any(map(any, padding)) else planes


def _search(function: Callable[[int], float], target: float, steps: range, shape: Callable[[Any], Any]) -> int:
    """The highest of `steps` where a rising `function` is at most `target`; the lowest if there is none.

    Interpolates on `shape(function)`, which is nearly linear in the step, so a handful of evaluations do; every second
    one halves the interval all the same.
    """
    low, high = steps[0], steps[-1]
    value_low, value_high = function(low), function(high)
    if value_low > target:
        return low
    if value_high <= target:
        return high
    turn = 0
    while high - low > 1:
        span = shape(value_high) - shape(value_low)
        guess = low + (high - low) * (shape(target) - shape(value_low)) / span if span > 0 and turn % 3 < 2 else 0
        middle = int(np.clip(round(guess) if guess else (low + high) // 2, low + 1, high - 1))
        value = function(middle)
        if value <= target:
            low, value_low = middle, value
        else:
            high, value_high = middle, value
        turn += 1
    return low
