"""How alike the states of two models are, and how alike they would be if their rows were paired at random."""
