"""What the command line says of itself: its help, its completion, and lists of what there is to choose from."""
