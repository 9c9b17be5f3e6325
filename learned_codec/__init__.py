"""A learned image codec.

    import learned_codec

    data = learned_codec.encode(image, quality=60)  # (H, W) or (H, W, 3) uint8 -> bytes
    image = learned_codec.decode(data)

Every public name is imported when it is first used. So `import learned_codec` takes milliseconds, and programs that
don't need torch or GDAL never import them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learned_codec import errors
    from learned_codec.codec import Info, Report, check, decode, encode, inspect, list_models, register_model
    from learned_codec.errors import (
        DistortionWarning,
        InputWarning,
        LearnedCodecError,
        LearnedCodecWarning,
        MetadataLostWarning,
        RateWarning,
    )
    from learned_codec.files import EncodeFileOptions, decode_file, encode_file
    from learned_codec.limits import Limits
    from learned_codec.models.registry import ModelCard
    from learned_codec.reader import Reader, open
    from learned_codec.values.arrays import BOUNDED_DTYPES, DTYPES
    from learned_codec.values.sources import PixelSource

__version__ = "0.1.0"

__all__ = [
    "BOUNDED_DTYPES",
    "DTYPES",
    "DistortionWarning",
    "EncodeFileOptions",
    "Info",
    "InputWarning",
    "LearnedCodecError",
    "LearnedCodecWarning",
    "Limits",
    "MetadataLostWarning",
    "ModelCard",
    "PixelSource",
    "RateWarning",
    "Reader",
    "Report",
    "__version__",
    "check",
    "decode",
    "decode_file",
    "encode",
    "encode_file",
    "errors",
    "inspect",
    "list_models",
    "open",
    "register_model",
]

# Public name -> its module. The names under TYPE_CHECKING are the same, for type checkers and editors.
_HOME = {
    "BOUNDED_DTYPES": "learned_codec.values.arrays",
    "DTYPES": "learned_codec.values.arrays",
    "Info": "learned_codec.codec",
    "DistortionWarning": "learned_codec.errors",
    "EncodeFileOptions": "learned_codec.files",
    "InputWarning": "learned_codec.errors",
    "LearnedCodecError": "learned_codec.errors",
    "LearnedCodecWarning": "learned_codec.errors",
    "Limits": "learned_codec.limits",
    "MetadataLostWarning": "learned_codec.errors",
    "ModelCard": "learned_codec.models.registry",
    "PixelSource": "learned_codec.values.sources",
    "RateWarning": "learned_codec.errors",
    "Reader": "learned_codec.reader",
    "Report": "learned_codec.codec",
    "check": "learned_codec.codec",
    "decode": "learned_codec.codec",
    "decode_file": "learned_codec.files",
    "encode": "learned_codec.codec",
    "encode_file": "learned_codec.files",
    "inspect": "learned_codec.codec",
    "list_models": "learned_codec.codec",
    "open": "learned_codec.reader",
    "register_model": "learned_codec.codec",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562)."""
    if name == "errors":
        return import_module("learned_codec.errors")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # so that the next access doesn't call this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
