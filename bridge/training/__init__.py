"""Training maps through the frozen target, on the loss of its answers rather than on the error of states."""

from bridge.training.through_target import ThroughTarget

__all__ = ["ThroughTarget"]
