"""Models: telling them apart, loading them, finding their parts by structure, and running them from the middle."""
