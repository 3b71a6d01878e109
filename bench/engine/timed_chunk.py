"""One chunk of a rollout, timed: what every measurement here is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from models.rollout.rollout import Rollout

from .timing import Spent, Timed, comparable

PROMPT = "a big red circle bouncing on a navy background"


@dataclass
class Made:
    """A chunk: its latents, its frames, and what each kind of unit took."""

    latents: Tensor
    frames: np.ndarray
    spent: dict[str, Spent] = field(default_factory=dict)

    def seconds(self, *, without: Any = ()) -> float:
        """Comparable seconds of all kinds of work but those named."""
        device = self.latents.device
        return sum(comparable(spent, device) for kind, spent in self.spent.items() if kind not in without)


def run_chunk(rollout: Rollout, sigmas: Sequence[float]) -> Made:
    """One whole chunk along `sigmas`."""
    stops, chunk, spent = iter(sigmas[1:]), rollout.chunk, dict[str, Spent]()
    made: Made | None = None
    while rollout.chunk == chunk:
        unit = rollout.next()
        with Timed(rollout.bundle.device) as took:
            frames = rollout.run(unit, r=next(stops) if unit.kind == "step" else None)
        spent[unit.kind] = spent.get(unit.kind, Spent()) + took
        if frames is not None:
            assert rollout.latents is not None
            made = Made(rollout.latents, frames, spent)
    assert made is not None
    return made
