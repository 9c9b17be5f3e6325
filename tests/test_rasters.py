"""Rasters through encode() and decode(): every dtype, nodata and masks, several bands, radar."""

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream import varint
from learned_codec.bitstream.payload import join_payload, split_payload
from learned_codec.errors import CorruptDataError, InvalidInputError, LearnedCodecError, RateError
from learned_codec.tiling import scattered
from learned_codec.values.mask import MaskSpec
from learned_codec.values.transform import ValueTransform

FEW = settings(max_examples=12, deadline=None, derandomize=True)
DTYPES = ("uint8", "uint16", "int16", "float32")


def texture(height: int, width: int, seed: int = 0, roughness: float = 1.2) -> np.ndarray:
    """Noise of mean 0 and variance 1 with the spectrum of landscapes: about 1 / frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = np.inf
    found = np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / frequency**roughness).real
    return (found - found.mean()) / max(found.std(), 1e-9)


def scene(dtype: str, height: int, width: int, bands: int = 1, seed: int = 0) -> np.ndarray:
    """(bands, height, width) with half of the texture in common, in what is usual for the dtype."""
    level, spread = {"uint8": (128, 30), "uint16": (3000, 600), "int16": (500, 200), "float32": (0.3, 0.06)}[dtype]
    common = texture(height, width, 1000 + seed)
    planes = [level + spread * (0.7 * common + 0.7 * texture(height, width, seed + i)) for i in range(bands)]
    return (
        np.clip(planes, 1, 255 if dtype == "uint8" else 65535).astype(dtype)
        if dtype[0] == "u"
        else np.array(planes, dtype)
    )


def range_of(data: bytes, values: np.ndarray) -> float:
    """What 1 is in the model's domain, in values."""
    header = bitstream.read_head(data).header
    return 255.0 if values.dtype == np.uint8 else ValueTransform.of_header(header, 1).scales[0]


def psnr_of(data: bytes, original: np.ndarray, valid: Any = True, peak: float | None = None) -> float:
    error = learned_codec.decode(data).astype(float) - original
    peak = peak or {"uint8": 255, "uint16": 65535, "int16": 65535}[original.dtype.name]
    return float(10 * np.log10(peak**2 / np.mean(error[np.broadcast_to(valid, error.shape)] ** 2)))


# -- any shape and dtype -----------------------------------------------------------------------------------------------


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    bands=st.integers(1, 5),
    layout=st.sampled_from(["HW", "HWC", "CHW"]),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.sampled_from([None, 64]),
)
def test_any_raster_comes_back(dtype: str, bands: int, layout: str, height: int, width: int, tile: int | None) -> None:
    planes = scene(dtype, height, width, 1 if layout == "HW" else bands)
    image = {"HW": planes[0], "HWC": planes.transpose(1, 2, 0), "CHW": planes}[layout]
    data = learned_codec.encode(image, quality=80, planar=layout == "CHW", tile_size=tile)
    decoded = learned_codec.decode(data)
    assert (decoded.shape, decoded.dtype) == (image.shape, image.dtype)
    assert learned_codec.check(data).ok
    info = learned_codec.inspect(data)
    assert (info.layout, info.dtype, info.bands) == (layout, dtype, len(planes))
    assert info.bpp == pytest.approx(8 * len(data) / height / width)  # over all bands
    error = np.abs(decoded.astype(float) - image) / range_of(data, image)
    assert error.mean() < 0.04
    assert error.max() < 0.5


def test_many_bands() -> None:
    planes = scene("uint16", 40, 50, 64)
    decoded = learned_codec.decode(learned_codec.encode(planes, quality=70, planar=True))
    assert decoded.shape == planes.shape
    assert np.abs(decoded.astype(float) - planes).mean() < 200


def test_the_same_values_in_another_form() -> None:
    image = scene("uint16", 30, 41)[0]
    data = learned_codec.encode(image)
    assert data == learned_codec.encode(image.astype(">u2"))
    assert data == learned_codec.encode(np.ma.masked_array(image, False).data)


def test_bands_that_go_together_cost_less() -> None:
    planes = scene("uint16", 96, 96)
    four = np.concatenate([planes, planes + 100, 2 * planes, 5 * planes + 7]).astype(np.uint16)
    alone = learned_codec.encode(5 * planes[0] + 7, quality=50)
    assert len(learned_codec.encode(four, planar=True, quality=50)) < 1.3 * len(alone) + 60


def test_float64_is_float32_and_says_so() -> None:
    image = scene("float32", 40, 40)[0]
    with pytest.warns(UserWarning, match="float64 is stored as float32") as caught:
        data = learned_codec.encode(image.astype(np.float64))
    assert caught[0].filename == __file__
    assert learned_codec.inspect(data).dtype == "float32"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert data == learned_codec.encode(image)
        with pytest.raises(InvalidInputError, match="ends at 3.4e38"):
            learned_codec.encode(np.full((4, 4), 1e39))


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    bands=st.integers(1, 4),
    seed=st.integers(0, 9),
    rate=st.sampled_from([{"quality": 1}, {"quality": 60}, {"quality": 100}, {"psnr": 30}, {"bpp": 2}, {"bpp": 0.5}]),
    tile=st.sampled_from([None, 128]),
    holes=st.booleans(),
)
def test_one_value_comes_back_exactly(
    dtype: str, bands: int, seed: int, rate: dict[str, float], tile: int | None, holes: bool
) -> None:
    limits: Any = np.finfo(dtype) if dtype == "float32" else np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    values = [limits.min, limits.max, 0, 1, *rng.uniform(-300, 300, 4)]
    image = np.empty((300, 300, bands), dtype)
    image[:] = np.clip(rng.choice(values, bands), limits.min, limits.max)
    nodata = next(v for v in (7, 8, 9, 10, 11) if not (image == v).any())
    if holes:
        image[20:50, :77] = nodata
    data = learned_codec.encode(image, nodata=nodata if holes else None, tile_size=tile, **rate)
    np.testing.assert_array_equal(learned_codec.decode(data), image)
    if not holes and tile is None and bands in (1, 3):
        assert len(data) <= 60 + 2 * image[0, 0].nbytes * (bands > 1) * (dtype == "float32")
    with learned_codec.open(data) as reader:
        np.testing.assert_array_equal(reader.read(window=(10, 20, 60, 70)), image[10:70, 20:90])


