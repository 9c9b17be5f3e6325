"""Windows of a file: equal to the whole, read from as few bytes as possible, and with what damage leaves."""

import base64
import gc
import io
import itertools
import os
import pickle
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window

import learned_codec
from learned_codec import bitstream
from learned_codec.atomic import atomic_write
from learned_codec.errors import CorruptDataError, FileError, InvalidInputError, NotLCIError, TruncatedError
from learned_codec.models.config import BLOCK, HALO
from learned_codec.values.mask import MaskSpec
from tests import geotiffs
from tests.streams import CountingFile

FEW = settings(max_examples=15, deadline=None, derandomize=True)
HEIGHT, WIDTH = 270, 330


def picture(bands: int, dtype: str = "uint16") -> np.ndarray:
    """(bands, HEIGHT, WIDTH) of smooth waves and some noise, none of it 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(0)
    planes = [
        120 + 60 * np.sin(x / (9 + i) + y / 23) + 30 * np.cos(y / (7 + 2 * i)) + rng.normal(0, 4, x.shape)
        for i in range(bands)
    ]
    return np.clip(planes, 1, 255).astype(dtype)


@pytest.fixture(scope="module")
def files() -> dict[int, bytes]:
    """Two bands with nodata in a corner, by tile size."""
    planes = picture(2)
    planes[:, :90, :100] = 0
    return {tile: learned_codec.encode(planes, planar=True, nodata=0, tile_size=tile) for tile in (64, 128)}


@pytest.fixture(scope="module")
def wholes(files: dict[int, bytes]) -> dict[int, np.ndarray]:
    return {tile: learned_codec.decode(data) for tile, data in files.items()}


class BareInput:
    """As little as a file object can be: what fsspec's have, and a list of what was done."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self.closed = False

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, 1000))  # an unbuffered one may give less than is wanted

    def close(self) -> None:
        self.closed = True


# -- windows -----------------------------------------------------------------------------------------------------------


def windows(height: int, width: int) -> st.SearchStrategy[tuple[int, int, int, int]]:
    def along(length: int) -> st.SearchStrategy[tuple[int, int]]:
        return st.integers(0, length - 1).flatmap(lambda a: st.tuples(st.just(a), st.integers(1, min(150, length - a))))

    return st.tuples(along(height), along(width)).map(lambda t: (t[0][0], t[1][0], t[0][1], t[1][1]))


@FEW
@given(window=windows(HEIGHT, WIDTH), tile=st.sampled_from([64, 128]))
def test_a_window_is_that_window_of_the_whole(
    files: dict[int, bytes], wholes: dict[int, np.ndarray], window: tuple[int, int, int, int], tile: int
) -> None:
    row, column, height, width = window
    with learned_codec.open(files[tile]) as reader:
        found = reader.read(window=window)
    expected = wholes[tile][:, row : row + height, column : column + width]
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(found == 0, expected == 0)


def shown(data: bytes) -> np.ndarray:
    """The pixels of the preview in a notebook."""
    said = learned_codec.open(data)._repr_html_()
    with Image.open(io.BytesIO(base64.b64decode(said.split("base64,")[1].split('"')[0]))) as preview:
        return np.asarray(preview)


@pytest.mark.parametrize(
    "names", [["B02", "B03", "B04", "B08"], ["blue", "green", "red", "nir"], ["b2", "B3", "B4", ""]]
)
def test_previews_show_red_green_and_blue(names: list[str]) -> None:
    planes = np.array([picture(3)[i] for i in (2, 1, 0, 0)]).astype(np.uint16)
    told = {"bands": [{"description": name} for name in names]}
    blue_first = shown(learned_codec.encode(planes, planar=True, max_error=0, metadata=told))
    red_first = shown(learned_codec.encode(planes[2::-1], planar=True, max_error=0))
    np.testing.assert_array_equal(blue_first, red_first)
    unnamed = shown(learned_codec.encode(planes, planar=True, max_error=0))
    np.testing.assert_array_equal(unnamed, red_first[..., ::-1])


def test_previews_of_classes_have_their_colours() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    colours = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [9, 9, 9, 0]], np.uint8)
    stream, coded = io.BytesIO(), io.BytesIO()
    image = Image.fromarray(classes)
    image.putpalette(colours[:, :3].tobytes())
    image.save(stream, "PNG", transparency=bytes([255, 255, 0]))
    learned_codec.encode_file(io.BytesIO(stream.getvalue()), coded, max_error=0)
    np.testing.assert_array_equal(shown(coded.getvalue()), colours[classes])
    container = bitstream.read(coded.getvalue())
    wrong = bitstream.write(container.header, [bytes(container.tile(0))], metadata={"colormap": "abcde"})
    assert shown(wrong).shape == (20, 30)


