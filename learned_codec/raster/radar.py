"""Whether a file declares its samples as radar backscatter, and in which unit."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from learned_codec.values.sources import Unit

_UNIT_KEYS = {"unit", "units", "unittype", "unit_type"}
_POLARISATION_KEYS = {"pol", "polarisation", "polarization", "polarisations", "polarizations"}
_SENSOR_KEYS = {"sensor", "platform", "satellite", "mission", "instrument", "spacecraft", "sensor_type"}

_WORDS: dict[str, Unit] = {
    "db": "db",
    "decibel": "db",
    "decibels": "db",
    "amplitude": "amplitude",
    "power": "power",
    "intensity": "power",
}
_RADAR_WORDS = {"vv", "vh", "hv", "hh", "sigma0", "gamma0", "beta0"}
_RADARS = re.compile(
    r"\b(sar|sentinel-?1[a-d]?|palsar-?2?|asar|ers-?[12]|radarsat(-?[12])?|rcm-?[123]?|terrasar(-?x)?|tandem-?x|"
    r"cosmo-?skymed|capella|iceye|umbra|saocom(-?1[ab])?|nisar|airsar|uavsar|kompsat-?5)\b",
    re.IGNORECASE,
)
# Formulas, and decibels of something else: "100*dB", "dB = DN/100", "0.01 dB", "dB(A)".
_NOT_PLAIN_DECIBELS = re.compile(r"[*×^=+]|log|round|(?<![a-z_\d.])\d[\d.]*\s*db|\bdb\s*\(", re.IGNORECASE)


def radar_unit(metadata: dict[str, Any], dtype: np.dtype[Any]) -> Unit | None:
    """The unit of radar backscatter of the samples; None if the file doesn't declare one clearly.

    The unit is taken from a tag UNIT, UNITS or UNITTYPE of a band or the file, or from a band's unit or description.
    Bands come before the file, all bands must agree, and only the text before the first semicolon counts. In such a
    text

    - "dB" or "decibel" means "db" for floating-point samples without a scale or offset. A formula (`uint16 =
      round(100*dB)+10000`) means None: its result is not in decibels.
    - "amplitude" means "amplitude", and "power" and "intensity" mean "power", if there is also a sign of radar, as
      tides have amplitudes and lamps intensities. A sign is a tag POL or POLARISATION, a tag SENSOR, PLATFORM, … with
      the name of a SAR, a band named VV, VH, HV or HH, or sigma0, gamma0 or beta0 in one of the texts. There may be a
      scale, but no offset.

    Args:
        metadata: of a raster, as `learned_codec.raster.metadata` describes it.
        dtype: of the samples.
    """
    bands = [b for i, b in enumerate(metadata.get("bands", [])) if i != metadata.get("alpha")]
    shared: dict[str, str] = metadata.get("tags", {}).get("", {})
    for_all = list(_tagged(shared, _UNIT_KEYS))
    by_band = [[*_tagged(_tags(b), _UNIT_KEYS), b.get("unit", ""), b.get("description", "")] for b in bands]
    units: set[Unit | None] = set()
    for texts in by_band:
        said = _said(texts) or _said(for_all)
        units |= said or {None}
    if len(units) != 1:
        return None
    unit = units.pop()
    scaled = any(b.get("scale", 1) != 1 for b in bands)
    shifted = any(b.get("offset", 0) != 0 for b in bands)
    if unit is None or shifted:
        return None
    if unit == "db":
        return unit if dtype.kind == "f" and not scaled else None
    tags = [shared, *map(_tags, bands)]
    texts = [*for_all, *(t for texts in by_band for t in texts)]
    radar = (
        any(_RADAR_WORDS & set(_split(t)) for t in texts)
        or any(value.strip() for t in tags for value in _tagged(t, _POLARISATION_KEYS))
        or any(_RADARS.search(value) for t in tags for value in _tagged(t, _SENSOR_KEYS))
    )
    return unit if radar else None


def _tags(band: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = band.get("tags", {}).get("", {})
    return found


def _tagged(tags: dict[str, str], keys: set[str]) -> Iterator[str]:
    return (value for key, value in tags.items() if key.lower() in keys)


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _said(texts: list[str]) -> set[Unit | None]:
    """The units in texts; {None} for text that only looks like a unit."""
    units: set[Unit | None] = set()
    for text in texts:
        clause = text.split(";")[0]
        said: set[Unit | None] = {_WORDS[word] for word in _split(clause) if word in _WORDS}
        if "db" in said and _NOT_PLAIN_DECIBELS.search(clause):
            said = {None}
        units |= said
    return units
