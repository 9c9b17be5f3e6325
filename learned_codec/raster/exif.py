"""EXIF and XMP of pictures: which parts are kept, and how they are written."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import PngImagePlugin

from . import directories
from .directories import Directory, Field

MAX_SEGMENT = 65533  # bytes in one segment of a JPEG
EXIF_START = b"Exif\0\0"
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
TAG_ORIENTATION = 0x0112
_SHORT, _LAST_KIND = 3, 12  # kinds beyond are those of BigTIFF
# Tags of the first directory of EXIF (in a TIFF, that of the file) that describe the photograph and not the file.
# Description, software, date, artist, computer and copyright, which GDAL copies, too;
_DESCRIPTIVE_TAGS = (270, 305, 306, 315, 316, 33432)
# maker, model, ratings, what Windows adds, and the directories of EXIF and GPS.
_PHOTOGRAPHIC_TAGS = (271, 272, 18246, 18249, *range(40091, 40096))
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
DESCRIBING_TAGS = {*_DESCRIPTIVE_TAGS, *_PHOTOGRAPHIC_TAGS, _EXIF, _GPS}


def exif_of_tiff(stream: BinaryIO, *, copied: bool = True) -> bytes | None:
    """The tags of a TIFF that describe the photograph, as EXIF; None if there are none.

    If GDAL reads the file, some tags are `copied` anyway; None also if there are only these.
    """
    try:
        form, at = directories.start(stream)
        found = _described(stream, form, directories.read(stream, form, at)[0])
    except ValueError:
        return None
    telling = found.keys() - set(_DESCRIPTIVE_TAGS if copied else ())
    return directories.standalone(found) if telling else None


def tiff_fields(exif: bytes) -> Directory:
    """EXIF as fields of a TIFF's first directory. The thumbnail and tags about another file are left out.

    Raises:
        ValueError: it isn't EXIF.
    """
    return _described(*directories.first(exif))


def add_to_tiff(path: Path, exif: bytes) -> None:
    """Write EXIF into a TIFF, except tags that it already has. Raises `ValueError` if it isn't EXIF."""
    fields = tiff_fields(exif)
    with path.open("rb") as stream:
        form, at = directories.start(stream)
        present = directories.read(stream, form, at)[0]
    if more := {tag: value for tag, value in fields.items() if tag not in present or tag == TAG_ORIENTATION}:
        directories.extend(path, more)


def _described(stream: BinaryIO, form: directories.Form, fields: dict[int, Field]) -> Directory:
    wanted = (*_DESCRIPTIVE_TAGS, *_PHOTOGRAPHIC_TAGS)
    found: Directory = {tag: fields[tag] for tag in wanted if tag in fields and fields[tag].kind <= _LAST_KIND}
    if _turn(fields) != 1:
        found[TAG_ORIENTATION] = fields[TAG_ORIENTATION]
    for tag in (_EXIF, _GPS):
        if inside := _inside(stream, form, fields, tag):
            found[tag] = inside
            if below := _inside(stream, form, inside, _INTEROPERABILITY):
                inside[_INTEROPERABILITY] = below
            else:
                inside.pop(_INTEROPERABILITY, None)
    return found


def _inside(stream: BinaryIO, form: directories.Form, fields: Mapping[int, Field | Directory], tag: int) -> Directory:
    """The directory that a tag points to; empty if there is none."""
    pointer = fields.get(tag)
    numbers = pointer.numbers() if isinstance(pointer, Field) else ()
    try:
        return dict(directories.read(stream, form, numbers[0])[0]) if numbers else {}
    except ValueError:
        return {}


def _turn(fields: dict[int, Field]) -> int:
    """The orientation, 1 to 8."""
    numbers = fields[TAG_ORIENTATION].numbers() if TAG_ORIENTATION in fields else ()
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else 1


def orientation(exif: bytes) -> int:
    """The orientation in EXIF, 1 (upright) to 8."""
    try:
        return _turn(directories.first(exif)[2])
    except ValueError:
        return 1


def exif_and_xmp(extras: dict[str, Any], pillow_format: str) -> dict[str, Any]:
    """The options with which Pillow writes EXIF and XMP into a format."""
    exif, xmp = extras.get("exif"), extras.get("xmp")
    options: dict[str, Any] = {}
    if exif:
        options["exif"] = EXIF_START + exif
    if xmp and pillow_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    elif xmp:
        options["xmp"] = xmp
    return options


def upright_exif(exif: bytes) -> bytes:
    """EXIF (a TIFF header and directories) with any orientation set to 1, and else the same bytes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return exif
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return exif
    (count,) = struct.unpack_from(order + "H", exif, start)
    result = bytearray(exif)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if struct.unpack_from(order + "H", exif, at)[0] == TAG_ORIENTATION:
            struct.pack_into(order + "HIHH", result, at + 2, _SHORT, 1, 1, 0)  # one SHORT, 1
    return bytes(result)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP with any orientation set to 1: viewers use it if there is no EXIF."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)\d", rb"\g<1>1", xmp)
