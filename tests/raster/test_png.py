"""Texts of a PNG and what its colours mean come along, or a warning says not."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from rasterio.errors import NotGeoreferencedWarning

from learned_codec.errors import CorruptDataError, InvalidInputError, MetadataLostWarning
from learned_codec.raster import metadata as meta
from learned_codec.raster import png
from learned_codec.raster.files import open_sink, open_source
from learned_codec.raster.sink_spec import SinkSpec

GAMMA, SRGB_GAMMA = struct.pack(">I", 100000), struct.pack(">I", 45455)
CICP = bytes([9, 16, 0, 1])  # BT.2020, PQ


def picture(chunks: list[tuple[bytes, bytes]], dtype: str = "uint8", *, late: bool = False) -> io.BytesIO:
    """A PNG of noise with some chunks before its pixels, or after."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 7), dtype=dtype)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    data = stream.getvalue()
    packed = b"".join(
        struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
        for kind, payload in chunks
    )
    at = len(data) - 12 if late else 33
    return io.BytesIO(data[:at] + packed + data[at:])


def save(source: io.BytesIO, path: Path) -> dict[str, Any]:
    """Through source and sink; returns the metadata."""
    source.seek(0)
    with open_source(source) as opened:
        whole = slice(0, opened.height), slice(0, opened.width)
        shape = {"height": opened.height, "width": opened.width, "bands": 1, "dtype": opened.dtype}
        with open_sink(path, path.suffix, SinkSpec(metadata=opened.metadata, **shape)) as sink:
            sink.write(*whole, opened.read(*whole), None)
        return opened.metadata


def texts_of(path: Path) -> dict[str, str]:
    with Image.open(path) as opened:
        return dict(opened.text)


KEYWORDS = st.sampled_from(["Title", "Author", "a b", "Übersicht", "x" * 79])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(KEYWORDS, TEXTS, max_size=4), st.sampled_from(["tEXt", "zTXt", "iTXt"]), st.booleans())
def test_texts_come_back(tmp_path_factory: Any, texts: dict[str, str], kind: str, late: bool) -> None:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        if kind == "iTXt" or not all(ord(c) < 256 for c in text):
            info.add_itxt(key.encode("ascii", "ignore").decode() or "k", text, zip=len(text) % 2 == 1)
        else:
            info.add_text(key, text, zip=kind == "zTXt")
    folder = tmp_path_factory.mktemp("png")
    path, again = folder / "a.png", folder / "b.png"
    Image.new("L", (7, 6)).save(path, pnginfo=info)
    if late:  # texts may stand behind the pixels, too
        chunks = [(k, p) for k, p, _ in info.chunks]
        path.write_bytes(picture(chunks, late=True).getvalue())
    save(io.BytesIO(path.read_bytes()), again)
    with Image.open(path) as opened:
        opened.load()
        expected = dict(opened.text)
    assert texts_of(again) == expected


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [(b"gAMA", GAMMA)],
        [(b"cICP", CICP)],
        [(b"sRGB", b"\0"), (b"gAMA", SRGB_GAMMA)],
        [(b"cHRM", bytes(32)), (b"cLLI", bytes(8)), (b"mDCV", bytes(24))],
    ],
)
def test_what_colours_mean_comes_back_or_is_told(tmp_path: Path, chunks: list[tuple[bytes, bytes]], dtype: str) -> None:
    source = picture(chunks, dtype)
    save(source, tmp_path / "a.png")
    again = (tmp_path / "a.png").read_bytes()
    for kind, payload in chunks:
        assert again.count(kind + payload) == 1
    assert again.index(b"IDAT") > max([again.index(kind) for kind, _ in chunks], default=0)
    for extension in ("tif", "jpg", "bmp") if dtype == "uint8" else ("tif",):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", MetadataLostWarning)
            save(source, tmp_path / f"a.{extension}")
        assert bool(told) == (bool(chunks) and chunks[0][0] != b"sRGB")
        assert all("colours" in str(warning.message) for warning in told)


def test_texts_in_other_formats(tmp_path: Path) -> None:
    with pytest.warns(MetadataLostWarning, match="texts"):
        save(picture([(b"tEXt", b"Title\0mine")]), tmp_path / "a.bmp")
    for dtype in ("uint8", "uint16"):
        metadata = save(picture([(b"tEXt", b"Title\0mine")], dtype), tmp_path / "a.tif")
        assert metadata["text"] == [["Title", "mine"]]
        assert "tags" not in metadata
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(tmp_path / "a.tif") as raster:
                assert raster.tags()["Title"] == "mine"


