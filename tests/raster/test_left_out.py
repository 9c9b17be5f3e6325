"""What a file has beside its pixels comes back, or a warning names it."""

import io
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from learned_codec.errors import InvalidInputError, MetadataLostWarning
from learned_codec.raster import directories, left_out, png
from learned_codec.raster.files import open_sink, open_source
from learned_codec.raster.pictures import source_of
from learned_codec.raster.sink_spec import SinkSpec
from tests.geotiffs import spec_of

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
KNOWN = {"IDAT", "IHDR", "IEND", "PLTE", "tRNS"}


def pixels(mode: str, dtype: str = "uint8") -> np.ndarray:
    shape = (6, 7) if mode == "L" else (6, 7, CHANNELS[mode])
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def png_with(chunks: list[tuple[bytes, bytes]], mode: str = "L", dtype: str = "uint8") -> io.BytesIO:
    stream = io.BytesIO()
    Image.fromarray(pixels(mode, dtype)).save(stream, "PNG")
    data = stream.getvalue()
    packed = b"".join(struct.pack(">I", len(p)) + k + p + struct.pack(">I", zlib.crc32(k + p)) for k, p in chunks)
    return io.BytesIO(data[:33] + packed + data[33:])


def save(source: io.BytesIO, path: Path) -> None:
    with open_source(source) as opened:
        whole = slice(0, opened.height), slice(0, opened.width)
        spec = SinkSpec(
            height=opened.height,
            width=opened.width,
            bands=opened.bands,
            dtype=opened.dtype,
            plane=opened.plane,
            metadata=opened.metadata,
        )
        plane = opened.read_plane(*whole) if opened.plane else None
        with open_sink(path, path.suffix, spec) as sink:
            sink.write(*whole, opened.read(*whole), plane)


@QUICK
@given(
    mode=st.sampled_from([*CHANNELS, "L16"]),
    bits=st.integers(1, 8),
    time=st.builds(
        lambda *t: struct.pack(">H5B", *t), *map(st.integers, (1970, 1, 1, 0, 0, 0), (2100, 12, 31, 23, 59, 59))
    ),
    level=st.integers(0, 255),
)
def test_bits_background_and_time_come_back(
    tmp_path_factory: pytest.TempPathFactory, mode: str, bits: int, time: bytes, level: int
) -> None:
    dtype = "uint16" if mode == "L16" else "uint8"
    mode = mode[:1] if mode == "L16" else mode
    background = struct.pack(">H", level) * (3 if CHANNELS[mode] > 2 else 1)
    chunks = [(b"sBIT", bytes([bits] * CHANNELS[mode])), (b"tIME", time), (b"bKGD", background)]
    path = tmp_path_factory.mktemp("png") / "a.png"
    save(png_with(chunks, mode, dtype), path)
    data = path.read_bytes()
    assert all(data.count(kind + payload) == 1 for kind, payload in chunks)
    with Image.open(path) as again:
        np.testing.assert_array_equal(np.asarray(again), pixels(mode, dtype))
    with pytest.warns(MetadataLostWarning, match="sBIT, bKGD, tIME"):
        save(png_with(chunks, mode, dtype), path.with_suffix(".tif"))


@QUICK
@given(kind=st.text("abcxyzABCXYZ", min_size=4, max_size=4), payload=st.binary(max_size=40))
def test_other_chunks_are_named(kind: str, payload: bytes) -> None:
    kind = kind[0].lower() + kind[1:]  # else decoders must refuse it
    with (
        pytest.warns(MetadataLostWarning, match=f"not kept: the chunk {kind}$"),
        open_source(png_with([(kind.encode(), payload)])),
    ):
        pass


