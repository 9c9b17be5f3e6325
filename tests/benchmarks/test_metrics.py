"""Every metric against an independent implementation or a case worked out by hand."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks import metrics


def scene(height=192, width=208, bands=3, seed=0):
    """Something smooth with something rough on it, and a noisy copy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [
        128 + 60 * np.sin(x / (9 + b)) * np.cos(y / 13) + rng.normal(0, 12, (height, width)) for b in range(bands)
    ]
    image = np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8)
    noisy = np.clip(image + rng.normal(0, 9, image.shape), 0, 255).astype(np.uint8)
    return image, noisy


def test_psnr_and_max_error_by_hand():
    a = np.zeros((2, 2), np.uint8)
    b = np.array([[0, 0], [0, 10]], np.uint8)  # MSE 25
    assert metrics.psnr(a, b, 255) == pytest.approx(10 * math.log10(255**2 / 25))
    assert metrics.psnr(b, a, 255) == metrics.psnr(a, b, 255)  # no wrap-around in unsigned subtraction
    assert metrics.max_error(a, b) == 10
    assert metrics.psnr(a, a, 255) == math.inf
    valid = np.array([[True, True], [True, False]])
    assert metrics.psnr(a, b, 255, valid) == math.inf
    assert metrics.max_error(a, b, valid) == 0


def test_psnr_of_bands_counts_errors_relative_to_their_ranges():
    a = np.stack([np.arange(64).reshape(8, 8), 1000 * np.arange(64).reshape(8, 8), np.full((8, 8), 5)], 2)
    ranges = [np.ptp(np.percentile(a[..., band], metrics.PEAK_PERCENTILES)) for band in (0, 1)]
    b = a + np.array([1, 1000, 7])  # the band of one value doesn't count
    expected = -10 * math.log10((1 / ranges[0] ** 2 + (1000 / ranges[1]) ** 2) / 2)
    assert metrics.psnr_of_bands(a, b) == pytest.approx(expected)
    assert metrics.psnr_of_bands(a, b + np.array([1, 0, 0])) < expected - 2
    assert metrics.psnr_of_bands(a, a) == math.inf
    assert math.isnan(metrics.psnr_of_bands(a[..., 2:], b[..., 2:]))
    some = a[..., 0] < 32
    assert metrics.psnr_of_bands(a, np.where(some[..., None], a, b), some) == math.inf


def test_psnr_against_skimage():
    reference = pytest.importorskip("skimage.metrics")
    a, b = scene()
    assert metrics.psnr(a, b, 255) == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=255))


