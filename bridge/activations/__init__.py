"""Activations: raw residual states read out of a model, and the store that keeps them."""
