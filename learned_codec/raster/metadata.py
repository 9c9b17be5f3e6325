"""What belongs to an image beside its pixels, as JSON: how it is written, and how it is read by who doesn't trust it.

The metadata of a `PixelSource` is a plain dict. All its keys are optional:

    icc, exif, xmp      base64. EXIF without the "Exif" and two zero bytes that JPEG puts in front; of a TIFF, what its
                        first directory says of the photograph. A picture's pixels are upright, and so say both; a
                        raster's are as they are stored, with the orientation that both say
    dpi                 [horizontal, vertical] dots an inch
    text                [[keyword, text], …]: of a PNG, and as "Comment" that of a JPEG
    png                 base64 of PNG's chunks that say what colours mean: {"gAMA": "AACxjw==", …}
    crs                 WKT2
    transform           [a, b, c, d, e, f]: x = a·column + b·row + c, y = d·column + e·row + f
    gcps                {"crs": WKT2 or null, "points": [[row, column, x, y, z, id, info], …]}
    rpcs                as GDAL's RPC domain has them: {"LINE_OFF": "2199.80872158044", …}
    bands               one dict per band of the file, the alpha band included:
                        description, unit, scale, offset, color (as rasterio's ColorInterp), tags, and of the alpha band
                        premultiplied: true where the colours have been multiplied by it
    alpha               which of `bands` is the alpha band, from 0
    tags                {namespace: {key: value}}; "" is the default namespace
    overviews           the factors, [2, 4, …]
    colormap            base64 of RGBA bytes for the values 0, 1, …

JSON has no NaN or infinity; they are the strings "nan", "inf" and "-inf". Unknown keys are ignored, so that a later
version may add some. Anything else that isn't as above makes whoever writes it raise `CorruptDataError`: metadata comes
out of files that may be damaged or made to do damage.
"""

import base64
import binascii
import json
import math
import warnings
from typing import Any

from learned_codec.bitstream.metadata import number_of_json
from learned_codec.errors import CorruptDataError, MetadataLostWarning

MAX_BYTES = 2**22 - 2**16
"""Of metadata as JSON: what `Limits.max_metadata_bytes` accepts by default, with some room for the codec's own."""

# What is given up first where there is too much.
_EXPENDABLE = ("text", "tags", "xmp", "exif", "bands", "gcps", "icc")


def binary(data: bytes) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(data).decode()


def size(metadata: dict[str, Any]) -> int:
    """Bytes as JSON. Raises `CorruptDataError` where it isn't JSON, or nested too deeply."""
    try:
        return len(json.dumps(metadata, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"metadata that isn't JSON: {error}") from error


def bounded(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    """`metadata`, less what makes it larger than `MAX_BYTES`; a `MetadataLostWarning` says what that is."""
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
    """Say what isn't kept."""
    warnings.warn(message, MetadataLostWarning, stacklevel=3)


# --- reading what isn't trusted; each raises `CorruptDataError`, naming `what` ---


def checked(metadata: Any) -> dict[str, Any]:
    """A dict of no more than `MAX_BYTES`."""
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
    """A string that C and UTF-8 can hold: neither NUL nor half a surrogate pair."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise _wrong(value, what, "text")
    return value


def real(value: Any, what: str, *, finite: bool = True) -> float:
    """A number; NaN and infinity only where they make sense."""
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
    """Bytes out of base64."""
    try:
        return base64.b64decode(text(value, what), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, CorruptDataError):
            raise
        raise _wrong(value, what, "base64") from None


def _wrong(value: Any, what: str, expected: str) -> CorruptDataError:
    shown = repr(value)
    return CorruptDataError(f"{what}: {expected} is expected, not {shown if len(shown) < 60 else shown[:57] + '...'}")
