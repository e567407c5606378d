"""Carrying states over: the rows of a fit, the fitted map with its normalisation, and the draws of controls."""
