"""What files hold beside their pixels that isn't kept: named in a warning, as nobody would look for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from . import metadata as meta
from . import png
from .exif import DESCRIBING_TAGS, EXIF_START, XMP_START

_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
"""How a segment of a JPEG begins that has XMP beyond the 64 KiB of the first one."""

# Of a JPEG's segments: what is kept, and what only helps to decode it.
_SEGMENTS = {
    "APP0": (b"",),
    "APP1": (EXIF_START[:4], XMP_START),
    "APP2": (b"ICC_PROFILE\0", b"MPF\0"),
    "APP12": (b"Ducky",),
    "APP14": (b"Adobe",),
    "COM": (b"",),
}
# In the coded pixels, 0xFF is followed by 0, or by the number of a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_END, _ALONE = 0xD9, {0x01, *range(0xD0, 0xD9)}
_PADDING = 64
"""No more bytes than these after a picture are taken for padding."""

_EXTENDED = "XMP beyond 64 KiB (extended XMP: often a depth map or the picture before editing)"
_NAMES = {"APP13": "Photoshop's and IPTC's data", "APP11": "content credentials or HDR data"}

# Tags of a TIFF. Private ones begin at 32768; up to there, these few hold something that isn't kept.
_PRIVATE = 32768
_LOST_TAGS = {285: "the page's name", 301: "a transfer function", 33723: "IPTC", 34377: "Photoshop's data",
              37724: "Photoshop's layers", 50838: "ImageJ's metadata", 50839: "ImageJ's metadata"}  # fmt: skip
_COLOURS = {4: "a transparency mask", 9: "CIELAB (ICC)", 10: "CIELAB (ITU)", 32803: "a colour filter array",
            32844: "log luminance", 32845: "log luminance and colours", 34892: "a linear raw image"}  # fmt: skip
"""What a TIFF's PhotometricInterpretation may say that GDAL doesn't care for: it gives the numbers as they are."""
# Structure, copyright, EXIF, GPS, the profile, georeferences, and GDAL's own: kept, or of no meaning beside the pixels.
_KEPT_TAGS = {32995, 32996, 32997, 32998, 33432, 33550, 33920, 33922, 34264, 34665, 34675, 34735, 34736, 34737, 34853,
              40091, 40092, 40093, 40094, 40095, 42112, 42113, 50674, 50844, 59932, 59933}  # fmt: skip


# Tags that GDAL reads but a picture doesn't have: georeference, metadata, nodata value, RPCs.
GDAL_TAGS = {33550, 33920, 33922, 34264, 34735, 42112, 42113, 50844}
_PILLOWS_BITS = {"I": 32, "F": 32}


def is_open(picture: Any) -> bool:
    """Whether the file from which Pillow opened a picture can still be read. Pillow closes most after reading."""
    file = getattr(picture, "fp", None)
    return file is not None and not file.closed


def of_image(picture: Any, bits: int) -> list[str]:
    """What the file from which a caller opened a Pillow image has that isn't kept. `bits`: of the file's samples."""
    lost = of_picture(picture)
    if picture.format != "MPO" and (frames := _frames(picture)):
        lost.append(frames)
    known = 16 if picture.mode.startswith("I;") else _PILLOWS_BITS.get(picture.mode, 8)
    if bits > known:
        lost.append(f"{bits - known} of {bits} bits a sample, which Pillow doesn't read (encode_file does)")
    if picture.format == "TIFF":
        tags = set(picture.tag_v2)
        lost += of_tiff(tags)
        if tags & GDAL_TAGS:
            lost.append("georeference, nodata value or metadata of GDAL (encode_file keeps them)")
        if tags & DESCRIBING_TAGS and (picture.tell() or not is_open(picture)):
            lost.append("EXIF (encode_file keeps it)")
    return lost


def _frames(picture: Any) -> str:
    """The frames that a picture has beside the current one; empty if there are none."""
    try:
        more = getattr(picture, "n_frames", 1) - 1
    except ValueError:
        if is_open(picture):
            raise
        return "further frames, if there are any (its file is closed)"
    return f"{more} of {more + 1} frames (only the current one is coded)" if more else ""


def of_picture(picture: Any) -> list[str]:
    """What a picture opened by Pillow has that isn't kept."""
    lost = []
    if picture.format == "PNG" and is_open(picture):
        lost += [f"the chunk {kind}" for kind in png.left_out(picture.fp)]
    if picture.format in ("JPEG", "MPO"):
        if picture.format == "JPEG" and is_open(picture):
            after = bytes_after_jpeg(picture.fp)
            lost += [f"{after:,} bytes after the picture (a video, perhaps)"] if after > _PADDING else []
        for marker, data in getattr(picture, "applist", ()):
            if not bytes(data).startswith(_SEGMENTS.get(marker, ())):
                extended = bytes(data).startswith(_MORE_XMP)
                lost.append(_EXTENDED if extended else _NAMES.get(marker, f"the segment {marker}"))
    if picture.format == "MPO" and (more := getattr(picture, "n_frames", 1) - 1):
        lost.append(f"{more} further {'pictures' if more > 1 else 'picture'} (previews, depth or gain maps)")
    if picture.format in ("ICO", "ICNS") and (smaller := len(picture.info.get("sizes", ())) - 1) > 0:
        lost.append(f"{smaller} smaller {'pictures' if smaller > 1 else 'picture'}")
    if picture.format == "HEIF" and (picture.info.get("depth_images") or picture.info.get("aux")):
        lost.append("further pictures (depth or gain maps)")
    width, height = _density(picture)
    if width != height:
        lost.append(f"the shape of its pixels, {width:g} to {height:g}")
    return lost


def bytes_after_jpeg(stream: BinaryIO) -> int:
    """How many bytes follow the end of a JPEG, GDAL's mask not counted; 0 if there is no end. Keeps the position."""
    before = stream.tell()
    stream.seek(0)
    data = stream.read()
    stream.seek(before)
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = found[0][1], found.end()
        if marker == _END:
            return 0 if data[-4:] == at.to_bytes(4, "little") else len(data) - at
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return 0


def of_tiff(tags: Iterable[int]) -> list[str]:
    """The tags of a TIFF that aren't kept."""
    lost = [tag for tag in tags if tag in _LOST_TAGS or (tag >= _PRIVATE and tag not in _KEPT_TAGS)]
    return [_LOST_TAGS.get(tag, f"the tag {tag}") for tag in lost]


def colours_of_tiff(photometric: Sequence[int]) -> list[str]:
    """What the numbers in a TIFF mean, if it isn't kept."""
    return [f"that its values are of {_COLOURS[kind]}" for kind in photometric if kind in _COLOURS]


def unread(tags: Iterable[int]) -> list[str]:
    """What to say of a TIFF's tags whose values aren't in the file, or are of an unknown kind."""
    return [f"the tag {tag}, whose values can't be read (is the file truncated?)" for tag in tags]


def tell(lost: list[str], name: str) -> None:
    """Warn of what isn't kept."""
    if lost:
        meta.lose(f"{name}: not kept: {', '.join(dict.fromkeys(lost))}")


def _density(picture: Any) -> tuple[float, float]:
    """The pixels per unit where only their ratio counts; equal if there is none."""
    if "aspect" in picture.info:  # of a PNG
        found = picture.info["aspect"]
    else:
        found = picture.info.get("jfif_density", (1, 1)) if picture.info.get("jfif_unit") == 0 else (1, 1)
    return found if isinstance(found, tuple) and len(found) == 2 and all(found) else (1, 1)
