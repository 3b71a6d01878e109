"""Farcast: live video you can steer, from Python."""
