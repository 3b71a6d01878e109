"""The virtual engine over a device that runs behind its host, as a GPU does.

A launch takes the host `launch_s`; the unit begins when the one before is done, and lasts what it costs. The device
queue, the slots and the order of the scheduler's loop are the real code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream.engine.backend import RolloutBackend, Unit
from stream.engine.device_queue import POLL_S, DeviceQueue, Flight
from stream.engine.protocol import Event, Open
from stream.engine.slot import Slot
from stream.governor import Dial, pick
from stream.types import Pixels
from stream.video.playout import Playout
from tests.support.virtual_engine import SimulatedSession, TimedRollout, VirtualEngine


class VirtualTiming:
    """A unit that runs from `start` to `end` of the virtual clock."""

    def __init__(self, engine: AsynchronousEngine, start: float, end: float, made: Pixels | None) -> None:
        self.engine, self.start, self.end, self.made = engine, start, end, made

    def done(self) -> bool:
        return self.engine.now >= self.end

    def seconds(self) -> float:
        self.engine.until(max(self.engine.now, self.end))
        return self.end - self.start

    def frames(self) -> Pixels | None:
        if self.made is not None:
            self.engine.until(max(self.engine.now, self.end))
        return self.made


class AsynchronousEngine(VirtualEngine):
    """launch_s: seconds of the host a unit. launches: (when asked to, when it begins, when it ends, kind) of each."""

    def __init__(self, *, launch_s: float = 0.003, **options: Any) -> None:
        super().__init__(**options)
        self.launch_s = launch_s
        self.device = DeviceQueue(self, self.shared, lambda: self.now)
        self.launches: list[tuple[float, float, float, str]] = []
        self._free_at = 0.0
        self._launching = self._reporting = False

    def open(self, name: str = "s", dial: Dial | None = None) -> SimulatedSession:
        rollout = TimedRollout(self.model, "red", self.spend, self.back)
        slot = Slot(
            Open(name, "red", 0, dial or Dial()), rollout, self.facts, self.shared, max_lead=6.0,
            clock=lambda: self.now, device=self.device,
        )  # fmt: skip
        session = self.sessions[name] = SimulatedSession(slot, Playout(16.0, min_fps=8.0, capacity=200))
        return session

    def launch(self, rollout: RolloutBackend, unit: Unit, r: float | None) -> VirtualTiming:
        """The timer of the device queue."""
        asked, self._launching = self.now, True
        made = rollout.run(unit, r=r)
        self._launching = False
        self.until(self.now + self.launch_s)
        start = max(asked, self._free_at)
        self._free_at = max(self.now, start + self.costs.get(unit.kind, 0.0) * self.noise())
        self.launches.append((asked, start, self._free_at, unit.kind))
        return VirtualTiming(self, start, self._free_at, made)

    def spend(self, kind: str) -> None:
        if not self._launching:
            super().spend(kind)

    def run(self, seconds: float, until: Any = None) -> AsynchronousEngine:
        end = self.now + seconds
        while self.now < end:
            self.collect()
            self.read()
            waits = {d.slot.session: d.slot.wait(self.now) for d in self.sessions.values()}
            ready = [self.sessions[name].slot for name, wait in waits.items() if wait <= 0.0]
            pause = self.device.wait(self.now)
            if not ready or pause > 0.0:
                asleep = [end, *(self.now + wait for wait in waits.values() if not ready), self.now + POLL_S]
                self.until(min(asleep))
                continue
            slot = pick(ready, deadline=lambda s: s.deadline(self.now))
            assert slot is not None
            if slot.current is None:
                self.share()
            self.answer(slot.launch(), self.sessions[slot.session])
        return self

    def collect(self) -> None:
        self.complete(self.device.completed())

    def complete(self, flights: list[Flight]) -> None:
        for flight in flights:
            self.answer(flight.owner.complete(flight), self.sessions[flight.owner.session])

    def _to_engine(self, command: Callable[[], list[Event]], session: SimulatedSession) -> None:
        """As the scheduler: what is decoded is made before a change is applied; a playout report is no change."""
        if self._reporting:
            super()._to_engine(command, session)
            return

        def change() -> list[Event]:
            self.complete(self.device.finish(session.slot))
            return command()

        super()._to_engine(change, session)

    def _report(self, session: SimulatedSession) -> None:
        self._reporting = True
        super()._report(session)
        self._reporting = False
