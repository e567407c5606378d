"""Controls: what a fitted map is held against, and the states that each gives."""
