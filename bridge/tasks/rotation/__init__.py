"""Rotation: one orthogonal map for each site between two models, beside rotations that know nothing of the pairing."""

from bridge.tasks.rotation.task import Rotation

TASK = Rotation()
