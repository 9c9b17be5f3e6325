"""The second generation: latents in layers of resolution."""
