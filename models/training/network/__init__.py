"""The transformer in training: differentiable passes, adapters, and the toy text encoder."""
