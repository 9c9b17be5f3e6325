"""Files that end too early, in formats of which GDAL reads what is missing as zeros, or not at all, without an error.

They are netCDF (the classic one), PCIDSK, ENVI, and HFA (Erdas Imagine), of which GDAL leaves out the georeference or,
in large ones, reads zeros. Of other formats, GDAL tells that bytes are missing.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from learned_codec.errors import InvalidInputError

from .gdal import quiet
from .gdal_file import open_bytes
from .names import exists

_PCIDSK, _BLOCK = b"PCIDSK  ", 512
_HFA, _HFA_NODE = b"EHFA_HEADER_TAG\0", 128  # the bytes of a node of its tree
_HFA_PIXELS = b"ERDAS_IMG_EXTERNAL_RASTER\0"  # begins a file of its own, .ige, beside a large .img
_NETCDF = (b"CDF\1", b"CDF\2", b"CDF\5")
_DRIVERS = {"netCDF", "PCIDSK", "ENVI", "HFA", "VRT"}
"""GDAL's drivers whose files are looked at also if only GDAL can open them. A VRT's may be of any kind."""
_TOLD = (".tif", ".tiff", ".jp2", ".jpg", ".jpeg", ".png", ".vrt", ".xml", ".hdr", ".ovr", ".msk")
"""Endings of files that needn't be looked at, which takes a request each."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""The bytes of a number of each type of netCDF."""


def check_whole(raster: Any, name: str, stream: BinaryIO | None = None) -> None:
    """Refuse a rasterio dataset if one of its files, also one that a VRT names, is shorter than it says itself.

    If the dataset was opened from a `stream`, only that is looked at.

    Raises:
        InvalidInputError: a file is too short.
    """
    if stream is not None:
        _check(stream, bytes_needed(stream), name, name)
        return
    for file in raster.files:
        if exists(Path(file)) and Path(file).is_file():  # names of GDAL may be too long for a file
            with Path(file).open("rb") as opened:
                named = file if raster.driver in _DRIVERS else ""  # beside others, a header may be a stranger's
                _check(opened, bytes_needed(opened, named), Path(file).name, name)
        elif raster.driver in _DRIVERS and file.startswith("/vsi") and not file.lower().endswith(_TOLD):
            with open_bytes(file) as remote:
                _check(remote, bytes_needed(remote, file), file, name)


def _check(stream: BinaryIO, needed: float, file: str, name: str) -> None:
    if needed <= 0:
        return
    reachable = needed < sys.maxsize
    stream.seek(int(needed) - 1 if reachable else 0)
    if not (reachable and stream.read(1)):
        least = f": {needed:,} bytes are needed" if math.isfinite(needed) else ""
        raise InvalidInputError(f"{name}: damaged or truncated: {file} ends too early{least}")


def bytes_needed(stream: BinaryIO, file: str = "") -> float:
    """How many bytes a file must have at least: 0 if that isn't known, infinity if it is only known to be too short.

    Args:
        stream: open for reading, at its start.
        file: its name, with which GDAL finds it and others beside it, if there is one.
    """
    head = stream.read(32)
    if head.startswith(_NETCDF):
        try:
            return _NetCdf(stream).end()
        except (struct.error, KeyError, IndexError):  # GDAL names what is wrong with such a header
            return 0
    if head.startswith(_HFA):
        return _hfa(stream)
    if head.startswith(_PCIDSK):
        blocks = head[16:32].strip()
        return int(blocks) * _BLOCK if blocks.isdigit() else 0
    if not file:
        return 0
    stem = os.path.splitext(file)[0]  # noqa: PTH122 - GDAL's names aren't paths
    if head.startswith(_HFA_PIXELS):
        return _hfa_pixels(stream, f"{stem}.img")
    local = exists(Path(file))
    return _envi(file) if not local or exists(Path(f"{stem}.hdr")) or exists(Path(f"{file}.hdr")) else 0


def _envi(file: str) -> int:
    try:
        with quiet(), rasterio.open(file) as raster:
            said = raster.tags(ns="ENVI")
            if raster.driver != "ENVI" or said.get("file_compression", "0").strip() != "0":
                return 0
            sample = np.dtype(raster.dtypes[0]).itemsize
            needed: int = int(said.get("header_offset", "0")) + raster.height * raster.width * raster.count * sample
            return needed
    except (RasterioError, TypeError, ValueError):  # a header of another format, odd numbers
        return 0


