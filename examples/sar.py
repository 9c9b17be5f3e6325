"""The effect of the codec on backscatter and speckle at several rates: a table and a picture.

python examples/sar.py [FOLDER] [SIZE]

makes a scene (see scenes.py), prints the table and writes sar.png into the folder. Needs the library and numpy only.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenes import SIZE, grey, panels, sentinel1

import learned_codec

QUALITIES = (10, 25, 45, 65, 85)
SHOWN = (45, 10)  # in the picture
LOWEST_DB = -40.0  # power 0 has no logarithm


def decibels(power: NDArray[Any]) -> NDArray[np.float64]:
    """Linear power in dB, of at least `LOWEST_DB`; NaN stays NaN."""
    return 10 * np.log10(np.maximum(power.astype(np.float64), 10 ** (LOWEST_DB / 10)))


def enl(power: NDArray[Any]) -> float:
    """Equivalent number of looks of a homogeneous patch of linear power: mean² / variance."""
    values = power.astype(np.float64)
    return float(values.mean() ** 2 / values.var())


def edge_preservation(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Correlation of two planes' Laplacians, 1 being perfect, where neither the pixel nor a neighbour is NaN."""
    edges = []
    for plane in (original, decoded):
        around = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
        edges.append(around - 4 * plane[1:-1, 1:-1])
    known = np.isfinite(edges[0]) & np.isfinite(edges[1])
    return float(np.corrcoef(edges[0][known], edges[1][known])[0, 1])


def main(folder: str | Path = ".", size: int = SIZE) -> list[dict[str, float]]:
    """Print and return the table's rows, and write the picture."""
    power, field = sentinel1(size)
    before = decibels(power)
    valid = np.isfinite(before)
    peak = float(np.ptp(np.percentile(before[valid], [0.1, 99.9])))
    print(f"{size} × {size} pixels, VV and VH, {100 * valid.mean():.0f} % of them valid")
    print(f"homogeneous field: ENL {enl(power[0][field]):.2f} in VV, {enl(power[1][field]):.2f} in VH")
    print(f"PSNR: of both bands in dB, peak {peak:.1f} dB (0.1 to 99.9 percentile)\n")
    print("                             error    ENL after/before   mean after/before    EPI")
    print("quality    bpp      PSNR      RMSE       VV      VH          VV      VH        VV")
    rows, pictures = [], {}
    for quality in QUALITIES:
        data = learned_codec.encode(power, planar=True, kind="sar", quality=quality)
        decoded = learned_codec.decode(data)
        after = decibels(decoded)
        rmse = float(np.sqrt(np.mean((after - before)[valid] ** 2)))
        row = {
            "quality": quality,
            "bpp": learned_codec.inspect(data).bpp,
            "psnr": 20 * np.log10(peak / rmse),
            "rmse": rmse,
        }
        for name, old, new in zip(("vv", "vh"), power, decoded, strict=True):
            row[f"enl_{name}"] = enl(new[field]) / enl(old[field])
            row[f"mean_{name}"] = float(new[field].mean(dtype=float) / old[field].mean(dtype=float))
        row["epi"] = edge_preservation(before[0], after[0])
        print(
            "{quality:7}  {bpp:5.3f}  {psnr:5.2f} dB   {rmse:4.2f} dB    {enl_vv:5.2f}   {enl_vh:5.2f}"
            "       {mean_vv:5.3f}   {mean_vh:5.3f}     {epi:5.3f}".format(**row)
        )
        rows.append(row)
        pictures[quality] = (row["bpp"], after[0])

    crop = slice(size * 9 // 32, size * 18 // 32), slice(size * 9 // 16, size * 27 // 32)
    low, high = -22.0, -2.0
    shown = [("original, VV in dB", grey(before[0][crop], low, high))]
    for quality in SHOWN:
        bpp, after_db = pictures[quality]
        shown.append((f"quality {quality}: {bpp:.2f} bpp", grey(after_db[crop], low, high)))
    difference = (pictures[SHOWN[0]][1] - before[0])[crop]
    shown.append((f"difference at quality {SHOWN[0]}, ±6 dB", grey(difference, -6, 6)))
    panels(Path(folder) / "sar.png", shown)
    return rows


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".", int(sys.argv[2]) if len(sys.argv) > 2 else SIZE)
