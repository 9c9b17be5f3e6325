"""What GDAL knows of a raster but rasterio doesn't give: category names, tables, and texts that aren't UTF-8.

GDAL can describe any dataset in XML (a VRT). Texts have the same bytes there as in the file. Older software wrote
Latin-1, and "°C" or "Höhe" in Latin-1 is not UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError

_STATISTICS = {"1", "3", "4", "5"}
"""The usages of an attribute table's columns that only count pixels or give the ends of classes."""


@dataclass(frozen=True, slots=True)
class Description:
    """GDAL's description of a dataset."""

    root: ET.Element

    @property
    def categories(self) -> bool:
        """Whether any band has category names."""
        return self.root.find(".//CategoryNames") is not None

    def left_out(self) -> list[str]:
        """What the dataset has that isn't kept, in words."""
        lost = ["the category names"] if self.categories else []
        columns = self.root.findall(".//GDALRasterAttributeTable/FieldDefn")
        if any(column.findtext("Usage") not in _STATISTICS for column in columns):
            lost.append("the attribute table: " + ", ".join(column.findtext("Name") or "?" for column in columns))
        if epoch := next((srs.get("coordinateEpoch") for srs in self.root.findall("SRS")), None):
            lost.append(f"the epoch of its coordinates, {epoch}")
        return lost

    def bands(self, element: str) -> list[str]:
        """The text of an element for each band, "" if a band has none."""
        return [band.findtext(element) or "" for band in self.root.findall("VRTRasterBand")]

    def tags(self, namespace: str, index: int) -> dict[str, str]:
        """The tags of band `index`, counted from 1; 0: of the dataset."""
        holder = self.root if index == 0 else self.root.findall("VRTRasterBand")[index - 1]
        return {
            item.get("key", ""): item.text or ""
            for domain in holder.findall("Metadata")
            if domain.get("domain", "") == namespace
            for item in domain.findall("MDI")
        }


def describe(raster: Any) -> Description | None:
    """GDAL's description of an open dataset; None if it has none."""
    with rasterio.MemoryFile(ext=".vrt") as memory:
        try:
            rasterio.shutil.copy(raster, memory.name, driver="VRT")
            data: bytes = memory.read()
        except RasterioError:  # some drivers' datasets can't be described
            return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    try:
        return Description(ET.fromstring(text))  # noqa: S314  # GDAL wrote it: there are no entities
    except ET.ParseError:  # control characters
        return None
