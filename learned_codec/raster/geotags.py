"""The metadata (see `metadata.py`) of a GDAL raster, and how it is written into a GeoTIFF."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.env import Env
from rasterio.rpc import RPC

from learned_codec.bitstream.metadata import number_to_json
from learned_codec.errors import CorruptDataError
from learned_codec.values.sources import PlaneKind

from . import classes, png
from . import metadata as meta
from .description import Description
from .gdal import transform_of

# Namespaces that are left out: they describe the file rather than the image, are kept under keys of their own, or
# point to other files.
_STRUCTURAL = {
    "COLOR_PROFILE",
    "DERIVED_SUBDATASETS",
    "GEOLOCATION",
    "IMAGE_STRUCTURE",
    "RPC",
    "SUBDATASETS",
    "new_vrt_sources",
    "vrt_sources",
    "xml:VRT",
    "xml:XMP",
}
_RESOLUTION = {"TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION", "TIFFTAG_RESOLUTIONUNIT"}
_CENTIMETRES = {"2": 1.0, "3": 2.54}
# How the namespaces begin that hold the label of a planetary image: the structure of its file, and how it was taken.
_LABEL = "json:"

TRANSPARENT_COLOUR = "NODATA_VALUES"
"""The tag with a value for each band: a pixel that has them all doesn't exist. GDAL makes a mask of it."""

MAX_OVERVIEWS = 32
"""More factors are refused: they double, so 32 are enough for any image."""

MAX_CLASSES = 2**20
"""Bytes of an attribute table as JSON; longer ones would leave no room for the rest."""
_GREY_BY_TABLE = {"BMP", "GIF"}
"""Drivers of formats that have no other grey pictures than those with a table of grey levels."""
MAX_BITS = 31
"""Of the unsigned integers that are coded and can have fewer bits than their dtype."""
_NAMES = {"categories": "list of category names", "table": "attribute table"}

COLOUR_TABLES = ("uint8", "uint16")
"""Dtypes for which a TIFF can have a colour table."""


# --- from a raster ---


def collect(raster: Any, alpha: int | None, name: str, description: Description | None = None) -> dict[str, Any]:
    """The metadata of a rasterio dataset, as far as `parse` accepts it.

    Args:
        raster: open for reading.
        alpha: the index of the alpha band, from 1; None if there is none.
        name: the file's name in warnings.
        description: the description of the same dataset, for what rasterio doesn't give.
    """
    texts = _Texts(raster, name, description)
    found: dict[str, Any] = {}
    if raster.crs is not None and raster.crs.wkt:
        found["crs"] = _wkt(raster.crs)
    if transform := transform_of(raster):
        found["transform"] = [number_to_json(x) for x in transform[:6]]
    points, points_crs = raster.gcps
    if points:
        found["gcps"] = {
            "crs": _wkt(points_crs) if points_crs is not None and points_crs.wkt else None,
            "points": [[*map(number_to_json, _place(p)), str(p.id), str(p.info or "")] for p in points],
        }
    if rpcs := texts.tags("RPC"):
        found["rpcs"] = rpcs
    if texts.tags("GEOLOCATION"):
        meta.lose(f"{name}: its geolocation (the place of each pixel, in arrays of their own) isn't kept")
    for lost in () if description is None else description.left_out():
        meta.lose(f"{name}: not kept: {lost}")
    if labels := [n for n in raster.tag_namespaces() if n.startswith(_LABEL)]:
        meta.lose(f"{name}: the labels of its format aren't kept: {', '.join(labels)}")
    tags = texts.all_tags()
    if dpi := _pop_resolution(tags.get("", {})):
        found["dpi"] = dpi
    tags = {namespace: items for namespace, items in tags.items() if items}
    if tags:
        found["tags"] = tags
    found["bands"] = [_band(raster, index, texts) for index in raster.indexes]
    if description is not None:
        for index, band in enumerate(found["bands"], 1):
            band.update(_classes(description, index, f"{name}: band {index}"))
    if alpha is not None:
        found["alpha"] = alpha - 1
    if bits := _bits(raster, name):
        found["bits"] = bits
    if factors := raster.overviews(1):
        found["overviews"] = [int(f) for f in factors if f > 1][:MAX_OVERVIEWS]
    if profile := texts.tags("COLOR_PROFILE").get("SOURCE_ICC_PROFILE"):
        found["icc"] = profile  # base64 already
    if xmp := texts.tags("xml:XMP").get("xml:XMP"):
        found["xmp"] = meta.binary(xmp.encode())
    with suppress(ValueError):  # what rasterio raises where there is none
        table = raster.colormap(1)
        if raster.count == 1 and raster.dtypes[0] in COLOUR_TABLES:
            colours = np.zeros((max(table) + 1, 4), np.uint8)
            for value, colour in table.items():
                colours[value] = colour
            if raster.driver in _GREY_BY_TABLE and np.array_equal(colours, _ramp(len(colours))):
                found["bands"][0]["color"] = ColorInterp.gray.name
            else:
                found["colormap"] = meta.binary(colours.tobytes())
        else:
            meta.lose(
                f"{name}: its colour table isn't kept: only a single band of {' or '.join(COLOUR_TABLES)} has one"
            )
    return _sensible(found, name)


