"""Similarity: every layer of one model compared with every layer of another, beside permuted rows as a null."""

from bridge.tasks.similarity.task import Similarity

TASK = Similarity()
