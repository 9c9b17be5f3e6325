"""The training loop: batch, Lagrangian, step, average, log, checkpoint, export, validate.

A batch, its levels and its noise depend only on the recipe's seed and the number of the step. So a run that is stopped
and resumed takes the same steps as one that is not. (If a recipe's length is in minutes, the learning rate depends on
the time.)

Losses are read from the device only every few steps; between, nothing waits for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from learned_codec.errors import TrainingError
from learned_codec.models import registry, weights
from learned_codec.models.config import BLOCK
from learned_codec.models.network import Network, network_of_weights

from . import data, export, recipe
from .checkpoint import load_checkpoint, network_of, save_checkpoint
from .lapping_design import initialise
from .loss import lagrangian
from .muon import Muon
from .recipe import Recipe

MAX_SKIPPED = 20
"""After this many steps in a row without finite gradients, the run stops: the weights are then beyond repair."""

LOOK = 20
"""Steps between two reads of the losses: reading waits for the device."""

FINISHING, FINISHING_MOST = 0.15, 300.0
"""The share of a run's minutes, and the most seconds, that are kept for the work after the last step."""

TRAINING_LEAST = 0.25
"""The least share of a run's minutes for training, however long it takes to read the images."""

CALIBRATION_IMAGES = 16
"""On how many images the ranges of activations and the scale tables are measured at export."""

ADAPTATION_CROP = 256
"""Pixels per side of the crops for fitting the adaptations, if images are large enough."""

TRANSFORM_CROPS = 2400
"""How many crops of 128 pixels the lapped filter and the order of the block transform's components are chosen for."""

ENDS = tuple(f"refinement.{name}." for name in ("enter", "leave", "cond_enter", "cond_leave"))
"""The first and last layers of the refinement, which AdamW trains."""


def train(
    recipe_path: str | Path | None,
    data_dir: str | Path,
    *,
    out: str | Path,
    resume: bool = False,
    start: str | Path | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    compile: bool = False,
) -> Path:
    """Train by a recipe. Returns the folder `out` with the results.

    The results are the weights and their card (`NAME.safetensors`, `NAME.json`), `checkpoint.pt`, `log.jsonl` and
    TensorBoard events.

    `resume` continues the run in `out` exactly. `start` begins a new run from a model (its name, or the path of its
    weights) or from another run's checkpoint. `minutes` replaces the recipe's length; it counts for the whole run.

    Without a recipe, a resumed run uses its own, and a model is trained further by `recipe.fine_tuning`, with all
    images below `data_dir`.

    Raises `TrainingError` for a bad recipe or data folder, and if gradients are no longer finite.
    """
    begun = time.monotonic()
    checkpoint = Path(out) / "checkpoint.pt"
    if resume and start is not None:
        raise TrainingError("a run is either resumed or started from other weights, not both")
    if not resume and checkpoint.exists():
        raise TrainingError(f"{out} holds a run already: resume it, or choose another folder")
    origin = None if start is None else _network_to_start_from(start)
    if recipe_path is not None:
        settings = recipe.load(recipe_path)
    elif resume:
        settings = recipe.from_dict(json.loads(load_checkpoint(checkpoint)["recipe"]), str(checkpoint))
    elif origin is not None:
        settings = recipe.fine_tuning(Path(out).name, origin.config)
    else:
        raise TrainingError("without a recipe, say which model to start from, or resume a run")
    if minutes is not None:
        settings = recipe.replace_length(settings, minutes)
    run = Trainer(settings, Path(data_dir), Path(out), device, compile, begun)
    if resume:
        run.restore()
    else:
        run.begin(origin)
    run.fit()
    run.finish()
    return run.folder


def _network_to_start_from(start: str | Path) -> Network:
    """The network of a checkpoint (with averaged weights), or of a model by its name or the path of its weights."""
    if Path(start).suffix == ".pt":
        return network_of(Path(start))
    return network_of_weights(weights.read(registry.by_name(start).path))


