"""Images are found whatever characters their names have, also in archives and behind file:// URLs."""

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
