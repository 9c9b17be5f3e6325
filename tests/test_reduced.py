"""Images at a fraction of their size are means of the whole image, without its refinement and the layers above."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
import learned_codec.integrations.pillow
from learned_codec import bitstream
from learned_codec.errors import CorruptDataError, InvalidInputError
from learned_codec.models.model import Model
from learned_codec.values.mask import VALID, MaskSpec, Side
from learned_codec.values.reduce import reduced, reduced_plane, reduced_side, reducing_factor
from tests.streams import CountingFile

FACTORS = (2, 4, 8, 16)
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def waves(bands: int, height: int, width: int, dtype: str = "uint8") -> np.ndarray:
    """(bands, height, width) of smooth waves and some noise, none of it 0."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(1)
    planes = [
        120 + 60 * np.sin(x / (9 + i) + y / 23) + 30 * np.cos(y / (7 + 2 * i)) + rng.normal(0, 9, x.shape)
        for i in range(bands)
    ]
    values: np.ndarray = np.clip(planes, 1, 255) * (100 if dtype in ("uint16", "int16") else 1)
    return values.astype(dtype)


def means(values: np.ndarray, factor: int, valid: np.ndarray | None = None) -> np.ndarray:
    """(bands, h, w) of the valid values' means by loops, NaN where none is."""
    valid = np.ones(values.shape, bool) if valid is None else valid
    bands, height, width = values.shape
    found = np.full((bands, -(-height // factor), -(-width // factor)), np.nan)
    for band, row, column in np.ndindex(found.shape):
        cell = band, slice(row * factor, (row + 1) * factor), slice(column * factor, (column + 1) * factor)
        if valid[cell].any():
            found[band, row, column] = values[cell][valid[cell]].astype(float).mean()
    return found


Whole = Callable[..., Any]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Whole:
    """Decodes a whole image from the layers that the image reduced by a factor needs, without the refinement."""
    synthesise, decode = Model.synthesise, Model.decode

    def decoded(data: bytes, needed: int, **options: Any) -> Any:
        def from_layers(self: Model, *arguments: Any) -> Any:
            *given, factor = arguments
            assert factor == 1
            return decode(self, *given, needed)

        def plain(*given: Any, **more: Any) -> np.ndarray:
            return synthesise(*given, **more | {"refined": False})

        def in_bytes(*given: Any, **more: Any) -> np.ndarray:
            return np.rint(255 * np.clip(plain(*given, **more), 0, 1)).astype(np.uint8)

        with monkeypatch.context() as patch:
            patch.setattr(Model, "synthesise", plain)
            patch.setattr(Model, "synthesise_bytes", in_bytes)
            patch.setattr(Model, "decode", from_layers)
            return learned_codec.decode(data, **options)

    return decoded


# -- means of arrays ---------------------------------------------------------------------------------------------------


@FEW
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 37), st.integers(1, 37)),
    factor=st.sampled_from(FACTORS),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    share=st.sampled_from([0.0, 0.3, 0.98]),
    seed=st.integers(0, 99),
)
def test_means_are_those_of_the_valid_values(
    size: tuple[int, int, int], factor: int, dtype: str, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 200, size).astype(dtype)
    valid = rng.random(size) >= share
    if dtype == "float32":
        values[~valid] = np.nan
    expected = means(values, factor, valid)
    found = reduced(values, None if valid.all() else valid, factor)
    assert found.dtype == values.dtype
    np.testing.assert_allclose(found, np.nan_to_num(expected), atol=1e-3 if dtype == "float32" else 0.5)
    classes = np.where(valid, VALID, rng.integers(0, 2, size)).astype(np.uint8)
    side = reduced_side(Side(classes, None), None, factor)
    assert side.classes is not None
    np.testing.assert_array_equal(side.classes == VALID, np.isfinite(expected))
    assert np.isin(side.classes, (0, 1, VALID)).all()