def _bits(raster: Any, name: str) -> int | None:
    """The bits of each sample of a TIFF, if they are fewer than those of its dtype. Other formats have their own ways.

    So a GeoTIFF made of JPEG 2000, in which 12 and 15 bits are common, has 16, which all software can read.
    """
    said = raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "") if raster.driver == "GTiff" else ""
    if said and raster.dtypes[0].startswith("float"):
        meta.lose(f"{name}: its floats of {said} bits come back in {raster.dtypes[0]}, with the same values")
        return None
    return int(said) if said else None


def _ramp(count: int) -> NDArray[np.uint8]:
    """The colour table of grey levels, each the colour of its own number."""
    levels = np.arange(count)
    return np.stack([levels, levels, levels, np.full(count, 255)], 1).astype(np.uint8)


def _sensible(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of metadata that writers accept, so that every file can be decoded. A warning names the rest."""
    kept = {}
    for key, value in found.items():
        try:
            if key in _READERS:
                _READERS[key](value, key)
        except CorruptDataError as error:
            meta.lose(f"{name}: {error}; it isn't kept")
        else:
            kept[key] = value
    return kept


def _wkt(crs: Any) -> str:
    wkt: str = crs.to_wkt(version="WKT2_2019")
    return wkt


def _place(point: Any) -> tuple[float, ...]:
    """Row, column, x, y, z of a ground control point. Most have no height z: then it is 0."""
    place = (point.row, point.col, point.x, point.y)
    return *place, point.z if point.z is not None and math.isfinite(point.z) else 0.0


def _band(raster: Any, index: int, texts: _Texts) -> dict[str, Any]:
    """The metadata of one band, without values that are the default."""
    at = index - 1
    band: dict[str, Any] = {"color": raster.colorinterp[at].name}
    stated = {"description": texts.descriptions[at], "unit": texts.units[at]}
    band.update({key: value for key, value in stated.items() if value})
    for key, value, usual in (("scale", raster.scales[at], 1), ("offset", raster.offsets[at], 0)):
        if value != usual:
            band[key] = number_to_json(value)
    if tags := {key: items for key, items in texts.all_tags(index).items() if items}:
        band["tags"] = tags
    return band


def _classes(description: Description, index: int, name: str) -> dict[str, Any]:
    """What says what the numbers of a band mean, if it isn't too long."""
    kept = {}
    for key, value in description.classes(index).items():
        if (size := meta.size({key: value})) <= MAX_CLASSES:
            kept[key] = value
        else:
            meta.lose(f"{name}: its {_NAMES[key]} takes {size:,} bytes; {MAX_CLASSES:,} are kept: left out")
    return kept


class _Texts:
    """The texts of a dataset: those of rasterio, or of the description.

    Rasterio's aren't there where they aren't UTF-8. Of a GeoPackage, GDAL forgets some tags when it describes it.
    """

    def __init__(self, raster: Any, name: str, description: Description | None) -> None:
        self._raster, self._name, self._description = raster, name, description
        self.descriptions = self._of_bands("descriptions", "Description")
        self.units = self._of_bands("units", "UnitType")

    def _of_bands(self, attribute: str, element: str) -> list[str]:
        try:
            return [text or "" for text in getattr(self._raster, attribute)]
        except UnicodeDecodeError:
            if self._description is not None:
                return self._description.bands(element)
            meta.lose(f"{self._name}: the {attribute} of its bands aren't text, and aren't kept")
            return [""] * self._raster.count

    def all_tags(self, index: int = 0) -> dict[str, dict[str, str]]:
        """The tags of band `index`, counted from 1, by namespace; 0: of the file."""
        namespaces = {"", *self._raster.tag_namespaces(index)} - _STRUCTURAL
        return {n: self.tags(n, index) for n in sorted(namespaces) if not n.startswith(_LABEL)}

    def tags(self, namespace: str, index: int = 0) -> dict[str, str]:
        """The tags of one namespace."""
        found = {} if self._description is None else self._description.tags(namespace, index)
        where = namespace or "(default namespace)"
        try:
            found |= self._raster.tags(index, ns=namespace or None)
        except ValueError:  # UnicodeDecodeError: GDAL gives any bytes that the file has
            if not found:
                meta.lose(f"{self._name}: the tags {where} aren't text, and aren't kept")
        if odd := [key for key in found if not key or "=" in key]:
            meta.lose(f"{self._name}: a TIFF can't hold some keys of the tags {where}; not kept: {', '.join(odd)}")
        return {key: value for key, value in found.items() if key not in odd}


def _pop_resolution(tags: dict[str, str]) -> list[float] | None:
    """Take the resolution in dots per inch out of TIFF's tags, if it has a unit: other formats have fields for it."""
    factor = _CENTIMETRES.get(tags.get("TIFFTAG_RESOLUTIONUNIT", "")[:1])
    try:
        dpi = [float(tags[f"TIFFTAG_{axis}RESOLUTION"]) for axis in "XY"]
    except (KeyError, ValueError):
        return None
    if factor is None or not all(0 < x < 1e9 for x in dpi):
        return None
    for key in _RESOLUTION:
        del tags[key]
    return [x * factor for x in dpi]


# --- into a GeoTIFF ---


@dataclass(slots=True)
class Band:
    """A band of the file to write."""

    color: Any = ColorInterp.undefined
    description: str = ""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    premultiplied: bool = False
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)
    table: dict[str, Any] | None = None


