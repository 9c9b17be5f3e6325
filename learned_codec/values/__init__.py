"""Numbers in memory: arrays, value transforms, masks, inpainting. Neither files nor networks."""
