"""Analysis of one clip: shape, colour, size, motion, background, and picture quality."""