@FEW
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(FACTORS), st.integers(0, 99))
def test_planes_are_visible_where_any_pixel_is(height: int, width: int, factor: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = (rng.integers(0, 256, (height, width)) * (rng.random((height, width)) < 0.05)).astype(np.uint8)
    opaque = means(alpha[None], factor)[0]
    np.testing.assert_array_equal(reduced_plane(alpha, "alpha", factor), np.ceil(opaque))
    mask = np.where(alpha, np.uint8(255), np.uint8(0))
    np.testing.assert_array_equal(reduced_plane(mask, "mask", factor), 255 * (opaque > 0))
    spec = MaskSpec((), "alpha")
    valid = spec.valid(reduced_side(Side(None, alpha), "alpha", factor), 1)
    np.testing.assert_array_equal(np.broadcast_to(True if valid is None else valid[0], opaque.shape), opaque > 0)


@FEW
@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), st.tuples(st.integers(1, 400), st.integers(1, 400)))
def test_the_factor_never_makes_it_too_small(size: tuple[int, int], shape: tuple[int, int]) -> None:
    factor = reducing_factor(size, shape)
    assert factor == 1 or all(side >= factor * wanted for side, wanted in zip(size, shape, strict=True))
    assert factor == 16 or any(side < 2 * factor * wanted for side, wanted in zip(size, shape, strict=True))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planes", "options"),
    [
        (waves(3, 150, 171), {"tile_size": 64}),
        (waves(3, 37, 5), {}),
        (waves(1, 1, 1), {}),
        (waves(1, 100, 130), {"quality": 5}),
        (waves(4, 90, 70, "uint16"), {"tile_size": 64}),
        (waves(2, 90, 70, "int16"), {}),
        (waves(1, 90, 70, "float32"), {}),
        (waves(2, 80, 70, "float32"), {"kind": "sar", "unit": "power"}),
        (np.full((3, 40, 50), 7, np.uint8), {}),
    ],
    ids=lambda value: None if isinstance(value, dict) else f"{value.dtype}-{'x'.join(map(str, value.shape))}",
)
def test_pixels_are_means(whole: Whole, planes: np.ndarray, options: dict[str, Any]) -> None:
    data = learned_codec.encode(planes, planar=True, **options)
    for factor in FACTORS:
        found = learned_codec.decode(data, scale=1 / factor)
        assert found.dtype == planes.dtype
        tolerance = {"atol": 1.01} if planes.dtype.kind in "ui" else {"rtol": 1e-4}
        np.testing.assert_allclose(found.astype(float), means(whole(data, factor), factor), **tolerance)  # type: ignore[arg-type]
    np.testing.assert_array_equal(learned_codec.decode(data, scale=1), learned_codec.decode(data))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_without_a_value_count_for_nothing(whole: Whole, dtype: str) -> None:
    planes = waves(2, 100, 90, dtype)
    nodata = np.nan if dtype == "float32" else 0
    planes[:, :33, :47] = nodata
    planes[1, 60:, 40:43] = nodata
    data = learned_codec.encode(planes, planar=True, nodata=nodata, tile_size=64)
    for factor in FACTORS:
        found = learned_codec.decode(data, scale=1 / factor, masked=True)
        values = whole(data, factor, masked=True)
        expected = means(values.data, factor, ~np.ma.getmaskarray(values))
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.isnan(expected))
        np.testing.assert_allclose(found.filled(0), np.nan_to_num(expected), rtol=1e-4, atol=1.01)
        np.testing.assert_array_equal(np.asarray(found)[np.isnan(expected)], np.asarray(values.fill_value, dtype))


