"""Measurements of the engine against diffusers' own pipeline. Pure functions that return JSON-able dicts."""
