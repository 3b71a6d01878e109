"""Training data: rendered clips, windows of latents, and videos from files."""
