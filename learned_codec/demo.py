"""The demonstration of `learned-codec demo`: one picture as our file, and as JPEG 2000 and JPEG of the same size.

It calls only the public API. Without a picture, `landscape` draws one: sky, ridges and water from fractal noise, which
has detail at every scale, as photographs do.
"""

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

import learned_codec
from learned_codec.atomic import atomic_write
from learned_codec.comparison import Pixels, side_by_side
from learned_codec.errors import FileError
from learned_codec.raster.pictures import write_image

_PANEL_HEIGHT, _PANEL_WIDTH = 512, 768
"""The most pixels of a panel. Panels show the middle of a picture."""


@dataclass(frozen=True)
class Contender:
    """One codec's result."""

    name: str
    bytes: int
    bpp: float
    psnr: float
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Result:
    """The measurements of `run`, and the paths of its files."""

    width: int
    height: int
    raw_bytes: int
    contenders: tuple[Contender, ...]
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)

    def report(self) -> str:
        """The result as a table of text."""
        lines = [f"{self.width} × {self.height} pixels, {self.raw_bytes:,} bytes uncompressed", ""]
        lines.append(f"{'':14}{'bytes':>10}{'bpp':>8}{'PSNR':>10}{'encode':>10}{'decode':>10}")
        lines.extend(
            f"{c.name:14}{c.bytes:>10,}{c.bpp:>8.3f}{c.psnr:>7.2f} dB"
            f"{c.encode_seconds:>8.2f} s{c.decode_seconds:>8.2f} s"
            for c in self.contenders
        )
        return "\n".join([*lines, "", *(f"wrote {name}" for name in self.files)])


