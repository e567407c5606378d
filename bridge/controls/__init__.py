"""Controls: what a fitted map is held against, one class in a file of its own for each."""

from bridge.controls.names import CONTROLS

__all__ = ["CONTROLS"]
