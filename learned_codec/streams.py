"""Paths and file objects from users: told apart, named in messages, and with this library's errors."""

import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard, cast

from learned_codec.errors import FileError, InvalidInputError, LearnedCodecError, MissingDependencyError

if TYPE_CHECKING:
    from learned_codec.bitstream.source import SeekableFile

_LINE = 2**16
"""The most bytes of a line."""

CHANGED = "another file has taken the place of the one that was opened; open it again"
_PRECONDITION_FAILED = 412  # of HTTP

_IDENTITY = ("ETag", "etag", "LastModified", "last_modified", "mtime", "modified", "updated", "modify", "generation",
             "version_id", "VersionId", "md5", "checksum", "sha", "CRC", "ino")  # fmt: skip
_MADE = ("created",)
"""How fsspec's file systems call what changes with a file's content; when it was made only counts without any."""

_FILE = re.compile(r"file://(?:localhost)?(/.*)", re.IGNORECASE | re.DOTALL)
_URL = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)
"""Also URLs that fsspec chains: `simplecache::s3://…`."""

PathOrFile: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file object that can be read or written, whichever is wanted."""

Openable: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | SeekableFile"
"""A path, a URL, bytes, or any object with `seek` and `read`, such as a remote file."""


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether `value` is a path. Raises `InvalidInputError` for a path that can't be used: bytes or an empty one."""
    if isinstance(value, os.PathLike) and not isinstance(value.__fspath__(), str):
        raise InvalidInputError(f"a path must be a str, not {value.__fspath__()!r}")
    if isinstance(value, str) and not value:
        raise InvalidInputError("the path is empty: ''")
    return isinstance(value, str | os.PathLike)


def local_path(source: Any) -> Any:
    """The path that a URL of a local file stands for, "file:///a%20b.tif"; anything else as it is.

    A path that exists as it is written counts first: not all software writes "%20" for a blank.
    """
    if not isinstance(source, str) or (found := _FILE.match(source)) is None:
        return source
    from urllib.request import url2pathname  # not needed for most calls

    written = found[1]
    return written if os.path.exists(written) else url2pathname(written)  # noqa: PTH110


def again_from(source: Any) -> Any:
    """A source that another process can open from any working folder. All but a path of a file stays the same."""
    if isinstance(source, str | os.PathLike) and os.path.exists(source):  # noqa: PTH110 - also for what is no path
        return os.path.abspath(source)  # noqa: PTH100
    return source


def check_file_object(value: object, method: str) -> None:
    """Raise `InvalidInputError` unless it is a binary file object with `method`, "read" or "write"."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise InvalidInputError(
            f"a path or a binary file object is needed, not {type(value).__name__}: wrap the bytes in io.BytesIO(…), "
            "or decode a path with os.fsdecode(…)"
        )
    if hasattr(value, "dtypes") and hasattr(value, "block_shapes"):
        raise InvalidInputError(f"{name_of(value, 'the dataset')}: a rasterio dataset; pass its path or file instead")
    if isinstance(value, io.TextIOBase):
        raise InvalidInputError(f"{name_of(value, 'the file')}: open in text mode; open it in binary mode")
    if not callable(getattr(value, method, None)):
        raise InvalidInputError(f"a path or a binary file object is needed, not {type(value).__name__}")


def name_of(value: object, default: str) -> str:
    """The name of a source or destination in messages."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and name else default


def check_other(source: object, destination: object) -> None:
    """Refuse to replace the file that is being read: a decoded image is not the original. Raises `FileError`.

    Both may also be file objects or names of other kinds.
    """
    one, other = _identity(source), _identity(destination)
    if one is not None and one == other:
        raise FileError.itself(name_of(destination, "output"))


def _identity(value: object) -> tuple[int, int] | None:
    """The device and number of the file at a path or behind a file object; None if there is no ordinary file."""
    try:
        found = os.stat(value if isinstance(value, str | os.PathLike) else value.fileno())  # type: ignore[attr-defined]  # noqa: PTH116
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