def test_an_image_of_one_value_has_no_payload() -> None:
    container = bitstream.read(learned_codec.encode(np.full((40, 50), 1000, np.uint16)))
    assert bytes(container.tile(0)) == b""
    forged_file = bitstream.write(container.header, [b"\1"])
    with pytest.raises(CorruptDataError, match="constant"):
        learned_codec.decode(forged_file)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    bands=st.integers(1, 4),
    quality=st.sampled_from([1, 30, 90]),
    seed=st.integers(0, 99),
)
def test_what_comes_back_lies_within_the_source_s_range(dtype: str, bands: int, quality: float, seed: int) -> None:
    """Data of 12 bits stay below 4096, what isn't negative stays so."""
    rng = np.random.default_rng(seed)
    if dtype == "uint8" and bands in (1, 3):
        bands += 1  # pictures have bounds only where these tell something
    low, high = np.sort(rng.uniform(0, 180 if dtype == "uint8" else 4095, (2, bands, 1, 1)), axis=0)
    planes = np.clip(low + (high - low) * (0.5 + 0.5 * scene("float32", 60, 70, bands, seed)), low, high).astype(dtype)
    decoded = learned_codec.decode(learned_codec.encode(planes, planar=True, quality=quality))
    assert (decoded >= planes.min((1, 2), keepdims=True)).all()
    assert (decoded <= planes.max((1, 2), keepdims=True)).all()


@FEW
@given(
    spans=st.permutations([0, 2, 200]) | st.permutations([25, 150, 255]) | st.permutations([219, 220, 223]),
    quality=st.sampled_from([1, 30, 90]),
    seed=st.integers(0, 99),
)
def test_narrow_bands_of_pictures_stay_within_their_range(spans: list[int], quality: float, seed: int) -> None:
    """Also beside wide ones: an empty channel stays empty."""
    low = np.random.default_rng(seed).integers(0, 256 - np.array(spans))[:, None, None]
    planes = (low + np.array(spans)[:, None, None] * (0.5 + 0.5 * scene("float32", 60, 70, 3, seed))).astype(np.uint8)
    planes = np.clip(planes, low, low + np.array(spans)[:, None, None]).astype(np.uint8)
    decoded = learned_codec.decode(learned_codec.encode(planes, planar=True, quality=quality))
    assert (decoded >= planes.min((1, 2), keepdims=True)).all()
    assert (decoded <= planes.max((1, 2), keepdims=True)).all()


@pytest.mark.parametrize("hot", [1e3, 1e12, 3e38])
def test_hot_pixels(hot: float) -> None:
    """A hot pixel is an outlier, its error in proportion; other pixels, but for those right beside it, don't notice."""
    image = scene("float32", 96, 96)[0]
    before = learned_codec.encode(image, quality=80)
    broken = image.copy()
    broken[40, 40], broken[70, 20] = hot, -hot
    data = learned_codec.encode(broken, quality=80)
    assert range_of(data, image) < 1.2 * range_of(before, image)
    decoded = learned_codec.decode(data)
    assert np.isfinite(decoded).all()
    near = np.zeros(image.shape, bool)
    for row, column in ((40, 40), (70, 20)):
        near[row - 24 : row + 24, max(0, column - 24) : column + 24] = True
    scale = range_of(data, image)
    lost = psnr_of(before, image, ~near, scale) - psnr_of(data, broken, ~near, scale)
    assert lost < (1 if hot < 1e30 else 2)
    assert 0.5 < decoded[40, 40] / hot < 2
    assert 0.5 < decoded[70, 20] / -hot < 2


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many bands, fewer pixels are sampled: all of a 13-band scene's samples would need 1.6 GB."""
    from learned_codec.tiling import sampling
    from learned_codec.tiling.masking import MaskedSource
    from learned_codec.values.arrays import ArraySource

    planes = scene("int16", 90, 128, 5)
    planes[:, :20] = -9
    source = MaskedSource(ArraySource(planes, planar=True, nodata=-9), MaskSpec((-9.0,)))
    assert sampling.samples(source).valid is None
    whole = sampling.samples(source).bands()
    assert [len(band) for band in whole] == [70 * 128] * 5
    monkeypatch.setattr(sampling, "MAX_SAMPLES", 5 * 1000)
    few = sampling.samples(source).bands()
    assert {len(band) for band in few} <= set(range(600, 1000))
    for one, other in zip(few, whole, strict=True):
        assert one.mean() == pytest.approx(other.mean(), rel=0.05)
        assert one.std() == pytest.approx(other.std(), rel=0.1)


# -- what has no value -------------------------------------------------------------------------------------------------


