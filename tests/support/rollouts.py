"""Rollouts of the small bundle, and two loops over their units, for the tests of `models.rollout`."""

from __future__ import annotations

import numpy as np

from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.rollout import Rollout

SIGMAS = flowmap.schedule(2, 5.0)


def star_rollout(bundle: Bundle, **options: object) -> Rollout:
    return Rollout(bundle, prompt="a red star", seed=1, **options)  # type: ignore[arg-type]


def kinds_of_chunk(rollout: Rollout) -> list[str]:
    chunk, kinds, stops = rollout.chunk, [], iter(SIGMAS[1:])
    while rollout.chunk == chunk:
        unit = rollout.next()
        kinds.append(unit.kind if unit.kind != "encode" else str(unit.cost_key[0]))
        rollout.run(unit, r=next(stops) if unit.kind == "step" else None)
    return kinds


def next_frames(rollout: Rollout) -> np.ndarray:
    while True:
        unit = rollout.next()
        r = (0.5 if rollout.sigma == 1.0 else 0.0) if unit.kind == "step" else None
        frames = rollout.run(unit, r=r)
        if frames is not None:
            return frames
