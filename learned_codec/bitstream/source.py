"""Bytes in memory and seekable files behind one face, so that there is one parser for both."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

from learned_codec.errors import FileError, InvalidInputError, LearnedCodecError

__all__ = ["BytesSource", "FileSource", "SeekableFile", "Source", "as_source"]

_READ_AHEAD = 4096


class SeekableFile(Protocol):
    """The part of a binary file that is used. Its first byte is the file's, wherever it stands now."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102 - Python's
    def seek(self, offset: int, whence: int, /) -> int: ...  # noqa: D102 - Python's


class Source(Protocol):
    """Something with `size` bytes, any of which can be read."""

    size: int

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:
        """The bytes from `offset` on, fewer than `size` only at the end. `ahead`: more will be wanted after them."""

    def fetch(self, offset: int, size: int) -> None:
        """Ask for bytes at once that will be read in parts; what was fetched before is forgotten."""


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        # Bytes that don't lie one after another, as every second of an array, can't be looked at without a copy.
        self._view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self.size = len(self._view)

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:  # noqa: ARG002 - for files only
        """A copy of the bytes: the checksum's C code takes nothing but `bytes`."""
        return bytes(self._view[offset : offset + size])

    def fetch(self, offset: int, size: int) -> None:
        """They are there."""


class FileSource:
    """A seekable binary file; threads may share it.

    With `ahead`, 4 KiB are read at a time: the head of most files in one request. Otherwise exactly what was asked for.
    """

    def __init__(self, file: SeekableFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._start = 0
        self._ahead = b""
        with _reading():
            self.size = file.seek(0, 2)

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:
        """The bytes, read again until `size` have come or the file ends."""
        size = self._there(offset, size)
        if size == 0:
            return b""
        with self._lock, _reading():
            if self._start <= offset and offset + size <= self._start + len(self._ahead):
                return self._ahead[offset - self._start :][:size]
            data = self._read(offset, max(size, _READ_AHEAD) if ahead else size)
            if ahead:
                self._start, self._ahead = offset, data
            return data[:size]

    def fetch(self, offset: int, size: int) -> None:
        """Read them now, in one piece; what is there of their beginning isn't read again."""
        size = self._there(offset, size)
        with self._lock, _reading():
            kept = self._ahead[offset - self._start :] if offset >= self._start else b""
            if size > len(kept):
                kept += self._read(offset + len(kept), size - len(kept))
            self._start, self._ahead = offset, kept

    def _there(self, offset: int, size: int) -> int:
        """A declared length never makes a larger buffer than the file, and no file is asked for what lies beyond it."""
        return max(0, min(size, self.size - offset))

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset, 0)
        parts = []
        while size > 0 and (part := self._file.read(size)):  # an unbuffered file may give less than it has
            if not isinstance(part, bytes | bytearray | memoryview):
                raise InvalidInputError(f"a file opened in binary mode is needed: this one gives {type(part).__name__}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


@contextmanager
def _reading() -> Iterator[None]:
    """What fails in somebody's file becomes a `FileError`; a `ValueError` is Python's, of a file that is closed."""
    try:
        yield
    except LearnedCodecError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise FileError(f"the file can't be read: {error}") from error


def as_source(data: bytes | bytearray | memoryview | SeekableFile) -> Source:
    """A `Source` of bytes or of a seekable binary file."""
    try:
        view = memoryview(data)  # type: ignore[arg-type] # that is the question
    except TypeError:
        if not (hasattr(data, "read") and hasattr(data, "seek")):
            raise InvalidInputError(f"a path, bytes or a seekable file is needed, not {type(data).__name__}") from None
        return FileSource(cast("SeekableFile", data))
    except ValueError as error:
        raise InvalidInputError(f"the bytes can't be read: {error}") from error
    return BytesSource(view)
