"""The metadata of a window, of some of the bands, or of a reduced size of an image."""

from __future__ import annotations

import copy
import math
from typing import Any

from . import metadata as meta
from .classes import without_counts


def of_window(metadata: dict[str, Any], window: tuple[int, int, int, int], size: tuple[int, int]) -> dict[str, Any]:
    """The metadata (see `metadata.py`) for a window (row, column, height, width) of an image of `size`.

    The transform, the ground control points and the RPCs are shifted. Statistics of the whole image are left out.
    Raises `CorruptDataError`.
    """
    found = copy.deepcopy(metadata)
    row, column, *window_size = window
    if tuple(window_size) != size:
        _drop_statistics(found)
    if (row, column) == (0, 0):
        return found
    if "transform" in found:
        a, b, c, d, e, f = (
            meta.real(x, "metadata.transform") for x in meta.sequence(found["transform"], "transform", 6)
        )
        c, f = c + a * column + b * row, f + d * column + e * row
        found["transform"] = [a, b, c, d, e, f]
        if not (math.isfinite(c) and math.isfinite(f)):
            del found["transform"]
            meta.lose(f"the transform (pixels of {a:g} × {e:g}) isn't finite at row {row}, column {column}: not kept")
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
                found.pop("rpcs", None)  # half of a sensor model is worse than none
                break
    return found


def of_scale(metadata: dict[str, Any], factor: int) -> dict[str, Any]:
    """The metadata for an image in which squares of `factor` x `factor` pixels became one. Raises `CorruptDataError`.

    The transform, the ground control points and the RPCs are scaled. Statistics and the overviews that are not smaller
    than the reduced image are left out.
    """
    found = copy.deepcopy(metadata)
    if factor == 1:
        return found
    _drop_statistics(found)
    if "transform" in found:
        a, b, c, d, e, f = (
            meta.real(x, "metadata.transform") for x in meta.sequence(found["transform"], "transform", 6)
        )
        found["transform"] = [factor * a, factor * b, c, factor * d, factor * e, f]
    if "gcps" in found:
        points = meta.sequence(meta.mapping(found["gcps"], "metadata.gcps").get("points"), "metadata.gcps.points")
        for point in points:
            values = meta.sequence(point, "metadata.gcps.points")
            for index in (0, 1):
                values[index] = meta.real(values[index] if len(values) > index else None, "a control point") / factor
    if "rpcs" in found:
        rpcs = meta.mapping(found["rpcs"], "metadata.rpcs")
        try:
            for axis in ("LINE", "SAMP"):
                offset, scale = (float(str(rpcs[f"{axis}_{kind}"]).split()[0]) for kind in ("OFF", "SCALE"))
                # RPCs count from the centre of the first pixel, not from its corner.
                rpcs |= {f"{axis}_OFF": repr((offset + 0.5) / factor - 0.5), f"{axis}_SCALE": repr(scale / factor)}
        except (KeyError, ValueError, IndexError):
            del found["rpcs"]
    if isinstance(found.get("overviews"), list):
        levels = [level for level in found["overviews"] if isinstance(level, int)]
        found["overviews"] = [level // factor for level in levels if level > factor]
    return found


def only_bands(metadata: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    """The metadata for some bands. Indices count from 0, without the alpha band, which comes last in the result."""
    if not isinstance(metadata.get("bands"), list):
        return metadata
    bands = list(metadata["bands"])
    at = metadata.get("alpha")
    alpha = [bands.pop(at)] if isinstance(at, int) and 0 <= at < len(bands) else []
    found = metadata | {"bands": [bands[i] for i in indices if i < len(bands)] + alpha}
    return found | {"alpha": len(found["bands"]) - 1} if alpha else found


def _drop_statistics(found: dict[str, Any]) -> None:
    bands = found.get("bands")
    for holder in (found, *(bands if isinstance(bands, list) else ())):
        if isinstance(holder, dict) and "table" in holder:
            holder["table"] = without_counts(holder["table"])
        tags = holder.get("tags") if isinstance(holder, dict) else None
        for items in tags.values() if isinstance(tags, dict) else ():
            for key in [k for k in items if k.startswith("STATISTICS_")] if isinstance(items, dict) else ():
                del items[key]
