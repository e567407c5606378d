"""Sparse autoencoders: their training, many at once, their files, and what is measured of them; no task."""
