"""Training of the embedded model's VAE."""