def holes(height: int, width: int) -> np.ndarray:
    """Where pixels are valid: not in a corner, a disc and some scattered ones."""
    y, x = np.mgrid[:height, :width]
    corner = x + 0.5 * y < 0.3 * width
    disc = (x - 0.7 * width) ** 2 + (y - 0.5 * height) ** 2 < (0.15 * width) ** 2
    return ~(corner | disc | (np.random.default_rng(0).random((height, width)) < 0.01))


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 0), ("uint8", 128), ("uint16", 0), ("uint16", 65535), ("int16", -32768), ("float32", -9999.0),
     ("float32", np.nan), ("float32", -3.4028234663852886e38), ("float32", 0.3)],
)  # fmt: skip
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("tile", [None, 64])
def test_nodata_comes_back_exactly(dtype: str, nodata: float, bands: int, tile: int | None) -> None:
    planes = scene(dtype, 100, 130, bands)
    valid = np.broadcast_to(holes(100, 130), planes.shape).copy()
    if bands > 1:
        valid[1, 40:60, 10:90] = False  # one band alone
    planes[~valid] = nodata
    planes[valid & (planes == np.array(nodata, dtype))] += np.array(1, dtype)
    data = learned_codec.encode(planes, planar=True, nodata=nodata, quality=50, tile_size=tile)
    decoded = learned_codec.decode(data)
    np.testing.assert_array_equal(decoded[~valid], planes[~valid])
    invalid = np.isnan(decoded) if np.isnan(nodata) else decoded == np.array(nodata, dtype)
    np.testing.assert_array_equal(invalid, ~valid)
    assert repr(learned_codec.inspect(data).nodata) == repr(float(nodata))
    masked = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(masked), ~valid)
    assert np.abs(decoded[valid].astype(float) - planes[valid]).mean() < 0.1 * range_of(data, planes)


def test_nan_and_infinity_need_no_announcement() -> None:
    image = scene("float32", 80, 80)[0]
    image[:20] = np.nan
    image[30, 30:50] = np.inf
    image[31, 30:50] = -np.inf
    decoded = learned_codec.decode(learned_codec.encode(image, quality=50))
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(image))
    np.testing.assert_array_equal(decoded == np.inf, image == np.inf)
    np.testing.assert_array_equal(decoded == -np.inf, image == -np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize("kind", ["bool", "uint8", "masked array"])
def test_masks_come_back_exactly(dtype: str, tile: int | None, kind: str) -> None:
    image = scene(dtype, 90, 140, 3).transpose(1, 2, 0)
    valid = holes(90, 140)
    if kind == "masked array":
        hidden = np.repeat(~valid[..., None], 3, 2)
        data = learned_codec.encode(np.ma.masked_array(image, hidden), tile_size=tile)
    else:
        data = learned_codec.encode(image, mask=valid if kind == "bool" else valid * np.uint8(3), tile_size=tile)
    assert learned_codec.inspect(data).mask == "mask"
    decoded = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), np.broadcast_to(~valid[..., None], image.shape))
    assert not decoded.data[~valid].any()
    with learned_codec.open(data) as reader:
        np.testing.assert_array_equal(reader.read_plane(), np.where(valid, 255, 0))
        np.testing.assert_array_equal(reader.read_plane((3, 60, 70, 41)), np.where(valid[3:73, 60:101], 255, 0))


@pytest.mark.filterwarnings("ignore::learned_codec.DistortionWarning")  # few pixels of noise, at quality 5
@given(st.data())
def test_bands_of_a_masked_array_may_mask_different_pixels(data: st.DataObject) -> None:
    draw = data.draw
    bounded = draw(st.booleans())
    dtype = np.dtype(draw(st.sampled_from([*DTYPES, *(("int8", "uint32", "int32") if bounded else ())])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = draw(st.integers(2, 5)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    values = (rng.integers(0, 100, shape) + draw(st.sampled_from([0, 27]))).astype(dtype)
    hidden = rng.random(shape) < draw(st.sampled_from([0.02, 0.5, 0.97]))
    hidden[draw(st.integers(0, shape[0] - 1))] |= draw(st.booleans())
    fill = draw(st.sampled_from([None, 0, 50, 127, -1, 70000]))
    image = np.ma.masked_array(values, hidden)
    if fill is not None and (dtype.kind == "f" or np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max):
        image.fill_value = fill
    options: dict[str, Any] = {"max_error": 0} if bounded else {"quality": draw(st.sampled_from([5, 60, 100]))}
    if draw(st.booleans()):
        coded = learned_codec.encode(image, planar=True, **options)
        decoded = learned_codec.decode(coded, masked=True)
    else:
        coded = learned_codec.encode(image.transpose(1, 2, 0), **options)
        decoded = learned_codec.decode(coded, masked=True).transpose(2, 0, 1)
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), hidden)
    if bounded:
        np.testing.assert_array_equal(decoded.data[~hidden], values[~hidden])
    if fill is not None and fill == image.fill_value and not (values[~hidden] == fill).any() and decoded.mask.any():
        own = not np.array_equal(hidden.all(0), hidden.any(0))
        assert learned_codec.inspect(coded).nodata == (fill if own else None)


def test_a_masked_array_that_uses_every_value_is_refused() -> None:
    values = np.arange(512, dtype=np.uint8).reshape(2, 16, 16)
    hidden = np.zeros(values.shape, bool)
    hidden[0, 3, 3] = hidden[1, 5, 5] = True
    with pytest.raises(InvalidInputError, match="every value that uint8 can have"):
        learned_codec.encode(np.ma.masked_array(values, hidden), planar=True)
    with pytest.raises(InvalidInputError, match="every value that bool can have"):
        learned_codec.encode(np.ma.masked_array(values > 7, hidden), planar=True, max_error=0)
    learned_codec.encode(np.ma.masked_array(values, hidden), planar=True, nodata=3)
    learned_codec.encode(np.ma.masked_array(values, np.repeat(hidden[:1], 2, 0)), planar=True)


def test_masked_chunks_of_dask_arrays_stay_masked() -> None:
    dask_array = pytest.importorskip("dask.array")
    values = np.arange(300, dtype=np.uint16).reshape(10, 30)
    coded = learned_codec.encode(dask_array.ma.masked_greater(dask_array.from_array(values, (4, 30)), 200))
    np.testing.assert_array_equal(learned_codec.decode(coded, masked=True).mask, values > 200)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["nodata", "mask"])
def test_nothing_but_nodata(dtype: str, how: str) -> None:
    image = np.full((150, 70, 2), 7, dtype)
    options: dict[str, Any] = {"nodata": 7} if how == "nodata" else {"mask": np.zeros((150, 70), bool)}
    data = learned_codec.encode(image, tile_size=64, **options)
    np.testing.assert_array_equal(learned_codec.decode(data), image if how == "nodata" else 0)
    assert learned_codec.decode(data, masked=True).mask.all()
    assert len(data) < 250


