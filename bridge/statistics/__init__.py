"""Intervals and p values for scores of items that come in units: whole units are resampled, never single items.

Nothing is imported here: `levels` needs nothing at all, `families` only numpy, the rest torch.
"""
