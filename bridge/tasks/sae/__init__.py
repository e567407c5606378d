"""SAE: sparse autoencoders of one model on the states of another, through a rotation and beside its controls."""

from bridge.tasks.sae.task import SAETask

TASK = SAETask()
