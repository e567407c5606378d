"""Sweeps: the cells of a grid, what is done of them, and how the rest gets done."""
