"""Opens pictures by Pillow: of any size, and also of formats for which it has plug-ins."""

from __future__ import annotations

import importlib
import struct
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from learned_codec.errors import MissingDependencyError

_HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def identify(stream: BinaryIO) -> Any:
    """Like `PIL.Image.open`, but without Pillow's limit on the size: `Limits.max_pixels` is higher.

    (Pillow's limit is a setting of the whole process.)

    Raises:
        PIL.UnidentifiedImageError: Pillow knows no such format.
        MissingDependencyError: the format needs a plug-in that isn't installed.
        Exception: Pillow raises many kinds for damaged files.
    """
    stream.seek(0)
    head = stream.read(32)
    if head.startswith(_HEIC, 4) and b"avif" not in head:
        return _by_plugin(stream, "HEIC", "heif", "pillow-heif", "pillow_heif", "HeifImageFile")
    if head.startswith(_JPEG_XL):
        plugin = "pillow_jxl.JpegXLImagePlugin"
        return _by_plugin(stream, "JPEG XL", "jxl", "pillow-jxl-plugin", plugin, "JXLImageFile")
    tried: set[str] = set()
    for load in (Image.preinit, Image.init):  # loads the common formats, then all
        load()
        for name in [n for n in Image.ID if n not in tried]:
            tried.add(name)
            factory, accept = Image.OPEN[name]
            try:
                accepted = accept is None or accept(head[:16])
                if accepted and not isinstance(accepted, str):  # a string is the reason why not
                    stream.seek(0)
                    return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # the plug-in doesn't know the file after all
                continue
    raise UnidentifiedImageError("unknown format")


def _by_plugin(stream: BinaryIO, format: str, extra: str, package: str, module: str, name: str) -> Any:
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"to read {format} pictures, Pillow needs {package}: pip install 'learned-codec[{extra}]'"
        ) from error
    stream.seek(0)
    return getattr(found, name)(stream)
