"""The bundle that a command line names, and the CPU threads it runs on."""

from __future__ import annotations

import os

from models.checkpoint.bundle import Bundle, open_bundle
from models.checkpoint.random_weights import random_bundle

RANDOM = "random:"  # "random:tiny" as --model: the right shapes, random weights


def open_weights(source: str | None, device: str, execution: str = "eager") -> Bundle:
    """The bundle that `--model` names, its passes run as `--execution` says. Raises ModelError."""
    if source is not None and source.startswith(RANDOM):
        place = device if device != "auto" else "cpu"
        return random_bundle(source.removeprefix(RANDOM), device=place, execution=execution)
    return open_bundle(source, device=device, execution=execution)


def default_threads() -> int:
    """All cores but one. The last is for the server's video and everybody else: with as many threads as cores, one that
    has to wait for its core makes all of them wait (a step was measured to take ten times as long on two busy
    cores)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)
