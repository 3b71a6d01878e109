"""How many steps may this chunk have? Asked for every chunk, and again before every step.

Two questions decide. Does it keep up: would chunks of this many steps, one after the other, on this session's share of
the device, take no longer than they play? And is it safe: does the 90 % quantile of the finish meet the moment at which
the picture would run dry? The clock is injected; nothing here sleeps, measures or knows the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.governor import sigmas
from stream.governor.costs import CostModel
from stream.governor.dial import Dial

MARGIN_S = 0.03  # a chunk should be ready half a frame before it is due
LEAD_CAP_S = 30.0


@dataclass(frozen=True)
class ChunkPlan:
    """deadline: clock time at which the picture runs dry. sigmas: steps + 1 noise levels, 1 down to 0."""

    deadline: float
    steps: int
    sigmas: tuple[float, ...]


@dataclass(frozen=True)
class ChunkReport:
    """How a chunk ended. late_s: seconds after its deadline, negative when early."""

    missed: bool
    late_s: float
    steps: int


class Governor:
    """The decisions for one session. One chunk is open at a time."""

    def __init__(self, dial: Dial, costs: CostModel, *, chunk_seconds: float, shift: float) -> None:
        assert chunk_seconds > 0.0 and shift >= 1.0
        self.dial = dial
        self.costs = costs
        self.chunk_seconds = chunk_seconds
        self.shift = shift
        self.budget = dial.least  # the step budget in force, before what the moment takes away
        self.load = 1.0
        self.plan: ChunkPlan | None = None

    def set_dial(self, dial: Dial) -> None:
        """Latest wins; in force at once for the chunk in progress (ceiling) and fully at the next."""
        self.dial = dial

    def max_lead(self) -> float:
        """Seconds of video this session may have in hand: what is in hand is what a turn has to wait for."""
        work = self._work(self.dial.least, 0.9) * self.load
        least = self.chunk_seconds + min(self.chunk_seconds, max(1.25 * work, 0.5 * self.chunk_seconds))
        return min(max(self.dial.latency_s - 0.1, least), LEAD_CAP_S)

    def may_start(self, now: float, lead: float) -> float:
        """0 when the next chunk may start, else the seconds to wait so that the lead stays within its bound."""
        return max(0.0, lead + self.chunk_seconds - self.max_lead())

    def open_chunk(
        self,
        now: float,
        lead: float,
        *,
        load: float = 1.0,
        frames_seconds: float | None = None,
        playing: bool = True,
        due: float | None = None,
        before: Sequence[str] = (),
    ) -> ChunkPlan:
        """Decide the next chunk.

        lead: seconds of video in hand. load: how many times longer than alone this session's work takes, because others
        share the device (1 = alone). frames_seconds: how long this chunk plays, when not the usual. playing: False
        while nothing is on screen yet; the chunk is then due at the latency target. due: an earlier deadline, as for
        the first chunk under a new prompt. before: kinds of units that must run first ("prompt", "encode").
        """
        self.load = max(1.0, load)
        due_at = now + (max(0.0, lead) if playing else self.dial.latency_s)
        if due is not None:
            due_at = min(due_at, due)
        seconds = self.chunk_seconds if frames_seconds is None else frames_seconds
        safe = self._most(due_at - MARGIN_S - now, 0.9, ("decode", *before))
        pace = self._most(seconds + 0.5 * max(0.0, lead - self.chunk_seconds), 0.5, ("decode", "append"))
        steps = self._clamp(min(safe, pace))
        if steps > self.budget:  # up one at a time
            steps = self.budget + 1
        self.budget = steps = self._clamp(steps)
        self.plan = ChunkPlan(due_at, steps, sigmas.schedule(steps, self.shift))
        return self.plan

    def next_r(self, now: float, sigma: float, done: int) -> float:
        """The noise level to go to from `sigma` when `done` steps have run; 0 = finish now."""
        assert self.plan is not None, "open_chunk first"
        fits = self._most(self.plan.deadline - MARGIN_S - now, 0.9, ("decode",))
        left = min(self.plan.steps - done, fits, self.dial.most - done)
        left = max(left, self.dial.least - done, 1)
        return sigmas.tail(sigma, left, self.shift)[1]

    def close_chunk(self, now: float, steps: int) -> ChunkReport:
        """The chunk is decoded."""
        assert self.plan is not None, "open_chunk first"
        late = now - self.plan.deadline
        self.plan = None
        return ChunkReport(late > 0.0, late, steps)

    def _clamp(self, steps: int) -> int:
        return min(max(steps, self.dial.least), self.dial.most)

    def _work(self, steps: int, q: float) -> float:
        return steps * self.costs.estimate("step", q) + self.costs.estimate("decode", q)

    def _most(self, seconds: float, q: float, fixed: tuple[str, ...]) -> int:
        """The most steps that, with the fixed units, fit into `seconds` of wall time under this load."""
        step = self.costs.quantile("step", q)
        if step is None:  # nothing known: be quick, and learn
            return self.dial.least
        spare = seconds / self.load - sum(self.costs.estimate(kind, q) for kind in fixed)
        return max(0, int(min(spare / max(step, 1e-6), self.dial.most)))
