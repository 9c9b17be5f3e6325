"""Sources that end too early are refused, also where GDAL reads zeros, or anything, in place of what is missing."""

import io
import shutil
import struct
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.errors import InvalidInputError, MetadataLostWarning
from learned_codec.raster import directories, truncated
from learned_codec.raster.files import open_source
from tests import geotiffs

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

VALUES = np.random.default_rng(0).integers(1, 255, (3, 40, 50), dtype=np.uint8)

FORMATS: list[tuple[str, str, dict[str, Any], int]] = [
    ("ENVI", "dat", {"INTERLEAVE": "BIL"}, 3),
    ("ENVI", "img", {"INTERLEAVE": "BIP"}, 3),
    ("ENVI", "bsq", {"SUFFIX": "ADD"}, 1),
    ("netCDF", "nc", {"FORMAT": "NC"}, 1),
    ("netCDF", "nc", {"FORMAT": "NC2"}, 1),
    ("netCDF", "nc", {"FORMAT": "NC4"}, 1),
    ("PCIDSK", "pix", {}, 3),
    ("PNG", "png", {}, 3),
    ("JPEG", "jpg", {}, 3),
    ("GTiff", "tif", {"COMPRESS": "DEFLATE"}, 3),
    ("GTiff", "tif", {}, 3),
    ("JP2OpenJPEG", "jp2", {}, 3),
    ("EHdr", "bil", {}, 1),
    ("LAN", "lan", {}, 1),
    ("PNM", "pgm", {}, 1),
    ("PAux", "raw", {}, 1),
    ("HFA", "img", {"STATISTICS": "YES"}, 3),
    ("HFA", "img", {"COMPRESSED": "YES"}, 1),
    ("PDS4", "xml", {}, 3),
    ("MRF", "mrf", {"COMPRESS": "DEFLATE"}, 3),
    ("ISIS3", "cub", {}, 1),
]


def needed(path: Path) -> float:
    with path.open("rb") as stream:
        return truncated.bytes_needed(stream, str(path))


def whole(source: Any) -> np.ndarray:
    everything = slice(0, source.height), slice(0, source.width)
    found: np.ndarray = source.read(*everything)
    return found


@pytest.mark.filterwarnings("ignore:.*labels of its format:learned_codec.errors.MetadataLostWarning")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(FORMATS), st.floats(0.02, 0.97), st.booleans())
def test_what_ends_too_early_is_refused(kind: Any, share: float, through_vrt: bool) -> None:
    driver, extension, options, bands = kind
    with tempfile.TemporaryDirectory() as folder:
        path, vrt = Path(folder, f"a.{extension}"), Path(folder, "a.vrt")
        geotiffs.write(Path(folder, "original.tif"), VALUES[:bands], **geotiffs.UTM).close()
        rasterio.shutil.copy(Path(folder, "original.tif"), path, driver=driver, **options)
        rasterio.shutil.copy(path, vrt, driver="VRT")
        source = vrt if through_vrt else path
        with rasterio.open(source) as raster, open_source(source) as opened:
            expected = raster.read()
            np.testing.assert_array_equal(whole(opened), expected)
        data = path.read_bytes()
        path.write_bytes(data[: max(1, int(len(data) * share))])
        with pytest.raises(InvalidInputError), open_source(source) as opened:
            whole(opened)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([kind for kind in FORMATS if kind[0] in ("ENVI", "PCIDSK", "HFA", "netCDF")]),
    st.floats(0.02, 0.97),
    st.sampled_from(["zip", "tar", "vrt", "file"]),
)
def test_what_ends_too_early_is_refused_in_archives_and_of_file_objects(kind: Any, share: float, how: str) -> None:
    driver, extension, options, bands = kind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "files", f"a.{extension}")
        path.parent.mkdir()
        geotiffs.write(Path(folder, "original.tif"), VALUES[:bands], **geotiffs.UTM).close()
        rasterio.shutil.copy(Path(folder, "original.tif"), path, driver=driver, **options)

        def source() -> Any:
            if how == "file":
                return io.BytesIO(path.read_bytes())
            form = "tar" if how == "tar" else "zip"
            name = f"/vsi{form}/{shutil.make_archive(folder + '/all', form, path.parent)}/{path.name}"
            if how != "vrt":
                return name
            if not Path(folder, "a.vrt").exists():
                rasterio.shutil.copy(name, Path(folder, "a.vrt"), driver="VRT")
            return Path(folder, "a.vrt")

        if how != "file" or driver != "ENVI":  # its header is another file
            with open_source(source()) as opened:
                np.testing.assert_array_equal(whole(opened), VALUES[:bands])
        data = path.read_bytes()
        path.write_bytes(data[: max(1, int(len(data) * share))])
        with pytest.raises(InvalidInputError), open_source(source()) as opened:
            whole(opened)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0.5, 1), st.booleans())
