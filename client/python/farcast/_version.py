"""The version of both distributions, farcast and farcast-server."""

__version__ = "0.1.0"