def test_nodata_that_no_pixel_has_is_remembered() -> None:
    data = learned_codec.encode(scene("uint8", 20, 20)[0], nodata=0)
    assert learned_codec.inspect(data).nodata == 0
    assert learned_codec.decode(data).min() > 0


@pytest.mark.parametrize("nodata", [10**20, -(2**100)])
def test_nodata_may_be_any_number_of_a_float(nodata: int) -> None:
    image = np.where(np.eye(20) > 0, float(nodata), texture(20, 20)).astype(np.float32)
    decoded = learned_codec.decode(learned_codec.encode(image, nodata=nodata))
    np.testing.assert_array_equal(decoded == np.float32(nodata), np.eye(20) > 0)


def test_nodata_costs_almost_nothing() -> None:
    """A scene of which an orbit's edge leaves 35 %, and the whole of it at the same PSNR of valid pixels."""
    image = scene("uint16", 512, 512)[0]
    y, x = np.mgrid[:512, :512]
    slope = x + 0.3 * y
    valid = slope < np.quantile(slope, 0.35)
    part = np.where(valid, image, 0).astype(np.uint16)
    assert 0.649 < (part == 0).mean() < 0.651
    whole = learned_codec.encode(image, psnr=60)
    data = learned_codec.encode(part, psnr=60, nodata=0)
    assert psnr_of(data, image, valid) >= psnr_of(whole, image, valid) - 0.05
    assert len(data) <= 0.40 * len(whole)


@pytest.mark.parametrize("quality", [30, 60, 90])
@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_valid_pixels_at_the_edge_of_a_mask_are_not_damaged(quality: float, kind: str) -> None:
    """Within 16 pixels of the edge, their PSNR is within 0.4 dB of the others': 0.33 dB at quality 30."""
    size = 320
    y, x = np.mgrid[:size, :size]
    distance = (160 + 25 * np.sin(y / 30) - x) * 0.8  # about, from a winding edge
    valid = distance > 0
    near, far = valid & (distance <= 16), valid & (distance > 16)
    found = []
    for seed in range(5):  # so that the texture near the edge is no easier or harder than elsewhere
        image = scene("uint16", size, size, seed=seed)[0]
        if kind == "nodata":
            data = learned_codec.encode(np.where(valid, image, 0).astype(np.uint16), nodata=0, quality=quality)
        else:
            data = learned_codec.encode(image, mask=valid, quality=quality)
        whole = learned_codec.encode(image, quality=quality)
        expected = psnr_of(whole, image, near) - psnr_of(whole, image, far)
        found.append(psnr_of(data, image, near) - psnr_of(data, image, far) - expected)
    assert np.mean(found) >= -0.4


def other_holes(bands: int, height: int, width: int, shares: list[float], seed: int) -> np.ndarray:
    """(bands, height, width) which values are valid, each band's for itself: scattered, or beside a slope."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = []
    for share in shares[:bands]:
        field = rng.random((height, width)) if rng.random() < 0.5 else x * rng.normal() + y * rng.normal()
        found.append(field > np.quantile(field, share) if share < 1 else np.zeros((height, width), bool))
    return np.array(found)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    bands=st.integers(2, 6),
    shares=st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9, 0.95, 1.0]), min_size=6, max_size=6),
    seed=st.integers(0, 99),
    quality=st.sampled_from([30, 60, 90]),
    tile=st.sampled_from([None, 64]),
)
def test_holes_of_single_bands(
    dtype: str, bands: int, shares: list[float], seed: int, quality: float, tile: int | None
) -> None:
    """Valid values have at most 1.5 times the error that they'd have without any holes, and masks are exact."""
    planes = scene(dtype, 80, 96, bands, seed)
    nodata = 0 if dtype[0] == "u" else -9999
    valid = other_holes(bands, 80, 96, shares, seed)
    holed = np.where(valid, planes, np.array(nodata, dtype))
    options: dict[str, Any] = {"planar": True, "quality": quality, "tile_size": tile}
    whole = learned_codec.decode(learned_codec.encode(planes, **options)).astype(float) - planes
    data = learned_codec.encode(holed, nodata=nodata, **options)
    decoded = learned_codec.decode(data)
    np.testing.assert_array_equal(decoded == np.array(nodata, dtype), ~valid)
    error = decoded.astype(float) - planes
    for band in range(bands):
        if valid[band].any():
            without = np.sqrt(np.mean(whole[band] ** 2))
            assert np.sqrt(np.mean(error[band][valid[band]] ** 2)) <= 1.5 * without


def alike(dtype: str, bands: int, seed: int) -> np.ndarray:
    """(bands, 96, 96) bands that are mixtures of three textures and a little of their own, as those of most scenes."""
    rng = np.random.default_rng(seed)
    shared = np.array([texture(96, 96, seed=seed + k) * weight for k, weight in enumerate((1, 0.4, 0.15))])
    mixed = np.tensordot(np.abs(rng.normal(1, 0.4, (bands, 3))) * rng.choice([1, 1, -1], (bands, 3)), shared, 1)
    mixed += 0.05 * np.array([texture(96, 96, seed=seed + 9 + k) for k in range(bands)])
    middle, width = {"uint8": (128, 30), "float32": (0.3, 0.1)}.get(dtype, (3000, 700))
    planes = middle + width * mixed
    return planes.astype(dtype) if dtype == "float32" else np.clip(planes, 1, np.iinfo(dtype).max).astype(dtype)


