"""A STAC item with an LCI file as an asset, by pystac, and what opens that asset."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

import learned_codec
from tests import geotiffs
from tests.integrations.test_numcodecs import chunk

xarray = pytest.importorskip("xarray")

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::DeprecationWarning")  # theirs

TRANSFORM = rasterio.Affine(10, 0, 399960, 0, -10, 5800020)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    with geotiffs.write(tmp_path / "scene.tif", chunk(2, 150, 130), crs="EPSG:32633", transform=TRANSFORM):
        pass
    learned_codec.encode_file(tmp_path / "scene.tif", tmp_path / "scene.lci", max_error=0)
    return tmp_path / "scene.lci"


def test_an_item(scene: Path) -> None:
    pystac = pytest.importorskip("pystac")
    with learned_codec.open(scene) as reader:
        box = list(transform_bounds(reader.crs, "EPSG:4326", *reader.bounds))
    item = pystac.Item("scene", None, box, datetime(2026, 6, 1, tzinfo=UTC), {})
    item.add_asset("data", pystac.Asset("./scene.lci", media_type="image/x-lci", roles=["data"]))
    item.set_self_href(str(scene.with_suffix(".json")))
    item.save_object()
    asset = pystac.read_file(str(scene.with_suffix(".json"))).assets["data"]
    assert asset.media_type == "image/x-lci"
    np.testing.assert_array_equal(xarray.open_dataset(asset.get_absolute_href())["band_data"], chunk(2, 150, 130))


def test_the_documented_asset() -> None:
    pystac = pytest.importorskip("pystac")
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text("utf-8")
    said = json.loads(page.split("```json\n")[1].split("```")[0])
    assert pystac.Asset.from_dict(said).to_dict() == said


def test_odc_geo_knows_where_it_lies(scene: Path) -> None:
    pytest.importorskip("odc.geo.xr")
    box = xarray.open_dataset(scene)["band_data"].odc.geobox
    assert (box.shape, box.affine, box.crs.to_epsg()) == ((150, 130), TRANSFORM, 32633)