@pytest.mark.parametrize("peak", [255, 180.0])
def test_ssim_against_skimage(peak):
    reference = pytest.importorskip("skimage.metrics")
    a, b = scene()
    expected = reference.structural_similarity(
        a.astype(float), b.astype(float), data_range=peak, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert metrics.ssim(a, b, peak) == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_against_pytorch_msssim():
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("pytorch_msssim")
    a, b = scene()
    x, y = (torch.from_numpy(i).permute(2, 0, 1)[None].double() for i in (a, b))
    expected = reference.ms_ssim(x, y, data_range=255, win_size=11, win_sigma=1.5).item()
    assert metrics.ms_ssim(a, b, 255) == pytest.approx(expected, abs=1e-6)
    assert metrics.ssim(a, b, 255) == pytest.approx(reference.ssim(x, y, data_range=255).item(), abs=1e-6)


def test_ssim_of_equal_and_of_tiny_images():
    a, _ = scene()
    assert metrics.ssim(a, a, 255) == pytest.approx(1)
    assert metrics.ms_ssim(a[..., 0], a[..., 0], 255) == pytest.approx(1)
    assert math.isnan(metrics.ssim(a[:10], a[:10], 255))
    assert math.isnan(metrics.ms_ssim(a[:175], a[:175], 255))


def test_spectral_angle_by_hand():
    a = np.array([[[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]], np.uint16)
    b = np.array([[[0, 5, 0, 0], [3, 0, 0, 0], [9, 9, 9, 9]]], np.uint16)
    assert metrics.spectral_angle(a, b) == pytest.approx((90 + 45) / 2)  # the zero spectrum has no angle
    assert metrics.spectral_angle(a, a * 7) == pytest.approx(0, abs=1e-5)
    assert metrics.spectral_angle(a, b, np.array([[False, True, True]])) == pytest.approx(45)


def test_enl_of_simulated_speckle():
    rng = np.random.default_rng(1)
    for looks in (1, 5):
        assert metrics.enl(rng.gamma(looks, 1 / looks, 200_000)) == pytest.approx(looks, rel=0.03)


def test_enl_ratio_sees_smoothing():
    rng = np.random.default_rng(2)
    speckle = rng.gamma(4, 0.25, (128, 128))
    db = 10 * np.log10(speckle)
    assert metrics.enl_ratio(db, db) == pytest.approx(1)
    averaged = speckle.reshape(64, 2, 64, 2).mean(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
    assert 2.5 < metrics.enl_ratio(db, 10 * np.log10(averaged)) < 4.5  # the mean of four independent pixels
    assert math.isnan(metrics.enl_ratio(db[:8, :8], db[:8, :8]))


def test_homogeneous_blocks_leave_out_fill_and_invalid_ones():
    rng = np.random.default_rng(3)
    power = 1 + rng.random((32, 48))
    power[:16, :16] = 1.0  # fill
    power[16:, 16:32] = 1 + 0.01 * rng.random((16, 16))  # the most homogeneous
    assert metrics.homogeneous_blocks(power, 16, 0.1) == [(16, 16)]
    valid = np.ones((32, 48), bool)
    valid[20, 20] = False
    assert metrics.homogeneous_blocks(power, 16, 0.1, valid) != [(16, 16)]


def test_edge_preservation_is_the_correlation_of_laplacians():
    a, b = (image[..., 0].astype(float) for image in scene())

    def laplacian(i):
        return i[:-2, 1:-1] + i[2:, 1:-1] + i[1:-1, :-2] + i[1:-1, 2:] - 4 * i[1:-1, 1:-1]

    expected = np.corrcoef(laplacian(a).ravel(), laplacian(b).ravel())[0, 1]
    assert metrics.edge_preservation(a, b) == pytest.approx(expected)
    assert metrics.edge_preservation(a, a * 3 + 5) == pytest.approx(1)
    assert math.isnan(metrics.edge_preservation(np.ones((9, 9)), np.ones((9, 9))))


def test_peak_is_255_for_bytes_and_the_valid_range_otherwise():
    assert metrics.peak_of(np.zeros((2, 2), np.uint8)) == (255.0, "255")
    image = np.array([[0, 100], [300, 65535]], np.uint16)
    valid = np.array([[False, True], [True, False]])
    low, high = np.percentile([0, 100, 300, 65535], [0.1, 99.9])
    assert metrics.peak_of(image)[0] == pytest.approx(high - low)
    assert metrics.peak_of(image, valid)[0] == pytest.approx(200 * 0.998)  # two values: linear between them
    hot = np.linspace(0, 1000, 100_000).reshape(250, 400)
    hot[0, 0] = 60_000  # one pixel doesn't set the peak
    assert metrics.peak_of(hot)[0] == pytest.approx(998, abs=0.1)
    almost = np.zeros((100, 100), np.uint16)
    almost[0, 0] = 9
    assert metrics.peak_of(almost)[0] == 9


def test_only_windows_without_an_invalid_pixel_count():
    a, b = scene(192, 400, 1)
    a, b = a[..., 0], b[..., 0]
    valid = np.ones(a.shape, bool)
    valid[:, 192:] = False
    b = np.where(valid, b, 0).astype(np.uint8)
    assert metrics.ssim(a, b, 255, valid) == pytest.approx(metrics.ssim(a[:, :192], b[:, :192], 255))
    assert metrics.ms_ssim(a, b, 255, valid) == pytest.approx(metrics.ms_ssim(a[:, :192], b[:, :192], 255))
    assert metrics.edge_preservation(a, b, valid) == pytest.approx(metrics.edge_preservation(a[:, :192], b[:, :192]))
    assert math.isnan(metrics.ssim(a, b, 255, np.zeros_like(valid)))
    assert math.isnan(metrics.ms_ssim(a, b, 255, np.arange(400) % 11 < 6 & np.ones_like(valid)))
    empty = np.where(valid, a, np.nan).astype(np.float32)
    assert metrics.ssim(empty, empty, 255, valid) == pytest.approx(1)  # nan outside doesn't reach in


def test_all_metrics_names():
    a, b = scene()
    assert set(metrics.all_metrics(a, b, 255)) == {"psnr", "ssim", "ms-ssim", "max-error"}
    five = np.concatenate([a, a[..., :2]], 2)
    assert "spectral-angle" in metrics.all_metrics(five, five, 255)


def test_ndvi_error_by_hand():
    a = np.array([[[30, 90], [50, 50], [0, 0]]], np.uint8)  # 0.5, 0, none
    b = np.array([[[30, 90], [40, 60], [9, 1]]], np.uint8)  # 0.5, 0.2
    assert metrics.ndvi_error(a, a, 0, 1) == 0
    assert metrics.ndvi_error(a, b, 0, 1) == pytest.approx(math.sqrt(0.2**2 / 2))
    assert metrics.ndvi_error(a, b, 0, 1, np.array([[True, False, True]])) == 0
    assert math.isnan(metrics.ndvi_error(a, b, 0, 1, np.array([[False, False, True]])))


def test_tails_are_the_shift_of_the_ends():
    a = np.arange(101, dtype=np.uint16).reshape(1, 101)
    assert metrics.tails(a, a, 100) == 0
    assert metrics.tails(a, a + 5, 100) == pytest.approx(5)
    assert metrics.tails(a, np.clip(a, 3, 97), 200) == pytest.approx(1)  # 1 to 3 and 99 to 97: two of 200
    two = np.stack([a, a], 2)
    assert metrics.tails(two, two + np.array([0, 4], np.uint16), 100) == pytest.approx(2)
    valid = a < 50
    assert metrics.tails(a, np.where(valid, a, 0), 100, valid) == 0
