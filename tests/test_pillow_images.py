"""Pillow images handed to `encode`: what they and their files hold comes back, or a warning names it."""

import base64
import io
import struct
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import learned_codec
from learned_codec.errors import InputWarning, InvalidInputError, MetadataLostWarning

PIXELS = np.stack([np.add.outer(np.arange(30) * 2, np.arange(20) * 3) + 10 * band for band in range(3)], 2).astype("u1")


def saved(picture: Image.Image, format: str, **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    stream.seek(0)
    return stream


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def deep_png(colours: int, *chunks: bytes) -> io.BytesIO:
    """A PNG of 16 bits and 8 x 8 pixels, of PNG's colour type `colours`."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    rows = np.random.default_rng(0).integers(0, 2**16, (8, 8 * samples)).astype(">u2")
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, colours, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def opacity(data: bytes) -> np.ndarray:
    """That of each colour of a file's palette."""
    table = base64.b64decode(learned_codec.inspect(data).metadata["colormap"])
    return np.frombuffer(table, np.uint8).reshape(-1, 4)[:, 3]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(format=st.sampled_from(["GIF", "PNG", "TIFF", "WEBP"]), count=st.integers(2, 4), data=st.data())
def test_of_several_frames_the_current_one_is_coded_and_a_warning_tells(
    format: str, count: int, data: st.DataObject
) -> None:
    frames = [Image.fromarray(np.roll(PIXELS[..., 0], 5 * number, 1)) for number in range(count)]
    stream = saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(stream) as picture:
        picture.seek(data.draw(st.integers(0, count - 1)))
        if picture.mode == "P":  # of GIF's later frames, only the first one isn't RGB
            picture.load()
        pixels = np.asarray(picture)
        with pytest.warns(MetadataLostWarning, match=f"{count - 1} of {count} frames") as caught:
            coded = learned_codec.encode(picture, max_error=0)
        assert len(caught) == 1
        np.testing.assert_array_equal(learned_codec.decode(coded), pixels)


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_closed_files_may_have_had_more_frames(format: str) -> None:
    grey = Image.fromarray(PIXELS[..., 0])
    with Image.open(saved(grey, format, save_all=True, append_images=[Image.new("L", (20, 30), 9)])) as picture:
        picture.load()
    with pytest.warns(MetadataLostWarning, match="frames"):
        learned_codec.encode(picture, max_error=0)


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP", "JPEG", "BMP"])
def test_one_frame_needs_no_warning(format: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(saved(Image.fromarray(PIXELS[..., 0]), format).getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("error", learned_codec.LearnedCodecWarning)
        with Image.open(tmp_path / "a") as picture:
            learned_codec.encode(picture, max_error=0)
            learned_codec.encode(picture, max_error=0)  # its file may be closed now


@pytest.mark.parametrize("colours", [2, 4, 6])
def test_samples_of_16_bits_that_pillow_cuts(colours: int) -> None:
    with Image.open(deep_png(colours)) as picture, pytest.warns(MetadataLostWarning, match="8 of 16 bits a sample"):
        learned_codec.encode(picture)


def test_a_transparent_value_of_16_bits_is_nodata() -> None:
    with Image.open(deep_png(0)) as picture:
        value = int(np.asarray(picture)[3, 4])
    stream = deep_png(0, chunk(b"tRNS", struct.pack(">H", value)))
    with Image.open(stream) as picture:
        decoded = learned_codec.decode(learned_codec.encode(picture, max_error=0), masked=True)
        np.testing.assert_array_equal(np.ma.getmaskarray(decoded), np.asarray(picture) == value)
        assert learned_codec.inspect(learned_codec.encode(picture, nodata=7)).nodata == 7


def grey_png(depth: int, transparent: int) -> io.BytesIO:
    """All levels of a depth, of which one is transparent."""
    levels = np.arange(2**depth).repeat(2).reshape(2, -1)
    bits = (levels[..., None] >> np.arange(depth)[::-1]) & 1
    rows = b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", levels.shape[1], 2, depth, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", transparent)), chunk(b"IDAT", zlib.compress(rows))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(depth=st.sampled_from([2, 4, 8]), share=st.floats(0, 1), exact=st.booleans(), from_file=st.booleans())
def test_a_transparent_level_is_nodata(depth: int, share: float, exact: bool, from_file: bool) -> None:
    level = round(share * (2**depth - 1))
    how = {"max_error": 0} if exact else {"quality": 50}
    stream, out = grey_png(depth, level), io.BytesIO()
    with Image.open(stream) as picture:
        if from_file:
            learned_codec.encode_file(io.BytesIO(stream.getvalue()), out, **how)
        else:
            out.write(learned_codec.encode(picture, **how))
        pixels = np.asarray(picture)
    decoded = learned_codec.decode(out.getvalue(), masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), pixels == level * 255 // (2**depth - 1))
    if exact:
        np.testing.assert_array_equal(decoded.data, pixels)
    learned_codec.decode_file(out.getvalue(), again := io.BytesIO(), format="png")  # without a warning
    with Image.open(again) as found:
        np.testing.assert_array_equal(np.asarray(found.convert("LA"))[..., 1] == 0, np.ma.getmaskarray(decoded))


def test_a_transparent_level_of_a_closed_file_may_be_unclear() -> None:
    with Image.open(grey_png(4, 3)) as picture:
        picture.load()
        with pytest.raises(InvalidInputError, match="2, 4 or 8 bits.*closed"):
            learned_codec.encode(picture)
    with Image.open(grey_png(8, 3)) as picture:
        picture.load()
        assert learned_codec.inspect(learned_codec.encode(picture)).nodata == 3


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), exact=st.booleans(), from_file=st.booleans(), turn=st.integers(1, 8))
def test_a_transparent_colour_becomes_opacity(seed: int, exact: bool, from_file: bool, turn: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 3, (30, 20, 3), np.uint8) * 60
    exif = Image.Exif()
    exif[0x0112] = turn
    colour = tuple(int(v) for v in rng.integers(0, 3, 3) * 60)
    stream = saved(Image.fromarray(pixels), "PNG", transparency=colour, exif=exif)
    how = {"max_error": 0} if exact else {"quality": 50}
    clear = (pixels == colour).all(2)
    upright = clear.T if turn >= 5 else clear
    upright = upright[:: -1 if turn in (3, 4, 7, 8) else 1, :: -1 if turn in (2, 3, 6, 7) else 1]
    hidden = pytest.warns(InputWarning, match="opacity 0") if exact and any(colour) and clear.any() else nullcontext()
    out = io.BytesIO()
    with Image.open(stream) as picture, hidden:
        if from_file:
            learned_codec.encode_file(io.BytesIO(stream.getvalue()), out, **how)
        else:
            out.write(learned_codec.encode(picture, **how))
    learned_codec.decode_file(out.getvalue(), again := io.BytesIO(), format="png")
    with Image.open(again) as found:
        assert found.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(found)[..., 3], np.where(upright, 0, 255))


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("RGB", 5), ("RGB", (1, 2)), ("RGB", (300, 0, 0)), ("L", (1, 2, 3)), ("RGBA", 4), ("LA", b"12")],
)
def test_transparent_colours_that_mean_nothing(mode: str, colour: object) -> None:
    picture = Image.new(mode, (30, 20))
    picture.info["transparency"] = colour
    with pytest.raises(InvalidInputError, match="transparent colour"):
        learned_codec.encode(picture)


