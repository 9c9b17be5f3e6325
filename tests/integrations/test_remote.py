"""URLs through fsspec, from a real HTTP server that knows ranges; its requests are counted."""

import gc
import http.server
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import learned_codec
from learned_codec import bitstream
from learned_codec.bitstream.container import GAP, READ_TOGETHER
from learned_codec.bitstream.source import READ_AHEAD
from learned_codec.errors import FileError

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SCENE = np.random.default_rng(0).integers(0, 200, (640, 640)).astype(np.uint8)


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.asked: list[tuple[int, int]] = []
        self.together: threading.Barrier | None = None  # where requests wait for each other
        self.says: dict[str, str] = {}  # headers that tell which file it is

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/scene.lci"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(b"", len(self.server.data))

    def do_GET(self) -> None:
        data = self.server.data
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        asked = self.headers.get("If-Match"), self.headers.get("If-Unmodified-Since")
        if self.path != "/scene.lci":
            self.send_error(404)
        elif any(value not in (None, *self.server.says.values()) for value in asked):
            self.send_error(412)
        elif found is None:
            self.answer(data, len(data))
        else:
            first, last = int(found[1]), min(int(found[2]), len(data) - 1)
            self.server.asked.append((first, last))
            if self.server.together is not None:
                self.server.together.wait(30)
            self.answer(data[first : last + 1], last + 1 - first, f"bytes {first}-{last}/{len(data)}")

    def answer(self, body: bytes, length: int, part: str | None = None) -> None:
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", part)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        for name, value in self.server.says.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = getattr(request, "param", {"tile_size": 64})
    server = Server(learned_codec.encode(SCENE, **options))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_request_for_the_head_and_one_for_tiles_close_together(server: Server) -> None:
    whole = learned_codec.decode(server.data)
    with learned_codec.open(server.url) as scene:
        assert server.asked == [(0, READ_AHEAD - 1)]
        chip = scene.read(window=(400, 200, 50, 250))
    # Rows 6 to 7 of tiles with the halo, of each the columns 2 to 7: a few KiB lie between these rows.
    assert len(server.asked) == 1 + 1
    assert np.abs(chip.astype(int) - whole[400:450, 200:450]).max() <= 1
    assert sum(last + 1 - first for first, last in server.asked[1:]) < len(server.data) / 2


@pytest.fixture(scope="module")
def long_tiles() -> bytes:
    """Four tiles, with more behind their fronts than it costs to ask for the next one."""
    return learned_codec.encode(np.tile(SCENE[:512, :512], (2, 2)), tile_size=512, quality=60)


def asked_for(server: Server, scale: float) -> int:
    """Read the reduced image, and compare it. The result is how many bytes were asked for."""
    server.asked.clear()
    with learned_codec.open(server.url) as scene:
        small = scene.read(scale=scale)
    np.testing.assert_array_equal(small, learned_codec.decode(server.data, scale=scale))
    return sum(last + 1 - first for first, last in server.asked)


def test_a_reduced_image_takes_the_fronts_of_tiles(server: Server, long_tiles: bytes) -> None:
    server.data = long_tiles
    tiles = bitstream.read(long_tiles).tiles
    for scale, front, share in ((1, None, 1.0), (1 / 2, 1, 0.3), (1 / 4, 0, 0.1), (1 / 8, 0, 0.1)):
        fetched = asked_for(server, scale)
        assert fetched <= share * len(long_tiles)
        needed = sum(tile.extent(front) for tile in tiles)
        assert needed <= fetched <= READ_AHEAD + needed
        ends = [tile.offset + tile.extent(front) for tile in tiles]
        # A request for the head, which brings the first tile's shortest front along, and one for each front.
        assert len(server.asked) == 1 + (1 if scale == 1 else sum(end > READ_AHEAD for end in ends))


@pytest.mark.parametrize("server", [{"tile_size": 256, "quality": 70}], indirect=True)
@pytest.mark.parametrize("scale", [1 / 2, 1 / 16])
def test_fronts_with_little_between_them_come_in_one_request(server: Server, scale: float) -> None:
    tiles = bitstream.read(server.data).tiles
    assert [len(tile.fronts) for tile in tiles] == [2, 2, 2, 2, 2, 2, 2, 2, 0]  # the last one has 128 x 128 pixels
    assert all(0 < tile.size - tile.extent(0) < GAP for tile in tiles[:-1])
    assert len(server.data) < READ_TOGETHER
    assert asked_for(server, scale) <= tiles[-1].end  # each byte once
    assert len(server.asked) == 2


