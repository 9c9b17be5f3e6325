"""Files that appear whole or not at all."""

import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from learned_codec.errors import FileError, LearnedCodecError

if TYPE_CHECKING:
    pass

Destination: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file object."""


@contextmanager
def atomic_write(dst: Destination, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes `dst` when the block ends well, and vanishes when it doesn't.

    As `atomic_path`, for who writes bytes.
    """
    if not isinstance(dst, (str, os.PathLike)):
        buffer = io.BytesIO()
        yield buffer
        dst.write(buffer.getvalue())
        dst.flush()
        return
    with atomic_path(dst, overwrite=overwrite) as path, path.open("r+b") as stream:
        yield stream


@contextmanager
def atomic_path(dst: Destination, *, overwrite: bool = False) -> Iterator[Path]:
    """The path of an empty file whose content becomes `dst` when the block ends well, and vanishes when it doesn't.

    A path is written beside itself under another name and then renamed, so no reader ever sees half of it. A file
    object, or a path that is a device or a pipe, gets everything at the end.

    Raises:
        FileError: `dst` exists and `overwrite` is false, or can't be written.
    """
    if not isinstance(dst, (str, os.PathLike)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "content"
            path.touch()
            yield path
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, dst)
        dst.flush()
        return

    path = Path(os.path.realpath(dst))  # a symbolic link stays one
    if path.is_dir():
        raise FileError(f"{path}: is a directory")
    if path.exists() and not path.is_file():  # renaming onto /dev/stdout or a named pipe would destroy it
        with path.open("wb") as special, atomic_path(special) as temporary:
            yield temporary
        return
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists; say overwrite to replace it")

    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        # O_EXCL and the usual mode: `tempfile` would leave the file readable to its owner alone.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    try:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())  # or a power cut could leave the name with nothing behind it
        _publish(temporary, path, overwrite=overwrite)
    except LearnedCodecError:
        raise
    except OSError as error:  # a full disk
        raise FileError(f"{path}: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name; without `overwrite`, even a file that appeared meanwhile is left alone."""
    if not overwrite:
        try:
            os.link(temporary, path)  # fails where `path` exists, which a rename wouldn't
            return
        except FileExistsError:
            raise FileError(f"{path}: exists; say overwrite to replace it") from None
        except OSError:  # a file system without hard links
            pass
    temporary.replace(path)
