"""Paths and file objects that users pass: told apart, named in messages, and with errors of ours."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard, cast

from learned_codec.errors import FileError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from learned_codec.bitstream.source import SeekableFile

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file object that can be read."""

Openable: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | SeekableFile"
"""A path, bytes, or any object with `seek` and `read`, so also a remote file."""

Destination: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file object that can be written."""


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether it is a path, or else (raising `InvalidInputError`) at least no path that can't be used."""
    if isinstance(value, os.PathLike) and not isinstance(value.__fspath__(), str):
        raise InvalidInputError(f"a path must be a str, not {value.__fspath__()!r}")
    if isinstance(value, str) and not value:
        raise InvalidInputError("the path is empty: ''")
    return isinstance(value, str | os.PathLike)


def check_file_object(value: object, method: str) -> None:
    """Raise `InvalidInputError` unless it is a binary file object with `method`, "read" or "write"."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise InvalidInputError(
            f"a path or a binary file object is needed, not {type(value).__name__}: wrap the bytes in io.BytesIO(…), "
            "or decode a path with os.fsdecode(…)"
        )
    if hasattr(value, "dtypes") and hasattr(value, "block_shapes"):
        raise InvalidInputError(f"{name_of(value, 'the dataset')}: a dataset of rasterio; pass its path, or its file")
    if isinstance(value, io.TextIOBase):
        raise InvalidInputError(f"{name_of(value, 'the file')}: open in text mode; open it in binary mode")
    if not callable(getattr(value, method, None)):
        raise InvalidInputError(f"a path or a binary file object is needed, not {type(value).__name__}")


def name_of(value: object, default: str) -> str:
    """What messages call it."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and name else default


@contextmanager
def our_errors(name: str) -> Iterator[None]:
    """Inside the block, `OSError`, and what Python says of an impossible path, become a `FileError`."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError.of(name, error) from error
    except ValueError as error:  # a zero byte, or characters that the file system's encoding doesn't have
        raise FileError(f"{name!r}: {error}") from error


@contextmanager
def reading(source: Source) -> Iterator[str | Path | BinaryIO]:
    """A source to read from: a path as it is, or a file object that fails with `FileError` alone.

    Raises `InvalidInputError` if it is neither, and inside the block `FileError` wherever reading it failed, also if
    who read it noticed something else.
    """
    if is_path(source):
        yield source if isinstance(source, str) else Path(source)
        return
    check_file_object(source, "read")
    guarded = _Guarded(source)
    try:
        yield cast("BinaryIO", guarded)
    except Exception:
        if guarded.error is not None:
            raise guarded.error from guarded.error.__cause__
        raise
    if guarded.error is not None:  # who read it may have taken it for the file's end
        raise guarded.error


def opened(source: Openable) -> tuple[Any, BinaryIO | None]:
    """Bytes or a seekable file to read a source from, and the file that was opened for it, which the caller closes.

    A URL is opened by fsspec, without a cache of its own: only what is asked for is requested.

    Of a pipe, all bytes are read. Raises `FileError` and `InvalidInputError`, and so does reading.
    """
    if is_path(source):
        name = name_of(source, "")
        if _URL.match(name):
            remote = _remote(name)
            return _Guarded(remote), remote
        with our_errors(name):
            file = Path(source).open("rb")  # noqa: SIM115 - the caller closes it
            if file.seekable():
                return _Guarded(file), file
            with file:
                return file.read(), None
    if not hasattr(source, "read"):
        return source, None  # bytes, or what the parser refuses
    check_file_object(source, "read")
    guarded = _Guarded(source)
    if not hasattr(source, "seek") or (hasattr(source, "seekable") and not guarded.seekable()):
        return guarded.read(), None
    return guarded, None


def _remote(url: str) -> BinaryIO:
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(f"{url}: URLs need fsspec: pip install learned-codec[remote]") from error
    try:
        file: BinaryIO = fsspec.open(url, "rb", cache_type="none").open()
    except ImportError as error:
        raise MissingDependencyError(f"{url}: {error}") from error
    except Exception as error:  # each of fsspec's many file systems has errors of its own
        raise FileError.of(url, error) from error
    return file


@contextmanager
def readable(source: Openable) -> Iterator[Any]:
    """What `opened` gives, closed after the block if it was opened here."""
    found, file = opened(source)
    with file or nullcontext():
        yield found


class _Guarded:
    """A user's file object whose errors are ours."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.name = name_of(stream, "input")
        self.error: FileError | None = None

    def read(self, size: int = -1, /) -> bytes:
        data = self._call("read", size)
        if data is None or isinstance(data, str):
            raise self._failed(TypeError(f"read() gave {'text' if data else 'nothing'}, not bytes"))
        return data if isinstance(data, bytes) else bytes(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        place = self._call("seek", offset, whence)
        return place if isinstance(place, int) else self.tell()

    def tell(self) -> int:
        place: int = self._call("tell")
        return place

    @property
    def closed(self) -> bool:
        return bool(getattr(self._stream, "closed", False))

    def seekable(self) -> bool:
        return hasattr(self._stream, "seekable") and bool(self._call("seekable"))

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._stream, method)(*arguments)
        except Exception as error:  # a user's object may raise anything
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> FileError:
        self.error = FileError.of(self.name, error)
        return self.error