@QUICK
@given(
    kind=st.sampled_from([b"sBIT", b"bKGD", b"tIME"]), payload=st.binary(max_size=12), mode=st.sampled_from([*CHANNELS])
)
def test_what_doesnt_fit_makes_no_bad_png(kind: bytes, payload: bytes, mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels(mode)).save(stream, "PNG")
    found = png.beside(png_with([(kind, payload)], mode))
    try:
        data = png.with_chunks(stream.getvalue(), found)
    except MetadataLostWarning:
        return
    with Image.open(io.BytesIO(data)) as again:
        again.load()


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x05\x1c\x02\x50\0\0\0"),
            "Photoshop's and IPTC's data",
        ),
        (segment(0xEB, b"JP\0\1content"), "content credentials"),
        (segment(0xE5, b"vendor"), "the segment APP5"),
        (segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)), "XMP beyond 64 KiB"),
        (segment(0xEC, b"Ducky\0\1"), None),
        (segment(0xFE, b"a comment"), None),
    ],
)
def test_segments_of_a_jpeg_are_named(extra: bytes, said: str | None) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels("RGB")).save(stream, "JPEG")
    data = stream.getvalue()
    source = io.BytesIO(data[:2] + extra + data[2:])
    if said is None:
        with open_source(source):
            return
    with pytest.warns(MetadataLostWarning, match=f"not kept: {said}"), open_source(source):
        pass
    source.seek(0)
    with pytest.warns(MetadataLostWarning, match=f"not kept: {said}"):
        source_of(Image.open(source))


@QUICK
@given(seed=st.integers(0, 99), quality=st.integers(1, 95), restarts=st.integers(0, 3), after=st.integers(0, 5000))
def test_a_video_after_a_jpeg_is_named(seed: int, quality: int, restarts: int, after: int) -> None:
    """As phones append one. It may hold anything, even ends of pictures."""
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
    picture.save(stream, "JPEG", quality=quality, restart_marker_rows=restarts, progressive=seed % 2 == 1)
    rest = (b"\0\0\0\x18ftypmp42\xff\xd9" + rng.bytes(5000))[:after]
    stream.seek(0, io.SEEK_END)
    stream.write(rest)
    stream.seek(7)
    assert left_out.bytes_after_jpeg(stream) == after
    assert stream.tell() == 7
    stream.seek(0)
    with (
        pytest.warns(MetadataLostWarning, match="bytes after the picture") if after > 64 else nullcontext(),
        open_source(stream),
    ):
        pass


@QUICK
@given(data=st.binary(max_size=60))
def test_any_bytes_may_follow_or_be_in_a_jpeg(data: bytes) -> None:
    assert left_out.bytes_after_jpeg(io.BytesIO(b"\xff\xd8" + data)) <= len(data)


def test_further_pictures_of_a_camera_are_named() -> None:
    stream = io.BytesIO()
    first, second = (Image.fromarray(pixels("RGB")) for _ in range(2))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    stream.seek(0)
    with pytest.warns(MetadataLostWarning, match="1 further picture "), open_source(stream):
        pass


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_pixels_that_are_not_square_are_named(format: str) -> None:
    if format == "PNG":
        stream = png_with([(b"pHYs", struct.pack(">IIB", 2, 1, 0))])
    else:
        stream = io.BytesIO()
        Image.fromarray(pixels("L")).save(stream, "JPEG")
        data = bytearray(stream.getvalue())
        data[13:18] = struct.pack(">BHH", 0, 2, 1)  # in JFIF's segment: no unit, 2 to 1
        stream = io.BytesIO(bytes(data))
    with pytest.warns(MetadataLostWarning, match="the shape of its pixels, 2 to 1"), open_source(stream):
        pass


@QUICK
@given(tag=st.sampled_from([285, 33723, 34377, 37724, 50839, 40000, 65000, 65535]), turned=st.booleans())
def test_tags_of_a_tiff_are_named(tag: int, turned: bool) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = "some text"
    tags.tagtype[tag] = 2
    if turned:
        tags[274] = 3
    stream = io.BytesIO()
    Image.fromarray(pixels("L")).save(stream, "TIFF", tiffinfo=tags)
    stream.seek(0)
    with pytest.warns(MetadataLostWarning, match="not kept: "), open_source(stream):
        pass


