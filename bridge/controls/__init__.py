"""Controls: the fitted map and the conditions that it is compared with, a class for each."""

from bridge.controls.names import CONTROLS

__all__ = ["CONTROLS"]
