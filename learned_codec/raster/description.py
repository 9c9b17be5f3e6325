"""What GDAL knows of a raster and rasterio doesn't hand out: category names, and texts that aren't UTF-8.

GDAL can describe any dataset in XML (a VRT). It writes texts there with the bytes that the file has; older software
wrote Latin-1, in which "°C" and "Höhe" are not UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError


@dataclass(frozen=True, slots=True)
class Description:
    """A dataset in GDAL's words. `foreign` says that some of them aren't UTF-8: rasterio leaves those out or fails."""

    root: ET.Element
    foreign: bool

    @property
    def categories(self) -> bool:
        """Has any band names for its values?"""
        return self.root.find(".//CategoryNames") is not None

    def bands(self, element: str) -> list[str]:
        """The text of an element for each band, "" where there is none."""
        return [band.findtext(element) or "" for band in self.root.findall("VRTRasterBand")]

    def tags(self, namespace: str, index: int) -> dict[str, str]:
        """The tags of a band, from 1, or with 0 of the dataset."""
        holder = self.root if index == 0 else self.root.findall("VRTRasterBand")[index - 1]
        return {
            item.get("key", ""): item.text or ""
            for domain in holder.findall("Metadata")
            if domain.get("domain", "") == namespace
            for item in domain.findall("MDI")
        }


def describe(raster: Any) -> Description | None:
    """GDAL's description of an open dataset; None where it has none."""
    with rasterio.MemoryFile(ext=".vrt") as memory:
        try:
            rasterio.shutil.copy(raster, memory.name, driver="VRT")
            data: bytes = memory.read()
        except RasterioError:  # some drivers' datasets can't be described
            return None
    try:
        text, foreign = data.decode(), False
    except UnicodeDecodeError:
        text, foreign = data.decode("cp1252", "replace"), True
    try:
        return Description(ET.fromstring(text), foreign)  # noqa: S314  # GDAL wrote it: there are no entities
    except ET.ParseError:  # control characters
        return None
