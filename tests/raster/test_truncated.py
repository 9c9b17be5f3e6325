"""Sources that end too early are refused, also where GDAL reads zeros, or anything, in place of what is missing."""

import io
import shutil
import struct
import tempfile
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
]


def needed(path: Path) -> float:
    with path.open("rb") as stream:
        return truncated.bytes_needed(stream, str(path))


def whole(source: Any) -> np.ndarray:
    everything = slice(0, source.height), slice(0, source.width)
    found: np.ndarray = source.read(*everything)
    return found


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


@pytest.mark.parametrize("name", ["a.h5", "a.bin", "a.nc"])
@pytest.mark.parametrize("how", ["path", "file", "bytes"])
def test_netcdf_is_known_by_what_it_contains(tmp_path: Path, name: str, how: str) -> None:
    """As HDF, which GDAL takes it for by its name, it would be upside down and nowhere."""
    geotiffs.write(tmp_path / "original.tif", VALUES[:1], **geotiffs.UTM).close()
    rasterio.shutil.copy(tmp_path / "original.tif", tmp_path / "b.nc", driver="netCDF", FORMAT="NC4")
    (tmp_path / name).write_bytes((tmp_path / "b.nc").read_bytes())
    with (tmp_path / name).open("rb") as file:
        source: Any = {"path": tmp_path / name, "file": file, "bytes": io.BytesIO(file.read())}[how]
        file.seek(0)
        with open_source(source) as opened:
            np.testing.assert_array_equal(whole(opened), VALUES[:1])
            assert {"crs", "transform"} <= opened.metadata.keys()
