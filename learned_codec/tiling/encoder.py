"""Pixels into payloads, tile by tile, and the search for a bpp or a PSNR."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_codec import bitstream
from learned_codec.bitstream import Header, varint
from learned_codec.bitstream.payload import join_adaptation, join_payload, part_ends
from learned_codec.errors import DistortionWarning, RateError, RateWarning
from learned_codec.models.config import BLOCK, PASSES, top_step
from learned_codec.models.shape_adaptive import Shape
from learned_codec.values.hidden import Hidden
from learned_codec.values.ranges import Extremes
from learned_codec.values.transform import ValueTransform

from . import grid
from .masking import MaskedSource, Part
from .parallel import Workers
from .progress import Counter
from .proof import Area, Proof, Verdict
from .rate import Curves, Goal, Search, decibels
from .store import Store, Tile, TileStore
from .synthesis import Decoded, synthesise, visible_blocks, whole_blocks

if TYPE_CHECKING:
    from learned_codec.models.adaptation import Moments
    from learned_codec.models.coding import TileEncoder
    from learned_codec.models.effort import Optimiser
    from learned_codec.models.model import Model


SPECKLE_DISTORTION_WEIGHT = 2.0
"""How much more errors count in radar images. RDOQ removes speckle first, and on even ground speckle is all there is.
At 2 bits/pixel, the equivalent number of looks would rise by 19 %. With this weight it rises by 8 %, for 0.05 dB
(training scenes)."""

FALLS_SHORT = 1.3
"""A model falls short if a band's error is this many times the usual. Photographs have at most 0.9 times the usual
error, strong noise at quality 100 has 1.5 times, coloured text on another colour 1.4 to 4 times."""

NEAR = 64
"""Latents that were optimised for one quality step may be coded at steps up to this far away: half a level. Further
away, latents that were moved for coarse quantisation would be coded with fine quantisation."""


@dataclass(frozen=True)
class EncodedFile:
    """An encoded file, and the adaptation of each component in it."""

    data: bytes
    adaptations: list[list[int]]


@dataclass(frozen=True)
class CodedTile:
    """A tile as it goes into the file.

    Attributes:
        side: its mask or plane, packed.
        payload: its coded latents; None if nothing in it is visible.
        components: how many components are coded.
        crops: the areas in it that are compared with the source (see `Proof`).
    """

    side: bytes
    payload: bytes | None
    components: int
    crops: list[tuple[Area, Decoded]]


class _Span(NamedTuple):
    """Some tiles of a row: where they are, and their pixels."""

    rows: grid.Range
    columns: grid.Range
    read: Part


CodedRow = tuple[list[CodedTile], Extremes, Hidden]
"""The tiles of a row, the extremes of their values, and their hidden pixels."""

Elsewhere = Callable[[int], Iterator[CodedRow]]
"""Encodes all rows of tiles at a quality step, in other processes."""

Offer = tuple[float, bytes]
"""The value of a file for a goal (see `Goal`), and the file."""


class FallsShortError(Exception):
    """The model can't reach the goal, but another may. Caught inside this library."""


