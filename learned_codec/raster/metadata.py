"""The metadata of an image as JSON, and functions to read it when it can't be trusted.

The metadata of a `PixelSource` is a plain dict. All its keys are optional:

    icc, exif, xmp      base64. EXIF is without the "Exif" and two zero bytes of JPEG; for a TIFF it has the tags of the
                        first directory that describe the photograph. Pixels of a picture are turned upright, and the
                        orientation in EXIF and XMP is set to that; those of a raster are as stored, and so is the
                        orientation
    dpi                 [horizontal, vertical] dots per inch
    text                [[keyword, text], …] of a PNG; the comment of a JPEG has the keyword "Comment"
    png                 base64 of PNG's chunks for the meaning of colours, and of three others: {"gAMA": "AACxjw==", …}
    crs                 WKT2
    transform           [a, b, c, d, e, f]: x = a·column + b·row + c, y = d·column + e·row + f
    gcps                {"crs": WKT2 or null, "points": [[row, column, x, y, z, id, info], …]}
    rpcs                as in GDAL's RPC domain: {"LINE_OFF": "2199.80872158044", …}
    bands               one dict for each band of the file, including the alpha band: description, unit, scale, offset,
                        color (as in rasterio's ColorInterp), tags, categories (the names of the values 0, 1 …), table;
                        the alpha band also has premultiplied, true if the colours are multiplied by it. A table is
                        {"columns": [{"name", "type", "usage", "values": [text, …]}, …], "kind", "first", "step"} with
                        the types and usages of GDAL's attribute tables
    alpha               the index of the alpha band in `bands`, from 0
    tags                {namespace: {key: value}}; "" is the default namespace
    bits                of each sample in the TIFF, if they are fewer than those of its dtype (GDAL's NBITS)
    overviews           the factors, [2, 4, …]
    few_values          the bands of a lossless image that may be of classes, as they have few values; set by the codec
    colormap            base64 of RGBA bytes for the values 0, 1, …

JSON has no NaN or infinity; these are the strings "nan", "inf" and "-inf". Unknown keys are ignored, so later versions
may add some. Writers raise `CorruptDataError` for anything else that isn't as above: metadata comes from files that may
be damaged or hostile.
"""

import base64
import binascii
import json
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.bitstream.metadata import number_of_json
from learned_codec.errors import CorruptDataError, MetadataLostWarning

MAX_BYTES = 2**22 - 2**16
"""The most bytes of metadata as JSON: the default of `Limits.max_metadata_bytes`, with some room for the codec's
own."""

# What is left out, in this order, if there is too much.
_EXPENDABLE = ("text", "tags", "xmp", "exif", "bands", "gcps", "icc")


def binary(data: bytes) -> str:
    """Bytes as a JSON value: base64."""
    return base64.b64encode(data).decode()


def size(metadata: dict[str, Any]) -> int:
    """The bytes of metadata as JSON. Raises `CorruptDataError` if it isn't JSON, or nested too deeply."""
    try:
        return len(json.dumps(metadata, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"metadata that isn't JSON: {error}") from error


def bounded(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    """Leave out parts of metadata until it has at most `MAX_BYTES`. A `MetadataLostWarning` names them."""
    lost = []
    for key in _EXPENDABLE:
        if size(metadata) <= MAX_BYTES:
            break
        if key in metadata:
            metadata = {other: value for other, value in metadata.items() if other != key}
            lost.append(key)
    if lost:
        lose(f"{name}: more than {MAX_BYTES:,} bytes of metadata; left out: {', '.join(lost)}")
    return metadata


def lose(message: str) -> None:
    """Warn of what isn't kept."""
    warnings.warn(message, MetadataLostWarning, stacklevel=3)


# --- reading untrusted metadata; each function raises `CorruptDataError` with the name `what` ---


def checked(metadata: Any) -> dict[str, Any]:
    """A dict of at most `MAX_BYTES`."""
    found = mapping(metadata, "metadata")
    if (length := size(found)) > MAX_BYTES:
        raise CorruptDataError(f"{length:,} bytes of metadata; {MAX_BYTES:,} are accepted")
    return found


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A dict with string keys."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _wrong(value, what, "an object")
    return value


def sequence(value: Any, what: str, length: int | None = None) -> list[Any]:
    """A list, of `length` elements if given."""
    if not isinstance(value, list) or length not in (None, len(value)):
        raise _wrong(value, what, "a list" if length is None else f"a list of {length}")
    return value


def text(value: Any, what: str) -> str:
    """A string that is valid in C and UTF-8: without NUL and halves of surrogate pairs."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise _wrong(value, what, "text")
    return value


def real(value: Any, what: str, *, finite: bool = True) -> float:
    """A number. NaN and infinity only with `finite=False`."""
    result = number_of_json(value)
    if result is None:
        raise _wrong(value, what, "a number")
    if finite and not math.isfinite(result):
        raise _wrong(value, what, "a finite number")
    return result


def whole(value: Any, what: str, low: int, high: int) -> int:
    """An integer in low … high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(value, what, f"an integer of {low} to {high}")
    return value


def raw(value: Any, what: str) -> bytes:
    """Bytes from base64."""
    try:
        return base64.b64decode(text(value, what), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, CorruptDataError):
            raise
        raise _wrong(value, what, "base64") from None


def colormap(value: Any, what: str) -> NDArray[np.uint8]:
    """The red, green, blue and opacity (n, 4) of the values 0, 1 and so on."""
    data = raw(value, what)
    if len(data) % 4 or not 0 < len(data) <= 4 * 65536:
        raise CorruptDataError(f"{what}: {len(data)} bytes; 4 for each of 1 to 65536 values are expected")
    return np.frombuffer(data, np.uint8).reshape(-1, 4)


def _wrong(value: Any, what: str, expected: str) -> CorruptDataError:
    shown = repr(value)
    return CorruptDataError(f"{what}: expected {expected}, not {shown if len(shown) < 60 else shown[:57] + '...'}")