@FEW
@given(
    dtype=st.sampled_from(DTYPES),
    bands=st.integers(3, 12),
    share=st.sampled_from([0.3, 0.6, 0.9, 0.95]),
    together=st.booleans(),
    seed=st.integers(0, 99),
    quality=st.sampled_from([10, 30, 60, 90]),
)
@example(dtype="uint16", bands=10, share=0.9, together=True, seed=2, quality=90)
def test_pixels_missing_by_chance(
    dtype: str, bands: int, share: float, together: bool, seed: int, quality: float
) -> None:
    """In each band or in all, up to nearly all of them: no band has more than 1.5 times its error without holes."""
    planes, nodata = alike(dtype, bands, seed), 0 if dtype[0] == "u" else -9999
    rng = np.random.default_rng(seed)
    valid = np.broadcast_to(rng.random((1 if together else bands, 96, 96)) >= share, planes.shape)
    whole = learned_codec.decode(learned_codec.encode(planes, planar=True, quality=quality)).astype(float) - planes
    holed = np.where(valid, planes, np.array(nodata, dtype))
    decoded = learned_codec.decode(learned_codec.encode(holed, planar=True, nodata=nodata, quality=quality))
    np.testing.assert_array_equal(decoded == np.array(nodata, dtype), ~valid)
    rounding = 0 if dtype == "float32" else 12**-0.5
    for error, without, there in zip(decoded.astype(float) - planes, whole, valid, strict=True):
        assert np.sqrt(np.mean(error[there] ** 2)) <= 1.5 * max(np.sqrt(np.mean(without**2)), rounding)


@pytest.mark.parametrize("quality", [10, 30, 60, 90])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("missing", "most"), [(0.6, 1.35), (0.9, 1.35), (0.98, 1.8)])
def test_finer_quantisation_costs_few_bytes(
    together: bool, quality: float, missing: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = np.random.default_rng(0).random((1 if together else 4, 96, 96)) >= missing
    holed = np.where(valid, alike("uint16", 4, 0), 0).astype(np.uint16)
    finer = learned_codec.encode(holed, planar=True, nodata=0, quality=quality)

    finer_step = scattered.ScatteredHoles.finer_step

    def less_fine(*given: Any) -> int:
        with monkeypatch.context() as context:
            if len(given) == 4:  # the balance of the bands, which also gives how far holes lie scattered, stays
                context.setattr(scattered, "SCATTER_MOST", 0)
            return finer_step(*given)

    monkeypatch.setattr(scattered.ScatteredHoles, "finer_step", less_fine)
    assert len(finer) <= most * len(learned_codec.encode(holed, planar=True, nodata=0, quality=quality))


@pytest.mark.parametrize("quality", [60, 100])
def test_bands_of_unlike_ranges(quality: float) -> None:
    """Elevation, a vegetation index and temperature: none is worse by a decibel than it would be alone."""
    factors = np.array([3500, 1.6, 40])[:, None, None]
    planes = (np.array([1200, 0.2, 290])[:, None, None] + factors * (scene("float32", 128, 128, 3) - 0.3)).astype("f4")
    together = learned_codec.decode(learned_codec.encode(planes, planar=True, quality=quality))
    for band, decoded in zip(planes, together, strict=True):
        alone = learned_codec.decode(learned_codec.encode(band, quality=quality)).astype(float) - band
        assert np.sqrt(np.mean((decoded.astype(float) - band) ** 2)) <= 1.122 * np.sqrt(np.mean(alone**2))


# -- components --------------------------------------------------------------------------------------------------------


def spectral(bands: int, size: int, weak: slice) -> np.ndarray:
    """Bands that are sums of two textures, a weak one of which varies only in some columns, and a little noise."""
    rng = np.random.default_rng(0)
    strong, other = texture(size, size), texture(size, size, seed=1)
    mask = np.zeros((size, size))
    mask[:, weak] = 1
    first = np.ones(bands) / bands**0.5
    second = first * (-1.0) ** np.arange(bands)
    other = (other - other[:, weak].mean()) * mask
    values = 5000 + np.multiply.outer(1000 * first, strong) + np.multiply.outer(400 * second, other)
    return np.clip(values + rng.normal(0, 40, values.shape), 1, 65535).astype(np.uint16)


def counts(data: bytes) -> list[int]:
    """How many components each tile has, and at the end how many the file has."""
    container = bitstream.read(data)
    header = container.header
    found = [varint.decode(bytes(container.tile(index)))[0] for index in range(header.tile_count)]
    return [*found, ValueTransform.of_header(header, 1).components]


def test_components_that_tell_nothing_are_left_out() -> None:
    image = spectral(6, 256, slice(128, 256))
    coarse, fine = (learned_codec.encode(image, planar=True, quality=q, tile_size=128) for q in (1, 100))
    assert counts(coarse) == [1, 2, 1, 2, 2]
    assert counts(fine) == [6] * 5
    for data, most in ((coarse, 200), (fine, 15)):
        error = learned_codec.decode(data).astype(float) - image
        assert np.sqrt(np.mean(error**2)) < most
        assert np.abs(error.mean((1, 2))).max() < most / 20
    window = learned_codec.open(io.BytesIO(coarse)).read(window=(100, 90, 60, 70))
    assert np.abs(window.astype(int) - learned_codec.decode(coarse)[:, 100:160, 90:160]).max() <= 1


def test_a_tile_may_have_no_component_at_all() -> None:
    image = np.full((4, 128, 64), 1000, np.uint16)
    image[:, 64:] = scene("uint16", 64, 64, 4)
    image[:, :64] = np.median(image[:, 64:], (1, 2))[:, None, None]
    data = learned_codec.encode(image, planar=True, quality=10, tile_size=64)
    decoded = learned_codec.decode(data)
    assert np.abs(decoded[:, :32].astype(int) - image[:, :32]).max() < 500


@pytest.mark.parametrize("number", [5, 200])
def test_more_components_than_there_are_is_damage(number: int) -> None:
    image = scene("uint16", 48, 48, 4)
    container = bitstream.read(learned_codec.encode(image, planar=True, quality=50))
    _, at = varint.decode(bytes(container.tile(0)))
    payload = varint.encode(number) + bytes(container.tile(0))[at:]
    forged_file = bitstream.write(container.header, [payload])
    with pytest.raises(CorruptDataError, match=f"{number} components"):
        learned_codec.decode(forged_file)
    assert learned_codec.decode(forged_file, errors="fill").shape == image.shape


# -- rates -------------------------------------------------------------------------------------------------------------


def rasters() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    bands = scene("uint16", 96, 128, 3)
    nodata = scene("int16", 128, 128)
    nodata[:, ~holes(128, 128)] = -999
    radar = np.exp(0.4 * texture(128, 128) - 2).astype(np.float32)[None]
    return {
        "bands": (bands, {"planar": True}),
        "nodata": (nodata, {"planar": True, "nodata": -999}),
        "radar": (radar, {"planar": True, "kind": "sar"}),
    }


@pytest.mark.parametrize("name", ["bands", "nodata", "radar"])
def test_bpp_is_met_from_below(name: str) -> None:
    image, options = rasters()[name]
    target = 0.9 * len(image)  # bits per pixel are over all bands
    data = learned_codec.encode(image, bpp=target, tile_size=64, **options)
    assert 0.97 * target <= learned_codec.inspect(data).bpp <= target


@pytest.mark.parametrize("name", ["bands", "nodata", "radar"])
def test_psnr_is_met_from_above(name: str) -> None:
    image, options = rasters()[name]
    target = {"bands": 60, "nodata": 65, "radar": 35}[name]
    data = learned_codec.encode(image, psnr=target, tile_size=64, **options)
    decoded = learned_codec.decode(data)
    if name == "radar":  # in dB, of the range in dB
        decoded, image, peak = 10 * np.log10(decoded), 10 * np.log10(image), range_of(data, image)
    else:
        peak = 65535
    valid = image != -999
    reached = 10 * np.log10(peak**2 / np.mean((decoded.astype(float) - image)[valid] ** 2))
    assert target <= reached + 1e-3
    assert reached <= target + 0.1


@pytest.mark.parametrize("rate", [{"bpp": 1.0}, {"bpp": 0.001}, {"psnr": 40.0}])
def test_what_has_no_value_at_all_has_any_rate(rate: dict[str, Any]) -> None:
    """As a chip at the edge of a scene may be: no rate is out of reach, as there is nothing to code."""
    image = np.zeros((64, 64), np.uint8)
    np.testing.assert_array_equal(learned_codec.decode(learned_codec.encode(image, nodata=0, **rate)), image)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    bands=st.integers(1, 4),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    number=st.integers(1, 6),
    bpp=st.sampled_from([0.005, 0.02, 0.1, 1.0]),
)
def test_few_values_kept_exactly_obey_a_bpp(seed: int, bands: int, dtype: str, number: int, bpp: float) -> None:
    """Nothing else may be left to code. One value alone takes hardly more than a header, and is written at any bpp."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(100, number, replace=False))
    edges = np.sort(rng.integers(1, 111, number - 1))
    image = np.empty((96, 112, bands), dtype)
    image[:] = values[np.searchsorted(edges, np.arange(112), side="right")][:, None]
    data = b""
    with warnings.catch_warnings(), suppress(RateError):
        warnings.simplefilter("ignore", learned_codec.InputWarning)
        data = learned_codec.encode(image, bpp=bpp)
    if len(np.unique(image)) > 1:
        assert 8 * len(data) <= bpp * 96 * 112
    else:
        np.testing.assert_array_equal(learned_codec.decode(data), image)


# -- radar -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    """Linear power: a smooth scene under speckle like Sentinel-1's."""
    from learned_codec.training.speckle import speckle

    mean = 10 ** ((3 * texture(192, 192, 5, 2.0) - 13) / 10)
    return (mean * speckle((192, 192), np.random.default_rng(0))).astype(np.float32)


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


