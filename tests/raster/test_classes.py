"""Category names and attribute tables of rasters come back, in GDAL's file beside a GeoTIFF."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import CorruptDataError, FileError, InvalidInputError, MetadataLostWarning
from learned_codec.raster import classes, geotags
from learned_codec.raster.files import open_source
from tests.geotiffs import write

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # some have no place
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12).map(
    str.strip
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    rows = draw(st.integers(0, 5))
    columns = [
        {"name": name, "type": 2, "usage": usage, "values": draw(st.lists(TEXTS, min_size=rows, max_size=rows))}
        for name, usage in draw(st.lists(st.tuples(TEXTS, st.sampled_from([0, 1, 2, 18])), min_size=1, max_size=4))
    ]
    columns[0]["usage"] = 2  # else it only counts
    table = {"columns": columns, "kind": draw(st.sampled_from(["thematic", "athematic"]))}
    if draw(st.booleans()):
        table |= {"first": draw(st.integers(-9, 9)) / 4, "step": draw(st.integers(1, 9)) / 4}
    return table


def beside(path: Path, bands: list[dict[str, Any]]) -> None:
    root = ET.Element("PAMDataset")
    for index, band in enumerate(bands, 1):
        element = ET.SubElement(root, "PAMRasterBand", band=str(index))
        table = classes.read_table(band["table"], "table") if "table" in band else None
        classes.add_to(element, band.get("categories", []), table)
    path.with_name(path.name + ".aux.xml").write_bytes(ET.tostring(root, "utf-8"))


def known(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: band[key] for key in ("categories", "table") if key in band} for band in metadata["bands"]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    bands=st.lists(
        st.fixed_dictionaries({}, optional={"categories": st.lists(TEXTS, max_size=5).filter(any), "table": tables()}),
        min_size=1,
        max_size=3,
    )
)
def test_they_come_back(tmp_path_factory: pytest.TempPathFactory, bands: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("classes")
    values = np.random.default_rng(0).integers(0, 4, (len(bands), 9, 11), np.uint8)
    write(folder / "a.tif", values).close()
    beside(folder / "a.tif", bands)
    with open_source(folder / "a.tif", force=True) as source:
        assert known(source.metadata) == bands
    learned_codec.encode_file(folder / "a.tif", folder / "a.lci", max_error=0)
    learned_codec.decode_file(folder / "a.lci", folder / "b.tif")
    with open_source(folder / "b.tif", force=True) as source:
        assert known(source.metadata) == bands
        np.testing.assert_array_equal(source.read(slice(0, 9), slice(0, 11)), values)
    if any(bands):
        with pytest.warns(MetadataLostWarning, match="category names"), (folder / "c.tif").open("wb") as stream:
            learned_codec.decode_file(folder / "a.lci", stream, format="tif")
        with pytest.raises(FileError, match="exist"):  # what lies beside an older b.tif
            (folder / "b.tif").unlink()
            learned_codec.decode_file(folder / "a.lci", folder / "b.tif")
        assert not (folder / "b.tif").exists()
    last = f"{len(bands)}"
    learned_codec.decode_file(folder / "a.lci", folder / "d.tif", bands=int(last))
    with open_source(folder / "d.tif", force=True) as source:
        assert known(source.metadata) == bands[-1:]


def test_a_window_leaves_out_numbers_of_pixels(tmp_path: Path) -> None:
    columns = [
        {"name": "count", "type": 0, "usage": 1, "values": ["7", "8"]},
        {"name": "class", "type": 2, "usage": 2, "values": ["water", "land"]},
    ]
    write(tmp_path / "a.tif", np.eye(40, dtype=np.uint8)[None]).close()
    beside(tmp_path / "a.tif", [{"table": {"columns": columns, "kind": "thematic"}}])
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "b.tif", window=(3, 3, 9, 9))
    with open_source(tmp_path / "b.tif", force=True) as source:
        assert known(source.metadata) == [{"table": {"columns": columns[1:], "kind": "thematic"}}]
    with pytest.warns(MetadataLostWarning, match="category names, attribute tables"):
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "b.png")


def test_images_of_categories_arent_averaged_or_changed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (1, 64, 64), np.uint8) * 200
    write(tmp_path / "a.tif", values).close()
    beside(tmp_path / "a.tif", [{"categories": ["water", "land"]}])
    with pytest.raises(InvalidInputError, match="classes"):
        learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci")
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with learned_codec.open(tmp_path / "a.lci") as reader:
        assert set(np.unique(reader.read(scale=1 / 4))) == {0, 200}


@pytest.mark.parametrize(("usage", "kept"), [(1, False), (5, False), (6, True), (0, True), (2, True)])
def test_tables_that_only_count_arent_taken(tmp_path: Path, usage: int, kept: bool) -> None:
    write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8)).close()
    beside(
        tmp_path / "a.tif", [{"table": {"columns": [{"name": "Forêt", "type": 0, "usage": usage, "values": ["1"]}]}}]
    )
    with open_source(tmp_path / "a.tif") as source:
        assert ("table" in known(source.metadata)[0]) == kept


@pytest.mark.parametrize("known_to_gdal", [False, True])
def test_a_table_of_arcgis_is_named(tmp_path: Path, known_to_gdal: bool) -> None:
    write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8)).close()
    (tmp_path / "a.tif.vat.dbf").write_bytes(bytes(64))
    if known_to_gdal:
        columns = [{"name": "Value", "type": 0, "usage": 0, "values": ["0"]}]
        beside(tmp_path / "a.tif", [{"table": {"columns": columns}}])
        with open_source(tmp_path / "a.tif") as source:
            assert "table" in source.metadata["bands"][0]
        return
    with pytest.warns(MetadataLostWarning, match=r"a\.tif\.vat\.dbf"), open_source(tmp_path / "a.tif"):
        pass


def test_long_tables_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8)).close()
    values = [f"class {n:060}" for n in range(20_000)]
    beside(tmp_path / "a.tif", [{"table": {"columns": [{"name": "a", "type": 2, "usage": 2, "values": values}]}}])
    with (
        pytest.warns(MetadataLostWarning, match="band 1: its attribute table takes 1,3"),
        open_source(tmp_path / "a.tif"),
    ):
        pass


@pytest.mark.parametrize(
    "band",
    [
        {"categories": 5},
        {"categories": [1]},
        {"table": []},
        {"table": {}},
        {"table": {"columns": [{"values": ["a"]}, {"values": []}]}},
        {"table": {"columns": [{"values": ["a"], "type": -1}]}},
        {"table": {"columns": [{"values": ["a"], "name": 3}]}},
    ],
)
def test_other_metadata_is_refused(band: dict[str, Any]) -> None:
    with pytest.raises(CorruptDataError, match="metadata.bands"):
        geotags.parse({"bands": [band]}, 1, None)


def test_control_characters_dont_make_bad_xml() -> None:
    root = ET.Element("a")
    classes.add_to(root, ["\x00a\x1b[31m", "b"], None)
    names = ET.fromstring(ET.tostring(root)).findall("CategoryNames/Category")  # noqa: S314
    assert [name.text for name in names] == ["\ufffda\ufffd[31m", "b"]