@pytest.mark.parametrize("comment", ["mine", "Höhe ↑"])
def test_a_comment_of_a_jpeg(tmp_path: Path, comment: str) -> None:
    stream = io.BytesIO()
    Image.new("L", (7, 6)).save(stream, "JPEG", comment=comment.encode())
    metadata = save(stream, tmp_path / "a.jpg")
    assert metadata["text"] == [["Comment", comment]]
    with Image.open(tmp_path / "a.jpg") as again:
        assert again.info["comment"].decode() == comment
    save(stream, tmp_path / "a.png")
    assert texts_of(tmp_path / "a.png") == {"Comment": comment}


def test_exif_as_imagemagick_wrote_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    raw = f"\nexif\n{len(data):8}\n{data.hex()}\n"
    metadata = save(picture([(b"tEXt", b"Raw profile type exif\0" + raw.encode())]), tmp_path / "a.png")
    assert metadata.keys() == {"exif"}
    with Image.open(tmp_path / "a.png") as again:
        assert again.size == (6, 7)  # turned
        assert again.getexif()[0x0112] == 1


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"Title", b"Title\0\0\1", b"Title\0\1\0en", b" a\0b", b"x" * 80 + b"\0b", b"Title\0a\0b"]
)
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"gAMA"])
def test_odd_chunks_are_no_fault_of_the_picture(kind: bytes, payload: bytes) -> None:
    found = png.beside(picture([(kind, payload), (b"tEXt", b"Title\0mine")]))
    assert ["Title", "mine"] in found["text"]
    png.with_chunks(picture([]).getvalue(), found)


def test_a_text_that_inflates_to_too_much_is_left_out() -> None:
    bomb = b"Title\0\0" + zlib.compress(bytes([65]) * 10**8)
    assert png.beside(picture([(b"zTXt", bomb)])) == {}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (b"tEXt", b"\0no keyword"),
        (b"tEXt", b"x" * 80 + b"\0b"),
        (b"tEXt", b"Title\0" + b"x" * 2**22),
        (b"zTXt", b"Title\0\0not compressed"),
        (b"iTXt", b"Title\0\0\0\0\0\xff\xfe"),
        (b"iTXt", b"Title"),
    ],
)
def test_a_text_that_is_left_out_is_named(kind: bytes, payload: bytes, dtype: str) -> None:
    """GDAL, which reads 16 bits, may have more to say."""
    source = picture([(kind, payload)], dtype)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with open_source(source):
            pass
    assert any(str(warning.message).endswith(f"not kept: the chunk {kind.decode()}") for warning in said)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_animation_is_refused(dtype: str) -> None:
    """Also one of 16 bits, of which only the first frame would be read."""
    frame = struct.pack(">5I2H2B", 0, 7, 6, 0, 0, 1, 10, 0, 0)
    source = picture([(b"acTL", struct.pack(">2I", 2, 0)), (b"fcTL", frame)], dtype)
    with pytest.raises(InvalidInputError, match="2 pages or frames"), open_source(source):
        pass


@pytest.mark.parametrize(
    "metadata",
    [{"text": 3}, {"text": [["a"]]}, {"text": [["", "b"]]}, {"text": [["a\nb", "c"]]}, {"text": [["a", 1]]},
     {"text": [["∆", "a"]]}, {"png": []}, {"png": {"gAMA": 3}}, {"png": {"gAMA": "?"}}],
)  # fmt: skip
@pytest.mark.parametrize("format", ["png", "jpg", "tif"])
def test_texts_that_make_no_sense(tmp_path: Path, metadata: dict[str, Any], format: str) -> None:
    shape = {"height": 2, "width": 2, "bands": 1, "dtype": "uint8"}
    with (
        pytest.raises(CorruptDataError, match="metadata"),
        open_sink(tmp_path / "a", format, SinkSpec(metadata=metadata, **shape)) as sink,
    ):
        sink.write(slice(0, 2), slice(0, 2), np.zeros((1, 2, 2), np.uint8), None)


def test_srgb_is_no_news() -> None:
    assert png.is_plain([])
    assert png.is_plain([("gAMA", SRGB_GAMMA)])
    assert not png.is_plain([("gAMA", GAMMA)])
    assert not png.is_plain([("cICP", CICP), ("sRGB", b"\0")])
    assert meta.size({"png": {}}) == 10