def _hfa(stream: BinaryIO) -> float:
    """How many bytes the tree of an HFA file takes; infinity if it can't be read to its end."""

    def numbers(at: int, kinds: str) -> tuple[int, ...]:
        stream.seek(at)
        return struct.unpack(kinds, stream.read(struct.calcsize(kinds)))

    needed = 0
    try:
        (header,) = numbers(len(_HFA), "<I")
        _, _, root, _, dictionary = numbers(header, "<3IHI")
        stream.seek(dictionary)
        if b"\0" not in stream.read(2**20):  # it ends the dictionary
            return math.inf
        waiting, seen = [root], {0}
        while waiting:
            if (at := waiting.pop()) in seen:
                continue
            seen.add(at)
            needed = max(needed, at + _HFA_NODE)
            following, _, _, child, data, length = numbers(at, "<6I")
            needed = max(needed, data + length)
            waiting += [following, child]
    except struct.error:  # beyond the end
        return math.inf
    return needed


def _hfa_pixels(stream: BinaryIO, image: str) -> int:
    """How many bytes the pixels of an HFA file take that lie in a file beside it."""
    try:
        with quiet(), rasterio.open(image) as raster:
            bits = int(raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * np.dtype(raster.dtypes[0]).itemsize))
        stream.seek(len(_HFA_PIXELS) + 1)
        layers, width, height, columns, rows = struct.unpack("<5I", stream.read(20))
        across, down = -(-width // columns), -(-height // rows)
    except (RasterioError, TypeError, ValueError, struct.error, ZeroDivisionError):
        return 0
    flags = 20 + -(-across // 8) * down  # which blocks are there
    pixels = across * down * columns * rows * bits // 8
    needed: int = stream.tell() + 2 + layers * (flags + pixels)
    return needed


class _NetCdf:
    """The header of a classic netCDF file, read up to what tells where the values end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.seek(3)
        version = stream.read(1)[0]
        self._count = ">q" if version == 5 else ">i"
        self._offset = ">i" if version == 1 else ">q"

    def end(self) -> int:
        """Where the last value ends. Raises `struct.error`, `KeyError` or `IndexError` for an invalid header."""
        records = self._number(self._count)
        lengths = self._list(self._dimension)
        self._list(self._attribute)
        variables = self._list(self._variable)
        ends, of_records = [0], []
        for dimensions, unit, begin in variables:
            shape = [lengths[i] for i in dimensions]
            if shape[:1] == [0]:  # the dimension of which there may be ever more
                of_records.append((begin, unit * math.prod(shape[1:])))
            else:
                ends.append(begin + unit * math.prod(shape))
        padded = len(of_records) > 1
        step = sum(-(-size // 4) * 4 if padded else size for _, size in of_records)
        if records > 0:  # -1: not known
            ends += [begin + (records - 1) * step + size for begin, size in of_records]
        return max(ends)

    def _number(self, kind: str) -> int:
        found: int = struct.unpack(kind, self._stream.read(struct.calcsize(kind)))[0]
        return found

    def _list(self, read: Any) -> list[Any]:
        self._number(">i")  # what kind of list
        return [read() for _ in range(self._number(self._count))]

    def _skip(self, size: int) -> None:
        self._stream.seek(-(-size // 4) * 4, 1)

    def _dimension(self) -> int:
        self._skip(self._number(self._count))  # its name
        return self._number(self._count)

    def _attribute(self) -> None:
        self._skip(self._number(self._count))
        unit = _SIZES[self._number(">i")]
        self._skip(unit * self._number(self._count))

    def _variable(self) -> tuple[list[int], int, int]:
        """The indices of its dimensions, the bytes of a number, and where the values begin."""
        self._skip(self._number(self._count))
        dimensions = [self._number(self._count) for _ in range(self._number(self._count))]
        self._list(self._attribute)
        unit = _SIZES[self._number(">i")]
        self._number(self._count)  # its size, which of large ones isn't right
        return dimensions, unit, self._number(self._offset)
