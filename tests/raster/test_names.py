"""Images are found whatever characters their names have, also in archives and behind file:// URLs."""

import gzip
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import learned_codec
from learned_codec.errors import InvalidInputError
from learned_codec.raster.files import open_source
from tests.geotiffs import UTM, write

# No separators, and nothing that the local file system or an archive may not have in a name.
NAME = st.text(st.sampled_from("a b?#%!&+;,:='\"{}[]()*@$~^ü漢\\-_.20"), min_size=1, max_size=9).map("n{}.tif".format)
PIXELS = np.arange(48, dtype=np.uint8).reshape(1, 6, 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("names") / "a.tif"
    write(path, PIXELS, **UTM).close()
    return path.read_bytes()


def read(source: object) -> np.ndarray:
    with open_source(source) as opened:  # type: ignore[arg-type]
        assert "crs" in opened.metadata
        return opened.read(slice(0, opened.height), slice(0, opened.width))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(inner=NAME, outer=NAME, folder=st.sampled_from(["", "b c/", "#!/"]))
@example("n b.tif", "n c.tif", "")
@example("n!b.tif", "n#c!.tif", "#!/")
def test_names_in_zip_archives(data: bytes, inner: str, outer: str, folder: str) -> None:
    inner = folder + inner.replace("\\", "")  # GDAL takes it for a slash
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, outer).with_suffix(".zip")
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(inner, data)
        for start in ("zip://", "zip+file://"):
            for between in ("!", "!/"):
                np.testing.assert_array_equal(read(f"{start}{archive}{between}{inner}"), PIXELS)


@pytest.mark.parametrize("inner", ["b.tif", "b c#d!.tif", "b%20c/d?.tif"])
def test_names_in_other_archives_and_in_relative_ones(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    with tarfile.open(tmp_path / "a b.tar", "w") as file:
        member = tarfile.TarInfo(inner)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(inner, data)
    monkeypatch.chdir(tmp_path)
    for name in (f"tar://a b.tar!{inner}", f"tar://{tmp_path}/a b.tar!{inner}", f"zip://a.zip!{inner}", "zip://a.zip"):
        np.testing.assert_array_equal(read(name), PIXELS)


def photograph(format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[271], exif[274] = "maker", orientation
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(stream, format, exif=exif, dpi=(300, 300), icc_profile=b"profile" * 30)
    return stream.getvalue()


def pack(folder: Path, kind: str, name: str, files: dict[str, bytes]) -> str:
    """Put files into an archive, and tell GDAL's or rasterio's name of one of them."""
    archive = folder / f"a b.{kind}"
    if kind.startswith("tar"):
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as file:
            for inner, content in files.items():
                member = tarfile.TarInfo(inner)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
        return f"tar://{archive}!{name}"
    if kind == "gz":
        archive.write_bytes(gzip.compress(files[name]))
        return f"gzip://{archive}"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for inner, content in files.items():
            packed.writestr(inner, content)
    return f"/vsizip/{archive}/{name}" if kind == "zip" else f"/vsizip/{{{archive}}}/{name}"


@pytest.mark.parametrize("kind", ["zip", "kmz", "tar", "tar.gz", "gz"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pictures_in_archives_are_as_outside(tmp_path: Path, kind: str, format: str, orientation: int) -> None:
    """GDAL alone would neither turn them nor keep their EXIF."""
    data = photograph(format, orientation)
    name = pack(tmp_path, kind, "b c.x", {"b c.x": data})
    with open_source(io.BytesIO(data)) as outside, open_source(name) as inside:
        whole = slice(0, outside.height), slice(0, outside.width)
        np.testing.assert_array_equal(inside.read(*whole), outside.read(*whole))
        assert (inside.height, inside.width) == (outside.height, outside.width)
        assert inside.metadata == outside.metadata
        assert "exif" in inside.metadata


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_picture_with_a_place_beside_it_in_an_archive(tmp_path: Path, kind: str) -> None:
    data = photograph("PNG", 1)
    name = pack(tmp_path, kind, "in/b.png", {"in/b.png": data, "in/b.pgw": b"2\n0\n0\n-2\n100\n200\n", "c.png": data})
    with open_source(name) as source:
        assert source.metadata["transform"] == [2, 0, 99, 0, -2, 201]
        assert "exif" in source.metadata


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz"])
def test_what_is_refused_or_told_outside_is_inside(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    with (
        pytest.raises(InvalidInputError, match="a b.*: 2 pages or frames"),
        open_source(pack(tmp_path, kind, "b.png", {"b.png": stream.getvalue()})),
    ):
        pass
    Image.new("L", (9, 9)).save(tmp_path / "a.tif", tiffinfo={33723: b"news"})
    name = pack(tmp_path, kind, "b.tif", {"b.tif": (tmp_path / "a.tif").read_bytes()})
    with pytest.warns(learned_codec.MetadataLostWarning, match="not kept: IPTC"), open_source(name):
        pass


def test_archives_that_only_gdal_reads(data: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("b.tif", data)
    files, mark, directory = (tmp_path / "a.zip").read_bytes().partition(b"PK\1\2")
    broken = files + mark + directory.replace(b"\x08\0", b"\x63\0", 1)
    (tmp_path / "a.zip").write_bytes(broken)  # the directory names a method that nobody has
    with pytest.raises(InvalidInputError), open_source(f"zip://{tmp_path}/a.zip!b.tif"):
        pass


def test_what_is_not_in_an_archive_is_not_found(data: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("b.tif", data)
    for name in (
        f"zip://{tmp_path}/a.zip!c d.tif",
        f"zip://{tmp_path}/absent.zip!b.tif",
        f"/vsizip/{tmp_path}/a.zip/c",
    ):
        with pytest.raises(InvalidInputError, match="not found, or in an unknown format"), open_source(name):
            pass


@settings(max_examples=60, deadline=None, derandomize=True)
@given(NAME)
@example("n%20b.tif")
def test_urls_of_local_files(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_bytes(data)
        for url in (path.as_uri(), f"file://{path}", path.as_uri().replace("file://", "file://localhost")):
            np.testing.assert_array_equal(read(url), PIXELS)
        coded = path.with_name(f"{name}.lci")
        learned_codec.encode_file(path.as_uri(), coded, max_error=0)
        again = path.with_name(f"{name}.png")
        with pytest.warns(learned_codec.MetadataLostWarning, match="georeference"):
            learned_codec.decode_file(coded.as_uri(), again)
        np.testing.assert_array_equal(np.asarray(Image.open(again)), PIXELS[0])
        with learned_codec.open(coded.as_uri()) as reader:
            np.testing.assert_array_equal(reader.read(), PIXELS[0])


def test_a_name_that_looks_like_a_url_counts_as_it_is_written_first(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a%20b.tif").write_bytes(data)
    Image.new("L", (9, 9)).save(tmp_path / "a b.png")
    (tmp_path / "a b.png").rename(tmp_path / "a b.tif")
    np.testing.assert_array_equal(read(f"file://{tmp_path}/a%20b.tif"), PIXELS)
