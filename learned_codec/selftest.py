"""Does this machine decode exactly what every other machine does? The golden vectors say.

For each model there are payloads with the SHA-256 of the symbols behind them, made once. They are decoded here under
everything that changes how sums are computed: one thread and several, oneDNN on and off, and on other devices.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import LearnedCodecError
from learned_codec.models import registry

if TYPE_CHECKING:
    from learned_codec.models.model import Model

Result = tuple[str, bool]
"""What was tried, and whether it came out right."""


def run(progress: Callable[[int, int], None] | None = None, device: str | None = None) -> list[Result]:
    """Decode every golden vector in every way there is on this machine; on `device` too, where one is named.

    A way that fails with an error of this library counts as wrong; nothing is raised.
    """
    missing = {card.weights_id for card in registry.list_models()} - {vector["weights_id"] for vector in vectors()}
    cases = list(_cases(device))
    results = [(f"golden vectors of {weights_id}", False) for weights_id in sorted(missing)]
    for number, (name, case) in enumerate(cases):
        try:
            ok = case()
        except LearnedCodecError:
            ok = False
        results.append((name, ok))
        if progress is not None:
            progress(number + 1, len(cases))
    return results


def vectors() -> list[dict[str, Any]]:
    """The golden vectors: model, step, latent height and width, payload (base64), digest of what it decodes to."""
    text = (resources.files("learned_codec") / "models" / "golden.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def digest(decoded: NDArray[np.float32]) -> str:
    """SHA-256 of decoded latents (h, w, latents), as little-endian int32 in 256ths of a quantisation step."""
    return hashlib.sha256((decoded * 256).astype(np.dtype("<i4")).tobytes()).hexdigest()


def make_vector(model: Model, name: str, pixels: NDArray[np.float32], step: int) -> dict[str, Any]:
    """A golden vector from (bands, H, W) pixels in [0, 1]."""
    coded = model.code(model.analyse(pixels), step)
    return {
        "model": name,
        "weights_id": model.id.hex(),
        "step": step,
        "height": coded.decoded.shape[0],
        "width": coded.decoded.shape[1],
        "payload": base64.b64encode(coded.encoder.finish()).decode("ascii"),
        "sha256": digest(coded.decoded),
    }


@contextmanager
def without_onednn() -> Iterator[None]:
    """Let torch compute with its own kernels inside the block."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # setting any flag sets that for Intel's GPUs too, which warns
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _cases(device: str | None) -> Iterator[tuple[str, Callable[[], bool]]]:
    from learned_codec.models.device import threads

    def attempt(vector: dict[str, Any], where: str, setting: Callable[[], AbstractContextManager[Any]]) -> bool:
        with setting():
            model = registry.load(vector["model"], where)
            payload = base64.b64decode(vector["payload"])
            (decoded,) = model.decode(payload, vector["step"], vector["height"], vector["width"])
        right: bool = digest(decoded) == vector["sha256"]
        return right

    settings: list[tuple[str, str, Callable[[], AbstractContextManager[Any]]]] = [
        ("1 thread", "cpu", lambda: threads(1)),
        ("2 threads", "cpu", lambda: threads(2)),
        ("oneDNN off", "cpu", without_onednn),
    ]
    if device is not None and device != "cpu":
        settings.append((device, device, nullcontext))
    for vector in vectors():
        for name, where, setting in settings:
            label = f"{vector['model']}, step {vector['step']}, {vector['height']} x {vector['width']} latents, {name}"
            yield label, lambda v=vector, w=where, s=setting: attempt(v, w, s)  # type: ignore[misc]
