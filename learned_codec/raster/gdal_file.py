"""The bytes of files that only GDAL can open: in archives, behind URLs."""

from __future__ import annotations

import io
from typing import Any
from xml.sax.saxutils import escape

import rasterio
from rasterio.errors import RasterioError

from .gdal import TELL_TRUNCATED, quiet


def open_bytes(name: str) -> io.BufferedReader:
    """A file by GDAL's name of it, for reading. Its size isn't known, so it can't be sought from its end."""
    return io.BufferedReader(_GdalFile(name))


class _GdalFile(io.RawIOBase):
    """Rasterio reads pixels, and no bytes. So here a part of a file is the pixels of a PGM, with a header in memory."""

    def __init__(self, name: str) -> None:
        self._name, self._position = name, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the size isn't known")
        self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data, there, missing = self._part(len(buffer)), 0, len(buffer)
        while data is None and missing - there > 1:  # the file ends inside this part
            middle = (there + missing) // 2
            there, missing = (there, middle) if self._part(middle) is None else (middle, missing)
        if data is None:
            data = self._part(there) or b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _part(self, size: int) -> bytes | None:
        """The next bytes; None if the file has fewer."""
        if not size:
            return b""
        head = b"P5\n%d 1\n255\n" % size
        with rasterio.Env(**TELL_TRUNCATED), quiet(), rasterio.MemoryFile(head) as header:
            parts = (header.name, 0, 0, len(head)), (self._name, len(head), self._position, size)
            described = "".join(
                f"<SubfileRegion><Filename>{escape(name)}</Filename><DestinationOffset>{to}</DestinationOffset>"
                f"<SourceOffset>{at}</SourceOffset><RegionLength>{length}</RegionLength></SubfileRegion>"
                for name, to, at, length in parts
            )
            with rasterio.MemoryFile(f"<VSISparseFile>{described}</VSISparseFile>".encode()) as whole:
                try:
                    with rasterio.open(f"/vsisparse/{whole.name}", driver="PNM") as raster:
                        found: bytes = raster.read(1).tobytes()
                        return found
                except RasterioError:
                    return None