def test_fronts_are_asked_for_at_the_same_time(server: Server, long_tiles: bytes) -> None:
    server.data = long_tiles
    with learned_codec.open(server.url) as scene:
        server.together = threading.Barrier(4)  # of four tiles, each must be asked for before any answer comes
        scene.read(scale=1 / 2)
    assert len(server.asked) == 1 + 4


@pytest.mark.parametrize("server", [{"tile_size": 64, "max_error": 0}], indirect=True)
@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("ETag", '"1"', '"2"'), ("Last-Modified", "Mon, 02 Jan 2023 01:02:03 GMT", "Tue, 03 Jan 2023 01:02:03 GMT")],
)
@pytest.mark.parametrize("window", [(600, 600, 40, 40), (100, 100, 400, 400)])
def test_another_file_of_the_same_sizes_is_noticed(server: Server, name: str, one: str, other: str, window) -> None:
    server.says = {name: one}
    with learned_codec.open(server.url) as scene:
        np.testing.assert_array_equal(scene.read(window=(300, 0, 100, 100)), SCENE[300:400, :100])
        server.says = {name: other}
        with pytest.raises(FileError, match="another file has taken the place of the one that was opened"):
            scene.read(window=window)


@pytest.mark.parametrize("etag", ['W/"1"', ""])
def test_servers_that_do_not_tell_files_apart(server: Server, etag: str) -> None:
    """A weak ETag never matches."""
    server.says = {"ETag": etag} if etag else {}
    with learned_codec.open(server.url) as scene:
        assert scene.read(window=(300, 0, 100, 100)).shape == (100, 100)


def test_everything_that_reads_takes_urls(server: Server) -> None:
    assert learned_codec.inspect(server.url).width == 640
    assert learned_codec.check(server.url).ok
    np.testing.assert_array_equal(learned_codec.decode(server.url), learned_codec.decode(server.data))


def test_a_check_asks_for_many_tiles_at_once(server: Server) -> None:
    assert learned_codec.check(server.url).ok
    assert len(server.asked) <= 3  # the head, 100 tiles of together less than 1 MiB, and the end


def test_file_systems_with_no_options_of_ours() -> None:
    """As s3fs, which passes the options that it doesn't know on to others, which refuse them."""
    from fsspec.implementations.memory import MemoryFileSystem

    class Strict(MemoryFileSystem):
        protocol = "strict"

        def __init__(self) -> None:
            super().__init__()

    fsspec.register_implementation("strict", Strict, clobber=True)
    data = learned_codec.encode(SCENE[:64, :64])
    with fsspec.open("strict://x.lci", "wb") as file:
        file.write(data)
    for url in ("strict://x.lci", "simplecache::strict://x.lci"):
        np.testing.assert_array_equal(learned_codec.decode(url), learned_codec.decode(data))


@pytest.fixture(scope="module")
def lossless() -> bytes:
    return learned_codec.encode(SCENE, tile_size=64, max_error=0)


@pytest.mark.parametrize("key", ["ETag", "LastModified", "mtime", "md5", "created", None])
@pytest.mark.parametrize("at_once", [True, False])
def test_another_file_in_a_file_system_is_noticed(lossless: bytes, key: str | None, at_once: bool) -> None:
    """As in a bucket, whose listings are kept, and of which some tell nothing."""
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):
        protocol = "bucket"
        async_impl = at_once
        known: dict[str, dict[str, object]] = {}  # noqa: RUF012
        version = 1

        def info(self, path: str, **_: object) -> dict[str, object]:
            if path not in self.known:
                said = super().info(path)
                Bucket.known[path] = {k: said[k] for k in ("name", "size", "type")} | (
                    {key: self.version} if key else {}
                )
            return self.known[path]

        def invalidate_cache(self, path: str | None = None) -> None:  # noqa: ARG002
            Bucket.known.clear()

    fsspec.register_implementation("bucket", Bucket, clobber=True)
    url = "bucket://x.lci"
    with fsspec.open(url, "wb") as file:
        file.write(lossless)
    with learned_codec.open(url) as scene:
        np.testing.assert_array_equal(scene.read(window=(300, 0, 100, 100)), SCENE[300:400, :100])
        Bucket.version = 2
        if key is None:
            np.testing.assert_array_equal(scene.read(window=(0, 0, 100, 100)), SCENE[:100, :100])
            return
        for window in ((600, 600, 40, 40), (100, 100, 400, 400)):
            with pytest.raises(FileError, match="another file has taken the place of the one that was opened"):
                scene.read(window=window)


