"""Streaming AnyFlow-FAR: bundle, rollout, codec. Pure and synchronous; knows nothing of sockets or of `stream`."""
