"""Controls: the fitted map and what it is held against, a class for each."""

from bridge.controls.names import CONTROLS

__all__ = ["CONTROLS"]
