"""Pixels to latents and back, chunk by chunk."""
