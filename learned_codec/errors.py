"""Everything that this library raises on purpose.

Every error is a `LearnedCodecError`, and also the built-in error that a caller would expect in its place:

    LearnedCodecError(Exception)
    ├── InvalidInputError(ValueError)          what the caller passed: dtype, shape, NaN, a quality out of range
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

and everything that it warns of is a `LearnedCodecWarning`:

    LearnedCodecWarning(UserWarning)
    ├── DistortionWarning                      a band's error is out of all proportion to the quality
    ├── InputWarning                           the input may mean something else than it was taken for
    ├── MetadataLostWarning                    something beside the pixels isn't kept
    └── RateWarning                            a psnr above the best there is of an image; names both
"""

from collections.abc import Iterable
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


class LearnedCodecError(Exception):
    """The base of every error of this library."""


class InvalidInputError(LearnedCodecError, ValueError):
    """The caller passed something that can't be coded: a dtype, a shape, a NaN, a quality out of range."""


class OutOfBoundsError(InvalidInputError, IndexError):
    """A subscript is beyond the end of an axis, or there are more of them than axes."""


class RateError(LearnedCodecError, ValueError):
    """The asked-for bits per pixel are fewer than the smallest file of this image has."""


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
    """The bytes don't begin as an LCI file does."""


class TruncatedError(BitstreamError, EOFError):
    """The bytes end before the file does."""


class CorruptDataError(BitstreamError):
    """The bytes were changed after they were written, or never made sense.

    Attributes:
        tiles: the indices of the damaged tiles where only tiles are damaged; empty where it is the file as a whole.
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
    def of(cls, name: str, error: Exception) -> Self:
        """What another error says of a file, with its `errno` if it has one."""
        said = getattr(error, "strerror", None) or str(error)
        if said in ("", name):  # no more than the name
            said = "not found, or out of reach" if isinstance(error, FileNotFoundError) else type(error).__name__
        found = cls(f"{name}: {said}")
        found.errno = getattr(error, "errno", None)
        return found


class MissingDependencyError(LearnedCodecError, ImportError):
    """An optional dependency isn't installed; the message names the extra that brings it."""


class BoundError(LearnedCodecError, RuntimeError):
    """What a decoder would see isn't within the asked-for bound, by a defect of this library. Nothing was written."""


class ProcessLostError(LearnedCodecError, RuntimeError):
    """A process that did part of the work was killed, perhaps for want of memory."""


class TrainingError(LearnedCodecError, RuntimeError):
    """Training can't go on: diverged, out of data, or a checkpoint that doesn't fit."""


class LearnedCodecWarning(UserWarning):
    """The base of every warning of this library: what comes out is right, but perhaps not what was wanted."""


class DistortionWarning(LearnedCodecWarning):
    """What a decoder will see was compared with the source: a band's error is out of all proportion to the quality."""


class InputWarning(LearnedCodecWarning):
    """The input may mean something else than it was taken for: its axes, a value that stands for none, opacity."""


class MetadataLostWarning(LearnedCodecWarning):
    """The pixels are as they are, but something beside them that gives them meaning isn't kept."""


class RateWarning(LearnedCodecWarning):
    """The asked-for PSNR is above the best that the model reaches on this image, which is what came out."""