def test_an_imagine_file_without_its_end_is_refused(share: float, compressed: bool) -> None:
    """GDAL read the pixels, but no georeference and no statistics."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.img")
        with geotiffs.write(Path(folder, "original.tif"), VALUES, **geotiffs.UTM) as raster:
            raster.update_tags(MISSION="one")
        options = {"COMPRESSED": "YES"} if compressed else {"STATISTICS": "YES"}
        rasterio.shutil.copy(Path(folder, "original.tif"), path, driver="HFA", **options)
        data = path.read_bytes()
        assert needed(path) <= len(data)
        path.write_bytes(data[: min(len(data) - 200, int(len(data) * share))])
        with pytest.raises(InvalidInputError), open_source(path) as opened:
            whole(opened)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0.01, 1), st.sampled_from([1, 3]), st.sampled_from(["uint8", "int16"]))
def test_pixels_beside_an_imagine_file_that_end_too_early(share: float, bands: int, dtype: str) -> None:
    """Of files above 2 GiB, the pixels lie in a file of their own. GDAL reads zeros for those that are missing."""
    with tempfile.TemporaryDirectory() as folder:
        path, values = Path(folder, "a.img"), np.repeat(VALUES[:bands].astype(dtype), 20, 2)
        geotiffs.write(Path(folder, "original.tif"), values, **geotiffs.UTM).close()
        rasterio.shutil.copy(Path(folder, "original.tif"), path, driver="HFA", USE_SPILL="YES")
        pixels = path.with_suffix(".ige")
        data = pixels.read_bytes()
        assert needed(pixels) == len(data)
        with open_source(path) as opened:
            np.testing.assert_array_equal(whole(opened), values)
        pixels.write_bytes(data[: min(len(data) - 1, int(len(data) * share))])
        with pytest.raises(InvalidInputError), open_source(path) as opened:
            whole(opened)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from([1, 2]),
    st.booleans(),
    st.lists(st.sampled_from(["i1", "i2", "i4", "f4", "f8"]), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 7),
)
def test_netcdf_of_records_is_as_long_as_its_header_says(
    version: int, growing: bool, kinds: list[str], records: int, width: int
) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.nc")
        with scipy_io.netcdf_file(path, "w", version=version) as file:
            file.title = "abcde"
            file.createDimension("time", None if growing else records)
            file.createDimension("x", width)
            for i, kind in enumerate(kinds):
                variable = file.createVariable(f"v{i}", kind, ("time", "x"))
                variable.units = "m"
                variable[:records] = np.ones((records, width), kind)
        padding = 3  # at the end, which may be missing
        size = path.stat().st_size
        assert size - padding <= needed(path) <= size


@pytest.mark.parametrize("tag", [33550, 33922, 34735, 34737])
def test_tags_whose_values_are_not_in_the_file_are_named(tmp_path: Path, tag: int) -> None:
    """GDAL ignores them: then the georeference is gone."""
    path = tmp_path / "a.tif"
    geotiffs.write(path, VALUES, **geotiffs.UTM).close()
    data = bytearray(path.read_bytes())
    form, at = directories.start(io.BytesIO(data))
    assert form == directories.CLASSIC
    place = at + 2 + 12 * directories.listed(io.BytesIO(data), form, at).index(tag)
    struct.pack_into("<I", data, place + 8, len(data) + 10)
    path.write_bytes(data)
    with pytest.warns(MetadataLostWarning, match=f"the tag {tag}, whose values"), open_source(path) as source:
        np.testing.assert_array_equal(whole(source), VALUES)


def test_a_header_of_another_image_beside_one_means_nothing(tmp_path: Path) -> None:
    """As a.hdr of a.dat, beside a.sdat with its text a.sgrd."""
    geotiffs.write(tmp_path / "original.tif", VALUES[:1], **geotiffs.UTM).close()
    for driver, extension in (("ENVI", "dat"), ("SAGA", "sdat")):
        rasterio.shutil.copy(tmp_path / "original.tif", tmp_path / f"a.{extension}", driver=driver)
        with open_source(tmp_path / f"a.{extension}") as opened:
            np.testing.assert_array_equal(whole(opened), VALUES[:1])


@pytest.mark.parametrize("name", ["a.h5", "a.bin", "a.nc", "a"])
@pytest.mark.parametrize("how", ["path", "file", "bytes", "archive"])
def test_netcdf_is_known_by_what_it_contains(tmp_path: Path, name: str, how: str) -> None:
    """As HDF, which GDAL takes it for by its name, it would be upside down and nowhere."""
    geotiffs.write(tmp_path / "original.tif", VALUES[:1], **geotiffs.UTM).close()
    rasterio.shutil.copy(tmp_path / "original.tif", tmp_path / "b.nc", driver="netCDF", FORMAT="NC4")
    (tmp_path / name).write_bytes((tmp_path / "b.nc").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / name, f"in/{name}")
    with (tmp_path / name).open("rb") as file:
        source: Any = {
            "path": tmp_path / name,
            "file": file,
            "bytes": io.BytesIO(file.read()),
            "archive": f"/vsizip/{tmp_path}/a.zip/in/{name}",
        }[how]
        file.seek(0)
        with open_source(source) as opened:
            np.testing.assert_array_equal(whole(opened), VALUES[:1])
            assert {"crs", "transform"} <= opened.metadata.keys()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from([("PDS4", "xml", {}), ("PDS4", "xml", {"IMAGE_FORMAT": "GEOTIFF"}), ("MRF", "mrf", {})]),
    gone=st.booleans(),
    share=st.floats(0, 0.97),
)
def test_rasters_that_xml_describes(kind: Any, gone: bool, share: float) -> None:
    """They are read from a path; files beside them that are missing or too short are refused."""
    driver, extension, options = kind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{extension}")
        geotiffs.write(Path(folder, "original.tif"), VALUES, **geotiffs.UTM).close()
        rasterio.shutil.copy(Path(folder, "original.tif"), path, driver=driver, **options)
        with open_source(path) as opened:
            np.testing.assert_array_equal(whole(opened), VALUES)
            assert {"crs", "transform"} <= opened.metadata.keys()
        with pytest.raises(InvalidInputError, match="XML"), open_source(io.BytesIO(path.read_bytes())):
            pass
        for beside in set(Path(folder).glob("a.*")) - {path, Path(f"{path}.aux.xml")}:
            data = beside.read_bytes()
            if gone:
                beside.unlink()
            else:
                beside.write_bytes(data[: int(len(data) * share)])
            with suppress(InvalidInputError), open_source(path) as opened:
                np.testing.assert_array_equal(whole(opened), VALUES)  # an MRF of one tile needs no index
                assert beside.suffix == ".idx"
            beside.write_bytes(data)


@pytest.mark.parametrize("ending", ["xml", "mrf", "dim", "tif", "safe"])
@pytest.mark.parametrize("text", ["<VRTDataset rasterXSize='2' rasterYSize='2'/>", "<GDAL_WMS></GDAL_WMS>", "<a/>"])
def test_other_xml_is_refused(tmp_path: Path, ending: str, text: str) -> None:
    (tmp_path / f"a.{ending}").write_text(text)
    with pytest.raises(InvalidInputError), open_source(tmp_path / f"a.{ending}"):
        pass


@pytest.mark.filterwarnings("ignore:.*labels of its format:learned_codec.errors.MetadataLostWarning")
@settings(max_examples=15, deadline=None, derandomize=True)
@given(bands=st.integers(1, 3), dtype=st.sampled_from(["uint8", "int16", "float32"]), seed=st.integers(0, 99))
def test_special_pixels_of_isis_have_no_value(bands: int, dtype: str, seed: int) -> None:
    """Also those that are too bright or too dark, each in its own band."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 255, (bands, 30, 20)).astype(dtype)
    lowest = np.float32(
        struct.unpack("<f", bytes.fromhex("fbff7fff"))[0]
    )  # of ISIS: NULL, and above it LRS, LIS, HIS, HRS
    special = {"uint8": [0, 255], "int16": list(range(-32768, -32763)), "float32": [lowest]}[dtype]
    gone = rng.random(values.shape) < 0.3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.cub")
        with rasterio.open(
            path, "w", driver="ISIS3", height=30, width=20, count=bands, dtype=dtype, **geotiffs.UTM
        ) as raster:
            raster.write(np.where(gone, rng.choice(special, values.shape), values).astype(dtype))
        with open_source(path) as opened:
            found = whole(opened)
            there = (
                found != opened.nodata
                if opened.plane is None
                else np.array([opened.read_plane(slice(0, 30), slice(0, 20)) > 0])
            )
            np.testing.assert_array_equal(there, ~gone)
            np.testing.assert_array_equal(found[~gone], values[~gone])
