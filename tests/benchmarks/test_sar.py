"""The SAR table: units, scenes, equal bytes, means."""

# ruff: noqa: ARG002, ARG005
# The toys have a codec's signature.

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks import sar
from tests.benchmarks.toys import Toy


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
