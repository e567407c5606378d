"""Trackers receive results: Weights & Biases, none, or another class that derives from `StreamedTracker`.

A plain run is one W&B run. In a sweep one W&B run is one curve, and rows come from the records on disk.
"""
