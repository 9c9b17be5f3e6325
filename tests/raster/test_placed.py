"""Pictures that say where they lie, in them or in files beside them, are rasters; EXIF and XMP come along."""

import io
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

import learned_codec
from learned_codec.errors import InvalidInputError, MetadataLostWarning
from learned_codec.raster import directories
from learned_codec.raster.files import open_sink, open_source
from learned_codec.raster.sink_spec import SinkSpec
from tests import geotiffs

WORLD = "10\n0.5\n-0.5\n-10\n400005\n5799995\n"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
PLACE = Affine(10, 0, 4e5, 0, -10, 5e6)
MAKE, ORIENTATION, EXIF, GPS, EXPOSURE = 271, 0x0112, 0x8769, 0x8825, 33434

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # some have no place


def photograph(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = "Müller & Söhne"
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF)[EXPOSURE] = 0.001
    exif.get_ifd(EXIF)[0x927C] = b"the maker's \0 own"
    exif.get_ifd(GPS)[1] = "N"
    for tag in (EXIF, GPS):
        exif[tag] = exif.get_ifd(tag)
    return exif


def texture(bands: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, np.iinfo(dtype).max, (48, 64, bands), dtype=dtype)


def save(path: Path, pixels: np.ndarray, orientation: int | None) -> None:
    options: dict[str, Any] = {} if orientation is None else {"exif": photograph(orientation)}
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if path.suffix == ".tif" and orientation is not None:
        options["exif"][700] = XMP
    elif path.suffix in (".jpg", ".webp"):
        options |= {"xmp": XMP} | ({"lossless": True} if path.suffix == ".webp" else {})
    picture.save(path, **options)


def to_tiff(path: Path | BinaryIO, again: Path) -> dict[str, Any]:
    with open_source(path) as source:
        whole = slice(0, source.height), slice(0, source.width)
        with open_sink(again, "tif", geotiffs.spec_of(source)) as sink:
            plane = None if source.plane is None else source.read_plane(*whole)
            sink.write(*whole, source.read(*whole), plane)
        return source.metadata


def first_directory(path: Path) -> Any:
    with path.open("rb") as stream:
        form, at = directories.start(stream)
        fields = directories.read(stream, form, at)[0]
        inside = {
            tag: directories.read(stream, form, fields[tag].numbers()[0])[0] for tag in (EXIF, GPS) if tag in fields
        }
        return fields | inside


FORMATS = {"jpg": "jgw", "png": "pgw", "bmp": "bpw", "tif": "tfw", "webp": "wpw", "gif": "gfw"}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([("jpg", 1, "uint8"), ("jpg", 3, "uint8"), ("png", 1, "uint8"), ("png", 3, "uint8"),
                     ("png", 4, "uint8"), ("png", 1, "uint16"), ("bmp", 3, "uint8"), ("tif", 3, "uint8"),
                     ("tif", 4, "uint8"), ("tif", 1, "uint16")]),
    st.sampled_from(["world", "wld", "WORLD", "aux", "both"]),
    st.none() | st.integers(1, 8),
)  # fmt: skip
def test_a_georeference_beside_a_picture_is_kept(kind: Any, beside: str, orientation: int | None) -> None:
    extension, bands, dtype = kind
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder, f"a.b.{extension}"), Path(folder, "again.tif")
        save(path, texture(bands, dtype), None if extension == "bmp" else orientation)
        if beside != "aux":
            world = {"wld": "wld", "WORLD": FORMATS[extension].upper()}.get(beside, FORMATS[extension])
            path.with_suffix(f".{world}").write_text(WORLD)
        if beside in ("aux", "both"):
            place = "<GeoTransform>1, 2, 0, 3, 0, -4</GeoTransform>" if beside == "aux" else ""
            Path(f"{path}.aux.xml").write_text(f"<PAMDataset><SRS>EPSG:32633</SRS>{place}</PAMDataset>")
        to_tiff(path, again)
        with rasterio.open(path) as one, rasterio.open(again) as other:
            assert one.crs or not one.transform.is_identity
            assert (other.crs, other.transform) == (one.crs, one.transform)
            np.testing.assert_array_equal(other.read(), one.read())  # as stored: the place is that of these pixels
        if orientation is None or extension == "bmp":
            return
        fields = first_directory(again)
        assert fields[MAKE].data.startswith(b"M")
        assert fields[EXIF][EXPOSURE].numbers() == () != fields[EXIF][EXPOSURE].data
        assert fields[EXIF][0x927C].data == b"the maker's \0 own"
        assert fields[GPS][1].data == b"N\0"
        assert (fields[ORIENTATION].numbers() if ORIENTATION in fields else (1,)) == (orientation,)
        if extension in ("jpg", "tif"):
            assert fields[700].data == (XMP if orientation > 1 else XMP.replace(b'"6"', b'"1"'))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
