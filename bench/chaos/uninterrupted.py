"""The same session without a fault: made in this process by the engine's own backend, chunk after chunk."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stream.engine.backend import Model
from stream.engine.protocol import Open
from stream.governor import Dial


def load(engine: str, model: str | None, threads: int) -> Model:
    """As the engine process loads it, on the CPU. engine: "module:function". Raises models.errors.ModelError."""
    module, _, name = engine.partition(":")
    loaded: Model = getattr(importlib.import_module(module), name)(model, "cpu", threads)
    return loaded


def checks(model: Model, score: dict[str, Any]) -> Iterator[str]:
    """CRC-32 of each chunk's frames, eight hexadecimal digits, as in the score's `checks`.

    score: of a session whose prompt and steps never changed; only its first prompt and its noise levels are used.
    """
    prompt = next(entry["prompt"] for entry in score["entries"] if "prompt" in entry)
    sigmas = next(entry["sigmas"] for entry in score["entries"] if "sigmas" in entry)
    dial = Dial(1500.0, len(sigmas) - 1, len(sigmas) - 1, len(sigmas) - 1)
    rollout = model.open(Open("fresh", prompt, score["seed"], dial, score["guidance"]))
    later = iter(sigmas[1:])
    while True:
        unit = rollout.next()
        frames = rollout.run(unit, r=next(later) if unit.kind == "step" else None)
        if frames is not None:
            yield f"{zlib.crc32(np.ascontiguousarray(frames).data):08x}"
            later = iter(sigmas[1:])


def differing(model: Model, score: dict[str, Any], most: int) -> tuple[int, list[int]]:
    """How many chunks were compared, `most` at most, and the indices of those that differ. A score without checks, or
    with other steps somewhere, compares none."""
    made = score["checks"][:most]
    if not made or sum("sigmas" in entry for entry in score["entries"]) != 1:
        return 0, []
    pairs = zip(made, checks(model, score), strict=False)
    return len(made), [index for index, (ours, fresh) in enumerate(pairs) if ours != fresh]