def run(
    picture: Pixels,
    out: Path,
    *,
    rate: dict[str, float],
    overwrite: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Encode and decode a picture with this codec, JPEG 2000 and JPEG at equal bytes, and save a comparison.

    Args:
        picture: (H, W) or (H, W, 3), uint8.
        out: a folder, made if needed, for `original.png`, `demo.lci`, `decoded.png` and `comparison.png`.
        rate: the rate argument of `encode`, such as `{"quality": 60}`.
        overwrite: replace files of an earlier demonstration.
        threads: as for `encode` and `decode`.
        device: as for `encode` and `decode`.
        progress: as for `encode`.
    """
    names = [out / name for name in ("original.png", "demo.lci", "decoded.png", "comparison.png")]
    existing = [str(path) for path in names if path.exists()]
    if existing and not overwrite:  # fail before the work
        raise FileError.existing(existing[0])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{out}: {error.strerror or error}") from error

    control: dict[str, Any] = {**rate}
    start = time.perf_counter()
    data = learned_codec.encode(picture, **control, threads=threads, device=device, progress=progress)
    middle = time.perf_counter()
    decoded = learned_codec.decode(data, threads=threads, device=device)
    ours = _contender("learned_codec", data, picture, decoded, middle - start, time.perf_counter() - middle)

    rows, panels = [ours], [("original", picture), (_label(ours), decoded)]
    for name, encode in (("JPEG 2000", _jpeg2000), ("JPEG", _jpeg)):
        row, pixels = _rival(name, encode, picture, len(data))
        rows.append(row)
        panels.append((_label(row), pixels))

    contents = (
        _png(picture),
        data,
        _png(decoded),
        _png(side_by_side([(label, _middle(shown)) for label, shown in panels], columns=2)),
    )
    for path, content in zip(names, contents, strict=True):
        with atomic_write(path, overwrite=overwrite) as stream:
            stream.write(content)
    height, width = picture.shape[:2]
    return Result(width, height, picture.nbytes, tuple(rows), tuple(map(str, names)))


def landscape(height: int = 512, width: int = 768, seed: int = 3) -> Pixels:
    """An artificial picture (height, width, 3): clouds, five ridges, and a lake that mirrors them."""
    rng = np.random.default_rng(seed)
    shore = round(height * 0.66)
    down = np.linspace(0, 1, shore)[:, None]
    scene = _blend((0.26, 0.45, 0.74), (0.88, 0.84, 0.78), down**0.8 * np.ones((1, width)))
    clouds = np.clip(_noise(rng, shore, width, 1.75, stretch=3.0) * 0.5 - 0.1 + 0.35 * down, 0, 1)
    scene = _blend(scene, (0.99, 0.97, 0.95), clouds)

    rows = np.arange(shore)[:, None]
    for nearness in np.linspace(0.0, 1.0, 5):
        skyline = shore * (0.48 + 0.44 * nearness) - shore * (0.16 - 0.07 * nearness) * _ridge(rng, width, 1.35)
        cover = np.clip(rows - skyline[None, :] + 0.5, 0, 1)  # half a pixel of anti-aliasing
        ground = _noise(rng, shore, width, 1.15)
        light = ground - np.roll(ground, (2, 3), (0, 1))  # lit from the upper left
        texture = 1 + nearness * (0.55 * light + 0.1 * rng.standard_normal((shore, width)))
        hue = np.array((0.20, 0.27, 0.13)) + 0.05 * _noise(rng, shore, width, 1.9)[..., None] * (1.0, 0.5, 0.2)
        haze = np.array((0.66, 0.72, 0.80))
        colour = (haze + (hue - haze) * (0.25 + 0.75 * nearness)) * texture[..., None]
        scene = _blend(scene, colour, cover)

    # The lake: the land upside down, shifted sideways by ripples that grow towards the viewer.
    lake_rows = np.arange(height - shore)
    depth = lake_rows / max(1, height - shore - 1)
    ripple = _noise(rng, height - shore, width, 1.3, stretch=8.0)
    columns = np.arange(width)[None, :] + 6 * depth[:, None] * ripple
    mirrored = np.clip(shore - 1 - lake_rows[:, None] * 1.5 - 5 * depth[:, None] * ripple, 0, shore - 1)
    lake = scene[mirrored.astype(int), np.clip(columns, 0, width - 1).astype(int)]
    lake = lake * (0.78 - 0.25 * depth[:, None, None]) + 0.05 * ripple[..., None] * (0.6, 0.8, 1.0)
    scene = np.concatenate([scene, lake])

    grain = rng.normal(0, 0.006, scene.shape)
    return np.rint(np.clip(scene + grain, 0, 1) * 255).astype(np.uint8)


def _blend(below: ArrayLike, above: ArrayLike, cover: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blend the colours `above` over those `below`, by `cover` (height, width), 0 to 1."""
    start = np.asarray(below, np.float64)
    return start + (np.asarray(above, np.float64) - start) * cover[..., None]


def _noise(
    rng: np.random.Generator, height: int, width: int, slope: float, *, stretch: float = 1.0
) -> NDArray[np.float64]:
    """Fractal noise of mean 0 and deviation 1: amplitudes fall as frequency^-slope. `stretch` widens it sideways."""
    fy = np.fft.fftfreq(height)[:, None] * max(height, width)
    fx = np.fft.rfftfreq(width)[None, :] * max(height, width) * stretch
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(1.0, np.hypot(fy, fx)) ** slope
    field: NDArray[np.float64] = np.fft.irfft2(spectrum, s=(height, width))
    field -= field.mean()
    field /= field.std() + 1e-12
    return field


def _ridge(rng: np.random.Generator, width: int, slope: float) -> NDArray[np.float64]:
    """A skyline. Twice the width is drawn and half is kept, because noise from a spectrum wraps around."""
    return _noise(rng, 1, 2 * width, slope)[0, :width]


def _contender(
    name: str, data: bytes, original: Pixels, decoded: Pixels, encoding: float, decoding: float
) -> Contender:
    pixels = original.shape[0] * original.shape[1]
    return Contender(name, len(data), 8 * len(data) / pixels, _psnr(original, decoded), encoding, decoding)


def _psnr(a: Pixels, b: Pixels) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def _rival(name: str, encode: Callable[[Pixels, int], bytes], picture: Pixels, size: int) -> tuple[Contender, Pixels]:
    """Run a codec of Pillow at no more than `size` bytes. The encoding time includes the search for that size."""
    start = time.perf_counter()
    data = encode(picture, size)
    middle = time.perf_counter()
    with Image.open(io.BytesIO(data)) as opened:
        decoded = np.array(opened)
    return _contender(name, data, picture, decoded, middle - start, time.perf_counter() - middle), decoded


def _save(picture: Pixels, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=format, **options)
    return stream.getvalue()


def _jpeg(picture: Pixels, size: int) -> bytes:
    """The best JPEG of at most `size` bytes, or else the smallest possible one."""
    low, high, best = 1, 100, _save(picture, "JPEG", quality=1, optimize=True)
    while low <= high:
        quality = (low + high) // 2
        data = _save(picture, "JPEG", quality=quality, optimize=True)
        if len(data) <= size:
            best, low = data, quality + 1
        else:
            high = quality - 1
    return best


def _jpeg2000(picture: Pixels, size: int) -> bytes:
    """A JPEG 2000 codestream of at most `size` bytes, by the 9/7 wavelet.

    The compression ratio is raised until it fits.
    """
    ratio, data = picture.nbytes / size, b""
    for _ in range(8):
        data = _save(
            picture,
            "JPEG2000",
            no_jp2=True,
            irreversible=True,
            quality_mode="rates",
            quality_layers=[ratio],
            mct=int(picture.ndim == 3),
        )
        if len(data) <= size:
            break
        ratio *= max(1.002, len(data) / size)
    return data


def _png(picture: Pixels) -> bytes:
    stream = io.BytesIO()
    write_image(picture, stream, "png")
    return stream.getvalue()


def _label(row: Contender) -> str:
    return f"{row.name}: {row.bytes:,} bytes, {row.bpp:.3f} bpp, {row.psnr:.2f} dB"


def _middle(picture: Pixels) -> Pixels:
    """The middle of a picture, for the comparison."""
    top, left = (max(0, (n - most) // 2) for n, most in zip(picture.shape, (_PANEL_HEIGHT, _PANEL_WIDTH), strict=False))
    return picture[top : top + _PANEL_HEIGHT, left : left + _PANEL_WIDTH]
