"""Rotations between the states of two models at one site: fits, null draws, and what a fitted rotation looks like."""
