"""The training loop, readable in one sitting: batch, Lagrangian, step, average, log, checkpoint, validate, export.

A batch, its quality levels and its noise depend on nothing but the recipe's seed and the step's number, so a run that
is stopped and resumed takes the same steps as one that is not. (By the clock, the learning rate depends on the time.)
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from learned_codec.errors import TrainingError
from learned_codec.models import weights
from learned_codec.models.config import BLOCK
from learned_codec.models.network import Network, network_of_weights

from . import data, export, recipe
from .checkpoint import load_checkpoint, network_of, save_checkpoint
from .lapping_design import initialise
from .loss import lagrangian
from .muon import Muon
from .recipe import Recipe
from .transplant import grow, to_one_band

MAX_SKIPPED = 20
"""So many steps in a row without a finite gradient stop the run: the weights are then beyond repair."""

CALIBRATION_IMAGES = 16

ADAPTATION_CROP = 256
"""Pixels per side of the crops that the adaptations are fitted to, where there are images as large."""

SKELETON_CROPS = 2400
"""Crops of 128 pixels for which the lapping and the components of the skeleton are chosen."""


def train(
    recipe_path: str | Path,
    data_dir: str | Path,
    *,
    out: str | Path,
    resume: bool = False,
    start: str | Path | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    compile: bool = False,
) -> Path:
    """Train by a recipe and return the folder `out` with what came of it.

    That is the weights and their card (`NAME.safetensors`, `NAME.json`), `checkpoint.pt`, `log.jsonl` and TensorBoard's
    events.

    `resume` continues the run in `out` exactly; `start` begins a new run from another run's checkpoint or from a
    model's weights file; `minutes` replaces the recipe's length.

    Raises `TrainingError` on a bad recipe or data folder, and when the loss stays non-finite.
    """
    settings = recipe.load(recipe_path)
    if minutes is not None:
        settings = recipe.replace_length(settings, minutes)
    if resume and start is not None:
        raise TrainingError("a run is either resumed or started from other weights, not both")
    if not resume and (Path(out) / "checkpoint.pt").exists():
        raise TrainingError(f"{out} holds a run already: resume it, or choose another folder")
    run = Trainer(settings, Path(data_dir), Path(out), device, compile)
    if resume:
        run.restore()
    elif start is not None:
        run.start_from(Path(start))
    run.fit()
    run.export()
    return run.folder


class Trainer:
    """One run: the network, its average, the optimiser and where it stands."""

    def __init__(self, settings: Recipe, data_dir: Path, folder: Path, device: str, compile: bool) -> None:
        self.settings, self.folder, self.device = settings, folder, device
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
        initialise(network, self.sampler.crops(SKELETON_CROPS, 128).cpu())
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimisers = optimisers(self.network, settings.optimiser)
        self.forward = torch.compile(self.network) if compile else self.network
        self.step, self.elapsed, self.skipped = 0, 0.0, 0

    # -- the schedule -------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        steps, minutes = self.settings.steps, self.settings.minutes
        if steps is not None:
            return min(1.0, self.step / steps)
        if minutes is not None:
            return min(1.0, self.elapsed / (60 * minutes))
        raise TrainingError("a recipe needs exactly one of `steps` and `minutes`")

    def learning_rate(self) -> float:
        options = self.settings.optimiser
        left = min(1.0, (1 - self.progress) / (1 - options.decay_from))
        if options.decay == "cosine":
            left = 0.5 - 0.5 * math.cos(math.pi * left)
        return options.learning_rate * min(1.0, (self.step + 1) / options.warmup) * left

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float] | None:
        """Take one step; None where the loss or a gradient was not finite and the step was skipped."""
        settings = self.settings
        phase = settings.phase(self.progress)
        x = self.sampler.batch(self.step, phase.batch, phase.crop).contiguous(memory_format=torch.channels_last)
        torch.manual_seed(settings.seed * 1_000_003 + self.step)
        # Stratified: every batch spans all rates.
        level = (torch.rand(phase.batch) + torch.arange(phase.batch)) / phase.batch * (settings.model.levels - 1)
        level = level.to(self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            output = self.forward(x, level, optimise=phase.optimise)
        loss, rate, mse = lagrangian(output, x, self.network.lagrangian(level), settings.loss)
        rates = self.learning_rate()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rates * group["rate"]
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.optimiser.clip)
        self.step += 1
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self.skipped += 1
            return None
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_average()
        return {"loss": loss.item(), "bpp": rate.mean().item(), "psnr": (-10 * torch.log10(mse)).mean().item()}

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
        settings = self.settings
        log = (self.folder / "log.jsonl").open("a", buffering=1)
        board = _tensorboard(self.folder)
        begun, before = time.monotonic(), self.elapsed
        saved = validated = time.monotonic()
        recent: list[dict[str, float]] = []
        in_a_row, images, since = 0, 0, self.elapsed
        with log, tqdm(total=1000, desc=settings.name, bar_format="{desc} {percentage:3.0f}%|{bar}|{postfix}") as bar:
            self._write(log, board, {"event": "start", "step": self.step, "recipe": settings.to_dict()})
            while self.progress < 1:
                row = self.train_step()
                self.elapsed = before + time.monotonic() - begun
                in_a_row = 0 if row else in_a_row + 1
                if in_a_row >= MAX_SKIPPED:
                    raise TrainingError(
                        f"{in_a_row} steps in a row up to step {self.step} had a non-finite loss or gradient; "
                        f"the last good checkpoint is in {self.folder}; try a lower learning rate"
                    )
                if row:
                    recent.append(row)
                    images += settings.phase(self.progress).batch
                if self.step % 100 == 0 and recent:
                    means = {k: float(np.mean([r[k] for r in recent])) for k in recent[0]}
                    recent.clear()
                    means |= {"step": self.step, "seconds": round(self.elapsed, 1), "skipped": self.skipped}
                    means |= {
                        "learning_rate": self.learning_rate(),
                        "images_per_second": images / (self.elapsed - since),
                    }
                    images, since = 0, self.elapsed
                    self._write(log, board, means)
                    bar.n = int(self.progress * 1000)
                    bar.set_postfix_str(
                        f"step {self.step} loss {means['loss']:.4f} {means['bpp']:.3f} bpp {means['psnr']:.2f} dB "
                        f"{means['images_per_second']:.0f} images/s, {self.skipped} skipped"
                    )
                now = time.monotonic()
                if now - saved > 60 * settings.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
                if now - validated > 60 * settings.validate_minutes:
                    self._write(log, board, self.validate())
                    validated = time.monotonic()
            self.save()
            self._write(log, board, self.validate() | {"event": "end", "seconds": round(self.elapsed, 1)})

    def _write(self, log: Any, board: Any, row: dict[str, Any]) -> None:
        log.write(json.dumps(row) + "\n")
        if board is None:
            return
        for key, value in row.items():
            if isinstance(value, int | float) and key != "step":
                board.add_scalar(key, value, self.step)
            elif isinstance(value, list):  # validation: a value per quality level
                for level, one in enumerate(value):
                    board.add_scalar(f"{key}/{level}", one, self.step)

    # -- validation ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Network]:
        """The network with the averaged weights, in evaluation mode; the training weights come back afterwards."""
        training = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        try:
            yield self.network
        finally:
            self.network.load_state_dict(training)
            self.network.train()

    def validate(self) -> dict[str, Any]:
        """Rate (bpp) and PSNR (dB) at each quality level, the mean over held-out images, latents really rounded."""
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

    def export(self) -> Path:
        """Write the averaged weights as a model, calibrated on training images, with its card."""
        network = network_of(self.checkpoint)
        facts = {"steps": self.step, "hours": round(self.elapsed / 3600, 2), "recipe": self.settings.to_dict()}
        images = _crops(self.sampler.images, CALIBRATION_IMAGES, 256)
        held_out = _crops(self.validation, 4, 256) if self.validation is not None else images[:4]
        return export.write(network, images, self._views(), held_out, self.folder, self.settings.name, facts)

    def _views(self) -> Iterator[Tensor]:
        """Crops for the adaptations, like those of the batches but not part of their sequence."""
        images = self.sampler.images
        largest = int(np.minimum(images.heights, images.widths).max())
        side = min(ADAPTATION_CROP, largest // BLOCK * BLOCK)
        for number in range(self.settings.adaptation_images):
            yield self.sampler.batch(2**33 + number, 1, side)[0].cpu()

    # -- checkpoints --------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically: a run killed at any moment leaves the last whole one."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped": self.skipped,
            "model": self.settings.model.to_dict(),
            "recipe": json.dumps(asdict(self.settings)),
        }
        save_checkpoint(state, self.checkpoint)

    def restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self.device)
        before, now = json.loads(state["recipe"]), json.loads(json.dumps(asdict(self.settings)))
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

    def start_from(self, path: Path) -> None:
        """Take the weights of a checkpoint (its averaged ones) or of a model's weights file.

        A model of one band can start from one of three bands, too, and a larger one from a smaller.
        """
        network = network_of_weights(weights.read(path)) if path.suffix == ".safetensors" else network_of(path)
        if (network.config.bands, self.settings.model.bands) == (3, 1):
            to_one_band(network, self.network)
            network = self.network
        elif network.config != self.settings.model:
            grow(network, self.network)
            network = self.network
        self._load_network(network.state_dict(), network.state_dict())

    def _load_network(self, state: dict[str, Tensor], average: dict[str, Tensor]) -> None:
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise TrainingError(f"the checkpoint does not fit the recipe's [model]: {error}") from error
        self.average = {k: v.detach().clone() for k, v in average.items()}


def optimisers(network: Network, options: recipe.OptimiserSettings) -> list[torch.optim.Optimizer]:
    """What trains a network: each group of parameters has its `rate`, relative to the schedule's.

    Parameters whose rate is 0 are frozen here, which also saves their gradients.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        refinement = ".refinement." in name
        rate = options.skeleton_rate if ".skeleton." in name else options.refinement_rate if refinement else 1.0
        pointwise = parameter.ndim == 4 and parameter.shape[2:] == (1, 1)
        muon = (
            options.muon
            and pointwise
            and not name.startswith(("synthesis.refinement.enter", "synthesis.refinement.leave"))
        )
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
    for image in images:
        x = image[None].contiguous(memory_format=torch.channels_last)
        levels = torch.full((1,), float(level), device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            output = network(x, levels, optimise=optimise)
        error = (output.image.float().clamp(0, 1) - x).square().mean().clamp(min=1e-10)
        psnrs.append(-10 * math.log10(error.item()))
        rates.append((output.latent_bits + output.hyper_bits).item() / x[0, 0].numel())
    return float(np.mean(rates)), float(np.mean(psnrs))


def _crops(images: data.Images, count: int, most: int) -> list[Tensor]:
    """The middles of up to `count` images, at most `most` pixels a side and multiples of 64."""
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
