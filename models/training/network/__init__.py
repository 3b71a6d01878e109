"""The transformer as it is trained: passes with a backward, adapters, and the toy text encoder."""