def long(value: int) -> directories.Field:
    return directories.Field(4, struct.pack("<I", value))


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    Image.fromarray(pixels("L")).save(tmp_path / "a.tif")
    return tmp_path / "a.tif"


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_volumes_are_refused(tiff: Path, depth: int) -> None:
    directories.extend(tiff, {32997: long(depth)})
    told = pytest.raises(InvalidInputError, match=f"a volume of {depth} slices") if depth > 1 else nullcontext()
    with told, open_source(tiff):
        pass


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("inside", [False, True])
def test_a_preview_of_a_raw_file_is_refused(tiff: Path, kind: int, inside: bool) -> None:
    with tiff.open("rb") as stream:
        fields, _ = directories.read(stream, *directories.start(stream))
    other: directories.Directory = {330: {**fields, 254: long(1 - kind)}}
    directories.extend(tiff, {254: long(kind), **(other if inside else {})})
    refused = kind == 1 and inside
    told = pytest.raises(InvalidInputError, match="a small one of another inside") if refused else nullcontext()
    with told, open_source(tiff):
        pass


@pytest.mark.parametrize("kind", [*left_out._COLOURS, 1])
def test_what_a_tiff_says_of_its_values_is_named(tiff: Path, kind: int) -> None:
    directories.extend(tiff, {262: directories.Field(3, struct.pack("<H", kind))})
    told = pytest.warns(MetadataLostWarning, match="not kept: that its values are of") if kind > 1 else nullcontext()
    with told, open_source(tiff):
        pass


@pytest.mark.parametrize("format", ["ICO", "ICNS"])
def test_smaller_pictures_of_an_icon_are_named(format: str) -> None:
    stream = io.BytesIO()
    sizes = {"sizes": [(16, 16), (64, 64)]} if format == "ICO" else {}
    Image.new("RGB", (64, 64), "red").save(stream, format, **sizes)
    stream.seek(0)
    with pytest.warns(MetadataLostWarning, match="not kept: . smaller picture"), open_source(stream):
        pass


def test_an_icon_of_16_bits_is_refused() -> None:
    """Pillow says only after reading that it has them: once, such files could be encoded but not decoded."""
    stream = io.BytesIO()
    Image.fromarray(np.full((64, 64), 999, np.uint16)).save(stream, "ICNS")
    stream.seek(0)
    with pytest.raises(InvalidInputError, match="16 bits a sample"), open_source(stream):
        pass


@pytest.mark.parametrize("nodata", ["3", "3.5", "-9999", "1e30", "nan"])
def test_a_nodata_value_that_no_sample_has_is_named(tiff: Path, nodata: str) -> None:
    directories.extend(tiff, {42113: directories.Field(2, nodata.encode() + b"\0")})
    told = pytest.warns(MetadataLostWarning, match="the nodata value 3.5, which") if "." in nodata else nullcontext()
    with told, open_source(tiff) as source:
        assert source.nodata == (3 if nodata == "3" else None)


def test_a_palette_of_1_bit_is_whole_in_a_png(tmp_path: Path) -> None:
    Image.fromarray(pixels("L") > 99).save(tmp_path / "a.tif")
    with open_source(tmp_path / "a.tif", force=True) as source:
        spec = spec_of(source)
        with open_sink(tmp_path / "a.png", "png", spec) as sink:
            rows, columns = slice(0, spec.height), slice(0, spec.width)
            sink.write(rows, columns, source.read(rows, columns), None)
    with Image.open(tmp_path / "a.png") as again:
        np.testing.assert_array_equal(np.asarray(again.convert("1")), pixels("L") > 99)


def test_plain_files_have_nothing_to_say() -> None:
    for format in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"):
        stream = io.BytesIO()
        options = {} if format in ("BMP", "GIF") else {"dpi": (72, 72), "icc_profile": b"x" * 200}
        Image.fromarray(pixels("L" if format == "GIF" else "RGB")).save(stream, format, **options)
        stream.seek(0)
        with open_source(stream, force=format == "GIF"):
            pass