def test_values_that_are_kept_exactly_count_as_well(whole: Whole) -> None:
    planes = waves(3, 130, 140)
    planes[:, :37] = planes[:, :, :21] = 0  # a black frame
    data = learned_codec.encode(planes, planar=True, tile_size=64)
    for factor in FACTORS:
        found, values = learned_codec.decode(data, scale=1 / factor), whole(data, factor)
        assert (values[:, :37] == 0).all()
        np.testing.assert_allclose(found.astype(float), means(values, factor), atol=1.01)
        assert (found[:, : 37 // factor] == 0).all()


@FEW
@given(
    values=st.lists(st.integers(-120, 120), min_size=1, max_size=64, unique=True),
    dtype=st.sampled_from(["uint8", "int16", "uint32", "int8", "float32"]),
    tile_size=st.sampled_from([None, 64]),
    factor=st.sampled_from(FACTORS),
    holes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_bands_of_few_values_have_no_others(
    values: list[int], dtype: str, tile_size: int | None, factor: int, holes: bool, seed: int
) -> None:
    """Also without a colour table: they may be classes. The band beside them is of means."""
    rng = np.random.default_rng(seed)
    known = np.array(values).astype(dtype)
    classes = rng.choice(known, (90, 70))
    other = rng.integers(0, 100, (90, 70)).astype(dtype)
    mask = rng.random((90, 70)) > 0.3 if holes else None
    data = learned_codec.encode(np.stack([classes, other]), planar=True, mask=mask, max_error=0, tile_size=tile_size)
    found = learned_codec.decode(data, scale=1 / factor, masked=True)
    if len(values) == 2 and dtype != "float32" and abs(int(known[0]) - int(known[1])) == 1:
        known = np.arange(known.min(), known.max() + 1)
    assert np.isin(found[0].compressed(), known).all()
    expected = means(np.stack([classes, other]), factor, None if mask is None else np.stack([mask, mask]))[1]
    np.testing.assert_allclose(found[1].astype(float).filled(np.nan), expected, atol=0.51)
    with learned_codec.open(data) as reader:  # each tile alone would say something else
        np.testing.assert_array_equal(
            reader.read(window=(64, 64, 16, 4), scale=1 / factor),
            found.data[:, 64 // factor : -(-80 // factor), 64 // factor : -(-68 // factor)],
        )


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.eye(90, dtype=np.uint8), {}),  # the rounded mean is the value that occurs more often
        (np.eye(90) > 0, {}),
        (np.stack([np.eye(90, dtype=np.uint8) * 200] * 3, 2), {}),  # a picture
        (np.add.outer(np.arange(90), np.arange(90)).astype(np.uint8), {"max_error": 9}),  # few because of the error
    ],
)
@pytest.mark.parametrize("tile_size", [None, 64])
def test_other_bands_of_few_values_are_means(image: np.ndarray, options: dict[str, Any], tile_size: int | None) -> None:
    data = learned_codec.encode(image, tile_size=tile_size, **{"max_error": 0} | options)
    found = learned_codec.decode(data, scale=1 / 4)
    planes = image.reshape(90, 90, -1).transpose(2, 0, 1)
    expected = means(planes, 4).transpose(1, 2, 0).reshape(found.shape)
    np.testing.assert_allclose(found.astype(float), expected, atol=0.51 + options.get("max_error", 0))
    assert "few_values" not in learned_codec.inspect(data).metadata


@pytest.mark.parametrize("said", [5, [True], [7], [-1], ["0"], [None], {}])
def test_odd_lists_of_bands_of_few_values_mean_nothing(said: Any) -> None:
    values = (np.arange(130 * 70) % 100).astype(np.uint8).reshape(130, 70)
    plain = learned_codec.encode(values, max_error=0, tile_size=64)
    container = bitstream.read(plain)
    tiles = [bytes(container.tile(index)) for index in range(container.header.tile_count)]
    odd = bitstream.write(container.header, tiles, metadata={"few_values": said})
    np.testing.assert_array_equal(learned_codec.decode(odd, scale=1 / 4), learned_codec.decode(plain, scale=1 / 4))


def test_windows_of_the_reduced_image() -> None:
    planes = waves(2, 200, 230, "uint16")
    data = learned_codec.encode(planes, planar=True, tile_size=64)
    with learned_codec.open(data) as reader:
        for factor in FACTORS:
            small = reader.read(scale=1 / factor)
            found = reader.read(window=(37, 50, 90, 101), scale=1 / factor).astype(int)
            rows, columns = slice(37 // factor, -(-127 // factor)), slice(50 // factor, -(-151 // factor))
            assert np.abs(found - small[:, rows, columns]).max() <= 1
            # Beyond the image, the cells' grid goes on.
            beyond = reader.read(
                window=(-20, 200, 60, 60), bands=1, scale=1 / factor, boundless=True, fill_value=9
            ).astype(int)
            top, left = -20 // factor, 200 // factor
            assert beyond.shape == (-(-40 // factor) - top, -(-260 // factor) - left)
            inside = small[0, : -(-40 // factor), left:]
            assert np.abs(beyond[-top:, : inside.shape[1]] - inside).max() <= 1
            assert (beyond[:-top] == 9).all()
            assert (beyond[:, inside.shape[1] :] == 9).all()
            shaped = reader.read(window=(32, 48, 64, 96), out_shape=(64 // factor, 96 // factor)).astype(int)
            cells = small[:, 32 // factor : 96 // factor, 48 // factor : 144 // factor]
            assert np.abs(shaped - cells).max() <= 1


def test_refinement_makes_little_of_a_mean() -> None:
    image = waves(3, 160, 160).transpose(1, 2, 0)
    data = learned_codec.encode(image, quality=60)
    whole = learned_codec.decode(data).transpose(2, 0, 1)
    found = learned_codec.decode(data, scale=1 / 4).transpose(2, 0, 1)
    assert np.abs(found - means(whole, 4)).mean() < 1


def test_damage_costs_its_cells() -> None:
    planes = waves(1, 130, 130)
    data = bytearray(learned_codec.encode(planes, planar=True, tile_size=64))
    data[-40] ^= 255  # in the last tile, of 2 x 2 pixels, or the one before
    damaged = learned_codec.check(bytes(data)).damaged_tiles
    assert len(damaged) == 1
    row, column = divmod(damaged[0], 3)
    small = learned_codec.decode(bytes(data), errors="fill", scale=1 / 8)
    assert small.shape == (1, 17, 17)
    assert (small[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == 0).all()
    assert small[0, 0, 0] > 0


# -- fronts of tiles ---------------------------------------------------------------------------------------------------


LONG: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "RGB": (waves(3, 300, 260), {}),
    "two components": (waves(2, 300, 260), {}),
    "nodata": (np.where(waves(2, 300, 260) > 150, waves(2, 300, 260), 0), {"nodata": 0}),
    "mask": (waves(3, 300, 260), {"mask": waves(1, 300, 260)[0] > 100}),
}


def long(case: str) -> bytes:
    """A file of four tiles, of which the first is long and the last one short."""
    planes, options = LONG[case]
    data = learned_codec.encode(planes, planar=True, tile_size=256, quality=100, **options)
    fronts = [len(tile.fronts) for tile in bitstream.read(data).tiles]
    assert (fronts[0], fronts[3]) == (2, 0)
    return data


@pytest.mark.parametrize("case", LONG)
def test_only_the_fronts_of_tiles_are_read(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learned_codec.bitstream.source.READ_AHEAD", 1024)
    monkeypatch.setattr("learned_codec.bitstream.container.GAP", 0)  # else these tiles come as a whole
    data = long(case)
    container = bitstream.read(data)
    payloads = [bytes(container.tile(i)) for i in range(4)]
    without = bitstream.write(container.header, payloads, metadata=container.metadata, mask=container.mask)
    for factor in FACTORS:
        file = CountingFile(data)
        with learned_codec.open(file) as reader:
            np.testing.assert_array_equal(
                reader.read(scale=1 / factor), learned_codec.decode(without, scale=1 / factor)
            )
        needed = sum(tile.extent(0 if factor > 2 else 1) for tile in container.tiles)
        assert needed <= file.taken <= 1024 + needed
    if case == "mask":
        file = CountingFile(data)
        with learned_codec.open(file) as reader:
            np.testing.assert_array_equal(reader.read_plane(), np.where(LONG[case][1]["mask"], 255, 0))
        assert file.taken <= 1024 + sum(tile.extent(0) for tile in container.tiles)


def test_damage_behind_a_front_costs_only_what_needs_it() -> None:
    whole = long("mask")
    tile = bitstream.read(whole).tiles[0]
    for at, bad in (
        (tile.end - 9, (1,)),
        (tile.offset + tile.extent(1) - 9, (1, 1 / 2)),
        (tile.offset + 9, (1, 1 / 2, 1 / 4)),
    ):
        spoiled = bytearray(whole)
        spoiled[at] ^= 16
        data = bytes(spoiled)
        assert learned_codec.check(data).damaged_tiles == (0,)
        for scale in (1, 1 / 2, 1 / 4):
            if scale in bad:
                with pytest.raises(CorruptDataError, match="tile 0 of 4"):
                    learned_codec.decode(data, scale=scale)
            else:
                expected = learned_codec.decode(whole, scale=scale)
                np.testing.assert_array_equal(learned_codec.decode(data, scale=scale), expected)
        with learned_codec.open(data, errors="fill") as reader:
            reader.read(scale=1 / 4)
            assert reader.damaged == ((0,) if 1 / 4 in bad else ())
            assert not reader.read()[:, :256, :256].any()
            assert reader.damaged == (0,)


def test_a_tile_cut_short_still_has_its_front() -> None:
    whole = long("RGB")
    tile = bitstream.read(whole).tiles[0]
    cut = whole[: tile.offset + tile.extent(0)]
    expected = learned_codec.decode(whole, scale=1 / 4)[:, :50, :50].astype(int)
    with learned_codec.open(cut) as reader:  # the last bit of a float depends on the size of what is computed at once
        np.testing.assert_allclose(reader.read(window=(0, 0, 200, 200), scale=1 / 4), expected, atol=1)
        with pytest.raises(CorruptDataError, match="tile 0 of 4"):
            reader.read(window=(0, 0, 200, 200), scale=1 / 2)


@pytest.mark.parametrize("scale", [0, -1, 0.3, 2, 1 / 32, "half", None, [1], float("nan")])
def test_other_scales_are_refused(scale: object) -> None:
    data = learned_codec.encode(waves(1, 20, 20), planar=True)
    with pytest.raises(InvalidInputError, match="1/16, not"):
        learned_codec.decode(data, scale=scale)  # type: ignore[arg-type]
    with learned_codec.open(data) as reader, pytest.raises(InvalidInputError, match="out_shape"):
        reader.read(scale=1 / 2, out_shape=(4, 4))


# -- Pillow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_thumbnails_are_made_of_the_reduced_image(mode: str) -> None:
    values = waves(3, 150, 201).transpose(1, 2, 0)
    if mode == "RGBA":
        values[:, :90] = 0  # what is hidden isn't kept
    image = Image.fromarray(np.ascontiguousarray(values)).convert(mode)
    if mode == "RGBA":
        opacity = np.zeros((150, 201), np.uint8)
        opacity[:, 90:] = 128
        image.putalpha(Image.fromarray(opacity))
    stream = io.BytesIO()
    image.save(stream, "LCI", quality=80)
    expected = learned_codec.decode(stream.getvalue(), scale=1 / 2)
    with Image.open(io.BytesIO(stream.getvalue())) as small:
        assert small.draft(None, (50, 40)) == (mode, (0, 0, 201 / 2, 150 / 2))
        assert small.size == (101, 75)
        found = np.asarray(small)
        np.testing.assert_array_equal(found if mode == "L" else found[..., :3], expected)
        if mode == "RGBA":
            np.testing.assert_array_equal(found[..., 3], np.repeat(128 * (np.arange(101) >= 45), 75).reshape(101, 75).T)
        assert small.draft(None, (5, 5)) is None  # once decoded, it stays
    with Image.open(io.BytesIO(stream.getvalue())) as opened:
        opened.thumbnail((24, 24))
        assert opened.size == (24, 18)
        assert opened.mode == mode
