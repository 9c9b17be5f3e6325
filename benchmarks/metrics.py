"""Measures of distortion, computed on whole images in float64, each with its paper.

Images are (H, W) or (H, W, bands). `valid` (H, W) says which pixels count; None: all. `peak` is 255, 65535, or the
range of the data.
"""

from __future__ import annotations

import math
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from .codec import AnyArray

Float: TypeAlias = npt.NDArray[np.float64]

#: Raised if a definition here changes, so that cached cells are measured again.
VERSION = 3

PEAK_PERCENTILES = (0.1, 99.9)

_SSIM_WINDOW, _SSIM_SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03
_MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def mse(original: AnyArray, decoded: AnyArray, valid: AnyArray | None = None) -> float:
    """Mean squared error over all bands."""
    difference = original.astype(np.float64) - decoded.astype(np.float64)
    return float(np.mean(np.square(difference if valid is None else difference[valid])))


def psnr(original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(peak² / MSE), over all bands. Infinite if nothing differs.

    Netravali and Haskell, "Digital Pictures", Plenum, 1988.
    """
    error = mse(original, decoded, valid)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def psnr_of_bands(original: AnyArray, decoded: AnyArray, valid: AnyArray | None = None) -> float:
    """PSNR in dB, the squared error of each band relative to the square of its own range, with a peak of 1.

    `psnr` is decided by the bands with the largest errors, which are those with the largest values, if a file has bands
    of unlike ranges. A range is the distance between two percentiles, as in `peak_of`. Bands of one value don't count;
    nan if all are. Infinite if nothing differs.
    """
    errors = []
    for band in range(original.shape[2]):
        before, after = original[..., band], decoded[..., band]
        values = before if valid is None else before[valid]
        if values.min() < values.max():
            errors.append(mse(before, after, valid) / _range(values) ** 2)
    if not errors:
        return math.nan
    return math.inf if not any(errors) else -10 * math.log10(float(np.mean(errors)))


def max_error(original: AnyArray, decoded: AnyArray, valid: AnyArray | None = None) -> float:
    """The largest absolute difference, in the units of the data."""
    difference = np.abs(original.astype(np.float64) - decoded.astype(np.float64))
    return float(np.max(difference if valid is None else difference[valid]))


def _blur(plane: Float) -> Float:
    """The plane under the 11×11 Gaussian window of SSIM, at the places where the window lies inside the image."""
    from scipy import ndimage  # type: ignore[import-untyped]  # scipy ships no annotations

    radius = _SSIM_WINDOW // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    rows = ndimage.correlate1d(plane, taps, axis=0)[radius:-radius]
    return cast(Float, ndimage.correlate1d(rows, taps, axis=1)[:, radius:-radius])


def _ssim_terms(x: Float, y: Float, peak: float, valid: AnyArray | None = None) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of one plane, over the windows without an invalid pixel."""
    from scipy import ndimage  # type: ignore[import-untyped]  # scipy ships no annotations

    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mx, my = _blur(x), _blur(y)
    vx, vy, cov = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    structure = (2 * cov + c2) / (vx + vy + c2)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    if valid is None:
        return float(np.mean(luminance * structure)), float(np.mean(structure))
    radius = _SSIM_WINDOW // 2
    whole = ndimage.minimum_filter(valid, _SSIM_WINDOW)[radius:-radius, radius:-radius]
    if not whole.any():
        return math.nan, math.nan
    return float(np.mean((luminance * structure)[whole])), float(np.mean(structure[whole]))


def _blank(image: AnyArray, valid: AnyArray | None) -> AnyArray:
    """The image with zeros at invalid pixels, which may be nan, and would reach all pixels of a window."""
    if valid is None:
        return image
    return np.where(valid if image.ndim == 2 else valid[..., None], image, np.zeros((), image.dtype))


def _planes(image: AnyArray) -> list[Float]:
    image = image.astype(np.float64)
    return [image] if image.ndim == 2 else [image[:, :, band] for band in range(image.shape[2])]


def _halve(plane: Float) -> Float:
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    blocks = plane[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return cast(Float, blocks.mean(axis=(1, 3)))


def _scales(
    original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None, count: int
) -> list[list[tuple[float, float]]]:
    """The two terms of `_ssim_terms` by band and scale. Each scale has half the size, by means of 2×2 pixels."""
    found = []
    for x, y in zip(_planes(_blank(original, valid)), _planes(_blank(decoded, valid)), strict=True):
        terms, mask = [], valid
        for scale in range(count):
            if scale:
                x, y = _halve(x), _halve(y)
                mask = None if mask is None else _halve(mask.astype(np.float64)) == 1
            if min(x.shape) < _SSIM_WINDOW:
                terms.append((math.nan, math.nan))
            else:
                terms.append(_ssim_terms(x, y, peak, mask))
        found.append(terms)
    return found


def ssim(original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None = None) -> float:
    """Structural similarity: 11×11 Gaussian window (σ 1.5), K 0.01 and 0.03, mean over bands.

    Only windows without invalid pixels count. nan if there is none, or below 11 pixels.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 13(4), 2004.
    """
    return _ssim_of(_scales(original, decoded, peak, valid, 1))


def ms_ssim(original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None = None) -> float:
    """Multi-scale SSIM: five scales by means of 2×2 pixels, mean over bands. nan below 176 pixels.

    Negative terms count as 0. A mean of four pixels is valid if all four are.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003.
    """
    return _ms_ssim_of(_scales(original, decoded, peak, valid, len(_MS_WEIGHTS)))


def _ssim_of(bands: list[list[tuple[float, float]]]) -> float:
    return float(np.mean([terms[0][0] for terms in bands]))


def _ms_ssim_of(bands: list[list[tuple[float, float]]]) -> float:
    """The product of all scales' structure and the last one's luminance, raised to their weights."""
    values = []
    for terms in bands:
        factors = [structure for _, structure in terms[:-1]] + [terms[-1][0]]
        powers = [math.nan if math.isnan(f) else max(f, 0.0) ** w for f, w in zip(factors, _MS_WEIGHTS, strict=True)]
        values.append(math.prod(powers))
    return float(np.mean(values))


def spectral_angle(original: AnyArray, decoded: AnyArray, valid: AnyArray | None = None) -> float:
    """Mean angle in degrees between the spectra of each pixel before and after. Zero spectra are left out.

    Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 44, 1993.
    """
    x = original.reshape(-1, original.shape[2]).astype(np.float64)
    y = decoded.reshape(-1, decoded.shape[2]).astype(np.float64)
    if valid is not None:
        x, y = x[valid.ravel()], y[valid.ravel()]
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    some = norms > 0
    if not some.any():
        return math.nan
    cosine = np.clip((x * y).sum(axis=1)[some] / norms[some], -1, 1)
    return float(np.degrees(np.arccos(cosine)).mean())


def ndvi_error(original: AnyArray, decoded: AnyArray, red: int, infrared: int, valid: AnyArray | None = None) -> float:
    """Root mean square error of the NDVI, (infrared − red) / (infrared + red), at pixels where the original has one.

    Rouse et al., "Monitoring vegetation systems in the Great Plains with ERTS", NASA SP-351, 1974.
    """
    pairs = [
        (image[..., red].astype(np.float64), image[..., infrared].astype(np.float64)) for image in (original, decoded)
    ]
    has = (pairs[0][0] + pairs[0][1]) > 0
    if valid is not None:
        has &= valid
    if not has.any():
        return math.nan
    # with a decoded sum of 0 or less, the sum counts as 1
    before, after = ((nir - r)[has] / np.maximum(nir + r, 1)[has] for r, nir in pairs)
    return math.sqrt(float(np.mean(np.square(np.clip(after, -1, 1) - np.clip(before, -1, 1)))))


def tails(original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None = None) -> float:
    """The mean distance by which the 1st and 99th percentile of a band move, in percent of `peak`."""
    x, y = (image.reshape(*image.shape[:2], -1) for image in (original, decoded))
    x, y = (v[valid] if valid is not None else v.reshape(-1, v.shape[2]) for v in (x, y))
    moved = np.percentile(y.astype(np.float64), (1, 99), axis=0) - np.percentile(x.astype(np.float64), (1, 99), axis=0)
    return 100 * float(np.abs(moved).mean()) / peak


def enl(intensity: AnyArray) -> float:
    """The equivalent number of looks of a homogeneous patch of linear intensity: mean² / variance.

    Oliver and Quegan, "Understanding Synthetic Aperture Radar Images", SciTech, 2004, section 4.
    """
    values = intensity.astype(np.float64)
    variance = float(values.var())
    return math.inf if variance == 0 else float(values.mean()) ** 2 / variance


def homogeneous_blocks(
    intensity: AnyArray, size: int = 16, share: float = 0.1, valid: AnyArray | None = None
) -> list[tuple[int, int]]:
    """The corners of the blocks with the smallest coefficient of variation: a `share` of all, and at least one.

    Only wholly valid blocks count, and not those of one value, which are fill.

    The criterion is that of Lopès, Touzi, Nezry, "Adaptive speckle filters and scene heterogeneity", IEEE TGRS 28(6),
    1990.
    """
    rows, columns = intensity.shape[0] // size, intensity.shape[1] // size

    def split(plane: AnyArray) -> AnyArray:
        plane = plane[: rows * size, : columns * size].reshape(rows, size, columns, size)
        return plane.swapaxes(1, 2).reshape(rows * columns, -1)

    blocks = split(intensity.astype(np.float64))
    variation = blocks.std(axis=1) / np.maximum(blocks.mean(axis=1), np.finfo(np.float64).tiny)
    usable = variation > 1e-9
    if valid is not None:
        usable &= split(valid).all(axis=1)
    order = np.argsort(np.where(usable, variation, np.inf), kind="stable")
    chosen = order[: min(int(usable.sum()), max(1, round(share * int(usable.sum()))))]
    return [(int(i) // columns * size, int(i) % columns * size) for i in chosen]


def enl_ratio(
    original_db: AnyArray, decoded_db: AnyArray, size: int = 16, share: float = 0.1, valid: AnyArray | None = None
) -> float:
    """ENL after / ENL before, in linear power: the median over the homogeneous blocks of the original, or nan.

    At 1, the speckle is as it was; above, it is smoother; below, there is more noise. ENL as in `enl`.
    """
    if min(original_db.shape) < size:
        return math.nan
    before, after = 10 ** (original_db.astype(np.float64) / 10), 10 ** (decoded_db.astype(np.float64) / 10)
    ratios = []
    for row, column in homogeneous_blocks(before, size, share, valid):
        window = np.s_[row : row + size, column : column + size]
        reference = enl(before[window])
        if math.isfinite(reference) and reference > 0:
            ratios.append(enl(after[window]) / reference)
    return float(np.median(ratios)) if ratios else math.nan


def edge_preservation(original: AnyArray, decoded: AnyArray, valid: AnyArray | None = None) -> float:
    """Edge preservation index: the correlation of the two images' 3×3 Laplacians. 1 is perfect; nan without edges.

    A pixel counts if it and its eight neighbours are valid.

    Sattar, Floreby, Salomonsson, Lövström, "Image enhancement based on a nonlinear multiscale method", IEEE TIP 6(6),
    1997 (its β).
    """
    from scipy import ndimage  # type: ignore[import-untyped]  # scipy ships no annotations

    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)
    x = ndimage.convolve(original.astype(np.float64), kernel)[1:-1, 1:-1]
    y = ndimage.convolve(decoded.astype(np.float64), kernel)[1:-1, 1:-1]
    if valid is not None:
        inner = ndimage.minimum_filter(valid, 3)[1:-1, 1:-1]
        x, y = x[inner], y[inner]
    if x.size == 0:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    energy = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return math.nan if energy == 0 else float((x * y).sum()) / energy


def peak_of(image: AnyArray, valid: AnyArray | None = None) -> tuple[float, str]:
    """The peak for PSNR and SSIM, and a description of it.

    255 for uint8. Other sensors rarely use all of their 16 bits, and one hot pixel can be far above all others. So the
    peak is the distance between two percentiles of the image's valid values, over all bands, or the whole range if
    these are equal. It shifts the PSNR of all codecs by the same amount, so BD-rates don't depend on it.
    """
    if image.dtype == np.uint8:
        return 255.0, "255"
    values = image if valid is None else image[valid]
    return max(_range(values), 1e-12), "0.1 to 99.9 percentile range of each image's valid data"


def _range(values: AnyArray) -> float:
    """The distance between `PEAK_PERCENTILES`; that between the least and the largest value if these are equal."""
    low, high = (float(v) for v in np.percentile(values, PEAK_PERCENTILES))
    return high - low if high > low else float(np.max(values)) - float(np.min(values))


def all_metrics(original: AnyArray, decoded: AnyArray, peak: float, valid: AnyArray | None = None) -> dict[str, float]:
    """What is recorded of each cell of a rate-distortion run, over valid pixels."""
    scales = _scales(original, decoded, peak, valid, len(_MS_WEIGHTS))
    values = {
        "psnr": psnr(original, decoded, peak, valid),
        "ssim": _ssim_of(scales),
        "ms-ssim": _ms_ssim_of(scales),
        "max-error": max_error(original, decoded, valid),
    }
    if original.ndim == 3 and original.shape[2] >= 4:
        values["spectral-angle"] = spectral_angle(original, decoded, valid)
    if original.ndim == 3 and (original.shape[2], original.dtype) != (3, np.uint8):
        values["psnr-bands"] = psnr_of_bands(original, decoded, valid)
    return values
