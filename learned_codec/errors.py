"""All errors and warnings of this library.

Every error is a `LearnedCodecError`, and also the built-in error that a caller would expect:

    LearnedCodecError(Exception)
    ├── InvalidInputError(ValueError)          an argument: dtype, shape, NaN, a quality out of range
    │   └── OutOfBoundsError(IndexError)       a subscript beyond the end of an axis
    ├── RateError(ValueError)                  a bpp below that of the smallest file; names both
    ├── LimitError(ValueError)                 a declared size over a limit; names value, limit and how to raise it
    ├── BitstreamError(ValueError)             the bytes are at fault
    │   ├── NotLCIError                        not an LCI file at all
    │   ├── TruncatedError(EOFError)           the file ends too early
    │   ├── CorruptDataError                   a checksum fails or fields contradict each other; has `tiles`
    │   └── UnsupportedVersionError            written by a later version: version, reserved bit or critical chunk
    ├── ModelError
    │   ├── UnknownModelError(LookupError)     no model of that name, or no weights of that id
    │   └── WeightsError(ValueError)           a weights file that is damaged or breaks the exactness bound
    ├── FileError(OSError)                     the destination exists, the source can't be read
    ├── MissingDependencyError(ImportError)    names the extra to install
    ├── BoundError(RuntimeError)               a decoder would miss the max_error, by a defect of ours
    ├── ProcessLostError(RuntimeError)         a process that did part of the work was killed
    └── TrainingError(RuntimeError)            training can't go on

Every warning is a `LearnedCodecWarning`:

    LearnedCodecWarning(UserWarning)
    ├── DistortionWarning                      a band's error is much larger than usual at the quality
    ├── InputWarning                           the input may mean something else than this library assumes
    ├── MetadataLostWarning                    some metadata isn't kept
    └── RateWarning                            a psnr above the best possible one; names both
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

__all__ = [
    "BitstreamError",
    "BoundError",
    "CorruptDataError",
    "DistortionWarning",
    "FileError",
    "InputWarning",
    "InvalidInputError",
    "LearnedCodecError",
    "LearnedCodecWarning",
    "LimitError",
    "MetadataLostWarning",
    "MissingDependencyError",
    "ModelError",
    "NotLCIError",
    "OutOfBoundsError",
    "ProcessLostError",
    "RateError",
    "RateWarning",
    "TrainingError",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedVersionError",
    "WeightsError",
]

MOST_SHOWN = 200
"""The most characters of an argument in a message."""


def shown(value: object) -> str:
    """An argument as a message shows it: what Python prints of it, but short, and also of integers too long for it."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is an argument's own code
        return "an integer of thousands of digits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


class LearnedCodecError(Exception):
    """The base of every error of this library."""


class InvalidInputError(LearnedCodecError, ValueError):
    """An argument can't be used: a dtype, a shape, a NaN, a quality out of range."""


class OutOfBoundsError(InvalidInputError, IndexError):
    """A subscript is beyond the end of an axis, or there are more of them than axes."""


class RateError(LearnedCodecError, ValueError):
    """The requested bits per pixel are fewer than those of the smallest file of this image, or of the one in bounds."""


class LimitError(LearnedCodecError, ValueError):
    """A file declares more than a limit allows. Nothing of that size has been allocated.

    Attributes:
        field: the field of `Limits` that raises the limit.
        value: what the file declares.
        limit: what was allowed.
    """

    def __init__(self, message: str, *, field: str = "", value: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.limit = limit


class BitstreamError(LearnedCodecError, ValueError):
    """The bytes can't be read as LCI."""


class NotLCIError(BitstreamError):
    """The bytes don't begin like an LCI file."""


class TruncatedError(BitstreamError, EOFError):
    """The file ends too early."""


class CorruptDataError(BitstreamError):
    """The bytes were changed after they were written, or are invalid.

    Attributes:
        tiles: the indices of the damaged tiles; empty if other parts of the file are damaged.
    """

    def __init__(self, message: str, *, tiles: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.tiles: tuple[int, ...] = tuple(tiles)


class UnsupportedVersionError(BitstreamError):
    """The file needs a later version of this library: its version, a reserved bit or a critical chunk is unknown."""


class ModelError(LearnedCodecError):
    """Something is wrong with a model."""


class UnknownModelError(ModelError, LookupError):
    """No model has this name, or no weights this id."""


class WeightsError(ModelError, ValueError):
    """A weights file is damaged, or breaks the bound that makes its arithmetic exact."""


class FileError(LearnedCodecError, OSError):
    """A file can't be read or written: the destination exists, the source isn't readable, the disk is full."""

    @classmethod
    def existing(cls, name: str) -> Self:
        """The destination `name` exists, and `overwrite` is false."""
        return cls(f"{name}: exists; pass overwrite=True (--overwrite) to replace it")

    @classmethod
    def itself(cls, name: str) -> Self:
        """The destination `name` is the source."""
        return cls(f"{name}: is the source itself, which would be lost; write to another file")

    @classmethod
    def of(cls, name: str, error: Exception) -> Self:
        """A `FileError` with the message of another error, and its `errno` if it has one."""
        said = getattr(error, "strerror", None) or str(error)
        if said in ("", name):  # the message is only the name
            said = "not found, or out of reach" if isinstance(error, FileNotFoundError) else type(error).__name__
        found = cls(f"{name}: {said}")
        found.errno = getattr(error, "errno", None)
        return found


class MissingDependencyError(LearnedCodecError, ImportError):
    """An optional dependency isn't installed; the message names the extra that brings it."""


class BoundError(LearnedCodecError, RuntimeError):
    """A decoded value would exceed the requested bound: a defect of this library. Nothing was written."""


class ProcessLostError(LearnedCodecError, RuntimeError):
    """A process that did part of the work was killed, perhaps for want of memory."""


class TrainingError(LearnedCodecError, RuntimeError):
    """Training can't go on: diverged, out of data, or a checkpoint that doesn't fit."""


class LearnedCodecWarning(UserWarning):
    """The base of every warning of this library: the result is right, but may not be what the user wants."""


class DistortionWarning(LearnedCodecWarning):
    """A band's error is much larger than usual at this quality.

    The encoder compared the decoded image with the source.
    """


class InputWarning(LearnedCodecWarning):
    """The input may mean something else than this library assumes: its axes, an undeclared nodata value, opacity."""


class MetadataLostWarning(LearnedCodecWarning):
    """The pixels are right, but some metadata isn't kept."""


class RateWarning(LearnedCodecWarning):
    """The requested PSNR is above the best that the model can reach on this image. The file has the best one."""


_HOW: ContextVar[Callable[[float], str]] = ContextVar("how", default=lambda value: f"nodata={value:g}")


def to_declare(value: float) -> str:
    """What an `InputWarning` advises to give if a value stands for pixels without one: `nodata=-9999`."""
    return _HOW.get()(value)


@contextmanager
def declaring_by(how: Callable[[float], str]) -> Iterator[None]:
    """Inside the block, in this thread, warnings advise what `how` returns: tools have their own ways to say nodata."""
    token = _HOW.set(how)
    try:
        yield
    finally:
        _HOW.reset(token)
