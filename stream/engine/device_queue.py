"""The units of work that the device has been given and has not completed, and how long they will take.

A GPU runs behind its host: launching a unit takes milliseconds, its work begins when the one before is done. So what a
unit cost is known when it completes, measured on the device itself (`Timing`), and the next one is launched shortly
before that. Not earlier: what is launched cannot be taken back, and a prompt must not wait longer than one unit. On a
CPU launching is running, and the queue is empty whenever somebody looks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from stream.governor import CostModel
from stream.types import Pixels

from .backend import Clock, RolloutBackend, Timing, Unit, UnitTimer

AHEAD = 1  # units launched before the one that runs is complete
POLL_S = 0.001  # between two looks at a unit that should be complete
SPARE = 1.5  # of the time that launching takes: the next unit is launched so long before the one that runs ends
LAUNCH_WEIGHT = 0.2  # of the last launch in the mean
MOST_LAUNCH_S = 0.05  # a launch that takes longer waited for something else


@dataclass(frozen=True)
class Completed:
    """The timing of a unit that ran while it was launched."""

    took: float
    made: Pixels | None

    def done(self) -> bool:
        return True

    def seconds(self) -> float:
        return self.took

    def frames(self) -> Pixels | None:
        return self.made


class ImmediateTimer:
    """A device that works when it is told to: a processor. The host's clock is its clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def launch(self, rollout: RolloutBackend, unit: Unit, r: float | None) -> Timing:
        began = self.clock()
        made = rollout.run(unit, r=r)
        return Completed(self.clock() - began, made)


@dataclass(frozen=True)
class Flight:
    """A unit in the queue. owner: its slot; chunk, frame: where the rollout stood before it."""

    owner: Any
    unit: Unit
    chunk: int
    frame: int
    timing: Timing
    expected: float  # seconds, 0 where nothing is known


class DeviceQueue:
    """One device, shared by all slots. Units run in the order in which they are launched."""

    def __init__(self, timer: UnitTimer, costs: CostModel, clock: Clock) -> None:
        self.timer, self.costs, self.clock = timer, costs, clock
        self.flights: deque[Flight] = deque()
        self.launch_s = 0.0  # what launching a unit takes of the host
        self._runs_since = 0.0  # when the first in the queue began to run

    def busy(self, now: float) -> float:
        """Seconds until all that was launched should be complete."""
        if not self.flights:
            return 0.0
        first = max(0.0, self._runs_since + self.flights[0].expected - now)
        return first + sum(flight.expected for flight in list(self.flights)[1:])

    def wait(self, now: float) -> float:
        """Seconds until the next unit may be launched, or until it is worth asking again."""
        if not self.flights:
            return 0.0
        if len(self.flights) > AHEAD or self.flights[0].expected == 0.0:
            return POLL_S
        left = self._runs_since + self.flights[0].expected - now - SPARE * self.launch_s
        return max(0.0, left)

    def launch(self, owner: Any, rollout: RolloutBackend, unit: Unit, r: float | None) -> None:
        """Give the device a unit. Whatever the model raises passes through; nothing is queued then."""
        assert len(self.flights) <= AHEAD, "too many units are launched"
        chunk, frame, began = rollout.chunk, rollout.frame, self.clock()
        timing = self.timer.launch(rollout, unit, r)
        now = self.clock()
        if not timing.done():
            took = min(now - began, MOST_LAUNCH_S)
            self.launch_s += LAUNCH_WEIGHT * (took - self.launch_s) if self.launch_s else took
        if not self.flights:
            self._runs_since = began
        expected = self.costs.estimate(unit.kind, 0.5, unit.cost_key)
        self.flights.append(Flight(owner, unit, chunk, frame, timing, expected))

    def completed(self) -> list[Flight]:
        """Take out what is complete, oldest first."""
        found = []
        while self.flights and self.flights[0].timing.done():
            found.append(self._take())
        return found

    def finish(self, owner: Any) -> list[Flight]:
        """Wait for the frames of this owner that are being decoded, and take out all up to them."""
        if not any(flight.owner is owner and flight.unit.kind == "decode" for flight in self.flights):
            return []
        found = []
        while self.flights:
            flight = self.flights[0]
            last = flight.owner is owner and flight.unit.kind == "decode"
            if last:
                flight.timing.frames()
            elif not flight.timing.done():
                flight.timing.seconds()  # waits
            found.append(self._take())
            if last:
                break
        return found

    def forget(self, owner: Any) -> None:
        """This owner is gone; what it launched still takes its time."""
        gone = [flight for flight in self.flights if flight.owner is owner]
        for flight in gone:
            index = self.flights.index(flight)
            self.flights[index] = Flight(None, flight.unit, 0, 0, flight.timing, flight.expected)

    def _take(self) -> Flight:
        self._runs_since = self.clock()
        return self.flights.popleft()
