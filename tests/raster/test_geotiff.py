"""GeoTIFFs in and out, without the codec: pixels and all beside them come back, and nothing untrusted crashes."""

import base64
import contextlib
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

import learned_codec
from learned_codec.errors import (
    CorruptDataError,
    FileError,
    InputWarning,
    InvalidInputError,
    LearnedCodecError,
    MetadataLostWarning,
)
from learned_codec.raster import directories, interpretation
from learned_codec.raster.files import open_sink, open_source
from learned_codec.raster.geotags import parse, read_crs
from learned_codec.raster.placement import of_window
from learned_codec.raster.radar import radar_unit
from learned_codec.raster.sink_spec import SinkSpec
from learned_codec.values.mask import MaskSpec, Side
from tests.geotiffs import FILES, UTM, describe, spec_of, write
from tests.streams import CountingFile, Pipe

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # some have no place


def copy(source: Any, path: Path, *, force: bool = False, overviews: bool = False, tile: int = 200) -> dict[str, Any]:
    """A file through source and sink, tile by tile, its metadata through JSON; returns the metadata."""
    with open_source(source, force=force) as pixels:
        metadata = json.loads(json.dumps(pixels.metadata, allow_nan=False))
        with open_sink(
            path,
            path.suffix,
            spec_of(pixels, metadata=metadata, overviews=overviews),
        ) as sink:
            for top in range(0, pixels.height, tile):
                for left in range(0, pixels.width, tile):
                    rows = slice(top, min(top + tile, pixels.height))
                    columns = slice(left, min(left + tile, pixels.width))
                    plane = None if pixels.plane is None else pixels.read_plane(rows, columns)
                    sink.write(rows, columns, pixels.read(rows, columns), plane)
    return metadata


def assert_same(path: Path, again: Path) -> None:
    expected, found = describe(path), describe(again)
    for key in expected.keys() | found.keys():
        assert found.get(key) == expected.get(key), key
    with rasterio.open(path) as one, rasterio.open(again) as other:
        np.testing.assert_array_equal(other.read(), one.read())
        np.testing.assert_array_equal(other.dataset_mask(), one.dataset_mask())


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 300, 280), dtype=np.uint8)


def round_trip(path: Path, **options: Any) -> dict[str, Any]:
    """Copy a GeoTIFF, check that the copy says the same and that it came alone; returns the metadata."""
    again = path.with_name("again") / "again.tif"
    again.parent.mkdir()
    metadata = copy(path, again, **options)
    assert_same(path, again)
    assert list(again.parent.iterdir()) == [again]
    return metadata


# --- real files ---


@pytest.mark.skipif(not FILES, reason="no test images")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_real_files(path: Path, tmp_path: Path) -> None:
    if path.suffix == ".png":
        copy(path, tmp_path / "again.png")
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again.png")), np.asarray(Image.open(path)))
        return
    copy(path, tmp_path / "again.tif", force="colour_table" in path.name)
    assert_same(path, tmp_path / "again.tif")
    assert list(tmp_path.iterdir()) == [tmp_path / "again.tif"]


@pytest.mark.skipif(not FILES, reason="no test images")
def test_units_of_real_radar_images() -> None:
    found = {}
    for path in FILES:
        if "colour_table" not in path.name:
            with open_source(path) as source:
                if source.unit:
                    found[path.name[:3]] = source.unit
    db, power = dict.fromkeys(("t01", "t02", "t03", "t04"), "db"), dict.fromkeys(("t05", "t06", "t08", "t09"), "power")
    assert found == db | power | {"t07": "amplitude"}


# --- one feature each ---


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_dtypes(noise: np.ndarray, tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    write(path, (noise.astype(dtype) * 3 - 7).astype(dtype), **UTM).close()
    round_trip(path)
    with rasterio.open(tmp_path / "again" / "again.tif") as raster:
        assert raster.profile["tiled"]
        assert raster.profile["compress"] == "deflate"


def test_refused_dtypes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, np.zeros((1, 8, 8), "complex64")).close()
    with pytest.raises(InvalidInputError, match="complex64.*uint8, uint16, int16"), open_source(path):
        pass


RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**53), 2**53),
    "uint64": (0, 2**53),
}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(RANGES)),
    st.lists(st.sampled_from([-(2**31), -32769, -32768, -9999, -1, 0, 1, 200, 32767, 32768, 65535, 65536, 2**31 - 1]),
             min_size=1, max_size=4),
    st.sampled_from([None, -9999, 0, 65535]),
    st.sampled_from([None, "uint8", "int16", "uint16", "float32"]),
)  # fmt: skip
def test_other_integers_come_as_they_are_or_not_at_all(
    kind: str, found: list[int], nodata: int | None, wanted: str | None
) -> None:
    low, high = RANGES[kind]
    values = np.array([v for v in found if low <= v <= high] or [1]).astype(kind)
    nodata = nodata if nodata is None or low <= nodata <= high else None
    needed = [*values.tolist(), *([] if nodata is None else [nodata])]
    fitting = [k for k in ("int16", "uint16") if all(np.iinfo(k).min <= v <= np.iinfo(k).max for v in needed)]
    right = wanted or (fitting[0] if fitting else None)
    fits = right == "float32" or (
        right is not None and all(np.iinfo(right).min <= v <= np.iinfo(right).max for v in needed)
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = Path(folder, "a.tif")
        write(path, values[None, None], nodata=nodata).close()
        told: Any = contextlib.nullcontext()
        if not wanted and right:
            told = pytest.warns(InputWarning, match=f"{kind} is stored as {right}")
        elif right == "float32" and (values.astype("float32").astype("float64") != values).any():
            told = pytest.warns(InputWarning, match="don't fit float32 exactly, and are rounded")
        with told:
            try:
                with open_source(path, dtype=wanted) as source:
                    again = source.read(slice(0, 1), slice(0, len(values)))
            except InvalidInputError as error:
                assert not fits, error  # noqa: PT017
                assert wanted or "dtype='float32'" in str(error)  # noqa: PT017
                return
        assert fits
        assert (again.dtype, source.nodata) == (np.dtype(right), nodata)
        np.testing.assert_array_equal(again[0, 0], values.astype(right))


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        ([1.0, 2.5], "int16", "2.5 doesn't fit int16"),
        ([1.0, np.nan], "uint8", "nan doesn't fit uint8"),
        ([1.0, 2.0**63], "int16", "doesn't fit int16"),
        ([1.0], "int32", "dtype must be one of uint8, uint16, int16, float32, not 'int32'"),
    ],
)
def test_a_dtype_that_does_not_hold_the_values(tmp_path: Path, values: list[float], dtype: str, said: str) -> None:
    write(tmp_path / "a.tif", np.array(values, np.float32)[None, None]).close()
    with (
        pytest.raises(InvalidInputError, match=said),
        open_source(tmp_path / "a.tif", dtype=dtype) as source,
    ):
        source.read(slice(0, 1), slice(0, len(values)))