@pytest.mark.parametrize("shape", [(70, 300), (64, 90, 3), (600, 64, 5)])
def test_notebooks_show_a_preview(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    with learned_codec.open(learned_codec.encode(values, nodata=0)) as reader:
        shown = reader._repr_html_()
    assert f"{shape[1]} × {shape[0]} pixels" in shown
    assert "bits per pixel" in shown
    picture = base64.b64decode(shown.split("base64,")[1].split('"')[0])
    with Image.open(io.BytesIO(picture)) as preview:
        assert max(preview.size) <= 256
        assert preview.mode == ("L" if len(shape) == 2 else "RGB")


def test_the_whole_and_its_parts(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    with learned_codec.open(files[64]) as reader:
        assert (reader.height, reader.width, reader.bands, reader.dtype) == (HEIGHT, WIDTH, 2, np.uint16)
        assert (reader.nodata, reader.plane, reader.damaged) == (0, None, ())
        np.testing.assert_array_equal(reader.read(), wholes[64])
        seen = np.zeros((HEIGHT, WIDTH), int)
        for part in reader.parts((10, 20, 200, 300)):
            seen[part.rows, part.columns] += 1
            assert part.values.shape == (2, part.rows.stop - part.rows.start, part.columns.stop - part.columns.start)
        assert (seen[10:210, 20:320] == 1).all()
        assert seen.sum() == 200 * 300


def test_progress_counts_the_tiles_that_are_needed(files: dict[int, bytes]) -> None:
    with learned_codec.open(files[64]) as reader:
        calls: list[tuple[int, int]] = []
        reader.read(window=(100, 100, 5, 5), progress=lambda done, all_: calls.append((done, all_)))
        # The block of 16 pixels and five around it, of tiles of four: all that touch rows and columns 16 to 192.
        assert calls == [(i, 9) for i in range(1, 10)]


def test_bands(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    window = 130, 40, 20, 30
    part = wholes[128][:, 130:150, 40:70].astype(int)
    with learned_codec.open(files[128]) as reader:
        for bands, expected in (
            (2, part[1]),
            (np.int64(1), part[0]),
            ([2], part[1:]),
            ((2, 1), part[::-1]),
            ([1, 1, 2], part[[0, 0, 1]]),
        ):
            found = reader.read(window=window, bands=bands)
            assert found.shape == expected.shape
            assert np.abs(found.astype(int) - expected).max() <= 1


def test_out_shape(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    with learned_codec.open(files[128]) as reader:
        halved = reader.read(scale=1 / 2).astype(int)
        half = reader.read(window=(130, 40, 20, 30), out_shape=(10, 15)).astype(int)
        assert np.abs(half - halved[:, 65:75, 20:35]).max() <= 1
        third = reader.read(window=(130, 40, 21, 30), bands=1, out_shape=(7, 10)).astype(int)
        rows, columns = np.arange(131, 151, 3) // 2, np.arange(41, 70, 3) // 2  # of three, the middle
        assert np.abs(third - halved[0][np.ix_(rows, columns)]).max() <= 1
        less = reader.read(window=(130, 40, 21, 30), bands=1, out_shape=(14, 20)).astype(int)  # too large to be halved
        rows, columns = ((np.arange(2 * n) * 3 + 1) // 2 for n in (7, 10))
        assert np.abs(less - wholes[128][0][np.ix_(130 + rows, 40 + columns)]).max() <= 1
        double = reader.read(window=(130, 40, 20, 30), out_shape=(40, 60)).astype(int)
        assert np.abs(double - wholes[128][:, 130:150, 40:70].repeat(2, 1).repeat(2, 2)).max() <= 1
        assert reader.read(window=(130, 40, 20, 30), out_shape=np.array([1, 1])).shape == (2, 1, 1)


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
@pytest.mark.parametrize("masked", [False, True])
def test_layouts(layout: str, masked: bool) -> None:
    planes = picture(1 if layout == "HW" else 3, "uint8")[:, :70, :80]
    planes[:, :30] = 7
    image = {"HW": planes[0], "HWC": planes.transpose(1, 2, 0), "CHW": planes}[layout]
    data = learned_codec.encode(image, planar=layout == "CHW", nodata=7)
    whole = learned_codec.decode(data, masked=masked)
    assert isinstance(whole, np.ma.MaskedArray) == masked
    with learned_codec.open(data) as reader:
        found = reader.read(window=(20, 10, 30, 40), masked=masked)
        one = reader.read(window=(20, 10, 30, 40), bands=1, masked=masked)
        planar = reader.read(window=(20, 10, 30, 40), masked=masked, planar=True)
        assert reader.read(window=(20, 10, 30, 40), bands=1, planar=True).shape == (30, 40)
    part = whole[..., 20:50, 10:50] if layout == "CHW" else whole[20:50, 10:50]
    assert found.shape == part.shape
    assert one.shape == (30, 40)
    assert isinstance(planar, np.ma.MaskedArray) == masked
    turned = {"HW": found[None], "HWC": np.moveaxis(found, -1, 0), "CHW": found}[layout]
    np.testing.assert_array_equal(planar, turned)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(part)).max() <= 1
    if masked:
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(part))
        assert np.ma.getmaskarray(one)[:10].all()
        assert not np.ma.getmaskarray(one)[10:].any()
        assert found.fill_value == 7
        assert (found.filled() == np.asarray(found)).all()
        small = np.ma.getmaskarray(reader.read(window=(20, 10, 30, 40), bands=1, out_shape=(15, 20), masked=True))
        assert small[:5].all()
        assert not small[5:].any()


def test_reads_as_in_rasterio(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    with learned_codec.open(files[64]) as reader:
        np.testing.assert_array_equal(reader.read(2), wholes[64][1])
        part = reader.read(1, window=Window(40, 130, 30, 20)).astype(int)
        assert np.abs(part - wholes[64][0, 130:150, 40:70]).max() <= 1
        np.testing.assert_array_equal(reader.read([2, 1], window=Window(40, 130, 30, 20))[1], part)
        small = reader.read(out_shape=(2, 27, 33))
        np.testing.assert_array_equal(small, reader.read(out_shape=(27, 33)))
        np.testing.assert_array_equal(reader.read(2, out_shape=(1, 27, 33)), small[1])


@pytest.mark.parametrize("window", [(0, 0, 64, 64), ((0, 9), (0, 9))], ids=repr)
def test_a_window_in_place_of_bands(files: dict[int, bytes], window: Any) -> None:
    with learned_codec.open(files[64]) as reader, pytest.raises(InvalidInputError, match="window="):
        reader.read(window)


def test_masked_without_anything_masked() -> None:
    data = learned_codec.encode(picture(1)[0, :40, :40])
    assert not np.ma.getmaskarray(learned_codec.decode(data, masked=True)).any()
    with learned_codec.open(data) as reader, pytest.raises(InvalidInputError, match="neither a mask nor an alpha"):
        reader.read_plane()


@pytest.mark.parametrize(
    "window",
    [
        (0, 0, 271, 10),
        (0, 0, 10, 331),
        (-1, 0, 10, 10),
        (0, -1, 10, 10),
        (0, 0, 0, 10),
        (0, 0, 10, -2),
        (270, 0, 1, 1),
        (0, 0, 10),
        (0, 0, 10, 10, 10),
        (0, 0, 10.5, 10),
        (0, 0, float("nan"), 10),
        (0, 0, float("inf"), 10),
        "0011",
        ("0", "0", "1", "1"),
        (None, 0, 1, 1),
        7,
        slice(0, 4),
    ],
    ids=repr,
)
def test_wrong_windows(files: dict[int, bytes], window: Any) -> None:
    with learned_codec.open(files[64]) as reader:
        for read in (reader.read, reader.read_plane if reader.plane else reader.read):
            with pytest.raises(InvalidInputError, match="window"):
                read(window=window)


@pytest.mark.parametrize("bands", [0, 3, -1, [], [1, 3], "1", 1.5, [1.5], [[1]], [None]], ids=repr)
def test_wrong_bands(files: dict[int, bytes], bands: Any) -> None:
    with learned_codec.open(files[64]) as reader, pytest.raises(InvalidInputError, match="from 1 to 2"):
        reader.read(window=(0, 0, 1, 1), bands=bands)


@pytest.mark.parametrize("shape", [(0, 1), (1, -1), (1,), 5, (1.5, 1), "12", (float("inf"), 1), (3, 4, 4)], ids=repr)
def test_wrong_out_shapes(files: dict[int, bytes], shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with learned_codec.open(files[64]) as reader:
        monkeypatch.setattr(reader, "parts", None)  # that is seen before anything is decoded
        with pytest.raises(InvalidInputError, match="out_shape"):
            reader.read(out_shape=shape)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_share_a_reader(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    """Masks and all; each window as if it were the only one."""
    spots = [(row, 10 * i, 70, 10) for i in range(6) for row in (0, 190)]
    with learned_codec.open(io.BytesIO(files[64])) as reader, ThreadPoolExecutor(6) as pool:
        parts = pool.map(lambda spot: reader.read(window=spot), spots)
        for (row, column, height, width), found in zip(spots, parts, strict=True):
            expected = wholes[64][:, row : row + height, column : column + width]
            assert np.abs(found.astype(int) - expected).max() <= 1
            np.testing.assert_array_equal(found == 0, expected == 0)


def test_windows_that_overlap_in_time(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    with learned_codec.open(files[64]) as reader:
        upper, lower = reader.parts((0, 0, 130, 50)), reader.parts((200, 0, 10, 50))
        for part in (next(upper), *lower, *upper):
            expected = wholes[64][:, part.rows, part.columns]
            assert np.abs(part.values.astype(int) - expected).max() <= 1
            np.testing.assert_array_equal(part.values == 0, expected == 0)


@pytest.mark.torch
def test_a_suspended_iterator_leaves_the_thread_count_alone(files: dict[int, bytes]) -> None:
    import torch

    before = torch.get_num_threads()
    with learned_codec.open(files[64], threads=before + 1) as reader:
        for _ in reader.parts((60, 10, 20, 20)):
            assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_masks_are_unpacked_once_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tiles a row has, and nothing stays when a window is read."""
    planes = np.full((200, 64 * 12), 100, np.uint8)
    planes[::7] = 0
    data = learned_codec.encode(planes, nodata=0, tile_size=64)
    unpacked, sides = MaskSpec.unpack, []

    def noting(*arguments: Any) -> Any:
        side = unpacked(*arguments)
        sides.append(weakref.ref(side.classes))
        return side

    monkeypatch.setattr(MaskSpec, "unpack", noting)
    with learned_codec.open(data) as reader:
        np.testing.assert_array_equal(reader.read() == 0, planes == 0)
        assert len(sides) == 4 * 12
        gc.collect()
        assert not any(side() is not None for side in sides)


# -- like an array -----------------------------------------------------------------------------------------------------

SHAPES = {"HW": (70, 80), "HWC": (70, 80, 3), "CHW": (3, 70, 80)}


@pytest.fixture(scope="module")
def by_layout() -> dict[str, tuple[bytes, np.ndarray]]:
    """A file and its array in each layout."""
    planes = picture(3, "uint8")[:, :70, :80]
    arrays = {"HW": planes[0], "HWC": planes.transpose(1, 2, 0), "CHW": planes}
    coded = {kind: learned_codec.encode(array, planar=kind == "CHW", tile_size=64) for kind, array in arrays.items()}
    return {kind: (data, learned_codec.decode(data)) for kind, data in coded.items()}


def subscript(length: int) -> st.SearchStrategy[int | slice]:
    ends = st.none() | st.integers(-length - 5, length + 5)
    return st.integers(-length, length - 1) | st.builds(slice, ends, ends, st.sampled_from([None, 1, 2, 7, -1, -3]))


@st.composite
def keys(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(list(SHAPES)))
    used = [draw(subscript(length)) for length in SHAPES[kind]]
    start = draw(st.integers(0, len(used)))
    stop = draw(st.integers(start, len(used)))
    if draw(st.booleans()):  # "..." in the place of some
        return kind, (*used[:start], ..., *used[stop:])
    return kind, tuple(used[:stop]) if stop != 1 or draw(st.booleans()) else used[0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(found=keys())
def test_a_subscript_takes_what_it_takes_of_the_array(
    by_layout: dict[str, tuple[bytes, np.ndarray]], found: tuple[str, Any]
) -> None:
    kind, key = found
    data, whole = by_layout[kind]
    with learned_codec.open(data) as reader:
        part = reader[key]
    expected = whole[key]
    assert part.shape == expected.shape
    assert part.dtype == expected.dtype
    assert np.abs(part.astype(int) - expected).max(initial=0) <= 1


@pytest.mark.parametrize("kind", SHAPES)
def test_it_says_what_it_is(by_layout: dict[str, tuple[bytes, np.ndarray]], tmp_path: Path, kind: str) -> None:
    data, whole = by_layout[kind]
    path = tmp_path / "scene.lci"
    path.write_bytes(data)
    with learned_codec.open(path) as reader:
        assert (reader.shape, reader.ndim, reader.dtype) == (whole.shape, whole.ndim, whole.dtype)
        assert np.abs(np.asarray(reader).astype(int) - whole).max() <= 1
        assert np.asarray(reader, dtype=np.float32).dtype == np.float32
        for word in ("scene.lci", "80 × 70", "uint8", f"{len(data):,} bytes", "model "):
            assert word in repr(reader)
        assert "closed" not in repr(reader)
    assert "closed" in repr(reader)
    with pytest.raises(FileError, match="closed"):
        reader.read()


def test_lists_of_bands(by_layout: dict[str, tuple[bytes, np.ndarray]]) -> None:
    data, whole = by_layout["HWC"]
    with learned_codec.open(data) as reader:
        for key in ([2, 0], [-1], [], np.array([1, 1])):
            part = reader[5:20, 30:40, key]
            assert np.abs(part.astype(int) - whole[5:20, 30:40, np.array(key, int)]).max(initial=0) <= 1
            assert part.shape == (15, 10, len(key))


@pytest.mark.parametrize("key", [70, -71, (0, 80), (0, 0, 3), (0, 0, 0, 0), (..., ...), (0, 0, [3])], ids=repr)
def test_subscripts_beyond_the_end(by_layout: dict[str, tuple[bytes, np.ndarray]], key: Any) -> None:
    with learned_codec.open(by_layout["HWC"][0]) as reader, pytest.raises(IndexError) as caught:
        reader[key]
    assert isinstance(caught.value, InvalidInputError)


@pytest.mark.parametrize(
    "key",
    ["a", 1.5, None, True, ([0], [0]), np.zeros((2, 2), int), np.ones(70, bool), slice(0, 1.5), slice(None, None, 0)],
    ids=repr,
)
def test_subscripts_that_are_none(by_layout: dict[str, tuple[bytes, np.ndarray]], key: Any) -> None:
    with learned_codec.open(by_layout["HWC"][0]) as reader, pytest.raises(InvalidInputError):
        reader[key]


# -- windows as others have them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [
        Window(40, 30, 20, 10),
        Window.from_slices((30, 40), (40, 60)),
        (slice(30, 40), slice(40, 60)),
        ((30, 40), (40, 60)),
        np.array([30, 40, 10, 20]),
    ],
    ids=repr,
)
def test_windows_of_other_kinds(files: dict[int, bytes], window: Any) -> None:
    with learned_codec.open(files[64]) as reader:
        np.testing.assert_array_equal(reader.read(window=window), reader.read(window=(30, 40, 10, 20)))
        assert reader.read(window=(slice(None, 20), slice(320, None)), bands=1).shape == (20, 10)


@pytest.mark.parametrize(
    "window",
    [
        Window(0.5, 0, 1, 1),
        Window(0, 0, 1, 1.25),
        (slice(0, 9, 2), slice(0, 9)),
        ((0, 1), (2,)),
        (slice(9, 2), slice(0, 2)),
    ],
    ids=repr,
)
def test_wrong_windows_of_other_kinds(files: dict[int, bytes], window: Any) -> None:
    with learned_codec.open(files[64]) as reader, pytest.raises(InvalidInputError, match="window"):
        reader.read(window=window)


@FEW
@given(
    row=st.integers(-200, 400),
    column=st.integers(-200, 500),
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    bands=st.sampled_from([None, 1, [2, 1]]),
    masked=st.booleans(),
)
def test_a_window_may_reach_beyond_the_image(
    files: dict[int, bytes],
    wholes: dict[int, np.ndarray],
    row: int,
    column: int,
    height: int,
    width: int,
    bands: Any,
    masked: bool,
) -> None:
    padded = np.zeros((2, 3000, 3000), np.uint16)  # nodata is 0
    padded[:, 1000 : 1000 + HEIGHT, 1000 : 1000 + WIDTH] = wholes[128]
    there = np.zeros(padded.shape[1:], bool)
    there[1000 : 1000 + HEIGHT, 1000 : 1000 + WIDTH] = True
    place = slice(1000 + row, 1000 + row + height), slice(1000 + column, 1000 + column + width)
    expected = padded[:, *place] if bands is None else padded[0, *place] if bands == 1 else padded[::-1, *place]
    with learned_codec.open(files[128]) as reader:
        found = reader.read(window=(row, column, height, width), bands=bands, boundless=True, masked=masked)
        assert found.shape == expected.shape
        assert np.abs(np.asarray(found).astype(int) - expected).max() <= 1
        if masked:
            np.testing.assert_array_equal(np.ma.getmaskarray(found), expected == 0)
        filled = reader.read(window=(row, column, height, width), bands=bands, boundless=True, fill_value=7)
    assert (filled[..., ~there[place]] == 7).all()
    np.testing.assert_array_equal(filled[..., there[place]], np.asarray(found)[..., there[place]])


def test_beyond_an_image_without_nodata() -> None:
    for dtype, fill in (("uint8", 0), ("float32", np.nan)):
        with learned_codec.open(learned_codec.encode(picture(1, dtype)[0, :40, :40])) as reader:
            found = reader.read(window=(-2, 38, 5, 5), boundless=True, masked=True)
            np.testing.assert_array_equal(np.asarray(found)[:2], np.full((2, 5), fill, dtype))
            assert np.ma.getmaskarray(found).sum() == 5 * 5 - 3 * 2
            for wrong in ("7", 1e60, [1]):
                with pytest.raises(InvalidInputError, match="fill_value"):
                    reader.read(window=(-2, 38, 5, 5), boundless=True, fill_value=wrong)
            with pytest.raises(InvalidInputError, match="boundless=True"):
                reader.read(window=(-2, 38, 5, 5))
            with pytest.raises(InvalidInputError, match="window"):
                reader.read(window=(-2, 38, 0, 5), boundless=True)
            with pytest.raises(InvalidInputError, match="40 columns$"):  # there is no such argument to recommend
                next(reader.parts((-2, 38, 5, 5)))


def test_bands_by_name(tmp_path: Path) -> None:
    path, planes = tmp_path / "a.tif", picture(4, "uint8")[:, :64, :64]
    with geotiffs.write(path, planes, photometric="RGB", alpha="YES", transform=Affine.scale(2)) as raster:
        raster.descriptions = ("B02", "grün", "B02", "opacity")
    learned_codec.encode_file(path, tmp_path / "a.lci")
    with learned_codec.open(tmp_path / "a.lci") as reader:
        assert reader.descriptions == ("B02", "grün", "B02")
        np.testing.assert_array_equal(reader.read(bands="grün"), reader.read(bands=2))
        np.testing.assert_array_equal(reader.read(bands=["grün", 1]), reader.read(bands=[2, 1]))
        for wrong in ("B08", "B02", ["grün", "opacity"], "2"):  # two have one name; opacity is no band
            with pytest.raises(InvalidInputError, match="from 1 to 3, or called B02, grün, B02"):
                reader.read(bands=wrong)


# -- sent to other processes -------------------------------------------------------------------------------------------


def test_copies_open_their_source_again(
    files: dict[int, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.lci").write_bytes(flipped(files[128], 0))
    monkeypatch.chdir(tmp_path)
    broken = flipped(files[128], 0)
    for source in ("a.lci", tmp_path / "a.lci", broken, memoryview(broken), bytearray(broken), io.BytesIO(broken)):
        with learned_codec.open(source, errors="fill", threads=1) as reader:
            sent = pickle.dumps(reader)
            expected = reader.read(window=(100, 100, 20, 20))
        monkeypatch.chdir("/")  # where the other process works
        with pickle.loads(sent) as other:  # noqa: S301 - of our own
            np.testing.assert_array_equal(other.read(window=(100, 100, 20, 20)), expected)
            assert other.damaged == (0,)
        monkeypatch.chdir(tmp_path)


def test_readers_in_other_processes(files: dict[int, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.lci"
    path.write_bytes(files[128])
    with learned_codec.open(path) as reader, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(repr, reader).result() == repr(reader)


@pytest.mark.parametrize("how", ["sent", "forked"])
@pytest.mark.parametrize(("shape", "dtype"), [((30, 50), np.uint16), ((40, 50), np.uint8)])
def test_another_file_in_its_place_is_noticed(tmp_path: Path, how: str, shape: tuple[int, int], dtype: Any) -> None:
    """A process that opens the path again would read other pixels, perhaps of another shape."""
    path = tmp_path / "a.lci"
    path.write_bytes(learned_codec.encode(np.zeros((40, 50), np.uint8), max_error=0))
    with learned_codec.open(path) as reader:
        sent = pickle.dumps(reader)
        with atomic_write(path, overwrite=True) as file:
            file.write(learned_codec.encode(np.ones(shape, dtype), max_error=0))
        np.testing.assert_array_equal(reader.read(), np.zeros((40, 50)))  # it still has the old one
        if how == "forked":
            reader._process = -1  # as in a fork
        with pytest.raises(FileError, match=r"a\.lci: another file has taken the place"):
            pickle.loads(sent) if how == "sent" else reader.read()  # noqa: S301 - of our own
    with pytest.raises(FileError, match="closed"):
        pickle.dumps(reader)


def test_a_file_that_is_written_to_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    """Noise takes its plain bits, so both files have tiles of the same sizes."""
    one, two = np.random.default_rng(0).integers(0, 256, (2, 64, 128)).astype(np.uint8)
    path = tmp_path / "a.lci"
    path.write_bytes(learned_codec.encode(one, max_error=0, tile_size=64))
    os.utime(path, (1, 1))
    with learned_codec.open(path) as reader:
        np.testing.assert_array_equal(reader.read(window=(0, 0, 64, 64)), one[:, :64])
        path.write_bytes(learned_codec.encode(two, max_error=0, tile_size=64))
        with pytest.raises(FileError, match=r"a\.lci: another file has taken the place"):
            reader.read(window=(0, 64, 64, 64))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), tiles=st.integers(1, 3), place=st.floats(0, 0.999))
def test_a_file_of_the_same_size_is_noticed(seed: int, tiles: int, place: float) -> None:
    """Noise takes its plain bits, so files of other noise have the same head and the same sizes of tiles."""
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64 * tiles)).astype(np.uint8)
    other = noise.copy()
    other.flat[int(place * noise.size)] ^= 255
    one, two = (learned_codec.encode(image, max_error=0, tile_size=64) for image in (noise, other))
    stream = io.BytesIO(one)
    assert len(one) == len(two)
    with learned_codec.open(stream) as reader:
        again, identity = reader.__reduce__()[0].func, reader.container.identity()
        stream.seek(0)
        stream.write(two)
        with pytest.raises(FileError, match="another file"):
            again(partial(learned_codec.open, stream), identity)


@pytest.mark.parametrize("plane", ["mask", "alpha"])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_plane_hides_what_is_lost(plane: str, factor: int) -> None:
    """Also where only the end of a tile is damaged, and the plane at its beginning is whole."""
    image, there = picture(3, "uint8")[:, :256, :256].transpose(1, 2, 0), np.full((256, 256), 255, np.uint8)
    if plane == "mask":
        data = learned_codec.encode(image, mask=there, tile_size=128, quality=90)
    else:
        data = learned_codec.encode(Image.fromarray(np.dstack([image, there])), tile_size=128, quality=90)
    broken = bytearray(data)
    broken[-20] ^= 1
    with learned_codec.open(bytes(broken), errors="fill") as reader:
        pixels, found = reader.read(scale=1 / factor, masked=True), reader.read_plane(scale=1 / factor)
        lost = np.ma.getmaskarray(pixels).any(2)
        np.testing.assert_array_equal(found == 0, lost)
        assert lost.mean() == 0.25 or factor > 1


# -- what is read ------------------------------------------------------------------------------------------------------


def tiles_needed(row: int, column: int, height: int, width: int, tile: int) -> set[int]:
    """By the definition: those that hold a block of the window, or one within the halo."""
    columns = -(-WIDTH // tile)
    found = set()
    for y in range(max(0, row // BLOCK - HALO), min(-(-HEIGHT // BLOCK), (row + height - 1) // BLOCK + HALO + 1)):
        for x in range(
            max(0, column // BLOCK - HALO), min(-(-WIDTH // BLOCK), (column + width - 1) // BLOCK + HALO + 1)
        ):
            found.add(y * BLOCK // tile * columns + x * BLOCK // tile)
    return found


@pytest.mark.parametrize("tile", [64, 128])
@pytest.mark.parametrize("window", [(0, 0, 1, 1), (128, 128, 64, 64), (269, 329, 1, 1), (150, 0, 30, 330)])
def test_only_the_head_and_the_needed_tiles_are_read(
    files: dict[int, bytes], tile: int, window: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learned_codec.bitstream.source.READ_AHEAD", 1024)
    monkeypatch.setattr("learned_codec.bitstream.container.GAP", 0)  # else these short tiles come in one piece
    stream = CountingFile(files[tile])
    container = bitstream.read_head(files[tile])
    reader = learned_codec.open(stream)
    head = stream.taken
    assert head <= max(1024, container.tiles[0].offset)
    assert len(stream.reads) <= 2
    stream.reads.clear()
    reader.read(window=window)
    # Each byte once, and nothing else; what the first 1024 bytes had brought along not even that.
    needed = sorted(tiles_needed(*window, tile))
    wanted = [at for i in needed for at in range(container.tiles[i].offset, container.tiles[i].end) if at >= 1024]
    assert sorted(at for offset, size in stream.reads for at in range(offset, offset + size)) == wanted
    # Tiles side by side in the file come in one piece.
    assert len(stream.reads) <= 1 + sum(b != a + 1 for a, b in itertools.pairwise(needed))


def test_a_plane_alone_takes_its_own_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learned_codec.bitstream.source.READ_AHEAD", 1024)
    planes = picture(1)
    data = learned_codec.encode(planes[0], mask=planes[0] > 100, tile_size=64)
    stream = CountingFile(data)
    reader = learned_codec.open(stream)
    stream.reads.clear()
    np.testing.assert_array_equal(reader.read_plane((70, 70, 20, 20)), np.where(planes[0, 70:90, 70:90] > 100, 255, 0))
    assert len(stream.reads) == 1


def test_anything_that_can_seek_and_read(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    bare = BareInput(files[128])
    with learned_codec.open(bare) as reader:  # type: ignore[arg-type]
        found = reader.read(window=(100, 200, 50, 60))
    assert np.abs(found.astype(int) - wholes[128][:, 100:150, 200:260]).max() <= 1
    assert not bare.closed  # whoever opened it closes it


def test_paths_are_opened_and_closed(files: dict[int, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.lci"
    path.write_bytes(files[128])
    for name in (path, str(path)):
        with learned_codec.open(name) as reader:
            file = reader._file
            assert reader.read(window=(0, 0, 2, 2)).shape == (2, 2, 2)
        assert file.closed
        reader.close()
    with pytest.raises(FileError, match="absent"):
        learned_codec.open(tmp_path / "absent.lci")
    with pytest.raises(FileError):
        learned_codec.open(tmp_path)
    path.write_bytes(b"nothing of ours")
    with pytest.raises(NotLCIError):  # and ResourceWarning, an error here, if it stayed open
        learned_codec.open(path)
    for wrong in (None, 7, [1]):
        with pytest.raises(InvalidInputError, match="bytes or a seekable file"):
            learned_codec.open(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'raise' or 'fill'"):
        learned_codec.open(files[128], errors="ignore")


# -- damage ------------------------------------------------------------------------------------------------------------


def flipped(data: bytes, tile: int, bit: int = 0) -> bytes:
    """One bit of a tile's payload changed."""
    chunk = bitstream.read_head(data).tiles[tile]
    broken = bytearray(data)
    broken[chunk.offset + chunk.size // 2] ^= 1 << bit
    return bytes(broken)


CASES = {
    "nodata": ("uint16", {"nodata": 0}),
    "float": ("float32", {}),
    "plain": ("uint16", {}),
    "mask": ("uint16", {"mask": np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 97 > 0}),
}


@pytest.mark.parametrize(
    ("case", "tile"), [("nodata", 64), ("nodata", 128), ("float", 128), ("plain", 128), ("mask", 128)]
)
def test_one_flipped_bit_costs_one_tile(case: str, tile: int) -> None:
    dtype, options = CASES[case]
    image = picture(1, dtype)[0]
    data = learned_codec.encode(image, tile_size=tile, quality=50, **options)
    whole = learned_codec.decode(data)
    columns = -(-WIDTH // tile)
    index = columns + 1
    broken = flipped(data, index)
    box = bitstream.read_head(data).header.tile_box(index)
    assert (box.row, box.col) == (tile, tile)

    with pytest.raises(
        CorruptDataError, match=f"tile {index} of {bitstream.read_head(data).header.tile_count}"
    ) as error:
        learned_codec.decode(broken)
    assert error.value.tiles == (index,)
    report = learned_codec.check(broken)
    assert (report.ok, report.damaged_tiles) == (False, (index,))
    assert learned_codec.check(io.BytesIO(broken)).damaged_tiles == (index,)

    found = learned_codec.decode(broken, errors="fill")
    inside = np.zeros(image.shape, bool)
    inside[box.row : box.row + box.height, box.col : box.col + box.width] = True
    lost = found[inside]
    assert np.isnan(lost).all() if dtype == "float32" else (lost == 0).all()
    around = np.zeros(image.shape, bool)
    around[box.row - 16 : box.row + box.height + 16, box.col - 16 : box.col + box.width + 16] = True
    error_far = np.abs(found[~around].astype(float) - whole[~around])
    assert error_far.mean() < 0.5
    assert np.percentile(error_far, 99.9) < 12  # of 255
    near = np.abs(found[around & ~inside].astype(float) - whole[around & ~inside])
    assert near.mean() < 30

    masked = np.ma.getmaskarray(learned_codec.decode(broken, errors="fill", masked=True))
    expected = inside | ~options["mask"] if case == "mask" else inside
    np.testing.assert_array_equal(masked, expected)
    for factor in (2, 16):
        reduced = learned_codec.decode(broken, errors="fill", masked=True, scale=1 / factor)
        np.testing.assert_array_equal(np.ma.getmaskarray(reduced), inside[::factor, ::factor])

    with learned_codec.open(broken, errors="fill") as reader:
        assert reader.damaged == ()
        assert reader.read(window=(0, 0, 4, 4)).shape == (4, 4)
        part = reader.read(window=(box.row - 10, box.col - 10, 30, 30))
        assert np.isnan(part[10:, 10:]).all() if dtype == "float32" else (part[10:, 10:] == 0).all()
        assert reader.damaged == (index,)
        again = reader.read(window=(box.row - 10, box.col - 10, 30, 30))  # as before, though it is known to be damaged
        np.testing.assert_array_equal(again, part)
        if case == "mask":
            plane = reader.read_plane()
            assert not plane[inside].any()
            np.testing.assert_array_equal(plane[~inside] > 0, options["mask"][~inside])
    with learned_codec.open(broken) as reader:
        last = (HEIGHT - 2, WIDTH - 2, 2, 2)
        if tile == 64:  # far from the damage
            assert reader.read(window=last).shape == (2, 2)
        with pytest.raises(CorruptDataError, match=f"tile {index} "):
            reader.read(window=(box.row, box.col, 1, 1))
        if case == "mask":
            with pytest.raises(CorruptDataError, match=f"tile {index} "):
                reader.read_plane((box.row, box.col, 1, 1))


@FEW
@given(index=st.integers(0, 29), bit=st.integers(0, 7), place=st.floats(0, 0.999))
def test_any_flipped_bit_is_noticed(files: dict[int, bytes], index: int, bit: int, place: float) -> None:
    chunk = bitstream.read_head(files[64]).tiles[index]
    broken = bytearray(files[64])
    broken[chunk.offset + int(place * chunk.size)] ^= 1 << bit
    assert learned_codec.check(bytes(broken)).damaged_tiles == (index,)


def test_a_truncated_file_still_has_its_first_tiles(files: dict[int, bytes], wholes: dict[int, np.ndarray]) -> None:
    data = files[64]
    container = bitstream.read_head(data)
    kept = 18  # three of five rows of tiles
    cut = data[: container.tiles[kept].offset + 5]
    with pytest.raises(TruncatedError):
        learned_codec.decode(cut)
    assert learned_codec.check(cut).damaged_tiles == tuple(range(kept, 30))
    found = learned_codec.decode(cut, errors="fill")
    assert not found[:, 192:].any()
    np.testing.assert_array_equal(found[:, : 192 - 96], wholes[64][:, : 192 - 96])
    assert np.abs(found[:, : 192 - 16].astype(float) - wholes[64][:, : 192 - 16]).mean() < 0.5
    with learned_codec.open(io.BytesIO(cut), errors="fill") as reader:
        assert not reader.read(window=(200, 0, 70, 330)).any()
        assert set(reader.damaged) >= set(range(kept, 30)) - set(range(6, 12))
    with pytest.raises(TruncatedError):
        learned_codec.decode(data[:40], errors="fill")


def test_the_only_tile_of_a_file() -> None:
    image = picture(1)[0, :50, :50]
    data = learned_codec.encode(image, nodata=0)
    assert not learned_codec.decode(flipped(data, 0), errors="fill").any()
    floats = learned_codec.encode(image.astype(np.float32))
    assert np.isnan(learned_codec.decode(flipped(floats, 0), errors="fill")).all()
    assert learned_codec.decode(flipped(floats, 0), errors="fill", masked=True).mask.all()


def test_as_a_dataset_of_rasterio(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 50, "height": 40, "count": 2, "dtype": "uint16", "nodata": 0}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 399960, 0, -10, 5800020)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as raster:
        raster.write(np.random.default_rng(0).integers(500, 900, (2, 40, 50)).astype(np.uint16))
    learned_codec.encode_file(tmp_path / "a.tif", tmp_path / "a.lci")
    with rasterio.open(tmp_path / "a.tif") as raster, learned_codec.open(tmp_path / "a.lci") as reader:
        for name in ("count", "crs", "transform", "bounds", "width", "height"):
            assert getattr(reader, name) == getattr(raster, name)
        assert reader.index(400001, 5799999) == raster.index(400001, 5799999)
        assert reader.profile.items() <= dict(raster.profile).items()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data(), bounded=st.booleans(), bands=st.integers(1, 3))
def test_pixels_of_damaged_tiles_are_masked_in_any_window(data: st.DataObject, bounded: bool, bands: int) -> None:
    image = np.ascontiguousarray(np.moveaxis(picture(bands, "uint8"), 0, 2))
    options: dict[str, Any] = {"max_error": 4} if bounded else {"quality": 20}
    coded = learned_codec.encode(image, tile_size=64, **options)
    index = data.draw(st.integers(0, learned_codec.inspect(coded).tiles - 1))
    box = bitstream.read_head(coded).header.tile_box(index)
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[box.row : box.row + box.height, box.col : box.col + box.width] = True
    row, column = data.draw(st.integers(0, HEIGHT - 9)), data.draw(st.integers(0, WIDTH - 9))
    height, width = data.draw(st.integers(8, HEIGHT - row)), data.draw(st.integers(8, WIDTH - column))
    with learned_codec.open(flipped(coded, index), errors="fill") as reader:
        found = reader.read([1], (row, column, height, width), masked=True, planar=True)[0]
        assert not np.ma.getmaskarray(learned_codec.decode(coded, masked=True)).any()
    np.testing.assert_array_equal(np.ma.getmaskarray(found), hidden[row : row + height, column : column + width])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("errors", ["raise", "fill"])
def test_a_file_that_is_cut_after_it_was_opened_is_no_damage(share: float, errors: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    stream = io.BytesIO(learned_codec.encode(noise, max_error=0, tile_size=64))
    with learned_codec.open(stream, errors=errors) as reader:
        stream.truncate(int(share * reader.container.size))
        with pytest.raises(FileError, match="cut short after it was opened"):
            reader.read(window=(200, 200, 50, 50))
        assert reader.damaged == ()
