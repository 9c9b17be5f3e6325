"""Bytes in memory and seekable files behind one interface, so that one parser reads both."""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from learned_codec.errors import FileError, InvalidInputError, LearnedCodecError

__all__ = ["BytesSource", "FileSource", "SeekableFile", "Source", "as_source"]

READ_AHEAD = 2**14


class SeekableFile(Protocol):
    """The methods of a binary file that are used. The file is read from its first byte, whatever its position is."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102 - Python's
    def seek(self, offset: int, whence: int, /) -> int: ...  # noqa: D102 - Python's


class Source(Protocol):
    """A source of `size` bytes, which can be read in any order."""

    size: int

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:
        """`size` bytes from `offset` on, fewer only at the end. `ahead`: the bytes after them will be read next."""

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read ranges, (offset, size) each, that `read_at` will then return in parts. Earlier ones are forgotten.

        They are in ascending order and don't overlap.
        """


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        # Memory with gaps, such as every second byte of an array, must be copied.
        self._view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self.size = len(self._view)

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:  # noqa: ARG002 - for files only
        """A copy of the bytes: the C code of the checksum takes only `bytes`."""
        return bytes(self._view[offset : offset + size])

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing to do: the bytes are in memory."""


class FileSource:
    """A seekable binary file; threads may share it.

    With `ahead`, at least 16 KiB are read at a time, which hold the head of most files. Otherwise exactly the bytes
    asked for are read.

    A file may have a method `read_ranges`, which takes (offset, size) of several ranges and reads them at once.
    """

    def __init__(self, file: SeekableFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._starts: list[int] = []  # of what is in memory, in ascending order
        self._pieces: list[bytes] = []
        with _reading():
            self.size = file.seek(0, 2)

    def read_at(self, offset: int, size: int, *, ahead: bool = False) -> bytes:
        """Read until there are `size` bytes, or the file ends where it ended when it was opened."""
        size = self._there(offset, size)
        if size == 0:
            return b""
        with self._lock, _reading():
            kept = self._kept(offset, size)
            if len(kept) == size:
                return kept
            data = self._read(offset, self._there(offset, READ_AHEAD) if ahead and size < READ_AHEAD else size)
            if ahead:
                self._starts, self._pieces = [offset], [data]
            return data[:size]

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read them now, each in one piece. If its beginning is in memory already, only the rest is read."""
        with self._lock, _reading():
            starts, sizes = [offset for offset, _ in ranges], [self._there(*part) for part in ranges]
            kept = [self._kept(*part) for part in zip(starts, sizes, strict=True)]
            missing = [
                (start + len(part), size - len(part)) for start, size, part in zip(starts, sizes, kept, strict=True)
            ]
            parts = iter(self._read_all([part for part in missing if part[1]]))
            self._starts = starts
            self._pieces = [part + next(parts) if size else part for part, (_, size) in zip(kept, missing, strict=True)]

    def _kept(self, offset: int, size: int) -> bytes:
        """The first of these bytes that are in memory; at most `size`, perhaps none."""
        at = bisect_right(self._starts, offset) - 1
        return b"" if at < 0 else self._pieces[at][offset - self._starts[at] :][:size]

    def _there(self, offset: int, size: int) -> int:
        """How many of the bytes exist. So a false length in a file never makes a buffer larger than the file."""
        return max(0, min(size, self.size - offset))

    def _read_all(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        at_once = getattr(self._file, "read_ranges", None)
        if at_once is None or len(ranges) < 2:
            return [self._read(*part) for part in ranges]
        parts: list[bytes] = at_once(ranges)
        return parts

    def _read(self, offset: int, size: int) -> bytes:
        """These bytes, all of which the file had when it was opened. If it gives fewer now, that is no damage."""
        self._file.seek(offset, 0)
        parts, end = [], offset + size
        while size > 0 and (part := self._file.read(size)):  # an unbuffered file may return fewer bytes
            if not isinstance(part, bytes | bytearray | memoryview):
                raise InvalidInputError(f"a file opened in binary mode is needed: this one gives {type(part).__name__}")
            parts.append(part)
            size -= len(part)
        if size > 0:
            raise FileError(
                f"only {end - size - offset:,} of {end - offset:,} bytes from byte {offset} on could be read: was the "
                "file cut short after it was opened, or the connection lost?"
            )
        return b"".join(parts)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn errors of a user's file into `FileError`. For a closed file, Python raises `ValueError`."""
    try:
        yield
    except LearnedCodecError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise FileError(f"the file can't be read: {error}") from error


def as_source(data: bytes | bytearray | memoryview | SeekableFile) -> Source:
    """A `Source` of bytes or of a seekable binary file."""
    try:
        view = memoryview(data)  # type: ignore[arg-type] # fails if it isn't bytes
    except TypeError:
        if not (hasattr(data, "read") and hasattr(data, "seek")):
            raise InvalidInputError(f"a path, bytes or a seekable file is needed, not {type(data).__name__}") from None
        return FileSource(cast("SeekableFile", data))
    except ValueError as error:
        raise InvalidInputError(f"the bytes can't be read: {error}") from error
    return BytesSource(view)