class ImageEncoder:
    """Encodes one image.

    With `strict`, `run` raises `FallsShortError` where the model can't reach the quality or the psnr.

    `header` is complete except for the quality step, the bounds and the adaptation. `optimiser` optimises the latents;
    with None, there is no adaptation to the image either. `counter` may have counted the work of another model that
    fell short. With `elsewhere`, other processes encode the rows of tiles, at a quality step alone.

    Attributes:
        hidden: the hidden pixels that `run` has left out.
    """

    def __init__(
        self,
        source: MaskedSource,
        header: Header,
        transform: ValueTransform,
        model: Model,
        optimiser: Optimiser | None,
        counter: Counter,
        threads: int = 1,
        *,
        strict: bool = False,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self.source, self.header, self.transform, self.mask_spec = source, header, transform, source.mask_spec
        self.model, self.optimiser, self.threads, self.strict = model, optimiser, threads, strict
        self._counter = counter
        self.proof = Proof(source, header)
        self._verdicts: dict[bytes, Callable[[], Verdict]] = {}  # by the files written so far
        self.extremes = Extremes(header.bands, transform.dtype)  # of the values analysed so far
        self.hidden = Hidden()
        self.distortion_weight = 1.0 if transform.unit is None else SPECKLE_DISTORTION_WEIGHT

    def run(self, goal: int | Goal, metadata: dict[str, Any]) -> bytes:
        """Encode at a quality step, or search for one that meets a goal. Returns the file. Raises `RateError`."""
        self.metadata = metadata
        self._counter.plan(self._planned(goal))
        if self._elsewhere is None:
            self._expect(self.header.height)
        with Workers(self.threads) as self._workers:
            if self._elsewhere is None:
                self._workers.begin(self._prepare)
            if isinstance(goal, Goal):
                data = self._search(goal)
            elif self._elsewhere is None:  # tile by tile, so the whole image's latents are never in memory
                data = self._write(goal, self._tiles(goal)).data
            else:
                data = self._joined(goal, self._gathered(self._elsewhere(goal)), []).data
        verdict = self._verdicts[data]()
        if isinstance(goal, int) and self.strict and verdict.worst > FALLS_SHORT:
            raise FallsShortError
        self._counter.finish()
        if complaints := verdict.complaints:
            more = len(complaints) - 1
            others = "" if not more else "; so does one more band" if more == 1 else f"; so do {more} more bands"
            warnings.warn(complaints[0] + others, DistortionWarning, stacklevel=5)
        return data

    # -- analysis -----------------------------------------------------------------------------------------------------

    def row(self, number: int, step: int) -> CodedRow:
        """A row of tiles, coded, and the extremes and hidden pixels of all that this object has analysed so far."""
        self._expect(grid.steps(self.header)[0])
        with Workers(self.threads) as self._workers:
            first = number * self.header.tile_grid[1]
            return list(self._coded_tiles(step, self._tiles(step, number), [], first=first)), self.extremes, self.hidden

    def _tiles(self, step: int | None = None, row: int | None = None) -> Iterator[Tile]:
        """Every tile, analysed, in the order of tiles; with `step`, its latents are optimised for that quality step.

        With `row`, only the tiles of that row.
        """
        # Analysis alone is so fast that it is not worth having more regions in memory at once.
        analyse = map if self.optimiser is None or step is None else self._workers.map
        for tiles in analyse(lambda span: self._analysed(span, step), self._spans(row)):
            yield from tiles

    def _spans(self, row: int | None) -> Iterator[_Span]:
        """The regions of `_tiles`, as read."""
        height, width = self.header.height, self.header.width
        step_y, step_x = grid.steps(self.header)
        every = list(grid.ranges(height, step_y))
        for rows in every if row is None else every[row : row + 1]:
            for columns in grid.ranges(width, grid.span(width, step_x, self.header.bands)):
                read = self.source.read(rows.outer_pixels(height), columns.outer_pixels(width))
                self.extremes.add(read.values.astype(self.transform.dtype, copy=False), read.valid)
                self.hidden.add(read.values, read.side)
                yield _Span(rows, columns, read)

    def _analysed(self, span: _Span, step: int | None = None) -> list[Tile]:
        """The tiles of a region, those without visible pixels too."""
        rows, columns = span.rows, span.columns
        values, side, valid = span.read.values, span.read.side, span.read.valid
        visible = visible_blocks(valid, *values.shape[1:])
        shape = Shape.of(visible)
        planes: Sequence[NDArray[np.float32]] = ()
        if visible is None or visible.any():
            if self.mask_spec is not None:
                values = self.mask_spec.smoothed(values, side)
            whole = whole_blocks(self.transform.to_model(values, valid, self.model.config.bands))
            planes = np.split(whole, len(whole) // self.model.config.bands)
        analysed, optimised, tiles = [], [], []
        for pixels in planes:
            analysed.append(self.model.analyse(pixels, shape))
            if self.optimiser is not None and step is not None:
                optimised.append(
                    self.optimiser.optimise(pixels, analysed[-1], step, visible, self.distortion_weight, shape)
                )
        _, step_x = grid.steps(self.header)
        inner = [r.inner_pixels(n) for r, n in ((rows, self.header.height), (columns, self.header.width))]
        for start in range(columns.inner.start, columns.inner.stop, step_x // BLOCK):
            place = rows.inner, slice(start, min(start + step_x // BLOCK, columns.inner.stop))
            left = inner[1].start + (start - columns.inner.start) * BLOCK
            part = side.crop(inner[0], slice(left, min(left + step_x, inner[1].stop)))
            part = part.telling()
            packed = self.mask_spec.pack(part) if self.mask_spec is not None else b""
            seen = None if visible is None or visible[place].all() else visible[place]
            if seen is not None and not seen.any():
                tiles.append(Tile(packed, (), (), seen))
                continue
            latents, targets = ([x[place] for x in found] for found in (analysed, optimised))
            tiles.append(Tile(packed, latents, targets, seen))
        return tiles

    def _bounded(self) -> ValueTransform:
        """The transform with the bounds of all values. Call it after all tiles are analysed."""
        return self.transform.within(self.extremes.bounds())

    # -- coding -------------------------------------------------------------------------------------------------------

    def _expect(self, rows: int) -> None:
        """Tell the model that this many rows of pixels are to be coded."""
        positions = grid.latents_along(rows) * grid.latents_along(self.header.width)
        self.model.expect(self.transform.components * positions)

    def _prepare(self) -> None:
        """Make the model ready for tiles of the usual size."""
        sides = zip((self.header.height, self.header.width), grid.steps(self.header), strict=True)
        self.model.prepare(*(grid.latents_along(min(side)) for side in sides))

    def _coded(self, tile: Tile, step: int) -> tuple[TileEncoder | None, list[NDArray[np.float32]]]:
        """A tile's encoder (None if nothing in it is visible), and its latents as a decoder will get them.

        The last components are left out if they aren't worth their bits.
        """
        if not tile.latents:
            return None, []
        encoder, decoded = self.model.encoder(len(tile.latents)), []
        ends, costs = [encoder.mark()], [0.0]  # after each component: where the encoder is, and the cost of all so far
        for latents, optimised in zip_longest(tile.latents, tile.optimised):
            coded = self.model.code(
                latents,
                step,
                encoder=encoder,
                distortion_weight=self.distortion_weight,
                optimised=optimised,
                shape=tile.shape,
            )
            decoded.append(coded.decoded)
            if self.transform.matrix is not None:
                saved = self.distortion_weight * self.model.saved(latents, coded.decoded, step)
                costs.append(costs[-1] + encoder.bits_from(ends[-1]) - saved)
                ends.append(encoder.mark())
        if self.transform.matrix is not None:
            kept = int(np.argmin(costs))
            encoder.cut(ends[kept])
            del decoded[kept:]
        return encoder, decoded

    def _payload(self, tile: Tile, step: int) -> tuple[Tile, bytes | None, list[NDArray[np.float32]]]:
        """A tile, its payload (None if nothing in it is visible), and its latents as a decoder will get them."""
        encoder, decoded = self._coded(tile, step)
        if encoder is None:
            return tile, None, decoded
        payload = encoder.finish()
        return tile, payload if self.transform.matrix is None else varint.encode(len(decoded)) + payload, decoded

    def _moments(self) -> list[Moments]:
        """The moments to which each component's adaptation is fitted; empty if latents aren't optimised."""
        if self.optimiser is None:
            return []
        from learned_codec.models.adaptation import Moments

        return [Moments.none(self.model) for _ in range(self.transform.components)]

    def _note(self, moments: list[Moments], tile: Tile, decoded: list[NDArray[np.float32]], step: int) -> None:
        for found, latents, as_decoded in zip(moments, tile.latents, decoded, strict=False):  # the last may be left out
            found.add(self.model, latents, as_decoded, step, tile.shape)

    def _adaptations(self, moments: list[Moments], step: int) -> list[list[int]]:
        """The adaptation of each component, fitted after `_note` has taken all tiles."""
        return [found.fit(self.model, step) for found in moments] or [[] for _ in range(self.transform.components)]

    def _write(self, step: int, tiles: Iterable[Tile], keep: Callable[[Decoded], None] | None = None) -> EncodedFile:
        """Write the file of a quality step. `keep` is called with each tile as a decoder will get it."""
        moments = self._moments()
        return self._joined(step, self._coded_tiles(step, tiles, moments, keep), moments)

    def _coded_tiles(
        self,
        step: int,
        tiles: Iterable[Tile],
        moments: list[Moments],
        keep: Callable[[Decoded], None] | None = None,
        first: int = 0,
    ) -> Iterator[CodedTile]:
        """Code tiles, of which the first has the index `first`, and note the moments of optimised ones."""
        coded = self._workers.map(lambda tile: self._payload(tile, step), tiles)
        for index, (tile, payload, decoded) in enumerate(coded, first):
            if tile.optimised:
                self._note(moments, tile, decoded, step)
            seen = Decoded([[x] for x in decoded], tile.visible)
            if keep is not None:
                keep(seen)
            yield CodedTile(tile.side, payload, len(decoded), self.proof.crops(index, seen))

    def _gathered(self, rows: Iterable[CodedRow]) -> Iterator[CodedTile]:
        """The tiles of rows that other processes encoded."""
        for tiles, extremes, hidden in rows:
            self.extremes.join(extremes)
            self.hidden.join(hidden)
            yield from tiles

    def _joined(self, step: int, tiles: Iterable[CodedTile], moments: list[Moments]) -> EncodedFile:
        """The file of coded tiles."""
        sides, payloads, shown, crops, components = [], [], [], [], 1
        for tile in tiles:
            sides.append(tile.side)
            payloads.append(tile.payload or b"")
            shown.append(tile.payload is not None)
            components = max(components, tile.components)
            crops += tile.crops
            self._counter.add()
        adaptations = self._adaptations(moments, step)
        transform = self._bounded().first(components)
        adaptation = join_adaptation(adaptations[:components])
        if transform.constant:  # the bounds in the header are the values
            payloads, shown, adaptation = [b""] * len(payloads), [False] * len(shown), b""
        code, parameters = transform.in_header()
        header = replace(self.header, quality_step=step, transform=code, parameters=parameters, adaptation=adaptation)
        # If nothing is masked and decoded values need not avoid a nodata value, the file needs no mask.
        if self.mask_spec is None or not (self.source.source.nodata is not None or self.mask_spec.plane or any(sides)):
            data = bitstream.write(header, payloads, ends=self._ends(payloads, payloads), metadata=self.metadata)
        else:
            both = [join_payload(*parts) for parts in zip(sides, payloads, shown, strict=True)]
            ends, mask = self._ends(both, payloads), self.mask_spec.to_bytes()
            data = bitstream.write(header, both, ends=ends, metadata=self.metadata, mask=mask)
        widths = np.array(self.transform.widths or (255.0,) * header.bands)
        # Only the file that is chosen needs to be looked at.
        self._verdicts[data] = partial(self.proof.verdict, self.model, header, crops, adaptations[:components], widths)
        return EncodedFile(data, adaptations)

    def _ends(self, joined: Sequence[bytes], payloads: Sequence[bytes]) -> list[list[int]]:
        """Where each tile's layers of resolution end, without the last, in its payload behind its mask or plane."""
        found = []
        for whole, payload in zip(joined, payloads, strict=True):
            ends = [0] * (len(PASSES) - 1)
            if payload:
                start = 0 if self.transform.matrix is None else varint.decode(payload)[1]
                ends = part_ends(payload, len(PASSES), start)
            found.append([len(whole) - len(payload) + end for end in ends])
        return found

    # -- rate control -------------------------------------------------------------------------------------------------

    def _search(self, goal: Goal) -> bytes:
        """The file that meets a goal, or the nearest one on its good side. Raises `RateError`."""
        with TileStore() as tiles:
            tiles.extend(self._counted(self._tiles()))
            if not tiles.visible or self._bounded().constant:  # all steps give the same file
                data = self._write(0, tiles).data
                # One value, or none at all, takes hardly more than a header, and is written at any rate.
                return self._chosen(goal, [(self._log2_bpp(data), data)]) if self._keeps_several(goal) else data
            search = Search(goal, self._curve(goal, tiles), range(top_step(self.model.max_step) + 1))
            if self.optimiser is None:
                return self._chosen(goal, self._offers(search, tiles))
            first = search.next() or 0
            search.note(first, self._measured(goal, first, tiles)[0])
            step = search.next()
        offers = self._near_offers(goal, first if step is None else step)
        if not goal.at_least and goal.best(value for value, _ in offers) is None:
            # Optimised latents may just miss a bpp that plain ones reach.
            with TileStore() as tiles:
                tiles.extend(self._tiles())
                offers += self._offers(Search(goal, self._curve(goal, tiles), range(NEAR + 1)), tiles)
        return self._chosen(goal, offers)

    def _keeps_several(self, goal: Goal) -> bool:
        """Whether there is a most of bits, and a band of which several values are kept exactly."""
        kept = [set[float]() for _ in range(self.header.bands)]
        for constant in self.source.constants:
            for band in constant.bands.nonzero()[0].tolist():
                kept[band].add(float(constant.values[band]))
        for exact in self.source.exact:
            kept[exact.band].update(map(float, exact.values))
        return not goal.at_least and max(map(len, kept)) > 1

    def _log2_bpp(self, data: bytes) -> float:
        return math.log2(8 * len(data) / self.header.pixels)

    def _near_offers(self, goal: Goal, step: int) -> list[Offer]:
        """Files of latents optimised for a step. If the goal lies too far from it, also for other steps."""
        offers: list[Offer] = []
        lowest, highest = 0, top_step(self.model.max_step)
        while True:
            near = range(max(lowest, step - NEAR), min(highest, step + NEAR) + 1)
            with TileStore() as tiles:
                tiles.extend(self._counted(self._tiles(step), self._passes))
                search = Search(goal, self._curve(goal, tiles), near, start=step)
                offers += self._offers(search, tiles)
            if search.beyond is None or search.beyond in (lowest, highest):
                return offers
            lowest, highest = (near[-1], highest) if search.beyond == near[-1] else (lowest, near[0])
            step = search.beyond

    def _offers(self, search: Search, tiles: TileStore) -> list[Offer]:
        """All files that a search tries."""
        offers = []
        while (step := search.next()) is not None:
            offers.append(self._measured(search.goal, step, tiles))
            search.note(step, offers[-1][0])
        return offers

    def _chosen(self, goal: Goal, offers: Sequence[Offer]) -> bytes:
        """The best of some files. Raises `RateError` if all have too many bits."""
        values = [value for value, _ in offers]
        best = goal.best(values)
        if best is None and not goal.at_least:
            raise RateError(
                f"{goal.asked:g} bpp is out of reach: the smallest file of this image has {2 ** min(values):.4g} bpp"
            )
        if best is None:
            if self.strict:
                raise FallsShortError
            best = max(values)
            text = f"{goal.asked:g} dB is out of reach: the best file of this image has {best:.2f} dB"
            warnings.warn(text, RateWarning, stacklevel=7)
        return offers[values.index(best)][1]

    def _curve(self, goal: Goal, tiles: TileStore) -> Callable[[int], float]:
        """A function that estimates, by quality step, the value of a file for a goal."""
        height, width = map(grid.latents_along, (self.header.height, self.header.width))
        curves = Curves(self.model, tiles, self.transform.components * height * width)
        if goal.at_least:
            bands = max(self.header.bands, self.model.config.bands)
            unit = self.transform.gain / (curves.visible * bands)
            return cache(lambda step: decibels(curves.error(step) * unit + self.transform.rounding))
        empty = bitstream.write(self.header, [b""] * len(tiles), metadata=self.metadata)
        fixed = 8 * (len(empty) + sum(map(len, tiles.sides)))
        return cache(lambda step: math.log2((fixed + curves.bits(step)) / self.header.pixels))

    def _measured(self, goal: Goal, step: int, tiles: TileStore) -> Offer:
        """The value of the file of a quality step for a goal, and the file."""
        if not goal.at_least:
            data = self._write(step, tiles).data
            return self._log2_bpp(data), data
        with Store() as store:
            kept = []

            def keep(decoded: Decoded) -> None:
                kept.append(([store.keep(x) for (x,) in decoded.components], decoded.visible))

            def source(index: int) -> Decoded:
                components, visible = kept[index]
                return Decoded([[store.load(x)] for x in components], visible)

            file = self._write(step, tiles, keep)
            return self._psnr(step, source, file.adaptations), file.data

    def _psnr(self, step: int, source: Callable[[int], Decoded], adaptations: Sequence[Sequence[int]]) -> float:
        """The PSNR in dB of the valid pixels at a step, by `ValueTransform.error`."""
        header = replace(self.header, quality_step=step)
        total, count = 0.0, 0
        transform, tiles = self._bounded(), map(source, range(self.header.tile_count))
        blocks = synthesise(self.model, header, transform, tiles, adaptations, workers=self._workers)
        for rows, columns, decoded in blocks:
            read = self.source.read(rows, columns)
            if self.mask_spec is not None:
                self.mask_spec.level(decoded, read.side)
            error = transform.error(read.values, decoded)
            if read.valid is not None:
                error = error[read.valid]
            total += float(np.square(error).sum(dtype=np.float64))
            count += error.size + (self.mask_spec.kept(read.side, header.bands) if self.mask_spec else 0)
        return decibels(total / max(1, count))

    # -- progress -----------------------------------------------------------------------------------------------------

    def _planned(self, goal: int | Goal) -> int:
        """How much work there is: a step takes one pass over the tiles, a search an analysis and two codings."""
        passes = 1 if isinstance(goal, int) else 3 if self.optimiser is None else 4 + self._passes
        return passes * self.header.tile_count

    @property
    def _passes(self) -> int:
        """How many times as long as coding a tile it takes to optimise it."""
        return 0 if self.optimiser is None else self.optimiser.passes

    def _counted(self, tiles: Iterable[Tile], amount: int = 1) -> Iterator[Tile]:
        for tile in tiles:
            yield tile
            self._counter.add(amount)
