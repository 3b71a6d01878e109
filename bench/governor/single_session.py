"""One session on one simulated device, chunk after chunk, under a virtual clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .controllers import Controller
from .traces import CHUNK_S, MAX_STEPS, Trace


@dataclass
class Run:
    """What happened. One entry a chunk: steps, seconds late (negative = early), lead when it was opened."""

    name: str
    steps: list[int] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    lead: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    carriers: list[list[float]] = field(default_factory=list)  # prompts that the chunk was the first to carry
    bound: float = 0.0  # the largest bound on the lead that was in force
    over: float = -math.inf  # how far the lead was over its bound at most, in seconds; negative = under
    seconds: float = 0.0

    @property
    def misses(self) -> int:
        """Chunks that came after their deadline; each is an underrun of the picture."""
        return sum(late > 1e-9 for late in self.late)

    @property
    def miss_rate(self) -> float:
        return self.misses / len(self.late)

    @property
    def mean_steps(self) -> float:
        return sum(self.steps) / len(self.steps)

    @property
    def changes(self) -> int:
        """How often a chunk got another number of steps than the one before it."""
        return sum(a != b for a, b in zip(self.steps, self.steps[1:], strict=False))

    @property
    def held_s(self) -> float:
        """Seconds for which the last frame had to be held."""
        return sum(max(0.0, late) for late in self.late)


def play(trace: Trace, controller: Controller, *, first_lead: float = CHUNK_S) -> Run:
    """Run the whole trace. Playing starts at 0 with `first_lead` seconds in hand, nothing being known of the costs."""
    run = Run(controller.name)
    now, dry = 0.0, first_lead  # dry: when the picture runs out of frames
    for chunk in range(trace.chunks):
        while (wait := controller.wait(now, dry - now)) > 0.0:
            now += wait
        bound = controller.max_lead()
        run.bound = max(run.bound, bound)
        run.opened.append(now)
        run.lead.append(dry - now)
        controller.open(now, dry - now)
        done = 0
        while done < MAX_STEPS and controller.more(now, done):
            now = _unit(trace, controller, now, "step", float(trace.steps[chunk, done]))
            done += 1
        now = _unit(trace, controller, now, "decode", float(trace.decode[chunk]))
        controller.close(now, done)
        run.steps.append(done)
        run.late.append(now - dry)
        dry = max(dry, now) + CHUNK_S
        run.over = max(run.over, dry - now - bound)
        now = _unit(trace, controller, now, "append", float(trace.append[chunk]))
    run.seconds = now
    return run


def _unit(trace: Trace, controller: Controller, now: float, kind: str, work: float) -> float:
    end = trace.finish(now, work)
    controller.observe(kind, end - now)
    return end