@pytest.mark.parametrize("unit", ["power", "amplitude", "db", "DN"])
def test_radar_returns_its_own_unit(power: np.ndarray, unit: str) -> None:
    image = {
        "power": power,
        "amplitude": np.sqrt(power),
        "db": decibels(power),
        "DN": np.rint(2000 * np.sqrt(power)).astype(np.uint16),
    }[unit]
    # DN and dB are told by the values; amplitudes as floats must be said.
    data = learned_codec.encode(image, kind="sar", quality=70, unit=unit if unit == "amplitude" else None)
    assert learned_codec.inspect(data).unit == ("amplitude" if unit == "DN" else unit)
    decoded = learned_codec.decode(data)
    assert decoded.dtype == image.dtype
    back = {
        "power": lambda x: x,
        "amplitude": np.square,
        "db": lambda x: 10 ** (x / 10),
        "DN": lambda x: (np.maximum(x, 0.5) / 2000) ** 2,
    }[unit](decoded.astype(np.float64))
    error = decibels(back) - decibels(power)
    assert 0.05 < error.std() < 1.2
    # Multiplicative: in dB, dark areas have the error of bright ones.
    dark, bright = (error[decibels(power) < -17].std(), error[decibels(power) > -9].std())
    assert 0.7 < dark / bright < 1.4


def test_radar_without_power_gets_the_floor(power: np.ndarray) -> None:
    image = power.copy()
    image[50:90, 50:90] = 0
    with pytest.warns(learned_codec.InputWarning, match="4.3% of the values are 0 or negative") as caught:
        data = learned_codec.encode(image, kind="sar", quality=80)
    assert caught[0].filename == __file__
    decoded = learned_codec.decode(data)
    floor = power[power > 0].min()
    assert (decoded > 0).all()
    assert np.median(decoded[55:85, 55:85]) < 2 * floor
    # As nodata, they come back as such.
    exact = learned_codec.decode(learned_codec.encode(image, kind="sar", nodata=0))
    np.testing.assert_array_equal(exact == 0, image == 0)


