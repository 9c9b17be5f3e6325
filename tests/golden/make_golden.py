"""Make the golden vectors of the models in the package. Run only when a new model id is added, never for an old one.

python tests/golden/make_golden.py
"""

import json
from pathlib import Path

import torch

import learned_codec
from learned_codec.demo import landscape
from learned_codec.models import registry
from learned_codec.selftest import make_vector

TARGET = Path(learned_codec.__file__).parent / "models" / "golden.json"


def main() -> None:
    """Add vectors for every model that has none yet."""
    vectors = json.loads(TARGET.read_text()) if TARGET.exists() else []
    have = {vector["model"] for vector in vectors}
    for card in learned_codec.list_models():
        if card.name in have:
            continue
        model = registry.load(card.name)
        pixels = torch.from_numpy(landscape(96, 176).copy()).permute(2, 0, 1).float() / 255
        noise = torch.rand(card.bands, 80, 48, generator=torch.Generator().manual_seed(1))
        for x, step in (
            (pixels[: card.bands], 0),
            (pixels[: card.bands], 300),
            (pixels[: card.bands], 896),
            (noise, 700),
        ):
            vectors.append(make_vector(model, card.name, x, min(step, model.max_step)))
    TARGET.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
