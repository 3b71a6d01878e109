"""Benchmarks. They run from a checkout and are in no wheel and no image."""