def test_without_a_place_pictures_are_turned(tmp_path: Path, extension: str, orientation: int) -> None:
    """Statistics in an .aux.xml, as QGIS leaves them everywhere, are no place."""
    path, again = tmp_path / f"a.{extension}", tmp_path / "again.tif"
    save(path, texture(3, "uint8"), orientation)
    statistics = '<MDI key="STATISTICS_MEAN">3</MDI>'
    Path(f"{path}.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><Metadata>{statistics}</Metadata></PAMRasterBand></PAMDataset>'
    )
    to_tiff(path, again)
    with Image.open(path) as one, rasterio.open(again) as other:
        from PIL import ImageOps

        np.testing.assert_array_equal(np.moveaxis(other.read(), 0, 2), np.asarray(ImageOps.exif_transpose(one)))
    fields = first_directory(again)
    assert ORIENTATION not in fields
    assert fields[EXIF].keys() >= {EXPOSURE}
    assert fields[GPS][1].data == b"N\0"


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_geotiff_may_be_a_photograph(tmp_path: Path, dtype: str, orientation: int) -> None:
    path, again = tmp_path / "a.tif", tmp_path / "again.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 1, 4e5, 2, -10, 5e6), "photometric": "RGB"}
    geotiffs.write(path, np.moveaxis(texture(3, dtype), 2, 0), **place).close()
    exif = {ORIENTATION: directories.Field(3, bytes([orientation, 0])), MAKE: directories.Field(2, b"Maker\0")}
    directories.extend(path, exif | {EXIF: {EXPOSURE: directories.Field(5, b"\1\0\0\0\xe8\3\0\0")}})
    metadata = to_tiff(path, again)
    assert CRS.from_wkt(metadata["crs"]) == CRS.from_epsg(32633)
    assert geotiffs.describe(again) == geotiffs.describe(path)
    with rasterio.open(path) as one, rasterio.open(again) as other:
        np.testing.assert_array_equal(other.read(), one.read())
    found = first_directory(again)
    assert found[MAKE].data == b"Maker\0"
    assert found[EXIF][EXPOSURE].data == b"\1\0\0\0\xe8\3\0\0"
    assert (ORIENTATION in found) == (orientation != 1)


