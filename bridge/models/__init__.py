"""Models: identifying and loading them, finding their parts by structure, and running them from a layer on."""
