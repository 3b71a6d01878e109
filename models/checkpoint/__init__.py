"""Checkpoints: files to loaded parts, adapters, fingerprints, random weights."""