@settings(max_examples=24, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from([("uint16", "PNG"), ("uint16", "TIFF"), ("float32", "TIFF"), ("uint8", "TIFF")]),
    turn=st.integers(1, 8),
    loaded=st.booleans(),
)
def test_images_of_any_depth_are_turned_and_keep_what_describes_them(
    kind: tuple[str, str], turn: int, loaded: bool
) -> None:
    dtype, format = kind
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = turn, "a field"
    pixels = PIXELS[..., 0].astype(dtype)
    stream = saved(Image.fromarray(pixels), format, exif=exif, icc_profile=b"profile")
    with Image.open(stream) as picture:
        if loaded and format != "TIFF":  # whose EXIF Pillow doesn't remember when it has closed the file
            picture.load()
        data = learned_codec.encode(picture, max_error=0)
    across = pixels.T if turn >= 5 else pixels
    upright = across[:: -1 if turn in (3, 4, 7, 8) else 1, :: -1 if turn in (2, 3, 6, 7) else 1]
    np.testing.assert_array_equal(learned_codec.decode(data), upright)
    found = learned_codec.inspect(data).metadata
    assert base64.b64decode(found["icc"]) == b"profile"
    again = Image.Exif()
    again.load(base64.b64decode(found["exif"]))
    assert again.get(0x0112, 1) == 1
    assert again[0x010E] == "a field"


