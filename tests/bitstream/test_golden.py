"""Files that an earlier version wrote, and broken ones. They are never written anew: every later version reads them."""

import io
import json
from pathlib import Path

import pytest

from learned_codec import errors
from learned_codec.bitstream import read, read_head, write

FOLDER = Path(__file__).parents[1] / "golden" / "container"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MANIFEST["good"])
def test_good(name):
    data = (FOLDER / f"{name}.lci").read_bytes()
    expected = dict(MANIFEST["good"][name])
    tiles, ends = [bytes.fromhex(tile) for tile in expected.pop("tiles")], expected.pop("ends")
    for container in (read(data), read_head(io.BytesIO(data))):
        assert container.to_json() == expected
        assert [bytes(container.tile(i)) for i in range(len(tiles))] == tiles
        for front in (0, 1):
            fronts = [tile[: stops[front]] if stops else tile for tile, stops in zip(tiles, ends, strict=True)]
            assert [bytes(container.tile(i, front)) for i in range(len(tiles))] == fronts
        if name != "unknown-ancillary":
            written = write(container.header, tiles, ends=ends, metadata=container.metadata, mask=container.mask)
            assert written == data


@pytest.mark.parametrize("name", MANIFEST["bad"])
def test_bad(name):
    data = (FOLDER / f"{name}.lci").read_bytes()
    expected = MANIFEST["bad"][name]
    error = getattr(errors, expected["error"])
    if expected["when"] == "read":
        with pytest.raises(error) as info:
            read(data)
        assert type(info.value) is error
    else:
        container = read(data)
        assert container.damaged_tiles()
        with pytest.raises(error) as info:
            container.tile(container.damaged_tiles()[0])
        assert info.value.tiles == container.damaged_tiles()[:1]


def test_the_document_shows_the_minimal_file():
    """The hex dump in docs/format.md is the golden file."""
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    dump = text.split("<!-- minimal.lci -->")[1].split("```")[1].split("\n", 1)[1]
    digits = "".join(line[6:32].replace(" ", "") for line in dump.splitlines())
    assert bytes.fromhex(digits) == (FOLDER / "minimal.lci").read_bytes()
