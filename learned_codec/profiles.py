"""Profiles: proven arguments of `encode_file` for common products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from learned_codec.errors import InvalidInputError, shown


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile: its purpose and its arguments. Arguments from the user override them.

    Its `nodata` is for files that don't declare which pixels exist. In radar images, it counts only at the border.
    """

    purpose: str
    options: Mapping[str, Any]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "s1-grd": Profile(
            "Sentinel-1 GRD or RTC backscatter (power, amplitude DN or dB): speckle kept; a border of zeros is nodata",
            MappingProxyType({"kind": "sar", "nodata": 0, "quality": 45.0}),
        ),
        "s2-l2a": Profile(
            "Sentinel-2 L1C or L2A reflectance, uint16, any bands; nodata 0 unless the file says",
            MappingProxyType({"nodata": 0, "quality": 60.0}),
        ),
        "aerial": Profile("Aerial and satellite images of 8 bits", MappingProxyType({"quality": 60.0})),
        "photo": Profile("Photographs for the screen", MappingProxyType({"quality": 50.0})),
        "classes": Profile("Maps of classes, masks, counts: every value as it was", MappingProxyType({"max_error": 0})),
        "elevation": Profile("Elevation in metres, each within 0.1 m", MappingProxyType({"max_error": 0.1})),
    }
)


def options_of(name: object) -> dict[str, Any]:
    """The arguments of a profile. Raises `InvalidInputError`, which lists the profiles."""
    if not isinstance(name, str) or name not in PROFILES:
        raise InvalidInputError(f"no profile {shown(name)}; profiles: {', '.join(PROFILES)}")
    return dict(PROFILES[name].options)
