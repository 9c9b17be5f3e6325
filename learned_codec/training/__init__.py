"""Training: images in, weights out. Needs the `train` extra only for TensorBoard and MS-SSIM."""
