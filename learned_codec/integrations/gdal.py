"""LCI files as datasets of GDAL itself, for what takes nothing else: `WarpedVRT`, `reproject`, `rasterio.shutil.copy`.

Such a dataset is a VRT, whose pixels GDAL gets by calling `read` in this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

if TYPE_CHECKING:
    from learned_codec.integrations.rasterio import Dataset

TYPES = {
    "uint8": "Byte",
    "bool": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
}
"""GDAL's names of dtypes."""

COLOURS = {"Y": "YCbCr_Y", "Cb": "YCbCr_Cb", "Cr": "YCbCr_Cr", "other_ir": "OtherIR"}
"""GDAL's names of colour interpretations where they are others than rasterio's."""

_PIXELS: WeakValueDictionary[str, _BandReader] = WeakValueDictionary()
"""The open datasets, by what their VRT calls them: GDAL knows a function's name, and no object."""


@contextmanager
def dataset(source: Dataset) -> Iterator[Any]:
    """A rasterio dataset of GDAL's own. It can be used inside the block, and only by the thread that opened it.

    Raises rasterio's errors.
    """
    pixels = _BandReader(source)
    name = str(id(pixels))
    _PIXELS[name] = pixels
    trusted = {"GDAL_VRT_ENABLE_PYTHON": "TRUSTED_MODULES", "GDAL_VRT_PYTHON_TRUSTED_MODULES": __name__}
    with rasterio.Env(**trusted), rasterio.open(_vrt(source, name)) as raster:
        yield raster


def read(_: Any, out: NDArray[Any], *window: Any, pixels: bytes, band: bytes) -> None:
    """Called by GDAL: put a window of a band into `out`, which has another shape if GDAL wants it reduced."""
    column, row, width, height, *_ = window
    out[...] = _PIXELS[pixels.decode()].read(int(band), (row, column, height, width), out.shape)


class _BandReader:
    """A file whose bands GDAL asks for one after another. The last window is kept, so that it is decoded once."""

    def __init__(self, source: Dataset) -> None:
        self._source, self._lock = source, threading.Lock()
        self._last: tuple[Any, NDArray[Any]] | None = None

    def read(self, band: int, window: tuple[int, int, int, int], shape: tuple[int, ...]) -> NDArray[Any]:
        """(h, w) values of a band, or with band 0 of the mask."""
        if band == 0:
            rows, columns = (np.arange(n) * length // n for n, length in zip(shape, window[2:], strict=True))
            row, column, height, width = window
            return self._source.dataset_mask(Window(column, row, width, height))[rows][:, columns]
        with self._lock:
            if self._last is None or self._last[0] != (window, shape):
                wanted = None if shape == window[2:] else shape
                self._last = (window, shape), self._source.reader.read(None, window, wanted, planar=True)
            values: NDArray[Any] = self._last[1][band - 1]
            return values


def _vrt(source: Dataset, name: str) -> str:
    root = Element("VRTDataset", rasterXSize=str(source.width), rasterYSize=str(source.height))
    if source.crs is not None:
        SubElement(root, "SRS").text = source.crs.to_wkt()
    if not source.transform.is_identity:
        SubElement(root, "GeoTransform").text = ",".join(map(repr, source.transform.to_gdal()))
    _tags(root, source)
    points, crs = source.gcps
    if points:
        listed = SubElement(root, "GCPList", Projection="" if crs is None else crs.to_wkt())
        for point in points:
            place = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
            SubElement(listed, "GCP", {"Id": str(point.id)} | {key: repr(value) for key, value in place.items()})
    for band in source.indexes:
        said = {
            "Description": source.descriptions[band - 1],
            "NoDataValue": source.nodata,
            "UnitType": source.units[band - 1],
            "Scale": source.scales[band - 1],
            "Offset": source.offsets[band - 1],
            "ColorInterp": COLOURS.get(colour := source.colorinterp[band - 1].name, colour),
        }
        element = _band(root, source, TYPES[source.reader.dtype.name], name, band)
        for key, value in said.items():
            if value is not None:
                SubElement(element, key).text = value if isinstance(value, str) else repr(value)
        _tags(element, source, band)
        if "colormap" in source.reader.metadata:
            table = SubElement(element, "ColorTable")
            for colour in source.colormap(band).values():
                parts = zip(("c1", "c2", "c3", "c4"), map(str, colour), strict=True)
                SubElement(table, "Entry", dict(parts))
    if source.has_mask:
        _band(SubElement(root, "MaskBand"), source, "Byte", name, 0)
    return tostring(root, "unicode")


def _band(parent: Element, source: Dataset, kind: str, name: str, band: int) -> Element:
    height, width = source.block_shapes[0]
    element = SubElement(
        parent,
        "VRTRasterBand",
        dataType=kind,
        subClass="VRTDerivedRasterBand",
        blockXSize=str(width),
        blockYSize=str(height),
    )
    SubElement(element, "PixelFunctionType").text = f"{__name__}.{read.__name__}"
    SubElement(element, "PixelFunctionLanguage").text = "Python"
    SubElement(element, "PixelFunctionArguments", pixels=name, band=str(band))
    return element


def _tags(parent: Element, source: Dataset, band: int = 0) -> None:
    for space in ("", *source.tag_namespaces(band)):
        _metadata(parent, source.tags(band, space), space)


def _metadata(parent: Element, tags: dict[str, str], domain: str = "") -> None:
    element = SubElement(parent, "Metadata", {"domain": domain} if domain else {})
    for key, value in tags.items():
        SubElement(element, "MDI", key=key).text = value
