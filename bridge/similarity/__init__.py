"""Similarity of the states of two models, beside the similarity of rows that are paired at random."""
