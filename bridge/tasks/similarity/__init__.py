"""Similarity: every layer of one model against every layer of another, beside what permuted rows score."""

from bridge.tasks.similarity.task import Similarity

TASK = Similarity()
