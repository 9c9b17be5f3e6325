"""encode_file() and decode_file(): of rasters, everything but the pixels comes back exactly."""

import base64
import contextlib
import html
import inspect
import io
import os
import stat
import tempfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

import learned_codec
from learned_codec import bitstream, files
from learned_codec.errors import (
    BitstreamError,
    CorruptDataError,
    FileError,
    InputWarning,
    InvalidInputError,
    MetadataLostWarning,
)
from learned_codec.models import registry
from learned_codec.raster.crs import flavour, same
from tests import full_disk, geotiffs
from tests.full_disk import small_disk as small_disk
from tests.geotiffs import FILES, UTM
from tests.streams import FailingFile, Pipe

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # some have no place


def scene(bands: int, dtype: str, height: int = 90, width: int = 110) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    level = 3000 if dtype in ("uint16", "int16") else 128
    planes = [level * (1 + 0.3 * np.sin(x / (5 + i) + y / 17)) for i in range(bands)]
    return np.array(planes).astype(dtype)


def write(path: Path, bands: np.ndarray, **profile: Any) -> Any:
    """A new GeoTIFF of (bands, height, width) that has a place, still open."""
    return geotiffs.write(path, bands, **UTM | profile)


def assert_only_pixels_differ(path: Path, again: Path) -> None:
    expected, found = geotiffs.describe(path), geotiffs.describe(again)
    for key in expected.keys() | found.keys():
        assert found.get(key) == expected.get(key), key
    with rasterio.open(path) as one, rasterio.open(again) as other:
        np.testing.assert_array_equal(other.read_masks(), one.read_masks())
        np.testing.assert_array_equal(other.dataset_mask(), one.dataset_mask())
        if one.dtypes[0] == "float32":
            for special in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(special(other.read()), special(one.read()))


def there_and_back(path: Path, tmp_path: Path, **options: Any) -> Path:
    """Through an LCI file into another folder, where nothing else may be left."""
    folder = tmp_path / "again"
    folder.mkdir()
    info = files.encode_file(path, tmp_path / "a.lci", **options)
    assert info.to_dict() == learned_codec.inspect((tmp_path / "a.lci").read_bytes()).to_dict()
    files.decode_file(tmp_path / "a.lci", folder / "again.tif")
    assert list(folder.iterdir()) == [folder / "again.tif"]
    return folder / "again.tif"


def error_of(path: Path, again: Path) -> float:
    """Mean absolute error of valid values, as a share of their range."""
    with rasterio.open(path) as one, rasterio.open(again) as other:
        a, b = (raster.read(masked=True).astype(float) for raster in (one, other))
    return float(np.ma.abs(a - b).mean() / max(np.ma.ptp(a), 1e-9))


# -- real files --------------------------------------------------------------------------------------------------------


CODED = b"\1" * 64  # fewer bytes would be too few for a tile's many samples


class Hollow:
    """In place of a model: codes nothing, and decodes to 0.5. All but pixels then takes no time."""

    max_step, device = 1152, "cpu"

    def __init__(self, bands: int) -> None:
        self.config = SimpleNamespace(bands=bands, latents=256, layers=[slice(0, 256)] * 9)
        self.positions = np.arange(256)
        self.transform = self

    def expect(self, positions: int, factor: int = 1) -> None:
        pass

    def analyse(self, pixels: np.ndarray, _shape: object = None) -> np.ndarray:
        assert np.isfinite(pixels).all()
        return np.zeros((pixels.shape[1] // 16, pixels.shape[2] // 16, 256), np.float32)

    def lapped(self, _lapping: int) -> "Hollow":
        return self

    def analyse_middle(self, pixels: np.ndarray) -> np.ndarray:
        assert np.isfinite(pixels).all()
        return pixels[..., :16, :16]

    def encoder(self, _components: int) -> SimpleNamespace:
        return SimpleNamespace(
            finish=lambda: CODED, bits=8.0, mark=lambda: 0, bits_from=lambda _: 8.0, cut=lambda _: None, groups=[]
        )

    def code(self, latents: np.ndarray, _step: int, *, encoder: SimpleNamespace, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(encoder=encoder, decoded=latents)

    def saved(self, *_: object) -> float:
        return 9.0

    def step_size(self, step: int) -> np.ndarray:
        return np.full(256, 1e6 * 2 ** (-step / 192), np.float32)  # so coarse that any error is in proportion to it

    def decode(
        self, payload: bytes, _step: int, height: int, width: int, components: int = 1, *_options: object
    ) -> list[np.ndarray]:
        assert bytes(payload) == CODED
        return [np.zeros((height, width, 256), np.float32)] * components

    def synthesise(self, area: np.ndarray, inner: tuple[slice, slice] | None = None, **_options: object) -> np.ndarray:
        whole = np.full((self.config.bands, 16 * area.shape[0], 16 * area.shape[1]), 0.5, np.float32)
        return whole if inner is None else whole[:, *inner]

    def synthesise_bytes(
        self, area: np.ndarray, inner: tuple[slice, slice] | None = None, **_options: object
    ) -> np.ndarray:
        return np.rint(255 * self.synthesise(area, inner)).astype(np.uint8)


@pytest.fixture
def hollow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda card, *_: Hollow(card.bands))


def test_deep_pictures_from_file_objects(tmp_path: Path) -> None:
    values = np.arange(70 * 90, dtype=np.uint16).reshape(70, 90) * 10
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    stream.seek(0)
    assert files.encode_file(stream, tmp_path / "a.lci", quality=90).dtype == "uint16"


@pytest.mark.skipif(not FILES, reason="no test images")
@pytest.mark.usefixtures("hollow")
@pytest.mark.filterwarnings(
    "ignore::learned_codec.errors.InputWarning"
)  # two of them have voids that they don't declare
@pytest.mark.filterwarnings("ignore::learned_codec.errors.DistortionWarning")  # a hollow model loses everything
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_of_real_files_only_pixels_differ(path: Path, tmp_path: Path) -> None:
    if path.suffix == ".png":
        files.encode_file(path, tmp_path / "a.lci")
        files.decode_file(tmp_path / "a.lci", tmp_path / "again.png")
        with Image.open(path) as one, Image.open(tmp_path / "again.png") as other:
            assert (one.size, one.mode, one.info.keys()) == (other.size, other.mode, other.info.keys())
        return
    again = there_and_back(path, tmp_path, force="colour_table" in path.name)
    assert_only_pixels_differ(path, again)


SMALL = [path for path in FILES if path.name in ("tiny_64px_u8_nodata0.tif", "rotated_geotransform_tiny.tif")]


@pytest.mark.skipif(not SMALL, reason="no test images")
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_small_real_files_with_the_real_model(path: Path, tmp_path: Path) -> None:
    again = there_and_back(path, tmp_path, quality=80)
    assert_only_pixels_differ(path, again)
    assert error_of(path, again) < 0.05


# -- one feature each --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "dtype", "nodata"),
    [(1, "uint8", None), (3, "uint8", 0), (4, "uint8", 255), (2, "uint16", 0), (1, "int16", -32768),
     (2, "float32", float("nan")), (1, "float32", -3.4028234663852886e38), (1, "float32", -9999)],
)  # fmt: skip
def test_dtypes_and_nodata(tmp_path: Path, bands: int, dtype: str, nodata: float | None) -> None:
    path, values = tmp_path / "a.tif", scene(bands, dtype)
    if nodata is not None:
        values[:, :30, 20:] = nodata
        values[-1, 60:, :40] = nodata
    write(path, values, nodata=nodata, photometric="MINISBLACK").close()
    again = there_and_back(path, tmp_path, quality=70)
    assert_only_pixels_differ(path, again)
    assert error_of(path, again) < 0.04


def test_everything_that_a_geotiff_can_say(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        write(path, scene(4, "uint16"), transform=Affine(8, 3, 4e5, 2, -9, 5e6)) as raster,
    ):
        raster.descriptions = ("blue", "grün", "", "nir")
        raster.units = ("m", "", "K", "")
        raster.scales, raster.offsets = (0.5, 1, 1, 1e-4), (0, -273.15, 0, 2)
        raster.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir]
        raster.update_tags(TIFFTAG_SOFTWARE="mine", AREA_OR_POINT="Point")
        raster.update_tags(ns="MINE", a="1", b="x = y")
        raster.update_tags(2, wavelength="560")
        raster.write_mask(np.arange(90 * 110).reshape(90, 110) % 7 > 0)
    again = there_and_back(path, tmp_path, tile_size=64)
    assert_only_pixels_differ(path, again)


