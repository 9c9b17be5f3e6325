"""Writes files that appear whole or not at all.

Content is written to another file (see `staging`), flushed to the disk and read back; then that file is renamed. So
after a full disk, a crash or a signal, there is the old file or none. A killed process may leave a hidden folder. The
next process that writes into the same folder removes it.
"""

import errno
import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from learned_codec.errors import FileError
from learned_codec.staging import staged
from learned_codec.streams import PathOrFile, check_file_object, is_path, name_of, our_errors

_CHUNK = 2**20
"""Bytes that are written or compared at once."""


class Writable(Protocol):
    """An object to which bytes can be written."""

    def write(self, data: bytes, /) -> object: ...  # noqa: D102 - Python's


class _Pieces:
    """Keeps the bytes that are written to it, without a copy."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: Any, /) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])


@contextmanager
def atomic_write(dst: PathOrFile, *, overwrite: bool = False) -> Iterator[Writable]:
    """Bytes written inside the block become `dst` when it ends without an exception; else they are dropped.

    Like `atomic_path`, but for bytes. They are in memory until the end.
    """
    content = _Pieces()
    if is_path(dst):
        with atomic_path(dst, overwrite=overwrite) as path:
            yield content
            write_whole(path, content.parts, name_of(dst, "output"))
    else:
        check_file_object(dst, "write")
        yield content
        _pass_on(content.parts, dst, name_of(dst, "output"))


@contextmanager
def atomic_path(dst: PathOrFile, *, overwrite: bool = False) -> Iterator[Path]:
    """The path of an empty file. It becomes `dst` when the block ends without an exception; else it is removed.

    It is renamed to `dst`, so no other process can read half of it. If `dst` is a file object, a device or a pipe, the
    content is copied to it at the end.

    Raises:
        FileError: `dst` exists and `overwrite` is false, or can't be written.
        InvalidInputError: `dst` is neither a path nor a binary file object.
    """
    name = name_of(dst, "output")
    with ExitStack() as stack:
        if not is_path(dst):
            check_file_object(dst, "write")
            yield stack.enter_context(_passed_on(dst, name))
            return
        with our_errors(name):
            path = Path(dst)
            special = path.exists() and not path.is_file() and not path.is_dir()
            device = stack.enter_context(path.open("wb", buffering=0)) if special else None
            path = Path(os.path.realpath(path))  # so that a symbolic link isn't replaced
        if device is None:
            yield stack.enter_context(_renamed(path, name, overwrite=overwrite))
        else:  # renaming onto /dev/stdout or a named pipe would destroy it
            yield stack.enter_context(_passed_on(device, name))


def write_whole(path: Path, parts: Iterable[bytes | memoryview], name: str) -> None:
    """Write the file `path`, flush it to the disk, and read it back. `name` is its name in messages.

    Raises `FileError`.
    """
    parts = list(parts)
    with our_errors(name):
        with path.open("wb", buffering=0) as stream:
            _write_all(parts, stream)
            os.fsync(stream.fileno())
        with path.open("rb") as stream:
            same = all(stream.read(len(chunk)) == chunk for chunk in _chunks(parts)) and not stream.read(1)
    if not same:
        raise FileError(f"{name}: the file system didn't keep what was written")


@contextmanager
def _renamed(path: Path, name: str, *, overwrite: bool) -> Iterator[Path]:
    with ExitStack() as stack:
        with our_errors(name):
            if path.is_dir():
                raise FileError(f"{name}: is a directory")
            if path.exists() and not overwrite:
                raise FileError.existing(name)
            content = stack.enter_context(staged(path.parent))
        yield content
        with our_errors(name):
            _sync(content)  # or a power cut could leave the new name with an empty file
            _publish(content, path, name, overwrite=overwrite)
            _sync_folder(path.parent)


@contextmanager
def _passed_on(stream: Any, name: str) -> Iterator[Path]:
    """A temporary file whose content goes to a file object."""
    with ExitStack() as stack:
        with our_errors(f"{name}: temporary file"):
            content = stack.enter_context(staged(Path(tempfile.gettempdir())))
        yield content
        with content.open("rb") as whole:
            _pass_on(iter(lambda: whole.read(_CHUNK), b""), stream, name)


def _pass_on(parts: Iterable[bytes], stream: Any, name: str) -> None:
    """Write all parts to a user's file object. Raises `FileError`, whatever the object raises."""
    try:
        _write_all(parts, stream)
        if hasattr(stream, "flush"):
            stream.flush()
    except Exception as error:
        raise FileError.of(name, error) from error


def _write_all(parts: Iterable[bytes | memoryview], stream: Any) -> None:
    for chunk in _chunks(parts):
        left = chunk
        while left:
            written = stream.write(left)
            if written == 0 or (written is None and isinstance(stream, io.RawIOBase)):
                raise OSError(errno.EAGAIN, "takes nothing more")
            left = left[written:] if isinstance(written, int) else b""


def _chunks(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    for part in parts:
        for start in range(0, len(part), _CHUNK):
            yield bytes(part[start : start + _CHUNK])


def _publish(content: Path, path: Path, name: str, *, overwrite: bool) -> None:
    """Give the finished file its name. Without `overwrite`, a file that appeared meanwhile is not replaced."""
    if not overwrite:
        try:
            os.link(content, path)  # fails where `path` exists, which a rename wouldn't
            return
        except FileExistsError:
            raise FileError.existing(name) from None
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileError.existing(name) from None
    content.replace(path)


def _sync(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the new name to the disk, where the system allows that for folders. The file is whole in any case."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
