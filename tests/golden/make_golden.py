"""Make the golden files of the models in the package. Run only when a new model id is added, never for an old one.

python tests/golden/make_golden.py

For each model: payloads with the digest of what they decode to, in the package (for `learned-codec selftest`), and
whole files with the pixels that they decode to, beside this script.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models import registry
from learned_codec.selftest import make_vector

VECTORS = Path(learned_codec.__file__).parent / "models" / "golden.json"
FILES = Path(__file__).parent / "codec"


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
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
        noise = torch.rand(card.bands, 80, 48, generator=torch.Generator().manual_seed(1))
        for x, step in ((pixels, 0), (pixels, 300), (pixels, 896), (noise, 700)):
            vectors.append(make_vector(model, card.name, x, min(step, model.max_step)))
        for name, image, options in (
            ("colour", picture, {"quality": 60}),
            ("tiles", picture, {"quality": 25, "tile_size": 64}),
            ("grey", picture[..., 1], {"quality": 85}),
            ("pixel", np.full((1, 1, card.bands), 77, np.uint8), {"quality": 100}),
        ):
            data = learned_codec.encode(image, model=card.name, **options)
            (FILES / f"{card.name}-{name}.lci").write_bytes(data)
            Image.fromarray(learned_codec.decode(data)).save(FILES / f"{card.name}-{name}.png")
    VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
