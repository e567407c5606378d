"""Activations: raw residual states read out of a model, and the store that keeps them."""

from bridge.activations.extract import estimate_bytes, extract
from bridge.activations.store import Store

__all__ = ["Store", "estimate_bytes", "extract"]
