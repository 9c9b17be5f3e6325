"""The trainer, on pictures made on the spot."""

import csv
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import learned_codec
from learned_codec.cli import main
from learned_codec.demo import landscape
from learned_codec.errors import TrainingError
from learned_codec.models import weights
from learned_codec.models.config import ModelConfig
from learned_codec.models.model import Model
from learned_codec.models.network import Network, network_of_weights
from learned_codec.training import data, export, recipe, speckle, trainer
from learned_codec.training.checkpoint import load_checkpoint
from learned_codec.training.muon import Muon, orthogonalised

RECIPE = """
name = "tiny"
seed = 3
steps = {steps}
validation_images = 2
adaptation_images = 40
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
bands = 1
levels = 3
hyper_latents = 8
context_width = 12
widths = [16, 12, 12]
refinement_width = 8
refinement_blocks = 1
refinement_inner = 16
condition_width = 8
[optimiser]
warmup = 1
refinement_rate = 1.0
"""


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def few_crops_for_the_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "TRANSFORM_CROPS", 64)


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


def made(root: Path, folder: Path, name: str = "tiny.toml") -> trainer.Trainer:
    """A run that has taken no step yet."""
    begun = trainer.Trainer(recipe.load(root / name), root, folder)
    begun.begin()
    return begun


def run(root: Path, out: Path, **options: object) -> dict[str, torch.Tensor]:
    folder = trainer.train(root / "tiny.toml", root, out=out, **options)  # type: ignore[arg-type]
    state: dict[str, torch.Tensor] = load_checkpoint(folder / "checkpoint.pt")
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.filterwarnings("ignore:.*")  # TensorBoard and its dependencies warn at import
def test_two_runs_are_the_same_and_so_is_a_resumed_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(root, tmp_path / "a")
    assert first["step"] == 20
    assert same(first["network"], run(root, tmp_path / "b")["network"])

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
    other = trainer.Trainer(recipe.load(tmp_path / "other.toml"), root, tmp_path / "c")
    with pytest.raises(TrainingError, match="another seed"):
        other.restore()
    (tmp_path / "longer.toml").write_text(RECIPE.format(steps=30))
    capsys.readouterr()
    trainer.Trainer(recipe.load(tmp_path / "longer.toml"), root, tmp_path / "c").restore()
    assert "20 of 30 steps are done, 10 are left" in capsys.readouterr().err

    # What it leaves: a log, and weights that code an image.
    folder = tmp_path / "a"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows[0]["event"] == "start"
    assert len(rows[-1]["validation_bpp"]) == 3
    model = Model(weights.read(folder / "tiny.safetensors"))
    y = model.analyse(np.random.default_rng(0).random((1, 64, 80), np.float32))
    coded = model.code(y, 200)
    (decoded,) = model.decode(coded.encoder.finish(), 200, 4, 5)
    assert np.array_equal(decoded, coded.decoded)
    # The weights can be trained further: they hold the network, to float16.
    network = network_of_weights(weights.read(folder / "tiny.safetensors"))
    for name, value in network.state_dict().items():
        if name == "refinement.adaptations":  # fitted at export
            assert value.abs().sum(2).min() > 0
            continue
        assert torch.allclose(value, first["average"][name], rtol=2e-3, atol=1e-4), name
    again = trainer.Trainer(recipe.load(root / "tiny.toml"), root, tmp_path / "again")
    again.begin(trainer._network_to_start_from(folder / "tiny.safetensors"))
    assert same(again.average, network.state_dict())
    card = json.loads((folder / "tiny.json").read_text())
    assert card["steps"] == 20
    assert card["weights_id"] == model.id.hex()
    assert card["adaptations"] == 16
    assert card["exactness_cost"] < 0.003


@pytest.mark.filterwarnings("ignore:.*")
def test_trained_weights_code_images_and_are_trained_further(
    root: Path, tmp_path: Path, weights_of_a_run: Path
) -> None:
    image = landscape(80, 96)
    data = learned_codec.encode(image, quality=90, model=weights_of_a_run, effort=1)
    learned_codec.register_model(weights_of_a_run)
    assert np.abs(learned_codec.decode(data).astype(int) - image).mean() < 20
    network = network_of_weights(weights.read(weights_of_a_run))
    again = trainer.Trainer(recipe.fine_tuning("again", network.config), root, tmp_path / "again")
    again.begin(network)
    before = again.average["refinement.leave.weight"].clone()
    again.train_step()
    assert not torch.equal(again.network.state_dict()["refinement.leave.weight"], before)
    (tmp_path / "other.toml").write_text(RECIPE.format(steps=2).replace("levels = 3", "levels = 4"))
    other = trainer.Trainer(recipe.load(tmp_path / "other.toml"), root, tmp_path / "other")
    with pytest.raises(TrainingError, match=r"do not fit the recipe's \[model\]"):
        other.begin(network)


