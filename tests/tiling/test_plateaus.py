"""Bands whose pixels are repeated from a coarser grid: their plateaus come back, in fewer bytes."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import learned_codec
from learned_codec.errors import CorruptDataError
from learned_codec.tiling import plan
from learned_codec.tiling.coarse_grids import coarse_grids
from learned_codec.tiling.masking import MaskedSource
from learned_codec.values.arrays import ArraySource
from learned_codec.values.balance import Balance
from learned_codec.values.mask import MaskSpec, Side
from learned_codec.values.plateaus import SQUARE, Grid, Plateaus, differences, labels, of_differences
from tests.independent.container import parse, side
from tests.independent.container import plateaus as plateaus_of


def scene(shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """(H, W) values of about 1000 to 3000, with detail of all sizes."""
    rng = np.random.default_rng(seed)
    detail = rng.normal(0, 1, (2 * shape[0], 2 * shape[1]))
    spectrum = np.fft.rfft2(detail)
    y, x = np.fft.fftfreq(detail.shape[0])[:, None], np.fft.rfftfreq(detail.shape[1])
    found = np.fft.irfft2(spectrum / (0.01 + np.hypot(y, x)), s=detail.shape)[: shape[0], : shape[1]]
    return 2000 + 300 * found / max(found.std(), 1e-9)


def repeated(values: NDArray[Any], period: float, phase: tuple[int, int], shear: float = 0.0) -> NDArray[Any]:
    """The values of a grid `period` times as coarse, at the nearest places; sheared by so many columns a row."""
    height, width = values.shape
    y, x = np.mgrid[:height, :width]
    rows = np.floor((y + phase[0]) / period) * period - phase[0]
    columns = np.floor((x + phase[1] + shear * y) / period) * period - phase[1] - shear * rows
    found: NDArray[Any] = values[
        np.rint(rows).astype(int).clip(0, height - 1), np.rint(columns).astype(int).clip(0, width - 1)
    ]
    return found


def image_of(shape: tuple[int, int], periods: list[float], seed: int, dtype: str = "uint16") -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    base = scene(shape, seed)
    bands = [
        repeated(base + 0.5 * (scene(shape, seed + k) - 2000), period, tuple(rng.integers(0, 3, 2).tolist()))
        for k, period in enumerate(periods, 1)
    ]
    return np.rint(np.stack(bands) / (16 if dtype == "uint8" else 1)).astype(dtype)


def plain(image: NDArray[Any], monkeypatch: pytest.MonkeyPatch, **options: Any) -> bytes:
    """A file without grids."""
    with monkeypatch.context() as context:
        context.setattr(plan, "coarse_grids", lambda *_, **__: [])
        return learned_codec.encode(image, planar=True, **options)


def rmse(image: NDArray[Any], decoded: NDArray[Any]) -> float:
    return float(np.sqrt(np.square(image.astype(float) - decoded).mean()))


@pytest.mark.parametrize(
    ("periods", "share"), [([1, 2, 2, 2], 0.9), ([1, 2, 6, 6], 0.9), ([1.4, 2.8, 2.8, 2.8], 0.9), ([3], 0.7)]
)
def test_they_take_fewer_bytes_at_less_error(
    periods: list[float], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of((256, 256), periods, 1)
    neutral = Balance(1.0, np.ones(len(periods)), np.zeros(len(periods)))
    monkeypatch.setattr(plan, "balance", lambda *_: neutral)  # both are quantised alike, and on the same axes
    monkeypatch.setattr(plan, "some_blocks", lambda *_: None)
    coded = learned_codec.encode(image, planar=True, quality=70)
    without = plain(image, monkeypatch, quality=70)
    assert len(coded) < share * len(without)
    assert rmse(image, learned_codec.decode(coded)) < rmse(image, learned_codec.decode(without))


@given(
    shape=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    periods=st.lists(st.sampled_from([1, 2, 2, 3, 6, 1.5, 2.6]), min_size=1, max_size=5),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    tile=st.sampled_from([None, 64, 128]),
    holes=st.sampled_from(["", "nodata", "nan", "mask"]),
    quality=st.sampled_from([60, 90]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_a_plateau_has_one_value(
    shape: tuple[int, int],
    periods: list[float],
    dtype: str,
    tile: int | None,
    holes: str,
    quality: int,
    seed: int,
) -> None:
    """In any window, with holes of any kind; and the second decoder finds the same plateaus."""
    image = image_of(shape, periods, seed, dtype)
    if dtype == "uint8" and len(periods) == 3:
        image = np.concatenate([image, image[:1]])  # three bands of 8 bits are colours
    options: dict[str, Any] = {"tile_size": tile, "quality": quality}
    rng = np.random.default_rng(seed)
    missing = (scene(shape, seed + 50) > 2300) | (rng.random(shape) < 0.02)
    gone = np.zeros(image.shape, bool)
    if holes == "nodata":
        gone[0] = missing
        image[gone] = 0
        options["nodata"] = 0
    elif holes == "nan" and dtype == "float32":
        gone[-1] = missing
        image[gone] = np.nan
    elif holes == "mask":
        gone[:] = missing
        options["mask"] = ~missing
    data = learned_codec.encode(image, planar=True, **options)
    decoded = learned_codec.decode(data)
    file = parse(data)
    reader = learned_codec.open(io.BytesIO(data))
    for _ in range(3):
        top, left = int(rng.integers(0, shape[0])), int(rng.integers(0, shape[1]))
        rows, columns = (
            slice(top, int(rng.integers(top, shape[0])) + 1),
            slice(left, int(rng.integers(left, shape[1])) + 1),
        )
        window = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        found = reader.read(window=window)
        one = 0.5 if dtype == "float32" else 1  # two sums may be rounded to different sides
        np.testing.assert_allclose(found, decoded[..., rows, columns], rtol=0, atol=one)
    if file.mask is None:
        return
    spec = MaskSpec.from_bytes(file.mask)
    across = 1 if not file.tile else -(-shape[1] // (64 * file.tile))
    for index in range(len(file.tiles)):
        corner = 64 * file.tile * (index // across), 64 * file.tile * (index % across)
        side(file, index)
        for bands, joins in zip(spec.grids, file.joins.get(index, []), strict=False):
            numbers = labels(joins)
            for pixels in plateaus_of(joins):
                where = tuple(np.array(pixels).T)
                assert len(set(numbers[where].tolist())) == 1
                for band in bands:
                    there = tuple(w + c for w, c in zip(where, corner, strict=True))
                    for found in (decoded.reshape(-1, *shape)[band][there], image[band][there]):
                        found = found[~gone[band][there]]
                        np.testing.assert_array_equal(found, found[:1].repeat(len(found)))


@given(shape=st.tuples(st.integers(1, 150), st.integers(1, 150)), levels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_joins_come_back_and_say_what_is_equal(shape: tuple[int, int], levels: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, levels, (2, *shape))
    joins = Grid((0, 1)).joins(values, (0, 0))
    np.testing.assert_array_equal(of_differences(differences(joins)), joins)
    numbers = labels(joins)
    for band in values:
        np.testing.assert_array_equal(band.reshape(-1)[numbers], band)
    y, x = np.mgrid[: shape[0], : shape[1]]
    first = numbers // shape[1], numbers % shape[1]
    assert (y // SQUARE == first[0] // SQUARE).all()
    assert (x // SQUARE == first[1] // SQUARE).all()


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    period=st.sampled_from([1, 2, 3, 5.3]),
    holes=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_smooth_values_have_the_same_means(shape: tuple[int, int], period: float, holes: bool, seed: int) -> None:
    values = np.rint(repeated(scene(shape, seed), period, (1, 0))).astype(np.float32)
    valid = np.random.default_rng(seed).random(shape) < 0.7 if holes else None
    plateaus = Plateaus(Grid((0,)).joins(values[None], (0, 0)), valid)
    smooth = plateaus.smoothed(values)
    there = slice(None) if valid is None else valid
    assert np.isfinite(smooth).all()
    np.testing.assert_allclose(plateaus.means(smooth)[there], values[there], rtol=1e-5)
    assert smooth[there].min(initial=9e9) >= values[there].min(initial=9e9)  # or a decoder would cut them off
    assert smooth[there].max(initial=0) <= values[there].max(initial=0)
    plateaus.level(smooth)
    np.testing.assert_allclose(smooth[there], values[there], rtol=1e-5)
    again = values.copy()
    plateaus.level(again)
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize(("period", "phase"), [(2, (0, 1)), (3, (2, 0)), (6, (5, 3)), (10, (0, 0))])
def test_periods_are_found(period: int, phase: tuple[int, int]) -> None:
    """Also in a band of few values, which are often equal by chance."""
    image = np.stack([scene((700, 600), 1), repeated(np.rint(scene((700, 600), 2) / 30), period, phase)])
    (grid,) = coarse_grids(MaskedSource(ArraySource(image.astype(np.uint16), planar=True)), [0, 1], 0.05)
    assert grid == Grid((1,), period, tuple(-at % period for at in phase))


@given(
    deviation=st.floats(0.4, 0.65),
    top=st.integers(0, 200),
    left=st.integers(0, 300),
    height=st.integers(10, 100),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_values_equal_by_chance_are_no_plateaus_beside_a_hole(
    deviation: float, top: int, left: int, height: int, seed: int
) -> None:
    image = np.rint(np.random.default_rng(seed).normal(0, deviation, (1, 300, 400))).astype(np.float32)
    image[0, top : top + height, left : left + 100] = np.nan
    source = MaskedSource(ArraySource(image, planar=True), MaskSpec((float("nan"),)))
    assert coarse_grids(source, [0], 0.4) == []


@given(
    periods=st.lists(st.sampled_from([2, 3, 6]), min_size=1, max_size=3),
    share=st.sampled_from([0.02, 0.3]),
    where=st.sampled_from(["each band", "all bands", "areas"]),
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
    fill=st.sampled_from([0, -1, "mask"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=8, derandomize=True)
def test_holes_dont_cut_plateaus(
    periods: list[int], share: float, where: str, dtype: str, fill: int | str, seed: int
) -> None:
    """Beside them, errors are no larger than without holes: pixels far fewer than those of a plateau are missing."""
    image = image_of((192, 192), [1, *periods], seed, dtype)
    rng = np.random.default_rng(seed)
    missing = rng.random(image.shape) < share
    if where == "all bands" or fill == "mask":
        missing = np.broadcast_to(missing[:1], image.shape)
    if where == "areas":
        missing = np.broadcast_to(scene((192, 192), seed + 9) > 2300, image.shape)
    plainly = np.square(
        learned_codec.decode(learned_codec.encode(image, planar=True, quality=80)) - image.astype(float)
    )
    if fill == "mask":
        data = learned_codec.encode(image, planar=True, quality=80, mask=~missing[0])
    else:
        nodata = 0 if dtype == "uint16" else fill
        data = learned_codec.encode(
            np.where(missing, nodata, image).astype(dtype), planar=True, quality=80, nodata=nodata
        )
    decoded = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), missing)
    squares = np.square(decoded.data - image.astype(float))
    for band in range(len(image)):
        assert np.sqrt(squares[band][~missing[band]].mean()) < 1.5 * max(np.sqrt(plainly[band].mean()), 0.3)


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    period=st.sampled_from([1, 2.7, 5.3, 30]),
    levels=st.sampled_from([2, 9, 3000]),
    share=st.floats(0, 1),
    hidden=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_plateaus_have_one_value_beside_any_holes(
    shape: tuple[int, int], period: float, levels: int, share: float, hidden: bool, seed: int
) -> None:
    """Whatever is guessed in holes, also if hidden pixels have values."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, levels + 1, (3, *shape)) if period == 1 else np.empty((3, *shape), int)
    for k in range(3 if period > 1 else 0):
        values[k] = 1 + np.rint(repeated(scene(shape, seed + k), period, (1, 0), 0.02) / 3000 * levels)
    valid = rng.random(values.shape) >= share
    joins = Grid((0, 1, 2)).joins(np.where(valid | hidden, values, 0), (64, 0), valid)
    np.testing.assert_array_equal(of_differences(differences(joins)), joins)
    numbers = labels(joins)
    for band, there in zip(values, valid, strict=True):
        most, least = np.zeros(numbers.size, int), np.full(numbers.size, 10**9)
        np.maximum.at(most, numbers[there], band[there])
        np.minimum.at(least, numbers[there], band[there])
        assert (most <= least)[most > 0].all()


