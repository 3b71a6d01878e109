"""Who decides how many steps: Farcast's governor, and what it is measured against."""

from __future__ import annotations

from typing import Protocol

from stream.governor import CostModel, Dial, Governor
from stream.governor.prompt_policy import DELIVERY_S

from .traces import CHUNK_S

SHIFT = 5.0


class Controller(Protocol):
    """What the simulated engine asks. One chunk is open at a time."""

    name: str

    def wait(self, now: float, lead: float) -> float:
        """Seconds until the next chunk may start; 0 = now."""

    def open(self, now: float, lead: float) -> None:
        """A chunk starts."""

    def more(self, now: float, done: int) -> bool:
        """Whether another step follows the `done` ones."""

    def observe(self, kind: str, seconds: float) -> None:
        """A unit took so long."""

    def close(self, now: float, steps: int) -> None:
        """The chunk is decoded."""

    def max_lead(self) -> float:
        """The bound on the lead in force, in seconds."""


class Farcast:
    """The governor as the engine uses it."""

    def __init__(self, dial: Dial) -> None:
        self.name = "farcast"
        self.costs = CostModel()
        self.governor = Governor(dial, self.costs, chunk_seconds=CHUNK_S, shift=SHIFT)
        self.sigma = 1.0

    def wait(self, now: float, lead: float) -> float:
        return self.governor.may_start(now, lead)

    def open(self, now: float, lead: float) -> None:
        self.governor.open_chunk(now, lead)
        self.sigma = 1.0

    def more(self, now: float, done: int) -> bool:
        if self.sigma == 0.0:
            return False
        self.sigma = self.governor.next_r(now, self.sigma, done)
        return True

    def observe(self, kind: str, seconds: float) -> None:
        self.costs.observe(kind, seconds)

    def close(self, now: float, steps: int) -> None:
        self.governor.close_chunk(now, steps)

    def max_lead(self) -> float:
        return self.governor.max_lead()


class Fixed:
    """The same number of steps for every chunk: what every other server does."""

    def __init__(self, dial: Dial, steps: int) -> None:
        self.name = f"fixed {steps}"
        self.steps = steps
        # Only for its bound on the lead, which is the same for all.
        self.lead = Governor(dial, CostModel(), chunk_seconds=CHUNK_S, shift=SHIFT)

    def wait(self, now: float, lead: float) -> float:
        return self.lead.may_start(now, lead)

    def open(self, now: float, lead: float) -> None:
        return

    def more(self, now: float, done: int) -> bool:
        return done < self.steps

    def observe(self, kind: str, seconds: float) -> None:
        return

    def close(self, now: float, steps: int) -> None:
        return

    def max_lead(self) -> float:
        return self.lead.max_lead()


class Reactive(Fixed):
    """The naive one, what one writes first: as many steps as fit into 90 % of the time left, at the last costs seen."""

    def __init__(self, dial: Dial) -> None:
        super().__init__(dial, dial.floor)
        self.name = "reactive"
        self.dial = dial
        self.last = {"step": 0.0, "decode": 0.0, "append": 0.0}

    def open(self, now: float, lead: float) -> None:
        if self.last["step"] > 0.0:
            spare = 0.9 * self.seconds(lead) - self.last["decode"]
            self.steps = min(max(int(spare / self.last["step"]), self.dial.floor), self.dial.ceiling)

    def seconds(self, lead: float) -> float:
        """How long the chunk may take."""
        return min(lead, self.dial.latency_s - DELIVERY_S)

    def observe(self, kind: str, seconds: float) -> None:
        self.last[kind] = seconds


class Paced(Reactive):
    """The naive one after some thought: averages the last chunk's steps, and never plans beyond a chunk's length."""

    def __init__(self, dial: Dial) -> None:
        super().__init__(dial)
        self.name = "paced"
        self.spent: list[float] = []

    def open(self, now: float, lead: float) -> None:
        if self.spent:
            self.last["step"] = sum(self.spent) / len(self.spent)
        self.spent = []
        super().open(now, lead)

    def seconds(self, lead: float) -> float:
        return min(super().seconds(lead), CHUNK_S - self.last["append"] / 0.9)

    def observe(self, kind: str, seconds: float) -> None:
        super().observe(kind, seconds)
        if kind == "step":
            self.spent.append(seconds)


class Stepwise(Fixed):
    """Up one step after every chunk that was early by a tenth of a chunk, halved after a miss."""

    def __init__(self, dial: Dial) -> None:
        super().__init__(dial, dial.floor)
        self.name = "stepwise"
        self.dial = dial
        self.due = 0.0

    def open(self, now: float, lead: float) -> None:
        self.due = now + lead

    def close(self, now: float, steps: int) -> None:
        early = self.due - now
        if early < 0.0:
            self.steps = max(self.steps // 2, self.dial.floor)
        elif early > 0.1 * CHUNK_S:
            self.steps = min(self.steps + 1, self.dial.ceiling)