def test_whole_metres_of_an_ascii_grid(tmp_path: Path) -> None:
    header = "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 30\nNODATA_value -9999\n"
    (tmp_path / "a.asc").write_text(header + "1 2\n-9999 8848\n")
    with contextlib.ExitStack() as stack:
        with pytest.warns(InputWarning, match="int32 is stored as int16"):
            source = stack.enter_context(open_source(tmp_path / "a.asc"))
        assert source.read(slice(0, 2), slice(0, 2)).tolist() == [[[1, 2], [-9999, 8848]]]
        assert source.nodata == -9999


def test_bands_of_several_dtypes(tmp_path: Path) -> None:
    for dtype in ("uint8", "int16"):
        write(tmp_path / f"{dtype}.tif", np.zeros((1, 4, 4), dtype)).close()
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">{name}.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (kind, name) in enumerate((("Byte", "uint8"), ("Int16", "int16")), 1)
    )
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4">{bands}</VRTDataset>')
    with pytest.raises(InvalidInputError, match="int16 and uint8"), open_source(path):
        pass
    for elsewhere in (io.BytesIO(path.read_bytes()), path.rename(tmp_path / "a.tif")):  # XML may name any other file
        with pytest.raises(InvalidInputError, match="XML"), open_source(elsewhere):
            pass


def test_rotation(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, noise[:3], crs="EPSG:32632", transform=Affine(8, 3, 4e5, 2, -9, 5e6)).close()
    assert round_trip(path)["transform"] == [8, 3, 4e5, 2, -9, 5e6]


def test_point_pixels(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, noise[:1], **UTM) as raster:
        raster.update_tags(AREA_OR_POINT="Point")
    round_trip(path)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32632", "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84"])
def test_crs(tmp_path: Path, crs: str) -> None:
    path = tmp_path / "a.tif"
    write(path, np.zeros((1, 8, 8), np.uint8), crs=crs, transform=UTM["transform"]).close()
    assert CRS.from_wkt(round_trip(path)["crs"]) == CRS.from_string(crs)


@pytest.mark.parametrize("crs", ["EPSG:4326", None])
def test_ground_control_points(tmp_path: Path, crs: str | None) -> None:
    path = tmp_path / "a.tif"
    points = [GroundControlPoint(r, c, 10 + c / 7, 50 - r / 9, 3.5) for r in (0, 7.5) for c in (0.5, 8)]
    with write(path, np.zeros((1, 8, 8), np.uint8)) as raster:
        raster.gcps = (points, CRS.from_string(crs) if crs else CRS())
    assert len(round_trip(path)["gcps"]["points"]) == 4


def test_points_without_a_crs_of_their_own_have_that_of_the_raster(tmp_path: Path) -> None:
    points = "".join(f'<GCP Id="" Pixel="{x}" Line="{x * x}" X="{10 + x}" Y="5"/>' for x in range(4))
    path = tmp_path / "a.vrt"
    inside = f'<SRS>EPSG:32632</SRS><GCPList>{points}</GCPList><VRTRasterBand dataType="Byte" band="1"/>'
    path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="5">{inside}</VRTDataset>')
    copy(path, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        found, crs = raster.gcps
    assert (len(found), crs) == (4, CRS.from_epsg(32632))


def test_rational_polynomials(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    terms = [i / 7 for i in range(20)]
    rpcs = RPC(1.5, 2, 3, 4, terms, terms, 5, 6, 7, 8, terms, terms, 9, 10, err_bias=11, err_rand=0.25)
    with write(path, np.zeros((1, 8, 8), np.uint16)) as raster:
        raster.rpcs = rpcs
    assert "RPC" not in round_trip(path).get("tags", {})


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 0),
        ("uint16", 65535),
        ("int16", -32768),
        ("float32", float("nan")),
        ("float32", float("-inf")),
        ("float32", -9999.5),
        ("float32", -3.4028234663852886e38),
    ],
)
def test_nodata(tmp_path: Path, dtype: str, nodata: float) -> None:
    path = tmp_path / "a.tif"
    bands = np.ones((2, 8, 8), dtype)
    bands[:, :3] = nodata
    write(path, bands, nodata=nodata).close()
    round_trip(path)
    with open_source(path) as source:
        assert source.plane is None
        assert repr(source.nodata) == repr(float(nodata))


def test_nodata_that_no_float32_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    bands = np.ones((1, 8, 8))
    bands[0, 3] = lowest = np.finfo(np.float64).min
    write(path, bands, nodata=lowest).close()
    with contextlib.ExitStack() as stack:
        with pytest.warns(InputWarning, match="float64 is stored as float32"):
            source = stack.enter_context(open_source(path))
        assert np.isnan(source.nodata)
        np.testing.assert_array_equal(source.read(slice(2, 4), slice(0, 1))[0], [[1], [np.nan]])
        source.nodata = 1.0
        with pytest.raises(InvalidInputError, match="-1.79769e.308 doesn't fit float32"):
            source.read(slice(2, 4), slice(0, 1))


