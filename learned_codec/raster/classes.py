"""Category names and attribute tables, which say what the numbers of a band mean. GDAL gives and takes them as XML."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from learned_codec.bitstream.metadata import number_of_json
from learned_codec.errors import CorruptDataError

from . import metadata as meta

_STATISTICS = {"1", "3", "4", "5"}
"""The usages of a table's columns that only count pixels or give the ends of classes."""
_COUNT = 1
_LINEAR = {"first": "Row0Min", "step": "BinSize"}
_KINDS = ("thematic", "athematic")
_MOST = 2**16
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def of_band(band: ET.Element) -> dict[str, Any]:
    """`categories` and `table` of a band in GDAL's description of a dataset, as in `metadata.py`, if it has any.

    A table that only counts pixels, such as a histogram, isn't taken.
    """
    found: dict[str, Any] = {}
    names = [name.text or "" for name in band.findall("CategoryNames/Category")]
    if any(names):
        found["categories"] = names
    table = band.find("GDALRasterAttributeTable")
    fields = [] if table is None else table.findall("FieldDefn")
    if table is None or all(field.findtext("Usage") in _STATISTICS for field in fields):
        return found
    columns: list[dict[str, Any]] = [
        {
            "name": field.findtext("Name") or "",
            **{key: int(field.findtext(key.title()) or 0) for key in ("type", "usage")},
        }
        for field in fields
    ]
    rows = [[value.text or "" for value in row.findall("F")] for row in table.findall("Row")]
    for at, column in enumerate(columns):
        column["values"] = [row[at] for row in rows]
    found["table"] = {"columns": columns}
    if (kind := table.get("tableType")) in _KINDS:
        found["table"]["kind"] = kind
    found["table"] |= {key: float(said) for key, name in _LINEAR.items() if (said := table.get(name)) is not None}
    return found


def without_counts(table: Any) -> Any:
    """A table without the numbers of pixels, which a window doesn't share with the image. Any JSON is accepted."""
    if not isinstance(table, dict) or not isinstance(table.get("columns"), list):
        return table
    return table | {"columns": [c for c in table["columns"] if not (isinstance(c, dict) and c.get("usage") == _COUNT)]}


def read_categories(value: Any, what: str) -> list[str]:
    """Names of the values 0, 1 and so on. Raises `CorruptDataError`."""
    return [meta.text(name, what) for name in meta.sequence(value, what)]


def read_table(value: Any, what: str) -> dict[str, Any]:
    """An attribute table with all its keys. Raises `CorruptDataError`."""
    table = meta.mapping(value, what)
    columns: list[dict[str, Any]] = []
    for found in meta.sequence(table.get("columns"), f"{what}.columns"):
        column = meta.mapping(found, f"{what}.columns")
        kinds = {key: meta.whole(column.get(key, 0), f"{what}.{key}", 0, _MOST) for key in ("type", "usage")}
        values = read_categories(column.get("values"), f"{what}.values")
        columns.append({"name": meta.text(column.get("name", ""), f"{what}.name"), **kinds, "values": values})
    if len({len(column["values"]) for column in columns}) > 1:
        raise CorruptDataError(f"{what}: columns of different lengths")
    kind = table.get("kind")
    lines = {key: number_of_json(table.get(key)) for key in _LINEAR}
    return {"columns": columns, "kind": kind if kind in _KINDS else None, **lines}


def add_to(parent: ET.Element, categories: list[str], table: dict[str, Any] | None) -> None:
    """Add what `read_categories` and `read_table` returned to GDAL's element of a band."""
    if categories:
        names = ET.SubElement(parent, "CategoryNames")
        for name in categories:
            ET.SubElement(names, "Category").text = plain(name)
    if table is None:
        return
    said = {_LINEAR[key]: repr(table[key]) for key in _LINEAR if table[key] is not None}
    root = ET.SubElement(
        parent, "GDALRasterAttributeTable", said | ({"tableType": table["kind"]} if table["kind"] else {})
    )
    for at, column in enumerate(table["columns"]):
        field = ET.SubElement(root, "FieldDefn", index=str(at))
        for key in ("name", "type", "usage"):
            ET.SubElement(field, key.title()).text = plain(str(column[key]))
    for at, values in enumerate(zip(*(column["values"] for column in table["columns"]), strict=True)):
        row = ET.SubElement(root, "Row", index=str(at))
        for value in values:
            ET.SubElement(row, "F").text = plain(value)


def plain(text: str) -> str:
    """Text without the control characters that XML doesn't have, so that GDAL can read the file."""
    return _NOT_XML.sub("\ufffd", text)
