"""Between files and pixels: what is read from a photograph or a raster, and what is written back."""