def test_internal_mask(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), write(path, noise[:3], **UTM) as raster:
        raster.write_mask(noise[3] > 100)
    round_trip(path)
    with open_source(path) as source:
        assert source.plane == "mask"
        mask = source.read_plane(slice(10, 20), slice(30, 50))
        np.testing.assert_array_equal(mask, np.where(noise[3, 10:20, 30:50] > 100, 255, 0))


def test_external_mask_goes_inside(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), write(path, noise[:3], **UTM) as raster:
        raster.write_mask(noise[3] > 100)
    assert path.with_suffix(".tif.msk").exists()
    round_trip(path)


def test_mask_and_nodata_are_both_kept(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), write(path, noise[:3], nodata=7, **UTM) as raster:
        raster.write_mask(noise[3] > 100)
    round_trip(path)
    with open_source(path) as source:
        assert (source.plane, source.nodata) == ("mask", 7)


@pytest.mark.parametrize("at", range(4))
def test_alpha(noise: np.ndarray, tmp_path: Path, at: int) -> None:
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    colours.insert(at, ColorInterp.alpha)
    path = tmp_path / "a.tif"
    with write(
        path, noise, **({"alpha": "YES"} if at == 3 else {}), photometric="RGB" if at == 3 else "MINISBLACK", **UTM
    ) as raster:
        raster.colorinterp = colours
        raster.set_band_description(at + 1, "opacity")
    assert round_trip(path)["alpha"] == at
    with open_source(path) as source:
        assert (source.bands, source.plane) == (3, "alpha")
        np.testing.assert_array_equal(source.read_plane(slice(0, 300), slice(0, 280)), noise[at])


@pytest.mark.filterwarnings("ignore:.* have values, which aren't kept:learned_codec.errors.InputWarning")
@settings(max_examples=8, deadline=None, derandomize=True)
@given(kind=st.sampled_from(["noise", "sharp", "soft", "of 8 bits"]), seed=st.integers(0, 99), bound=st.booleans())
def test_16_bit_alpha_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int, bound: bool
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("alpha")
    bands = rng.integers(0, 65536, (4, 40, 90), np.uint16)
    if kind == "sharp":
        bands[3] = np.where(bands[3] < 30000, 0, 65535)
    elif kind == "soft":
        bands[3] = np.arange(3600).reshape(40, 90) * 18
        bands[3, 0, :4] = 0, 1, 65534, 65535
    elif kind == "of 8 bits":
        bands[3] = bands[3] // 257 * 257
    path, file, again = folder / "a.tif", folder / "a.lci", folder / "b.tif"
    write(path, bands, alpha="YES", photometric="RGB").close()
    round_trip(path)
    learned_codec.encode_file(path, file, tile_size=64, **({"max_error": 0} if bound else {"quality": 50}))
    learned_codec.decode_file(file, again)
    with rasterio.open(again) as raster, learned_codec.open(file) as reader:
        np.testing.assert_array_equal(raster.read(4), bands[3])
        np.testing.assert_array_equal(reader.read_plane(), bands[3])
        np.testing.assert_array_equal(reader.read_plane((5, 60, 7, 18)), bands[3, 5:12, 60:78])
        assert (reader.read_plane(scale=1 / 2).dtype, reader.plane) == (np.uint16, "alpha")
        np.testing.assert_array_equal(np.ma.getmaskarray(reader.read(masked=True))[..., 0], bands[3] == 0)
        if bound:
            np.testing.assert_array_equal(raster.read()[:3, bands[3] > 0], bands[:3, bands[3] > 0])


def test_16_bit_alpha_made_of_8_bits_costs_no_more() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    narrow = MaskSpec((), "alpha").pack(Side(None, plane))
    wide = MaskSpec((), "alpha", (), 16).pack(Side(None, plane.astype(np.uint16) * 257))
    assert len(wide) <= len(narrow) + 4


def test_opacity_of_more_bits_than_the_bands_is_refused() -> None:
    for dtype in ("uint8", "int16", "float32"):
        with pytest.raises(CorruptDataError, match="opacity of 16 bits"):
            MaskSpec((), "alpha", (), 16).check(np.dtype(dtype))


def test_alpha_and_mask_or_floating_alpha(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), write(path, noise, alpha="YES", photometric="RGB") as raster:
        raster.write_mask(noise[3] > 100)
    with pytest.raises(InvalidInputError, match="both an alpha band and a mask"), open_source(path):
        pass


def extra_samples(path: Path) -> tuple[int, ...]:
    with path.open("rb") as stream:
        fields, _ = directories.read(stream, *directories.start(stream))
    return fields[338].numbers()


@pytest.mark.filterwarnings("ignore:int32 is stored as int16")
@pytest.mark.parametrize("alpha", ["YES", "PREMULTIPLIED"])
@pytest.mark.parametrize("dtype", ["float32", "int16", "int32"])
def test_alpha_of_other_dtypes_is_a_band_if_one_says_so(
    noise: np.ndarray, tmp_path: Path, dtype: str, alpha: str
) -> None:
    values = np.divide(noise, 255 if dtype == "float32" else 1).astype(dtype)
    path, coded, again = (tmp_path / name for name in ("a.tif", "a.lci", "again.tif"))
    write(path, values, ALPHA=alpha, photometric="RGB").close()
    with pytest.raises(InvalidInputError, match=rf"alpha band of {dtype}.*max_error=0.*--lossless.*force=True"):
        learned_codec.encode_file(path, coded)
    learned_codec.encode_file(path, coded, max_error=0)
    learned_codec.decode_file(coded, again)
    assert_same(path, again)
    assert extra_samples(again) == extra_samples(path)
    with open_source(path, force=True) as source:
        assert (source.bands, source.plane) == (4, None)