def test_alpha(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scene(4, "uint8")
    values[3] = np.random.default_rng(0).integers(0, 256, values.shape[1:])
    values[3, :20] = 0
    write(path, values, alpha="YES", photometric="RGB").close()
    with pytest.warns(InputWarning, match="pixels of opacity 0 have values, which aren't kept"):
        again = there_and_back(path, tmp_path)
    assert_only_pixels_differ(path, again)
    with rasterio.open(again) as raster:
        np.testing.assert_array_equal(raster.read(4), values[3])
        assert not raster.read(1)[:20].any()
    with pytest.warns(MetadataLostWarning, match="^a.png: PNG can't hold.*georeference"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(picture)[..., 3], values[3])


def test_radar_by_its_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = (10 ** (scene(1, "float32") / 128 - 3)).astype(np.float32)
    values[:, :9] = 0
    with write(path, values) as raster:
        raster.update_tags(UNIT="gamma0 linear power", POL="VV")
    again = there_and_back(path, tmp_path, nodata=0)
    assert learned_codec.inspect((tmp_path / "a.lci").read_bytes()).unit == "power"
    with rasterio.open(again) as raster:
        back = raster.read()
        assert raster.nodata == 0
        assert raster.tags()["UNIT"] == "gamma0 linear power"
    np.testing.assert_array_equal(back == 0, values == 0)
    assert np.abs(10 * np.log10(back[:, 9:] / values[:, 9:])).mean() < 0.5


def test_float64_says_that_it_becomes_float32(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scene(1, "float64")
    values[0, :8] = lowest = np.finfo(np.float64).min
    write(path, values, nodata=lowest).close()
    with pytest.warns(UserWarning, match=r"float64 is stored as float32, and its nodata value -1\.79769e\+308 as NaN"):
        files.encode_file(path, tmp_path / "a.lci")
    files.decode_file(tmp_path / "a.lci", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as raster:
        assert raster.dtypes == ("float32",)
        np.testing.assert_array_equal(np.isnan(raster.read()), values == lowest)


def test_windows_move_the_georeference(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    transform = Affine(8, 3, 4e5, 2, -9, 5e6)
    values = scene(2, "uint16", 200, 150)
    values[:, 100:120] = 0
    write(path, values, transform=transform, nodata=0).close()
    files.encode_file(path, tmp_path / "a.lci", tile_size=64)
    files.decode_file(tmp_path / "a.lci", out, window=(70, 41, 90, 30))
    whole = learned_codec.decode((tmp_path / "a.lci").read_bytes())
    with rasterio.open(out) as raster:
        assert raster.transform == Affine(8, 3, 4e5 + 8 * 41 + 3 * 70, 2, -9, 5e6 + 2 * 41 - 9 * 70)
        assert (raster.height, raster.width, raster.nodata) == (90, 30, 0)
        part = raster.read().astype(int)
    assert np.abs(part - whole.transpose(2, 0, 1)[:, 70:160, 41:71]).max() <= 1
    with rasterio.open(path) as one:
        np.testing.assert_array_equal(part == 0, one.read()[:, 70:160, 41:71] == 0)


def test_windows_move_points_and_polynomials(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    values = scene(1, "uint8", 60, 60)[0]
    points = [GroundControlPoint(r, c, 10 + c / 7, 50 - r / 9, 3.5) for r in (0, 7.5) for c in (0.5, 8)]
    with rasterio.open(path, "w", driver="GTiff", count=1, height=60, width=60, dtype="uint8") as raster:
        raster.write(values, 1)
        raster.gcps = (points, CRS.from_epsg(4326))
    files.encode_file(path, tmp_path / "a.lci")
    files.decode_file(tmp_path / "a.lci", out, window=(4, 5, 20, 30))
    with rasterio.open(out) as raster:
        assert [(p.row, p.col, p.x, p.y) for p in raster.gcps[0]] == [(p.row - 4, p.col - 5, p.x, p.y) for p in points]

    terms = [i / 7 for i in range(20)]
    with rasterio.open(path, "w", driver="GTiff", count=1, height=60, width=60, dtype="uint8") as raster:
        raster.write(values, 1)
        raster.rpcs = RPC(1.5, 2, 3, 40, terms, terms, 5, 6, 7, 8, terms, terms, 9, 10, err_bias=11, err_rand=0.25)
    with rasterio.open(path) as raster:
        before = raster.rpcs.to_dict()
    files.encode_file(path, tmp_path / "a.lci", overwrite=True)
    files.decode_file(tmp_path / "a.lci", out, window=(4, 5, 20, 30), overwrite=True)
    with rasterio.open(out) as raster:
        after = raster.rpcs.to_dict()
    assert (after["line_off"], after["samp_off"]) == (before["line_off"] - 4, before["samp_off"] - 5)
    assert {k: v for k, v in after.items() if not k.endswith("_off")} == {
        k: v for k, v in before.items() if not k.endswith("_off")
    }


@pytest.mark.parametrize("window", [None, (70, 41, 90, 30), (0, 0, 1, 1), (17, 33, 183, 117)])
@pytest.mark.parametrize("factor", [2, 16])
def test_reduced_images_and_their_georeference(
    tmp_path: Path, window: tuple[int, int, int, int] | None, factor: int
) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    transform = Affine(8, 3, 4e5, 2, -9, 5e6)
    values = scene(2, "uint16", 200, 150)
    values[:, 100:120] = 0
    with write(path, values, transform=transform, nodata=0, tiled=True, blockxsize=64, blockysize=64) as raster:
        raster.update_tags(1, STATISTICS_MEAN="7")
        raster.build_overviews([2, 4, 8])
    files.encode_file(path, tmp_path / "a.lci", tile_size=64)
    files.decode_file(tmp_path / "a.lci", out, window=window, scale=1 / factor, overviews=True)
    with learned_codec.open(tmp_path / "a.lci") as reader:
        expected = reader.read(window=window, scale=1 / factor)
    row, column = (0, 0) if window is None else window[:2]
    with rasterio.open(out) as raster:
        np.testing.assert_array_equal(raster.read().transpose(1, 2, 0), expected)
        # The pixel that holds the window's corner lies where it lay.
        x, y = column // factor * factor, row // factor * factor
        a, b, c, d, e, f = transform[:6]
        assert raster.transform == Affine(
            factor * a, factor * b, c + a * x + b * y, factor * d, factor * e, f + d * x + e * y
        )
        assert raster.nodata == 0
        assert "STATISTICS_MEAN" not in raster.tags(1)
        if window is None:
            assert raster.overviews(1) == ([2, 4] if factor == 2 else [])
    files.decode_file(tmp_path / "a.lci", tmp_path / "whole.tif", overwrite=True)
    with rasterio.open(tmp_path / "whole.tif") as raster:
        assert "STATISTICS_MEAN" in raster.tags(1)


def test_points_and_polynomials_of_reduced_images(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    values = scene(1, "uint8", 64, 64)[0]
    points = [GroundControlPoint(r, c, 10 + c / 7, 50 - r / 9, 3.5) for r in (0, 7.5) for c in (0.5, 8)]
    one, longitude, latitude = ([float(i == which) for i in range(20)] for which in range(3))
    polynomials = RPC(1.5, 2, 30, 0.5, one, latitude, 5, 60, 7, 0.4, one, longitude, 9, 70)
    for name, value in (("gcps", (points, CRS.from_epsg(4326))), ("rpcs", polynomials)):
        with rasterio.open(path, "w", driver="GTiff", count=1, height=64, width=64, dtype="uint8") as raster:
            raster.write(values, 1)
            setattr(raster, name, value)
        files.encode_file(path, tmp_path / "a.lci", overwrite=True)
        files.decode_file(tmp_path / "a.lci", out, scale=1 / 4, overwrite=True)
        with rasterio.open(path) as whole, rasterio.open(out) as raster:
            assert [(p.row, p.col, p.x, p.y) for p in raster.gcps[0]] == [
                (p.row / 4, p.col / 4, p.x, p.y) for p in whole.gcps[0]
            ]
            if whole.rpcs:  # the corners of pixels lie where they lay
                places = [[0, 10.0, 64], [64, 3.0, 0]]
                found = [
                    rasterio.transform.RPCTransformer(r.rpcs).xy(*(np.array(p) / n for p in places), offset="ul")
                    for r, n in ((whole, 1), (raster, 4))
                ]
                np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


@pytest.mark.parametrize("scale", [1 / 3, 0, 2, "1/2", None])
def test_other_scales_are_refused(tmp_path: Path, scale: Any) -> None:
    (tmp_path / "a.lci").write_bytes(learned_codec.encode(scene(1, "uint8", 64, 64)[0]))
    with pytest.raises(InvalidInputError, match="scale must be"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "c.tif", scale=scale)
    assert not (tmp_path / "c.tif").exists()


def test_bands(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    with write(path, scene(4, "uint16")) as raster:
        raster.descriptions = ("a", "b", "c", "d")
        raster.scales = (1, 2, 3, 4)
    files.encode_file(path, tmp_path / "a.lci", quality=90)
    files.decode_file(tmp_path / "a.lci", out, bands=[4, 2])
    whole = learned_codec.decode((tmp_path / "a.lci").read_bytes())
    with rasterio.open(out) as raster:
        assert (raster.descriptions, raster.scales) == (("d", "b"), (4, 2))
        np.testing.assert_array_equal(raster.read(), whole.transpose(2, 0, 1)[[3, 1]])
    for bands in ([0], [5], []):
        with pytest.raises(InvalidInputError, match="from 1 to 4"):
            files.decode_file(tmp_path / "a.lci", tmp_path / "c.tif", bands=bands)
    with pytest.raises(InvalidInputError, match="window"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "c.tif", window=(0, 0, 91, 1))
    assert not (tmp_path / "c.tif").exists()


def test_some_bands_of_an_image_with_alpha(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scene(4, "uint8")
    write(path, values, alpha="YES", photometric="RGB").close()
    files.encode_file(path, tmp_path / "a.lci")
    files.decode_file(tmp_path / "a.lci", tmp_path / "b.tif", bands=[2])
    with rasterio.open(tmp_path / "b.tif") as raster:
        assert [c.name for c in raster.colorinterp] == ["green", "alpha"] or raster.colorinterp[1] == ColorInterp.alpha
        np.testing.assert_array_equal(raster.read(2), values[3])


def test_overviews(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, scene(1, "uint8", 300, 300), tiled=True, blockxsize=64, blockysize=64) as raster:
        raster.build_overviews([2, 4])
    files.encode_file(path, tmp_path / "a.lci")
    for wanted in (False, True):
        out = tmp_path / f"{wanted}.tif"
        files.decode_file(tmp_path / "a.lci", out, overviews=wanted)
        with rasterio.open(out) as raster:
            assert raster.overviews(1) == ([2, 4] if wanted else [])
            np.testing.assert_array_equal(raster.read(1), learned_codec.decode((tmp_path / "a.lci").read_bytes()))


def test_other_formats(tmp_path: Path) -> None:
    path, lci = tmp_path / "a.tif", tmp_path / "a.lci"
    write(path, scene(3, "uint8")).close()
    files.encode_file(path, lci)
    with pytest.warns(MetadataLostWarning, match="^a.png: "):
        files.decode_file(lci, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), learned_codec.decode(lci.read_bytes()))
    write(path, scene(2, "float32")).close()
    files.encode_file(path, lci, overwrite=True)
    with pytest.raises(InvalidInputError, match="png"):
        files.decode_file(lci, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
    # 16 bits of one band have a place in a PNG.
    Image.fromarray(scene(1, "uint16")[0]).save(tmp_path / "deep.png")
    files.encode_file(tmp_path / "deep.png", lci, overwrite=True)
    files.decode_file(lci, tmp_path / "c.png")
    with rasterio.open(tmp_path / "c.png") as raster:
        assert raster.dtypes == ("uint16",)


def test_file_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, scene(1, "int16"), nodata=-1).close()
    coded, back = io.BytesIO(), io.BytesIO()
    files.encode_file(io.BytesIO(path.read_bytes()), coded)
    files.decode_file(io.BytesIO(coded.getvalue()), back, format="tif")
    assert back.getvalue().startswith(b"II*\0")

    again = io.BytesIO()
    files.decode_file(Pipe(coded.getvalue()), again, format="tif")
    assert again.getvalue() == back.getvalue()
    (tmp_path / "b.tif").write_bytes(back.getvalue())
    assert_only_pixels_differ(path, tmp_path / "b.tif")


def test_nodata_that_is_said_by_the_caller(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scene(1, "uint16")
    values[:, :20] = 0
    write(path, values).close()
    files.encode_file(path, tmp_path / "a.lci", nodata=0)
    files.decode_file(tmp_path / "a.lci", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as raster:
        assert raster.nodata == 0
        np.testing.assert_array_equal(raster.read() == 0, values == 0)
    with pytest.raises(InvalidInputError, match="uint16 can have, not -9999"):
        files.encode_file(path, tmp_path / "c.lci", nodata=-9999)
    assert not (tmp_path / "c.lci").exists()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from([("uint8", 255), ("uint16", 65535), ("int16", -32768), ("int16", -9999), ("float32", -9999.5),
                     ("float32", float("nan"))]),
    st.sampled_from([None, "s2-l2a", "photo"]),
    st.booleans(),
)  # fmt: skip
def test_the_file_knows_its_nodata_better_than_a_profile(kind: Any, profile: str | None, masked: bool) -> None:
    dtype, nodata = kind
    values = scene(2, dtype, 40, 50)
    values[:, :, :10] = nodata
    values[:, 30:, 30:] = 0  # measured
    with tempfile.TemporaryDirectory() as folder, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # the zeros beside a mask, too, might be no values
        path, again = Path(folder, "a.tif"), Path(folder, "b.tif")
        with write(path, values, nodata=None if masked else nodata) as raster:
            if masked:
                raster.write_mask(np.tile(np.arange(50) >= 10, (40, 1)))
        files.encode_file(path, Path(folder, "a.lci"), profile=profile)
        files.decode_file(Path(folder, "a.lci"), again)
        with rasterio.open(path) as one, rasterio.open(again) as other:
            assert repr(other.nodata) == repr(one.nodata)
            np.testing.assert_array_equal(other.dataset_mask(), one.dataset_mask())


def test_a_profile_says_nodata_where_the_file_does_not(tmp_path: Path) -> None:
    values = scene(1, "uint16")
    values[:, :20] = 0
    write(tmp_path / "a.tif", values).close()
    info = files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", profile="s2-l2a")
    assert info.nodata == 0
    assert info.quality == pytest.approx(60, abs=0.1)
    with pytest.warns(InputWarning, match="22.2% of band 1 are 0"):
        info = files.encode_file(tmp_path / "a.tif", tmp_path / "b.lci", profile="s2-l2a", nodata=7, bpp=2)
    assert info.nodata == 7
    with pytest.raises(InvalidInputError, match="no profile 's3'; profiles: s1-grd"):
        files.encode_file(tmp_path / "a.tif", tmp_path / "c.lci", profile="s3")


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1.7e9, -1e12])
def test_detail_of_float64_files_that_float32_loses_is_told(offset: float, dtype: str | None, tmp_path: Path) -> None:
    values = scene(2, "float64")
    values[1] += offset
    values[:, :9] = -3e300
    write(tmp_path / "a.tif", values, nodata=-3e300).close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", dtype=dtype)
    said = " ".join(str(warning.message) for warning in caught)
    assert ("beside the deviation of band 2" in said) == (abs(offset) > 1e6)
    assert ("float64 is stored as float32" in said) == (dtype is None or abs(offset) > 1e6)


@pytest.mark.parametrize(
    ("dtype", "hidden"), [("float64", 1e39), ("float64", -1e300), ("int32", 2**30), ("uint32", 2**32 - 1)]
)
def test_what_a_mask_of_a_file_hides_need_not_fit(dtype: str, hidden: float, tmp_path: Path) -> None:
    values = scene(2, "uint16").astype(dtype)
    mask = np.full(values.shape[1:], 255, np.uint8)
    mask[10:30, 20:50] = 0
    values[:, mask == 0] = hidden
    with write(tmp_path / "a.tif", values) as raster:
        raster.write_mask(mask)
    with pytest.warns(InputWarning, match=f"{dtype} is stored as"):
        files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci")
    decoded = learned_codec.decode(tmp_path / "a.lci", masked=True).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), np.broadcast_to(mask == 0, values.shape))
    assert np.abs(decoded.astype(float) - np.ma.masked_array(values, decoded.mask)).max() < values[:, mask > 0].std()


def test_of_radar_a_border_of_zeros_is_nodata_and_zeros_inside_are_measured(tmp_path: Path) -> None:
    values = scene(2, "uint16", 120, 130)
    values[:, :, :20] = values[1, :30] = 0
    values[:, 60:80, 60:80] = 0  # a lake
    write(tmp_path / "a.tif", values).close()
    with pytest.warns(InputWarning, match="of the values are 0 or negative"):  # the lake
        info = files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", profile="s1-grd")
    assert info.nodata == 0
    decoded = learned_codec.decode(tmp_path / "a.lci", masked=True)
    hidden = np.zeros(values.shape, bool)
    hidden[:, :, :20] = hidden[1, :30] = True
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded).transpose(2, 0, 1), hidden)
    files.encode_file(tmp_path / "a.tif", tmp_path / "b.lci", profile="s1-grd", nodata=0)
    everywhere = np.ma.getmaskarray(learned_codec.decode(tmp_path / "b.lci", masked=True)).transpose(2, 0, 1)
    np.testing.assert_array_equal(everywhere, values == 0)


def test_nodata_of_the_caller_is_that_of_the_file_but_for_rounding(tmp_path: Path) -> None:
    values = scene(1, "float32")
    values[:, :20] = np.float32(-0.1)
    write(tmp_path / "a.tif", values, nodata=-0.1).close()
    assert np.float32(files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", nodata=-0.1).nodata) == np.float32(-0.1)


@pytest.mark.parametrize("own", [65535, 0])
def test_nodata_of_the_caller_against_that_of_the_file(tmp_path: Path, own: int) -> None:
    values = scene(1, "uint16")
    values[:, :20] = 0
    write(tmp_path / "a.tif", values, nodata=own).close()
    with pytest.warns(MetadataLostWarning, match="nodata is 0.*not 65535") if own else contextlib.nullcontext():
        info = files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", nodata=0)
    assert info.nodata == 0


def test_windows_do_not_have_the_statistics_of_the_whole(tmp_path: Path) -> None:
    with write(tmp_path / "a.tif", scene(2, "uint16")) as raster:
        raster.update_tags(STATISTICS_VALID_PERCENT="100", other="1")
        raster.update_tags(2, STATISTICS_MAXIMUM="3900", STATISTICS_MEAN="3000", wavelength="560")
    files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci")
    for number, window in enumerate((None, (0, 0, 90, 110), (0, 0, 90, 109), (3, 4, 20, 20))):
        files.decode_file(tmp_path / "a.lci", tmp_path / f"{number}.tif", window=window)
        with rasterio.open(tmp_path / f"{number}.tif") as raster:
            assert ("STATISTICS_MEAN" in raster.tags(2)) == (number < 2)
            assert ("STATISTICS_VALID_PERCENT" in raster.tags()) == (number < 2)
            assert (raster.tags()["other"], raster.tags(2)["wavelength"]) == ("1", "560")


@pytest.mark.parametrize(
    ("crs", "inside"),
    [("EPSG:4326+5773", True), ("ESRI:54035", True), ("+proj=healpix +R=6371000", False), ("+proj=isea", False),
     ("+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +o_lon_p=0 +lon_0=18", False),
     ("IAU_2015:49901", False), ("+proj=cass +lat_0=-30 +lon_0=29 +axis=wsu", False),
     ("+proj=tmerc +lon_0=29 +axis=wsu +ellps=clrk80", True)],
)  # fmt: skip
def test_any_crs_comes_back(tmp_path: Path, crs: str, inside: bool) -> None:
    """What a GeoTIFF can't hold stands beside it, and a warning says so."""
    folder, right = tmp_path / "again", CRS.from_user_input(crs)
    folder.mkdir()
    wkt = html.escape(right.to_wkt(version="WKT2_2019"))
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="30" rasterYSize="20"><SRS>{wkt}</SRS><GeoTransform>1,10,0,2,0,-10</GeoTransform>'
        '<VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>'
    )
    files.encode_file(tmp_path / "a.vrt", tmp_path / "a.lci")
    told = contextlib.nullcontext() if inside else pytest.warns(MetadataLostWarning, match="b.tif.aux.xml")
    with told:
        files.decode_file(tmp_path / "a.lci", folder / "b.tif")
    assert len(list(folder.iterdir())) == (1 if inside else 2)
    with rasterio.open(folder / "b.tif") as raster:
        assert same(raster.crs, right)
        assert raster.transform == Affine(10, 0, 1, 0, -10, 2)
    if inside:
        return
    with pytest.warns(MetadataLostWarning, match="isn't kept"):  # a file object has no neighbours
        files.decode_file(tmp_path / "a.lci", io.BytesIO(), format="tif")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "b.tif").unlink()
    with pytest.raises(FileError, match="aux.xml: exists"):
        files.decode_file(tmp_path / "a.lci", folder / "b.tif")
    assert list(folder.iterdir()) == [folder / "b.tif.aux.xml"]
    (folder / "b.tif.aux.xml").unlink()
    with pytest.raises(InvalidInputError, match="window"):
        files.decode_file(tmp_path / "a.lci", folder / "b.tif", window=(0, 0, 99, 99))
    assert not list(folder.iterdir())
    with pytest.warns(MetadataLostWarning, match="b.tif.aux.xml"):
        files.decode_file(tmp_path / "a.lci", folder / "b.tif")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_crs_that_differ_by_a_geoid_are_not_the_same() -> None:
    one, other = (
        CRS.from_user_input(f"+proj=utm +zone=33 +vunits=m +geoidgrids={name}") for name in ("a.gtx", "b.gtx")
    )
    assert same(one, one)
    assert not same(one, other)


@pytest.mark.parametrize(
    "projection", ["lcc +lat_1=30 +lat_2=60", "aea +lat_1=20 +lat_2=50", "cass +lat_0=-30", "merc"]
)
def test_axes_that_lead_elsewhere_are_not_the_same(projection: str) -> None:
    """PROJ's parameters of these projections don't say where the axes lead. Their order makes no difference."""
    axes = {x + y: CRS.from_user_input(f"+proj={projection} +lon_0=29 +axis={x}{y}u") for x in "ew" for y in "ns"}
    axes |= {y + x: CRS.from_user_input(f"+proj={projection} +lon_0=29 +axis={y}{x}u") for x in "ew" for y in "ns"}
    for one, first in axes.items():
        for other, second in axes.items():
            assert same(first, second) == (set(one) == set(other))


@pytest.mark.parametrize("crs", ["+proj=stere +lat_0=-90 +lat_ts=-71 +R=6371229", "+proj=laea +lat_0=90 +R=6371229"])
def test_axes_at_a_pole_fit_into_a_geotiff(crs: str) -> None:
    assert flavour(CRS.from_user_input(crs)) == "STANDARD"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([255, 128, 0]), min_size=3, max_size=3), st.sampled_from([None, 0, 1]))
