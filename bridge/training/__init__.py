"""Training: maps that are fitted not on states alone but on what the frozen target makes of them."""

from bridge.training.through_target import ThroughTarget

__all__ = ["ThroughTarget"]