def test_bands_and_tags(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, noise, **UTM) as raster:
        raster.descriptions = ("blue", "grün", "", "nir")
        raster.units = ("m", "", "K", "")
        raster.scales = (0.5, 1, 1, 1e-4)
        raster.offsets = (0, -273.15, 0, float("nan"))
        raster.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir]
        raster.update_tags(TIFFTAG_SOFTWARE="mine", empty="", long="x" * 100_000, text='<&"ü\n>')
        raster.update_tags(ns="MINE", a="1", b="x = y")
        raster.update_tags(2, wavelength="560", STATISTICS_MEAN="3")
        raster.update_tags(3, ns="THEIRS", c="2")
    metadata = round_trip(path)
    assert metadata["bands"][3]["offset"] == "nan"


INKS = {ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([c for c in ColorInterp if c not in INKS]), min_size=1, max_size=6),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.booleans(),
)
def test_the_colours_of_bands(colours: list[ColorInterp], dtype: str, tags: bool) -> None:
    at = [i for i, colour in enumerate(colours) if colour == ColorInterp.alpha]
    bands = np.random.default_rng(0).integers(0, 200, (len(colours), 9, 8)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = Path(folder, "a.tif")
        with write(path, bands) as raster:
            raster.update_tags(1, **{"a": "<1> &"} if tags else {})
        interpretation.say(path, colours)
        with rasterio.open(path) as raster:
            assert list(raster.colorinterp) == colours
        if len(at) > 1 or (at and len(colours) == 1):
            with pytest.raises(InvalidInputError, match="alpha bands among"), open_source(path):
                pass
        else:
            round_trip(path, force=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["uint8", "uint16"]),
    st.integers(1, 15),
    st.integers(1, 3),
    st.sampled_from([{"max_error": 0}, {"max_error": 2}, {"quality": 10}]),
    st.sampled_from([None, 0, "the largest", 255]),
)
def test_samples_of_fewer_bits(dtype: str, bits: int, bands: int, rate: dict[str, Any], nodata: Any) -> None:
    if bits >= 8 * np.dtype(dtype).itemsize or (dtype == "uint16" and bits < 9):  # GDAL reads those as uint8
        return
    nodata = 2**bits - 1 if nodata == "the largest" else nodata
    values = np.random.default_rng(bits).integers(0, 2**bits, (bands, 40, 50)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path, coded, again = (Path(folder, name) for name in ("a.tif", "a.lci", "b.tif"))
        write(path, values, nbits=bits, nodata=nodata).close()
        learned_codec.encode_file(path, coded, force=True, **rate)
        if nodata is not None and nodata >= 2**bits:
            with pytest.warns(MetadataLostWarning, match=f"of {bits} bits can't have the nodata value 255"):
                learned_codec.decode_file(coded, again)
        else:
            learned_codec.decode_file(coded, again)
            expected, found = describe(path), describe(again)
            assert {key: (found.get(key), value) for key, value in expected.items() if found.get(key) != value} == {}
        with rasterio.open(again) as raster, learned_codec.open(coded) as reader:
            decoded = reader.read().reshape(40, 50, bands).transpose(2, 0, 1)
            np.testing.assert_array_equal(raster.read(), np.minimum(decoded, 2**bits - 1))
            if "max_error" in rate:
                assert np.abs(raster.read().astype(int) - values).max() <= rate["max_error"]


def test_floats_of_fewer_bits_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.ones((1, 8, 8), np.float32), nbits=16).close()
    with pytest.warns(MetadataLostWarning, match="its floats of 16 bits"), open_source(tmp_path / "a.tif"):
        pass


def test_profile_xmp_and_resolution(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    xmp = '<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/">a  b\n</x:xmpmeta>'.encode()
    path, again = tmp_path / "a.tif", tmp_path / "b.tif"
    picture.save(path, tiffinfo={700: xmp}, icc_profile=b"no real profile", dpi=(300, 150))
    metadata = copy(path, again)
    assert metadata["dpi"] == [300, 150]
    with Image.open(again) as stored:
        assert stored.info["icc_profile"] == b"no real profile"
        assert stored.tag_v2[700] == xmp
        assert stored.info["dpi"] == (300, 150)


def test_colour_tables_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, np.arange(64, dtype=np.uint8).reshape(1, 8, 8)) as raster:
        raster.write_colormap(1, {i: (i, 255 - i, 7, 255) for i in range(256)})
    with pytest.raises(InvalidInputError, match="palette.*change classes.*force"), open_source(path):
        pass
    round_trip(path, force=True)
    with write(path, np.zeros((1, 8, 8), np.uint8)) as raster:
        raster.update_tags(1, LAYER_TYPE="thematic")
    with pytest.raises(InvalidInputError, match="thematic"), open_source(path):
        pass
    write(path, np.zeros((1, 8, 8), np.uint8)).close()
    path.with_suffix(".tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>water</Category></CategoryNames></PAMRasterBand>'
        "</PAMDataset>"
    )
    with open_source(path, force=True) as source:
        assert source.metadata["bands"] == [{"color": "gray", "categories": ["water"]}]
    with pytest.raises(InvalidInputError, match="category names"), open_source(path):
        pass


@pytest.mark.parametrize("epoch", ["2021.3", "1997"])
def test_an_epoch_of_coordinates_is_named(tmp_path: Path, epoch: str) -> None:
    write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8), **UTM).close()
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="8" rasterYSize="8"><SRS coordinateEpoch="{epoch}">EPSG:9000</SRS>'
        '<GeoTransform>1,2,0,3,0,-4</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    rasterio.shutil.copy(tmp_path / "a.vrt", tmp_path / "b.tif", driver="GTiff")
    for name in ("a.vrt", "b.tif"):
        told = pytest.warns(MetadataLostWarning, match=f"the epoch of its coordinates, {epoch}")
        with told, open_source(tmp_path / name):
            pass