@contextmanager
def unchanged(source: object, *, reopened: bool) -> Iterator[None]:
    """Raise `FileError` if the file at a path is written to inside the block: what was read is part of each then.

    With `reopened`, other processes open the path inside the block. So another file in its place is an error, too.
    Without, the one that was opened is read to its end.
    """
    before = _state(source)
    yield
    after = _state(source)
    if before and after and before != after and (reopened or before[0] == after[0]):
        raise FileError(f"{name_of(source, 'input')}: changed while it was read; start again")


def _state(value: object) -> tuple[tuple[int, int], int, int] | None:
    """The identity of an ordinary file, when it was written last, and its size; None for other things."""
    identity = _identity(value)
    if identity is None:
        return None
    found = os.stat(value if isinstance(value, str | os.PathLike) else value.fileno())  # type: ignore[attr-defined]  # noqa: PTH116
    return identity, found.st_mtime_ns, found.st_size


@contextmanager
def our_errors(name: str) -> Iterator[None]:
    """Inside the block, `OSError`, and `ValueError` for an impossible path, become a `FileError`."""
    try:
        yield
    except LearnedCodecError:
        raise
    except OSError as error:
        raise FileError.of(name, error) from error
    except ValueError as error:  # a zero byte, or characters that the file system's encoding doesn't have
        raise FileError(f"{name!r}: {error}") from error


@contextmanager
def reading(source: PathOrFile) -> Iterator[str | Path | BinaryIO]:
    """A source to read from: a path as it is, or a file object whose errors are `FileError`.

    Raises `InvalidInputError` if it is neither. If reading fails inside the block, the block raises that `FileError`,
    even if the reader raised something else or took it for the file's end.
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
    """Bytes or a seekable file to read a source from, and the file that was opened for it, if any.

    The caller closes that file.

    A URL is opened by fsspec without a cache, so only the needed bytes are requested; where fsspec can, several ranges
    at the same time.

    All bytes of a pipe are read. Raises `FileError` and `InvalidInputError`, and so does reading later.
    """
    source = local_path(source)
    if is_path(source):
        name = name_of(source, "")
        if _URL.match(name):
            system, path, remote = _remote(name)
            at_once = getattr(getattr(remote, "fs", None), "async_impl", False)
            return (_Remote if at_once else _Watched)(remote, system, path), remote
        with our_errors(name):
            file = Path(source).open("rb")  # noqa: SIM115 - the caller closes it
            if file.seekable():
                return _Local(file), file
            with file:
                return file.read(), None
    if not hasattr(source, "read"):
        return source, None  # bytes, or what the parser refuses
    check_file_object(source, "read")
    guarded = _Guarded(source)
    if not hasattr(source, "seek") or (hasattr(source, "seekable") and not guarded.seekable()):
        return guarded.read(), None
    return guarded, None


def _remote(url: str) -> tuple[object, str, BinaryIO]:
    """A file system of fsspec's, and a path and a file in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(f"{url}: URLs need fsspec: pip install learned-codec[remote]") from error
    try:
        # The cache is an option of the file: most file systems refuse it as one of their own.
        system, path = fsspec.url_to_fs(url)
        try:
            file: BinaryIO = system.open(path, "rb", cache_type="none", **_same_of(system, path))
        except TypeError:  # a file system that caches blocks on disk, and gives this option itself
            file = system.open(path, "rb")
    except ImportError as error:
        raise MissingDependencyError(f"{url}: {error}") from error
    except Exception as error:  # each of fsspec's many file systems has errors of its own
        raise FileError.of(url, error) from error
    return system, path, file


def _stamp(system: Any, path: str) -> tuple[str, ...] | None:
    """What tells a file from others that were or will be at its path; None if nothing does, or need not.

    Parts of another file on a web server are refused by the server, and a cache holds whole files.
    """
    protocol = system.protocol
    if {"http", "simplecache", "filecache"} & set([protocol] if isinstance(protocol, str) else protocol):
        return None
    system.invalidate_cache(path)  # of what was known of it
    said = system.info(path)
    found = [str(said[key]) for key in _IDENTITY if said.get(key)] or [str(said[key]) for key in _MADE if said.get(key)]
    return (str(said.get("size")), *found) if found else None