@pytest.mark.filterwarnings("ignore:.*")
def test_training_lowers_the_loss(root: Path, tmp_path: Path) -> None:
    (root / "fast.toml").write_text(RECIPE.format(steps=40) + "learning_rate = 0.02\n")
    begun = made(root, tmp_path, "fast.toml")
    losses = []
    for _ in range(30):
        begun.step = 0  # the same batch each time
        loss, _bpp, _psnr, finite = begun.train_step().tolist()
        assert finite
        losses.append(loss)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings("ignore:.*")
def test_non_finite_steps_are_skipped_and_then_stop_the_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = made(root, tmp_path)
    begun.train_step()  # the optimisers have a momentum
    before = {k: v.clone() for k, v in begun.network.state_dict().items()}
    batch = begun.sampler.batch
    monkeypatch.setattr(begun.sampler, "batch", lambda *a: batch(*a) * float("nan"))
    assert begun._look([begun.train_step() for _ in range(3)]) == []
    assert begun.skipped == 3
    assert same(before, begun.network.state_dict())
    monkeypatch.undo()
    assert begun._look([begun.train_step()])
    assert not same(before, begun.network.state_dict())
    monkeypatch.setattr(begun.sampler, "batch", lambda *a: batch(*a) * float("nan"))
    monkeypatch.setattr(trainer, "MAX_SKIPPED", 5)
    with pytest.raises(TrainingError, match="5 steps in a row"):
        begun.fit()
    assert not (tmp_path / "checkpoint.pt").exists()  # of such weights


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


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_crops_are_what_they_are_said_to_be(scale: int) -> None:
    """Every crop is, turned back, a block average of one of the images, at a place that is a place of it."""
    rng = np.random.default_rng(0)
    sizes = [(70, 90), (80, 64)]
    pictures = [rng.integers(0, 256, (*size, 2), np.uint8) for size in sizes]
    flat = torch.from_numpy(np.concatenate([p.reshape(-1, 2) for p in pictures]))
    heights, widths = np.array(sizes).T
    images = data.Images(flat, np.array([0, 70 * 90]), heights, widths, np.array([0, 0]))
    probabilities = tuple(float(k + 1 == scale) for k in range(scale))
    batch = data.Sampler(images, probabilities, seed=1).batch(0, 24, 16).permute(0, 2, 3, 1).numpy() * 255
    turns = set()
    for crop in batch:
        hits = []
        for number, picture in enumerate(pictures):
            side = 16 * scale
            windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side), (0, 1)).astype(np.float32)
            means = windows.reshape(*windows.shape[:3], 16, scale, 16, scale).mean((4, 6))
            for turn in range(8):
                back = np.transpose(crop, (1, 0, 2)) if turn & 1 else crop
                back = back[:: -1 if turn & 2 else 1, :: -1 if turn & 4 else 1]
                found = (np.abs(means - back.transpose(2, 0, 1)) < 0.51).all((2, 3, 4))  # rounded to integers
                hits += [(number, turn)] * int(found.sum())
        assert len(hits) == 1
        turns.add(hits[0])
    assert len(turns) > 8


def test_a_crop_s_scale_does_not_tell_its_place_in_the_batch(root: Path) -> None:
    paths, _ = data.find(root, ("pictures",), 0.0)
    images = data.load(paths, 3)
    sampler = data.Sampler(images, (0.5, 0.5), seed=7)
    detail = torch.stack([sampler.batch(i, 8, 64).diff(dim=3).abs().mean((1, 2, 3)) for i in range(40)])
    halves = detail[:, :4].mean(), detail[:, 4:].mean()
    assert halves[0] == pytest.approx(halves[1].item(), rel=0.15)


