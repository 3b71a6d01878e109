"""The bundle that a command line names, and the CPU threads it runs on."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from models.checkpoint.bundle import Bundle, customise, open_bundle
from models.checkpoint.random_weights import random_bundle
from models.errors import ModelError

RANDOM = "random:"  # "random:tiny" as --model: the right shapes, random weights


def open_weights(
    source: str | None, device: str, execution: str = "eager", *, decoder: str | None = None, lora: Sequence[str] = ()
) -> Bundle:
    """The bundle that the options --model, --device, --execution, --decoder and --lora name. Raises ModelError."""
    adapters = [parse_lora(text) for text in lora]
    if source is not None and source.startswith(RANDOM):
        bundle = random_bundle(source.removeprefix(RANDOM), device=device, execution=execution)
        return customise(bundle, decoder=decoder, lora=adapters)
    return open_bundle(source, device=device, execution=execution, decoder=decoder, lora=adapters)


def parse_lora(text: str) -> tuple[str, float]:
    """ "FILE" or "FILE:SCALE" to file and scale, 1 where none is given. Raises ModelError."""
    file, colon, number = text.rpartition(":")
    if not colon or number.endswith(".safetensors"):
        return text, 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not file or not math.isfinite(scale):
        raise ModelError(f"--lora is FILE or FILE:SCALE, such as style.safetensors:0.8, not {text!r}", code="invalid")
    return file, scale


def default_threads() -> int:
    """All cores but one. The last is for the server's video and everybody else: with as many threads as cores, one that
    has to wait for its core makes all of them wait (a step was measured to take ten times as long on two busy
    cores)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)
