"""Leads an image through the models tile by tile: the grid, sampling, the encoder's rate search, the decoder's halo.

grid -> sampling, store, synthesis -> encoder, decoder
"""