def test_images_are_found_anywhere_below_a_plain_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.JPG", "b/d/e.tif", "b/d/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train, held = data.find(tmp_path, (), 0.01)
    assert {p.relative_to(tmp_path).as_posix() for p in train + held} == {"a.png", "b/c.JPG", "b/d/e.tif"}
    assert len(held) == 1  # few as they are, one of them validates
    assert data.find(tmp_path, (), 0.0) == (sorted(train + held), [])
    with pytest.raises(TrainingError, match="no images"):
        data.find(tmp_path / "b" / "d" / "g", (), 0.1)
    with pytest.raises(TrainingError, match="without a recipe"):
        data.find(tmp_path, ("photo_train",), 0.1)
    with pytest.raises(TrainingError, match="held out"):
        data.find(tmp_path, (), 1.0)


def test_crops_are_parts_of_the_images() -> None:
    gradient = np.stack(np.meshgrid(np.arange(200), np.arange(100), indexing="ij"), -1).astype(np.uint8)
    pixels = torch.from_numpy(np.concatenate([gradient, gradient[..., :1]], -1).reshape(-1, 3))
    images = data.Images(pixels, np.array([0]), np.array([200]), np.array([100]), np.array([0]))
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
    ramp = (np.arange(200 * 210).reshape(200, 210) % 5000 + 100).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "p" / "a.png")
    Image.fromarray((ramp % 256).astype(np.uint8)).save(tmp_path / "p" / "b.png")
    images = data.load(sorted((tmp_path / "p").iterdir()), 1)
    assert images.pixels.dtype == torch.float16
    assert images.image(0).shape == (1, 200, 210)
    assert images.image(0).min() > -0.1
    assert images.image(0).max() < 1.1
    with pytest.raises(TrainingError, match="3 bands"):
        data.load([tmp_path / "p" / "a.png"], 3)


def test_small_images_are_continued_in_their_mirror_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = data.load([tmp_path / "a.png"], 1).image(0)[0] * 255
    assert image.shape == (data.MIN_SIDE, data.MIN_SIDE)
    assert np.array_equal(image[:80, :90], pixels)
    assert torch.equal(image[80:160], image[:80].flip(0))
    assert torch.equal(image[:, 90:180], image[:, :90].flip(1))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_several_bands_become_their_spectral_components(tmp_path: Path) -> None:
    import rasterio

    rng = np.random.default_rng(0)
    shares = rng.normal(size=(4, 4)) * [30, 100, 30, 10] + [300, 0, 0, 0]  # the first is common to all
    mixed = np.tensordot(shares, rng.normal(size=(4, 200, 200)), 1) + 2000
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=200, height=200, count=4, dtype="uint16") as file:
        file.write(mixed.astype(np.uint16))
    images = data.load([tmp_path / "a.tif"], 1)
    assert len(images) == 4
    planes = torch.cat([images.image(i).reshape(1, -1) for i in range(4)]).double()
    deviations = planes.std(1)
    assert (deviations.diff() < 0).all()
    correlations = torch.corrcoef(planes) - torch.eye(4)
    assert correlations.abs().max() < 0.02


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_radar_comes_in_decibels(tmp_path: Path) -> None:
    import rasterio

    decibels = np.random.default_rng(0).normal(-12, 3, (1, 60, 70)).astype(np.float32)
    decibels[0, :5] = np.nan
    stored = {
        "sigma0 linear power": 10 ** (decibels / 10),
        "amplitude DN": 10 ** (decibels / 20),
        "dB": decibels,
        "uint16 = round(100*dB)+10000, nodata 0": np.nan_to_num(np.rint(100 * decibels) + 10000).astype(np.uint16),
    }
    for number, (unit, values) in enumerate(stored.items()):
        path = tmp_path / f"{number}.tif"
        with rasterio.open(path, "w", driver="GTiff", width=70, height=60, count=1, dtype=values.dtype.name) as file:
            file.write(values)
            file.update_tags(UNIT=unit, POL="VV")
        found = data.read_pixels(path)
        assert found.shape == (60, 70, 1)
        np.testing.assert_allclose(found[5:, :, 0], decibels[0, 5:], atol=0.006)
        assert np.isfinite(found).all()  # what has no value is filled from its neighbours
        assert abs(found[:5].mean() + 12) < 3