@given(
    periods=st.sampled_from([(1, 2.7, 2.7, 2.7), (1, 1.4, 2.8, 2.8), (2, 6, 8.1, 8.1), (2.7,)]),
    share=st.sampled_from([0.3, 0.6, 0.9]),
    where=st.sampled_from(["each band", "all bands"]),
    dtype=st.sampled_from(["uint16", "float32"]),
    quality=st.sampled_from([40, 70, 90]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=15, derandomize=True)
def test_any_plateaus_are_as_good_beside_scattered_holes(
    periods: tuple[float, ...], share: float, where: str, dtype: str, quality: int, seed: int
) -> None:
    """Those of bands copied to another reference system, and if too little of them is left, by finer quantisation."""
    image = image_of((160, 160), list(periods), seed, dtype)
    missing = np.random.default_rng(seed).random(image.shape) < share
    if where == "all bands":
        missing = np.broadcast_to(missing[:1], image.shape)
    plainly = np.square(
        learned_codec.decode(learned_codec.encode(image, planar=True, quality=quality)) - image.astype(float)
    ).mean((-2, -1))
    data = learned_codec.encode(np.where(missing, 0, image).astype(dtype), planar=True, quality=quality, nodata=0)
    decoded = learned_codec.decode(data, masked=True).reshape(image.shape)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), missing)
    squares = np.where(missing, 0, np.square(decoded.data - image.astype(float)))
    errors = np.sqrt(squares.sum((1, 2)) / (~missing).sum((1, 2)))
    assert (errors < 1.5 * np.maximum(np.sqrt(plainly.reshape(-1)), 0.3)).all()


