"""The metadata of an image, for a window of it or some of its bands."""

from __future__ import annotations

import copy
from typing import Any

from . import metadata as meta


def moved(metadata: dict[str, Any], row: int, column: int) -> dict[str, Any]:
    """The metadata (see `metadata.py`) of an image that begins at `row` and `column` of the one that it describes.

    The transform, the ground control points and the RPCs move; everything else stays. Raises `CorruptDataError`.
    """
    found = copy.deepcopy(metadata)
    if (row, column) == (0, 0):
        return found
    if "transform" in found:
        a, b, c, d, e, f = (
            meta.real(x, "metadata.transform") for x in meta.sequence(found["transform"], "transform", 6)
        )
        found["transform"] = [a, b, c + a * column + b * row, d, e, f + d * column + e * row]
    if "gcps" in found:
        points = meta.sequence(meta.mapping(found["gcps"], "metadata.gcps").get("points"), "metadata.gcps.points")
        for point in points:
            values = meta.sequence(point, "metadata.gcps.points")
            for index, start in enumerate((row, column)):
                values[index] = meta.real(values[index] if len(values) > index else None, "a control point") - start
    if "rpcs" in found:
        rpcs = meta.mapping(found["rpcs"], "metadata.rpcs")
        for key, start in (("LINE_OFF", row), ("SAMP_OFF", column)):
            try:
                rpcs[key] = repr(float(str(rpcs[key]).split()[0]) - start)
            except (KeyError, ValueError, IndexError):
                found.pop("rpcs", None)  # half a model of the sensor is worse than none
                break
    return found


def only_bands(metadata: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    """The metadata for some bands, by their indices from 0 without an alpha band, which comes last then."""
    if not isinstance(metadata.get("bands"), list):
        return metadata
    bands = list(metadata["bands"])
    at = metadata.get("alpha")
    alpha = [bands.pop(at)] if isinstance(at, int) and 0 <= at < len(bands) else []
    found = metadata | {"bands": [bands[i] for i in indices if i < len(bands)] + alpha}
    return found | {"alpha": len(found["bands"]) - 1} if alpha else found
