"""TIFF's directories: what is written is read, in every form, and adding to a file changes nothing else in it."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_codec.raster import directories
from learned_codec.raster.directories import Field, Form
from tests.geotiffs import describe, write

FORMS = st.builds(Form, st.sampled_from("<>"), st.booleans())
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 11: 4, 12: 8, 16: 8}
FIELDS = st.sampled_from(sorted(SIZES)).flatmap(
    lambda kind: st.integers(1, 5).flatmap(
        lambda n: st.binary(min_size=n * SIZES[kind], max_size=n * SIZES[kind]).map(lambda data: Field(kind, data))
    )
)
TAGS = st.integers(1, 0x8768)
DIRECTORIES = st.dictionaries(TAGS, FIELDS, min_size=1, max_size=6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(DIRECTORIES, DIRECTORIES, FORMS, st.integers(8, 40).map(lambda n: 2 * n))
def test_what_is_packed_is_read(outer: Any, inner: Any, form: Form, at: int) -> None:
    data = b"\0" * at + directories.pack(outer | {0x8769: inner}, at, form, following=7)
    stream = io.BytesIO(data)
    found, following = directories.read(stream, form, at)
    (pointer,) = found.pop(0x8769).numbers()
    assert (found, following) == (outer, 7)
    assert directories.read(stream, form, pointer) == (inner, 0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=80), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b""]))
def test_nonsense_is_a_value_error_at_most(data: bytes, start: bytes) -> None:
    stream = io.BytesIO(start + data)
    try:
        form, at = directories.start(stream)
        fields, _ = directories.read(stream, form, at)
    except ValueError:
        return
    assert sum(len(field.data) for field in fields.values()) <= len(data) + 16 * len(fields)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(60_000, 65_000), FIELDS, max_size=6), FORMS)
def test_a_tiff_is_as_it_was_but_for_what_is_added(more: Any, form: Form) -> None:
    more = {tag: field for tag, field in more.items() if field.kind <= 12}  # not BigTIFF's own
    values = np.random.default_rng(0).integers(0, 2**16, (3, 300, 280), dtype=np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder, "a.tif"), Path(folder, "b.tif")
        options = {
            "crs": "EPSG:32632",
            "transform": Affine(10, 0, 4e5, 0, -10, 5e6),
            "nodata": 7,
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
            "BIGTIFF": "YES" if form.big else "NO",
            "ENDIANNESS": "LITTLE" if form.order == "<" else "BIG",
        }
        with write(path, values, **options) as raster:
            raster.update_tags(mine="1")
            raster.build_overviews([2, 4])
        again.write_bytes(path.read_bytes())
        directories.extend(again, more)
        assert describe(again) == describe(path)
        with rasterio.open(again) as raster, again.open("rb") as stream:
            np.testing.assert_array_equal(raster.read(), values)
            assert raster.overviews(1) == [2, 4]
            found, at = directories.start(stream)
            assert found == form
            assert more.items() <= directories.read(stream, form, at)[0].items()