def test_peaks_come_back() -> None:
    """A plateau of the highest value: decoded values are limited to it, so none of its pixels may be coded as more."""
    image = image_of((96, 96), [1, 3, 3], 5)
    bright = image.copy()
    highest = int(image[1:].max()) + 200
    bright[1:, 33:36, 42:45], bright[1:, 60:63, 12:15] = highest, highest - 1
    errors = np.abs(learned_codec.decode(learned_codec.encode(bright, planar=True, quality=95)) - bright.astype(float))
    assert errors[1:, 33:36, 42:45].max() < 5 * np.sqrt(np.square(errors[1:]).mean())


def test_images_without_plateaus_have_no_grids() -> None:
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 3000, (2, 300, 300)).astype(np.uint16)
    coarse = (scene((300, 300), 1) / 200).astype(np.uint16)[None]
    for image in (noisy, coarse, scene((300, 300), 1).astype(np.uint16)[None]):
        assert coarse_grids(MaskedSource(ArraySource(image, planar=True)), range(len(image)), 0.1) == []


def test_sheared_grids_are_found() -> None:
    shape = (300, 300)
    image = np.stack([repeated(np.rint(scene(shape, k)), 2.7, (0, 0), 0.013) for k in range(3)]).astype(np.uint16)
    (grid,) = coarse_grids(MaskedSource(ArraySource(image, planar=True)), range(3), 0.1)
    assert grid == Grid((0, 1, 2))