@FEW
@given(
    share=st.sampled_from([0, 0.0005, 0.001, 0.05, 0.4, 1]),
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
    nodata=st.sampled_from([None, 9999]),
)
def test_values_that_have_no_decibels_are_told(
    power: np.ndarray, share: float, dtype: str, nodata: float | None
) -> None:
    image = np.maximum(2000 * np.sqrt(power[:64, :64]), 1).astype(dtype)
    lost = np.random.default_rng(0).random(image.shape) < share
    image[lost] = 0 if dtype == "uint16" else -3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learned_codec.encode(image, kind="sar", unit="amplitude", nodata=nodata)
    said = " ".join(str(warning.message) for warning in caught)
    told = f"{lost.mean():.1%}" if lost.mean() >= 0.001 else f"{lost.sum()} or more"
    assert (f"{told} of the values are 0 or negative" in said or "kept exactly" in said) == (
        lost.any() if nodata is None and dtype != "float32" else lost.mean() >= 0.01
    )


def test_radar_keeps_its_speckle(power: np.ndarray) -> None:
    decibels = 10 * np.log10(power)

    def detail(**options: str) -> float:
        """The variance of differences of neighbours, decoded from 1.5 bits/pixel, relative to the scene's."""
        decoded = learned_codec.decode(learned_codec.encode(decibels, bpp=1.5, **options))
        return float(np.diff(decoded).var() / np.diff(decibels).var())

    assert detail() + 0.01 < detail(kind="sar", unit="db") < 1.02


def test_speckle_statistics(power: np.ndarray) -> None:
    """At high quality, means in linear units, and with them the equivalent number of looks, are what they were."""
    decoded = learned_codec.decode(learned_codec.encode(power, kind="sar", quality=90)).astype(float)
    blocks = [image.reshape(12, 16, 12, 16).transpose(0, 2, 1, 3).reshape(144, -1) for image in (power, decoded)]
    means = [b.mean(1) for b in blocks]
    looks = [np.median(b.mean(1) ** 2 / b.var(1)) for b in blocks]
    assert np.abs(means[1] / means[0] - 1).max() < 0.06
    assert abs(decoded.mean() / power.mean() - 1) < 0.02
    assert 0.9 < looks[1] / looks[0] < 1.1


def test_two_polarisations(power: np.ndarray) -> None:
    both = np.stack([power, 0.1 * power[::-1]])
    both[:, :30] = np.nan
    data = learned_codec.encode(both, planar=True, kind="sar", quality=60, tile_size=64)
    decoded = learned_codec.decode(data)
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(both))
    assert np.nanstd(decibels(decoded) - decibels(both)) < 1.5


# -- what means something else than it looks like ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_pillow_images(mode: str) -> None:
    """As files: their opacity is exact, beside the bands."""
    pixels = scene("uint8", 60, 50, 4).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    data = learned_codec.encode(image, quality=80)
    decoded = learned_codec.decode(data)
    assert decoded.shape == ((60, 50) if mode in ("L", "LA") else (60, 50, 3))
    if mode.endswith("A"):
        with learned_codec.open(data) as reader:
            np.testing.assert_array_equal(reader.read_plane(), np.asarray(image)[..., -1])


