"""What comes of odd GeoTIFFs, and of signals while files are written: the counts in docs/reliability.md."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import learned_codec
from learned_codec.errors import InvalidInputError, LearnedCodecError

NUMBERS = ("nan", "inf", "-inf", "0", "1", "-10", "1e308", "5e-324", "400000")
TEXTS = ("", "°C", "a=b", "line\nbreak", "x" * 300)
COLOURS = "<ColorTable>" + '<Entry c1="9" c2="0" c3="0" c4="255"/>' * 8 + "</ColorTable>"
RPCS = [f"{a}_{b}" for a in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for b in ("OFF", "SCALE")]
RPCS += [f"{a}_{b}_COEFF" for a in ("LINE", "SAMP") for b in ("NUM", "DEN")]
CRSS = ("EPSG:32633", "EPSG:4326+5773", "ESRI:54035", "+proj=healpix +R=6371000", "nonsense")

FORMATS = (".lci", ".tif", ".png", ".jpg", ".webp")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")


def odd_geotiffs(count: int, seed: int) -> dict[str, int]:
    """How many of `count` random rasters came back, or were refused; any other error is raised."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            source, coded = folder / "a.vrt", folder / "a.lci"
            source.write_text(_raster(rng))
            options = {"max_error": 0} if rng.random() < 0.5 else {"force": rng.random() < 0.7}
            try:
                learned_codec.encode_file(source, coded, overwrite=True, **options)
            except LearnedCodecError:
                found["refused by encode_file"] += 1
                continue
            learned_codec.decode_file(coded, folder / "a.tif", overwrite=True)
            found["came back as a GeoTIFF"] += 1
            try:
                learned_codec.decode_file(coded, folder / "a.png", overwrite=True)
            except InvalidInputError:
                found["of these, refused as a PNG"] += 1
    return {"files": count, **found}


def _raster(rng: np.random.Generator) -> str:
    """A description of a raster, as GDAL reads it, with odd numbers and texts."""

    def one(of: tuple[str, ...]) -> str:
        return of[rng.integers(len(of))]

    def some(*parts: str) -> str:
        return "".join(part for part in parts if rng.random() < 0.3)

    def text(value: str) -> str:
        return value.replace("\n", "&#10;")

    rpcs = "".join(f'<MDI key="{key}">{one((*NUMBERS, "x", " ".join("1" * 20)))}</MDI>' for key in RPCS)
    points = "".join(
        '<GCP Id="" Pixel="{}" Line="{}" X="{}" Y="{}" Z="{}"/>'.format(*(one(NUMBERS) for _ in range(5)))
        for _ in range(rng.integers(1, 5))
    )
    inside = some(
        f"<SRS>{one(CRSS)}</SRS>",
        f"<GeoTransform>{', '.join(one(NUMBERS) for _ in range(6))}</GeoTransform>",
        f'<Metadata domain="RPC">{rpcs}</Metadata>',
        f'<GCPList Projection="EPSG:4326">{points}</GCPList>',
        f'<Metadata><MDI key="{one(("a", "b=c", " ", "ü"))}">{text(one(TEXTS))}</MDI></Metadata>',
        '<MaskBand><VRTRasterBand dataType="Byte"/></MaskBand>',
    )
    dtype = one(("Byte", "Int8", "UInt16", "Int16", "Int32", "UInt32", "Float32", "Float64"))
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{band}">'
        + some(
            COLOURS,
            f"<Scale>{one(NUMBERS)}</Scale>",
            f"<Offset>{one(NUMBERS)}</Offset>",
            f"<NoDataValue>{one(NUMBERS)}</NoDataValue>",
            f"<ColorInterp>{one(('Alpha', 'Palette', 'Red', 'Undefined'))}</ColorInterp>",
            f"<UnitType>{text(one(TEXTS))}</UnitType>",
        )
        + "</VRTRasterBand>"
        for band in range(1, rng.integers(2, 5))
    )
    return f'<VRTDataset rasterXSize="6" rasterYSize="5">{inside}{bands}</VRTDataset>'


_WRITE = """
import pathlib, signal, sys, learned_codec
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore for programs in the background
path, images = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
print("ready", flush=True)
while True:
    for image in images:
        if path.suffix == ".lci":
            learned_codec.encode_file(image.with_suffix(".png"), path, overwrite=True, max_error=0)
        else:
            learned_codec.decode_file(image, path, overwrite=True)
"""


def signals(tries: int, seed: int) -> list[dict[str, object]]:
    """What programs leave behind that a signal ends at a random moment while they write files."""
    rng, table = np.random.default_rng(seed), []
    for name in SIGNALS:
        found = dict.fromkeys(("tries", "a whole file there", "nothing left beside it", "nothing left by the next"), 0)
        for number in range(tries):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"out/a{FORMATS[number % len(FORMATS)]}")
                images = [_image(Path(folder, f"{value}.lci"), value) for value in (60, 190)]
                path.parent.mkdir()
                whole = [_written(path, image) for image in images]
                command = [sys.executable, "-W", "ignore", "-c", _WRITE, str(path), *map(str, images)]
                with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                    assert process.stdout is not None  # noqa: S101 - it is a pipe
                    process.stdout.readline()
                    time.sleep(rng.uniform(0, 1))
                    process.send_signal(signal.Signals[name])
                found["tries"] += 1
                found["a whole file there"] += path.read_bytes() in whole
                found["nothing left beside it"] += [*path.parent.iterdir()] == [path]
                _written(path, images[0])
                found["nothing left by the next"] += [*path.parent.iterdir()] == [path]
        table.append({"signal": name, **found})
    return table


def _image(path: Path, value: int) -> Path:
    """An .lci file of noise about a value, and a PNG beside it."""
    noise = np.random.default_rng(value).integers(value - 60, value + 60, (256, 256, 3), np.uint8)
    path.write_bytes(learned_codec.encode(noise, max_error=0))
    learned_codec.decode_file(path, path.with_suffix(".png"))
    return path


def _written(path: Path, image: Path) -> bytes:
    if path.suffix == ".lci":
        learned_codec.encode_file(image.with_suffix(".png"), path, overwrite=True, max_error=0)
    else:
        learned_codec.decode_file(image, path, overwrite=True)
    return path.read_bytes()
