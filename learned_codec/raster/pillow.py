"""How pictures are opened by Pillow: of any size, and of formats that it has as plug-ins."""

from __future__ import annotations

import importlib
import struct
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from learned_codec.errors import MissingDependencyError

_HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def identify(stream: BinaryIO) -> Any:
    """As `PIL.Image.open`, but pictures may have any size: the limit of ours, `Limits.max_pixels`, is higher.

    (Pillow's is a setting of the process, meant for files from strangers.)

    Raises:
        PIL.UnidentifiedImageError: Pillow knows no such format.
        MissingDependencyError: a plug-in would know it.
        Exception: Pillow raises many kinds on damaged files.
    """
    stream.seek(0)
    head = stream.read(32)
    if head.startswith(_HEIC, 4) and b"avif" not in head:
        return _by_plugin(stream, "HEIC", "heif", "pillow-heif", "pillow_heif", "HeifImageFile")
    if head.startswith(_JPEG_XL):
        plugin = "pillow_jxl.JpegXLImagePlugin"
        return _by_plugin(stream, "JPEG XL", "jxl", "pillow-jxl-plugin", plugin, "JXLImageFile")
    tried: set[str] = set()
    for load in (Image.preinit, Image.init):  # first the usual formats, then all
        load()
        for name in [n for n in Image.ID if n not in tried]:
            tried.add(name)
            factory, accept = Image.OPEN[name]
            try:
                accepted = accept is None or accept(head[:16])
                if accepted and not isinstance(accepted, str):  # a text says why not
                    stream.seek(0)
                    return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # what a plug-in says to "not mine after all"
                continue
    raise UnidentifiedImageError("in no format that is known")


def _by_plugin(stream: BinaryIO, format: str, extra: str, package: str, module: str, name: str) -> Any:
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"a {format} picture, which Pillow reads with {package}: pip install 'learned-codec[{extra}]'"
        ) from error
    stream.seek(0)
    return getattr(found, name)(stream)
