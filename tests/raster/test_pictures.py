"""Reading and writing pictures: nothing is converted silently, and no half-written file is left."""

import base64
import io
import json
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from rasterio.errors import NotGeoreferencedWarning

import learned_codec
from learned_codec.errors import (
    CorruptDataError,
    FileError,
    InvalidInputError,
    LearnedCodecError,
    LimitError,
    MetadataLostWarning,
    MissingDependencyError,
)
from learned_codec.raster.exif import upright_exif
from learned_codec.raster.files import open_sink, open_source
from learned_codec.raster.pictures import output_format, read_image, write_image
from learned_codec.raster.sink_spec import SinkSpec
from learned_codec.values.sources import PixelSource, PlaneKind


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def grey(rgb: np.ndarray) -> np.ndarray:
    return rgb[:, :, 0].copy()


def stored(picture: Image.Image, format: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    picture.save(stream, format=format, **options)
    stream.seek(0)
    return stream


# --- round trips ---


@pytest.mark.parametrize(
    ("extension", "bands"),
    [
        ("png", 1),
        ("png", 3),
        ("tif", 1),
        ("tif", 3),
        ("tiff", 3),
        ("webp", 3),
        ("bmp", 1),
        ("bmp", 3),
        ("pgm", 1),
        ("ppm", 3),
    ],
)
def test_lossless_round_trip(tmp_path: Path, rgb: np.ndarray, grey: np.ndarray, extension: str, bands: int) -> None:
    image = grey if bands == 1 else rgb
    path = tmp_path / f"picture.{extension}"
    with path.open("wb") as stream:
        write_image(image, stream, output_format(path))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        again = read_image(source)
        assert again.dtype == np.uint8
        np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_are_read(format: str) -> None:
    image = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    again = read_image(stored(Image.fromarray(image), format))
    assert again.shape == image.shape
    assert np.abs(again.astype(int) - image).max() < 8


def test_jpeg_is_written_at_its_best() -> None:
    image = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    stream = io.BytesIO()
    write_image(image, stream, "jpg")
    assert np.abs(read_image(io.BytesIO(stream.getvalue())).astype(int) - image).max() <= 2


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    with path.open("wb") as stream:
        write_image(np.array([[7]], np.uint8), stream, "png")
    assert read_image(path).tolist() == [[7]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(rgb: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    again = read_image(stored(Image.fromarray(rgb), "PNG", exif=exif.tobytes()))
    upright = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, -1),
        7: np.rot90(rgb, 2).transpose(1, 0, 2),
        8: np.rot90(rgb, 1),
    }[orientation]
    np.testing.assert_array_equal(again, upright)


def test_primary_picture_of_a_multi_picture_jpeg() -> None:
    pictures = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (60, 200)]
    stream = stored(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    with pytest.warns(MetadataLostWarning, match="1 further picture"):
        assert abs(int(read_image(stream).mean()) - 60) < 3


@pytest.mark.parametrize("format", ["PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP"])
def test_any_size_whatever_the_limit_of_pillow(rgb: np.ndarray, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(rgb.repeat(9, 0))
    options = {"save_all": True, "append_images": [picture]} if format == "MPO" else {}
    stream = stored(picture, format, **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr("learned_codec.raster.pictures._STRIP", 64)
    with pytest.warns(MetadataLostWarning, match="1 further") if format == "MPO" else nullcontext():
        assert read_image(stream).shape == (45, 7, 3)


def test_a_webp_that_pillow_finds_too_large_keeps_all_beside_it(
    rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[271] = "Maker"
    stream = stored(Image.fromarray(rgb.repeat(9, 0)), "WEBP", exif=exif, icc_profile=b"p" * 131, xmp=b"<x/>")
    (tmp_path / "a.webp").write_bytes(stream.getvalue())
    wanted = {}
    for limit in (None, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for source in (tmp_path / "a.webp", io.BytesIO(stream.getvalue())):
            learned_codec.encode_file(source, tmp_path / "a.lci", overwrite=True)
            found = learned_codec.inspect(tmp_path / "a.lci").metadata
            wanted = wanted or {key: found[key] for key in ("exif", "icc", "xmp")}
            assert {key: found.get(key) for key in wanted} == wanted


def test_more_pixels_than_a_decoder_accepts(rgb: np.ndarray) -> None:
    png = bytearray(stored(Image.fromarray(rgb), "PNG").getvalue())
    png[16:24] = struct.pack(">II", 2**16, 2**15)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(LimitError, match="2,147,483,648 is over the limit of 1,073,741,824"):
        read_image(io.BytesIO(png))


def test_formats_that_pillow_has_as_plugins(rgb: np.ndarray) -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(rgb.repeat(8, 0).repeat(8, 1))).save(stream, quality=100)
    stream.seek(0)
    assert read_image(stream).shape == (40, 56, 3)
    stream = io.BytesIO()
    heif.encode("RGB;16", (64, 64), np.zeros((64, 64, 3), np.uint16).tobytes(), stream)
    stream.seek(0)
    with pytest.raises(InvalidInputError, match="a picture of (10|12|16) bits"):
        read_image(stream)


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_xl(rgb: np.ndarray, orientation: int) -> None:
    """Its own orientation counts, not that of its EXIF."""
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = stored(Image.fromarray(rgb), "JXL", lossless=True, exif=exif.tobytes())
    np.testing.assert_array_equal(read_image(stream), rgb)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif: pip install 'learned-codec.heif.'"),
        (b"\xff\x0a\0\0", "pillow-jxl-plugin: pip install 'learned-codec.jxl.'"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0", "JPEG XL"),
    ],
)
def test_plugins_that_are_missing_are_named(start: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pillow_heif", "pillow_jxl", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"^input: .*{said}"), open_source(io.BytesIO(start)):
        pass


# --- what is refused ---


def refused() -> Iterator[tuple[str, io.BytesIO, str]]:
    rgb = Image.fromarray(np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3))
    grey16 = Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000)
    yield "palette", stored(rgb.quantize(8), "PNG"), "palette"
    yield "gif", stored(rgb.quantize(8), "GIF"), "palette"
    yield "rgba png", stored(rgb.convert("RGBA"), "PNG"), "alpha channel"
    yield "rgba tiff", stored(rgb.convert("RGBA"), "TIFF"), "alpha channel"
    yield "grey with alpha", stored(rgb.convert("LA"), "PNG"), "alpha channel"
    yield "transparent colour", stored(rgb, "PNG", transparency=(1, 2, 3)), "alpha channel"
    yield "bilevel", stored(rgb.convert("1"), "PNG"), "bilevel"
    yield "cmyk jpeg", stored(rgb.convert("CMYK"), "JPEG"), "CMYK"
    yield "cmyk tiff", stored(rgb.convert("CMYK"), "TIFF"), "CMYK"
    yield "lab tiff", stored(rgb.convert("LAB"), "TIFF"), "CIELAB"
    yield "float tiff", stored(rgb.convert("F"), "TIFF"), "bits a sample|floating"
    yield "16-bit grey png", stored(grey16, "PNG"), "16 bits"
    yield "16-bit grey tiff", stored(grey16, "TIFF"), "16 bits"
    yield "16-bit rgb png", io.BytesIO(rgb16_png()), "16 bits"
    yield "16-bit ppm", io.BytesIO(b"P6 1 1 65535 \0\1\0\2\0\3"), "16 bits"
    yield "16-bit rgb tiff", io.BytesIO(tiff(np.zeros((3, 6, 8), np.uint16))), "bits a sample|uint16"
    yield "two pages", stored(rgb, "TIFF", save_all=True, append_images=[rgb]), "2 pages"
    other = Image.fromarray(255 - np.asarray(rgb))
    yield "animation", stored(rgb, "WEBP", save_all=True, append_images=[other]), "2 pages or frames"
    yield "five bands", io.BytesIO(tiff(np.zeros((5, 6, 8), np.uint8))), "5 bands"
    placed = {"crs": "EPSG:32632", "transform": Affine(10, 0, 4e5, 0, -10, 5e6)}
    yield (
        "0 is white",
        io.BytesIO(tiff(np.zeros((1, 6, 8), np.uint8), photometric="MINISWHITE", **placed)),
        "0 is white",
    )
    yield "raster with alpha", io.BytesIO(tiff(np.zeros((4, 6, 8), np.uint8), alpha="YES", **placed)), "alpha"
    yield "nodata", io.BytesIO(tiff(np.zeros((1, 6, 8), np.uint8), nodata=0)), "nodata value"


def rgb16_png() -> bytes:
    """A 1 × 1 PNG of 16 bits a sample, which Pillow reads (as 8 bits) but can't write."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\x12\x34" * 3)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(bands: np.ndarray, **profile: object) -> bytes:
    """A (Geo)TIFF of an array (bands, height, width)."""
    count, height, width = bands.shape
    with warnings.catch_warnings(), rasterio.MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype.name, **profile
        ) as raster:
            raster.write(bands)
        return bytes(memory.read())


@pytest.mark.parametrize(("stream", "what"), [pytest.param(s, what, id=name) for name, s, what in refused()])
def test_what_no_plain_array_can_be_is_refused(stream: io.BytesIO, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what) as caught:
        read_image(stream)
    assert "are accepted" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"II*\0", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not a|damaged"):
        read_image(io.BytesIO(data))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_truncated_picture(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = stored(Image.fromarray(noise), format).getvalue()
    with pytest.raises(InvalidInputError, match="damaged|not a"):
        read_image(io.BytesIO(data[: len(data) // 2]))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.png") as caught:
        read_image(tmp_path / "absent.png")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, LearnedCodecError)


# --- rasters ---


def test_plain_and_georeferenced_tiff(rgb: np.ndarray) -> None:
    bands = np.moveaxis(rgb, 2, 0)
    np.testing.assert_array_equal(read_image(io.BytesIO(tiff(bands, photometric="RGB"))), rgb)
    placed = tiff(bands, photometric="RGB", crs="EPSG:32632", transform=Affine(10, 0, 4e5, 0, -10, 5e6))
    with pytest.warns(MetadataLostWarning, match="georeference"):
        np.testing.assert_array_equal(read_image(io.BytesIO(placed)), rgb)


def test_overviews_are_not_pages(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path.write_bytes(tiff(image[None]))
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4])
    np.testing.assert_array_equal(read_image(path), image)


def test_foreign_colour_profile_is_told(rgb: np.ndarray) -> None:
    with pytest.warns(MetadataLostWarning, match="colour profile"):
        read_image(stored(Image.fromarray(rgb), "PNG", icc_profile=b"Display P3, or so"))
    read_image(
        stored(Image.fromarray(rgb), "PNG", icc_profile=b"... sRGB IEC61966-2.1")
    )  # no warning: they are errors here


# --- writing ---


def test_output_format() -> None:
    assert output_format("a/b.PNG") == "png"
    assert output_format("b.png", "tif") == "tif"
    with pytest.raises(InvalidInputError, match=r"'xyz'.*png"):
        output_format("b.xyz")
    with pytest.raises(InvalidInputError, match="no extension"):
        output_format("b")


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_no_picture_file_holds(image: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="uint8 of shape"):
        write_image(image, io.BytesIO(), "png")


def test_formats_have_limits_of_their_own() -> None:
    with pytest.raises(InvalidInputError, match="single-band"):  # it would come back with three bands
        write_image(np.zeros((4, 4), np.uint8), io.BytesIO(), "webp")
    with pytest.raises(InvalidInputError, match="webp"):
        write_image(np.zeros((1, 17000, 3), np.uint8), io.BytesIO(), "webp")


# --- as sources and sinks ---


def all_of(source: io.BytesIO | Path, **options: bool) -> tuple[PixelSource, np.ndarray, np.ndarray | None]:
    """A source, its bands and its plane."""
    with open_source(source, **options) as found:
        everything = slice(0, found.height), slice(0, found.width)
        return found, found.read(*everything), None if found.plane is None else found.read_plane(*everything)


def save(
    path: Path, bands: np.ndarray, plane: np.ndarray | None = None, *, kind: PlaneKind | None = None, **options: object
) -> None:
    height, width = bands.shape[1:]
    with open_sink(
        path,
        output_format(path),
        SinkSpec(
            height=height,
            width=width,
            bands=len(bands),
            dtype=bands.dtype,
            plane=kind or (None if plane is None else "alpha"),
            **options,
        ),
    ) as sink:
        for top in range(0, height, 2):
            rows = slice(top, min(top + 2, height))
            sink.write(rows, slice(0, width), bands[:, rows], None if plane is None else plane[rows])


@pytest.mark.parametrize(
    ("format", "mode"), [(f, m) for f in ("PNG", "TIFF", "WEBP") for m in ("LA", "RGBA") if (f, m) != ("WEBP", "LA")]
)
def test_alpha(tmp_path: Path, format: str, mode: str) -> None:
    channels = np.random.default_rng(0).integers(0, 256, (5, 7, len(mode)), dtype=np.uint8)
    channels[0, :, -1] = 0  # whose colours have to survive
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    source, bands, alpha = all_of(stored(Image.fromarray(channels), format, **options))
    assert (source.plane, source.bands) == ("alpha", len(mode) - 1)
    np.testing.assert_array_equal(np.concatenate([bands, alpha[None]]), np.moveaxis(channels, 2, 0))
    path = tmp_path / f"again.{format.lower()}"
    save(path, bands, alpha, metadata=source.metadata)
    _, again, alpha_again = all_of(path)
    np.testing.assert_array_equal(again, bands)
    np.testing.assert_array_equal(alpha_again, alpha)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), channels)


def test_mask_becomes_alpha(rgb: np.ndarray, tmp_path: Path) -> None:
    mask = np.where(rgb[:, :, 0] > 100, np.uint8(255), np.uint8(0))
    save(tmp_path / "a.png", np.moveaxis(rgb, 2, 0), mask, kind="mask")
    source, _, alpha = all_of(tmp_path / "a.png")
    assert source.plane == "alpha"
    np.testing.assert_array_equal(alpha, mask)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'


def photograph(format: str, orientation: int) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    exif.get_ifd(0x8769)[0x829A] = 0.01  # exposure time
    extra: dict[str, object] = {"xmp": XMP}
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        extra = {"pnginfo": info}
    elif format == "TIFF":
        exif[700] = XMP
        for tag in (0x8825, 0x8769):
            exif[tag] = exif.get_ifd(tag)
        extra = {}
    picture = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))
    return stored(
        picture,
        format,
        exif=exif if format == "TIFF" else exif.tobytes(),
        icc_profile=b"profile",
        dpi=(300, 300),
        **extra,
    )


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("target", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_profile_exif_xmp_and_resolution(tmp_path: Path, format: str, target: str, orientation: int) -> None:
    source, bands, _ = all_of(photograph(format, orientation))
    assert bands.shape == ((3, 6, 4) if orientation == 6 else (3, 4, 6))
    metadata = json.loads(json.dumps(source.metadata, allow_nan=False))
    path = tmp_path / f"again.{target}"
    lost = target == "webp" and "dpi" in metadata
    with pytest.warns(MetadataLostWarning, match="resolution") if lost else nullcontext():
        save(path, bands, metadata=metadata)
    with Image.open(path) as picture:
        exif = picture.getexif()
        assert picture.info["icc_profile"] == b"profile"
        assert exif.get(0x0112, 1) == 1
        assert exif[0x010F] == "Maker"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert float(exif.get_ifd(0x8769)[0x829A]) == pytest.approx(0.01)
        if not lost and "dpi" in metadata:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    again, values, _ = all_of(path)
    xmp = base64.b64decode(again.metadata["xmp"])
    assert xmp == XMP.replace(b'"6"', b'"1"')
    if target != "jpg":
        np.testing.assert_array_equal(values, bands)


def test_exif_is_only_changed_in_its_orientation() -> None:
    for order, start in (("<", b"II*\0"), (">", b"MM\0*")):
        entries = [(271, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(order + "H", 8) + b"\0\0")]
        exif = start + struct.pack(order + "IH", 8, 2)
        exif += (
            b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries) + b"\0\0\0\0maker's own"
        )
        upright = upright_exif(exif)
        assert upright == exif[:30] + struct.pack(order + "H", 1) + exif[32:]
        for length in range(len(exif)):
            assert len(upright_exif(exif[:length])) == length


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
    st.lists(st.tuples(st.integers(6, 10**4), st.integers(0, 255)), max_size=8),
    st.none() | st.integers(6, 10**4),
    st.sampled_from(["png", "jpg", "webp", "tif"]),
)
def test_odd_exif_is_no_fault_of_the_picture(
    format: str, changes: list[tuple[int, int]], length: int | None, target: str
) -> None:
    """Viewers show it, and so do we: turned as far as the orientation can be read, its EXIF kept or told to be lost."""
    exif = bytearray(Image.open(photograph("JPEG", 6)).info["exif"])
    for at, value in changes:
        exif[6 + at % (len(exif) - 6)] = value
    exif = exif[: length and 6 + length % (len(exif) - 6)]
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"lossless": True} if format == "WEBP" else {}
        source, bands, _ = all_of(stored(Image.fromarray(pixels), format, exif=bytes(exif), **options))
        assert bands.shape in ((3, 4, 6), (3, 6, 4))
        path = Path(folder, f"a.{target}")
        save(path, bands, metadata=source.metadata)
        _, again, _ = all_of(path)
    if target != "jpg":
        np.testing.assert_array_equal(again, bands)


def test_16_bit_grey_png(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.uint16).reshape(1, 6, 8) * 1000
    path = tmp_path / "a.png"
    save(path, values)
    source, again, _ = all_of(path)
    assert source.dtype == np.uint16
    np.testing.assert_array_equal(again, values)
    _, again, _ = all_of(io.BytesIO(path.read_bytes()))
    np.testing.assert_array_equal(again, values)


def test_16_bit_pictures_are_read() -> None:
    source, values, _ = all_of(io.BytesIO(rgb16_png()))
    assert source.dtype == np.uint16
    assert values.tolist() == [[[0x1234]]] * 3
    source, values, _ = all_of(io.BytesIO(b"P6 1 1 65535 \0\1\0\2\0\3"))
    assert source.dtype == np.uint16
    assert values.tolist() == [[[1]], [[2]], [[3]]]


@pytest.mark.parametrize(
    ("name", "bands", "dtype", "kind", "said"),
    [
        ("a.jpg", 3, np.uint8, "alpha", "jpg can't hold an alpha channel"),
        ("a.jpg", 3, np.uint8, "mask", "jpg can't hold a mask"),
        ("a.bmp", 3, np.uint8, "alpha", "alpha"),
        ("a.png", 3, np.uint16, None, "3 bands of uint16.*tif"),
        ("a.png", 1, np.uint16, "alpha", "1 bands of uint16 and a plane.*tif"),
        ("a.jpg", 1, np.uint16, None, "tif"),
        ("a.png", 1, np.int16, None, "int16.*tif"),
        ("a.png", 1, np.float32, None, "float32.*tif"),
        ("a.png", 5, np.uint8, None, "5 bands.*tif"),
        ("a.webp", 1, np.uint8, "alpha", "single-band"),
        ("a.tif", 1, np.int64, None, "int64.*uint8, uint16, int16"),
        ("a.tif", 1, np.float32, "alpha", "float32.*uint8 and uint16"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, name: str, bands: int, dtype: type, kind: PlaneKind | None, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        save(
            tmp_path / name,
            np.zeros((bands, 4, 4), dtype),
            None if kind is None else np.zeros((4, 4), np.uint8),
            kind=kind,
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_lost_is_told(rgb: np.ndarray, tmp_path: Path) -> None:
    bands = np.moveaxis(rgb, 2, 0)
    path = tmp_path / "a.tif"
    path.write_bytes(
        tiff(bands, photometric="RGB", crs="EPSG:32632", transform=Affine(10, 0, 4e5, 0, -10, 5e6), nodata=0)
    )
    source, _, _ = all_of(path)
    with pytest.warns(MetadataLostWarning, match=r"loses: georeference, nodata value \(0\)$"):
        save(tmp_path / "a.png", bands, nodata=source.nodata, metadata=source.metadata)
    plain, _, _ = all_of(io.BytesIO(tiff(bands, photometric="RGB")))
    save(tmp_path / "b.png", bands, metadata=plain.metadata)  # nothing: warnings are errors here
    with pytest.warns(MetadataLostWarning, match="EXIF"):
        save(tmp_path / "b.tif", bands, nodata=0, metadata={"exif": "AAAA"})


def test_exif_that_makes_no_sense(rgb: np.ndarray, tmp_path: Path) -> None:
    for number, exif in enumerate((b"II*\0\xff\xff\xff\xff", b"nonsense", b"II*\0\x08\0\0\0\xff\xff")):
        with suppress(CorruptDataError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metadata = {"exif": base64.b64encode(exif).decode()}
            save(tmp_path / f"{number}.tif", np.moveaxis(rgb, 2, 0), metadata=metadata)


def test_an_unfinished_picture_is_not_written(rgb: np.ndarray, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_sink(tmp_path / "a.png", "png", SinkSpec(height=5, width=7, bands=3, dtype=np.uint8)),
    ):
        _ = 1 / 0
    with (
        pytest.raises(InvalidInputError, match=r"shape \(3, 5, 7\)"),
        open_sink(tmp_path / "a.png", "png", SinkSpec(height=5, width=7, bands=3, dtype=np.uint8)) as sink,
    ):
        sink.write(slice(0, 5), slice(0, 7), rgb, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"not a picture", b"II*\0", b"\x89PNG\r\n\x1a\n", b"<VRTDataset/>"])
def test_no_picture_as_a_source(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not a"), open_source(io.BytesIO(data)):
        pass


STILL_REFUSED = {
    "palette",
    "gif",
    "bilevel",
    "cmyk jpeg",
    "cmyk tiff",
    "lab tiff",
    "two pages",
    "animation",
    "0 is white",
}


@pytest.mark.parametrize(
    ("stream", "what"), [pytest.param(s, what, id=name) for name, s, what in refused() if name in STILL_REFUSED]
)
def test_what_a_source_refuses(stream: io.BytesIO, what: str) -> None:
    stream.seek(0)
    with pytest.raises(InvalidInputError, match=what) as caught, open_source(stream):
        pass
    assert "are accepted" in str(caught.value)
