"""GDAL's file beside a GeoTIFF, with what the GeoTIFF itself can't hold."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np

from learned_codec.values.sources import OPACITY

from . import geotags
from .classes import add_to
from .crs import flavour
from .sink_spec import SinkSpec


def sidecar(spec: SinkSpec) -> bytes | None:
    """The content of the file; None if the image needs none. Raises `CorruptDataError`."""
    opacity = np.dtype(spec.dtype).name not in OPACITY
    given = geotags.parse(spec.metadata, spec.bands, spec.plane, opacity=opacity)
    root = ET.Element("PAMDataset")
    if given.crs is not None and flavour(given.crs) is None:
        ET.SubElement(root, "SRS").text = given.crs.to_wkt(version="WKT2_2019")
    for index, band in enumerate(given.bands, 1):
        if band.categories or band.table is not None:
            add_to(ET.SubElement(root, "PAMRasterBand", band=str(index)), band.categories, band.table)
    return ET.tostring(root, "utf-8") if len(root) else None