@dataclass(slots=True)
class Georeference:
    """Checked metadata in rasterio's types. `alpha` is the index of the alpha band, from 1."""

    bands: list[Band]
    alpha: int | None = None
    crs: Any = None
    transform: Affine | None = None
    points: list[Any] = field(default_factory=list)
    points_crs: Any = None
    rpcs: Any = None
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    bits: int | None = None
    overviews: list[int] = field(default_factory=list)
    colormap: NDArray[np.uint8] | None = None
    icc: str | None = None
    exif: bytes | None = None
    xmp: str | None = None


def parse(metadata: Any, bands: int, plane: PlaneKind | None, *, opacity: bool = False) -> Georeference:
    """Check the metadata of an image of `bands` bands, not counting an alpha band that is a plane.

    `opacity` tells that one of the bands may be an alpha band itself.

    Raises:
        CorruptDataError: it doesn't follow the description in `metadata.py`.
    """
    found = meta.checked(metadata)

    def get(key: str, default: Any = None) -> Any:
        value = found.get(key)
        return default if value is None else _READERS[key](value, f"metadata.{key}")

    listed, alpha = _bands(found, bands, plane, opacity=opacity)
    result = Georeference(listed, alpha)
    result.crs = get("crs")
    result.transform = get("transform")
    result.points, result.points_crs = get("gcps", ([], None))
    result.rpcs = get("rpcs")
    result.tags = get("tags", {})
    plain = result.tags.setdefault("", {})
    plain.update(get("dpi", {}))
    for key, text in png.texts(found):
        if "=" not in key:
            plain.setdefault(key, text)
    if plane == "mask":
        plain.pop(TRANSPARENT_COLOUR, None)  # the mask is of it, and GDAL won't write any other
    result.bits = get("bits")
    result.overviews = get("overviews", [])
    result.colormap = get("colormap")
    if (icc := get("icc")) is not None:
        result.icc = meta.binary(icc)
    result.exif = get("exif")
    result.xmp = get("xmp")
    return result