@pytest.mark.parametrize("beside", [None, "ppmw", "aux.xml", "wld"])
@pytest.mark.parametrize(("kind", "bits"), [("P5", 8), ("P5", 16), ("P6", 8), ("P6", 16)])
def test_a_format_whose_missing_transform_is_unset_memory(
    tmp_path: Path, kind: str, bits: int, beside: str | None
) -> None:
    """GDAL takes the place of a PNM from a file ending in .wld alone. Without it, there is none, not any numbers."""
    path = tmp_path / "a.ppm"
    bands = 1 if kind == "P5" else 3
    path.write_bytes(f"{kind}\n64 48\n{2**bits - 1}\n".encode() + bytes(64 * 48 * bands * bits // 8))
    if beside is not None:
        (tmp_path / f"a.{beside}").write_text(WORLD)
    transform = to_tiff(path, tmp_path / "again.tif").get("transform")
    assert transform == ([10.0, -0.5, 400000.25, 0.5, -10.0, 5799999.75] if beside == "wld" else None)


def test_a_mask_beside_a_picture(tmp_path: Path) -> None:
    path, again = tmp_path / "a.jpg", tmp_path / "again.tif"
    save(path, texture(3, "uint8"), None)
    with rasterio.open(path, "r+") as raster:
        raster.write_mask(np.arange(64) + np.arange(48)[:, None] > 50)
    to_tiff(path, again)
    with rasterio.open(path) as one, rasterio.open(again) as other:
        np.testing.assert_array_equal(other.dataset_mask(), one.dataset_mask())
        assert not other.dataset_mask().all()


def test_a_mask_inside_a_jpeg(tmp_path: Path) -> None:
    path, again = tmp_path / "a.jpg", tmp_path / "again.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        geotiffs.write(tmp_path / "a.tif", texture(3, "uint8").T) as raster,
    ):
        raster.write_mask((np.arange(48) + np.arange(64)[:, None]) > 50)
    rasterio.shutil.copy(tmp_path / "a.tif", path, driver="JPEG")
    assert not Path(f"{path}.msk").exists()
    for source in (path, io.BytesIO(path.read_bytes())):
        to_tiff(source, again)
        with rasterio.open(path) as one, rasterio.open(again) as other:
            np.testing.assert_array_equal(other.dataset_mask(), one.dataset_mask())
            assert not other.dataset_mask().all()


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("beside", ["a.wld", "a.{}.aux.xml", "a.{}.msk"])
def test_files_beside_a_file_object_do_not_count(tmp_path: Path, extension: str, beside: str) -> None:
    path = tmp_path / f"a.{extension}"
    save(path, texture(3, "uint8"), None)
    with path.open("rb") as stream:
        assert to_tiff(stream, tmp_path / "again.tif").get("transform") is None
    (tmp_path / beside.format(extension)).write_text(WORLD)
    with path.open("rb") as stream, pytest.warns(MetadataLostWarning, match="file object.*give its path"):
        to_tiff(stream, tmp_path / "again.tif")
    to_tiff(io.BytesIO(path.read_bytes()), tmp_path / "again.tif")


@pytest.mark.parametrize("rate", [{"quality": 50}, {"max_error": 0}], ids=str)
@pytest.mark.parametrize("extension", ["bmp", "gif"])
def test_a_grey_picture_of_a_format_with_a_table_of_greys(tmp_path: Path, extension: str, rate: dict[str, Any]) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path, coded, again = (tmp_path / name for name in (f"a.{extension}", "a.lci", "b.tif"))
    Image.fromarray(grey).save(path)
    path.with_suffix(".wld").write_text("2\n0\n0\n-2\n100\n200\n")
    learned_codec.encode_file(path, coded, **rate)
    learned_codec.decode_file(coded, again)
    with rasterio.open(again) as raster:
        assert (raster.colorinterp, raster.transform[:6]) == ((ColorInterp.gray,), (2, 0, 99, 0, -2, 201))
        np.testing.assert_allclose(raster.read(1).astype(int), grey, atol=0 if "max_error" in rate else 30)
    coloured = Image.fromarray(grey, "P")
    coloured.putpalette([*range(255, -1, -1)] * 3)
    coloured.save(path)
    with pytest.raises(InvalidInputError, match="palette"):
        learned_codec.encode_file(path, tmp_path / "c.lci")


def test_a_place_beside_a_format_that_gdal_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    Image.fromarray(texture(3, "uint8")).save(path)
    path.with_suffix(".wld").write_text(WORLD)
    with pytest.warns(MetadataLostWarning, match="a.avif: files beside it"):
        to_tiff(path, tmp_path / "again.tif")


@pytest.mark.parametrize("extension", ["tif", "png"])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("zipped", [False, True])
def test_premultiplied_alpha(tmp_path: Path, bands: int, extension: str, zipped: bool) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (48, 64), dtype=np.uint8)
    colours = np.rint(texture(bands, "uint8") * (alpha[:, :, None] / 255.0)).astype(np.uint8)
    path, again = tmp_path / "a.tif", tmp_path / f"b.{extension}"
    values = np.moveaxis(np.dstack([colours, alpha]), 2, 0)
    photometric = "RGB" if bands == 3 else "MINISBLACK"
    geotiffs.write(path, values, ALPHA="PREMULTIPLIED", photometric=photometric).close()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.tif")
    with open_source(f"/vsizip/{tmp_path}/a.zip/a.tif" if zipped else path) as source:
        whole = slice(0, 48), slice(0, 64)
        assert source.metadata["bands"][bands]["premultiplied"] is True
        shape = {"height": 48, "width": 64, "bands": bands, "dtype": "uint8", "plane": "alpha"}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", MetadataLostWarning)
            with open_sink(again, extension, SinkSpec(metadata=source.metadata, **shape)) as sink:
                sink.write(*whole, source.read(*whole), source.read_plane(*whole))
    if extension == "tif":
        assert not told
        assert first_directory(again)[338].numbers() == (1,)
        with rasterio.open(again) as raster:
            np.testing.assert_array_equal(raster.read(), values)
        return
    assert "premultiplied" in str(told[0].message)
    with Image.open(again) as picture:
        straight = np.asarray(picture)
    np.testing.assert_array_equal(straight[:, :, -1], alpha)
    again_multiplied = straight[:, :, :-1] * (alpha[:, :, None] / 255.0)
    assert np.abs(again_multiplied - colours).max() <= 0.5


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("colour", [(1, 2, 3), (0, 0, 0), (2, 2, 2)])
def test_a_transparent_colour_is_a_mask(tmp_path: Path, extension: str, dtype: str, colour: tuple[int, ...]) -> None:
    """A value of it in one band alone means nothing."""
    path = tmp_path / f"a{extension}"
    pixels = np.random.default_rng(0).integers(0, 4, (3, 30, 40)).astype(dtype)
    clear = (pixels == np.reshape(colour, (3, 1, 1))).all(0)
    assert clear.any()
    assert not clear.all()
    driver = {"driver": "PNG"} if extension == ".png" else {"photometric": "RGB"}
    with rasterio.open(
        path, "w", **{"driver": "GTiff"} | driver, height=30, width=40, count=3, dtype=dtype, transform=PLACE
    ) as raster:
        raster.write(pixels)
        if extension == ".tif":
            raster.update_tags(NODATA_VALUES=" ".join(map(str, colour)))
    if extension == ".png":
        path.with_suffix(".pgw").write_text(WORLD)
        data = path.read_bytes()
        body = b"tRNS" + struct.pack(">HHH", *colour)
        packed = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(data[:33] + packed + data[33:])
    to_tiff(path, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as again:
        assert again.nodata is None
        np.testing.assert_array_equal(again.dataset_mask(), np.where(clear, 0, 255))
        np.testing.assert_array_equal(again.read()[:, ~clear], pixels[:, ~clear])