def test_tags_of_a_geopackage(noise: np.ndarray, tmp_path: Path) -> None:
    said = {"IDENTIFIER": "mine", "DESCRIPTION": "a & b", "OTHER": "x"}
    with write(tmp_path / "a.tif", noise[:3], **UTM | {"crs": "EPSG:3857"}) as raster:
        raster.update_tags(**said)
    rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "a.gpkg", driver="GPKG")
    with open_source(tmp_path / "a.gpkg") as source:
        assert source.metadata["tags"][""].items() >= said.items()
        assert "ZOOM_LEVEL" in source.metadata["tags"][""]


def test_overviews(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, noise[:3], tiled=True, blockxsize=64, blockysize=64, **UTM) as raster:
        raster.build_overviews([2, 4])
    for wanted in (False, True):
        again = tmp_path / f"{wanted}.tif"
        assert copy(path, again, overviews=wanted)["overviews"] == [2, 4]
        with rasterio.open(again) as raster:
            assert raster.overviews(1) == ([2, 4] if wanted else [])
            np.testing.assert_array_equal(raster.read(), noise[:3])
        if wanted:
            with rasterio.open(again, overview_level=0) as raster:
                mean = noise[:3, :2, :2].astype(float).mean((1, 2))
                assert np.abs(raster.read()[:, 0, 0] - mean).max() <= 1