class Trainer:
    """One run: the network, its averaged weights, the optimiser and the position in the schedule.

    `begun` is the start of the run's minutes, by `time.monotonic`; by default now.
    """

    def __init__(
        self,
        settings: Recipe,
        data_dir: Path,
        folder: Path,
        device: str = "cpu",
        compile: bool = False,
        begun: float | None = None,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.begun = time.monotonic() if begun is None else begun
        folder.mkdir(parents=True, exist_ok=True)
        paths, held = data.find(data_dir, settings.data.folders, settings.data.holdout)
        with tqdm(total=len(paths), desc="reading images", unit="file", leave=False) as bar:
            images = data.load(
                paths, settings.model.bands, settings.data.simulated, lambda done, _: bar.update(done - bar.n)
            ).to(device)
        self.sampler = data.Sampler(
            images, settings.data.downscale, settings.seed, settings.data.shares, settings.data.contrast
        )
        self.validation = data.load(held, settings.model.bands) if held else None
        torch.manual_seed(settings.seed)
        network = Network(settings.model)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average_from(self.network.state_dict())
        self.optimisers = optimisers(self.network, settings.optimiser)
        self.forward = torch.compile(self.network) if compile else self.network
        self.step, self.skipped, self._in_a_row = 0, 0, 0
        self.elapsed = 0.0
        """Seconds of training so far in all sessions. `prepared` are those before the first step of the first one."""
        self.prepared = 0.0

    # -- the schedule -------------------------------------------------------------------------------------------------

    @property
    def training_seconds(self) -> float:
        """The seconds that a run in minutes trains: its length without the preparation and the work at the end."""
        whole = 60 * (self.settings.minutes or 0.0)
        return max(whole - self.prepared - min(FINISHING * whole, FINISHING_MOST), TRAINING_LEAST * whole)

    @property
    def progress(self) -> float:
        """The part of the training that is done, 0 to 1."""
        if self.settings.steps is not None:
            return min(1.0, self.step / self.settings.steps)
        return min(1.0, self.elapsed / self.training_seconds)

    def left(self) -> str:
        """The rest of the run in words."""
        if self.settings.steps is not None:
            return f"{self.step} of {self.settings.steps} steps are done, {self.settings.steps - self.step} are left"
        done, whole = self.elapsed / 60, self.training_seconds / 60
        return (
            f"{self.step} steps in {done:.1f} minutes are done; {max(0.0, whole - done):.1f} minutes of training are "
            "left, and the export"
        )

    def learning_rate(self) -> float:
        """The common learning rate of the next step: a rise, a plateau, and a decay to zero."""
        options = self.settings.optimiser
        left = min(1.0, (1 - self.progress) / (1 - options.decay_from))
        if options.decay == "cosine":
            left = 0.5 - 0.5 * math.cos(math.pi * left)
        return options.learning_rate * min(1.0, (self.step + 1) / options.warmup) * left

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self) -> Tensor:
        """Take one step. Returns its loss, bits/pixel, PSNR, and whether all was finite: otherwise it changed nothing.

        The results are on the device; nothing here waits for it.
        """
        settings = self.settings
        phase = settings.phase(self.progress)
        x = self.sampler.batch(self.step, phase.batch, phase.crop).contiguous(memory_format=torch.channels_last)
        torch.manual_seed(settings.seed * 1_000_003 + self.step)
        # Stratified: every batch spans all rates.
        level = (torch.rand(phase.batch) + torch.arange(phase.batch)) / phase.batch * (settings.model.levels - 1)
        level = level.to(self.device, non_blocking=True)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            output = self.forward(x, level, self.frequency if phase.optimise else None)
        loss, rate, mse = lagrangian(output, x, self.network.config.lagrangian(level), settings.loss)
        rates = self.learning_rate()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rates * group["rate"]
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.optimiser.clip)
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        for optimiser in self.optimisers:
            optimiser.found_inf = 1.0 - finite.float()  # type: ignore[attr-defined]  # what torch's `GradScaler` sets
            optimiser.step()
        self.step += 1
        self._update_average()
        return torch.stack([loss.detach(), rate.mean(), (-10 * torch.log10(mse)).mean(), finite])

    def _average_from(self, state: dict[str, Tensor]) -> None:
        self.average = {k: v.detach().clone() for k, v in state.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short horizon at first, or the initial weights would linger.
        keep = min(self.settings.optimiser.ema, self.step / (self.step + 20))
        averaged, current = [], []
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.average[name])
                current.append(value)
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(averaged, current, 1 - keep)

    # -- the run ------------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train until the last step or the end of the time, with validations and checkpoints in between."""
        settings = self.settings
        begun = time.monotonic()
        if not self.step:
            self.prepared = begun - self.begun
        before = self.elapsed
        saved = validated = begun
        unseen: list[Tensor] = []
        seen: list[dict[str, float]] = []
        images, since = 0, self.elapsed
        with (
            self._log() as log,
            tqdm(total=1000, desc=settings.name, bar_format="{desc} {percentage:3.0f}%|{bar}|{postfix}") as bar,
        ):
            log(
                {"event": "start", "step": self.step, "recipe": settings.to_dict(), "prepared": round(self.prepared, 1)}
            )
            while self.progress < 1:
                unseen.append(self.train_step())
                images += settings.phase(self.progress).batch
                self.elapsed = before + time.monotonic() - begun
                if self.step % LOOK == 0:
                    seen += self._look(unseen)
                if self.step % 100 == 0 and seen:
                    means = {k: float(np.mean([r[k] for r in seen])) for k in seen[0]}
                    seen.clear()
                    means |= {"step": self.step, "seconds": round(self.elapsed, 1), "skipped": self.skipped}
                    means |= {
                        "learning_rate": self.learning_rate(),
                        "images_per_second": images / (self.elapsed - since),
                    }
                    images, since = 0, self.elapsed
                    log(means)
                    bar.n = int(self.progress * 1000)
                    bar.set_postfix_str(
                        f"step {self.step} loss {means['loss']:.4f} {means['bpp']:.3f} bpp {means['psnr']:.2f} dB "
                        f"{means['images_per_second']:.0f} images/s, {self.skipped} skipped"
                    )
                now = time.monotonic()
                if now - saved > 60 * settings.checkpoint_minutes:
                    self._look(unseen)  # never a checkpoint of weights beyond repair
                    self.save()
                    saved = now
                if now - validated > 60 * settings.validate_minutes:
                    log(self.validate())
                    validated = now
            self._look(unseen)
            self.save()

    def _look(self, steps: list[Tensor]) -> list[dict[str, float]]:
        """The means over the finite steps since the last call; `steps` is empty afterwards."""
        found = []
        for loss, bpp, psnr, finite in torch.stack(steps).tolist() if steps else []:
            self._in_a_row = 0 if finite else self._in_a_row + 1
            self.skipped += not finite
            if self._in_a_row >= MAX_SKIPPED:
                raise TrainingError(
                    f"{self._in_a_row} steps in a row up to step {self.step} had a non-finite loss or gradient; "
                    f"the last good checkpoint is in {self.folder}; try a lower learning rate"
                )
            if finite:
                found.append({"loss": loss, "bpp": bpp, "psnr": psnr})
        steps.clear()
        return found

    def finish(self) -> None:
        """Write the averaged weights as a model, then validate it and fit its adaptations if there is time.

        After each of these three, there is a complete model.
        """
        network = network_of(self.checkpoint)
        images = _crops(self.sampler.images, CALIBRATION_IMAGES, 256)
        name, hours = self.settings.name, round(self.elapsed / 3600, 2)
        facts: dict[str, Any] = {"steps": self.step, "hours": hours, "recipe": self.settings.to_dict()}
        exported = export.export(network, images, self.device)
        export.write(exported, self.folder, name, facts)
        with self._log() as log:
            log(self.validate() | {"event": "end", "seconds": round(self.elapsed, 1)})
        held_out = _crops(self.validation, 4, 256) if self.validation is not None else images[:4]
        facts["exactness_cost"] = round(export.exactness_cost(network, exported, held_out), 6)
        export.write(exported, self.folder, name, facts)
        export.write(export.adapted(exported, self._views(), self.device), self.folder, name, facts)

    def _views(self) -> Iterator[Tensor]:
        """Crops for the adaptations, until time is up.

        They are like those of the batches, but drawn apart from them.
        """
        images = self.sampler.images
        largest = int(np.minimum(images.heights, images.widths).max())
        side = min(ADAPTATION_CROP, largest // BLOCK * BLOCK)
        least = 2 * self.settings.model.adaptations
        minutes = self.settings.minutes
        for number in range(self.settings.adaptation_images):
            late = minutes is not None and time.monotonic() - self.begun > 60 * minutes
            if late and number >= least:
                return
            yield self.sampler.batch(2**33 + number, 1, side)[0].cpu()

    @contextlib.contextmanager
    def _log(self) -> Iterator[Any]:
        """Inside the block, a function that writes a row to the log and to TensorBoard."""
        board = _tensorboard(self.folder)

        def write(row: dict[str, Any]) -> None:
            lines.write(json.dumps(row) + "\n")
            if board is None:
                return
            for key, value in row.items():
                if isinstance(value, int | float) and key != "step":
                    board.add_scalar(key, value, self.step)
                elif isinstance(value, list):  # validation: a value per quality level
                    for level, one in enumerate(value):
                        board.add_scalar(f"{key}/{level}", one, self.step)

        with (self.folder / "log.jsonl").open("a", buffering=1) as lines:
            yield write
        if board is not None:
            board.close()

    # -- validation ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Network]:
        """Inside the block, the network has the averaged weights and is in evaluation mode."""
        training = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        try:
            yield self.network
        finally:
            self.network.load_state_dict(training)
            self.network.train()

    def validate(self) -> dict[str, Any]:
        """Rate (bpp) and PSNR (dB) at each level: means over held-out images, with rounded latents."""
        if self.validation is None:
            return {"event": "validation", "step": self.step}
        crops = [c.to(self.device) for c in _crops(self.validation, self.settings.validation_images, 512)]
        with self.averaged() as network:
            points = [
                evaluate(network, crops, level, self.settings.phase(self.progress).optimise)
                for level in range(self.settings.model.levels)
            ]
        return {
            "event": "validation",
            "step": self.step,
            "validation_bpp": [round(p[0], 5) for p in points],
            "validation_psnr": [round(p[1], 4) for p in points],
        }

    # -- checkpoints --------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """The path of the checkpoint."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically: a run that is killed leaves the last complete one."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "elapsed": self.elapsed,
            "prepared": self.prepared,
            "skipped": self.skipped,
            "model": self.settings.model.to_dict(),
            "recipe": json.dumps(self.settings.to_dict()),
        }
        save_checkpoint(state, self.checkpoint)

    def restore(self) -> None:
        """Continue the run in the folder, and print what is left of it."""
        state = load_checkpoint(self.checkpoint, self.device)
        before, now = json.loads(state["recipe"]), json.loads(json.dumps(self.settings.to_dict()))
        # A run may be made longer or shorter, and be looked after differently; anything else would be another run.
        free = {
            "name",
            "steps",
            "minutes",
            "checkpoint_minutes",
            "validate_minutes",
            "validation_images",
            "adaptation_images",
        }
        if changed := [key for key in now if key not in free and now[key] != before.get(key)]:
            raise TrainingError(
                f"{self.checkpoint} was made by a recipe with another {', '.join(changed)}: resume it with that one, "
                "or begin a new run with --start"
            )
        self._load_network(state["network"], state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.elapsed, self.skipped = state["step"], state["elapsed"], state["skipped"]
        self.prepared = state["prepared"]
        # The minutes of a session that is resumed are those that the run has left, and then those of its end.
        spent = min(self.elapsed, self.training_seconds) + self.prepared
        self.begun = time.monotonic() - spent
        tqdm.write(f"resumed: {self.left()}", file=sys.stderr)

    def begin(self, origin: Network | None = None) -> None:
        """A new run, from a network of the same sizes if one is given."""
        if origin is None:
            origin = Network(self.settings.model)
            initialise(origin, self.sampler.crops(TRANSFORM_CROPS, 128).cpu())
        self._load_network(origin.state_dict(), origin.state_dict())

    def _load_network(self, state: dict[str, Tensor], average: dict[str, Tensor]) -> None:
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise TrainingError(f"the weights to start from do not fit the recipe's [model]: {error}") from error
        self.frequency = self.network.frequencies()
        self._average_from({name: value.to(self.device) for name, value in average.items()})


def optimisers(network: Network, options: recipe.OptimiserSettings) -> list[torch.optim.Optimizer]:
    """The optimisers of a network. Each group of parameters has a `rate`, relative to the schedule's.

    Parameters with rate 0 are frozen, which also saves their gradients. The block transform has none: it stays a DCT.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = options.refinement_rate if name.startswith("refinement.") else 1.0
        pointwise = parameter.ndim == 4 and parameter.shape[2:] == (1, 1)
        muon = options.muon and pointwise and not name.startswith(ENDS)
        if rate > 0:
            groups.setdefault((muon, rate), []).append(parameter)
        else:
            parameter.requires_grad_(False)
    adamw, muon_groups = (
        [{"params": parameters, "rate": rate} for (muon, rate), parameters in groups.items() if muon == wanted]
        for wanted in (False, True)
    )
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(adamw, options.learning_rate, betas=options.betas, weight_decay=0.0, fused=True)
    ]
    return [*found, Muon(muon_groups, options.learning_rate)] if muon_groups else found


@torch.inference_mode()
def evaluate(network: Network, images: list[Tensor], level: float, optimise: bool = False) -> tuple[float, float]:
    """Mean bits per pixel and PSNR in dB over (bands, H, W) images in [0, 1], sides multiples of 64."""
    rates, psnrs = [], []
    frequency = network.frequencies() if optimise else None
    for image in images:
        x = image[None].contiguous(memory_format=torch.channels_last)
        levels = torch.full((1,), float(level), device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            output = network(x, levels, frequency)
        error = (output.image.float().clamp(0, 1) - x).square().mean().clamp(min=1e-10)
        psnrs.append(-10 * math.log10(error.item()))
        rates.append((output.latent_bits + output.hyper_bits).item() / x[0, 0].numel())
    return float(np.mean(rates)), float(np.mean(psnrs))


def _crops(images: data.Images, count: int, most: int) -> list[Tensor]:
    """The middles of up to `count` images, at most `most` pixels per side, sides multiples of 64."""
    found = []
    for index in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int):
        image = images.image(int(index)).cpu()
        height, width = (min(most, side // 64 * 64) for side in image.shape[1:])
        if height and width:
            top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
            found.append(image[:, top : top + height, left : left + width])
    return found


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or None without the `train` extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