def test_outliers_stay_within_float16() -> None:
    values = np.zeros((40, 50, 1), np.float32)
    values[3, 4] = 1e30
    assert np.isfinite(data.to_unit(values)).all()
    assert np.array_equal(data.to_unit(np.full((4, 5, 1), 7.0)), np.zeros((4, 5, 1)))


def folders_of(tmp_path: Path) -> list[Path]:
    """Three pictures of one grey each, in two folders: 10 and 20 in `a`, 200 in `b`."""
    paths = []
    for name, level, height in (("a/0.png", 10, 192), ("a/1.png", 20, 384), ("b/0.png", 200, 192)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((height, 192), level, np.uint8)).save(tmp_path / name)
        paths.append(tmp_path / name)
    return paths


def levels_drawn(sampler: data.Sampler) -> dict[int, float]:
    """The grey of each crop, and its share of all."""
    batches = torch.cat([sampler.batch(step, 32, 16).mean((1, 2, 3)) for step in range(30)])
    values, counts = (batches * 255).round().int().unique(return_counts=True)
    return dict(zip(values.tolist(), (counts / counts.sum()).tolist(), strict=True))


def test_folders_are_drawn_by_their_shares(tmp_path: Path) -> None:
    images = data.load(folders_of(tmp_path), 1)
    assert images.folders.tolist() == [0, 0, 1]
    by_area = levels_drawn(data.Sampler(images, (1.0,), seed=0))
    assert by_area == pytest.approx({10: 0.25, 20: 0.5, 200: 0.25}, abs=0.05)
    by_share = levels_drawn(data.Sampler(images, (1.0,), seed=0, shares=(0.3, 0.7)))
    assert by_share == pytest.approx({10: 0.1, 20: 0.2, 200: 0.7}, abs=0.05)
    with pytest.raises(TrainingError, match="3 shares for 2 folders"):
        data.Sampler(images, (1.0,), seed=0, shares=(0.1, 0.2, 0.7))


def test_simulated_radar_is_one_more_folder(tmp_path: Path) -> None:
    paths = folders_of(tmp_path)
    images = data.load(paths, 1, simulated=("b",))
    assert images.folders.tolist() == [0, 0, 1, 2]
    scene = images.image(3)
    assert images.pixels.dtype == torch.float16  # no longer 8-bit
    assert scene.shape[0] == 1
    assert min(scene.shape[1:]) >= data.MIN_SIDE
    assert scene.std() > 0.05  # speckle, of a flat picture
    assert torch.equal(images.pixels, data.load(paths, 1, simulated=("b",)).pixels)
    both = data.load(paths, 1, simulated=("a", "b"))
    assert both.folders.tolist() == [0, 2, 0, 2, 1, 3]


def test_contrast_changes_a_share_of_the_crops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (200, 200), np.uint8)).save(tmp_path / "a.png")
    images = data.load([tmp_path / "a.png"], 1)
    plain, changed = (
        torch.cat([data.Sampler(images, (1.0,), seed=0, contrast=c).batch(i, 32, 32) for i in range(20)])
        for c in (0.0, 0.3)
    )
    usual = plain.std((1, 2, 3)).mean()
    spread = changed.std((1, 2, 3)) / usual
    touched = (spread - 1).abs() > 0.05
    assert touched.float().mean() == pytest.approx(0.3, abs=0.06)
    assert spread.min() == pytest.approx(1 / 50, rel=0.5)
    assert spread.max() == pytest.approx(50**0.3, rel=0.2)
    assert changed[spread < 0.5].mean((1, 2, 3)).min() > 0.19
    assert changed[spread < 0.5].mean((1, 2, 3)).max() < 0.81


# -- simulated radar ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_speckle_is_like_sentinel_1_s(seed: int) -> None:
    """By the figures measured on real chips: see `../shared/data/README.md` and `speckle`."""
    intensity = speckle.speckle((512, 400), np.random.default_rng(seed)).astype(float)
    assert intensity.mean() == pytest.approx(1, rel=0.02)
    assert 4.4 <= intensity.mean() ** 2 / intensity.var() <= 5.4
    centred = intensity - intensity.mean()
    for axis in (0, 1):
        lags = [float((centred * np.roll(centred, lag, axis)).mean() / centred.var()) for lag in (1, 2, 3)]
        assert 0.6 <= lags[0] <= 0.75
        assert 0.18 <= lags[1] <= 0.32
        assert 0 <= lags[2] <= 0.12