@pytest.mark.parametrize("control", [{"psnr": 60.0}, {"bpp": 2.0}])
def test_searches_know_of_them(control: dict[str, float]) -> None:
    image = image_of((128, 192), [1, 2, 2], 4)
    data = learned_codec.encode(image, planar=True, **control)
    psnr = 20 * np.log10(65535 / rmse(image, learned_codec.decode(data)))
    if "psnr" in control:
        assert control["psnr"] <= psnr <= control["psnr"] + 0.15
    else:
        assert 0.95 * control["bpp"] < 8 * len(data) / image[0].size <= control["bpp"]


def test_a_damaged_tile_leaves_the_others_as_they_are() -> None:
    image = image_of((128, 192), [1, 2, 6], 4)
    data = learned_codec.encode(image, planar=True, tile_size=64, quality=50)
    whole = learned_codec.decode(data)
    broken = bytearray(data)
    broken[-40] ^= 1
    found = learned_codec.decode(bytes(broken), errors="fill")
    np.testing.assert_array_equal(found[..., :64], whole[..., :64])


def test_reduced_images_are_as_good_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no cell of the reduced image cuts a plateau. Else it is smoother than the original's."""
    image = np.stack([repeated(scene((192, 192), k), k, (0, 0)) for k in (1, 2, 2)]).astype(np.uint16)
    without = learned_codec.open(io.BytesIO(plain(image, monkeypatch, quality=80)))
    reader = learned_codec.open(io.BytesIO(learned_codec.encode(image, planar=True, quality=80)))
    for factor in (2, 4):
        size = 192 // factor
        means = image.reshape(3, size, factor, size, factor).mean((2, 4))
        usual = rmse(means, without.read(scale=1 / factor))
        assert rmse(means, reader.read(scale=1 / factor)) < 1.1 * usual


