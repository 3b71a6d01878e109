"""Training objectives, one per file, each with its paper."""