def test_speckle_follows_the_mean() -> None:
    power = np.ones((128, 256), np.float32)
    power[:, 128:] = 10
    found = speckle.speckle(power.shape, np.random.default_rng(0), power)
    assert found[:, 20:108].mean() == pytest.approx(1, rel=0.1)
    assert found[:, 148:236].mean() == pytest.approx(10, rel=0.1)


def test_simulated_scenes_have_the_percentiles_of_real_ones() -> None:
    band = landscape(256, 256)[..., 1].astype(np.float32)
    scenes = [speckle.simulate(band, np.random.default_rng(seed)) for seed in range(40)]
    assert all(np.isfinite(scene).all() for scene in scenes)
    low, middle, high = np.percentile(np.array([np.percentile(s, [1, 50, 99]) for s in scenes]), [10, 50, 90], 0).T
    # VV and VH are -22 and -28, -11 and -18, -3 and -10 dB, and scenes of little contrast come nearer to their middle.
    assert -29 < low[0] < low[2] < -14
    assert -21 < middle[0] < middle[2] < -8
    assert -17 < high[0] < high[2] < -1
    assert 5 < high[1] - middle[1] < 10
    assert scenes[0].dtype == np.float32
    assert np.array_equal(scenes[3], speckle.simulate(band, np.random.default_rng(3)))
    flat = speckle.simulate(np.full((64, 64), 5, np.float32), np.random.default_rng(0))
    assert np.isfinite(flat).all()


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


def test_muon_skips_a_step_that_is_not_finite() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 6, 1, 1))
    muon = Muon([weight], 0.1)
    weight.grad = torch.rand(4, 6, 1, 1)
    muon.step()
    before, momentum = weight.detach().clone(), muon.state[weight]["momentum"].clone()
    weight.grad = torch.full_like(weight, float("nan"))
    muon.found_inf = torch.tensor(1.0)
    muon.step()
    assert torch.equal(weight.detach(), before)
    assert torch.equal(muon.state[weight]["momentum"], momentum)


