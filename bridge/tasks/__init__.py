"""Tasks: what is carried over and how it is scored."""
