"""Measures what a clip shows: shape, colour, size, motion, background, and picture quality."""
