"""Recipes: the settings of a training run, as typed TOML files."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from learned_codec.errors import TrainingError
from learned_codec.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Data:
    """Which images to train with.

    Attributes:
        folders: below the data directory; by default all images anywhere below it.
        holdout: the share kept for validation; whole scene groups, if a SOURCES.csv names them.
        downscale: the probabilities of box-downscaling by 1, 2, 3 …
        simulated: the folders from which radar scenes are simulated, too (`speckle`). Each counts as one more folder,
            after the others.
        shares: how often each folder is drawn; by default in proportion to its pixels.
        contrast: the share of crops whose contrast and brightness are changed.
    """

    folders: tuple[str, ...] = ()
    holdout: float = 0.03
    downscale: tuple[float, ...] = (0.6, 0.3, 0.1)
    simulated: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    contrast: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingPhase:
    """A part of the schedule, up to `until` (a fraction of the run), with `batch` crops of `crop` pixels per side.

    With `optimise`, latents are rounded by RDOQ, as encoders do it, instead of to the nearest integer.
    """

    until: float
    batch: int
    crop: int
    optimise: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss: what is minimised beside the rate.

    `mse` and `ms_ssim` are the weights of lambda*255^2*MSE and of lambda*`ms_ssim_scale`*(1 - MS-SSIM); each sample's
    loss is scaled by (lambda/0.01)^-`balance` so that no rate dominates.
    """

    mse: float = 1.0
    ms_ssim: float = 0.0
    ms_ssim_scale: float = 2000.0
    balance: float = 0.35


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW, its schedule, and with `muon` that optimiser for the 1x1 convolutions of the entropy model.

    It runs at `learning_rate`, warmed up over `warmup` steps, constant until `decay_from` (a fraction of the run), then
    to zero (`decay`). That is the entropy model's rate. The refinement of the synthesis learns at `refinement_rate`
    times it; the block transform stays a DCT. Gradients are clipped to the norm `clip`. The weight average has the
    horizon `ema`.
    """

    learning_rate: float = 2e-3
    refinement_rate: float = 1.0
    muon: bool = False
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: int = 100
    decay_from: float = 0.3
    decay: Literal["linear", "cosine"] = "linear"
    clip: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a run. Its length is `minutes` by the clock or `steps` of training, exactly one of them.

    The minutes are those of the whole run, from the first image read to the last file written. At its end, the
    refinement's adaptations to single images are fitted to `adaptation_images` crops, or as many as there is time for.
    """

    name: str
    phases: tuple[TrainingPhase, ...]
    data: Data = field(default_factory=Data)
    seed: int = 0
    steps: int | None = None
    minutes: float | None = None
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 20.0
    validation_images: int = 12
    adaptation_images: int = 1000
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: Loss = field(default_factory=Loss)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("a recipe needs exactly one of `steps` and `minutes`")
        if not self.phases or self.phases[-1].until != 1.0:
            raise TrainingError("the last phase must run until 1.0")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise TrainingError("`minutes` or `steps` must be above 0")
        if [p.until for p in self.phases] != sorted(p.until for p in self.phases):
            raise TrainingError("phases must follow each other in time: `until` must rise")
        if self.optimiser.decay not in ("linear", "cosine") or not 0 <= self.optimiser.decay_from < 1:
            raise TrainingError("`decay` is linear or cosine, from a `decay_from` of 0 up to below 1")
        if self.optimiser.warmup < 1:
            raise TrainingError("`warmup` must be at least 1 step")
        for phase in self.phases:
            if phase.batch < 1 or phase.crop < 64:
                raise TrainingError(f"a batch needs at least one crop of 64 pixels, got {phase.batch} of {phase.crop}")
            if phase.crop % 64:
                raise TrainingError(f"crops must be multiples of 64 pixels, got {phase.crop}")

    def phase(self, progress: float) -> TrainingPhase:
        """The phase at `progress` (0 to 1) of the run."""
        return next((p for p in self.phases if progress < p.until), self.phases[-1])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


def _build(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    if unknown := set(values) - known:
        raise TrainingError(
            f"{where}: unknown settings {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
        )
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (TypeError, ValueError) as error:
        raise TrainingError(f"{where}: {error}") from error


def load(path: str | Path) -> Recipe:
    """Read a recipe. Raises a `TrainingError` that names unknown or missing settings."""
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"cannot read the recipe {path}: {error}") from error
    return from_dict(values, str(path))


def from_dict(values: dict[str, Any], where: str) -> Recipe:
    """The inverse of `Recipe.to_dict`, also after JSON or TOML. `where` names the source in errors."""
    parts: dict[str, Any] = {}
    for key, kind in (("data", Data), ("model", ModelConfig), ("loss", Loss), ("optimiser", OptimiserSettings)):
        if key in values:
            parts[key] = _build(kind, values[key], f"{where} [{key}]")
    phases = [_build(TrainingPhase, phase, f"{where} [[phases]]") for phase in values.get("phases", [])]
    result: Recipe = _build(Recipe, values | parts | {"phases": phases}, where)
    return result


def fine_tuning(name: str, model: ModelConfig) -> Recipe:
    """The recipe to train a finished model further on a user's images: small steps that decay from the beginning."""
    return Recipe(
        name=name,
        minutes=20,
        phases=(TrainingPhase(until=1.0, batch=4, crop=192, optimise=True),),
        data=Data(downscale=(0.8, 0.2)),
        model=model,
        loss=Loss(balance=0.5),
        optimiser=OptimiserSettings(learning_rate=5e-4, refinement_rate=3.0, muon=True, decay_from=0.0),
    )


def replace_length(recipe: Recipe, minutes: float) -> Recipe:
    """The same recipe for a run of `minutes`."""
    return replace(recipe, minutes=minutes, steps=None)