def _bands(
    found: dict[str, Any], count: int, plane: PlaneKind | None, *, opacity: bool
) -> tuple[list[Band], int | None]:
    """The bands of the file in order, and the index of the alpha band, from 1."""
    if found.get("bands") is None:
        kinds = [ColorInterp.red, ColorInterp.green, ColorInterp.blue] if count == 3 else [ColorInterp.gray]
        listed = [Band(color) for color in kinds] + [Band() for _ in range(count - len(kinds))]
        at = None
    else:
        listed = [_one_band(b, f"metadata.bands[{i}]") for i, b in enumerate(meta.sequence(found["bands"], "bands"))]
        at = found.get("alpha")
        if at is not None:
            at = meta.whole(at, "metadata.alpha", 0, len(listed) - 1)
    alpha_band = listed.pop(at) if at is not None else Band()
    if len(listed) != count:
        raise CorruptDataError(f"metadata.bands: {len(listed)} bands are described, but the image has {count}")
    for band in listed:
        if band.color == ColorInterp.alpha and not opacity:
            band.color = ColorInterp.undefined  # GDAL would take it for the mask
    if plane != "alpha":
        return listed, None
    alpha_band.color = ColorInterp.alpha
    at = len(listed) if at is None else at
    listed.insert(at, alpha_band)
    return listed, at + 1


def _one_band(value: Any, what: str) -> Band:
    found = meta.mapping(value, what)
    band = Band()
    if (color := found.get("color")) is not None:
        try:
            band.color = ColorInterp[meta.text(color, f"{what}.color")]
        except KeyError:
            raise CorruptDataError(f"{what}.color: {color!r} isn't a colour interpretation") from None
    band.description = meta.text(found.get("description") or "", f"{what}.description")
    band.unit = meta.text(found.get("unit") or "", f"{what}.unit")
    band.scale = meta.real(found.get("scale", 1), f"{what}.scale", finite=False)
    band.offset = meta.real(found.get("offset", 0), f"{what}.offset", finite=False)
    band.premultiplied = found.get("premultiplied") is True
    band.tags = _tags(found.get("tags", {}), f"{what}.tags")
    band.categories = classes.read_categories(found.get("categories", []), f"{what}.categories")
    if "table" in found:
        band.table = classes.read_table(found["table"], f"{what}.table")
    return band


def read_crs(value: Any, what: str) -> Any:
    """A CRS from WKT. Raises `CorruptDataError`."""
    wkt = meta.text(value, what)
    try:
        with Env():  # else GDAL would print its errors
            return CRS.from_wkt(wkt)  # never from_user_input, which would open files by their names
    except Exception as error:  # noqa: BLE001  # CRSError, but also PROJ's own
        raise CorruptDataError(f"{what}: not WKT: {error}") from None


def read_transform(value: Any, what: str) -> Affine:
    """A transform out of six numbers. Raises `CorruptDataError`."""
    return Affine(*(meta.real(x, f"{what}[{i}]") for i, x in enumerate(meta.sequence(value, what, 6))))


def _points(value: Any, what: str) -> tuple[list[Any], Any]:
    found = meta.mapping(value, what)
    points = []
    for i, item in enumerate(meta.sequence(found.get("points"), f"{what}.points")):
        *place, label, info = meta.sequence(item, f"{what}.points[{i}]", 7)
        row, column, x, y, z = (meta.real(v, f"{what}.points[{i}]") for v in place)
        points.append(
            GroundControlPoint(row, column, x, y, z, id=meta.text(label, what), info=meta.text(info, what) or None)
        )
    crs = found.get("crs")
    return points, None if crs is None else read_crs(crs, f"{what}.crs")


def _rpcs(value: Any, what: str) -> Any:
    found = _texts(value, what)
    try:
        return RPC.from_gdal(found)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise CorruptDataError(f"{what}: not rational polynomial coefficients: {error!r}") from None


