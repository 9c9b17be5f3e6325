"""The suite from end to end on two small images with a toy codec: cache, outputs, figures, page, speed, SAR."""

# ruff: noqa: ARG001, ARG002, ARG005, E402
# Fixtures act by being there, the toy has a codec's signature, and `benchmarks`, not installed, is put on the path.

import json
import re
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("scipy")
pil = pytest.importorskip("PIL.Image")

from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import codecs, complexity, datasets, plots, rd, report, sar, speed, storage


class Toy(codecs.Codec):
    """Quantises and deflates. `calls` counts encodes, to see what the cache saves."""

    name = "toy"
    description = "quantise and deflate"
    calls: ClassVar[list] = []

    def __init__(self, name="toy", gain=1.0):
        self.name, self.gain, self.release = name, gain, "1"

    def version(self):
        return self.release

    def accepts(self, dtype, bands):
        return np.dtype(dtype) in (np.uint8, np.uint16)

    def ladder(self, dtype, bands):
        top = 64.0 if np.dtype(dtype) == np.uint8 else 8192.0
        return tuple(-top / 2**i for i in range(5))

    def encode(self, image, setting, threads=1):
        self.calls.append((self.name, setting))
        step = max(round(-setting * self.gain), 1)
        head = f"{image.dtype.str};{','.join(map(str, image.shape))};{step}\n".encode()
        return head + zlib.compress((image // step).tobytes(), 9)

    def decode(self, data, threads=1):
        head, _, body = data.partition(b"\n")
        dtype, shape, step = head.decode().split(";")
        values = np.frombuffer(zlib.decompress(body), dtype).reshape([int(n) for n in shape.split(",")])
        limit = np.iinfo(values.dtype).max
        return np.minimum(values.astype(np.int64) * int(step) + int(step) // 2, limit).astype(dtype)


@pytest.fixture
def toys(monkeypatch):
    """A registry with two toys, the worse one standing in for the anchor."""
    found = {"ours": Toy("ours", 1.0), "jpeg2000": Toy("jpeg2000", 1.3)}
    monkeypatch.setattr(codecs, "_build", lambda: found)
    Toy.calls.clear()
    return found


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "pictures"
    path.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:180, :192]
    for i in range(2):
        planes = [128 + 70 * np.sin(x / (11 + i + b)) * np.cos(y / 17) + rng.normal(0, 3, x.shape) for b in range(3)]
        pil.fromarray(np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8)).save(path / f"p{i}.png")
    return path


def run(folder, cache, **options):
    return rd.run(str(folder), None, cache=storage.CellCache(cache), jobs=1, progress=False, **options)


def test_only_what_changed_is_measured_again(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    run(folder, tmp_path / "cells")
    assert len(Toy.calls) == 2 * 2 * 5
    Toy.calls.clear()
    run(folder, tmp_path / "cells")
    assert not Toy.calls
    toys["ours"].release = "2"
    run(folder, tmp_path / "cells")
    assert {name for name, _ in Toy.calls} == {"ours"}
    assert len(Toy.calls) == 10
    Toy.calls.clear()
    with pil.open(folder / "p1.png") as image:
        changed = np.asarray(image).copy()
    changed[0, 0] ^= 1
    pil.fromarray(changed).save(folder / "p1.png")
    run(folder, tmp_path / "cells")
    assert len(Toy.calls) == 2 * 5  # one image, both codecs


def test_a_damaged_cell_is_measured_again(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    run(folder, tmp_path / "cells")
    Toy.calls.clear()
    next((tmp_path / "cells").rglob("*.json")).write_text('{"bpp": 1')
    run(folder, tmp_path / "cells")
    assert len(Toy.calls) == 1


def test_worker_processes_measure_the_same(folder, tmp_path):
    pytest.importorskip("bjontegaard")
    if codecs.get("jpeg").unavailable():
        pytest.skip("no JPEG")
    found = []
    for jobs in (1, 2):
        cache = storage.CellCache(tmp_path / f"cells{jobs}")
        [result] = rd.run(str(folder), ["jpeg"], cache=cache, jobs=jobs, points=2, progress=False)
        found.append({key: result["codecs"][0]["results"][key] for key in ("bpp", "psnr", "ssim")})
    assert found[0] == found[1]


def test_results_files(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    [result] = run(folder, tmp_path / "cells", command="the command")
    [path] = rd.save([result], tmp_path / "out")
    whole = json.loads(path.read_text())
    assert path.name == "pictures.json"
    assert whole["images"] == ["p0", "p1"]
    assert (whole["kind"], whole["peak"], whole["command"]) == ("8-bit RGB", "255", "the command")
    assert (whole["kinds"], whole["mixed"], whole["nodata"]) == (["uint8×3"], False, "none")
    ours = next(codec for codec in whole["codecs"] if codec["name"] == "ours")
    for key in ("bpp", "psnr", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time"):
        assert len(ours["results"][key]) == len(ours["settings"]) == 5
    for i in range(5):
        mean = np.mean([ours["images"][name]["psnr"][i] for name in ("p0", "p1")])
        assert ours["results"]["psnr"][i] == pytest.approx(mean, abs=1e-5)
    assert ours["results"]["bpp"] == sorted(ours["results"]["bpp"])
    shape = json.loads((tmp_path / "out" / "pictures" / "ours.json").read_text())
    assert set(shape) == {"name", "description", "results"}
    rows = (tmp_path / "out" / "pictures.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 * 5
    assert rows[0].startswith("codec,version,image,setting,bpp,psnr")
    assert [bd["codec"] for bd in whole["bd"]] == ["ours", "ours"]
    assert whole["bd"][0]["images"] == 2
    assert "2 of 2" in rd.bd_table(result)
    markdown = (tmp_path / "out" / "pictures.md").read_text()
    bd = whole["bd"][0]
    assert bd["mean_of_images"] == pytest.approx(sum(bd["per_image"].values()) / 2, abs=1e-5)
    assert f"| p0 | {bd['per_image']['p0']:+.1f} % |" in markdown
    assert f"| {bd['mean_of_images']:+.1f} % (2) |" in markdown


def test_groups_are_kept_apart_and_misfits_listed(toys, folder, tmp_path, monkeypatch):
    pytest.importorskip("bjontegaard")
    pil.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).save(folder / "deep.png")
    monkeypatch.setattr(toys["ours"], "accepts", lambda dtype, bands: bands == 3)
    results = run(folder, tmp_path / "cells")
    assert sorted(r["group"] for r in results) == ["mono16", "rgb8"]
    deep = next(r for r in results if r["group"] == "mono16")
    assert [codec["name"] for codec in deep["codecs"]] == ["jpeg2000"]
    assert rd.left_out_lines(deep) == ["left out: ours (does not code 1 band(s) of uint16)"]
    assert {p.name for p in rd.save(results, tmp_path / "o")} == {"pictures-mono16.json", "pictures-rgb8.json"}


def test_what_makes_no_sense_is_left_out_with_the_reason(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    rasterio = pytest.importorskip("rasterio")
    pil.new("P", (64, 64)).save(folder / "classes.png")
    pil.fromarray(np.full((2, 3), 7, np.uint8)).save(folder / "specks.png")
    pil.fromarray(np.full((64, 64), 7, np.uint8)).save(folder / "flat.png")
    place = {"transform": rasterio.Affine(10, 0, 0, 0, -10, 0), "driver": "GTiff", "height": 64, "width": 64}
    with rasterio.open(folder / "empty.tif", "w", dtype="uint16", count=2, nodata=0, **place) as file:
        file.write(np.zeros((2, 64, 64), np.uint16))
    with rasterio.open(folder / "table.tif", "w", dtype="uint8", count=1, **place) as file:
        file.write(np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64))
        file.write_colormap(1, {i: (i, i, i, 255) for i in range(256)})
    [result] = run(folder, tmp_path / "cells")
    assert result["images"] == ["p0", "p1"]
    assert sorted(rd.left_out_lines(result)) == [
        "left out: every codec of classes (mode P would need a conversion)",
        "left out: every codec of empty (no pixel holds data)",
        "left out: every codec of flat (every pixel has the same value)",
        "left out: every codec of specks (3×2 pixels, fewer than 32 a side)",
        "left out: every codec of table (a colour table: its values are classes, which have no distortion)",
    ]


def test_bands_of_all_numbers_and_types_make_one_group(toys, tmp_path):
    pytest.importorskip("bjontegaard")
    pytest.importorskip("matplotlib")
    rasterio = pytest.importorskip("rasterio")
    rng = np.random.default_rng(0)
    (tmp_path / "eo").mkdir()
    for dtype, bands, scale in (("uint8", 4, 1), ("uint16", 3, 100)):
        planes = scale * (100 + 40 * np.sin(np.arange(96) / 9) + rng.normal(0, 4, (bands, 64, 96)))
        planes[:, :, :8] = 0  # no data
        profile = {"driver": "GTiff", "dtype": dtype, "count": bands, "height": 64, "width": 96, "nodata": 0}
        path = tmp_path / "eo" / f"{dtype}.tif"
        with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **profile) as file:
            file.write(planes.astype(dtype))
    [result] = run(tmp_path / "eo", tmp_path / "cells")
    assert (result["group"], result["kinds"]) == ("multi", ["uint16×3", "uint8×4"])
    assert result["peak"].startswith("255 (8-bit images), 0.1 to 99.9 percentile")
    assert result["nodata"].startswith("2 of 2 images have pixels without data.")
    ours = next(codec for codec in result["codecs"] if codec["name"] == "ours")
    assert ours["images"]["uint8"]["setting"] == list(toys["ours"].ladder("uint8", 4))
    for bd in result["bd"]:
        assert bd["mean_curve"] is None
        assert set(bd["per_image"]) == {"uint8", "uint16"}
    [path] = rd.save([result], tmp_path / "out")
    assert not (tmp_path / "out" / "eo").exists()  # CompressAI's shape is a mean curve
    row = (tmp_path / "out" / "eo.csv").read_text().splitlines()[1]
    assert row.startswith("ours,1,uint16,-8192,")
    written = report.write(path, tmp_path / "out", dataset=str(tmp_path / "eo"))
    assert {p.name for p in written} >= {"eo-rd.svg", "eo-bd.svg", "eo.html"}


def test_groups_by_type_and_bands():
    cases = {
        ("uint8", 3): "rgb8", ("uint8", 1): "mono8", ("uint16", 1): "mono16", ("int16", 1): "mono16",
        ("float32", 1): "monofloat", ("uint8", 4): "multi", ("uint16", 3): "multi", ("int16", 13): "multi",
        ("float32", 2): "multifloat",
    }  # fmt: skip
    assert {case: datasets.group_of(*case).slug for case in cases} == cases


def test_bands_are_compared_with_jpeg2000_behind_a_klt():
    both = [{"name": "jpeg2000"}, {"name": "jpeg2000-klt"}]
    assert rd.anchor_of(datasets.group_of("uint8", 3), both) == "jpeg2000"
    assert rd.anchor_of(datasets.group_of("uint16", 3), both) == "jpeg2000-klt"
    assert rd.anchor_of(datasets.group_of("uint8", 4), both[:1]) == "jpeg2000"


def test_a_codec_that_returns_something_else_is_an_error(toys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(toys["ours"], "decode", lambda data, threads=1: np.zeros((2, 2), np.uint8))
    with pytest.raises(RuntimeError, match=r"ours returned uint8\(2, 2\)"):
        run(folder, tmp_path / "cells")


def test_random_weights_never_enter_rate_distortion(toys, monkeypatch):
    monkeypatch.setattr(toys["ours"], "random_weights", True, raising=False)
    with pytest.raises(ValueError, match="random weights"):
        rd.choose(["ours"])


def test_figures_and_page(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    pytest.importorskip("matplotlib")
    [path] = rd.save(run(folder, tmp_path / "cells"), tmp_path / "out")
    row = {"threads": 1, "bpp": 1.0, "encode_mp_s": 3.0, "decode_mp_s": 2.0, "encode_ratio": 1.0, "decode_ratio": 1.0}
    rows = [{"codec": name, "random_weights": False, "peak_memory_mib": 9.0, **row} for name in ("ours", "jpeg2000")]
    image = {"shape": [3, 4], "dtype": "uint8", "source": "made up"}
    times = {"rows": rows, "scaling": [], "skipped": [], "threads": 1, "target_bpp": 1.0, "image": image}
    storage.write_json(tmp_path / "speed.json", {**times, "environment": {"processor": "none"}})
    written = report.write(path, tmp_path / "out", dataset=str(folder), speed=tmp_path / "speed.json", bpp=2.0)
    names = {p.name for p in written}
    assert {f"pictures-{what}.{kind}" for what in ("rd", "bd", "speed") for kind in ("png", "svg")} <= names
    page = (tmp_path / "out" / "pictures.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)  # nothing is fetched
    views = json.loads(re.search(r'id="views">(.*?)</script>', page, re.DOTALL).group(1))
    assert [view["name"] for view in views] == ["p0", "p1"]
    spent = [
        int(re.search(r"([\d,]+) bytes", views[0][f"{side}_text"]).group(1).replace(",", ""))
        for side in ("left", "right")
    ]
    assert spent[0] <= 1.01 * spent[1]
    again = [p.read_bytes() for p in written if p.suffix == ".svg"]
    rewritten = report.write(path, tmp_path / "out", speed=tmp_path / "speed.json")
    assert again == [p.read_bytes() for p in rewritten if p.suffix == ".svg"]


def test_published_points_are_drawn_but_not_tabled(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    result = run(folder, tmp_path / "cells")[0]
    assert len(plots.load_published("kodak", 24)) > 10
    assert not plots.load_published("kodak", 23)  # their means are of all 24
    assert not plots.load_published("pictures", 24)
    assert {bd["codec"] for bd in result["bd"]} == {"ours"}


def test_command_line(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    runner = CliRunner()
    common = ["--cache", str(tmp_path / "cells"), "--jobs", "1", "--no-report", "--out", str(tmp_path / "out")]
    done = runner.invoke(command.main, ["rd", "--dataset", str(folder), "--points", "3", *common])
    assert done.exit_code == 0, done.output
    assert "BD-rate against jpeg2000" in done.output
    assert len(json.loads((tmp_path / "out" / "pictures.json").read_text())["codecs"][0]["settings"]) == 3
    wrong = runner.invoke(command.main, ["rd", "--dataset", str(folder), "--codecs", "nonsense"])
    assert wrong.exit_code == 2
    assert "nonsense" in wrong.output
    assert runner.invoke(command.main, ["rd"]).exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = runner.invoke(command.main, ["rd", "--dataset", str(empty), *common])
    assert nothing.exit_code == 1
    assert "no image" in nothing.output
    assert "jpeg2000: 1" in runner.invoke(command.main, ["codecs"]).output


def test_every_documented_command_has_its_options():
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8").replace("\\\n", " ")
    lines = re.findall(r"python -m benchmarks ([^`\n]+)", text)
    assert len(lines) >= 12
    for line in lines:
        name, *words = line.split()
        known = {option for p in command.main.commands[name].params for option in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line
        for value in (words[i + 1] for i, word in enumerate(words) if word == "--codecs"):
            assert set(value.split(",")) <= set(codecs.names()), line


def test_quick_images_come_with_scikit_image():
    pytest.importorskip("skimage")
    loaded = [datasets.load(item) for item in datasets.quick()]
    assert {image.group.slug for image in loaded} == {"rgb8", "mono8"}
    assert len({image.digest for image in loaded}) == len(loaded)
    assert all(min(image.image.shape[:2]) >= 176 for image in loaded)  # large enough for MS-SSIM


def test_mosaic_is_reproducible_and_has_the_asked_size():
    pytest.importorskip("skimage")
    a = datasets.mosaic(300, 500)
    assert a.shape == (300, 500, 3)
    assert a.dtype == np.uint8
    assert np.array_equal(a, datasets.mosaic(300, 500))
    assert a.std() > 20
    for size in speed.SCALES:
        height, width = speed._shape(size)
        assert height * width == pytest.approx(size * 1e6, rel=0.01)


def test_speed_in_its_own_processes():
    codec = codecs.get("jpeg")
    if codec.unavailable():
        pytest.skip("no JPEG")
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    rows, failed = speed.time_image(image, [codec], {"jpeg": 50.0}, threads=1, repeats=1, timeout=60)
    assert not failed
    assert rows[0]["encode_mp_s"] > 0
    assert rows[0]["decode_ratio"] is None  # no anchor in this run
    assert rows[0]["peak_memory_mib"] > 10
    assert rows[0]["threads"] == 1


def test_speed_scales(tmp_path):
    pytest.importorskip("skimage")
    if codecs.get("jpeg").unavailable() or codecs.get("jpeg2000").unavailable():
        pytest.skip("no JPEG or no JPEG 2000")
    image = datasets.mosaic(48, 64)
    found = speed.run(["jpeg", "jpeg2000"], image=image, threads=1, repeats=1, scales=(0.01,), timeout=60)
    assert not found["skipped"]
    assert [(row["megapixels"], row["codec"]) for row in found["scaling"]] == [(0.01, "jpeg"), (0.01, "jpeg2000")]
    assert found["scaling"][1]["decode_ratio"] == 1
    assert found["scaling"][0]["encode_ratio"] > 0
    lines = speed.table(found).splitlines()
    assert sum(line.startswith("| 0.01 |") for line in lines) == 2
    assert all(line.count("|") == 10 for line in lines if line.startswith(("| MP", "| 0.01")))


def test_speed_of_slow_codecs_keeps_its_digits():
    assert [speed._speed(v) for v in (12.345, 0.0034)] == ["12.35", "0.0034"]
    assert [speed._ratio(v) for v in (None, 0.5, 0.00042)] == ["–", "0.50×", "0.00042×"]


def test_speed_reports_what_failed(toys):
    image = np.zeros(
        (32, 32, 3), np.uint8
    )  # the child process does not know the toys, and has no 'ours' without weights
    rows, failed = speed.time_image(image, [Toy("nonsense")], {"nonsense": 1.0}, threads=1, repeats=1, timeout=60)
    assert not rows
    assert failed[0]["codec"] == "nonsense"
    assert "no codec 'nonsense'" in failed[0]["reason"]


def test_sar_units():
    values = np.array([[1.0, 100.0], [0.0, np.nan]])
    db, valid = sar.to_db(values, "sigma0 power")
    assert db[0].tolist() == [0, 20]
    assert valid.tolist() == [[True, True], [False, False]]
    assert sar.to_db(values, "amplitude DN")[0][0, 1] == 40
    assert sar.to_db(values, "gamma0 dB")[0][0, 1] == 100


def test_sar_scene_is_clipped_to_percentiles():
    values = np.linspace(-30, 10, 10_000).reshape(100, 100)
    part = sar.scene("ramp", values, np.ones(values.shape, bool))
    assert (part.low, part.high) == pytest.approx((-29.6, 9.6), abs=0.01)
    assert (part.codes.min(), part.codes.max()) == (0, 65535)
    assert np.abs(part.to_db(part.codes) - np.clip(values, part.low, part.high)).max() < 0.001


def test_sar_table_beside_jpeg2000_at_equal_bytes(toys, tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    monkeypatch.setattr(sar, "Jpeg2000", lambda: toys["jpeg2000"])
    rates = {3.0: -2048.0, 6.0: -256.0}
    monkeypatch.setattr(
        toys["jpeg2000"],
        "encode",
        lambda image, rate, threads=1: Toy.encode(toys["jpeg2000"], image, rates.get(rate, rate)),
    )
    db = np.random.default_rng(0).normal(-12, 3, (64, 96)).astype(np.float32)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 64, "width": 96}
    with rasterio.open(tmp_path / "s.tif", "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **profile) as file:
        file.write(db, 1)
        file.update_tags(UNIT="sigma0 dB")
    result = sar.run(tmp_path, ["ours", "jpeg2000"], patch=32, rates=(3.0, 6.0))
    assert [row["codec"] for row in result["rows"]] == ["jpeg2000", "ours"] * 2
    for theirs, ours in zip(result["rows"][::2], result["rows"][1::2], strict=True):
        assert theirs["patches"] == ours["patches"] == 6
        assert ours["bytes"] <= 1.006 * theirs["bytes"]
        assert 0 < ours["epi"] <= 1
    text = sar.table(result)
    assert "| s | ours |" in text
    assert "| mean | ours |" in text
    assert text.count("published") == len(sar.PUBLISHED)
    assert sar.to_csv(result).count("\n") == 1 + len(result["rows"])
    assert not sar.is_sar(tmp_path)
    (tmp_path / "SOURCES.csv").write_text("file,sensor,polarisation,unit\n")
    assert sar.is_sar(tmp_path)


def test_sar_means_are_over_the_scenes_that_all_codecs_have():
    cell = {"bytes": 1.0, "bpp": 1.0, "ssim": 0.5, "enl-ratio": 1.0, "epi": 0.5}
    psnrs = {("a", "x"): 10.0, ("b", "x"): 20.0, ("c", "x"): 90.0, ("a", "y"): 12.0, ("b", "y"): 24.0}
    rows = [{"scene": s, "codec": c, "rate": 1.0, "psnr": v, **cell} for (s, c), v in psnrs.items()]
    found = {row["codec"]: (row["scene"], row["psnr"]) for row in sar.means({"rows": rows})}
    assert found == {"x": ("mean of 2", 15.0), "y": ("mean of 2", 18.0)}


def test_sar_pixels_without_data_are_the_mean_and_count_nowhere():
    rng = np.random.default_rng(0)
    values, valid = rng.normal(-12, 3, (48, 64)), np.ones((48, 64), bool)
    valid[:, :20] = False
    part = sar.scene("s", np.where(valid, values, np.nan), valid)
    assert (part.codes[~valid] == np.rint(part.codes[valid].mean())).all()

    class Forgetful(Toy):
        def decode(self, data, threads=1):
            return np.where(valid, part.codes, 0).astype(np.uint16)

    cell = sar.measure(Forgetful(), part, -1.0, None)
    assert cell["psnr"] == np.inf
    assert cell["ssim"] == pytest.approx(1)
    assert cell["epi"] == pytest.approx(1)


def test_macs_by_hand():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),  # 32×32 outputs, 8 channels, 75 taps
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # depthwise: 9 taps
        nn.ConvTranspose2d(8, 4, 5, stride=2, padding=2, output_padding=1),  # 32×32×8 inputs, 4×25 each
        nn.ReLU(),
    )
    counts = complexity.count(model, torch.rand(1, 3, 64, 64))
    assert counts == {"0": 32 * 32 * 8 * 75, "1": 32 * 32 * 8 * 9, "2": 32 * 32 * 8 * 100, "3": 0}
    assert complexity.count(nn.Sequential(nn.Linear(7, 5)), torch.rand(3, 7)) == {"0": 3 * 7 * 5}


def test_json_has_no_infinity_and_writes_are_whole(tmp_path):
    storage.write_json(tmp_path / "x.json", {"a": float("inf"), "b": [float("nan"), 1.23456789], "c": (1,)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.234568], "c": [1]}
    with pytest.raises(TypeError):
        storage.write_json(tmp_path / "x.json", {"a": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text())["c"] == [1]
