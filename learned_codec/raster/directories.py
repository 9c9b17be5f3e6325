"""Reads and writes TIFF directories, of which EXIF also consists. GDAL and Pillow copy only parts of them."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

# For each kind of value: its bytes, and the bytes of the numbers in it (a rational has two).
_KINDS = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4)} | {
    10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8), 18: (8, 8)
}  # fmt: skip
_LONG, _IFD8 = 4, 18
TAG_BITS_PER_SAMPLE = 258
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Field:
    """The values of a tag: their kind (TIFF's number of it) and their bytes in little-endian order."""

    kind: int
    data: bytes

    def numbers(self) -> tuple[int, ...]:
        """The values of a field of unsigned integers; () for other fields."""
        code = _NUMBERS.get(self.kind)
        return () if code is None else struct.unpack(f"<{len(self.data) // _KINDS[self.kind][0]}{code}", self.data)


Directory: TypeAlias = dict[int, "Field | Directory"]
"""For each tag its values, or the directory that it points to."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a TIFF stores numbers: `order` as in `struct`, and whether offsets have 8 bytes (BigTIFF)."""

    order: str
    big: bool

    @property
    def _layout(self) -> tuple[str, str, int]:
        """The `struct` formats of the number of fields and of an offset, and the bytes of a field."""
        return ("Q", "Q", 20) if self.big else ("H", "I", 12)


CLASSIC = Form("<", False)
_FORMS = {b"II*\0": CLASSIC, b"MM\0*": Form(">", False), b"II+\0": Form("<", True), b"MM\0+": Form(">", True)}


def start(stream: BinaryIO) -> tuple[Form, int]:
    """The form of a TIFF (or EXIF) and the offset of its first directory. Raises `ValueError`."""
    stream.seek(0)
    head = stream.read(16)
    form = _FORMS.get(head[:4])
    if form is None or len(head) < 8 + 8 * form.big:
        raise ValueError("not a TIFF")
    offset: int = struct.unpack_from(form.order + form._layout[1], head, 8 if form.big else 4)[0]
    return form, offset


def read(stream: BinaryIO, form: Form, at: int) -> tuple[dict[int, Field], int]:
    """The directory at an offset, and the offset of the next one (0: none).

    Fields that point beyond the file or have an unknown kind are left out. So are fields once all together have more
    bytes than the file, which happens only in forged files. Raises `ValueError` if there is no directory.
    """
    table, following = _table(stream, form, at)
    _, offset_code, width = form._layout
    room = struct.calcsize(offset_code)
    end = left = stream.seek(0, os.SEEK_END)
    fields = {}
    for place in range(0, len(table), width):
        tag, kind, number = struct.unpack_from(f"{form.order}HH{offset_code}", table, place)
        size, unit = _KINDS.get(kind, (0, 1))
        data = table[place + width - room : place + width][: number * size]
        if number * size > room:
            (offset,) = struct.unpack_from(form.order + offset_code, table, place + width - room)
            if number * size > left or offset > end:
                continue
            stream.seek(offset)
            data = stream.read(number * size)
            left -= len(data)
        if data and len(data) == number * size:
            fields[tag] = Field(kind, data if form.order == "<" else _turned(data, unit))
    return fields, following


def listed(stream: BinaryIO, form: Form, at: int) -> list[int]:
    """The tags that the directory at an offset lists, also those that `read` leaves out. Raises `ValueError`."""
    table, _ = _table(stream, form, at)
    return [struct.unpack_from(f"{form.order}H", table, place)[0] for place in range(0, len(table), form._layout[2])]


def _table(stream: BinaryIO, form: Form, at: int) -> tuple[bytes, int]:
    """The fields of the directory at an offset as they are stored, and the offset of the next directory."""
    count_code, offset_code, width = form._layout
    stream.seek(min(at, stream.seek(0, os.SEEK_END)))
    head = stream.read(struct.calcsize("<" + count_code))
    if len(head) < struct.calcsize("<" + count_code):
        raise ValueError(f"no directory at {at}")
    (count,) = struct.unpack(form.order + count_code, head)
    table = stream.read(count * width) if count < 2**16 else b""
    after = stream.read(struct.calcsize(offset_code))
    if len(table) < count * width or len(after) < struct.calcsize(offset_code):
        raise ValueError(f"no directory at {at}")
    return table, struct.unpack(form.order + offset_code, after)[0]


def pack(directory: Directory, at: int, form: Form, following: int = 0) -> bytes:
    """The bytes of a directory, with the directories inside it, to be written at an offset."""
    count_code, offset_code, width = form._layout
    room = struct.calcsize(offset_code)
    table = struct.pack(form.order + count_code, len(directory))
    offset = at + len(table) + len(directory) * width + room
    bodies = b""
    for tag, value in sorted(directory.items()):
        body = b""
        if isinstance(value, dict):
            kind, number = _IFD8 if form.big else _LONG, 1
            body = pack(value, offset, form)
        else:
            size, unit = _KINDS[value.kind]
            kind, number = value.kind, len(value.data) // size
            data = value.data if form.order == "<" else _turned(value.data, unit)
            if len(data) > room:
                body = data
        inside = struct.pack(form.order + offset_code, offset) if body else data.ljust(room, b"\0")
        table += struct.pack(f"{form.order}HH{offset_code}", tag, kind, number) + inside
        body += b"\0" * (len(body) % 2)
        bodies += body
        offset += len(body)
    return table + struct.pack(form.order + offset_code, following) + bodies


def extend(path: Path, more: Directory) -> None:
    """Add fields to the first directory of a TIFF; those in `more` replace others of the same tag.

    The new directory is written at the end of the file. All other bytes stay where they are. Raises `ValueError`.
    """
    with path.open("r+b") as stream:
        form, at = start(stream)
        fields, following = read(stream, form, at)
        end = stream.seek(0, os.SEEK_END)
        at = end + end % 2
        stream.write(b"\0" * (at - end) + pack(fields | more, at, form, following))
        stream.seek(8 if form.big else 4)
        stream.write(struct.pack(form.order + form._layout[1], at))


def standalone(directory: Directory) -> bytes:
    """A TIFF that consists of one directory, as EXIF does."""
    return b"II*\0\x08\0\0\0" + pack(directory, 8, CLASSIC)


def first(data: bytes) -> tuple[BinaryIO, Form, dict[int, Field]]:
    """The first directory of a TIFF in memory, with the stream and the form to read further ones.

    Raises `ValueError`.
    """
    stream = io.BytesIO(data)
    form, at = start(stream)
    return stream, form, read(stream, form, at)[0]


def _turned(data: bytes, unit: int) -> bytes:
    """The bytes with each number, of `unit` bytes, in the other byte order."""
    return np.frombuffer(data, f"u{unit}").byteswap().tobytes()
