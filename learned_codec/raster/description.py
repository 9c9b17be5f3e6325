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

from . import classes


@dataclass(frozen=True, slots=True)
class Description:
    """GDAL's description of a dataset."""

    root: ET.Element

    def classes(self, index: int) -> dict[str, Any]:
        """The category names and the attribute table of band `index`, counted from 1, see `classes.of_band`."""
        return classes.of_band(self.root.findall("VRTRasterBand")[index - 1])

    def left_out(self) -> list[str]:
        """What the dataset has that isn't kept, in words."""
        lost = []
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
        return Description(ET.fromstring(classes.plain(text)))  # noqa: S314  # GDAL wrote it: there are no entities
    except ET.ParseError:
        return None