def test_another_file_in_memory_is_noticed(lossless: bytes) -> None:
    with fsspec.open("memory://y.lci", "wb") as file:
        file.write(lossless)
    with learned_codec.open("memory://y.lci") as scene:
        np.testing.assert_array_equal(scene.read(window=(300, 0, 100, 100)), SCENE[300:400, :100])
        with fsspec.open("memory://y.lci", "wb") as file:
            file.write(lossless)
        with pytest.raises(FileError, match="another file"):
            scene.read(window=(600, 600, 40, 40))
    np.testing.assert_array_equal(learned_codec.decode("memory://y.lci"), SCENE)


def test_errors_are_ours(server: Server) -> None:
    for url in (server.url + ".missing", "nosuchscheme://x/y.lci"):
        with pytest.raises(FileError):
            learned_codec.open(url)


def test_other_file_systems() -> None:
    data = learned_codec.encode(SCENE[:64, :64])
    with fsspec.open("memory://folder/x.lci", "wb") as file:
        file.write(data)
    np.testing.assert_array_equal(learned_codec.decode("memory://folder/x.lci"), learned_codec.decode(data))


# fsspec's cache of blocks leaves a file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_chained_file_systems(server: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.lci", server.data)
    whole = learned_codec.decode(server.data)
    for url in (
        f"zip://x.lci::{(tmp_path / 'a.zip').as_uri()}",
        *(f"{c}cache::{server.url}" for c in ("block", "file")),
    ):
        with learned_codec.open(url) as scene:
            for reader in (scene, pickle.loads(pickle.dumps(scene))):  # noqa: S301 - our own bytes
                gc.collect()  # nothing but the reader holds what it reads from
                np.testing.assert_array_equal(reader.read(), whole)
                reader.close()


def test_xarray_reads_the_head_once_and_what_windows_need(server: Server) -> None:
    xarray = pytest.importorskip("xarray")
    whole = learned_codec.decode(server.data).astype(int)
    with xarray.open_dataset(server.url) as dataset:
        assert len(server.asked) == 1
        for row in (128, 0):
            before = len(server.asked)
            window = dataset["band_data"][0, row : row + 32, 128:160].values
            assert np.abs(window.astype(int) - whole[row : row + 32, 128:160]).max() <= 1
            assert 1 <= len(server.asked) - before <= 3  # a row of tiles, with those around it
        again = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again["band_data"][0, :9, :9], whole[:9, :9])
    assert sum(last + 1 - first for first, last in server.asked) < len(server.data)


@pytest.mark.parametrize("errors", ["raise", "fill"])
@pytest.mark.parametrize("given", [0.0, 0.5])
def test_answers_that_are_too_short_are_no_damage(
    server: Server, monkeypatch: pytest.MonkeyPatch, errors: str, given: float
) -> None:
    """With errors="fill", tiles would be filled in that another request would get."""

    def short(handler: Handler, body: bytes, _: int, part: str | None = None) -> None:
        whole(handler, body[: int(given * len(body))], int(given * len(body)), part)

    whole = Handler.answer
    with learned_codec.open(server.url, errors=errors) as scene:
        monkeypatch.setattr(Handler, "answer", short)
        for window in ((400, 200, 50, 250), (600, 600, 9, 9)):
            with pytest.raises(FileError):
                scene.read(window=window)
        monkeypatch.setattr(Handler, "answer", whole)
        assert scene.read(window=(400, 200, 50, 250)).any()
        assert scene.damaged == ()
