"""Files in local archives, as streams. GDAL reads their pixels, but not all that is beside these."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from .names import of_gdal

_NAME = re.compile(r"/vsi(zip|tar|gzip)/(.*)", re.DOTALL)
UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
"""What Python raises for archives that it can't read: damaged, encrypted, or packed in a way that only GDAL knows."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file in an archive: its name there, the names of all, and its bytes. Reading may raise one of `UNREADABLE`."""

    name: str
    names: list[str]
    stream: BinaryIO


@contextmanager
def member(name: str) -> Iterator[ArchiveMember | None]:
    """What GDAL's or rasterio's name of a file in an archive means. None if only GDAL can tell."""
    with ExitStack() as stack:
        try:
            found = _open(of_gdal(name), stack)
        except UNREADABLE:
            found = None
        yield found


def _open(name: str, stack: ExitStack) -> ArchiveMember | None:
    if (match := _NAME.match(name)) is None:
        return None
    kind, rest = match[1], match[2]
    if kind == "gzip":
        return ArchiveMember(rest, [rest], io.BufferedReader(_Unpacking(stack.enter_context(gzip.open(rest)))))
    archive, inner = _split(rest)
    if kind == "zip":
        packed = stack.enter_context(zipfile.ZipFile(archive))
        names = [entry.filename for entry in packed.infolist() if not entry.is_dir()]
        inner = inner or _only(names)
        lazy = _Unpacking(stack.enter_context(packed.open(inner)), packed.getinfo(inner).file_size)
        return ArchiveMember(inner, names, io.BufferedReader(lazy))
    tar = stack.enter_context(tarfile.open(archive))  # noqa: SIM115 - the stack closes it
    names = [entry.name for entry in tar.getmembers() if entry.isfile()]
    inner = inner or _only(names)
    stream = tar.extractfile(inner)
    return None if stream is None else ArchiveMember(inner, names, stack.enter_context(cast("BinaryIO", stream)))


class _Unpacking(io.RawIOBase):
    """A packed file that is only unpacked where it is read. Its own `seek` unpacks all that lies before."""

    def __init__(self, stream: Any, size: int | None = None) -> None:
        self._stream, self._size, self._position = stream, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            self._size = self._stream.seek(0, io.SEEK_END)
        start = {io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}.get(whence, 0)
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._stream.tell() != self._position:
            self._stream.seek(self._position)
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _split(name: str) -> tuple[str, str]:
    """The archive and the name in it, of what follows GDAL's prefix: in braces, or as one path.

    Raises `KeyError` if there is no such archive.
    """
    if name.startswith("{"):
        archive, _, inner = name[1:].rpartition("}")
        if Path(archive).is_file():
            return archive, inner.lstrip("/")
    for end in [*(found.start() for found in re.finditer("/", name) if found.start()), len(name)]:
        if Path(name[:end]).is_file():
            return name[:end], name[end:].lstrip("/")
    raise KeyError(name)


def _only(names: list[str]) -> str:
    """The one file of an archive, which need not be named. Raises `KeyError` if there are others."""
    if len(names) != 1:
        raise KeyError(f"{len(names)} files")
    return names[0]
