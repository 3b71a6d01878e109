"""Flow-map backward simulation: what the model does at the end of its own schedules, in at most three transitions.

A live take goes down a schedule of n steps. To train on where that leads, one step of the schedule is chosen; what
comes before it and what comes after it are each covered by one shortcut transition of the same flow map (AnyFlow, arXiv
2605.13724, section 3.3, "flow map backward simulation"). So a schedule of 50 steps costs no more than one of 3, and the
student meets its own errors: those of discretisation along a chunk, and those of the chunks before it, over which every
chunk is rolled out (Self-Forcing, arXiv 2506.08009, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.rollout import flowmap
from models.training.losses.flow_matching import flow_map_step
from models.training.network.passes import Memory, Network, Text

STEP_COUNTS = (1, 2, 4, 8, 16, 50)  # the published ones, and 1


@dataclass(frozen=True)
class Cut:
    """A schedule with one of its steps chosen, for every row: 1 -> t (shortcut), t -> r (the step), r -> 0 (shortcut).

    t, r: (B,) in 0..1. Where t is 1 the first shortcut goes nowhere, where r is 0 the last.
    """

    t: Tensor
    r: Tensor

    def to(self, device: torch.device) -> Cut:
        return Cut(self.t.to(device), self.r.to(device))


def draw_cut(rows: int, counts: Sequence[int], shift: float, rng: np.random.Generator) -> Cut:
    """For each row a step count from `counts` and one of its steps, both evenly."""
    pairs = []
    for _ in range(rows):
        sigmas = flowmap.schedule(int(rng.choice(counts)), shift)
        chosen = int(rng.integers(len(sigmas) - 1))
        pairs.append((sigmas[chosen], sigmas[chosen + 1]))
    t, r = torch.tensor(pairs, dtype=torch.float32).T
    return Cut(t.contiguous(), r.contiguous())


def roll_out(
    student: Network, noise: Tensor, partition: Sequence[int], text: Text, cut: Cut, *, given: Tensor | None = None,
    through_all: bool = False, judged: int = 0,
) -> Tensor:  # fmt: skip
    """A window made by the student from noise (B, F, C, h, w), chunk after chunk over its own, detached, past.

    given: clean latents (B, G, C, h, w) of the first chunks, for takes that start from a picture or a clip or go on
    under another prompt. The gradient reaches the chosen step and the shortcut after it; with `through_all` also the
    shortcut before it, as in the published code, at a third more cost. Chunks before number `judged` are made
    without one.
    """
    made: list[Tensor] = []
    first = 0
    for number, frames in enumerate(partition):
        if given is not None and first < given.shape[1]:
            made.append(given[:, first : first + frames])
        else:
            memory = student.remember(torch.cat(made, dim=1).detach(), partition[:number], text) if made else []
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= judged):
                z = noise[:, first : first + frames]
                made.append(_simulate(student, z, text, cut, memory, first, through_all))
        first += frames
    return torch.cat(made, dim=1)


def _simulate(
    student: Network, z: Tensor, text: Text, cut: Cut, memory: Memory, first: int, through_all: bool
) -> Tensor:
    """One chunk from noise to clean by the (at most) three transitions of `cut`."""
    start, end = torch.ones_like(cut.t), torch.zeros_like(cut.r)

    def go(z: Tensor, t: Tensor, r: Tensor) -> Tensor:
        if bool((t == r).all()):
            return z
        u = student.stream(z, t, r, text, memory, first)
        return flow_map_step(z, u, t[:, None], r[:, None])

    with torch.set_grad_enabled(torch.is_grad_enabled() and through_all):
        z = go(z, start, cut.t)
    return go(go(z, cut.t, cut.r), cut.r, end)
