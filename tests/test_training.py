"""The trainer, on pictures made on the spot."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_codec.demo import landscape
from learned_codec.errors import TrainingError
from learned_codec.models import weights
from learned_codec.models.config import ModelConfig
from learned_codec.models.network import Network
from learned_codec.models.twin import network_of_weights
from learned_codec.models.runtime import Model
from learned_codec.training import data, export, recipe, trainer
from learned_codec.training.checkpoint import load_checkpoint
from learned_codec.training.muon import Muon, orthogonalised

RECIPE = """
name = "tiny"
seed = 3
steps = {steps}
validation_images = 2
[data]
folders = ["pictures"]
holdout = 0.2
[[phases]]
until = 0.5
batch = 2
crop = 64
[[phases]]
until = 1.0
batch = 1
crop = 128
[model]
latents = 32
widths = [8, 12]
analysis_blocks = [1, 1]
synthesis_blocks = [1, 1]
hyper_latents = 8
context_width = 16
levels = 3
[optimiser]
warmup = 1
transform_rate = 1.0
skeleton_rate = 1.0
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of small pictures in several formats, and a recipe."""
    root = tmp_path_factory.mktemp("data")
    (root / "pictures").mkdir()
    for i in range(14):
        suffix = ("png", "jpg", "tif")[i % 3]
        Image.fromarray(landscape(150 + 10 * i, 180, seed=i)).save(root / "pictures" / f"{i:02d}.{suffix}")
    (root / "tiny.toml").write_text(RECIPE.format(steps=20))
    return root


def run(root: Path, out: Path, **options: object) -> dict[str, torch.Tensor]:
    folder = trainer.train(root / "tiny.toml", root, out=out, **options)  # type: ignore[arg-type]
    state: dict[str, torch.Tensor] = load_checkpoint(folder / "checkpoint.pt")
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.filterwarnings("ignore:.*")  # TensorBoard and its dependencies warn at import
def test_two_runs_are_the_same_and_so_is_a_resumed_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(root, tmp_path / "a")
    assert first["step"] == 20
    assert same(first["network"], run(root, tmp_path / "b")["network"])

    class KilledError(Exception):
        pass

    step = trainer.Trainer.train_step

    def die_at_13(self: trainer.Trainer) -> object:
        if self.step == 13:
            self.save()
            raise KilledError
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train_step", die_at_13)
        with pytest.raises(KilledError):
            run(root, tmp_path / "c")
    resumed = run(root, tmp_path / "c", resume=True)
    assert same(first["network"], resumed["network"])
    assert same(first["average"], resumed["average"])

    # Another recipe is another run; a longer one is not.
    (tmp_path / "other.toml").write_text(RECIPE.format(steps=30).replace("seed = 3", "seed = 4"))
    other = trainer.Trainer(recipe.load(tmp_path / "other.toml"), root, tmp_path / "c", "cpu", False)
    with pytest.raises(TrainingError, match="another seed"):
        other.restore()
    (tmp_path / "longer.toml").write_text(RECIPE.format(steps=30))
    trainer.Trainer(recipe.load(tmp_path / "longer.toml"), root, tmp_path / "c", "cpu", False).restore()

    # What it leaves: a log, and weights that code an image.
    folder = tmp_path / "a"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows[0]["event"] == "start"
    assert len(rows[-1]["validation_bpp"]) == 3
    model = Model(weights.read(folder / "tiny.safetensors"))
    y = model.analyse(torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0)))
    coded = model.code(y, 200)
    assert torch.equal(model.decode(coded.encoder.finish(), 200, 4, 5), coded.decoded)
    # The weights can be trained further: they hold the network, to float16.
    network = network_of_weights(weights.read(folder / "tiny.safetensors"))
    for name, value in network.state_dict().items():
        assert torch.allclose(value, first["average"][name], rtol=2e-3, atol=1e-4), name
    again = trainer.Trainer(recipe.load(root / "tiny.toml"), root, tmp_path / "again", "cpu", False)
    again.start_from(folder / "tiny.safetensors")
    assert same(again.average, network.state_dict())
    card = json.loads((folder / "tiny.json").read_text())
    assert card["steps"] == 20
    assert card["weights_id"] == model.id.hex()
    assert card["exactness_cost"] < 0.003


@pytest.mark.filterwarnings("ignore:.*")
def test_training_lowers_the_loss(root: Path, tmp_path: Path) -> None:
    settings = recipe.load(root / "tiny.toml")
    made = trainer.Trainer(settings, root, tmp_path, "cpu", False)
    rows = []
    for _ in range(12):
        made.step = 0  # the same batch each time
        row = made.train_step()
        assert row is not None
        rows.append(row["loss"])
    assert rows[-1] < 0.9 * rows[0]


@pytest.mark.filterwarnings("ignore:.*")
def test_non_finite_steps_are_skipped_and_then_stop_the_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer.Trainer(recipe.load(root / "tiny.toml"), root, tmp_path, "cpu", False)
    before = {k: v.clone() for k, v in made.network.state_dict().items()}
    batch = made.sampler.batch
    monkeypatch.setattr(made.sampler, "batch", lambda *a: batch(*a) * float("nan"))
    assert made.train_step() is None
    assert made.skipped == 1
    assert same(before, made.network.state_dict())
    monkeypatch.setattr(trainer, "MAX_SKIPPED", 5)
    with pytest.raises(TrainingError, match="5 steps in a row"):
        made.fit()


def test_ms_ssim_loss() -> None:
    pytest.importorskip("pytorch_msssim")
    from learned_codec.models.network import Output
    from learned_codec.training.loss import lagrangian

    target = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    bits, multiplier = torch.full((2,), 128.0**2), torch.tensor([0.01, 0.01])
    settings = recipe.Loss(mse=0.0, ms_ssim=1.0)
    same_image, _, _ = lagrangian(Output(target, bits, bits), target, multiplier, settings)
    assert same_image.item() == pytest.approx(2.0, abs=1e-3)  # 2 bits per pixel, no distortion
    noisy, _, _ = lagrangian(Output(target.flip(3), bits, bits), target, multiplier, settings)
    assert noisy.item() > same_image.item() + 1


def test_the_lagrangian_by_hand() -> None:
    from learned_codec.models.network import Output
    from learned_codec.training.loss import lagrangian

    target = torch.zeros(1, 3, 64, 64)
    output = Output(target + 2 / 255, torch.tensor([64.0**2]), torch.tensor([0.5 * 64**2]))
    loss, rate, mse = lagrangian(output, target, torch.tensor([0.04]), recipe.Loss(balance=0.5))
    assert rate.item() == pytest.approx(1.5)
    assert mse.item() * 255**2 == pytest.approx(4, rel=1e-5)
    assert loss.item() == pytest.approx((0.04 * 4 + 1.5) / 2, rel=1e-5)


def test_batches_depend_on_their_number_alone(root: Path) -> None:
    paths, _ = data.find(root, ("pictures",), 0.0)
    images = data.load(paths, 3)
    a, b = (data.Sampler(images, (0.5, 0.5), seed=7) for _ in range(2))
    a.batch(0, 4, 64)
    assert torch.equal(a.batch(5, 4, 64), b.batch(5, 4, 64))
    assert not torch.equal(a.batch(5, 4, 64), a.batch(6, 4, 64))
    batch = a.batch(1, 8, 64)
    assert batch.shape == (8, 3, 64, 64)
    assert 0 <= batch.min() < batch.max() <= 1
    assert torch.allclose(batch * 255, (batch * 255).round(), atol=1e-3)


def test_crops_are_parts_of_the_images() -> None:
    gradient = np.stack(np.meshgrid(np.arange(200), np.arange(100), indexing="ij"), -1).astype(np.uint8)
    pixels = torch.from_numpy(np.concatenate([gradient, gradient[..., :1]], -1).reshape(-1, 3))
    images = data.Images(pixels, np.array([0]), np.array([200]), np.array([100]))
    crop = data.Sampler(images, (1.0,), seed=0).batch(0, 1, 64)[0] * 255
    steps = {tuple(d.abs().round().int().flatten()[:1].tolist()) for d in (crop[0].diff(dim=0), crop[0].diff(dim=1))}
    assert steps == {(0,), (1,)}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # a picture, not a map
def test_colours_of_16_bits_stay_so(tmp_path: Path) -> None:
    import rasterio

    ramp = np.arange(3 * 20 * 30, dtype=np.uint16).reshape(3, 20, 30) * 30
    with rasterio.open(tmp_path / "a.png", "w", driver="PNG", width=30, height=20, count=3, dtype="uint16") as target:
        target.write(ramp)
    assert np.array_equal(data.read_pixels(tmp_path / "a.png"), ramp.transpose(1, 2, 0))


def test_16_bit_and_single_bands(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    ramp = (np.arange(80 * 90).reshape(80, 90) % 5000 + 100).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "p" / "a.png")
    Image.fromarray((ramp % 256).astype(np.uint8)).save(tmp_path / "p" / "b.png")
    images = data.load(sorted((tmp_path / "p").iterdir()), 1)
    assert images.pixels.dtype == torch.float16
    assert images.image(0).shape == (1, 80, 90)
    assert images.image(0).min() > -0.1
    assert images.image(0).max() < 1.1
    with pytest.raises(TrainingError, match="3 bands"):
        data.load([tmp_path / "p" / "a.png"], 3)


def test_whole_scenes_are_held_out(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with (tmp_path / "p" / "SOURCES.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["file", "scene_group"])
        for i in range(300):
            (tmp_path / "p" / f"{i}.png").touch()
            rows.writerow([f"{i}.png", f"scene {i // 10}"])
    train, held = data.find(tmp_path, ("p",), 0.3)
    assert len(train) + len(held) == 300
    assert 30 <= len(held) <= 200
    assert not {int(p.stem) // 10 for p in train} & {int(p.stem) // 10 for p in held}


@pytest.mark.parametrize("shape", [(6, 6), (5, 12), (12, 5)])
def test_orthogonalised_matrices_have_singular_values_near_1(shape: tuple[int, int]) -> None:
    matrices = list(torch.randn(3, *shape, generator=torch.Generator().manual_seed(1)))
    values = torch.linalg.svdvals(orthogonalised(matrices))
    assert values.median() == pytest.approx(1, abs=0.2)
    assert values.max() < 1.3


def test_muon_steps_downhill_as_far_as_adamw_would() -> None:
    target = torch.randn(8, 12, 1, 1, generator=torch.Generator().manual_seed(2))
    weight = torch.nn.Parameter(torch.zeros_like(target))
    muon = Muon([weight], 0.01)
    (weight - target).square().sum().backward()
    muon.step()
    assert (weight * target).sum() > 0
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.25)


def test_each_parameter_learns_at_its_rate() -> None:
    network = Network(ModelConfig(latents=32, widths=(8, 12), hyper_latents=8, context_width=16, levels=3))
    options = recipe.Optimiser(muon=True, transform_rate=0.25, skeleton_rate=0.0)
    rates = {
        id(parameter): (type(optimiser).__name__, group["rate"])
        for optimiser in trainer.optimisers(network, options)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    found = {name: rates.get(id(parameter)) for name, parameter in network.named_parameters()}
    assert found["analysis.skeleton.weight"] is None
    assert found["synthesis.enter.weight"] == ("AdamW", 0.25)
    assert found["entropy.hyper_synthesis.leave.weight"] == ("Muon", 1.0)
    assert found["entropy.log2_gain"] == ("AdamW", 1.0)
    assert [name for name, rate in found.items() if rate is None] == [
        "analysis.skeleton.weight", "synthesis.skeleton.weight",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("steps = 20", "steps = 20\nminutes = 3"), "exactly one"),
        (("seed = 3", "sed = 3"), "sed"),
        (("crop = 64", "crop = 65"), "65"),
        (("until = 1.0", "until = 0.9"), "last phase"),
        (("levels = 3", "levels = 1"), "levels"),
        (("[model]", "[modell]"), "modell"),
        (("seed = 3", "seed = "), "cannot read"),
    ],
)
def test_wrong_recipes(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(RECIPE.format(steps=20).replace(*change))
    with pytest.raises(TrainingError, match=words):
        recipe.load(path)


def test_the_recipes_of_the_package_are_right() -> None:
    folder = Path(trainer.__file__).parent / "recipes"
    assert [recipe.load(path).name for path in sorted(folder.glob("*.toml"))]


def test_missing_data_and_checkpoints(root: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such data folder"):
        trainer.train(root / "tiny.toml", tmp_path, out=tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"foreign")
    with pytest.raises(TrainingError, match="holds a run already"):
        trainer.train(root / "tiny.toml", root, out=tmp_path)
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer.train(root / "tiny.toml", root, out=tmp_path, resume=True)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(TrainingError, match="no checkpoint"):
        trainer.train(root / "tiny.toml", root, out=tmp_path, resume=True)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match="broken.png"):
        trainer.train(root / "tiny.toml", tmp_path, out=tmp_path)
