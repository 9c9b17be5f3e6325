"""Scripts that read rasters with rasterio read LCI files unchanged: both give the same, call by call."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.mask import mask
from rasterio.merge import merge
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject
from rasterio.windows import Window, from_bounds

from learned_codec import encode, encode_file
from learned_codec.errors import FileError, InvalidInputError, OutOfBoundsError
from learned_codec.integrations.rasterio import Dataset
from learned_codec.integrations.rasterio import open as open_lci
from tests.integrations.test_numcodecs import chunk

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio's own use of affine

TRANSFORM = rasterio.Affine(10, 0, 399960, 0, -10, 5800020)
BOX = (400103.7, 5799012.3, 400671.0, 5799500.1)
CORNERS = [(400000, 5799900), (401000, 5799800), (400500, 5799000), (400000, 5799900)]
INKS = {"cyan", "magenta", "yellow", "black", "alpha"}
SHAPE = {"type": "Polygon", "coordinates": [CORNERS]}


def either(source: Dataset, by_gdal: bool) -> Any:
    """The dataset itself or GDAL's own, for a `with` block."""
    return source.gdal() if by_gdal else nullcontext(source)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A GeoTIFF with all that a raster may say, and the same without loss as an LCI file."""
    tif = tmp_path_factory.mktemp("rasterio") / "scene.tif"
    values = chunk(3, 150, 130)
    values[:, 100:, 90:] = 0
    values[1, :7] = 0
    with rasterio.open(
        tif, "w", driver="GTiff", height=150, width=130, count=3, dtype="uint16", nodata=0, crs="EPSG:32633",
        transform=TRANSFORM, tiled=True, blockxsize=64, blockysize=64,
    ) as raster:  # fmt: skip
        raster.write(values)
        raster.descriptions, raster.units = ("B02", "B03", "B04"), ("1", "1", "K")
        raster.scales, raster.offsets = (1e-4, 1e-4, 2), (0, 0, -3)
        raster.update_tags(sensor="MSI")
        raster.update_tags(2, wavelength="560")
        raster.update_tags(ns="MISSION", orbit="17")
        raster.update_tags(2, ns="MISSION", look="3")
    encode_file(tif, tif.with_suffix(".lci"), max_error=0, tile_size=64)
    return tif, tif.with_suffix(".lci")


@pytest.mark.parametrize("method", [Resampling.average, Resampling.bilinear, Resampling.mode])
@pytest.mark.parametrize("hidden", ["nodata", "mask", "nothing"])
def test_hidden_pixels_do_not_count_when_resampled(tmp_path: Path, hidden: str, method: Resampling) -> None:
    values, there = chunk(2, 90, 70) + np.uint16(1), np.random.default_rng(0).random((90, 70)) < 0.6
    there[:30, :30] = False
    tif = tmp_path / "a.tif"
    size = {"height": 90, "width": 70, "count": 2, "dtype": "uint16", "transform": TRANSFORM}
    with rasterio.open(tif, "w", driver="GTiff", nodata=0 if hidden == "nodata" else None, **size) as raster:
        raster.write(values if hidden == "nothing" else np.where(there, values, 0))
        if hidden == "mask":
            raster.write_mask(there)
    encode_file(tif, tmp_path / "a.lci", max_error=0)
    with rasterio.open(tif) as gdal, open_lci(tmp_path / "a.lci") as ours:
        # At a window's edge, GDAL interpolates with pixels outside it.
        for window in (None, Window(3, 5, 60, 70))[: 1 if method == Resampling.bilinear else 2]:
            options = {"out_shape": (2, 20, 30), "window": window, "resampling": method}
            wanted, found = (source.read(masked=True, **options) for source in (gdal, ours))
            np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(wanted))
            np.testing.assert_array_equal(found.filled(0), wanted.filled(0))
            assert not isinstance(ours.read(**options), np.ma.MaskedArray)


READS: dict[str, Callable[[Any], Any]] = {
    "all": lambda s: s.read(),
    "one band": lambda s: s.read(2),
    "bands": lambda s: s.read([3, 1]),
    "a window": lambda s: s.read(1, window=Window(20, 30, 40, 50)),
    "ranges": lambda s: s.read(window=((3, 20), (5, 90))),
    "slices": lambda s: s.read(window=(slice(3, 20), slice(5, 90))),
    "a window across the edge": lambda s: s.read(1, window=Window(100, 100, 100, 100)),
    "a box": lambda s: s.read(1, window=s.window(*BOX).round_offsets().round_lengths()),
    "boundless": lambda s: s.read(window=Window(-5, -7, 30, 40), boundless=True, fill_value=9),
    "masked": lambda s: s.read(masked=True).filled(7),
    "a masked band": lambda s: s.read(2, masked=True).mask,
    "fewer pixels": lambda s: s.read(1, out_shape=(150, 130)),
    "more pixels": lambda s: s.read(out_shape=(3, 300, 260)),
    "means": lambda s: s.read(1, out_shape=(50, 65), resampling=Resampling.average),
    "a type": lambda s: s.read(1, out_dtype="float32"),
    "a smaller type": lambda s: s.read(out_dtype="uint8"),
    "a smaller type, masked": lambda s: s.read(1, out_dtype="int8", masked=True, out_shape=(50, 65)).filled(9),
    "into a smaller type": lambda s: s.read([1, 2], out=np.empty((2, 150, 130), np.uint8)),
    "masked, into an array": lambda s: s.read(out=np.empty((3, 150, 130), np.uint16), masked=True).filled(7),
    "masked, with a fill value": lambda s: s.read(masked=True, fill_value=7).filled(),
    "masked, beyond the edge": lambda s: s.read(window=Window(-5, 90, 40, 90), boundless=True, masked=True).mask,
    "into an array": lambda s: s.read([1, 2], out=np.empty((2, 150, 130), np.uint16)),
    "masks": lambda s: s.read_masks(),
    "a mask": lambda s: s.read_masks(2, window=Window(80, 0, 50, 150)),
    "the mask of all": lambda s: s.dataset_mask(),
    "at places": lambda s: list(s.sample([(400000, 5800000), (401259, 5798521), (0, 0)])),
    "at places of a band": lambda s: list(s.sample([(400000, 5800000)], 3)),
    "within a shape": lambda s: mask(s, [SHAPE], crop=True)[0],
}

FACTS = (
    *("width", "height", "count", "shape", "indexes", "dtypes", "nodata", "nodatavals", "crs", "transform", "bounds"),
    *("res", "descriptions", "units", "scales", "offsets", "block_shapes", "mode", "closed"),
    *("colorinterp", "mask_flag_enums", "gcps", "rpcs"),
)


@pytest.mark.parametrize("name", READS)
def test_the_same_pixels(pair: tuple[Path, Path], name: str) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours:
        expected, found = READS[name](real), READS[name](ours)
    np.testing.assert_array_equal(found, expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("name", [name for name in READS if name != "means"])
def test_the_same_pixels_by_gdal(pair: tuple[Path, Path], name: str) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours, ours.gdal() as raster:
        np.testing.assert_array_equal(READS[name](raster), READS[name](real))


@pytest.mark.parametrize("name", [name for name in FACTS if name != "block_shapes"])
def test_the_same_facts_by_gdal(pair: tuple[Path, Path], name: str) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours, ours.gdal() as raster:
        assert getattr(raster, name) == getattr(real, name)
        assert (raster.tags(), raster.tags(2)) == (real.tags(), real.tags(2))
        assert raster.tags(ns="MISSION") == real.tags(ns="MISSION")
        assert raster.tags(2, "MISSION") == real.tags(2, "MISSION")


@pytest.mark.parametrize("name", FACTS)
def test_the_same_facts(pair: tuple[Path, Path], name: str) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours:
        assert getattr(ours, name) == getattr(real, name)


def test_places_tags_and_tiles(pair: tuple[Path, Path]) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours:
        assert ours.xy(10, 20) == real.xy(10, 20)
        assert ours.index(400000, 5799000) == real.index(400000, 5799000)
        assert ours.window(*BOX) == real.window(*BOX)
        window = Window(1, 2, 30, 40)
        assert ours.window_transform(window) == real.window_transform(window)
        assert ours.window_bounds(window) == real.window_bounds(window)
        assert list(ours.block_windows(1)) == list(real.block_windows(1))
        assert ours.tags() == real.tags()
        assert ours.tags(2) == real.tags(2)
        assert ours.tags(ns="nowhere") == {}


def test_windows_of_fractions_are_rounded(pair: tuple[Path, Path]) -> None:
    with open_lci(pair[1]) as ours:
        whole = ours.read(1, window=Window(20, 30, 40, 50))
        np.testing.assert_array_equal(ours.read(1, window=Window(20.0001, 29.9999, 39.9999, 50.0001)), whole)
        box = from_bounds(*ours.window_bounds(Window(20, 30, 40, 50)), transform=ours.transform)
        np.testing.assert_array_equal(ours.read(1, window=box), whole)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float64"])
@pytest.mark.parametrize("stored", ["float32", "int16", "uint16", "int32"])
def test_other_types_have_the_values_of_gdal(tmp_path: Path, stored: str, dtype: str) -> None:
    """Rounded, and the nearest one where a value is beyond the range, not its lowest bits."""
    numbers = np.random.default_rng(0).normal(0, 1, (40, 50)) * 10.0 ** np.linspace(-1, 11, 50)
    if stored == "float32":
        numbers[:4] = np.arange(200).reshape(4, 50) / 2 - 50
        numbers[4, :3] = np.inf, -np.inf, 3e38
        numbers[(np.abs(numbers) > 2**23) & (np.abs(numbers) < 2**24)] = 0  # integers that GDAL "rounds" to the next
    else:
        ends = np.iinfo(stored)
        numbers = np.clip(numbers, ends.min, ends.max)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=40, width=50, count=1, dtype=stored, transform=TRANSFORM
    ) as raster:
        raster.write(numbers.astype(stored), 1)
    encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with rasterio.open(tmp_path / "a.tif") as real, open_lci(tmp_path / "a.lci") as ours:
        np.testing.assert_array_equal(ours.read(out_dtype=dtype), real.read(out_dtype=dtype))
        found = ours.read(1, out=np.empty((40, 50), dtype), masked=True)
        np.testing.assert_array_equal(np.ma.getdata(found), real.read(1, out=np.empty((40, 50), dtype)))


def test_a_profile_writes_such_a_raster(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_lci(pair[1]) as ours:
        with rasterio.open(tmp_path / "again.tif", "w", **ours.profile) as raster:
            raster.write(ours.read())
        with rasterio.open(tmp_path / "again.tif") as raster:
            np.testing.assert_array_equal(raster.read(), ours.read())
            assert (raster.crs, raster.transform, raster.nodata) == (ours.crs, ours.transform, ours.nodata)
        assert ours.meta.keys() >= {"driver", "dtype", "nodata", "width", "height", "count", "crs", "transform"}


def test_mosaics(pair: tuple[Path, Path]) -> None:
    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours:
        expected, found = merge([real]), merge([ours])
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_what_takes_only_datasets_of_gdal(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def warped(raster: Any) -> np.ndarray:
        with WarpedVRT(raster, crs="EPSG:4326", resampling=Resampling.bilinear) as found:
            return found.read(masked=True).filled(1)

    def reprojected(raster: Any) -> np.ndarray:
        found = np.zeros((200, 200), np.uint16)
        grid = {"dst_transform": rasterio.Affine(9, 0, 400000, 0, -9, 5800000), "dst_crs": raster.crs}
        reproject(rasterio.band(raster, 2), found, num_threads=2, **grid)
        return found

    with rasterio.open(pair[0]) as real, open_lci(pair[1]) as ours, ours.gdal() as raster:
        for function in (warped, reprojected):
            np.testing.assert_array_equal(function(raster), function(real))
        copy(raster, tmp_path / "copy.tif", driver="COG")
        with rasterio.open(tmp_path / "copy.tif") as copied:
            np.testing.assert_array_equal(copied.read(), real.read())
            assert (copied.crs, copied.transform, copied.nodata) == (real.crs, real.transform, real.nodata)
    assert rasterio.env.get_gdal_config("GDAL_VRT_ENABLE_PYTHON") is None


def test_a_damaged_tile_is_an_error_of_gdal_too(pair: tuple[Path, Path]) -> None:
    data = bytearray(pair[1].read_bytes())
    data[-20] ^= 1
    with open_lci(bytes(data)) as ours, ours.gdal() as raster:
        raster.read(1, window=Window(0, 0, 9, 9))
        with pytest.raises(rasterio.errors.RasterioError):
            raster.read(1)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_points_on_the_ground(tmp_path: Path) -> None:
    points = [GroundControlPoint(r, c, 10 + c / 100, 50 - r / 100, 7, id=str(r + c)) for r in (0, 60) for c in (0, 50)]
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8") as raster:
        raster.write(chunk(64, 64, dtype="uint8"), 1)
        raster.gcps = points, rasterio.CRS.from_epsg(4326)
    encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with open_lci(tmp_path / "a.lci") as ours, ours.gdal() as raster:
        for found, crs in (ours.gcps, raster.gcps):
            assert crs.to_epsg() == 4326
            assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in points]


@pytest.mark.filterwarnings("ignore:.* have values, which aren't kept:learned_codec.errors.InputWarning")
def test_a_mask_beside_the_bands(tmp_path: Path) -> None:
    values = chunk(3, 64, 80, dtype="float64").astype(np.uint16)
    inside = np.zeros((64, 80), bool)
    inside[10:40, 20:70] = True
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=64, width=80, count=3, dtype="uint16", transform=TRANSFORM
        ) as raster,
    ):
        raster.write(values)
        raster.write_mask(inside)
    encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with open_lci(tmp_path / "a.lci") as ours, ours.gdal() as raster:
        for found in (ours.dataset_mask(), *ours.read_masks(), raster.dataset_mask(), *raster.read_masks()):
            np.testing.assert_array_equal(found, np.where(inside, 255, 0))
        np.testing.assert_array_equal(
            ours.dataset_mask(window=Window(15, 5, 9, 9)), np.where(inside, 255, 0)[5:14, 15:24]
        )


@pytest.mark.filterwarnings("ignore:.* have values, which aren't kept:learned_codec.errors.InputWarning")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_opacity(tmp_path: Path, dtype: str) -> None:
    opacity = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (64, 80)).astype(dtype)
    opacity[:9], opacity[9:20], opacity[20] = 0, np.iinfo(dtype).max, 1
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=64, width=80, count=4, dtype=dtype, transform=TRANSFORM
    ) as raster:
        raster.colorinterp = [ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
        raster.write(np.stack([*chunk(3, 64, 80, dtype=dtype), opacity]))
    encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with rasterio.open(tmp_path / "a.tif") as real, open_lci(tmp_path / "a.lci") as ours, ours.gdal() as raster:
        for found in (ours, raster):
            np.testing.assert_array_equal(found.dataset_mask(), real.dataset_mask())
            np.testing.assert_array_equal(found.read_masks(), real.read_masks([1, 2, 3]))
            np.testing.assert_array_equal(found.read()[:, opacity > 0], real.read([1, 2, 3])[:, opacity > 0])
        window = Window(70, 20, 30, 50)
        for options in (
            {"window": Window(15, 5, 9, 30)},
            {"out_shape": (16, 20)},
            {"window": window, "boundless": True},
        ):
            np.testing.assert_array_equal(ours.read_masks(2, **options), real.read_masks(2, **options))


def test_a_table_of_colours(tmp_path: Path) -> None:
    table = {0: (0, 0, 0, 255), 1: (10, 20, 30, 255), 2: (200, 100, 50, 255)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8", transform=TRANSFORM
    ) as raster:
        raster.write(np.arange(64 * 64).reshape(64, 64).astype(np.uint8) % 3, 1)
        raster.write_colormap(1, table)
    encode_file(tmp_path / "a.tif", tmp_path / "a.lci", max_error=0)
    with rasterio.open(tmp_path / "a.tif") as real, open_lci(tmp_path / "a.lci") as ours, ours.gdal() as raster:
        assert ours.colormap(1) == raster.colormap(1) == real.colormap(1)


@pytest.mark.parametrize("by_gdal", [False, True])
@pytest.mark.parametrize("colour", [c for c in ColorInterp if c.name not in INKS])
def test_what_a_band_shows(tmp_path: Path, colour: ColorInterp, by_gdal: bool) -> None:
    tif = tmp_path / "a.tif"
    profile = {"crs": "EPSG:32633", "transform": TRANSFORM, "dtype": "uint8", "height": 9, "width": 8, "count": 2}
    with rasterio.open(tif, "w", driver="GTiff", **profile) as raster:
        raster.write(chunk(2, 9, 8).astype(np.uint8))
        raster.colorinterp = [ColorInterp.gray, colour]
    encode_file(tif, tif.with_suffix(".lci"), max_error=0)
    with rasterio.open(tif) as raster, open_lci(tif.with_suffix(".lci")) as source, either(source, by_gdal) as found:
        assert found.colorinterp == raster.colorinterp


@pytest.mark.parametrize("by_gdal", [False, True])
@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 3), ("uint16", 12), ("uint16", 16)])
def test_bits_and_polynomials_are_tags(tmp_path: Path, dtype: str, bits: int, by_gdal: bool) -> None:
    tif, terms = tmp_path / "a.tif", [i / 7 for i in range(20)]
    profile = {"crs": "EPSG:32633", "transform": TRANSFORM, "height": 9, "width": 8, "count": 1, "nbits": bits}
    with rasterio.open(tif, "w", driver="GTiff", dtype=dtype, **profile) as raster:
        raster.write(np.arange(72).reshape(1, 9, 8).astype(dtype) % np.dtype(dtype).type(8))
        raster.rpcs = RPC(1.5, 2, 3, 4, terms, terms, 5, 6, 7, 8, terms, terms, 9, 10, err_bias=11, err_rand=0.25)
    encode_file(tif, tif.with_suffix(".lci"), max_error=0)
    with rasterio.open(tif) as raster, open_lci(tif.with_suffix(".lci")) as source, either(source, by_gdal) as found:
        assert found.tags(ns="RPC") == raster.tags(ns="RPC")
        assert "RPC" in found.tag_namespaces()
        structure = "IMAGE_STRUCTURE"
        assert found.tags(1, structure).get("NBITS") == raster.tags(1, structure).get("NBITS")
        assert (structure in found.tag_namespaces(1)) == (bits < 16)


def test_errors_are_ours(pair: tuple[Path, Path]) -> None:
    with open_lci(pair[1]) as ours:
        assert isinstance(ours, Dataset)
        assert "scene.lci" in repr(ours)
        with pytest.raises((InvalidInputError, OutOfBoundsError), match="from 1 to 3"):
            ours.read(4)
        with pytest.raises(InvalidInputError, match="out and out_shape"):
            ours.read(1, out=np.empty((9, 9)), out_shape=(9, 9))
    assert ours.closed
    with pytest.raises(FileError, match="closed"):
        ours.read(1)
    with pytest.raises(FileError):
        open_lci(pair[1].with_name("missing.lci"))


@pytest.mark.parametrize("method", [Resampling.nearest, Resampling.bilinear, Resampling.average])
@pytest.mark.parametrize("shape", [(100, 90), (60, 50)])
def test_damaged_tiles_are_masked_at_any_size(tmp_path: Path, method: Resampling, shape: tuple[int, int]) -> None:
    data = bytearray(encode(chunk(2, 128, 128), planar=True, max_error=0, tile_size=64))
    data[len(data) // 2] ^= 255
    (tmp_path / "x.lci").write_bytes(data)
    with open_lci(tmp_path / "x.lci", errors="fill") as source:
        found = source.read(out_shape=(2, *shape), resampling=method, masked=True)
        assert 0.15 < np.ma.getmaskarray(found).mean() < 0.35
        assert found.min() >= chunk(2, 128, 128).min()  # what is filled in is 0


@given(
    indexes=st.one_of(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=4)), count=st.integers(1, 4)
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_array_for_another_number_of_bands_is_refused(
    pair: tuple[Path, Path], indexes: int | list[int], count: int
) -> None:
    wanted = 1 if isinstance(indexes, int) else len(indexes)
    out = np.zeros((count, 5, 6), np.uint16)
    with open_lci(pair[1]) as source:
        options: list[dict[str, Any]] = [{"out": out}, {"out_shape": out.shape}]
        for option in options:
            if count == wanted:
                assert source.read(indexes, window=Window(0, 0, 6, 5), **option).shape[-2:] == (5, 6)
                continue
            with pytest.raises(InvalidInputError, match="bands"):
                source.read(indexes, window=Window(0, 0, 6, 5), **option)


@pytest.mark.parametrize("method", [Resampling.bilinear, Resampling.average])
def test_truth_values_are_resampled(tmp_path: Path, method: Resampling) -> None:
    values = chunk(1, 64, 64)[0]
    (tmp_path / "x.lci").write_bytes(encode(values > values.mean(), max_error=0))
    with open_lci(tmp_path / "x.lci") as source:
        found = source.read(1, out_shape=(48, 48), resampling=method)
        assert (found.dtype, set(np.unique(found))) == (np.uint8, {0, 1})


@pytest.mark.parametrize("beside", [{}, {"nodata": 0}, {"mask": np.ones((128, 128), bool)}])
@pytest.mark.parametrize("rate", [{"max_error": 0}, {"quality": 60}])
def test_gdal_masks_damaged_tiles(beside: dict[str, Any], rate: dict[str, float]) -> None:
    """Also those of which only the end is damaged: the mask at their beginning is whole."""
    place = {"transform": list(TRANSFORM)[:6], "crs": rasterio.crs.CRS.from_epsg(32633).to_wkt()}
    values = chunk(2, 128, 128) + np.uint16(1)
    data = bytearray(encode(values, planar=True, tile_size=64, metadata=place, **beside, **rate))
    data[-20] ^= 255
    with open_lci(bytes(data), errors="fill") as source:
        found, whole = source.read(masked=True), source.dataset_mask()
        with source.gdal() as raster:
            np.testing.assert_array_equal(raster.read(masked=True).mask, found.mask)
            np.testing.assert_array_equal(raster.dataset_mask(), whole)
            assert [set(flags) for flags in raster.mask_flag_enums] == [set(flags) for flags in source.mask_flag_enums]
            with WarpedVRT(raster, crs=raster.crs, add_alpha=source.nodata is None) as warped:
                shown = warped.read_masks(1) if source.nodata == 0 else warped.read(3)
                np.testing.assert_array_equal(shown == 0, found.mask[0])
    damaged = np.zeros((128, 128), bool)
    damaged[64:, 64:] = True
    np.testing.assert_array_equal(found.mask, np.stack([damaged] * 2))
    np.testing.assert_array_equal(whole == 0, damaged)


@pytest.mark.parametrize("band", [4, 9, -1])
@pytest.mark.parametrize("method", ["tags", "tag_namespaces", "overviews", "colormap"])
def test_a_band_that_does_not_exist(pair: tuple[Path, Path], method: str, band: int) -> None:
    with open_lci(pair[1]) as ours, pytest.raises(OutOfBoundsError, match="from 1 to 3; not"):
        getattr(ours, method)(band)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resampling": 99}, "resampling must be one of rasterio's nearest, .*, not 99"),
        ({"resampling": "cubic", "out_shape": (2, 20, 20)}, "not 'cubic'"),
        ({"resampling": None}, "not None"),
        ({"resampling": Resampling.sum, "out_shape": (2, 20, 20)}, "resampling must be"),
        ({"out": 5}, "out must be an array of numbers"),
        ({"out": np.zeros(3)}, r"not float64 of shape \(3,\)"),
        ({"out": np.zeros((2, 40, 30), "U3")}, "out must be"),
        ({"out_dtype": "nope"}, "out_dtype must be a dtype of numbers, not 'nope'"),
        ({"out_dtype": object}, "out_dtype must be"),
        ({"out_shape": 5}, "out_shape must be .*, not 5"),
        ({"out_shape": (2,)}, "out_shape must be"),
        ({"window": 5}, "window must be a rasterio Window or .*, not 5"),
        ({"window": "ab"}, "not 'ab'"),
        ({"window": ((0, 5),)}, "window must be"),
        ({"window": ((0, 5), (0, "x"))}, "window must be"),
        ({"window": Window(float("nan"), 0, 5, 5)}, "window must be"),
        ({"indexes": 1.0}, "bands are counted from 1 to 2"),
        ({"indexes": "x"}, "bands are counted from 1 to 2"),
        ({"indexes": object()}, "bands are counted from 1 to 2"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    coded = encode(np.zeros((2, 40, 30), np.uint8), planar=True, max_error=0)
    with open_lci(coded) as source:
        with pytest.raises(InvalidInputError, match=said):
            source.read(**options)
        if not options.keys() & {"resampling", "out_dtype"}:
            with pytest.raises(InvalidInputError):
                source.read_masks(**options)


@pytest.mark.parametrize("places", [5, [5], [("a", "b")], [(1, 2, 3)], "xy", None])
def test_places_that_are_none(places: Any) -> None:
    coded = encode(np.zeros((2, 40, 30), np.uint8), planar=True, max_error=0)
    with open_lci(coded) as source, pytest.raises(InvalidInputError, match="a place must be two numbers"):
        list(source.sample(places))
