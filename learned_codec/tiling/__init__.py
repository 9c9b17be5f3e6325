"""Leads an image through the models tile by tile: the grid, sampling, the rate search, the halo.

grid -> sampling, store, synthesis -> encoder, decoder
"""
