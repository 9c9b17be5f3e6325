"""Rate and distortion from end to end on two small images with a toy codec: cache, outputs, figures, page."""

# ruff: noqa: ARG001, ARG005, E402
# Fixtures act by being there, the toy has a codec's signature, and `benchmarks`, not installed, is put on the path.

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("scipy")
pil = pytest.importorskip("PIL.Image")

from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import codecs, complexity, datasets, rd, report, rivals, storage, tables
from tests.benchmarks.toys import Toy


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


def test_a_run_says_what_came_from_the_cache_and_fresh_ignores_it(toys, folder, tmp_path):
    pytest.importorskip("bjontegaard")
    [first] = run(folder, tmp_path / "cells")
    assert first["cells"] == {"measured": 20, "cached": 0, "oldest": None}
    assert tables.cells_line(first["cells"]) == "20 cells, all measured in this run"
    toys["ours"].release = "2"
    [second] = run(folder, tmp_path / "cells")
    assert (second["cells"]["measured"], second["cells"]["cached"]) == (10, 10)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", second["cells"]["oldest"])
    assert "10 from the cache" in tables.cells_line(second["cells"])
    Toy.calls.clear()
    cache = storage.CellCache(tmp_path / "cells", fresh=True)
    [third] = rd.run(str(folder), None, cache=cache, jobs=1, progress=False)
    assert third["cells"]["measured"] == len(Toy.calls) == 20


def test_each_codec_stands_only_in_the_tables_of_what_it_is_tuned_for(toys, folder, tmp_path, monkeypatch):
    pytest.importorskip("bjontegaard")
    monkeypatch.setattr(toys["ours"], "metrics", ("ms-ssim",), raising=False)
    [result] = run(folder, tmp_path / "cells")
    assert not result["bd"]
    assert set(result["bd-parts"]) == {"ms-ssim"}
    monkeypatch.setattr(toys["ours"], "metrics", ("psnr",))
    [result] = run(folder, tmp_path / "cells")
    assert {bd["metric"] for bd in result["bd"]} == {"psnr"}
    assert "ms-ssim" not in result["bd-parts"]


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
    [path] = tables.save([result], tmp_path / "out")
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
    assert all(row["images"] <= 2 for rows in whole["bd-parts"].values() for row in rows)
    rows = (tmp_path / "out" / "pictures.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 * 5
    assert rows[0].startswith("codec,version,image,setting,bpp,psnr")
    assert [bd["codec"] for bd in whole["bd"]] == ["ours", "ours"]
    assert whole["bd"][0]["images"] == 2
    assert "2 of 2" in tables.bd_table(result)
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
    assert tables.left_out_lines(deep) == ["left out: ours (does not code 1 band(s) of uint16)"]
    assert {p.name for p in tables.save(results, tmp_path / "o")} == {"pictures-mono16.json", "pictures-rgb8.json"}


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
    assert sorted(tables.left_out_lines(result)) == [
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
    [path] = tables.save([result], tmp_path / "out")
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
    [path] = tables.save(run(folder, tmp_path / "cells"), tmp_path / "out")
    row = {"given": 1, "threads": 1, "megapixels": 12.0, "bpp": 1.0, "encode_mp_s": 3.0, "decode_mp_s": 2.0}
    row |= {"random_weights": False, "peak_above_start_mib": 9.0}
    rows = [{"codec": name, **row} for name in ("ours", "jpeg2000")]
    storage.write_json(tmp_path / "speed.json", {"rows": rows, "anchor": "jpeg2000", "threads": [1]})
    written = report.write(path, tmp_path / "out", dataset=str(folder), speed=tmp_path / "speed.json", bpp=2.0)
    names = {p.name for p in written}
    assert {f"pictures-{what}.{kind}" for what in ("rd", "saving", "bd", "speed") for kind in ("png", "svg")} <= names
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
    assert len(rivals.load("kodak", 24)) > 10
    assert not rivals.load("kodak", 23)  # their means are of all 24
    assert not rivals.load("pictures", 24)
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


def test_tables_of_results_are_printed() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"

    def printed(*names: str) -> str:
        return CliRunner().invoke(command.main, ["table", *(str(results / f"{name}.json") for name in names)]).output

    for name, part in {
        "kodak": "by MS-SSIM",
        "effort/kodak": "`effort`",
        "speed": "MP/s",
        "optical_test-eo": "NDVI",
    }.items():
        assert part in printed(name)
    assert "with a KLT" in printed("sar_test-whole", "optical_test-rgb8", "optical_test-multi")
    assert "x265" in printed()
