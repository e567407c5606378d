"""Records: what a cell leaves on disk, and the manifest of a sweep."""
