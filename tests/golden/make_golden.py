"""Make the golden files of the models in the package. Run only when a new model id is added, never for an old one.

python tests/golden/make_golden.py

For each model: payloads with the digest of what they decode to, in the package (for `learned-codec selftest`), and
whole files with the pixels that they decode to, beside this script.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models import registry
from learned_codec.selftest import make_bounded_vector, make_vector

VECTORS = Path(learned_codec.__file__).parent / "models" / "golden.json"
FILES = Path(__file__).parent / "codec"
BOUNDED_VECTORS = Path(learned_codec.__file__).parent / "bounded" / "golden.json"
BOUNDED = Path(__file__).parent / "bounded"


def main() -> None:
    """Add what is missing for any model."""
    vectors = json.loads(VECTORS.read_text()) if VECTORS.exists() else []
    have = {vector["weights_id"] for vector in vectors}
    FILES.mkdir(exist_ok=True)
    for card in learned_codec.list_models():
        if card.weights_id in have:
            continue
        model = registry.load(card.name)
        picture = landscape(96, 176)[..., : card.bands]
        pixels = picture.transpose(2, 0, 1).astype(np.float32) / 255
        noise = np.random.default_rng(1).random((card.bands, 80, 48), np.float32)
        even = np.indices((card.bands, 32, 48), np.float32).sum(0) % 2  # a checkerboard: its components are complete
        for x, step in ((pixels, 0), (pixels, 300), (pixels, 896), (noise, 700), (even, 300)):
            vectors.append(make_vector(model, card.name, x, min(step, model.max_step)))
        for name, image, options in (
            ("colour", picture, {"quality": 60}),
            ("tiles", picture, {"quality": 25, "tile_size": 64}),
            ("adapted", picture, {"quality": 70, "effort": 1}),
            ("scalar", picture, {"quality": 20, "effort": 1}),  # not dependent
            ("grey", picture[..., -1], {"quality": 85}),
            ("sharp", np.kron(picture[::4, ::4], np.ones((4, 4, 1), np.uint8)), {"quality": 90}),  # weakly lapped
            ("pixel", np.full((1, 1, card.bands), 77, np.uint8), {"quality": 100}),
        ):
            data = learned_codec.encode(image, model=card.name, **options)
            (FILES / f"{card.name}-{name}.lci").write_bytes(data)
            decoded = learned_codec.decode(data)
            one_band = decoded.ndim == 3 and decoded.shape[2] == 1
            Image.fromarray(decoded[..., 0] if one_band else decoded).save(FILES / f"{card.name}-{name}.png")
        if card.bands == 1:
            make_rasters(card.name)
        else:
            make_rotated(card.name)
    make_bounded()
    make_bounded_vectors()
    VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")


def make_rotated(name: str) -> None:
    """Colours unlike those of photographs, also of a narrow range, which are coded rotated."""
    picture = landscape(96, 176)
    odd = np.stack([picture[..., 1], 255 - picture[..., 0], picture[..., 2] // 2], -1)
    for kind, image in (("rotated", odd), ("narrow", odd // 2 + 50)):
        data = learned_codec.encode(image, model=name, quality=70)
        (FILES / f"{name}-{kind}.lci").write_bytes(data)
        Image.fromarray(learned_codec.decode(data)).save(FILES / f"{name}-{kind}.png")


def make_rasters(name: str) -> None:
    """What only a one-band model codes: bands of 16 bits with nodata, others of a coarser grid, radar with NaN."""
    picture = landscape(96, 176).astype(np.float32)
    bands = np.stack([picture[..., 0], picture[..., 1], picture[..., 2], 255 - picture[..., 0]], -1)
    scene = (bands * 30 + 100).astype(np.uint16)
    scene[:40, :70] = 0
    coarse = scene.copy()
    coarse[..., 2:] = scene[::2, ::2, 2:].repeat(2, 0).repeat(2, 1)
    radar = 10 ** (picture[..., 1] / 100 - 2)
    radar[50:, 100:] = np.nan
    for kind, image, options in (
        ("bands", scene, {"quality": 60, "nodata": 0, "tile_size": 64}),
        ("plateaus", coarse, {"quality": 60, "tile_size": 64}),
        ("radar", radar.astype(np.float32), {"quality": 60, "kind": "sar"}),
    ):
        data = learned_codec.encode(image, model=name, **options)
        (FILES / f"{name}-{kind}.lci").write_bytes(data)
        np.savez_compressed(FILES / f"{name}-{kind}.npz", learned_codec.decode(data))


def make_bounded() -> None:
    """Files with a bounded error, of every dtype and every way of coding a band, if there are none yet."""
    if BOUNDED.exists():
        return
    BOUNDED.mkdir()
    picture = landscape(96, 176)
    rng = np.random.default_rng(1)
    wide = picture[..., 1].astype(np.int64)
    height = (picture[..., 0] * 3.7 + rng.normal(0, 0.3, wide.shape)).astype(np.float32)
    height[:20, :30] = np.nan
    cases = {
        "colour": (picture, {"max_error": 0}),
        "tiles": (picture, {"max_error": [1, 2, 3], "tile_size": 64}),
        "classes": (wide // 40 * 10, {"max_error": 0}),
        "noise": (rng.integers(-(2**31), 2**31, (40, 50)).astype(np.int32), {"max_error": 0}),
        "sparse": ((wide * 17 + rng.integers(0, 3, wide.shape) * 34).astype(np.uint16), {"max_error": 0}),
        "nodata": (np.where(wide < 90, 0, wide * 200 - 20000).astype(np.int16), {"max_error": 40, "nodata": 0}),
        "grid": (height, {"max_error": 0.25}),
        "decimals": (np.rint(np.abs(height) * 100).astype(np.float32) / np.float32(100), {"max_error": 0}),
        "floats": (height, {"max_error": 0}),
        "bits": (rng.random((33, 40)) < 0.1, {"max_error": 0}),
        "counts": ((wide**3).astype(np.uint32), {"max_error": 0}),
        "bytes": ((wide - 128).astype(np.int8), {"max_error": 1}),
        "repeated": (np.tile(rng.normal(size=(8, 160)).astype(np.float32), (8, 1)), {"max_error": 0}),
        "unsure": (rng.integers(0, 2**16, (40, 50)).astype(np.uint16), {"max_error": 7}),
        "pixel": (np.full((1, 1), 77, np.uint8), {"max_error": 0}),
    }
    for name, (image, options) in cases.items():
        values = image.astype(np.uint8) if name == "classes" else image
        data = learned_codec.encode(values, **options)  # type: ignore[arg-type]  # each has its own
        (BOUNDED / f"{name}.lci").write_bytes(data)
        np.savez_compressed(BOUNDED / f"{name}.npz", learned_codec.decode(data))


def make_bounded_vectors() -> None:
    """Tiles with a bounded error for `learned-codec selftest`, if there are none yet.

    They have sums in float32 and in float64, differences that are cut off in quotients, and all that is packed.
    """
    if BOUNDED_VECTORS.exists():
        return
    picture = landscape(48, 64).transpose(2, 0, 1)
    rng = np.random.default_rng(2)
    height = picture[:2] * 3.7 + rng.normal(0, 0.3, (2, 48, 64))
    cases = (
        ("uint8, exact", picture, 0),
        ("uint8, within 2", picture, 2),
        ("uint16, exact", (height * 200).astype(np.uint16), 0),
        ("int16, within 9", (height * 30 - 9000).astype(np.int16), 9),
        ("int32, exact", (height * 2e6).astype(np.int32), 0),
        ("float32, exact", height.astype(np.float32), 0),
        ("float32, within 0.1", height.astype(np.float32), 0.1),
        ("classes", (picture[:1] // 40).astype(np.uint8), 0),
        ("noise", rng.integers(0, 2**16, (1, 20, 30)).astype(np.uint16), 0),
    )
    vectors = [make_bounded_vector(name, values, bound) for name, values, bound in cases]
    BOUNDED_VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
