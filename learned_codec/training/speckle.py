"""Simulates Sentinel-1 IW GRDH scenes from optical images, because little real SAR is free to train on.

The optical image gives the reflectivity; speckle is the mean over a few looks of circular complex Gaussian fields,
band-limited by the sensor's point spread (20 x 22 m at 10 m pixels). In homogeneous areas, real images have an
equivalent number of looks (ENL, mean^2 / variance of intensity) of 4.4 to 5.4, and an autocorrelation of about 0.7,
0.25 and 0.05 at lags of one to three pixels. `tests/training/test_training.py` checks the simulation against these
figures. Independent noise for each pixel would be far harder to compress than real products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learned_codec.values.decibels import to_decibels

LOOKS = 5
LOOK_CORRELATION = 0.15
"""The correlation of looks: neighbouring looks overlap in the spectrum, so five of them are worth fewer independent
ones."""

NOISE_DB = (-28.0, -22.0)
"""The range of the sensor's noise in dB."""

PERCENTILES = {"VV": (-22.0, -11.0, -3.0), "VH": (-28.0, -18.0, -10.0)}
"""Backscatter in dB at the 1st, 50th and 99th percentiles of real images, by polarisation."""


def simulate(band: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) values of any scale -> (H, W) simulated backscatter in dB."""
    decibels = _reflectivity(_smooth(band, rng.uniform(0.6, 1.4)), rng)
    power = (10 ** (decibels / 10)).astype(np.float32)
    for _ in range(rng.poisson(band.size / 40_000)):  # point targets: buildings, ships
        row, column = rng.integers(band.shape[0]), rng.integers(band.shape[1])
        power[row, column] += 10 ** ((np.median(decibels) + rng.uniform(10, 30)) / 10) * 4
    speckled = speckle(power.shape, rng, power) + 10 ** (rng.uniform(*NOISE_DB) / 10) * speckle(power.shape, rng)
    speckled = _resample(speckled.astype(np.float32), rng)
    result: NDArray[np.float32] = to_decibels(np.maximum(speckled, 1e-5), "power").astype(np.float32)
    return result


def speckle(
    shape: tuple[int, ...], rng: np.random.Generator, power: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(H, W) multi-look intensity of mean `power` (1 by default): the mean of |field|^2 over the looks."""
    amplitude = 1.0 if power is None else np.sqrt(power)
    spread = _point_spread(shape)
    common = _field(shape, rng)
    total = np.zeros(shape)
    for _ in range(LOOKS):
        field = np.sqrt(1 - LOOK_CORRELATION) * _field(shape, rng) + np.sqrt(LOOK_CORRELATION) * common
        total += np.abs(np.fft.ifft2(np.fft.fft2(field * amplitude) * spread)) ** 2
    result: NDArray[np.float32] = (total / LOOKS).astype(np.float32)
    return result


def _field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.complex128]:
    field: NDArray[np.complex128] = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
    return field


def _point_spread(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A Hamming-weighted pass band whose 3 dB width in space is 22 m by 20 m at 10 m pixels, of unit noise gain."""
    responses = []
    for length, metres in zip(shape, (22.0, 20.0), strict=True):
        frequency = np.fft.fftfreq(length)
        band = 1.30 * 10.0 / metres  # the weighting widens the response by 1.3
        inside = np.abs(frequency) <= band / 2
        responses.append(np.where(inside, 0.54 + 0.46 * np.cos(2 * np.pi * frequency / band), 0.0))
    spread = responses[0][:, None] * responses[1][None]
    normalised: NDArray[np.float64] = spread / np.sqrt(np.mean(spread**2))
    return normalised


def _smooth(band: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A Gaussian filter: optical detail is finer than the radar's resolution."""
    gain = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(band.shape[0])[:, None]) ** 2) * np.exp(
        -2 * (np.pi * sigma * np.fft.fftfreq(band.shape[1])[None]) ** 2
    )
    smoothed: NDArray[np.float32] = np.fft.ifft2(np.fft.fft2(band) * gain).real.astype(np.float32)
    return smoothed


def _reflectivity(band: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The band with its histogram stretched to backscatter in dB, by a few of its percentiles."""
    low, middle, high = PERCENTILES[str(rng.choice(list(PERCENTILES)))]
    # Speckle itself spreads the percentiles: the scene below it is narrower. Some scenes have little contrast.
    contrast = rng.uniform(0.3, 0.9)
    knots = np.percentile(band, [1, 50, 99])
    knots += np.arange(3) * 1e-6 * max(1.0, float(np.abs(knots).max()))  # rising, also in a flat image
    values = middle + contrast * (np.array([low, middle, high]) - middle) + rng.normal(0, 2)
    result: NDArray[np.float32] = np.interp(band, knots, values).astype(np.float32)
    return result


def _resample(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Resample as geocoding may do: not at all, or bilinearly or cubically onto a grid rotated by a few degrees."""
    order = int(rng.integers(3))
    if order == 0:
        return plane
    from PIL import Image

    method = Image.Resampling.BILINEAR if order == 1 else Image.Resampling.BICUBIC
    turned = Image.fromarray(plane).rotate(float(rng.uniform(-12, 12)), method)
    height, width = plane.shape
    margin_y, margin_x = height // 8, width // 8
    inner: NDArray[np.float32] = np.asarray(turned)[margin_y : height - margin_y, margin_x : width - margin_x]
    return np.maximum(inner, 1e-5)