def test_each_parameter_learns_at_its_rate() -> None:
    network = Network(ModelConfig(levels=3, hyper_latents=8, context_width=12, widths=(16, 12, 12)))
    options = recipe.OptimiserSettings(muon=True, refinement_rate=0.25)
    rates = {
        id(parameter): (type(optimiser).__name__, group["rate"])
        for optimiser in trainer.optimisers(network, options)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    found = {name: rates.get(id(parameter)) for name, parameter in network.named_parameters()}
    assert found["refinement.enter.weight"] == ("AdamW", 0.25)
    assert found["refinement.cond_leave.weight"] == ("AdamW", 0.25)
    assert found["refinement.blocks.0.expand.weight"] == ("Muon", 0.25)
    assert found["refinement.cond_block.expand.weight"] == ("Muon", 0.25)
    assert found["entropy.hyper_synthesis.leave.weight"] == ("Muon", 1.0)
    assert found["entropy.log2_gain"] == ("AdamW", 1.0)
    assert None not in found.values()  # the block transform stays a DCT: it has no parameters


# -- models of one's own -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights_of_a_run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own")
    begun = made(root, out)
    begun.save()
    network = trainer.network_of(begun.checkpoint)
    return export.write(export.export(network, [torch.rand(1, 64, 64)]), out, "toy", {})


@pytest.mark.filterwarnings("ignore:.*")
def test_a_model_is_trained_on_with_any_folder_of_images(
    weights_of_a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenes = tmp_path / "scenes" / "2024" / "june"
    scenes.mkdir(parents=True)
    for i in range(4):
        Image.fromarray(landscape(100 + 50 * i, 210, seed=i)).save(scenes / f"{i}.png")
    (scenes / "notes.txt").write_text("no image")
    start = ["train", "--start", str(weights_of_a_run), "--data", "scenes", "--minutes", "0.1"]
    result = CliRunner().invoke(main, start)
    assert result.exit_code == 0, result.output
    found = tmp_path / "runs" / "toy-scenes" / "toy-scenes.safetensors"
    assert weights.read(found).config == weights.read(weights_of_a_run).config
    assert weights.read(found).id != weights.read(weights_of_a_run).id
    picture = landscape(64, 64)
    data_of_it = learned_codec.encode(picture, quality=80, model=found)
    assert learned_codec.inspect(data_of_it).weights_id == weights.read(found).id.hex()
    assert "holds a run already" in CliRunner().invoke(main, start).output
    # It goes on without a recipe, too.
    again = ["train", "--resume", "--out", "runs/toy-scenes", "--data", "scenes", "--minutes", "0.12"]
    result = CliRunner().invoke(main, again)
    assert result.exit_code == 0, result.output
    assert "minutes of training are left" in result.output
    assert CliRunner().invoke(main, ["train", "--data", "scenes"]).exit_code == 2


def test_a_models_name_is_a_start() -> None:
    network = trainer._network_to_start_from("mono-2")
    settings = recipe.fine_tuning("mine", network.config)
    assert settings.model.bands == 1
    assert recipe.from_dict(json.loads(json.dumps(settings.to_dict())), "mine") == settings


@pytest.mark.filterwarnings("ignore:.*")
def test_weights_are_there_before_the_slower_steps(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    (tmp_path / "tiny.toml").write_text(RECIPE.format(steps=2))
    for number, step in enumerate(("validate", "exactness_cost", "adapted")):
        out = tmp_path / step
        with monkeypatch.context() as patch:
            patch.setattr(trainer.Trainer if number == 0 else export, step, killed)
            with pytest.raises(KilledError):
                trainer.train(tmp_path / "tiny.toml", root, out=out)
        found = weights.read(out / "tiny.safetensors")
        assert json.loads((out / "tiny.json").read_text())["weights_id"] == found.id.hex()
        assert Model(found).config.widths == (16, 12, 12)


def test_minutes_are_those_of_the_whole_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "timed.toml").write_text(RECIPE.replace("steps = {steps}", "minutes = 100"))
    (tmp_path / "pictures").symlink_to(root / "pictures")
    begun = made(tmp_path, tmp_path / "a", "timed.toml")
    begun.prepared = 60.0
    assert begun.training_seconds == 6000 - 60 - trainer.FINISHING_MOST
    begun.elapsed = begun.training_seconds / 4
    assert begun.progress == pytest.approx(0.25)
    begun.settings = recipe.replace_length(begun.settings, 1.0)
    begun.prepared = 6.0
    assert begun.training_seconds == pytest.approx(60 - 6 - 9)
    begun.prepared = 600.0  # images that take longer to read than the whole run may
    assert begun.training_seconds == pytest.approx(15)


@pytest.mark.filterwarnings("ignore:.*")
def test_the_recipe_for_a_gpu_runs_dry_and_ends_by_the_clock(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the size of the network and of the batches is as there; a clock that ticks when it is read shows 9 s."""
    text = (Path(trainer.__file__).parent / "recipes" / "rgb_gpu.toml").read_text()
    for old, new in (
        ("minutes = 12\n", "minutes = 0.15\n"),
        ("batch = 32", "batch = 2"),
        ("widths = [128, 96, 96]", "widths = [16, 8, 8]\nhyper_latents = 8\nrefinement_width = 8"),
        ("photo_train", "pictures"),
        ("optical_train/rgb8", "aerial"),
        ("crop = 192", "crop = 64"),
        ("crop = 256", "crop = 128"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "dry.toml").write_text(text)
    for images in ("pictures", "aerial"):
        (tmp_path / images).symlink_to(root / "pictures")
    ticks = itertools.count(0, 0.25)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    folder = trainer.train(tmp_path / "dry.toml", tmp_path, out=tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["event"] == "end"
    trained = 0.85 * 9 - rows[0]["prepared"]
    assert trained <= rows[-1]["seconds"] <= trained + 1
    assert rows[-1]["step"] == pytest.approx(trained / 0.5, abs=2)
    # Late, no more adaptations are fitted than must be.
    assert next(ticks) < 9 + 0.25 * (2 * 16 + 2)
    assert Model(weights.read(folder / "rgb-gpu.safetensors")).config.levels == 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_steps_do_not_wait_for_the_device(root: Path, tmp_path: Path) -> None:
    begun = trainer.Trainer(recipe.load(root / "tiny.toml"), root, tmp_path, "cuda")
    begun.begin()
    steps = [begun.train_step()]  # the first one makes what the others use
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps += [begun.train_step() for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(begun._look(steps)) == 4


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
