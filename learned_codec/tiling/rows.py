"""Rows of tiles that other processes encode: the pixels of a tile concern no other one.

What holds for the whole image (the value transform, the masks, the quality step) is settled before, by the calling
process. It also joins the tiles, so a file has the same bytes as one that a single process encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from learned_codec.bitstream import Header
from learned_codec.errors import ProcessLostError, UnknownModelError
from learned_codec.models import registry
from learned_codec.values.sources import PixelSource
from learned_codec.values.transform import ValueTransform

from .bounded import BoundedElsewhere, BoundedEncoder, BoundedTile
from .encoder import CodedRow, Elsewhere, ImageEncoder
from .masking import MaskedSource
from .progress import Counter

if TYPE_CHECKING:
    from learned_codec.models.registry import ModelCard

R = TypeVar("R")

Opened = Callable[[], AbstractContextManager[PixelSource]]
"""Opens the source once more, in another process."""


class Rows:
    """Encodes the rows of tiles of one image by an executor. A context manager; on exit, what hasn't begun is dropped.

    Args:
        executor: such as a `ProcessPoolExecutor`.
        opened: opens the source. It must be possible to send it to the executor's processes.
    """

    def __init__(self, executor: Executor, opened: Opened) -> None:
        self._executor, self._opened = executor, opened
        self._futures: list[Future[Any]] = []

    def of_model(
        self,
        masked: Callable[[PixelSource], MaskedSource],
        header: Header,
        transform: ValueTransform,
        card: ModelCard,
        device: str,
    ) -> Elsewhere:
        """For an `ImageEncoder` with these arguments. `masked` puts the masks over a source."""
        job = _ModelRow(self._opened, masked, header, transform, card, device)
        return lambda step: self._map(job, [(number, step) for number in range(header.tile_grid[0])])

    def within_bounds(
        self, masked: Callable[[PixelSource], MaskedSource], header: Header, bounds: Sequence[float]
    ) -> BoundedElsewhere:
        """For a `BoundedEncoder` with these arguments. `masked` puts the masks over a source."""
        job = _BoundedRow(self._opened, masked, header, bounds)
        return lambda: self._map(job, [(number,) for number in range(header.tile_grid[0])])

    def _map(self, job: Callable[..., R], arguments: Sequence[tuple[int, ...]]) -> Iterator[R]:
        """The results of a job in order. Raises `ProcessLostError`."""
        try:
            self._futures = [self._executor.submit(job, *numbers) for numbers in arguments]
            for future in self._futures:
                yield future.result()
        except BrokenExecutor as error:
            raise ProcessLostError(f"a process that encoded rows of tiles was lost: {error}") from error

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._futures:
            future.cancel()


@dataclass(frozen=True)
class _ModelRow:
    opened: Opened
    masked: Callable[[PixelSource], MaskedSource]
    header: Header
    transform: ValueTransform
    card: ModelCard
    device: str

    def __call__(self, number: int, step: int) -> CodedRow:
        try:  # by its id, as the package may lie elsewhere on another machine
            card = registry.by_id(self.header.weights_id)
        except UnknownModelError:
            card = self.card
        model = registry.load(card, self.device).lapped(self.header.lapping)
        with self.opened() as source:
            encoder = ImageEncoder(self.masked(source), self.header, self.transform, model, None, Counter(None))
            return encoder.row(number, step)


@dataclass(frozen=True)
class _BoundedRow:
    opened: Opened
    masked: Callable[[PixelSource], MaskedSource]
    header: Header
    bounds: Sequence[float]

    def __call__(self, number: int) -> list[BoundedTile]:
        with self.opened() as source:
            return BoundedEncoder(self.masked(source), self.header, self.bounds, None).row(number)