def _tags(value: Any, what: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for namespace, items in meta.mapping(value, what).items():
        if namespace not in _STRUCTURAL and not namespace.startswith(_LABEL):
            found[meta.text(namespace, what)] = _texts(items, f"{what}.{namespace}")
    return found


def _texts(value: Any, what: str) -> dict[str, str]:
    found = {meta.text(k, what): meta.text(v, f"{what}.{k}") for k, v in meta.mapping(value, what).items()}
    if "" in found or any("=" in key for key in found):
        raise CorruptDataError(f"{what}: a key is empty or contains '='")
    return found


def _resolution(value: Any, what: str) -> dict[str, str]:
    dpi = [meta.real(x, what) for x in meta.sequence(value, what, 2)]
    return {
        "TIFFTAG_XRESOLUTION": f"{dpi[0]:.9g}",
        "TIFFTAG_YRESOLUTION": f"{dpi[1]:.9g}",
        "TIFFTAG_RESOLUTIONUNIT": "2",
    }


def _overviews(value: Any, what: str) -> list[int]:
    factors = [meta.whole(f, f"{what}[{i}]", 2, 2**20) for i, f in enumerate(meta.sequence(value, what))]
    if len(factors) > MAX_OVERVIEWS:
        raise CorruptDataError(f"{what}: {len(factors)} factors; {MAX_OVERVIEWS} are accepted")
    return sorted(set(factors))


def _xmp(value: Any, what: str) -> str:
    try:
        return meta.text(meta.raw(value, what).decode(), what)
    except UnicodeDecodeError:
        raise CorruptDataError(f"{what}: not UTF-8") from None


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "crs": read_crs,
    "transform": read_transform,
    "gcps": _points,
    "rpcs": _rpcs,
    "tags": _tags,
    "dpi": _resolution,
    "bits": partial(meta.whole, low=1, high=MAX_BITS),
    "overviews": _overviews,
    "colormap": meta.colormap,
    "icc": meta.raw,
    "exif": meta.raw,
    "xmp": _xmp,
}


def apply(given: Georeference, raster: Any, name: str) -> None:
    """Write metadata into a dataset that is open for writing, except what is given when the file is created.

    What GDAL refuses is left out, with a warning: the pixels are useful without it.
    """

    def part(what: str, write: Callable[..., Any], *arguments: Any) -> None:
        try:
            write(*arguments)
        except Exception as error:  # noqa: BLE001  # rasterio and GDAL raise a dozen unrelated kinds
            meta.lose(f"{name}: {what} can't be written into a TIFF, and isn't kept: {error}")

    def assign(what: str, attribute: str, value: Any) -> None:
        part(what, setattr, raster, attribute, value)

    with suppress(Exception):  # what it refuses or doesn't write is written later, see `interpretation.py`
        raster.colorinterp = [band.color for band in given.bands]
    if given.points:
        if given.transform is not None:
            meta.lose(f"{name}: a TIFF has a transform or ground control points; the points aren't kept")
        else:
            assign("ground control points", "gcps", (given.points, given.points_crs or given.crs or CRS()))
    if given.rpcs is not None:
        assign("rational polynomials", "rpcs", given.rpcs)
    for namespace, items in given.tags.items():
        part(f"tags {namespace}", _update, raster, 0, namespace, items)
    if given.xmp:
        part("XMP", _update, raster, 0, "xml:XMP", {"xml:XMP": given.xmp})
    if given.colormap is not None:
        part("a colour table", raster.write_colormap, 1, dict(enumerate(map(tuple, given.colormap.tolist()))))
    if any(band.scale != 1 for band in given.bands):
        assign("scales", "scales", [band.scale for band in given.bands])
    if any(band.offset != 0 for band in given.bands):
        assign("offsets", "offsets", [band.offset for band in given.bands])
    for index, band in enumerate(given.bands, 1):
        if band.description:
            part("a description", raster.set_band_description, index, band.description)
        if band.unit:
            part("a unit", raster.set_band_unit, index, band.unit)
        for namespace, items in band.tags.items():
            part(f"tags {namespace}", _update, raster, index, namespace, items)


def _update(raster: Any, index: int, namespace: str, items: dict[str, str]) -> None:
    """Set tags. rasterio joins keys and values by "=", so an XML document is split at one of its own "="."""
    if namespace.startswith("xml:") and (document := next(iter(items.values()), "")):
        match = re.match(r"([^=]+)=(.*)", document, re.DOTALL)
        if match is None:
            raise ValueError("rasterio can't write XML without any attribute")
        items = {match[1]: match[2]}
    if items:
        raster.update_tags(index, ns=namespace or None, **items)
