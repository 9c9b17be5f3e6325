"""The second generation: latents in layers of resolution. No file has them yet."""
