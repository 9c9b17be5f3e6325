"""Pictures with a palette, and of 1 bit, come back as they were."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import learned_codec
from learned_codec.errors import InvalidInputError

RNG = np.random.default_rng(4)
INDICES = (np.add.outer(np.arange(50), np.arange(70)) // 9 % 7).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (7, 3)).astype(np.uint8)


def palette_picture(indices: np.ndarray = INDICES, colours: np.ndarray = COLOURS) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette(colours.tobytes(), "RGB")
    return picture


def there_and_back(source: Path, tmp_path: Path) -> Image.Image:
    learned_codec.encode_file(source, tmp_path / "x.lci", max_error=0)
    learned_codec.decode_file(tmp_path / "x.lci", tmp_path / "back.png")
    return Image.open(tmp_path / "back.png")


@pytest.mark.parametrize("transparent", [None, 3, bytes([0, 100, 255, 7])])
@pytest.mark.parametrize("extension", ["png", "gif"])
def test_a_palette_and_its_indices_are_exact(tmp_path: Path, extension: str, transparent: int | bytes | None) -> None:
    if extension == "gif" and isinstance(transparent, bytes):
        pytest.skip("a GIF has one transparent colour")
    source = tmp_path / f"x.{extension}"
    palette_picture().save(source, **({} if transparent is None else {"transparency": transparent}))
    with Image.open(source) as original, there_and_back(source, tmp_path) as back:
        assert back.mode == "P"
        np.testing.assert_array_equal(np.asarray(back), np.asarray(original))
        np.testing.assert_array_equal(np.asarray(back.convert("RGBA")), np.asarray(original.convert("RGBA")))
        assert back.getpalette()[:21] == original.getpalette()[:21]


@pytest.mark.parametrize("extension", ["png", "bmp"])
def test_one_bit_is_exact(tmp_path: Path, extension: str) -> None:
    source = tmp_path / f"x.{extension}"
    Image.fromarray(RNG.random((40, 33)) < 0.3).save(source)
    with Image.open(source) as original, there_and_back(source, tmp_path) as back:
        np.testing.assert_array_equal(np.asarray(back.convert("RGB")), np.asarray(original.convert("RGB")))


@pytest.mark.parametrize("compression", ["group4", "tiff_lzw"])
def test_one_bit_in_a_tiff_is_exact(tmp_path: Path, compression: str) -> None:
    source = tmp_path / "x.tif"
    bits = RNG.random((40, 33)) < 0.3
    Image.fromarray(bits).save(source, compression=compression)
    learned_codec.encode_file(source, tmp_path / "x.lci", max_error=0)
    np.testing.assert_array_equal(learned_codec.decode(tmp_path / "x.lci") != 0, bits)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_palette_goes_into_the_colour_table_of_a_geotiff(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    palette_picture().save(tmp_path / "x.png")
    learned_codec.encode_file(tmp_path / "x.png", tmp_path / "x.lci", max_error=0)
    learned_codec.decode_file(tmp_path / "x.lci", tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), INDICES)
        table = raster.colormap(1)
        assert [table[k][:3] for k in range(7)] == [tuple(colour) for colour in COLOURS.tolist()]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_colour_table_of_a_geotiff_becomes_a_palette(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "x.tif", "w", driver="GTiff", count=1, height=50, width=70, dtype="uint8") as raster:
        raster.write(INDICES, 1)
        raster.write_colormap(1, {k: (*colour, 255) for k, colour in enumerate(COLOURS.tolist())})
    with there_and_back(tmp_path / "x.tif", tmp_path) as back:
        assert back.mode == "P"
        np.testing.assert_array_equal(np.asarray(back), INDICES)
        np.testing.assert_array_equal(np.asarray(back.convert("RGB")), COLOURS[INDICES])


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_reduced_images_have_no_other_indices(tmp_path: Path, factor: int) -> None:
    """Each is the valid one nearest to the middle of its cell."""
    palette_picture(INDICES * 3, np.repeat(COLOURS, 3, 0)).save(tmp_path / "x.png")
    learned_codec.encode_file(tmp_path / "x.png", tmp_path / "x.lci", max_error=0, nodata=6)
    found = learned_codec.decode(tmp_path / "x.lci", scale=1 / factor)
    values = np.where(INDICES == 2, -1, INDICES.astype(int) * 3)
    for y, x in np.ndindex(found.shape):
        cell = values[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        rows, columns = np.mgrid[: cell.shape[0], : cell.shape[1]] - (factor - 1) / 2
        away = np.where(cell < 0, np.inf, np.abs(rows) + np.abs(columns))
        nearest = set(cell[away == away.min()].tolist()) if (cell >= 0).any() else {6}
        assert int(found[y, x]) in nearest


@pytest.mark.parametrize("options", [{}, {"quality": 50}, {"max_error": 1}])
def test_where_indices_would_change_they_are_refused(tmp_path: Path, options: dict[str, float]) -> None:
    palette_picture().save(tmp_path / "x.png")
    with pytest.raises(InvalidInputError, match="palette.*lossless"):
        learned_codec.encode_file(tmp_path / "x.png", tmp_path / "x.lci", **options)


def test_an_animation_is_still_refused(tmp_path: Path) -> None:
    frames = [palette_picture(), palette_picture(INDICES[::-1].copy())]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidInputError, match="2 pages"):
        learned_codec.encode_file(tmp_path / "x.gif", tmp_path / "x.lci", max_error=0)


def test_booleans_have_no_bound_but_zero() -> None:
    bits = RNG.random((30, 40)) < 0.5
    with pytest.raises(InvalidInputError, match="booleans"):
        learned_codec.encode(bits, max_error=1)
    assert (learned_codec.decode(learned_codec.encode(bits, max_error=0.5)) == bits).all()


def test_a_damaged_palette_is_an_error(tmp_path: Path) -> None:
    data = io.BytesIO()
    palette_picture().save(data, "PNG")
    raw = bytearray(data.getvalue())
    at = raw.index(b"PLTE")
    raw[at - 4 : at] = (9).to_bytes(4, "big")  # three colours only, and a checksum that is wrong
    (tmp_path / "x.png").write_bytes(raw)
    with pytest.raises(InvalidInputError):
        learned_codec.encode_file(tmp_path / "x.png", tmp_path / "x.lci", max_error=0)