def test_exif_of_a_tiff_that_is_closed_is_named() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a field"
    with Image.open(saved(Image.fromarray(PIXELS), "TIFF", exif=exif)) as picture:
        picture.load()
    with pytest.warns(MetadataLostWarning, match="not kept: EXIF"):
        learned_codec.encode(picture)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_georeference_that_pillow_does_not_read_is_named(dtype: str) -> None:
    with rasterio.MemoryFile() as memory:
        place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "nodata": 0}
        with memory.open(driver="GTiff", width=20, height=30, count=1, dtype=dtype, **place) as raster:
            raster.write(PIXELS[..., 0].astype(dtype), 1)
        stream = io.BytesIO(memory.read())
    with Image.open(stream) as picture, pytest.warns(MetadataLostWarning, match="georeference.*encode_file keeps"):
        learned_codec.encode(picture)


def test_a_png_that_is_closed_keeps_texts_and_the_meaning_of_its_colours(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "ich")
    content = saved(Image.fromarray(PIXELS), "PNG", pnginfo=texts).getvalue()
    primaries = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    colours = [chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sRGB", b"\1")]
    colours.append(chunk(b"cHRM", struct.pack(">8I", *primaries)))
    (tmp_path / "a.png").write_bytes(content[:33] + b"".join(colours) + content[33:])
    found = []
    for loaded in (False, True):
        with Image.open(tmp_path / "a.png") as picture:
            if loaded:
                picture.load()
            found.append(learned_codec.inspect(learned_codec.encode(picture)).metadata)
    assert found[0] == found[1]
    assert found[0].keys() == {"png", "text"}


@pytest.mark.parametrize("transparent", [0, 255])
def test_one_bit_may_be_transparent(transparent: int, tmp_path: Path) -> None:
    stream = saved(Image.fromarray(PIXELS[..., 0] > 40), "PNG", transparency=transparent)
    with Image.open(stream) as picture:
        data = learned_codec.encode(picture, max_error=0)
    assert opacity(data).tolist() == ([0, 255] if transparent == 0 else [255, 0])
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    assert learned_codec.encode_file(tmp_path / "a.png", tmp_path / "a.lci", max_error=0, force=True)
    np.testing.assert_array_equal(opacity((tmp_path / "a.lci").read_bytes()), opacity(data))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(colours=st.integers(2, 40), seed=st.integers(0, 9))
def test_palettes_keep_the_opacity_of_their_colours(colours: int, seed: int) -> None:
    alpha = np.random.default_rng(seed).integers(0, 256, PIXELS.shape[:2], np.uint8)
    picture = Image.fromarray(np.dstack([PIXELS, alpha])).quantize(colours, method=Image.Quantize.FASTOCTREE)
    data = learned_codec.encode(picture, max_error=0)
    shown = opacity(data)[learned_codec.decode(data)]
    np.testing.assert_array_equal(shown, np.asarray(picture.convert("RGBA"))[..., 3])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(mode=st.sampled_from(["LA", "RGBA"]), hidden=st.integers(0, 3), coloured=st.booleans(), bound=st.integers(0, 2))
def test_colours_of_transparent_pixels_are_not_kept_within_bounds_and_a_warning_tells(
    mode: str, hidden: int, coloured: bool, bound: int
) -> None:
    colours = np.maximum(PIXELS[..., : len(mode) - 1], 5)
    opacity = np.full(PIXELS.shape[:2], 200, np.uint8)
    opacity[20, :hidden] = 0
    if not coloured:
        colours[20, :hidden] = 0
    picture = Image.fromarray(np.dstack([colours, opacity]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = learned_codec.encode(picture, max_error=bound)
    assert [str(warning.message)[:19] for warning in caught] == ["pixels of opacity 0"] * (coloured and hidden > 0)
    assert all(warning.filename == __file__ for warning in caught)
    decoded = learned_codec.decode(data).reshape(colours.shape).astype(int)
    assert np.abs(decoded - colours)[opacity > 0].max() <= bound
    assert not decoded[opacity == 0].any()
