"""EXIF and XMP of pictures: what is kept of them, and how they are written."""

import struct
from typing import Any

from PIL import Image, PngImagePlugin

MAX_SEGMENT = 65533  # bytes that one segment of a JPEG holds
EXIF_START = b"Exif\0\0"
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
TAG_ORIENTATION = 0x0112
_TAG_XMP = 700
# What the first directory of EXIF, which in a TIFF is the file's own, says about the photograph and not about the file:
# description, maker, model, software, date, artist, computer, ratings, copyright, what Windows adds.
_DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096))
_SUB_IFDS = (0x8769, 0x8825)  # EXIF, GPS


def exif_and_xmp(extras: dict[str, Any], pillow_format: str) -> dict[str, Any]:
    """As Pillow wants them for each format."""
    exif, xmp = extras.get("exif"), extras.get("xmp")
    options: dict[str, Any] = {}
    if pillow_format == "TIFF":
        stored = Image.Exif()
        if exif:
            stored.load(exif)
        described = descriptive(stored)
        if xmp:
            described[_TAG_XMP] = xmp
        options["exif"] = described
        if any(tag in described for tag in _SUB_IFDS):
            options["compression"] = (
                "raw"  # Pillow compresses TIFFs through libtiff, to which it can't give directories
            )
        return options
    if exif:
        options["exif"] = EXIF_START + exif
    if xmp and pillow_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    elif xmp:
        options["xmp"] = xmp
    return options


def descriptive(stored: Image.Exif) -> Image.Exif:
    """EXIF less what describes a file, such as its width or where its strips are, and less its thumbnail."""
    exif = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in stored:
            exif[tag] = stored[tag]
    for tag in _SUB_IFDS:
        if values := dict(stored.get_ifd(tag)):
            exif.get_ifd(tag).update(values)
            exif[tag] = exif.get_ifd(tag)
    return exif


def upright_exif(exif: bytes) -> bytes:
    """EXIF (a TIFF header and directories) with its orientation, if there is one, set to 1; the rest byte for byte."""
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
            struct.pack_into(order + "HIHH", result, at + 2, 3, 1, 1, 0)  # one SHORT, 1
    return bytes(result)