@given(
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
    count=st.integers(2, 64),
    place=st.integers(0, 2),
    seed=st.integers(0, 99),
)
@settings(max_examples=15)
def test_overviews_invent_no_class(dtype: str, count: int, place: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(250, count, replace=False)
    image = rng.integers(0, 250, (3, 130, 120)).astype(dtype)
    image[place] = rng.choice(classes, (130, 120))
    spec = SinkSpec(height=130, width=120, bands=3, dtype=dtype, overviews=True, metadata={"overviews": [2, 4]})
    with tempfile.TemporaryDirectory() as folder:
        with open_sink(Path(folder, "a.tif"), "tif", spec) as sink:
            for rows in (slice(0, 64), slice(64, 130)):
                sink.write(rows, slice(0, 120), image[:, rows], None)
        for level in range(2):
            with rasterio.open(Path(folder, "a.tif"), overview_level=level) as raster:
                assert set(np.unique(raster.read(place + 1))) <= set(classes.tolist())


def test_pages_and_other_refusals(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pictures = [Image.fromarray(noise[i]) for i in range(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    with pytest.raises(InvalidInputError, match="3 pages"), open_source(path):
        pass
    write(path, noise[:1], photometric="MINISWHITE").close()
    with pytest.raises(InvalidInputError, match="0 is white"), open_source(path):
        pass
    write(path, noise[:1], nbits=1).close()
    with pytest.raises(InvalidInputError, match=r"bilevel.*force=True \(--force\)"), open_source(path):
        pass
    with pytest.raises(FileError, match="absent"), open_source(tmp_path / "absent.tif"):
        pass


# --- what GDAL reads is more than a GeoTIFF can say ---


def items(tags: dict[str, str]) -> str:
    return "".join(f'<MDI key="{key}">{value}</MDI>' for key, value in tags.items())


VRT_NUMBERS = st.sampled_from(["nan", "inf", "-inf", "0", "1", "-10", "1e308", "5e-324", "400000"])
RPC_KEYS = [f"{a}_{b}" for a in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for b in ("OFF", "SCALE")] + [
    f"{a}_{b}_COEFF" for a in ("LINE", "SAMP") for b in ("NUM", "DEN")
]
RPC_TEXTS = st.sampled_from(["1", "nan", "x", "", " ".join("1" * 20), " ".join("1" * 19)])
ELEMENTS = st.lists(
    st.one_of(
        st.lists(VRT_NUMBERS, min_size=6, max_size=6).map(
            lambda x: f"<GeoTransform>{', '.join(x)}</GeoTransform>",
        ),
        st.dictionaries(st.sampled_from(RPC_KEYS), RPC_TEXTS, min_size=1).map(
            lambda x: (
                '<Metadata domain="RPC">' + "".join(f'<MDI key="{k}">{v}</MDI>' for k, v in x.items()) + "</Metadata>"
            )
        ),
        st.lists(st.tuples(*[VRT_NUMBERS] * 5), min_size=1, max_size=5).map(
            lambda x: (
                '<GCPList Projection="EPSG:4326">'
                + "".join('<GCP Id="" Pixel="{}" Line="{}" X="{}" Y="{}" Z="{}"/>'.format(*point) for point in x)
                + "</GCPList>"
            )
        ),
        st.dictionaries(st.sampled_from(["a", "=", "b=c", " ", "ü"]), st.sampled_from(["", "x", "=", "\n"])).map(
            lambda x: f"<Metadata>{items(x)}</Metadata>"
        ),
    ),
    unique_by=lambda text: text[:15],
)
COLOURS = "<ColorTable>" + '<Entry c1="9" c2="0" c3="0" c4="255"/>' * 8 + "</ColorTable>"
BAND_ELEMENTS = st.lists(
    st.one_of(
        st.just(COLOURS),
        VRT_NUMBERS.map("<Scale>{}</Scale>".format),
        VRT_NUMBERS.map("<Offset>{}</Offset>".format),
        VRT_NUMBERS.map("<NoDataValue>{}</NoDataValue>".format),
        st.sampled_from(["Alpha", "Palette", "Red", "Undefined"]).map("<ColorInterp>{}</ColorInterp>".format),
        st.sampled_from(["", "°C"]).map("<UnitType>{}</UnitType>".format),
    ),
    unique_by=lambda text: text[:6],
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    ELEMENTS,
    st.lists(BAND_ELEMENTS, min_size=1, max_size=3),
    st.sampled_from(["Byte", "UInt16", "Int16", "Float32", "Float64"]),
    st.sampled_from(["tif", "png"]),
)
def test_what_a_source_accepts_can_be_written(elements: Any, bands: Any, dtype: str, format: str) -> None:
    """The source may refuse, with an error of ours; a TIFF of what it has collected never fails."""
    described = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{i}">{"".join(band)}</VRTRasterBand>'
        for i, band in enumerate(bands, 1)
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "a.vrt")
        path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="5">{"".join(elements)}{described}</VRTDataset>')
        with contextlib.ExitStack() as stack:
            try:
                source = stack.enter_context(open_source(path, force=True))
            except InvalidInputError:
                return
            parse(source.metadata, source.bands, source.plane)
            metadata = of_window(source.metadata, (1, 2, 3, 4), (5, 6))
            parse(metadata, source.bands, source.plane)
        try:
            copy(path, Path(folder, f"a.{format}"), force=True)
        except InvalidInputError:
            assert format == "png"


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<GeoTransform>5, nan, 0, 6, 0, -1</GeoTransform>", "transform.*finite"),
        ("<GeoTransform>5, inf, 0, 6, 0, -1</GeoTransform>", "transform.*finite"),
        ("<GeoTransform>0, 0, 0, 0, 0, 0</GeoTransform>", "transform of zeros"),
        ('<Metadata domain="RPC"><MDI key="LINE_OFF">1</MDI></Metadata>', "rpcs"),
        ('<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">x.tif</MDI></Metadata>', "geolocation"),
        ('<GCPList><GCP Id="" Pixel="nan" Line="1" X="2" Y="3"/></GCPList>', "gcps.*finite"),
    ],
)
def test_what_no_tiff_can_say_is_told(tmp_path: Path, inside: str, said: str) -> None:
    path = tmp_path / "a.vrt"
    band = '<VRTRasterBand dataType="Byte" band="1"/>'
    path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="5">{inside}{band}</VRTDataset>')
    with pytest.warns(MetadataLostWarning, match=said):
        copy(path, tmp_path / "a.tif")


@pytest.mark.parametrize("transform", [(0, 0, 5, 0, 0, 6), (1, 2, 0, 2, 4, 0)])
def test_transforms_without_an_inverse(tmp_path: Path, transform: tuple[float, ...]) -> None:
    path = tmp_path / "a.tif"
    write(path, np.zeros((1, 8, 8), np.uint8), transform=Affine(*transform)).close()
    round_trip(path)


@pytest.mark.parametrize("bands", [1, 2])
def test_masks_of_bands(tmp_path: Path, bands: int) -> None:
    """The mask of the only band is that of the raster; masks of several bands are refused."""
    there = np.arange(30).reshape(5, 6) % 3 > 0
    with write(tmp_path / "mask.tif", 200 * there[None].astype(np.uint8)):
        pass
    band = "<SimpleSource><SourceFilename relativeToVRT='1'>mask.tif</SourceFilename></SimpleSource>"
    one = f'<MaskBand><VRTRasterBand dataType="Byte">{band}</VRTRasterBand></MaskBand>'
    both = "".join(f'<VRTRasterBand dataType="Byte" band="{k + 1}">{one}{band}</VRTRasterBand>' for k in range(bands))
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="5">{both}</VRTDataset>')
    if bands > 1:
        with pytest.raises(InvalidInputError, match="a mask for each band"):
            copy(path, tmp_path / "a.tif")
        return
    copy(path, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        np.testing.assert_array_equal(raster.read_masks(1) > 0, there)


def test_points_whose_height_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    points = "".join(f'<GCP Id="" Pixel="{x}" Line="0" X="{10 + x}" Y="5" Z="nan"/>' for x in range(4))
    band = '<VRTRasterBand dataType="Byte" band="1"/>'
    path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="5"><GCPList>{points}</GCPList>{band}</VRTDataset>')
    copy(path, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert [(p.col, p.x, p.z) for p in raster.gcps[0]] == [(x, 10 + x, 0) for x in range(4)]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_texts_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    """Software of the last century wrote Latin-1 where UTF-8 is meant."""
    path, again = tmp_path / "a.tif", tmp_path / "b.tif"
    with write(path, np.ones((1, 8, 8), np.uint8)) as raster:
        raster.update_tags(OPERATOR="M__ller")
        raster.update_tags(1, PLACE="H__he")
        raster.descriptions, raster.units = ("H__he",), ("__C",)
    data = path.read_bytes()
    for text, right in (("M__ller", "Müller"), ("H__he", "Höhe"), ("__C", "°C")):
        data = data.replace(text.encode(), right.encode(encoding).ljust(len(text)))
    path.write_bytes(data)
    copy(path, again)
    with rasterio.open(again) as raster:
        assert [t.strip() for t in (*raster.descriptions, *raster.units)] == ["Höhe", "°C"]
        assert raster.tags()["OPERATOR"].strip() == "Müller"
        assert raster.tags(1)["PLACE"].strip() == "Höhe"


@pytest.mark.parametrize("value", [3.5e38, -1e39, 1.7e308])
def test_values_that_no_float32_is(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.tif"
    write(path, np.array([[[1, np.nan, np.inf, value]]])).close()
    with (
        pytest.warns(InputWarning),
        open_source(path) as source,
        pytest.raises(InvalidInputError, match="doesn't fit float32, whose largest is 3.4"),
    ):
        source.read(slice(0, 1), slice(0, 4))


# --- how it is read ---


def test_windows_are_read_lazily(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 65536, (3, 1024, 1024), dtype=np.uint16)
    write(path, values, tiled=True, blockxsize=128, blockysize=128, **UTM).close()
    stream = CountingFile(path.read_bytes())
    total = len(stream.getvalue())
    with open_source(stream) as source:
        found = source.read(slice(300, 400), slice(500, 501))
        np.testing.assert_array_equal(found, values[:, 300:400, 500:501])
        assert stream.taken < total / 8
        np.testing.assert_array_equal(source.read(slice(0, 1024), slice(0, 1024)), values)
    assert not stream.closed
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(slice(1, 3), slice(2, 5)), values[:, 1:3, 2:5])


def test_streams_that_cannot_seek(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, noise[:3], **UTM).close()

    offset = io.BytesIO(b"before" + path.read_bytes())
    offset.seek(6)
    for stream in (Pipe(path.read_bytes()), offset):
        with open_source(stream) as source:
            np.testing.assert_array_equal(source.read(slice(0, 300), slice(0, 280)), noise[:3])


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_truncated_file(noise: np.ndarray, tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.tif"
    write(path, noise, compress="deflate").close()
    data = path.read_bytes()
    with (
        pytest.raises(InvalidInputError, match="damaged|not an image"),
        open_source(io.BytesIO(data[: int(kept * len(data))])) as source,
    ):
        source.read(slice(0, 300), slice(0, 280))


def test_16_bit_png_and_jpeg_2000(noise: np.ndarray, tmp_path: Path) -> None:
    values = noise.astype(np.uint16) * 251
    for name, bands, options in (("a.png", values[:3], {}), ("a.jp2", values, {"QUALITY": 100, "REVERSIBLE": "YES"})):
        path = tmp_path / name
        driver = "PNG" if name.endswith("png") else "JP2OpenJPEG"
        with (
            rasterio.Env(GDAL_PAM_ENABLED=False),
            rasterio.open(
                path, "w", driver=driver, count=len(bands), height=300, width=280, dtype="uint16", **options
            ) as raster,
        ):
            raster.write(bands)
        again = tmp_path / f"{name}.tif"
        copy(path, again)
        with rasterio.open(path) as one, rasterio.open(again) as other:
            np.testing.assert_array_equal(one.read(), other.read())


# --- what isn't trusted ---

SINK = {"height": 5, "width": 6, "bands": 2, "dtype": "uint8"}


def sink_with(path: Path, metadata: Any, **changed: Any) -> None:
    options = SINK | changed
    with open_sink(path, "tif", SinkSpec(metadata=metadata, **options)) as sink:
        plane = np.full((5, 6), 255, np.uint8) if options.get("plane") else None
        values = np.ones((options["bands"], 5, 6), options["dtype"])
        sink.write(slice(0, 5), slice(0, 6), values, plane)


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        {"crs": 3},
        {"crs": "nonsense"},
        {"crs": "EPSG:4326"},  # not WKT; names could as well be those of files
        {"crs": "\0"},
        {"transform": [1, 2, 3]},
        {"transform": [1, 0, 0, 0, "nan", 0]},
        {"transform": [True, 0, 0, 0, 1, 0]},
        {"transform": [10**400, 0, 0, 0, 1, 0]},
        {"gcps": {}},
        {"gcps": {"points": [[1, 2, 3]]}},
        {"rpcs": {}},
        {"rpcs": {"LINE_OFF": "x"}},
        {"bands": [{}]},
        {"bands": [{}, {}, {}]},
        {"bands": [{"color": "mauve"}, {}]},
        {"bands": [{"scale": "1"}, {}]},
        {"bands": [3, {}]},
        {"bands": [{}, {}, {}], "alpha": 7},
        {"tags": {"": {"a": 1}}},
        {"tags": {"": {"a=b": "1"}}},
        {"tags": {"": {"a": "\ud800"}}},
        {"overviews": [0]},
        {"overviews": [2] * 100},
        {"colormap": "AAAA"},
        {"colormap": "AAECAw=="},
        {"icc": "?"},
        {"xmp": "/w=="},
        {"dpi": [1]},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, metadata: Any) -> None:
    with pytest.raises(CorruptDataError, match="metadata"):
        sink_with(tmp_path / "a.tif", metadata)


@pytest.mark.parametrize("wkt", ["PROJCS[", 'PROJCS["\x1b[31ma"', "\x1b[31m", "PROJCS[" + 100_000 * "A"])
def test_gdal_prints_nothing_about_a_crs_that_is_none(capfd: pytest.CaptureFixture[str], wkt: str) -> None:
    with pytest.raises(CorruptDataError, match="not WKT"):
        read_crs(wkt, "crs")
    assert capfd.readouterr() == ("", "")


def test_nodata_that_makes_no_sense(tmp_path: Path) -> None:
    for nodata in (-1, 256, 0.5, float("nan")):
        with pytest.raises(CorruptDataError, match="nodata"):
            sink_with(tmp_path / "a.tif", {}, nodata=nodata)


def test_too_much_metadata(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with write(path, noise, **UTM) as raster:
        raster.update_tags(long="x" * 5_000_000)
    with pytest.warns(MetadataLostWarning, match="tags"):
        metadata = copy(path, tmp_path / "c.tif")
    assert "tags" not in metadata
    assert "crs" in metadata
    with pytest.raises(CorruptDataError, match="bytes of metadata"):
        sink_with(tmp_path / "b.tif", {"tags": {"": {"long": "x" * 5_000_000}}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
TAGS = st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3)
NAMESPACES = st.dictionaries(st.sampled_from(["", "RPC", "xml:XMP", "xml:A", "IMAGE_STRUCTURE"]) | st.text(), TAGS)
NUMBERS = st.floats() | st.integers() | st.sampled_from(["nan", "inf", "-inf"])
BAND = st.fixed_dictionaries(
    {},
    optional={
        "color": st.sampled_from([c.name for c in ColorInterp]),
        "description": st.text(max_size=5),
        "unit": st.text(max_size=5),
        "scale": NUMBERS,
        "offset": NUMBERS,
        "tags": NAMESPACES,
    },
)
WKT = CRS.from_epsg(32632).to_wkt()
METADATA = JSON | st.fixed_dictionaries(
    {},
    optional={
        "crs": st.sampled_from([WKT, WKT[:99], 'LOCAL_CS["a"]', 'GEOGCS["a"]']) | JSON,
        "transform": st.lists(NUMBERS, min_size=6, max_size=6) | JSON,
        "gcps": st.fixed_dictionaries(
            {
                "crs": st.none() | st.just(WKT),
                "points": st.lists(st.tuples(*[NUMBERS] * 5, st.text(), st.text()).map(list)),
            }
        )
        | JSON,
        "rpcs": st.dictionaries(st.sampled_from([*RPC.__annotations__, "LINE_OFF"]), st.text(max_size=5)) | JSON,
        "bands": st.lists(BAND, min_size=2, max_size=3) | JSON,
        "alpha": st.integers(-1, 3) | JSON,
        "tags": NAMESPACES | JSON,
        "overviews": st.lists(st.integers(1, 9), max_size=3) | JSON,
        "colormap": st.binary(max_size=16).map(lambda b: base64.b64encode(b).decode()) | JSON,
        "icc": st.sampled_from(["", "AAAA"]) | JSON,
        "exif": JSON,
        "xmp": st.sampled_from(["", "AAAA", "PHg+", "PHggYT0iYiI+"]) | JSON,
        "dpi": st.lists(NUMBERS, min_size=2, max_size=2) | JSON,
    },
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    METADATA, st.sampled_from([None, "mask", "alpha"]), st.sampled_from([1, 2]), st.sampled_from(["tif", "png", "webp"])
)
def test_no_metadata_crashes_a_sink(metadata: Any, plane: Any, bands: int, format: str) -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "a"
    bands = bands if format == "tif" else 2 * bands - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_sink(
                path, format, SinkSpec(metadata=metadata, plane=plane, **SINK | {"bands": bands}, overviews=True)
            ) as sink:
                values = np.ones((bands, 5, 6), np.uint8)
                sink.write(slice(0, 5), slice(0, 6), values, None if plane is None else values[0])
        except LearnedCodecError as error:
            assert isinstance(error, CorruptDataError) or format != "tif", error  # noqa: PT017
        else:
            with open_source(path, force=True) as source:
                np.testing.assert_array_equal(source.read(slice(0, 5), slice(0, 6)), values)
    path.unlink(missing_ok=True)
    folder.rmdir()  # fails if there is another file


# --- units ---


def band(**said: Any) -> dict[str, Any]:
    return {"color": "gray", **said}


@pytest.mark.parametrize(
    ("tags", "bands", "dtype", "unit"),
    [
        ({"UNIT": "sigma0 dB float32"}, [band()], "float32", "db"),
        ({"units": "Decibel"}, [band()], "float32", "db"),
        ({}, [band(unit="dB"), band(unit="dB")], "float32", "db"),
        ({}, [band(description="Gamma0_VV_db")], "float32", "db"),
        ({}, [band(tags={"": {"UNITTYPE": "dB"}})], "float32", "db"),
        ({"UNIT": "dB"}, [band()], "uint16", None),
        ({"UNIT": "dB"}, [band(scale=0.01)], "float32", None),
        ({"UNIT": "dB"}, [band(offset=5)], "float32", None),
        ({"UNIT": "uint16 = round(100*dB)+10000, nodata 0; gamma0", "POL": "VV"}, [band()], "uint16", None),
        ({"UNIT": "dB = (DN - 10000) / 100", "POL": "VV"}, [band()], "float32", None),
        ({"UNIT": "0.01 dB"}, [band()], "float32", None),
        ({"UNIT": "dB(A)"}, [band()], "float32", None),
        ({"UNIT": "dBm"}, [band()], "float32", None),
        ({"UNIT": "amplitude DN uint16; gamma0 dB = 20*log10(DN)-83", "POL": "HH+HV"}, [band()], "uint16", "amplitude"),
        ({"UNIT": "amplitude DN float32 = |re+j im|", "SENSOR": "TerraSAR-X"}, [band()], "float32", "amplitude"),
        ({"UNIT": "amplitude"}, [band()], "float32", None),  # of a tide?
        ({"UNIT": "intensity"}, [band()], "float32", None),  # of a lamp?
        ({"UNIT": "intensity", "SENSOR": "QuickBird"}, [band()], "float32", None),
        ({"UNIT": "intensity", "Platform": "Sentinel-1A"}, [band()], "float32", "power"),
        ({"UNIT": "intensity", "Platform": "Sentinel-2A"}, [band()], "float32", None),
        ({}, [band(description="Intensity_VV"), band(description="Intensity_VH")], "float32", "power"),
        ({}, [band(description="Intensity_VV"), band(description="Amplitude_VV")], "float32", None),
        ({}, [band(description="Intensity_VV"), band(description="angle")], "float32", None),
        ({"UNIT": "gamma0 linear power"}, [band(scale=2)], "float32", "power"),
        ({"UNIT": "power", "POL": "VV"}, [band(offset=2)], "float32", None),
        ({"POL": "VV"}, [band(description="VV")], "float32", None),
        ({"UNIT": "power amplitude", "POL": "VV"}, [band()], "float32", None),
        ({}, [band(description="band 1 reflectance")], "int16", None),
        ({}, [], "uint8", None),
    ],
)
def test_radar_unit(tags: dict[str, str], bands: list[dict[str, Any]], dtype: str, unit: str | None) -> None:
    assert radar_unit({"tags": {"": tags}, "bands": bands}, np.dtype(dtype)) == unit


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["int32", "uint32", "int64", "uint64"]),
    st.integers(0, 2**31 - 1) | st.integers(2**24 - 3, 2**24 + 3),
    st.booleans(),
)
def test_integers_that_a_float_cannot_hold_are_told(dtype: str, value: int, bounded: bool) -> None:
    """With a bound they are refused: their error would be beyond it."""
    exact = int(np.float32(value)) == value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tif")
        write(path, np.array([[[0, value]]], dtype), **UTM).close()
        with open_source(path, dtype="float32", bounded=bounded) as source:
            everything = slice(0, 1), slice(0, 2)
            if exact:
                told: Any = contextlib.nullcontext()
            elif bounded:
                told = pytest.raises(InvalidInputError, match=f"{value} and other integers.*max_error")
            else:
                told = pytest.warns(InputWarning, match=f"{value} and other integers.*are rounded")
            with told:
                assert source.read(*everything)[0, 0, 1] == np.float32(value)
            if not exact and not bounded:
                source.read(*everything)  # told once