def test_opacity_of_colour_tables_is_told_where_it_is_lost(opacity: list[int], nodata: int | None) -> None:
    """A TIFF's colour table has none, but GDAL gives that of nodata as 0. A PNG has it."""
    table = np.array([[9, 8, 7, alpha] for alpha in opacity], np.uint8)
    values = np.tile(np.arange(66, dtype=np.uint8) % 3, (20, 1))
    metadata = {"colormap": base64.b64encode(table.tobytes()).decode(), "bands": [{"color": "palette"}]}
    coded = io.BytesIO(learned_codec.encode(values, max_error=0, metadata=metadata, nodata=nodata))
    lost = sum(alpha < 255 for index, alpha in enumerate(opacity) if index != nodata)
    tells = pytest.warns(MetadataLostWarning, match=f"so {lost} colour") if lost else warnings.catch_warnings()
    with tempfile.TemporaryDirectory() as folder, tells:
        files.decode_file(coded, Path(folder, "a.tif"))
        with rasterio.open(Path(folder, "a.tif")) as raster:
            assert [colour[:3] for colour in list(raster.colormap(1).values())[:3]] == [(9, 8, 7)] * 3


def test_texts_that_a_geotiff_cannot_hold_are_told(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    for key, text in (("Comment", "one"), ("Comment", "two"), ("a=b", "three"), ("Title", "four")):
        texts.add_text(key, text)
    Image.fromarray(scene(1, "uint8")[0]).save(tmp_path / "a.png", pnginfo=texts)
    files.encode_file(tmp_path / "a.png", tmp_path / "a.lci")
    with pytest.warns(MetadataLostWarning, match=r"not all kept: Comment, a=b$"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "a.tif")
    files.decode_file(tmp_path / "a.lci", tmp_path / "b.png")  # says nothing


@pytest.mark.parametrize(("document", "kept"), [('<a b="1"/>', True), ("<a>1</a>", False)])
def test_documents_beside_the_pixels_are_kept_or_told(tmp_path: Path, document: str, kept: bool) -> None:
    metadata = {"tags": {"xml:X": {"xml:X": document}}}
    (tmp_path / "a.lci").write_bytes(learned_codec.encode(scene(1, "uint8")[0], metadata=metadata))
    with warnings.catch_warnings() if kept else pytest.warns(MetadataLostWarning, match="tags xml:X"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.tags(ns="xml:X") == ({"xml:X": document} if kept else {})


def test_two_crs_of_the_same_parameters_are_not_the_same() -> None:
    one, other = CRS.from_epsg(4258), CRS.from_epsg(4326)  # ETRS89, WGS 84
    assert not same(one, other)
    assert same(one, CRS.from_epsg(4258))
    assert not same(None, other)


WORLD, MAPINFO = "1\n0\n0\n-1\n5\n5\n", 'Definition Table\nFile "a"\nType "RASTER"\n'
PAM = "<PAMDataset><SRS>EPSG:3857</SRS></PAMDataset>"


@pytest.mark.parametrize(
    ("image", "other", "text", "placed", "told"),
    [
        *(("a.tif", f"a.tif{end}", PAM, placed, True) for end in (".aux.xml", ".msk", ".ovr") for placed in (0, 1)),
        *(("a.tif", other, WORLD, placed, not placed) for other in ("a.tfw", "a.TFW", "a.wld") for placed in (0, 1)),
        *(("a.tif", other, "LINE_OFF: 1", placed, True) for other in ("a_RPC.TXT", "a.RPB") for placed in (0, 1)),
        ("a.tif", "a.tab", MAPINFO, False, True),
        *(("a.png", other, WORLD, placed, True) for other in ("a.pgw", "a.PNGW", "a.wld") for placed in (0, 1)),
        ("a.png", "a.png.aux.xml", PAM, False, True),
        ("a.jpg", "a.jgw", WORLD, False, True),
        ("a.jpg", "a.jpg.msk", PAM, False, True),
        ("a.png", "a_RPC.TXT", "LINE_OFF: 1", False, False),  # GDAL reads it with TIFFs
        ("a.png", "a.tfw", WORLD, False, False),
    ],
)
def test_what_lies_beside_a_file_that_is_written_is_told(
    tmp_path: Path, image: str, other: str, text: str, placed: bool, told: bool
) -> None:
    """An old mask, say, would hide pixels of the new image, and an old world file would move it."""
    geotiffs.write(tmp_path / "b.tif", scene(1, "uint8"), **UTM if placed else {}).close()
    files.encode_file(tmp_path / "b.tif", tmp_path / "b.lci")
    (tmp_path / other).write_text(text)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        files.decode_file(tmp_path / "b.lci", tmp_path / image)
    about = [warning for warning in found if f"{other} is there already" in str(warning.message)]
    assert [warning.category for warning in about] == [MetadataLostWarning] * told
    assert (tmp_path / other).read_text() == text


def test_names_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    """Files that belong beside these can't exist: their names would be too long."""
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        for length in (240, 247, 255):
            folder = tmp_path / f"{suffix}{length}"
            folder.mkdir()
            path = folder / ("n" * (length - len(suffix)) + suffix)
            Image.fromarray(scene(1, "uint8")[0]).save(path)
            files.encode_file(path, folder / ("m" * length))
            path.unlink()
            files.decode_file(folder / ("m" * length), path)
            with Image.open(path) as picture:
                assert picture.size == (110, 90)
    for name in ("x" * 300, "x" * 300 + ".tif"):
        with pytest.raises(FileError, match="too long"):
            files.encode_file(tmp_path / name, tmp_path / "a.lci")
        with pytest.raises(FileError, match="too long"):
            files.decode_file(folder / ("m" * length), tmp_path / name, format="png")
    with pytest.raises(InvalidInputError, match="can be read"):
        files.encode_file("/vsizip/none.zip/" + "x" * 300 + ".tif", tmp_path / "a.lci")


def test_a_crs_beside_a_name_that_leaves_no_room(tmp_path: Path) -> None:
    transform, crs = Affine(1, 0, 0, 0, -1, 0), CRS.from_user_input("+proj=isea")
    coded, path = tmp_path / "a.lci", tmp_path / ("n" * 251 + ".tif")
    with rasterio.MemoryFile(ext=".tif") as memory:
        memory.open(driver="GTiff", dtype="uint8", count=1, width=8, height=8, transform=transform).close()
        (tmp_path / "a.tif").write_bytes(memory.read())
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset><SRS>{html.escape(crs.to_wkt())}</SRS></PAMDataset>")
    files.encode_file(tmp_path / "a.tif", coded)
    with pytest.warns(MetadataLostWarning, match="it isn't kept"):
        files.decode_file(coded, path)


def test_names_that_only_gdal_understands(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", scene(2, "uint16"), nodata=7).close()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene(1, "uint8")[0]).save(tmp_path / "b.jpg", exif=exif)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.tif", "b.jpg"):
            archive.write(tmp_path / name, f"deep/{name}")
    (tmp_path / "pixels: 7.tif").write_bytes((tmp_path / "a.tif").read_bytes())  # a path all the same
    expected = files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci").to_dict()
    for number, source in enumerate((f"/vsizip/{tmp_path}/a.zip/deep/a.tif", f"zip://{tmp_path}/a.zip!deep/a.tif",
                                     f"GTIFF_DIR:1:{tmp_path}/a.tif", tmp_path / "pixels: 7.tif")):  # fmt: skip
        info = files.encode_file(source, tmp_path / f"{number}.lci")
        assert info.to_dict() == expected
    with pytest.warns(MetadataLostWarning, match="the orientation in its EXIF"):
        files.encode_file(f"/vsisubfile/0,{tmp_path}/b.jpg", tmp_path / "b.lci")
    inside = files.encode_file(f"/vsizip/{tmp_path}/a.zip/deep/b.jpg", tmp_path / "d.lci")
    assert inside.to_dict() == files.encode_file(tmp_path / "b.jpg", tmp_path / "e.lci").to_dict()
    for absent in (f"/vsizip/{tmp_path}/a.zip/none.tif", "/vsimem/none.tif", "nowhere:none"):
        with pytest.raises(InvalidInputError, match="none"):
            files.encode_file(absent, tmp_path / "c.lci")


def test_classes_are_refused_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, scene(1, "uint8")) as raster:
        raster.write_colormap(1, {i: (i, 255 - i, 7, 255) for i in range(256)})
    with pytest.raises(InvalidInputError, match="change classes.*force"):
        files.encode_file(path, tmp_path / "a.lci")
    assert_only_pixels_differ(path, there_and_back(path, tmp_path, force=True))


# -- failures ----------------------------------------------------------------------------------------------------------


def test_what_is_streamed_is_what_decode_gives(tmp_path: Path) -> None:
    values = scene(3, "uint16", 300, 200)
    values[:, 100:200, 50:90] = 0
    write(tmp_path / "a.tif", values, nodata=0).close()
    files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", tile_size=64)
    data = learned_codec.encode(values.transpose(1, 2, 0), nodata=0, tile_size=64)
    one, other = bitstream.read((tmp_path / "a.lci").read_bytes()), bitstream.read(data)
    assert one.header == other.header
    assert all(one.tile(i) == other.tile(i) for i in range(len(one.tiles)))
    files.decode_file(tmp_path / "a.lci", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as raster:
        whole = learned_codec.decode((tmp_path / "a.lci").read_bytes())
        np.testing.assert_array_equal(raster.read(), whole.transpose(2, 0, 1))


def with_a_damaged_end(data: bytes) -> bytes:
    """One bit of the last tile flipped."""
    broken = bytearray(data)
    broken[bitstream.read_head(data).tiles[-1].offset + 3] ^= 1
    return bytes(broken)


def test_failures_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, lci = tmp_path / "a.tif", tmp_path / "a.lci"
    write(source, scene(1, "uint16", 200, 200), compress="deflate").close()
    files.encode_file(source, lci, tile_size=64)
    broken, cut = tmp_path / "broken.lci", tmp_path / "cut.tif"
    broken.write_bytes(with_a_damaged_end(lci.read_bytes()))  # by then, the first tiles have been written
    cut.write_bytes(source.read_bytes()[:-400])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(CorruptDataError, match="tile 15"):
        files.decode_file(broken, tmp_path / "out.tif")
    with pytest.raises(CorruptDataError, match="tile 15"):
        files.decode_file(broken, source, overwrite=True)  # what is there stays
    with pytest.raises(BitstreamError):
        files.decode_file(source, tmp_path / "out.tif")
    with pytest.raises(InvalidInputError):
        files.encode_file(cut, tmp_path / "out.lci")
    with pytest.raises(InvalidInputError, match="quality"):
        files.encode_file(source, tmp_path / "out.lci", quality=0)
    with pytest.raises(FileError, match="exists"):
        files.encode_file(source, lci)
    with pytest.raises(FileError, match="exists"):
        files.decode_file(lci, source)
    with pytest.raises(FileError):
        files.decode_file(tmp_path / "absent.lci", tmp_path / "out.tif")
    with pytest.raises(FileError, match="No such file"):
        files.decode_file(lci, tmp_path / "no" / "folder.tif")
    monkeypatch.setattr(registry, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files.decode_file(lci, tmp_path / "out.tif")
    with pytest.raises(KeyboardInterrupt):
        files.encode_file(source, tmp_path / "out.lci")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damage_may_be_filled(tmp_path: Path) -> None:
    source, lci = tmp_path / "a.tif", tmp_path / "a.lci"
    write(source, scene(1, "uint16", 200, 200), nodata=9).close()
    files.encode_file(source, lci, tile_size=64)
    lci.write_bytes(with_a_damaged_end(lci.read_bytes()))
    files.decode_file(lci, tmp_path / "b.tif", errors="fill")
    with rasterio.open(tmp_path / "b.tif") as raster:
        assert (raster.read(1)[192:, 192:] == 9).all()
        assert (raster.read(1) == 9).sum() == 64


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_damage_that_nothing_marks_is_told(tmp_path: Path, suffix: str) -> None:
    image = np.full((130, 130), 7, np.uint8)
    image += np.arange(130, dtype=np.uint8)
    damaged = tmp_path / "a.lci"
    damaged.write_bytes(with_a_damaged_end(learned_codec.encode(image, tile_size=64)))
    with pytest.warns(InputWarning, match=rf"b{suffix}: damaged tiles \(8\) became 0, and neither nodata nor a mask"):
        files.decode_file(damaged, tmp_path / f"b{suffix}", errors="fill")


# What is coded, and the format that it goes into.
WRITERS = [("rgb", "png"), ("rgb", "jpg"), ("rgb", "webp"), ("rgb", "bmp"), ("rgb", "ppm"), ("rgb", "tif"),
           ("nodata", "tif"), ("mask", "tif"), ("mask", "png"), ("overviews", "tif")]  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """LCI files of images that no writer packs well."""
    folder = tmp_path_factory.mktemp("originals")
    noise = np.random.default_rng(0).integers(60, 120, (3, 100, 90))
    rgb, deep = noise.astype(np.uint8).transpose(1, 2, 0), (20 * noise).astype(np.uint16)
    deep[:, :20] = 0
    with write(folder / "a.tif", deep, tiled=True, blockxsize=16, blockysize=16) as raster:
        raster.build_overviews([2, 4])
    with pytest.warns(InputWarning, match="say nodata=0"):
        files.encode_file(folder / "a.tif", folder / "a.lci")
    return {
        "rgb": learned_codec.encode(rgb),
        "mask": learned_codec.encode(rgb, mask=rgb[..., 0] > 80),
        "nodata": learned_codec.encode(deep, planar=True, nodata=0),
        "overviews": (folder / "a.lci").read_bytes(),
    }


@pytest.mark.filterwarnings("ignore::learned_codec.errors.MetadataLostWarning")
@pytest.mark.skipif(os.name == "nt", reason="no limits on files there")
@pytest.mark.parametrize(("what", "format"), WRITERS)
def test_a_file_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, originals: dict[str, bytes], what: str, format: str
) -> None:
    out = tmp_path / f"out.{format}"
    files.decode_file(io.BytesIO(originals[what]), out, overviews=True)
    size = out.stat().st_size
    out.write_bytes(b"precious")
    for limit in {*range(0, size, size // 7), size - 1, size - 300, size - 2000}:
        with full_disk.files_of_at_most(max(0, limit)), pytest.raises(FileError, match=out.name):
            files.decode_file(io.BytesIO(originals[what]), out, overwrite=True, overviews=True)
        assert out.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [out]


@pytest.mark.filterwarnings("ignore::learned_codec.errors.MetadataLostWarning")
@pytest.mark.parametrize(("what", "format"), WRITERS)
def test_a_full_disk_leaves_the_old_file(
    small_disk: full_disk.SmallDisk, originals: dict[str, bytes], what: str, format: str
) -> None:
    out = small_disk.folder / f"out.{format}"

    def decode() -> None:
        files.decode_file(io.BytesIO(originals[what]), out, overwrite=True, overviews=True)

    decode()
    good = out.read_bytes()
    needed = -(-len(good) // full_disk.PAGE)
    failures = 0
    for pages in range(2 * needed + 3, needed, -1):  # the old one, and the new one in part
        small_disk.resize(pages)
        try:
            decode()
        except FileError:
            failures += 1
        assert out.read_bytes() == good
        assert list(small_disk.folder.iterdir()) == [out]
    assert failures >= needed - 1


def test_encoding_onto_a_full_disk_leaves_the_old_file(small_disk: full_disk.SmallDisk, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.random.default_rng(0).integers(1, 3000, (2, 90, 80)).astype(np.uint16)).close()
    out = small_disk.folder / "a.lci"
    files.encode_file(tmp_path / "a.tif", out)
    good = out.read_bytes()
    needed = -(-len(good) // full_disk.PAGE)
    assert needed > 2
    for pages in range(2 * needed - 1, needed, -1):
        small_disk.resize(pages)
        with pytest.raises(FileError, match=r"a\.lci: No space left"):
            files.encode_file(tmp_path / "a.tif", out, overwrite=True)
        assert out.read_bytes() == good
        assert list(small_disk.folder.iterdir()) == [out]


@pytest.mark.filterwarnings("ignore::learned_codec.errors.MetadataLostWarning")
@pytest.mark.filterwarnings("ignore:.*say nodata=0:learned_codec.errors.InputWarning")
@pytest.mark.parametrize(("what", "format"), WRITERS)
def test_the_same_twice(tmp_path: Path, originals: dict[str, bytes], what: str, format: str) -> None:
    one, other = tmp_path / f"one.{format}", tmp_path / f"other.{format}"
    files.decode_file(io.BytesIO(originals[what]), one, overviews=True)
    files.decode_file(io.BytesIO(originals[what]), other, overviews=True)
    assert one.read_bytes() == other.read_bytes()
    if format in ("png", "tif"):
        files.encode_file(one, tmp_path / "one.lci")
        files.encode_file(other, tmp_path / "other.lci")
        assert (tmp_path / "one.lci").read_bytes() == (tmp_path / "other.lci").read_bytes()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("gone"), TimeoutError()], ids=repr)
def test_sources_that_fail(tmp_path: Path, originals: dict[str, bytes], error: Exception) -> None:
    write(tmp_path / "a.tif", scene(1, "uint16", 200, 200)).close()
    Image.fromarray(scene(3, "uint8").transpose(1, 2, 0)).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        data = (tmp_path / name).read_bytes()
        for after in (0, 64, len(data) // 2):
            with pytest.raises(FileError) as caught:
                files.encode_file(FailingFile(data, after, error), tmp_path / "x.lci")
            assert caught.value.__cause__ is error
    for function in (learned_codec.open, learned_codec.inspect, learned_codec.check, learned_codec.decode):
        with pytest.raises(FileError):
            function(FailingFile(originals["rgb"], 0, error))
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.png"}


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("mine"), KeyError("mine"), TimeoutError("mine"), StopIteration("mine")], ids=repr
)
def test_progress_that_raises(tmp_path: Path, originals: dict[str, bytes], error: Exception) -> None:
    def stop(_done: int, _total: int) -> None:
        raise error

    write(tmp_path / "a.tif", scene(1, "uint16")).close()
    for call in (
        lambda: files.encode_file(tmp_path / "a.tif", tmp_path / "x.lci", progress=stop),
        lambda: files.encode_file(tmp_path / "a.tif", tmp_path / "x.lci", bpp=2, progress=stop),
        lambda: files.decode_file(io.BytesIO(originals["rgb"]), tmp_path / "x.tif", progress=stop),
        lambda: learned_codec.decode(originals["rgb"], progress=stop),
        lambda: learned_codec.open(originals["rgb"]).read(window=(0, 0, 8, 8), progress=stop),
    ):
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("wrong", [3, "x", [], True], ids=repr)
def test_what_is_no_progress(tmp_path: Path, originals: dict[str, bytes], wrong: Any) -> None:
    write(tmp_path / "a.tif", scene(1, "uint16")).close()
    for call in (
        lambda: learned_codec.encode(scene(1, "uint8")[0], progress=wrong),
        lambda: files.encode_file(tmp_path / "a.tif", tmp_path / "x.lci", progress=wrong),
        lambda: files.decode_file(io.BytesIO(originals["rgb"]), tmp_path / "x.tif", progress=wrong),
        lambda: learned_codec.decode(originals["rgb"], progress=wrong),
        lambda: list(learned_codec.open(originals["rgb"]).parts(progress=wrong)),
    ):
        with pytest.raises(InvalidInputError, match="progress must be a function"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_an_empty_path(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", scene(1, "uint16")).close()
    for call in (
        lambda: learned_codec.decode(""),
        lambda: learned_codec.open(""),
        lambda: files.encode_file("", tmp_path / "x.lci"),
        lambda: files.encode_file(tmp_path / "a.tif", ""),
        lambda: files.decode_file("", tmp_path / "x.tif"),
    ):
        with pytest.raises(InvalidInputError, match="path is empty"):
            call()


def test_what_is_no_source(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", scene(1, "uint16")).close()
    data = (tmp_path / "a.tif").read_bytes()
    with (tmp_path / "a.tif").open(encoding="latin-1") as text, rasterio.open(tmp_path / "a.tif") as raster:
        for wrong in (data, bytearray(data), text, raster, Image.new("L", (8, 8)), scene(1, "uint8"), 3, None):
            for function in (files.encode_file, files.decode_file):
                if function is files.encode_file or wrong is None or wrong is text or wrong is raster:
                    with pytest.raises(InvalidInputError):
                        function(wrong, tmp_path / "x.tif" if function is files.decode_file else tmp_path / "x.lci")
    for wrong in (b"x.lci", 3, None, io.StringIO()):
        with pytest.raises(InvalidInputError):
            files.encode_file(tmp_path / "a.tif", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_an_unknown_option_is_told_by_the_function_that_was_called(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^encode_file\(\) got an unexpected keyword argument 'qualty'"):
        files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", qualty=3)
    with pytest.raises(TypeError, match=r"^decode_file\(\) got an unexpected keyword argument 'bnds'"):
        files.decode_file(tmp_path / "a.lci", tmp_path / "a.tif", bnds=3)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_truncated_sources(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(60, 120, (70, 60, 3)).astype(np.uint8)
    source = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(source)
    whole = source.read_bytes()
    for size in range(0, len(whole) - 20, len(whole) // 9):
        source.write_bytes(whole[:size])
        for readable in (source, io.BytesIO(whole[:size])):
            with pytest.raises(InvalidInputError):
                files.encode_file(readable, tmp_path / "a.lci")
        assert list(tmp_path.iterdir()) == [source]


@pytest.mark.skipif(os.name == "nt", reason="no modes or links there")
def test_modes_and_links(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", scene(1, "uint8")).close()
    umask = os.umask(0o027)
    try:
        files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci")
        (tmp_path / "link.tif").symlink_to(tmp_path / "real.tif")
        files.decode_file(tmp_path / "a.lci", tmp_path / "link.tif")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.lci").stat().st_mode) == 0o640
    assert (tmp_path / "link.tif").is_symlink()
    assert (tmp_path / "real.tif").is_file()


def test_options_to_pass_on_are_those_of_encode_file() -> None:
    signature = inspect.signature(learned_codec.encode_file)
    wanted = {name: p.annotation for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    found = learned_codec.EncodeFileOptions.__annotations__
    assert {name: getattr(kind, "__forward_arg__", kind) for name, kind in found.items()} == wanted


@pytest.mark.parametrize("values", [0, 7, "nodata"])
@pytest.mark.parametrize("how", ["mask", "alpha"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_values_that_a_file_hides_are_told_where_nothing_may_be_lost(
    tmp_path: Path, how: str, values: Any, jobs: int
) -> None:
    """A cloud mask hides measured values, which aren't kept."""
    seen = np.tile(np.arange(110) >= 40, (90, 1))
    bands = np.where(seen, scene(3, "uint8"), 3 if values == "nodata" else values).astype(np.uint8)
    colours = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
    if how == "mask":
        with write(tmp_path / "a.tif", bands, nodata=3 if values == "nodata" else None) as raster:
            raster.write_mask(seen)
    else:
        with write(tmp_path / "a.tif", np.concatenate([bands, 255 * seen[None]]).astype(np.uint8)) as raster:
            raster.colorinterp = colours
            raster.nodata = 3 if values == "nodata" else None
    tells = (
        pytest.warns(InputWarning, match="have values, which aren't kept") if values == 7 else warnings.catch_warnings()
    )
    with tells:
        learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0, tile_size=64, threads=jobs)
    # With loss, a background of one value isn't worth a warning.
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", quality=60, overwrite=True)
    data = np.where(seen, bands, 3 if values == "nodata" else 0)
    learned_codec.encode(data, planar=True, mask=seen, max_error=0)  # nor this: who gives the mask knows


@settings(max_examples=25, deadline=None)
@given(
    how=st.sampled_from(["mask", "alpha", "pillow"]),
    shown=st.sampled_from(["nothing", "measured", "edges"]),
    rate=st.sampled_from([{"quality": 20}, {"bpp": 2}, {"psnr": 30}]),
    tile=st.sampled_from([64, 1024]),
)
def test_hidden_values_are_told_where_they_show_something(how: str, shown: str, rate: Any, tile: int) -> None:
    """A cloud mask hides measured values. White or black behind a cut-out isn't told, nor colours along its edge."""
    seen = np.tile(np.arange(110) >= 40, (90, 1))
    bands = np.where(seen, scene(3, "uint8"), 255)
    if shown != "nothing":
        start = 0 if shown == "measured" else 37
        bands[:, :, start:40] = np.random.default_rng(0).integers(0, 256, (3, 90, 40 - start))
    bands = bands.astype(np.uint8)
    tells = (
        pytest.warns(InputWarning, match=r"have values, which aren't kept.*as two files")
        if shown == "measured"
        else warnings.catch_warnings()
    )
    with tempfile.TemporaryDirectory() as folder:
        path, coded = Path(folder, "a.tif"), Path(folder, "a.lci")
        picture = np.dstack([*bands, 255 * seen.astype(np.uint8)])
        if how == "mask":
            with write(path, bands) as raster:
                raster.write_mask(seen)
        elif how == "alpha":
            path = Path(folder, "a.png")
            Image.fromarray(picture).save(path)
        with tells as told:
            if how == "pillow":
                learned_codec.encode(Image.fromarray(picture), **rate, tile_size=tile)
            else:
                files.encode_file(path, coded, **rate, tile_size=tile)
        assert told is None or len(told) == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"effort": 1}, {"max_error": 0}, {"quality": 60}],
    ids=["plain", "effort", "lossless", "executor"],
)
def test_hidden_values_are_told_once_whoever_encodes_them(tmp_path: Path, options: dict[str, Any]) -> None:
    with write(tmp_path / "a.tif", scene(3, "uint16", 200, 130)) as raster:
        raster.write_mask(np.indices((200, 130)).sum(0) % 90 < 50)
    with ThreadPoolExecutor(2) as executor:
        given = options | {"executor": executor} if "quality" in options else options
        with pytest.warns(InputWarning, match="the mask hides have values") as told:
            files.encode_file(tmp_path / "a.tif", tmp_path / "a.lci", tile_size=64, **given)
    assert len(told) == 1


@pytest.mark.parametrize("executor", [False, True])
@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_source_that_changes_while_it_is_read(tmp_path: Path, how: str, executor: bool) -> None:
    path = tmp_path / "a.tif"
    write(path, scene(1, "uint16", 300, 130)).close()
    os.utime(path, (1, 1))
    first = []

    def progress(done: int, _: int) -> None:
        if not first:
            first.append(done)
            other = tmp_path / "b.tif"
            write(other, scene(1, "uint16", 300, 130)).close()
            if how == "replaced":
                other.replace(path)
            else:
                path.write_bytes(other.read_bytes())

    with ThreadPoolExecutor(1) as threads:
        options = {"executor": threads} if executor else {}
        fails = how == "written" or executor
        with pytest.raises(FileError, match="changed while it was read") if fails else contextlib.nullcontext():
            files.encode_file(path, tmp_path / "a.lci", quality=50, tile_size=64, progress=progress, **options)
    assert (tmp_path / "a.lci").exists() == (not fails)


def test_booleans_go_to_files_that_keep_them(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((40, 50)) < 0.5
    (tmp_path / "a.lci").write_bytes(learned_codec.encode(values, max_error=0))
    with pytest.raises(InvalidInputError, match="jpg doesn't keep booleans"):
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / "a.jpg")
    assert not (tmp_path / "a.jpg").exists()
    for name in ("a.png", "a.bmp", "a.tif"):
        learned_codec.decode_file(tmp_path / "a.lci", tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), values)
