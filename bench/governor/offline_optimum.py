"""The best that anybody could do who knew every cost in advance: the largest mean steps without a single miss.

Exact, by dynamic programming over (chunk, steps so far) -> earliest moment the next chunk can start. Earlier is never
worse (work begun earlier ends earlier, and waiting is free), so of all ways to have spent S steps only the earliest
counts, and of two ways that end at the same time only the one with more steps. What is left is a handful of states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .traces import CHUNK_S, Array, Trace


@dataclass(frozen=True)
class Optimum:
    """feasible: a schedule without a miss exists; then `steps` has one entry a chunk and its mean is the largest."""

    feasible: bool
    steps: tuple[int, ...] = ()

    @property
    def mean_steps(self) -> float:
        return sum(self.steps) / max(1, len(self.steps))


def optimum(
    trace: Trace, *, max_lead: float, quick: float, floor: int, ceiling: int, first_lead: float = CHUNK_S
) -> Optimum:
    """max_lead, quick: the bounds on lead and making of a chunk that the controller had, in seconds."""
    counts = np.arange(floor, ceiling + 1)
    starts, totals = np.array([0.0]), np.array([0])
    history: list[tuple[np.ndarray, np.ndarray]] = []  # per chunk, for each state kept: parent state, steps taken
    for chunk in range(trace.chunks):
        due = first_lead + chunk * CHUNK_S
        begin = np.maximum(starts, due + CHUNK_S - max_lead)
        work = np.cumsum(trace.steps[chunk])[counts - 1] + trace.decode[chunk]
        before = np.interp(begin, trace.times, trace.done)
        ready = _at(trace, before[:, None] + work[None, :])
        quick_enough = (ready - begin[:, None] <= quick) | (counts == floor)[None, :]
        parent, choice = np.nonzero((ready <= due) & quick_enough)
        if len(parent) == 0:
            return Optimum(False)
        after = _at(trace, before[parent] + work[choice] + trace.append[chunk])
        # Whoever could start before the lead allows it gains nothing by being earlier still.
        after = np.maximum(after, due + 2.0 * CHUNK_S - max_lead)
        total = totals[parent] + counts[choice]
        keep = _undominated(after, total)
        history.append((parent[keep], counts[choice[keep]]))
        starts, totals = after[keep], total[keep]
    state, steps = int(np.argmax(totals)), []
    for parent, taken in reversed(history):
        steps.append(int(taken[state]))
        state = int(parent[state])
    return Optimum(True, tuple(reversed(steps)))


def _at(trace: Trace, work: Array) -> Array:
    return np.interp(work, trace.done, trace.times)


def _undominated(after: Array, total: np.ndarray) -> np.ndarray:
    """Indices of states with no other that is as early and has as many steps."""
    order = np.lexsort((-total, after))
    best = np.maximum.accumulate(total[order])
    fresh = np.concatenate([[True], total[order][1:] > best[:-1]])
    return np.asarray(order[fresh])
