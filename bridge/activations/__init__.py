"""Activations: raw residual states read out of a model, and the store that keeps them."""

from bridge.activations.extract import estimate_bytes, extract

__all__ = ["estimate_bytes", "extract"]
