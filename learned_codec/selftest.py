"""Checks with golden vectors that this machine decodes exactly the same symbols as all others.

For each model there are payloads with the SHA-256 of their symbols, made once. They are decoded with each engine, with
one thread and several, and on other devices: all that may change how sums are computed. For tiles with a bounded error
there are payloads with the SHA-256 of their samples.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from importlib import resources
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

import learned_codec
from learned_codec import demo
from learned_codec.bounded.tile import decode_tile, encode_tile
from learned_codec.errors import LearnedCodecError
from learned_codec.models import registry
from learned_codec.models.config import BLOCK, step_of_quality
from learned_codec.models.engine import Engine, engine_for
from learned_codec.models.model import Model
from learned_codec.options import DEFAULT_QUALITY

_SIDE = 1024
"""Pixels per side of the picture by which the speed is measured."""

Check = tuple[str, bool]
"""What was tried, and whether the result is right."""


def run(progress: Callable[[int, int], None] | None = None, device: str | None = None) -> list[Check]:
    """Decode every golden vector with every engine of this machine, and on `device` if one is named.

    An error of this library counts as a wrong result; it is not raised.
    """
    missing = {card.weights_id for card in registry.list_models()} - {vector["weights_id"] for vector in vectors()}
    cases = [*_bounded_cases(), *_cases(device)]
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


def run_bounded() -> list[Check]:
    """Decode only the golden vectors of tiles with a bounded error, which need no engine."""
    return [(name, case()) for name, case in _bounded_cases()]


def speed(device: str) -> dict[str, float]:
    """How fast a device codes: "encode" and "decode" in megapixels a second, then their parts in ms a megapixel.

    It takes a drawn RGB image of 1024 x 1024 pixels, the default model and quality, and the best of four runs.
    Raises what `learned_codec.encode` raises for the device.
    """
    image = demo.landscape(_SIDE, _SIDE)
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
    model = registry.load(registry.default(3), device)
    step, size = step_of_quality(DEFAULT_QUALITY, model.max_step), (_SIDE // BLOCK, _SIDE // BLOCK)
    latents = model.analyse(pixels)
    coded = model.code(latents, step)
    payload, file = coded.encoder.finish(), learned_codec.encode(image, device=device)
    megapixels = _SIDE**2 / 1e6
    calls: dict[str, Callable[[], Any]] = {
        "encode": lambda: learned_codec.encode(image, device=device),
        "decode": lambda: learned_codec.decode(file, device=device),
        "encode: transform, ms": lambda: model.analyse(pixels),
        "encode: entropy model, ms": lambda: model.code(latents, step),
        "encode: entropy coder, ms": coded.encoder.finish,
        "decode: entropy model and coder, ms": lambda: model.decode(payload, step, *size),
        "decode: transform, ms": lambda: model.synthesise(coded.decoded, step, refined=False),
        "decode: transform and refinement, ms": lambda: model.synthesise(coded.decoded, step),
    }
    seconds = {name: min(_seconds(call) for _ in range(4)) for name, call in calls.items()}
    return {
        name: 1000 * taken / megapixels if name.endswith("ms") else megapixels / taken
        for name, taken in seconds.items()
    }


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def versions() -> dict[str, str]:
    """The versions of this library and of packages that it computes with, and the machine."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"learned_codec": learned_codec.__version__, "python": platform.python_version()}
    found |= {"system": platform.platform(), "processor": platform.machine()}
    for package in ("numpy", "openvino", "torch", "constriction", "rasterio", "pillow"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def vectors() -> list[dict[str, Any]]:
    """The golden vectors.

    Each has a model, a step, height and width in latents, a payload (base64), and the digest of the decoded latents.
    """
    text = (resources.files("learned_codec") / "models" / "golden.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def bounded_vectors() -> list[dict[str, Any]]:
    """The golden vectors of tiles with a bounded error.

    Each has a name, a dtype, a shape, a payload (base64), and the digest of the decoded samples.
    """
    text = (resources.files("learned_codec") / "bounded" / "golden.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def digest_of_samples(values: NDArray[Any]) -> str:
    """SHA-256 of samples, little-endian."""
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def make_bounded_vector(name: str, values: NDArray[Any], bound: float) -> dict[str, Any]:
    """A golden vector from (bands, H, W) samples."""
    payload = encode_tile(values, None, [bound] * len(values))
    return {
        "name": name,
        "dtype": values.dtype.name,
        "shape": list(values.shape),
        "payload": base64.b64encode(payload).decode("ascii"),
        "sha256": digest_of_samples(decode_tile(payload, values.shape, values.dtype, None)),
    }


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


def _engines(device: str | None) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """The engines of this machine, by name."""
    from learned_codec.models.engine.openvino import OpenVino

    yield "NumPy", partial(engine_for, "cpu")
    for threads in (1, 2):
        yield f"OpenVINO, {threads} thread{'s'[: threads - 1]}", partial(OpenVino, threads, uncompiled=0)
    if find_spec("torch") is not None:
        yield "torch", _torch
    if device is not None and device != "cpu":
        yield device, partial(engine_for, device)


def _torch() -> Engine:
    from learned_codec.models.engine.torch import Torch

    return Torch("cpu")


def _bounded_cases() -> Iterator[tuple[str, Callable[[], bool]]]:
    def attempt(vector: dict[str, Any]) -> bool:
        bands, height, width = vector["shape"]
        payload, dtype = base64.b64decode(vector["payload"]), np.dtype(vector["dtype"])
        right: bool = digest_of_samples(decode_tile(payload, (bands, height, width), dtype, None)) == vector["sha256"]
        return right

    for vector in bounded_vectors():
        yield f"tile with a bounded error, {vector['name']}", partial(attempt, vector)


def _cases(device: str | None) -> Iterator[tuple[str, Callable[[], bool]]]:
    @cache
    def model_on(name: str, engine: Callable[[], Engine]) -> Model:
        return Model(registry.weights_of(name), engine())

    def attempt(vector: dict[str, Any], engine: Callable[[], Engine]) -> bool:
        payload, size = base64.b64decode(vector["payload"]), (vector["height"], vector["width"])
        (decoded,) = model_on(vector["model"], engine).decode(payload, vector["step"], *size)
        right: bool = digest(decoded) == vector["sha256"]
        return right

    for way, engine in _engines(device):
        for vector in vectors():
            label = f"{vector['model']}, step {vector['step']}, {vector['height']} x {vector['width']} latents, {way}"
            yield label, partial(attempt, vector, engine)
