"""The effect of the codec on a multi-band reflectance image at several rates: tables and a picture.

python examples/sentinel2.py [FOLDER] [SIZE]

makes a scene (see scenes.py), prints the tables and writes sentinel-2.png into the folder.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenes import OFFSET, S2_BANDS, SCALE, SIZE, grey, panels, sentinel2

import learned_codec

QUALITIES = (20, 40, 60, 80)
SHOWN = (60, 20)  # in the picture
PEAK = 65535.0


def psnr(error: NDArray[Any]) -> float:
    """The PSNR of an error in digital numbers, for the full range of uint16."""
    return float(20 * np.log10(PEAK / np.sqrt(np.mean(error**2))))


def ndvi(image: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The vegetation index (B08 - B04) / (B08 + B04) of reflectances."""
    red, infrared = (image[S2_BANDS.index(name)] * SCALE + OFFSET for name in ("B04", "B08"))
    index: NDArray[np.float64] = (infrared - red) / np.maximum(infrared + red, 0.01)
    return index


def colours(image: NDArray[Any], crop: tuple[slice, slice]) -> NDArray[np.uint8]:
    """A crop in natural colours for the eye."""
    return np.dstack(
        [grey(image[S2_BANDS.index(name)][crop].astype(float), 1000, 3000) for name in ("B04", "B03", "B02")]
    )


def main(folder: str | Path = ".", size: int = SIZE) -> list[dict[str, float]]:
    """Print the tables, return the first one's rows, and write the picture."""
    image = sentinel2(size)
    valid = image[0] != 0
    land = valid & (np.sum(image[2:4] * SCALE + OFFSET, 0) > 0.1)  # of dark water, an index of ratios says nothing
    print(f"{size} × {size} pixels, {len(image)} bands of uint16, {100 * valid.mean():.0f} % of them valid\n")
    print("                             error in DN      error of NDVI   nodata")
    print("quality    bpp      PSNR      RMSE    max          RMSE       exact")
    rows, decoded_at = [], {}
    for quality in QUALITIES:
        data = learned_codec.encode(image, planar=True, nodata=0, quality=quality)
        decoded = learned_codec.decode(data)
        error = (decoded.astype(float) - image)[:, valid]
        row = {
            "quality": quality,
            "bpp": learned_codec.inspect(data).bpp,
            "psnr": psnr(error),
            "rmse": float(np.sqrt(np.mean(error**2))),
            "max": float(np.abs(error).max()),
            "ndvi": float(np.sqrt(np.mean((ndvi(decoded) - ndvi(image))[land] ** 2))),
            "exact": float(np.array_equal(decoded == 0, image == 0)),
        }
        print(
            "{quality:7}  {bpp:5.3f}  {psnr:5.2f} dB   {rmse:7.1f}  {max:5.0f}        {ndvi:6.4f}       {yes}".format(
                **row, yes="yes" if row["exact"] else "NO"
            )
        )
        rows.append(row)
        decoded_at[quality] = decoded

    print(f"\nquality {SHOWN[0]}, by band")
    print("band      PSNR      RMSE    max    mean error")
    for name, old, new in zip(S2_BANDS, image, decoded_at[SHOWN[0]], strict=True):
        error = (new.astype(float) - old)[valid]
        rmse, largest = np.sqrt(np.mean(error**2)), np.abs(error).max()
        print(f"{name}   {psnr(error):5.2f} dB   {rmse:7.1f}  {largest:5.0f}    {error.mean():+10.2f}")

    crop = slice(size * 3 // 8, size * 5 // 8), slice(size // 2, size * 3 // 4)
    shown = [("original, B04 B03 B02", colours(image, crop))]
    for quality in SHOWN:
        bpp = next(row["bpp"] for row in rows if row["quality"] == quality)
        shown.append((f"quality {quality}: {bpp:.2f} bpp", colours(decoded_at[quality], crop)))
    difference = decoded_at[SHOWN[0]][2].astype(float) - image[2]
    shown.append((f"B04, difference at {SHOWN[0]}, ±150 DN", np.dstack([grey(difference[crop], -150, 150)] * 3)))
    panels(Path(folder) / "sentinel-2.png", shown)
    return rows


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".", int(sys.argv[2]) if len(sys.argv) > 2 else SIZE)