def test_grids_that_make_no_sense_are_refused() -> None:
    spec = MaskSpec((), grids=((0, 2), (1,)))
    assert MaskSpec.from_bytes(spec.to_bytes()) == spec
    spec.check_grids(3)
    for grids in (((0, 3),), ((0, 0),), ((0, 1), (1,))):
        with pytest.raises(CorruptDataError, match="grids"):
            MaskSpec((), grids=grids).check_grids(3)
    for data in (b"\x40\0", b"\x40\0\0", b"\x40\0\1\1\0", b"\x40\0\1\0\0\0"):
        with pytest.raises(CorruptDataError, match="length"):
            MaskSpec.from_bytes(data)
    joins = np.array([[[0, 1], [2, 3]]], np.uint8)
    packed = spec.pack(Side(None, None, np.repeat(joins, 2, 0)))
    np.testing.assert_array_equal(spec.unpack(packed, 3, 2, 2).joins[0], joins[0])
    with pytest.raises(CorruptDataError, match="invalid"):
        MaskSpec(()).unpack(packed, 3, 2, 2)
    with pytest.raises(CorruptDataError, match="joins pixels"):
        spec.unpack(b"\4\0\4\0\0", 3, 2, 2)


def test_rows_of_tiles_are_coded_alike_by_others() -> None:
    """Other processes must know the grids, too."""
    image = image_of((192, 128), [1, 2, 2.7], 4)
    data = learned_codec.encode(image, planar=True, tile_size=64, quality=70)
    masked = MaskedSource(ArraySource(image, planar=True))
    grids = coarse_grids(masked, range(3), 0.2)
    assert MaskSpec.from_bytes(parse(data).mask or b"").grids == tuple(grid.bands for grid in grids) != ()
    again = pickle.loads(pickle.dumps(masked.keeping(grids=grids).over()))(ArraySource(image, planar=True))  # noqa: S301
    rows, columns = slice(64, 128), slice(0, 128)
    ours, theirs = (x.read(rows, columns).side.joins for x in (masked.keeping(grids=grids), again))
    np.testing.assert_array_equal(ours, theirs)