def _same_of(system: Any, path: str) -> dict[str, Any]:
    """Options for opening a file of a web server, which then refuses to send parts of another one in its place."""
    if "http" not in system.protocol:
        return {}
    said = system.info(path)
    if not said.get("size") or not said.get("partial", True):
        return {}
    etag, modified = said.get("ETag", ""), said.get("Last-Modified")
    asked = {"If-Match": etag} if etag.startswith('"') else {"If-Unmodified-Since": modified} if modified else {}
    # With the size, it isn't asked for again. Other headers, such as a password, are options of the file system.
    return {"size": said["size"], "headers": {**system.kwargs.get("headers", {}), **asked}}


@contextmanager
def readable(source: Openable) -> Iterator[Any]:
    """The result of `opened`; a file that it opened is closed after the block."""
    found, file = opened(source)
    with file or nullcontext():
        yield found


class _Guarded:
    """A user's file object whose errors become `FileError`.

    `system` is the file system that it is in, if that was opened for it: an archive closes when nobody refers to it.
    """

    def __init__(self, stream: Any, system: object = None) -> None:
        self._stream, self._system = stream, system
        self.name = name_of(stream, "input")
        self.error: FileError | None = None

    def read(self, size: int = -1, /) -> bytes:
        data = self._call("read", size)
        if data is None or isinstance(data, str):
            raise self._failed(TypeError(f"read() gave {'text' if data else 'nothing'}, not bytes"))
        return data if isinstance(data, bytes) else bytes(data)

    def readline(self, size: int = -1, /) -> bytes:
        """A line of at most 64 KiB. Some of Pillow's formats are read by lines."""
        start = self.tell()
        line, end, _ = self.read(size if 0 <= size < _LINE else _LINE).partition(b"\n")
        self.seek(start + len(line) + len(end))
        return line + end

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
        changed = getattr(error, "status", None) == _PRECONDITION_FAILED
        self.error = FileError(f"{self.name}: {CHANGED}") if changed else FileError.of(self.name, error)
        return self.error


class _Local(_Guarded):
    """A file of a path. Nobody may write into it while it is read."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._opened = _state(stream)

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        if _state(self._stream) != self._opened:
            raise self._failed(OSError(CHANGED))
        return data


class _Watched(_Guarded):
    """A file of one of fsspec's file systems. No other may take its place while it is read."""

    def __init__(self, stream: Any, system: Any, path: str) -> None:
        super().__init__(stream, system)
        self._path = path
        self._opened: tuple[str, ...] | None = None
        with suppress(Exception):  # some allow to read a file, but not to ask about it
            self._opened = _stamp(system, path)

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        self._check()
        return data

    def _check(self) -> None:
        if self._opened is None:
            return
        try:
            now = _stamp(self._system, self._path)
        except Exception as error:  # each file system has errors of its own
            raise self._failed(error) from error
        if now != self._opened:
            raise self._failed(OSError(CHANGED))


class _Remote(_Watched):
    """A file of one of fsspec's file systems that answer several requests at a time."""

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ranges inside the file, (offset, size) each."""
        paths = [self._stream.path] * len(ranges)
        starts, ends = zip(*((offset, offset + size) for offset, size in ranges), strict=True)
        try:
            headers = getattr(self._stream, "kwargs", {}).get("headers")
            options = {"headers": headers} if headers else {}
            parts: list[bytes] = self._stream.fs.cat_ranges(
                paths, list(starts), list(ends), on_error="raise", **options
            )
            if [len(part) for part in parts] != [size for _, size in ranges]:
                raise OSError("the server sent other ranges than it was asked for")
        except Exception as error:  # each file system has errors of its own
            raise self._failed(error) from error
        self._check()
        return parts
