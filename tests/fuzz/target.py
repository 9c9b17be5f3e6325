"""What is done with every file, and what must hold whatever it is."""

from __future__ import annotations

import io
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from click.testing import CliRunner

import learned_codec
from learned_codec.cli import main
from learned_codec.errors import LearnedCodecError

LIMITS = learned_codec.Limits(
    max_pixels=2**16,
    max_samples=2**19,
    max_tile_pixels=2**16,
    max_tile_samples=2**19,
    unchecked_samples=2**16,
    max_metadata_bytes=2**18,
    max_tiles=2**10,
)
"""Small, so that thousands of files can be tried; what larger ones cost has tests of its own."""

SECONDS = 2.0
SECONDS_A_SAMPLE = 2e-5
"""The most that one call may take: ten times what an ordinary image takes on a busy machine."""


def check(data: bytes) -> str:
    """The outcome of decoding: "image", or an error's name. Raises `AssertionError`, or whatever error isn't ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is lost on the way into another format
        return _check(data)


def _check(data: bytes) -> str:
    start = time.process_time()
    said, info = _try(lambda: learned_codec.inspect(data, limits=LIMITS))
    assert _try(lambda: learned_codec.inspect(io.BytesIO(data), limits=LIMITS))[0] == said, "bytes and files differ"
    if info is not None:
        json.dumps(info.to_dict())
    _, report = _try(lambda: learned_codec.check(data, limits=LIMITS))
    outcome, image = _try(lambda: learned_codec.decode(data, limits=LIMITS))
    kept, filled = _try(lambda: learned_codec.decode(data, errors="fill", masked=True, limits=LIMITS))
    if image is not None:
        assert report is not None, "decoded, but `check` raises"
        assert report.ok, "decoded, but `check` finds damage"
        assert info is not None, "decoded, but `inspect` raises"
        assert (image.dtype.name, image.size) == (info.dtype, info.width * info.height * info.bands)
        np.testing.assert_array_equal(np.ma.getdata(filled), image)
    if filled is not None:
        _windows(data)
        _converted(data)
    else:
        assert kept == outcome or outcome != "image", "filled worse than raised"
    _told(data)
    size = 0 if filled is None else filled.size
    spent = time.process_time() - start
    assert spent < SECONDS + SECONDS_A_SAMPLE * size, f"{spent:.1f} s for {size} samples of {len(data)} bytes"
    return outcome


def _try(call):
    """The outcome and the result of a call: "image" and it, or an error's name and None."""
    try:
        return "image", call()
    except LearnedCodecError as raised:
        error = raised
    assert len(str(error)) < 2000, "a very long message"
    return type(error).__name__, None


def _windows(data: bytes) -> None:
    with learned_codec.open(io.BytesIO(data), errors="fill", limits=LIMITS) as reader:
        height, width = reader.height, reader.width
        window = (height // 3, width // 2, max(1, height // 4), max(1, width // 3))
        assert _try(lambda: reader.read(window=window, bands=1))[0] in ("image", "LimitError")
        _try(lambda: reader.read(bands=1, scale=1 / 4))
        if reader.plane is not None:
            _try(lambda: reader.read_plane(window))


def _converted(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "a.tif"
        options = {"errors": "fill", "limits": LIMITS}
        _try(lambda: learned_codec.decode_file(io.BytesIO(data), target, **options))
        left = sorted(Path(folder).iterdir())
        assert all(path.stem.startswith("a") for path in left), f"left behind: {left}"


def _told(data: bytes) -> None:
    result = CliRunner().invoke(main, ["info", "-"], input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 3)
    assert all(c.isprintable() or c == "\n" for c in result.output), "control characters"
    assert len(result.output) < 100_000