def test_pillow_images_of_numbers() -> None:
    values = scene("uint16", 40, 40)[0]
    assert learned_codec.encode(Image.fromarray(values)) == learned_codec.encode(values)
    floats = scene("float32", 40, 40)[0]
    assert learned_codec.encode(Image.fromarray(floats)) == learned_codec.encode(floats)


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "HSV", "LAB", "YCbCr", "PA", "La", "RGBa", "RGBX"])
def test_pillow_images_that_would_have_to_be_converted(mode: str) -> None:
    through = {"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    image = Image.new("PA", (40, 30)) if mode == "PA" else Image.new(through, (40, 30)).convert(mode)
    with pytest.raises(InvalidInputError, match="Pillow image: a.* 8-bit grey or RGB"):
        learned_codec.encode(image)


@pytest.mark.parametrize("mode", ["P", "1"])
@pytest.mark.parametrize("opaque", [True, False])
def test_pillow_images_of_classes_without_loss(tmp_path: Path, mode: str, opaque: bool) -> None:
    pixels = scene("uint8", 60, 50, 3).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    if not opaque and mode == "P":
        image.info["transparency"] = 7
    data = learned_codec.encode(image, max_error=[0])
    np.testing.assert_array_equal(learned_codec.decode(data), np.asarray(image))
    learned_codec.decode_file(data, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as again:
        np.testing.assert_array_equal(again.convert("RGBA"), image.convert("RGBA"))


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_pillow_images_without_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="no pixels"):
        learned_codec.encode(Image.new("RGB", size))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_pillow_images(data: st.DataObject) -> None:
    """Pillow reads pixels and metadata only when they are asked for."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned
    picture = Image.fromarray(np.ascontiguousarray(scene("uint8", 30, 20, 3).transpose(1, 2, 0)))
    picture.save(stream, data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP"])), exif=exif)
    content = bytearray(stream.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    with (
        warnings.catch_warnings(),
        suppress(UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError),
    ):
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(content))
        if image.width * image.height < 10_000:
            with suppress(LearnedCodecError):
                learned_codec.encode(image, max_error=0)


def test_pillow_images_say_themselves_what_they_are() -> None:
    with pytest.raises(InvalidInputError, match="planar, mask and nodata can't be given"):
        learned_codec.encode(Image.new("RGB", (4, 4)), nodata=0)


@pytest.mark.parametrize("soft", [0, 2])
def test_opacity_as_a_band(soft: int) -> None:
    pixels = scene("uint8", 60, 50, 4)
    pixels[3] = np.where(holes(60, 50), 255, 0)
    pixels[3, :, 20 : 20 + soft] = 100
    with pytest.warns(learned_codec.InputWarning, match="band 4 is 0 or 255 nearly.*`mask`.*fromarray") as caught:
        learned_codec.encode(pixels.transpose(1, 2, 0))
    assert caught[0].filename == __file__
    with pytest.warns(learned_codec.InputWarning, match="pixels of opacity 0 have values") as caught:
        data = learned_codec.encode(Image.fromarray(pixels.transpose(1, 2, 0)))
    assert caught[0].filename == __file__
    with learned_codec.open(data) as reader:
        np.testing.assert_array_equal(reader.read_plane(), pixels[3])


def test_bands_that_are_no_opacity() -> None:
    pixels = scene("uint8", 60, 50, 4)
    learned_codec.encode(pixels.transpose(1, 2, 0))
    pixels[:, :55] = 0  # nothing was measured there
    learned_codec.encode(pixels.transpose(1, 2, 0), nodata=0)


@pytest.mark.parametrize("bands", [1, 3, 13])
def test_bands_first_without_saying_so(bands: int) -> None:
    planes = scene("uint8", 40, 48, bands)
    with pytest.warns(learned_codec.InputWarning, match=rf"48 bands of {bands} rows.*planar=True") as caught:
        learned_codec.encode(planes)
    assert caught[0].filename == __file__
    with pytest.raises(InvalidInputError, match=r"\(3, 90, 300\) has 300 bands, more than 256.*planar=True"):
        learned_codec.encode(np.zeros((3, 90, 300), np.uint8))


# -- what is refused ---------------------------------------------------------------------------------------------------

GREY = np.zeros((4, 6), np.uint8)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (np.zeros((4, 4), np.int32), {}, "uint8, uint16, int16, float32.*int32.*max_error=0"),
        (np.zeros((4, 4), bool), {}, "uint8.*bool"),
        (np.zeros((4, 4), np.complex64), {}, "uint8.*complex64"),
        (np.zeros((4, 4), "U3"), {}, "not an array of numbers"),
        (np.zeros((2, 2, 257), np.uint16), {}, "257 bands, more than 256"),
        (GREY, {"planar": True}, r"\(C, H, W\).*\(4, 6\)"),
        (GREY, {"kind": "radar"}, "'sar' or None, not 'radar'"),
        (GREY, {"kind": "sar", "unit": "sigma"}, "'power', 'amplitude' or 'db', not 'sigma'"),
        (GREY, {"unit": "db"}, "kind='sar'"),
        (GREY, {"nodata": "none"}, "number, not 'none'"),
        (GREY, {"nodata": 1j}, "number, not 1j"),
        (GREY, {"nodata": 256}, "uint8 can have, not 256"),
        (GREY, {"nodata": -9999.0}, "uint8 can have, not -9999"),
        (GREY, {"nodata": 0.5}, "uint8 can have, not 0.5"),
        (GREY, {"nodata": float("nan")}, "uint8 can have, not nan"),
        (GREY, {"nodata": 10**400}, "uint8 can have"),
        (GREY.astype(np.float32), {"nodata": 1e300}, r"float32 can have, not 1e\+300"),
        (GREY, {"mask": np.ones((6, 4), bool)}, r"shape \(4, 6\), not bool of shape \(6, 4\)"),
        (GREY, {"mask": np.ones((4, 6), np.float32)}, "bool or uint8.*float32"),
        (GREY, {"mask": np.ones((4, 6, 1), bool)}, r"\(4, 6, 1\)"),
        (np.ma.masked_array(GREY, True), {"mask": np.ones((4, 6), bool)}, "mask of its own"),
        (np.zeros((4, 4, 2), np.uint8), {"model": "rgb-2"}, "1 or 3 bands, not 2 bands"),
        (GREY, {"model": "rgb-2", "kind": "sar"}, "amplitude"),
        (np.zeros((4, 4, 3), np.uint16), {"model": "rgb-2"}, "uint8 of 1 or 3 bands, not 3 bands of uint16"),
    ],
)  # fmt: skip
def test_wrong_arguments(image: np.ndarray, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        learned_codec.encode(image, **options)


def test_wrong_arguments_of_decode() -> None:
    data = learned_codec.encode(GREY)
    with pytest.raises(InvalidInputError, match="'raise' or 'fill', not 'ignore'"):
        learned_codec.decode(data, errors="ignore")  # type: ignore[arg-type]


# -- what is forged ----------------------------------------------------------------------------------------------------


def forged(data: bytes, mask_spec: MaskSpec, sides: list[bytes]) -> bytes:
    """A file with another MASK and other sides in its tiles."""
    container = bitstream.read(data)
    payloads = []
    for index, side in enumerate(sides):
        payload = bytes(container.tile(index))
        if container.mask is not None:
            _, payload, _ = split_payload(payload)
        payloads.append(join_payload(side, payload, shown=True))
    return bitstream.write(container.header, payloads, metadata=container.metadata, mask=mask_spec.to_bytes())


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", 300.0), ("uint8", np.nan), ("int16", 1e300), ("float32", 1e300), ("uint16", 0.5)]
)
def test_fills_that_the_dtype_cannot_have(dtype: str, value: float) -> None:
    data = forged(learned_codec.encode(scene(dtype, 20, 20)[0]), MaskSpec((value,)), [b"\1\0\0"])
    with pytest.raises(CorruptDataError, match=f"{dtype} can't hold"):
        learned_codec.decode(data)


@FEW
@given(st.binary(max_size=30))
def test_forged_sides_name_their_tile_or_decode(side: bytes) -> None:
    image = scene("uint8", 40, 40)[0]
    data = forged(learned_codec.encode(image, nodata=0), MaskSpec((0.0,), "mask"), [side])
    try:
        assert learned_codec.decode(data).shape == (40, 40)
    except CorruptDataError as error:
        assert error.tiles == (0,)  # noqa: PT017
    assert learned_codec.decode(data, errors="fill").shape == (40, 40)
